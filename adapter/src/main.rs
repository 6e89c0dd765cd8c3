//! `isotherm-adapter`: moves partitions of one storage system, step by step, when the analyzer says so.

use anyhow::Context as _;
use clap::{Args, Parser, Subcommand};
use isotherm_adapter::check::CheckArgs;
use isotherm_adapter::config::Config;
use isotherm_adapter::ledger::Ledger;
use isotherm_adapter::server::{Adapter, Listen, leaders, serve};
use isotherm_adapter::stores::Configured;
use isotherm_adapter::stores::postgres::Servers;
use isotherm_adapter::stores::simulated::{Flawed, Simulated};
use isotherm_adapter::stores::{seaweedfs, valkey};
use sd_notify::NotifyState;
use std::io::IsTerminal;
use std::path::PathBuf;
use std::process::ExitCode;
use std::sync::Arc;
use std::time::Duration;
use tokio::signal::unix::{SignalKind, signal};
use tokio_util::sync::CancellationToken;
use tracing_subscriber::EnvFilter;

/// How long what still blocks a thread may hold up the exit.
const SHUTDOWN: Duration = Duration::from_secs(5);

/// How long open connections may take to end after the signal.
const GRACE: Duration = Duration::from_secs(2);

/// Moves partitions of a storage system when the analyzer says so, and tells of its cluster.
#[derive(Parser)]
#[command(
    name = "isotherm-adapter",
    version,
    after_help = "The file of a simulated cluster can be as short as this:\n  \
        system = \"demo\"\n  \
        data = \"/tmp/demo\"\n  \
        [store]\n\n\
        Exit codes: 0 done, 1 failed, 2 wrong usage."
)]
struct Cli {
    #[command(subcommand)]
    command: Command,
}

#[derive(Subcommand)]
enum Command {
    /// Serve a cluster that is made up, for demonstrations and tests
    Simulated(ServeArgs),
    /// Serve PostgreSQL servers whose table partitions a router has as foreign tables
    Postgres(ServeArgs),
    /// Serve a SeaweedFS cluster
    Seaweedfs(ServeArgs),
    /// Serve a Valkey cluster, version 9 or later
    Valkey(ServeArgs),
    Check(CheckArgs),
}

/// An adapter needs a folder of its own, in which it keeps what it promised; it ends cleanly on SIGINT and SIGTERM, and
/// takes up what was under way when it starts again.
#[derive(Args)]
struct ServeArgs {
    /// Configuration file (TOML)
    #[arg(long, value_name = "FILE")]
    config: PathBuf,
    /// Say "ok", or what is wrong on which line, and do nothing else
    #[arg(long)]
    check_config: bool,
}

fn main() -> ExitCode {
    let result = match Cli::parse().command {
        Command::Simulated(args) => run::<Simulated>(&args).map(|()| ExitCode::SUCCESS),
        Command::Postgres(args) => run::<Servers>(&args).map(|()| ExitCode::SUCCESS),
        Command::Seaweedfs(args) => run::<seaweedfs::Config>(&args).map(|()| ExitCode::SUCCESS),
        Command::Valkey(args) => run::<valkey::Config>(&args).map(|()| ExitCode::SUCCESS),
        Command::Check(args) => checked(args),
    };
    match result {
        Ok(code) => code,
        Err(error) => {
            eprintln!("isotherm-adapter: {error:#}");
            ExitCode::FAILURE
        }
    }
}

fn checked(args: CheckArgs) -> anyhow::Result<ExitCode> {
    let (report, text) = args.run()?;
    println!("{text}");
    Ok(if report.is_good() { ExitCode::SUCCESS } else { ExitCode::FAILURE })
}

fn run<S: Configured>(args: &ServeArgs) -> anyhow::Result<()> {
    let config = Config::<S>::from_file(&args.config)?;
    if args.check_config {
        println!("ok");
        return Ok(());
    }
    let colour = std::io::stderr().is_terminal() && std::env::var_os("NO_COLOR").is_none();
    let filter = EnvFilter::builder().with_default_directive(tracing::Level::INFO.into()).from_env_lossy();
    tracing_subscriber::fmt().with_writer(std::io::stderr).with_ansi(colour).with_env_filter(filter).init();
    let runtime = tokio::runtime::Builder::new_multi_thread()
        .enable_all()
        .build()
        .context("cannot start the runtime")?;
    let ended = runtime.block_on(served(config));
    runtime.shutdown_timeout(SHUTDOWN);
    ended
}

async fn served<S: Configured>(config: Config<S>) -> anyhow::Result<()> {
    let mut signals = (signal(SignalKind::interrupt())?, signal(SignalKind::terminate())?);
    std::fs::create_dir_all(&config.data)
        .with_context(|| format!("cannot make {}", config.data.display()))?;
    let flaw = config.store.flaw();
    let store = config.store.open(config.system.clone(), &config.data).await?;
    let ledger = Ledger::open(&config.data, &config.system, leaders(&store.capabilities()))
        .with_context(|| format!("cannot open the data folder {}", config.data.display()))?;
    // Nothing is begun before it is sure that it can be asked about.
    let listen = Listen::bind(config.listen, config.tls.as_ref()).await?;
    let address = listen.address()?;
    let closing = CancellationToken::new();
    let adapter = Adapter::start(store, Arc::new(ledger), closing.clone())
        .context("cannot take up what was under way")?;
    let mut server = match flaw {
        None => tokio::spawn(serve(adapter.clone(), listen, closing.clone())),
        Some(flaw) => {
            tracing::warn!("this adapter is wrong on purpose: {flaw:?}");
            tokio::spawn(serve(Flawed::new(adapter.clone(), flaw), listen, closing.clone()))
        }
    };

    let status = format!("listening on {address}");
    if config.tls.is_some() {
        tracing::info!("only callers with a certificate of the configured authority are let in");
    } else if !address.ip().is_loopback() {
        tracing::warn!("whoever reaches {address} can move data: connections have no certificates");
    }
    sd_notify::notify(&[NotifyState::Ready, NotifyState::Status(&status)])
        .context("cannot tell the service manager that all is ready")?;
    tracing::info!(system = %config.system, data = %config.data.display(), "{status}");

    let name = tokio::select! {
        _ = signals.0.recv() => "SIGINT",
        _ = signals.1.recv() => "SIGTERM",
        ended = &mut server => {
            ended.context("the server failed")??;
            anyhow::bail!("the server ended by itself");
        }
    };
    tracing::info!(signal = name, "shutting down");
    let _ = sd_notify::notify(&[NotifyState::Stopping]);
    closing.cancel();
    adapter.stopped().await;
    if tokio::time::timeout(GRACE, &mut server).await.is_err() {
        tracing::info!("ending connections that are still open");
    }
    Ok(())
}
