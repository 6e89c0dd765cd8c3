//! The command line: what it accepts, what it exits with.

mod agents;
mod backtest;
mod client;
mod diary;
mod entropy;
mod explain;
mod export;
mod forecast;
mod import;
mod layer;
mod migrate;
mod node;
mod nodes;
mod partitions;
mod peers;
mod plan;
mod print;
mod query;
mod reads;
mod record;
mod repair;
mod replay;
mod risk;
mod simulate;
mod store;
mod time;
mod topology;

use crate::config::Config;
use crate::query::worker;
use crate::serve;
use crate::writer::with_causes;
use clap::{Args, Parser, Subcommand};
use isotherm_adapter::check::CheckError;
use isotherm_proto::tls::{IdentityFiles, ServerFiles};
pub(crate) use print::bytes;
use std::io::IsTerminal;
use std::net::SocketAddr;
use std::path::PathBuf;
use std::process::ExitCode;
use std::time::Duration;
use tracing_subscriber::EnvFilter;

/// How long questions still running may hold up the exit of `serve`.
const SHUTDOWN: Duration = Duration::from_secs(5);

/// A build whose writer tests can stop says so.
const VERSION: &str = if cfg!(feature = "failpoints") {
    concat!(env!("CARGO_PKG_VERSION"), " (with failpoints)")
} else {
    env!("CARGO_PKG_VERSION")
};

/// Watches how evenly storage partitions are accessed, and answers questions about it.
#[derive(Parser)]
#[command(
    name = "isotherm",
    version = VERSION,
    after_help = "Start with:\n  \
        isotherm serve                      take in what agents send, on 127.0.0.1:7600\n  \
        isotherm get nodes                  who reports, and what they do\n  \
        isotherm analyze entropy --top 10   how evenly the busiest partitions are read\n  \
        isotherm query 'SELECT ...'         anything else, in SQL\n  \
        isotherm forecast FILE.csv          what comes after a column of numbers\n  \
        isotherm plan simulate --help       what would move if a node failed\n\n\
        Exit codes: 0 done, 1 failed, 2 wrong usage, 3 not found, 4 refused, or not all of a plan can be done,\n\
        5 copy and source differ, 6 it took too long, 7 you may not, 8 the analyzer cannot be reached."
)]
struct Cli {
    #[command(subcommand)]
    command: Command,
}

#[derive(Subcommand)]
enum Command {
    Serve(ServeArgs),
    /// Check configuration files
    #[command(subcommand)]
    Config(ConfigCommand),
    /// List what is known
    #[command(subcommand)]
    Get(GetCommand),
    /// Compute something from the telemetry
    #[command(subcommand)]
    Analyze(AnalyzeCommand),
    /// Say why the last cycle said what it said
    #[command(subcommand)]
    Explain(explain::ExplainCommand),
    /// Say what would happen
    #[command(subcommand)]
    WhatIf(explain::WhatIfCommand),
    Query(query::QueryArgs),
    /// Take telemetry away
    #[command(subcommand)]
    Export(ExportCommand),
    /// Take telemetry in from elsewhere
    #[command(subcommand)]
    Import(import::ImportCommand),
    Forecast(forecast::ForecastArgs),
    Simulate(simulate::SimulateArgs),
    Backtest(backtest::BacktestArgs),
    Record(record::RecordArgs),
    Replay(replay::ReplayArgs),
    /// Empty, fill and cordon nodes; put on record when they were down, and what their hazards are
    #[command(subcommand)]
    Node(node::NodeCommand),
    /// Move partitions, and watch that
    #[command(subcommand)]
    Migrate(migrate::MigrateCommand),
    /// What isotherm makes again by itself after a node has failed
    #[command(subcommand)]
    Repair(repair::RepairCommand),
    /// Shift reads off nodes, without copying
    #[command(subcommand)]
    Reads(reads::ReadsCommand),
    Freeze(diary::FreezeArgs),
    /// Let migrations begin again after `isotherm freeze`
    Unfreeze(diary::FreezeArgs),
    Diary(diary::DiaryArgs),
    /// Look after adapters
    #[command(subcommand)]
    Adapter(AdapterCommand),
    /// Decide where partitions should lie, and bring them there
    #[command(subcommand)]
    Plan(plan::PlanCommand),
    /// Answer one query, with limits (started by the other commands)
    #[command(name = worker::COMMAND, hide = true)]
    QueryWorker,
    /// Look after the telemetry on this host's disk
    #[command(subcommand)]
    Store(store::StoreCommand),
}

