//! The command line of isotherm-agent.

mod run;
mod screen;

use anyhow::{Context, bail};
use clap::{Parser, Subcommand, ValueEnum};
use isotherm_agent::config::Config;
use isotherm_agent::explain::explain;
use isotherm_agent::locator::{Kept, Known, locate};
use isotherm_agent::rights;
use isotherm_agent::rule::Rules;
use isotherm_agent::support::Support;
use isotherm_agent::top::{Query, once};
use std::io::IsTerminal;
use std::path::PathBuf;
use std::process::ExitCode;
use std::time::Duration;
use tracing_subscriber::EnvFilter;
use tracing_subscriber::fmt::writer::BoxMakeWriter;

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
    /// Form of the messages.
    #[arg(long, global = true, default_value = "text")]
    log_format: LogFormat,
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
    /// Say whom a process, a file or a block device counts for, and why.
    Explain {
        /// Configuration file.
        #[arg(long, value_name = "FILE", default_value = "/etc/isotherm/agent.toml")]
        config: PathBuf,
        /// A process id, a path, or the name of a block device.
        #[arg(value_name = "PID|PATH|DEVICE")]
        what: String,
        /// Form of the answer.
        #[arg(short, long, default_value = "table")]
        output: Output,
    },
    /// Say what this kernel and these rights can do, layer by layer; fails if system calls cannot be watched.
    Probe {
        /// Form of the report.
        #[arg(short, long, default_value = "table")]
        output: Output,
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
enum LogFormat {
    /// A line for people.
    Text,
    /// A JSON object a line.
    Json,
}

#[derive(Clone, Copy, ValueEnum)]
enum Output {
    Table,
    Json,
}

fn main() -> ExitCode {
    isotherm_agent::allocator::give_back();
    // Failpoints are named in the environment of tests; other builds read nothing.
    let _scenario = fail::has_failpoints().then(fail::FailScenario::setup);
    let arguments = Arguments::parse();
    // Messages would tear the live table.
    let live = matches!(arguments.command, Command::Top { once: false, .. });
    let writer = if live { BoxMakeWriter::new(std::io::sink) } else { BoxMakeWriter::new(std::io::stderr) };
    show_messages(writer, arguments.log_format);
    let result = match arguments.command {
        Command::Run { config } => run::run(&config),
        Command::Check { config, paths } => check(&config, &paths),
        Command::Explain { config, what, output } => explain_one(&config, &what, output),
        Command::Probe { output } => probe(output),
        Command::Top { path, pids, once, duration, output } => {
            top(Query { path, pids }, once, duration, output)
        }
    };
    match result {
        Ok(()) => ExitCode::SUCCESS,
        Err(error) => {
            match arguments.log_format {
                LogFormat::Text => eprintln!("isotherm-agent: {error:#}"),
                LogFormat::Json => tracing::error!("{error:#}"),
            }
            ExitCode::FAILURE
        }
    }
}

fn show_messages(writer: BoxMakeWriter, format: LogFormat) {
    let filter =
        EnvFilter::try_from_default_env().unwrap_or_else(|_| EnvFilter::new("info,aya=warn,aya_obj=warn"));
    let messages = tracing_subscriber::fmt().with_env_filter(filter).with_writer(writer);
    match format {
        LogFormat::Text => {
            let colour = std::io::stderr().is_terminal() && std::env::var_os("NO_COLOR").is_none();
            messages.with_ansi(colour).init();
        }
        LogFormat::Json => messages.json().flatten_event(true).init(),
    }
}

fn check(path: &std::path::Path, paths: &[String]) -> anyhow::Result<()> {
    let config = Config::read(path)?;
    if let Some(files) = &config.tls {
        files.read().context("the certificates for the analyzer")?;
    }
    let (config, revision) = located(config);
    println!(
        "{}: agent {}, {} targets, windows of {:?}",
        path.display(),
        config.agent,
        config.targets.len(),
        config.window
    );
    for target in &config.targets {
        let located = match target.located.partitions() {
            0 => String::new(),
            partitions => format!(", {partitions} partitions by locators of revision {revision}"),
        };
        println!("{}: {} rules{located}", target.node, target.rules.len());
        let rules = Rules::of(target);
        for path in paths {
            let whose = match rules.claim_path(&target.node, path) {
                isotherm_model::Subject::Partition(id) => format!("partition {}", id.name()),
                isotherm_model::Subject::Other(_) => "other: no rule claims it".to_owned(),
                isotherm_model::Subject::Unattributed(reason) => format!("unattributed: {reason}"),
            };
            println!("  {path}: {whose}");
        }
    }
    Ok(())
}

/// With the rules by the locators that the agent keeps, and their revision. What cannot be read is told and left out.
fn located(config: Config) -> (Config, u64) {
    let nodes = config.targets.iter().map(|target| target.node.clone()).collect();
    let known = Kept::beside(&config.spool.dir).read(&nodes).unwrap_or_else(|error| {
        tracing::warn!("locators are left out: {:#}", anyhow::Error::from(error));
        Known::default()
    });
    let (targets, findings) = locate(&config.targets, &known);
    (Config { targets, ..config }, findings.revision)
}

fn explain_one(config: &std::path::Path, what: &str, output: Output) -> anyhow::Result<()> {
    let (config, revision) = located(Config::read(config)?);
    let story = explain(&config, revision, what)?;
    match output {
        Output::Json => println!("{}", serde_json::to_string_pretty(&story)?),
        Output::Table => print!("{story}"),
    }
    Ok(())
}

fn probe(output: Output) -> anyhow::Result<()> {
    let support = Support::find()?;
    match output {
        Output::Json => println!("{}", serde_json::to_string_pretty(&support)?),
        Output::Table => print!("{support}"),
    }
    if !support.logical_works() {
        bail!("system calls cannot be watched here");
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
