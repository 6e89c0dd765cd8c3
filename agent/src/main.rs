//! The command line of isotherm-agent.

mod screen;

use anyhow::{Context, bail};
use clap::{Parser, Subcommand, ValueEnum};
use isotherm_agent::config::Config;
use isotherm_agent::probe::Probe;
use isotherm_agent::spool::Spool;
use isotherm_agent::top::{Query, once};
use isotherm_agent::uplink::{self, Analyzer, Farewell};
use isotherm_agent::watch::{Watcher, wall_clock};
use isotherm_agent::{rights, rule};
use isotherm_model::BootId;
use isotherm_proto::Hello;
use sd_notify::NotifyState;
use std::io::IsTerminal;
use std::path::PathBuf;
use std::process::ExitCode;
use std::time::Duration;
use tokio::signal::unix::{SignalKind, signal};
use tracing::{error, info};
use tracing_subscriber::EnvFilter;
use tracing_subscriber::fmt::writer::BoxMakeWriter;

/// Windows between the watching thread and the uplink. The uplink takes them at once; this is for a hiccup.
const WINDOW_QUEUE: usize = 16;

/// A build whose spool tests can stop says so.
const VERSION: &str = if fail::has_failpoints() {
    concat!(env!("CARGO_PKG_VERSION"), " (with failpoints)")
} else {
    env!("CARGO_PKG_VERSION")
};

/// Watches storage processes from the kernel and counts accesses per partition.
#[derive(Parser)]
#[command(version = VERSION, about, after_help = "Messages go to stderr; RUST_LOG=debug shows more of them.")]
struct Arguments {
    #[command(subcommand)]
    command: Command,
}

#[derive(Subcommand)]
enum Command {
    /// Watch what the configuration names, and stream it to the analyzer.
    Run {
        /// Configuration file.
        #[arg(long, value_name = "FILE", default_value = "/etc/isotherm/agent.toml")]
        config: PathBuf,
    },
    /// Check a configuration without watching anything; with --path, say whose a file would be.
    Check {
        /// Configuration file.
        #[arg(long, value_name = "FILE", default_value = "/etc/isotherm/agent.toml")]
        config: PathBuf,
        /// A path to try on the rules of every target; may be given several times.
        #[arg(long = "path", value_name = "PATH")]
        paths: Vec<String>,
    },
    /// Show what this host's storage processes access, without configuration or analyzer.
    ///
    /// Known stores (SeaweedFS, PostgreSQL, Valkey, NATS, Kafka) are recognised by their program; others are
    /// named by --pid, or by the files that they have open with --path. In the live table, q quits.
    Top {
        /// Only files whose path matches this regular expression; its first group is the partition. Looks at
        /// the known stores, and at every process that has such a file open.
        #[arg(long, value_name = "REGEX")]
        path: Option<String>,
        /// Only this process; may be given several times.
        #[arg(long = "pid", value_name = "PID")]
        pids: Vec<u32>,
        /// Report once and exit, instead of a live table.
        #[arg(long)]
        once: bool,
        /// How long to watch with --once.
        #[arg(long = "for", value_name = "DURATION", default_value = "5s", value_parser = humantime::parse_duration)]
        duration: Duration,
        /// Form of the report with --once.
        #[arg(short, long, default_value = "table")]
        output: Output,
    },
}

#[derive(Clone, Copy, ValueEnum)]
enum Output {
    Table,
    Json,
}

fn main() -> ExitCode {
    // Failpoints are named in the environment of tests; other builds read nothing.
    let _scenario = fail::has_failpoints().then(fail::FailScenario::setup);
    let arguments = Arguments::parse();
    // Messages would tear the live table.
    let live = matches!(arguments.command, Command::Top { once: false, .. });
    show_messages(if live { BoxMakeWriter::new(std::io::sink) } else { BoxMakeWriter::new(std::io::stderr) });
    let result = match arguments.command {
        Command::Run { config } => run(&config),
        Command::Check { config, paths } => check(&config, &paths),
        Command::Top { path, pids, once, duration, output } => {
            top(Query { path, pids }, once, duration, output)
        }
    };
    match result {
        Ok(()) => ExitCode::SUCCESS,
        Err(error) => {
            eprintln!("isotherm-agent: {error:#}");
            ExitCode::FAILURE
        }
    }
}

