//! PostgreSQL: a partition of a table that goes from node A to node B and back, behind a router.

use super::{DISK_BYTES, HUB, Session, Sessions, Store, Way};
use crate::postgres_lab::{A, B, DATABASE, Lab, PARTITION, ROUTER, USER, connect, data};
use anyhow::{Context, Result, ensure};
use isotherm_tests::host::Host;
use isotherm_tests::network::Network;
use std::path::PathBuf;
use std::sync::{Arc, Mutex, PoisonError};
use std::time::Duration;
use tokio::runtime::Runtime;
use tokio_postgres::Client;

/// Rows that nobody changes.
const ROWS: u32 = 20_000;

/// Ids of clients' rows begin here.
const FIRST: i64 = 500_000;

/// A client that waits for longer than the router may be locked would have given up.
const PATIENCE: Duration = Duration::from_secs(15);

/// What lies in the way.
const STRANGER: &str = "CREATE TABLE orders_1 (id bigint PRIMARY KEY); INSERT INTO orders_1 VALUES (77)";

pub(super) struct Servers {
    lab: Lab,
    folder: PathBuf,
    /// Commands come from one thread at a time.
    runtime: Mutex<Runtime>,
}

pub(super) fn start(network: &Network) -> Result<Servers> {
    let folder = tempfile::tempdir()?;
    let hosts: [Host; 3] = [HUB, 0, 1].map(|machine| network.host(machine).clone());
    for server in [ROUTER, A, B] {
        hosts[server].memory(&data(folder.path(), server), DISK_BYTES)?;
    }
    let path = folder.path().to_path_buf();
    let runtime = runtime()?;
    let lab = runtime.block_on(async {
        let lab = Lab::on_hosts(hosts, folder).await?;
        lab.rows(ROWS).await?;
        anyhow::Ok(lab)
    })?;
    Ok(Servers { lab, folder: path, runtime: Mutex::new(runtime) })
}

fn runtime() -> Result<Runtime> {
    Ok(tokio::runtime::Builder::new_current_thread().enable_all().build()?)
}

/// The lab's number of a machine.
fn server(machine: usize) -> usize {
    machine + A
}

impl Servers {
    fn wait<T>(&self, work: impl Future<Output = Result<T>>) -> Result<T> {
        let runtime = self.runtime.lock().unwrap_or_else(PoisonError::into_inner);
        runtime.block_on(async { tokio::time::timeout(PATIENCE, work).await.context("no answer")? })
    }

    fn run(&self, server: usize, sql: &str) -> Result<()> {
        self.wait(self.lab.run_on(server, sql))
    }

    fn number(&self, server: usize, sql: &str) -> Result<i64> {
        Ok(self.wait(self.lab.numbers(server, sql))?.first().copied().unwrap_or(0))
    }
}

impl Store for Servers {
    fn table(&self) -> String {
        let (router, port) = self.lab.address(ROUTER).split_once(':').map_or_else(
            || (String::new(), String::new()),
            |(host, port)| (host.to_owned(), port.to_owned()),
        );
        let nodes: String =
            [A, B].map(|node| format!("[[store.node]]\nname = \"{}\"\n", self.lab.address(node))).concat();
        format!(
            "dbname = \"{DATABASE}\"\nuser = \"{USER}\"\npassword_file = {:?}\ntables = [\"public.orders\"]\n\
             [store.router]\nhost = \"{router}\"\nport = {port}\n{nodes}",
            self.lab.password_file()
        )
    }

    fn partition(&self) -> String {
        PARTITION.to_owned()
    }

    fn node(&self, machine: usize) -> String {
        self.lab.address(server(machine))
    }

    fn way(&self) -> Result<(usize, usize)> {
        let serving = self.serving()?;
        ensure!(serving.len() == 1, "{serving:?} serve {PARTITION}");
        Ok((serving[0], 1 - serving[0]))
    }

    fn kill(&mut self, machine: usize) -> Result<()> {
        self.lab.kill(server(machine))
    }

    fn start(&mut self, machine: usize) -> Result<()> {
        let server = server(machine);
        if self.lab.runs(server) {
            return Ok(());
        }
        let runtime = self.runtime.lock().unwrap_or_else(PoisonError::into_inner);
        runtime.block_on(self.lab.run(server))
    }

    fn start_all(&mut self) -> Result<()> {
        self.lab.forget_ended()?;
        for server in [ROUTER, A, B] {
            if !self.lab.runs(server) {
                let runtime = self.runtime.lock().unwrap_or_else(PoisonError::into_inner);
                runtime.block_on(self.lab.run(server))?;
            }
        }
        Ok(())
    }

    fn disk(&self, machine: usize) -> PathBuf {
        data(&self.folder, server(machine))
    }

    fn sessions(&self) -> Sessions {
        let addresses = [ROUTER, A, B].map(|server| self.lab.address(server));
        Arc::new(move |way| -> Box<dyn Session> {
            let (address, table) = match way {
                Way::Told => (addresses[ROUTER].clone(), "orders"),
                Way::Straight(machine) => (addresses[server(machine)].clone(), "orders_1"),
            };
            Box::new(Rows { runtime: runtime().ok(), client: None, address, table })
        })
    }

