//! The connection of a command to the analyzer.

use super::Failure;
use super::print::Format;
use clap::Args;
use isotherm_proto::MAX_MESSAGE_BYTES;
use isotherm_proto::control::v1::control_service_client::ControlServiceClient;
use std::error::Error;
use std::time::Duration;
use tonic::transport::{Channel, Endpoint};
use tonic::{Code, Status};

/// How long a connection may take to come about.
const CONNECT: Duration = Duration::from_secs(5);

/// Where to ask, and how to answer.
#[derive(Args)]
pub(super) struct ClientArgs {
    /// The analyzer to ask
    #[arg(long, value_name = "URL", env = "ISOTHERM_SERVER", default_value = "http://127.0.0.1:7600")]
    server: Endpoint,
    /// A table for people, or JSON for programs
    #[arg(short, long, value_enum, default_value_t = Format::Table)]
    pub(super) output: Format,
}

/// A client that knows whom it asks.
pub(super) struct Client {
    pub(super) control: ControlServiceClient<Channel>,
    server: String,
}

impl ClientArgs {
    pub(super) async fn connect(&self) -> Result<Client, Failure> {
        let server = self.server.uri().to_string().trim_end_matches('/').to_owned();
        let channel =
            self.server.clone().connect_timeout(CONNECT).connect().await.map_err(|error| {
                Failure::Unreachable { server: server.clone(), cause: root_cause(&error) }
            })?;
        let control = ControlServiceClient::new(channel).max_decoding_message_size(MAX_MESSAGE_BYTES);
        Ok(Client { control, server })
    }
}

impl Client {
    /// What a refusal means to the caller of the command.
    #[expect(clippy::wildcard_enum_match_arm, reason = "all other codes mean the same: it failed")]
    pub(super) fn failure(&self, status: &Status) -> Failure {
        match status.code() {
            Code::NotFound => Failure::NotFound(status.message().to_owned()),
            Code::InvalidArgument => Failure::Usage(status.message().to_owned()),
            Code::Unavailable => {
                let cause = if status.message().is_empty() { "it went away" } else { status.message() };
                Failure::Unreachable { server: self.server.clone(), cause: cause.to_owned() }
            }
            code => Failure::Failed(anyhow::anyhow!(
                "the analyzer at {} answered {}: {}",
                self.server,
                code.description(),
                status.message()
            )),
        }
    }
}

fn root_cause(error: &dyn Error) -> String {
    let mut cause = error;
    while let Some(next) = cause.source() {
        cause = next;
    }
    cause.to_string()
}
