//! The command line of the check, the same in every program that has it.

use super::{Options, Report, check};
use anyhow::Context as _;
use clap::Args;
use isotherm_proto::tls::{ClientFiles, IdentityFiles};
use std::path::PathBuf;

/// Check whether an adapter keeps the contract, by moving a partition there and back in many ways
///
/// It should be an adapter that nobody else drives: whoever does is refused afterwards, as an older controller. The
/// partition lies where it lay at the end, unless something failed.
#[derive(Args)]
pub struct CheckArgs {
    /// Where it listens, such as http://127.0.0.1:7700
    endpoint: String,
    /// The partition to move [default: the smallest that can be moved]
    #[arg(long, value_name = "ID")]
    partition: Option<String>,
    /// The node to move it to [default: one that is up and does not hold it]
    #[arg(long, value_name = "NODE")]
    target: Option<String>,
    /// A shell command that kills the adapter and starts it again; without, crashes are not tried
    #[arg(long, value_name = "COMMAND")]
    restart: Option<String>,
    /// Authority of the adapter's certificate, PEM, for https:// [default: those of the system]
    #[arg(long, value_name = "FILE")]
    ca: Option<PathBuf>,
    /// Certificate to show to it, PEM
    #[arg(long, value_name = "FILE", requires = "key")]
    cert: Option<PathBuf>,
    /// Its private key, PEM
    #[arg(long, value_name = "FILE", requires = "cert")]
    key: Option<PathBuf>,
    /// A story to try, by the name in the report; may be repeated [default: all]
    #[arg(long, value_name = "STORY")]
    only: Vec<String>,
    /// How to print the report
    #[arg(short, long, value_enum, default_value = "table")]
    output: Output,
}

#[derive(Clone, Copy, PartialEq, Eq, clap::ValueEnum)]
pub(super) enum Output {
    Table,
    Json,
}

impl CheckArgs {
    /// Checks, and says what was found and how it was asked to be told.
    pub fn run(self) -> anyhow::Result<(Report, String)> {
        let identity = self.cert.zip(self.key).map(|(cert, key)| IdentityFiles { cert, key });
        let tls = ClientFiles { ca: self.ca, identity };
        let options = Options {
            partition: self.partition,
            target: self.target,
            restart: self.restart,
            tls: (!tls.is_empty()).then_some(tls),
            only: self.only,
        };
        let runtime = tokio::runtime::Builder::new_multi_thread().worker_threads(1).enable_all().build();
        let runtime = runtime.context("cannot start the runtime")?;
        let report = runtime.block_on(check(&self.endpoint, options))?;
        let text = match self.output {
            Output::Table => report.to_string(),
            Output::Json => serde_json::to_string_pretty(&report)?,
        };
        Ok((report, text))
    }
}
