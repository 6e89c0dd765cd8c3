//! Cycles at their real pace: windows of ten seconds from every node, or of a minute where there are so many partitions
//! that two processors cannot take in more, and a cycle each minute.

use super::cluster::{Cluster, REPLICAS};
use super::feed::Agents;
use super::server::{PATIENCE, Server, bytes};
use super::support::adapter;
use super::{Figure, median};
use anyhow::{Result, ensure};
use isotherm_proto::control::v1::Cycle;
use isotherm_tests::usage::{cpu_s, memory_kib};
use std::sync::Arc;
use std::time::{Duration, Instant, SystemTime, UNIX_EPOCH};

/// Minutes of the past that series begin with: a few more than they need for a model.
const WARM: u64 = 24;

const MINUTE_MS: u64 = 60_000;

/// What the server goes on from after a restart.
const CHECKPOINT: &str = "cycle.state";

/// From here on, replicas of a window every ten seconds are more rows than two processors take in while they judge.
const MANY: u32 = 300_000;

/// How long agents' windows are, and how long after its end a step is judged.
struct Pace {
    window_ms: u64,
    settle: &'static str,
}

impl Pace {
    fn of(partitions: u32) -> Self {
        match partitions {
            ..MANY => Self { window_ms: 10_000, settle: "20s" },
            MANY.. => Self { window_ms: MINUTE_MS, settle: "50s" },
        }
    }
}

/// A cycle as the server tells of it, and what the server took in its minute.
struct Seen {
    cycle: Cycle,
    cpu_s: f64,
}

pub(crate) async fn measure(partitions: u32, minutes: u32) -> Result<Vec<Figure>> {
    let dir = tempfile::tempdir()?;
    let cluster = Arc::new(Cluster::new(partitions));
    let (nodes, all) = cluster.topology();
    let adapter = adapter::Cluster::new(nodes, all).serve("127.0.0.1:0").await?;
    let of = format!("{partitions} partitions on {} nodes", cluster.nodes);
    let pace = Pace::of(partitions);

    eprintln!("{of}: storing {WARM} minutes of the past");
    let server = Server::start(dir.path(), &adapter, "10m").await?;
    let mut agents = Agents::connect(&cluster, &server.analyzer.url, 0).await?;
    let (began, used) = (now_ms(), cpu_s(server.pid())?);
    let until = began / MINUTE_MS * MINUTE_MS;
    for minute in (1..=WARM).rev() {
        agents.send(until - minute * MINUTE_MS, MINUTE_MS as u32).await?;
    }
    let stored = (cluster.replicas() * WARM) as f64;
    let ingest = stored / (cpu_s(server.pid())? - used);
    let per_row = bytes(&dir.path().join("store"))? as f64 / stored;
    let seq = agents.seq();
    server.end().await?;
    // What its cycles saw while the past was not complete.
    std::fs::remove_file(dir.path().join("store").join(CHECKPOINT)).ok();

    eprintln!("{of}: {minutes} minutes of cycles");
    let mut server = Server::start(dir.path(), &adapter, pace.settle).await?;
    let mut agents = Agents::connect(&cluster, &server.analyzer.url, seq).await?;
    catch_up(&mut agents, until, &pace).await?;
    let (_, cold) = server.first_cycle().await?;
    let seen = cycles(&mut server, &mut agents, minutes, &pace).await?;
    let peak_kib = memory_kib(server.pid(), "VmHWM")?;
    let rss_kib = memory_kib(server.pid(), "VmRSS")?;
    let ending = server.end().await?;

    eprintln!("{of}: starting again");
    let mut server = Server::start(dir.path(), &adapter, pace.settle).await?;
    let ready = server.ready;
    let (cycle, warm) = server.first_cycle().await?;
    server.end().await?;

    let took = |one: &Seen| one.cycle.took_ms as f64 / 1e3;
    let mut figures = vec![
        ("cycle", median(seen.iter().map(took).collect()), "s"),
        ("slowest cycle", seen.iter().map(took).fold(0.0, f64::max), "s"),
        ("CPU of the server in a minute", median(seen.iter().map(|one| one.cpu_s).collect()), "s"),
        ("cycles left out", seen.last().map_or(0.0, |one| one.cycle.skipped as f64), ""),
        ("share with a forecast", f64::from(cycle.forecast as u32) / f64::from(partitions), ""),
        ("rss", rss_kib as f64 / 1024.0, "MiB"),
        ("most rss", peak_kib as f64 / 1024.0, "MiB"),
        ("first start, to the first cycle", cold.as_secs_f64(), "s"),
        ("end, with a checkpoint", ending.as_secs_f64(), "s"),
        ("restart, to listening", ready.as_secs_f64(), "s"),
        ("restart, to the first cycle", warm.as_secs_f64(), "s"),
        ("rows per CPU-second of the server", ingest, "rows"),
        ("bytes of the store per row", per_row, "B"),
    ];
    for (at, stage) in seen.first().into_iter().flat_map(|one| one.cycle.stages.iter().enumerate()) {
        let of = |one: &Seen| one.cycle.stages.get(at).map_or(f64::NAN, |stage| stage.took_us as f64 / 1e6);
        let name: &str = match stage.name.as_str() {
            "read and take in" => "cycle: read and take in",
            "assess" => "cycle: assess",
            "keep entropies" => "cycle: keep entropies",
            "decide" => "cycle: decide",
            _ => "cycle: keep decisions",
        };
        figures.push((name, median(seen.iter().map(of).collect()), "s"));
    }
    let figure =
        |(name, value, unit)| Figure { name: format!("{partitions} partitions: {name}"), value, unit };
    eprintln!("{of}: {} rows a window", cluster.partitions * REPLICAS);
    Ok(figures.into_iter().map(figure).collect())
}

