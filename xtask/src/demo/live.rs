//! The live table: counted against true reads per volume and node, and the entropy that the analyzer
//! computes, once a second until Ctrl-C.

use super::answer::{self, EntropyAnswer, NodeEntropyAnswer, Span};
use super::phase::{Plan, Running, measure};
use super::report::{Compared, Direction, Report, with_clients};
use super::risk::{self, Shown};
use super::stage::Stage;
use super::stop::Stop;
use super::watched::Watched;
use super::{spared, story};
use anyhow::{Result, bail};
use isotherm_tests::load::{Skew, TrueRequests};
use isotherm_tests::workspace;
use std::fmt::Write as _;
use std::io::{IsTerminal, Write, stdout};
use std::time::{Duration, Instant};

/// Of a phase: with this rate it takes 20 s.
const REQUESTS: u64 = 6_000;
const RATE_PER_SECOND: f64 = 300.0;

const REFRESH: Duration = Duration::from_secs(1);

const BAR_CELLS: usize = 20;

/// What a phase shows.
struct Scene {
    name: &'static str,
    look_at: &'static str,
}

const SCENES: [Scene; 2] = [
    Scene {
        name: "uneven",
        look_at: "Every volume has two replicas, read unevenly: node entropy below 1 bit.",
    },
    Scene {
        name: "vanishing",
        look_at: "The skew vanishes, until both replicas are read alike: node entropy rises to 1 bit.",
    },
];

/// Plays the scenes and the story, and leaves everything running until the user stops.
pub(super) fn run(stage: &mut Stage, stop: &Stop) -> Result<()> {
    let mut verdict = "the first phase is running".to_owned();
    let mut watched = Vec::new();
    let skews = [Skew::Uneven { spared: spared(stage) }, Skew::Vanishing { spared: spared(stage) }];
    for ((scene, skew), seed) in SCENES.iter().zip(skews).zip(1..) {
        let plan =
            Plan { name: scene.name, skew, seed, requests: REQUESTS, rate_per_second: RATE_PER_SECOND };
        let (mut next, mut seen) = (Instant::now(), Watched::new());
        let measured = measure(stage, &plan, stop, |stage, running| {
            seen.look(&stage.endpoint)?;
            if Instant::now() >= next {
                next = Instant::now() + REFRESH;
                show(&frame(stage, scene, running, &verdict)?);
            }
            Ok(())
        })?;
        watched.push(seen);
        let report = Report::of(vec![measured], Vec::new(), None);
        let word = if report.equal { "equal to" } else { "NOT EQUAL to" };
        verdict = format!("phase {}: counts and entropies were {word} the truth", scene.name);
        for phase in &report.phases {
            let _ = write!(verdict, "\n{}", phase.summary());
        }
        if !stdout().is_terminal() {
            println!("{verdict}");
        }
    }
    let [before, then] = &watched[..] else { bail!("two scenes are watched") };
    let story = story::play(stage, &before.best, then, stop)?;
    println!("{story}\n\n{}\nCtrl-C stops everything and leaves nothing behind.", questions(&stage.endpoint));
    loop {
        stage.pause(REFRESH, stop)?;
    }
}