    fn slow(&self, _: usize, _: bool) -> Result<()> {
        Ok(())
    }

    fn rate(&self) -> Option<u64> {
        None
    }

    fn copied(&self, target: usize) -> Result<bool> {
        let ready = "SELECT count(*) FROM pg_subscription_rel WHERE srsubstate = 'r'";
        Ok(self.number(server(target), ready)? > 0)
    }

    fn corrupt(&self, target: usize) -> Result<()> {
        self.run(server(target), "UPDATE orders_1 SET \"the Note\" = 'other' WHERE id = 17")
    }

    fn recover(&self) -> Result<()> {
        Ok(())
    }

    fn occupy(&mut self, target: usize, occupy: bool) -> Result<()> {
        let target = server(target);
        if occupy {
            return self.run(target, STRANGER);
        }
        ensure!(
            self.number(target, "SELECT sum(id)::bigint FROM orders_1")? == 77,
            "the table in the way was changed"
        );
        self.run(target, "DROP TABLE orders_1")
    }

    fn keyless(&mut self, keyless: bool) -> Result<()> {
        let (source, _) = self.way()?;
        let sql = if keyless {
            "ALTER TABLE orders_1 DROP CONSTRAINT orders_1_pkey"
        } else {
            "ALTER TABLE orders_1 ADD PRIMARY KEY (id)"
        };
        self.run(server(source), sql)
    }

    fn odd(&self, serving: usize, empty: usize) -> Result<Vec<String>> {
        let mut odd = self.wait(self.lab.leftovers())?;
        let now = self.serving()?;
        odd.extend((now != [serving]).then(|| format!("{now:?} serve, wanted {serving}")));
        let there = "SELECT count(*) FROM pg_class WHERE relname = 'orders_1'";
        for (machine, wanted) in [(serving, 1), (empty, 0)] {
            let found = self.number(server(machine), there)?;
            odd.extend((found != wanted).then(|| format!("{found} tables on {}", self.node(machine))));
        }
        let filled = format!("SELECT count(*) FROM orders WHERE id < {ROWS}");
        let filled = self.number(ROUTER, &filled)?;
        odd.extend(
            (filled != i64::from(ROWS)).then(|| format!("{filled} rows of the {ROWS} that nobody changed")),
        );
        Ok(odd)
    }

    fn serving(&self) -> Result<Vec<usize>> {
        let sql = "SELECT (substr(o.option_value, length('10.77.0.') + 1))::bigint FROM pg_foreign_table t \
            JOIN pg_foreign_server s ON s.oid = t.ftserver, pg_options_to_table(s.srvoptions) o \
            WHERE t.ftrelid = 'orders_1'::regclass AND o.option_name = 'host' \
            AND EXISTS (SELECT FROM pg_inherits i WHERE i.inhrelid = t.ftrelid)";
        let last = self.wait(self.lab.numbers(ROUTER, sql))?;
        last.into_iter().map(|last| Ok(usize::try_from(last)? - 1)).collect()
    }
}

/// A client of the router, or of a node.
struct Rows {
    runtime: Option<Runtime>,
    client: Option<Client>,
    address: String,
    table: &'static str,
}

impl Rows {
    fn run<T>(
        &mut self,
        work: impl AsyncFnOnce(&Client, &str) -> Result<T, tokio_postgres::Error>,
    ) -> Result<T> {
        let runtime = self.runtime.as_ref().context("no runtime could be made")?;
        let (address, table, kept) = (&self.address, self.table, self.client.take());
        let asked = async {
            let client = match kept {
                Some(client) => client,
                None => connect(address, DATABASE).await?,
            };
            let answer = work(&client, table).await.map_err(told)?;
            anyhow::Ok((client, answer))
        };
        let ended = runtime.block_on(async { tokio::time::timeout(PATIENCE, asked).await });
        let (client, answer) = ended.context("no answer in time")??;
        self.client = Some(client);
        Ok(answer)
    }
}

impl Session for Rows {
    fn write(&mut self, key: u64, value: u64) -> Result<()> {
        let (id, value) = (FIRST + i64::try_from(key)?, i64::try_from(value)?);
        self.run(async |client, table| {
            // What was given up may still be on its way, and must not undo what comes after it.
            let update = format!("UPDATE {table} SET version = $2 WHERE id = $1 AND version < $2");
            if client.execute(&update, &[&id, &value]).await? == 0 {
                let insert = format!("INSERT INTO {table} (id, version) VALUES ($1, $2)");
                client.execute(&insert, &[&id, &value]).await?;
            }
            Ok(())
        })
    }

    fn read(&mut self, key: u64) -> Result<u64> {
        let id = FIRST + i64::try_from(key)?;
        let row = self.run(async |client, table| {
            client.query_opt(&format!("SELECT version FROM {table} WHERE id = $1"), &[&id]).await
        })?;
        Ok(row.map_or(Ok(0), |row| u64::try_from(row.get::<_, i64>(0)))?)
    }
}

/// The server's own words.
fn told(error: tokio_postgres::Error) -> anyhow::Error {
    error.as_db_error().map(|told| anyhow::anyhow!("{told}")).unwrap_or_else(|| error.into())
}
