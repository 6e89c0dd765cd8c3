//! Connections to nodes: one for each, made when it is needed and thrown away when it fails. Nothing waits for ever.

use super::config::Login;
use crate::contract::Refusal;
use redis::aio::MultiplexedConnection;
use redis::{
    AsyncConnectionConfig, Client, Cmd, ConnectionAddr, ErrorKind, FromRedisValue, IntoConnectionInfo as _,
    Pipeline, RedisConnectionInfo, RedisError, RedisResult, ServerErrorKind, TlsCertificates, Value,
};
use std::collections::HashMap;
use std::net::SocketAddr;
use std::sync::{Mutex, PoisonError};
use std::time::Duration;

/// Until a node takes a connection. One on the same continent needs a tenth of it.
const CONNECT: Duration = Duration::from_secs(2);

/// Until a node answers. It stands still while it forks for a snapshot: about 20 ms for each GB it holds.
const ANSWER: Duration = Duration::from_secs(5);

/// The connections to the nodes of a cluster.
pub(super) struct Nodes {
    login: Login,
    tls: Option<TlsCertificates>,
    open: Mutex<HashMap<SocketAddr, MultiplexedConnection>>,
}

/// Why there is no answer.
#[derive(Debug, Clone, thiserror::Error)]
pub(super) enum Failure {
    /// Nobody knows whether the command was carried out.
    #[error("no answer from {node}: {why}")]
    Unreachable {
        /// Of which node.
        node: SocketAddr,
        /// What the connection says.
        why: String,
    },
    /// It cannot answer for a while.
    #[error("{node} cannot answer yet: {why}")]
    Busy {
        /// Of which node.
        node: SocketAddr,
        /// What it says.
        why: String,
    },
    /// The user may not do it.
    #[error(
        "{node} does not let the adapter's user do it: {why}. docs/adapters-stores.md lists what it must be able to do"
    )]
    Forbidden {
        /// Of which node.
        node: SocketAddr,
        /// What it says.
        why: String,
    },
    /// It says no.
    #[error("{node} refuses: {why}")]
    Refused {
        /// Of which node.
        node: SocketAddr,
        /// What it says.
        why: String,
    },
}

impl From<Failure> for Refusal {
    fn from(failure: Failure) -> Self {
        let message = failure.to_string();
        match failure {
            Failure::Unreachable { .. } | Failure::Busy { .. } => Self::not_now(message),
            Failure::Forbidden { .. } => Self::unsupported(message),
            Failure::Refused { .. } => Self::conflict(message),
        }
    }
}

impl Nodes {
    pub(super) fn new(login: Login, tls: Option<TlsCertificates>) -> Self {
        Self { login, tls, open: Mutex::default() }
    }

    /// Sends a command to a node.
    pub(super) async fn ask<T: FromRedisValue>(&self, node: SocketAddr, command: &Cmd) -> Result<T, Failure> {
        let mut connection = self.connection(node).await?;
        let answer = command.query_async(&mut connection).await;
        answer.map_err(|error| self.failure(node, &error))
    }

    /// Sends several commands at once; each has its own answer, or `None` where the node says no.
    pub(super) async fn ask_all(
        &self,
        node: SocketAddr,
        mut commands: Pipeline,
    ) -> Result<Vec<Option<Value>>, Failure> {
        if commands.is_empty() {
            return Ok(Vec::new());
        }
        let mut connection = self.connection(node).await?;
        let answers = commands.ignore_errors().query_async::<Vec<RedisResult<Value>>>(&mut connection).await;
        let answers = answers.map_err(|error| self.failure(node, &error))?;
        Ok(answers.into_iter().map(Result::ok).collect())
    }

    async fn connection(&self, node: SocketAddr) -> Result<MultiplexedConnection, Failure> {
        let known = self.open.lock().unwrap_or_else(PoisonError::into_inner).get(&node).cloned();
        if let Some(connection) = known {
            return Ok(connection);
        }
        let client = self.client(node).map_err(|error| self.failure(node, &error))?;
        let config = AsyncConnectionConfig::new()
            .set_connection_timeout(Some(CONNECT))
            .set_response_timeout(Some(ANSWER));
        let mut connection = client
            .get_multiplexed_async_connection_with_config(&config)
            .await
            .map_err(|error| self.failure(node, &error))?;
        // What the adapter reads is not to look used: idle times and frequencies decide what is evicted.
        let untouched =
            redis::cmd("CLIENT").arg("NO-TOUCH").arg("ON").query_async::<()>(&mut connection).await;
        untouched.map_err(|error| self.failure(node, &error))?;
        self.open.lock().unwrap_or_else(PoisonError::into_inner).insert(node, connection.clone());
        Ok(connection)
    }

    fn client(&self, node: SocketAddr) -> Result<Client, RedisError> {
        let (host, port) = (node.ip().to_string(), node.port());
        let address = match &self.tls {
            Some(_) => ConnectionAddr::TcpTls { host, port, insecure: false, tls_params: None },
            None => ConnectionAddr::Tcp(host, port),
        };
        let mut login = RedisConnectionInfo::default();
        if let Some(user) = &self.login.user {
            login = login.set_username(user);
        }
        if let Some(password) = &self.login.password {
            login = login.set_password(password);
        }
        let info = address.into_connection_info()?.set_redis_settings(login);
        match &self.tls {
            Some(certificates) => Client::build_with_tls(info, certificates.clone()),
            None => Client::open(info),
        }
    }

    /// What an error means; a connection that is of no use any more is forgotten.
    fn failure(&self, node: SocketAddr, error: &RedisError) -> Failure {
        let why = error.to_string();
        if let ErrorKind::Server(kind) = error.kind() {
            return refused(node, why, kind);
        }
        if matches!(error.kind(), ErrorKind::Extension) {
            return Failure::Refused { node, why };
        }
        if matches!(error.kind(), ErrorKind::AuthenticationFailed) {
            return Failure::Forbidden { node, why };
        }
        self.open.lock().unwrap_or_else(PoisonError::into_inner).remove(&node);
        Failure::Unreachable { node, why }
    }
}

fn refused(node: SocketAddr, why: String, kind: ServerErrorKind) -> Failure {
    if matches!(
        kind,
        ServerErrorKind::BusyLoading
            | ServerErrorKind::TryAgain
            | ServerErrorKind::ClusterDown
            | ServerErrorKind::MasterDown
    ) {
        return Failure::Busy { node, why };
    }
    if matches!(kind, ServerErrorKind::NoPerm) {
        return Failure::Forbidden { node, why };
    }
    Failure::Refused { node, why }
}