/// Run the analyzer: take in telemetry, keep it, answer questions
///
/// Agents connect to it with gRPC and it acknowledges what is safely on the disk. It needs no configuration.
/// It tells systemd when it is ready, and ends cleanly on SIGINT and SIGTERM.
#[derive(Args)]
struct ServeArgs {
    /// Configuration file (TOML); flags given here win over it
    #[arg(long, value_name = "FILE")]
    config: Option<PathBuf>,
    /// Address to listen on; port 0 takes a free one [default: 127.0.0.1:7600]
    #[arg(long, value_name = "ADDR")]
    listen: Option<SocketAddr>,
    /// Folder for segments and catalog [default: /var/lib/isotherm for root, else $XDG_DATA_HOME/isotherm]
    #[arg(long, value_name = "DIR")]
    data_dir: Option<PathBuf>,
    /// Certificate to show to agents and tools, PEM; with it, only clients with one of --tls-client-ca get in
    #[arg(long, value_name = "FILE", requires = "tls_key", requires = "tls_client_ca")]
    tls_cert: Option<PathBuf>,
    /// Its private key, PEM
    #[arg(long, value_name = "FILE", requires = "tls_cert")]
    tls_key: Option<PathBuf>,
    /// Authority whose certificates clients must show, PEM
    #[arg(long, value_name = "FILE", requires = "tls_cert")]
    tls_client_ca: Option<PathBuf>,
    /// Listen on other addresses than this host's own although nothing is encrypted or authenticated
    #[arg(long)]
    insecure_listen: bool,
}

#[derive(Subcommand)]
enum ConfigCommand {
    /// Say "ok", or what is wrong on which line
    Check {
        /// The configuration file
        file: PathBuf,
    },
}

#[derive(Subcommand)]
enum AdapterCommand {
    Check(isotherm_adapter::check::CheckArgs),
}

#[derive(Subcommand)]
enum GetCommand {
    Agents(agents::AgentsArgs),
    Nodes(nodes::NodesArgs),
    Partitions(partitions::PartitionsArgs),
    Peers(peers::PeersArgs),
    Topology(topology::TopologyArgs),
}

#[derive(Subcommand)]
enum AnalyzeCommand {
    Entropy(entropy::EntropyArgs),
    Forecast(risk::ForecastsArgs),
    Risk(risk::RiskArgs),
}

#[derive(Subcommand)]
enum ExportCommand {
    Parquet(export::ParquetArgs),
    Csv(export::CsvArgs),
}

/// Why a command did not do what it was asked for, by exit code.
#[derive(Debug, thiserror::Error)]
enum Failure {
    /// 3.
    #[error("{0}")]
    NotFound(String),
    /// 4.
    #[error("{0}")]
    Refused(String),
    /// 5.
    #[error("{0}")]
    Mismatch(String),
    /// 6.
    #[error("{0}")]
    TimedOut(String),
    /// 7.
    #[error("{0}")]
    Denied(String),
    /// 8.
    #[error(
        "cannot reach the analyzer at {server} ({cause}); start one with `isotherm serve`, or name another \
         with --server or ISOTHERM_SERVER"
    )]
    Unreachable { server: String, cause: String },
    /// 2.
    #[error("{0}")]
    Usage(String),
    /// 1.
    #[error("{0:#}")]
    Failed(#[from] anyhow::Error),
}

impl Failure {
    fn code(&self) -> u8 {
        match self {
            Self::Failed(_) => 1,
            Self::Usage(_) => 2,
            Self::NotFound(_) => 3,
            Self::Refused(_) => 4,
            Self::Mismatch(_) => 5,
            Self::TimedOut(_) => 6,
            Self::Denied(_) => 7,
            Self::Unreachable { .. } => 8,
        }
    }
}

/// Parses the arguments and does what they say.
pub(crate) fn main() -> ExitCode {
    let result = match Cli::parse().command {
        Command::Serve(args) => serve(args),
        Command::Config(ConfigCommand::Check { file }) => check(&file),
        Command::Get(GetCommand::Agents(args)) => client(agents::run(args)),
        Command::Get(GetCommand::Nodes(args)) => client(nodes::run(args)),
        Command::Get(GetCommand::Partitions(args)) => client(partitions::run(args)),
        Command::Get(GetCommand::Peers(args)) => client(peers::run(args)),
        Command::Get(GetCommand::Topology(args)) => client(topology::run(args)),
        Command::Analyze(AnalyzeCommand::Entropy(args)) => client(entropy::run(args)),
        Command::Analyze(AnalyzeCommand::Forecast(args)) => client(risk::forecasts(args)),
        Command::Analyze(AnalyzeCommand::Risk(args)) => client(risk::risks(args)),
        Command::Explain(command) => client(explain::explain(command)),
        Command::WhatIf(command) => client(explain::what_if(command)),
        Command::Export(ExportCommand::Parquet(args)) => client(export::parquet(args)),
        Command::Export(ExportCommand::Csv(args)) => client(export::csv(args)),
        Command::Query(args) => query::run(args),
        Command::QueryWorker => return worker::main(),
        Command::Import(command) => import::run(command),
        Command::Forecast(args) => forecast::run(&args),
        Command::Simulate(args) => simulate::run(&args),
        Command::Backtest(args) => backtest::run(&args),
        Command::Record(args) => record::run(&args),
        Command::Replay(args) => replay::run(&args),
        Command::Node(command) => client(node::run(command)),
        Command::Migrate(command) => client(migrate::run(command)),
        Command::Repair(command) => client(repair::run(command)),
        Command::Reads(command) => client(reads::run(command)),
        Command::Freeze(args) => client(diary::freeze(args)),
        Command::Unfreeze(args) => client(diary::unfreeze(args)),
        Command::Diary(args) => client(diary::diary(args)),
        Command::Adapter(AdapterCommand::Check(args)) => check_adapter(args),
        Command::Plan(command) => plan::run(command),
        Command::Store(command) => store::run(command),
    };
    match result {
        Ok(()) => ExitCode::SUCCESS,
        Err(failure) => {
            eprintln!("isotherm: {failure}");
            ExitCode::from(failure.code())
        }
    }
}