fn show_messages(writer: BoxMakeWriter) {
    let filter =
        EnvFilter::try_from_default_env().unwrap_or_else(|_| EnvFilter::new("info,aya=warn,aya_obj=warn"));
    let colour = std::io::stderr().is_terminal() && std::env::var_os("NO_COLOR").is_none();
    tracing_subscriber::fmt().with_env_filter(filter).with_writer(writer).with_ansi(colour).init();
}

fn run(path: &std::path::Path) -> anyhow::Result<()> {
    let config = Config::read(path)?;
    if let Some(files) = &config.tls {
        files.read().context("the certificates for the analyzer")?;
    }
    rights::check()?;
    let spool = open_spool(&config)?;
    let probe = Probe::attach(config.limits.files)?;
    info!(
        "probes attached; {} KiB of kernel memory, {} files and {} partitions told apart at most",
        probe.memory_bytes() / 1024,
        config.limits.files,
        config.limits.partitions
    );
    rights::reduce()?;
    let watcher = Watcher::new(probe, &config)?;
    let runtime = tokio::runtime::Builder::new_multi_thread().worker_threads(1).enable_all().build()?;
    runtime.block_on(watch_and_send(watcher, spool, config))
}

fn open_spool(config: &Config) -> anyhow::Result<Spool> {
    let hello = Hello {
        agent: config.agent.clone(),
        boot: BootId::new(uuid::Uuid::new_v4().to_string()).context("a new boot id")?,
        version: env!("CARGO_PKG_VERSION").to_owned(),
        window_ms: config.window.as_millis() as u32,
        targets: config.targets.iter().map(|target| target.node.clone()).collect(),
    };
    Ok(Spool::open(config.spool.clone(), hello, wall_clock())?)
}

async fn watch_and_send(watcher: Watcher, spool: Spool, config: Config) -> anyhow::Result<()> {
    let mut interrupt = signal(SignalKind::interrupt())?;
    let mut terminate = signal(SignalKind::terminate())?;
    let (stop, stopped) = std::sync::mpsc::channel();
    let (windows, received) = tokio::sync::mpsc::channel(WINDOW_QUEUE);
    let mut watching = tokio::task::spawn_blocking(move || watcher.run(&stopped, &windows, ready));
    let analyzer = Analyzer { endpoint: config.endpoint, tls: config.tls };
    let uplink = tokio::spawn(uplink::run(analyzer, spool, received));
    let early = tokio::select! {
        result = &mut watching => Some(result),
        _ = interrupt.recv() => None,
        _ = terminate.recv() => None,
    };
    let result = match early {
        Some(result) => result,
        None => {
            info!("stopping");
            drop(stop);
            watching.await
        }
    };
    let Farewell { kept, lost } = uplink.await.context("the uplink")?;
    if kept > 0 {
        info!("{kept} batches were not delivered; they stay in the spool for the next start");
    }
    if lost > 0 {
        error!("{lost} batches could be neither delivered nor written, and are lost with this process");
    }
    result.context("the watching thread")??;
    Ok(())
}

fn ready(summary: &str) {
    info!("{summary}");
    if let Err(error) = sd_notify::notify(&[NotifyState::Ready, NotifyState::Status(summary)]) {
        error!("cannot tell the service manager that the agent is ready: {error}");
    }
}

fn check(path: &std::path::Path, paths: &[String]) -> anyhow::Result<()> {
    let config = Config::read(path)?;
    if let Some(files) = &config.tls {
        files.read().context("the certificates for the analyzer")?;
    }
    println!(
        "{}: agent {}, {} targets, windows of {:?}",
        path.display(),
        config.agent,
        config.targets.len(),
        config.window
    );
    for target in &config.targets {
        println!("{}: {} rules", target.node, target.rules.len());
        for path in paths {
            let whose = match rule::claim(&target.node, &target.rules, path) {
                isotherm_model::Subject::Partition(id) => format!("partition {}", id.name()),
                isotherm_model::Subject::Other(_) => "other: no rule claims it".to_owned(),
                isotherm_model::Subject::Unattributed(reason) => format!("unattributed: {reason}"),
            };
            println!("  {path}: {whose}");
        }
    }
    Ok(())
}

fn top(query: Query, report_once: bool, duration: Duration, output: Output) -> anyhow::Result<()> {
    rights::check()?;
    if !report_once {
        if !std::io::stdout().is_terminal() {
            bail!("the live table needs a terminal; use --once for a report");
        }
        return screen::live(query);
    }
    let report = once(query, duration)?;
    match output {
        Output::Json => println!("{}", serde_json::to_string_pretty(&report)?),
        Output::Table => println!("{}", screen::table(&report, usize::MAX)),
    }
    Ok(())
}
