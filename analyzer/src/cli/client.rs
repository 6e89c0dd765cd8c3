//! The connection of a command to the analyzer.

use super::Failure;
use super::print::Format;
use super::time::span;
use crate::writer::with_causes;
use clap::Args;
use isotherm_proto::MAX_MESSAGE_BYTES;
use isotherm_proto::control::v1::control_service_client::ControlServiceClient;
use isotherm_proto::control::v1::migration_service_client::MigrationServiceClient;
use isotherm_proto::control::v1::node_service_client::NodeServiceClient;
use isotherm_proto::control::v1::plan_service_client::PlanServiceClient;
use isotherm_proto::control::v1::read_service_client::ReadServiceClient;
use isotherm_proto::control::v1::repair_service_client::RepairServiceClient;
use isotherm_proto::control::v1::risk_service_client::RiskServiceClient;
use isotherm_proto::control::v1::trust_service_client::TrustServiceClient;
use isotherm_proto::tls::{ClientFiles, IdentityFiles};
use std::error::Error;
use std::path::PathBuf;
use std::time::Duration;
use tonic::transport::{Channel, Endpoint};
use tonic::{Code, Status};

/// How long a connection may take to come about.
const CONNECT: Duration = Duration::from_secs(5);

/// How often the analyzer is asked whether it is still there while an answer is awaited, and how long it may
/// take to say so: a port that accepts connections and says nothing is noticed after both.
const ALIVE: Duration = Duration::from_secs(5);

/// How long an answer, or the beginning of an export, may take. The analyzer answers a few questions at a time,
/// each in seconds.
const ANSWER: Duration = Duration::from_secs(300);

/// Where to ask, and how to answer.
#[derive(Args)]
pub(super) struct ClientArgs {
    #[command(flatten)]
    server: ServerArgs,
    /// A table for people, or JSON for programs
    #[arg(short, long, value_enum, default_value_t = Format::Table)]
    pub(super) output: Format,
}

/// Where to ask.
#[derive(Args)]
pub(super) struct ServerArgs {
    /// The analyzer to ask
    #[arg(long, value_name = "URL", env = "ISOTHERM_SERVER", default_value = "http://127.0.0.1:7600")]
    server: Endpoint,
    /// Authority that the analyzer's certificate must be of, PEM [default: those of the system]
    #[arg(long, value_name = "FILE", env = "ISOTHERM_CA")]
    ca: Option<PathBuf>,
    /// Certificate to show to the analyzer, PEM
    #[arg(long, value_name = "FILE", env = "ISOTHERM_CERT", requires = "key")]
    cert: Option<PathBuf>,
    /// Its private key, PEM
    #[arg(long, value_name = "FILE", env = "ISOTHERM_KEY", requires = "cert")]
    key: Option<PathBuf>,
}

/// A client that knows whom it asks.
pub(super) struct Client {
    pub(super) control: ControlServiceClient<Channel>,
    pub(super) migrations: MigrationServiceClient<Channel>,
    pub(super) reads: ReadServiceClient<Channel>,
    pub(super) risk: RiskServiceClient<Channel>,
    pub(super) trust: TrustServiceClient<Channel>,
    pub(super) nodes: NodeServiceClient<Channel>,
    pub(super) repairs: RepairServiceClient<Channel>,
    pub(super) plans: PlanServiceClient<Channel>,
    server: String,
}

/// Watches something, called `what`, to its end, or for so long: it goes on without being watched.
pub(super) async fn until_timeout(
    what: &str,
    timeout: Option<Duration>,
    watched: impl Future<Output = Result<(), Failure>>,
) -> Result<(), Failure> {
    match timeout {
        None => watched.await,
        Some(time) => tokio::time::timeout(time, watched).await.unwrap_or_else(|_| {
            let time = span(time);
            Err(Failure::TimedOut(format!("{what} goes on after {time}; it is only not watched any more")))
        }),
    }
}

impl ClientArgs {
    pub(super) async fn connect(&self) -> Result<Client, Failure> {
        self.server.connect().await
    }
}

