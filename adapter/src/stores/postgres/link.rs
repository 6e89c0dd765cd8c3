//! Connections, and what their errors mean to a step.

use super::names::quoted;
use crate::contract::Refusal;
use std::time::Duration;
use tokio_postgres::error::SqlState;
use tokio_postgres::types::{FromSql, ToSql};
use tokio_postgres::{Client, Config, Error, NoTls};

/// How long a connection may take to come about.
const CONNECT: Duration = Duration::from_secs(2);

/// Settings of every session: names are written in full, and values as text alike everywhere.
const SETTINGS: &str = "-c search_path= -c statement_timeout=30s -c client_min_messages=warning \
    -c synchronous_commit=on -c DateStyle=ISO -c IntervalStyle=postgres -c TimeZone=UTC \
    -c extra_float_digits=1 -c bytea_output=hex -c row_security=off";

/// Where a server listens.
#[derive(Debug, Clone, PartialEq, Eq)]
pub(super) struct Endpoint {
    pub(super) host: String,
    pub(super) port: u16,
}

/// Who the adapter is to the servers.
#[derive(Clone)]
pub(super) struct Login {
    pub(super) database: String,
    pub(super) user: String,
    pub(super) password: Option<String>,
}

/// A row of an answer.
pub(super) struct Row {
    server: String,
    row: tokio_postgres::Row,
}

impl Row {
    /// A value of it. Where NULL is none, what the row tells of went away while it was read: the catalog's own functions
    /// say NULL of what is gone, although the row is still seen.
    pub(super) fn get<'a, T: FromSql<'a>>(&'a self, column: usize) -> Result<T, Refusal> {
        self.row.try_get(column).map_err(|error| {
            let (server, error) = (&self.server, chain(&error));
            Refusal::not_now(format!("an answer of {server} has no such value any more: {error}"))
        })
    }
}

/// A session. It ends, and with it what it had not committed, when it is dropped.
pub(super) struct Link {
    /// What is at the other end, for people.
    pub(super) name: String,
    client: Client,
}

impl Link {
    pub(super) async fn open(name: &str, at: &Endpoint, login: &Login) -> Result<Self, Refusal> {
        let mut config = Config::new();
        config.host(&at.host).port(at.port).dbname(&login.database).user(&login.user);
        config.application_name("isotherm-adapter").options(SETTINGS).connect_timeout(CONNECT);
        config.keepalives_idle(Duration::from_secs(10)).tcp_user_timeout(Duration::from_secs(20));
        if let Some(password) = &login.password {
            config.password(password);
        }
        let connected = tokio::time::timeout(2 * CONNECT, config.connect(NoTls)).await;
        let connected = connected.map_err(|_| Refusal::not_now(format!("{name} does not answer")))?;
        let (client, connection) = connected.map_err(|error| refusal(name, &error))?;
        tokio::spawn(async move {
            if let Err(error) = connection.await {
                tracing::debug!("a connection ended: {error}");
            }
        });
        Ok(Self { name: name.to_owned(), client })
    }

    /// Runs statements; several are one transaction, unless they say otherwise.
    pub(super) async fn run(&self, sql: &str) -> Result<(), Refusal> {
        self.client.batch_execute(sql).await.map_err(|error| refusal(&self.name, &error))
    }

    pub(super) async fn rows(&self, sql: &str, values: &[&(dyn ToSql + Sync)]) -> Result<Vec<Row>, Refusal> {
        let rows = self.client.query(sql, values).await.map_err(|error| refusal(&self.name, &error))?;
        Ok(rows.into_iter().map(|row| self.named(row)).collect())
    }

    /// The only row of an answer.
    pub(super) async fn row(&self, sql: &str, values: &[&(dyn ToSql + Sync)]) -> Result<Row, Refusal> {
        let row = self.client.query_one(sql, values).await;
        row.map(|row| self.named(row)).map_err(|error| refusal(&self.name, &error))
    }

    fn named(&self, row: tokio_postgres::Row) -> Row {
        Row { server: self.name.clone(), row }
    }

    /// Whether there is such a row.
    pub(super) async fn has(&self, sql: &str, values: &[&(dyn ToSql + Sync)]) -> Result<bool, Refusal> {
        Ok(!self.rows(sql, values).await?.is_empty())
    }

    /// Bounds what statements wait for locks, from now on.
    pub(super) async fn wait_for_locks(&self, longest: Duration) -> Result<(), Refusal> {
        self.run(&format!("SET lock_timeout = {}", longest.as_millis())).await
    }

    /// Where the server's log of writes ends.
    pub(super) async fn position(&self) -> Result<String, Refusal> {
        self.row("SELECT pg_current_wal_lsn()::text", &[]).await?.get(0)
    }

    /// Has every statement take the time it needs: the work on whole tables.
    pub(super) async fn without_limit(&self) -> Result<(), Refusal> {
        self.run("SET statement_timeout = 0").await
    }

    /// The server's process of this session.
    pub(super) async fn process(&self) -> Result<i32, Refusal> {
        self.row("SELECT pg_backend_pid()", &[]).await?.get(0)
    }
}

impl Login {
    /// How a server connects to another, as the option of a subscription.
    pub(super) fn conninfo(&self, at: &Endpoint) -> String {
        let escaped = |value: &str| value.replace('\\', "\\\\").replace('\'', "\\'");
        let mut words = vec![
            format!("host='{}'", escaped(&at.host)),
            format!("port='{}'", at.port),
            format!("dbname='{}'", escaped(&self.database)),
            format!("user='{}'", escaped(&self.user)),
            "connect_timeout='5'".to_owned(),
        ];
        words.extend(self.password.as_deref().map(|password| format!("password='{}'", escaped(password))));
        words.join(" ")
    }
}

/// Has the statements of `sql` name a role.
pub(super) fn role(name: &str) -> String {
    if name.is_empty() { "PUBLIC".to_owned() } else { quoted(name) }
}

/// What an error means: what may pass by itself, or what somebody has to look at.
fn refusal(name: &str, error: &Error) -> Refusal {
    let Some(told) = error.as_db_error() else {
        return Refusal::not_now(format!("{name} cannot be reached: {}", chain(error)));
    };
    let message = match told.hint() {
        Some(hint) => format!("{name}: {} ({hint})", told.message()),
        None => format!("{name}: {}", told.message()),
    };
    let code = told.code().code();
    let passes = [SqlState::LOCK_NOT_AVAILABLE, SqlState::QUERY_CANCELED, SqlState::OBJECT_IN_USE];
    // Classes: connection, transaction rollback, resources, an operator's intervention, the system.
    let classes = ["08", "40", "53", "57", "58"];
    if passes.contains(told.code()) || classes.iter().any(|class| code.starts_with(class)) {
        return Refusal::not_now(message);
    }
    Refusal::conflict(message)
}

fn chain(error: &dyn std::error::Error) -> String {
    match error.source() {
        Some(source) => format!("{error}: {}", chain(source)),
        None => error.to_string(),
    }
}