/// Sends what is between the past that is stored and the present.
async fn catch_up(agents: &mut Agents, until: u64, pace: &Pace) -> Result<()> {
    let (mut at, began) = (until, Instant::now());
    for window_ms in [MINUTE_MS, pace.window_ms] {
        while at + window_ms <= now_ms() {
            ensure!(began.elapsed() < PATIENCE, "windows end faster than the server takes them in");
            agents.send(at, window_ms as u32).await?;
            at += window_ms;
        }
    }
    Ok(())
}

/// Sends windows as they end, until so many cycles have come.
async fn cycles(server: &mut Server, agents: &mut Agents, minutes: u32, pace: &Pace) -> Result<Vec<Seen>> {
    let mut seen: Vec<Seen> = Vec::new();
    let (window_ms, began) = (pace.window_ms, Instant::now());
    let mut at = now_ms() / window_ms * window_ms;
    let (mut last, mut used) = (server.cycle().await?.map_or(0, |cycle| cycle.number), cpu_s(server.pid())?);
    while seen.len() < minutes as usize {
        ensure!(
            began.elapsed() < PATIENCE * minutes,
            "no {minutes} cycles came: {}",
            server.analyzer.child.log_tail()
        );
        while at + window_ms <= now_ms() {
            agents.send(at, window_ms as u32).await?;
            at += window_ms;
        }
        if let Some(cycle) = server.cycle().await?.filter(|cycle| cycle.number > last) {
            let (before, now) = (used, cpu_s(server.pid())?);
            (last, used) = (cycle.number, now);
            eprintln!("  cycle {}: {} ms, {:?}", cycle.number, cycle.took_ms, cycle.stages);
            seen.push(Seen { cycle, cpu_s: now - before });
        }
        tokio::time::sleep(Duration::from_millis(200)).await;
    }
    Ok(seen)
}

pub(crate) fn now_ms() -> u64 {
    SystemTime::now().duration_since(UNIX_EPOCH).unwrap_or(Duration::ZERO).as_millis() as u64
}