impl ServerArgs {
    pub(super) async fn connect(&self) -> Result<Client, Failure> {
        let server = self.server.uri().to_string().trim_end_matches('/').to_owned();
        let endpoint = self.server.clone().connect_timeout(CONNECT).timeout(ANSWER);
        let mut endpoint = endpoint.http2_keep_alive_interval(ALIVE).keep_alive_timeout(ALIVE);
        if let Some(files) = self.certificates()? {
            let config = files.read().map_err(|error| anyhow::anyhow!(with_causes(&error)))?;
            endpoint = endpoint.tls_config(config).map_err(|error| anyhow::anyhow!(with_causes(&error)))?;
        }
        let channel = endpoint
            .connect()
            .await
            .map_err(|error| Failure::Unreachable { server: server.clone(), cause: root_cause(&error) })?;
        let control = ControlServiceClient::new(channel.clone()).max_decoding_message_size(MAX_MESSAGE_BYTES);
        let nodes = NodeServiceClient::new(channel.clone()).max_decoding_message_size(MAX_MESSAGE_BYTES);
        let migrations =
            MigrationServiceClient::new(channel.clone()).max_decoding_message_size(MAX_MESSAGE_BYTES);
        let repairs = RepairServiceClient::new(channel.clone()).max_decoding_message_size(MAX_MESSAGE_BYTES);
        let reads = ReadServiceClient::new(channel.clone()).max_decoding_message_size(MAX_MESSAGE_BYTES);
        let plans = PlanServiceClient::new(channel.clone()).max_decoding_message_size(MAX_MESSAGE_BYTES);
        let trust = TrustServiceClient::new(channel.clone()).max_decoding_message_size(MAX_MESSAGE_BYTES);
        let risk = RiskServiceClient::new(channel).max_decoding_message_size(MAX_MESSAGE_BYTES);
        Ok(Client { control, migrations, plans, reads, risk, nodes, repairs, trust, server })
    }

    /// What an encrypted connection takes; `None` for `http://`.
    fn certificates(&self) -> Result<Option<ClientFiles>, Failure> {
        let identity = self.cert.clone().zip(self.key.clone());
        let identity = identity.map(|(cert, key)| IdentityFiles { cert, key });
        let files = ClientFiles { ca: self.ca.clone(), identity };
        if self.server.uri().scheme_str() == Some("https") {
            return Ok(Some(files));
        }
        if files.is_empty() {
            return Ok(None);
        }
        let what = format!("{} is not encrypted; certificates need https://", self.server.uri());
        Err(Failure::Usage(what))
    }
}

impl Client {
    /// Whom it asks.
    pub(super) fn server(&self) -> &str {
        &self.server
    }

    /// What a refusal means to the caller of the command.
    pub(super) fn failure(&self, status: &Status) -> Failure {
        failure(&self.server, status)
    }
}

#[expect(clippy::wildcard_enum_match_arm, reason = "all other codes mean the same: it failed")]
fn failure(server: &str, status: &Status) -> Failure {
    let unreachable = |cause| Failure::Unreachable { server: server.to_owned(), cause };
    // Only what this end made up has a cause: the connection broke, such as by a refused certificate.
    if status.source().is_some() {
        return unreachable(root_cause(status));
    }
    let words = status.message();
    match status.code() {
        Code::NotFound => Failure::NotFound(words.to_owned()),
        Code::InvalidArgument => Failure::Usage(words.to_owned()),
        Code::FailedPrecondition => Failure::Refused(words.to_owned()),
        // A proxy before the analyzer may say so without a word.
        code @ (Code::PermissionDenied | Code::Unauthenticated) => {
            let words = if words.is_empty() { code.description() } else { words };
            Failure::Denied(format!("{server} denies it: {words}"))
        }
        // Cancelled is what the client itself makes of an answer that takes too long.
        Code::Unavailable | Code::DeadlineExceeded | Code::Cancelled => {
            let cause = if words.is_empty() { "it went away" } else { words };
            unreachable(cause.to_owned())
        }
        code => Failure::Failed(anyhow::anyhow!(
            "the analyzer at {server} answered {}: {words}",
            code.description()
        )),
    }
}

fn root_cause(error: &dyn Error) -> String {
    let mut cause = error;
    while let Some(next) = cause.source() {
        cause = next;
    }
    cause.to_string()
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn every_refusal_has_its_exit_code() {
        let code = |status: Status| failure("http://a", &status).code();
        for (expected, status) in [
            (2, Status::invalid_argument("id: is empty")),
            (3, Status::not_found("there is none")),
            (4, Status::failed_precondition("frozen")),
            (7, Status::permission_denied("not yours")),
            (7, Status::unauthenticated("")),
            (8, Status::unavailable("")),
            (8, Status::cancelled("Timeout expired")),
            (1, Status::internal("a bug")),
        ] {
            assert_eq!(code(status.clone()), expected, "{status}");
        }
        let broken = Status::from_error(Box::new(std::io::Error::other("reset")));
        assert_eq!(code(broken), 8, "the connection broke, whatever the code");
        let denied = failure("http://a", &Status::unauthenticated("")).to_string();
        assert!(denied.contains("http://a") && denied.contains("credentials"), "{denied}");
    }
}