fn serve(args: ServeArgs) -> Result<(), Failure> {
    let config = match &args.config {
        Some(file) => Config::from_file(file),
        None => Config::without_file(),
    };
    let mut config = config.map_err(|error| anyhow::anyhow!(with_causes(&error)))?;
    config.listen = args.listen.unwrap_or(config.listen);
    config.data_dir = args.data_dir.unwrap_or(config.data_dir);
    if let (Some(cert), Some(key), Some(client_ca)) = (args.tls_cert, args.tls_key, args.tls_client_ca) {
        config.tls = Some(ServerFiles { identity: IdentityFiles { cert, key }, client_ca });
    }
    if !config.listen.ip().is_loopback() && config.tls.is_none() && !args.insecure_listen {
        return Err(Failure::Usage(format!(
            "{} can be reached from other hosts, and without certificates connections are neither encrypted nor \
             authenticated; give it some in [listen.tls] or with --tls-cert, listen on 127.0.0.1, or accept that \
             with --insecure-listen",
            config.listen
        )));
    }
    let colour = std::io::stderr().is_terminal() && std::env::var_os("NO_COLOR").is_none();
    let filter = EnvFilter::builder().with_default_directive(tracing::Level::INFO.into()).from_env_lossy();
    tracing_subscriber::fmt().with_writer(std::io::stderr).with_ansi(colour).with_env_filter(filter).init();
    let runtime = tokio::runtime::Builder::new_multi_thread()
        .enable_all()
        .build()
        .map_err(|error| anyhow::anyhow!("cannot start the runtime: {error}"))?;
    let ended = runtime.block_on(serve::run(config));
    runtime.shutdown_timeout(SHUTDOWN);
    Ok(ended?)
}

fn check(file: &std::path::Path) -> Result<(), Failure> {
    Config::from_file(file).map_err(|error| anyhow::anyhow!(with_causes(&error)))?;
    print::out("ok\n")
}

fn check_adapter(args: isotherm_adapter::check::CheckArgs) -> Result<(), Failure> {
    let (report, text) = args.run().map_err(|error| match error.downcast_ref() {
        Some(CheckError::Endpoint { .. } | CheckError::Story { .. }) => Failure::Usage(format!("{error:#}")),
        Some(CheckError::Tls(_) | CheckError::Unreachable { .. }) | None => Failure::Failed(error),
    })?;
    print::out(&format!("{text}\n"))?;
    match report.failures().as_slice() {
        [] => Ok(()),
        failures => {
            Err(anyhow::anyhow!("the adapter does not keep the contract: {}", failures.join(", ")).into())
        }
    }
}

/// Runs a command that asks a server. One thread is enough for one question.
fn client(command: impl Future<Output = Result<(), Failure>>) -> Result<(), Failure> {
    let runtime = tokio::runtime::Builder::new_current_thread()
        .enable_all()
        .build()
        .map_err(|error| anyhow::anyhow!("cannot start the runtime: {error}"))?;
    runtime.block_on(command)
}

#[cfg(test)]
mod tests {
    use super::*;
    use clap::CommandFactory;

    #[test]
    fn the_command_line_is_well_formed() {
        Cli::command().debug_assert();
    }

    #[test]
    fn exit_codes_are_what_the_help_says() {
        let unreachable = Failure::Unreachable { server: "s".into(), cause: "c".into() };
        let codes = [
            Failure::Failed(anyhow::anyhow!("x")).code(),
            Failure::Usage("x".into()).code(),
            Failure::NotFound("x".into()).code(),
            Failure::Refused("x".into()).code(),
            Failure::Mismatch("x".into()).code(),
            Failure::TimedOut("x".into()).code(),
            Failure::Denied("x".into()).code(),
            unreachable.code(),
        ];
        assert_eq!(codes, [1, 2, 3, 4, 5, 6, 7, 8]);
    }
}