fn frame(stage: &Stage, scene: &Scene, running: &Running<'_>, verdict: &str) -> Result<String> {
    let span = Span { since_ms: running.since_ms, until_ms: None };
    let entropies = answer::entropies(&stage.endpoint, span)?;
    let nodes = answer::nodes(&stage.endpoint, span)?;
    let lost: Option<u64> = nodes.iter().map(|node| node.lost).sum();
    let lost = lost.map_or_else(|| "not known yet".to_owned(), |lost| lost.to_string());
    let mut text = String::new();
    let done = running.truth.total();
    let _ =
        writeln!(text, "Isotherm: SeaweedFS watched from the kernel, against a load whose truth is known\n");
    let _ = writeln!(text, "phase {}, {done} of {} requests", scene.name, running.plan.requests);
    let _ = writeln!(text, "{}\n", scene.look_at);
    let _ = writeln!(text, "volume  node            true reads  counted   node entropy (bits)");
    let rows = running.truth.rows();
    for volume in &*stage.volumes {
        let name = volume.id.to_string();
        let entropy = entropies.iter().find(|entropy| entropy.partition == name);
        let of_volume: Vec<&TrueRequests> = rows.iter().filter(|row| row.volume == volume.id).collect();
        for (number, row) in of_volume.iter().enumerate() {
            let shown = if number == 0 { (name.as_str(), bar(entropy)) } else { ("", String::new()) };
            let counted = counted(entropy, &row.node);
            let _ = writeln!(
                text,
                "{:>6}  {:<15} {:>10} {counted:>8}   {}",
                shown.0, row.node, row.gets, shown.1
            );
        }
    }
    let done = stage.disk.stat(&stage.namespace)?.since(&running.device);
    let device = [("read", "read", done.read_bytes), ("written", "write", done.write_bytes)];
    let device = device.map(|(shown, operation, bytes)| {
        let direction = Direction::of(stage.disk.device(), bytes, &nodes, operation);
        format!("{shown} {} of {bytes}", unless_unknown(direction.bytes.counted))
    });
    let _ =
        writeln!(text, "\ndevice   bytes counted of true ({}): {}", stage.disk.device(), device.join(", "));
    let _ = writeln!(text, "network  {}", network(stage, span, running)?);
    let _ = writeln!(text, "\n{}", Shown(&risk::ask(&stage.endpoint)?));
    let _ = writeln!(text, "\nCounts follow the truth by a window or two. Lost events: {lost}.");
    let _ = writeln!(text, "Last result: {verdict}\n");
    let _ = writeln!(text, "{}", questions(&stage.endpoint));
    let _ = writeln!(text, "Ctrl-C stops everything and leaves nothing behind.");
    Ok(text)
}

/// What may be asked while everything runs.
fn questions(endpoint: &str) -> String {
    let mut text = "Ask yourself, from another terminal:".to_owned();
    let questions = [
        "get peers",
        "analyze entropy --since 1m --step all",
        "explain partition 3",
        "what-if node-down",
        "migrate status --all",
        "diary",
    ];
    for question in questions {
        let program = workspace::program("isotherm");
        let _ = write!(text, "\n  {} {question} --server {endpoint}", program.display());
    }
    text
}

/// What the nodes' ports exchanged with clients.
fn network(stage: &Stage, span: Span, running: &Running<'_>) -> Result<String> {
    let traffic = running.truth.traffic();
    let [received, sent, accepts] = with_clients(&traffic, &answer::peers(&stage.endpoint, span)?);
    let pair = |compared: Compared| format!("{} of {}", unless_unknown(compared.counted), compared.truth);
    Ok(format!(
        "bytes counted of true: received {}, sent {}; connections {}",
        pair(received),
        pair(sent),
        pair(accepts)
    ))
}

fn unless_unknown(count: Option<u64>) -> String {
    count.map_or_else(|| "-".to_owned(), |count| count.to_string())
}

fn counted(entropy: Option<&EntropyAnswer>, node: &str) -> String {
    let share = entropy.and_then(|entropy| entropy.shares.iter().find(|share| share.node == node));
    let reads = share.and_then(|share| share.reads);
    reads.map_or_else(|| "-".to_owned(), |reads| reads.to_string())
}

/// A known entropy as a number and a bar of its share of the most that is possible.
fn bar(entropy: Option<&EntropyAnswer>) -> String {
    let Some(entropy) = entropy else { return "not known yet".to_owned() };
    let NodeEntropyAnswer::Known { bits, normalised } = entropy.node_entropy else {
        return entropy.node_entropy.status().to_owned();
    };
    let full = (normalised.clamp(0.0, 1.0) * BAR_CELLS as f64).round() as usize;
    format!("{bits:.3} {}{}", "█".repeat(full), "░".repeat(BAR_CELLS - full))
}

/// Draws over the last frame; where stdout is no terminal, only results are printed.
fn show(frame: &str) {
    if stdout().is_terminal() {
        let mut out = stdout().lock();
        let _ = write!(out, "\x1b[H\x1b[J{frame}");
        let _ = out.flush();
    }
}
