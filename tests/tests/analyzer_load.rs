//! The real analyzer under the load of a fleet: everything stored exactly once whatever happens on the way, memory
//! within its bound, nobody kept waiting by others, limits met by name.

#![allow(clippy::unwrap_used, reason = "a test fails by panicking")]

mod support;

use isotherm_model::Operation;
use isotherm_proto::control::v1::{Agent as AgentStatus, ClockState, Intake, ListAgentsRequest, Node};
use isotherm_proto::telemetry::v1::NackReason;
use isotherm_tests::process::wait_for;
use isotherm_tests::usage::memory_kib;
use nix::sys::resource::{Resource, getrlimit, setrlimit};
use nix::sys::signal::Signal;
use std::collections::BTreeMap;
use std::fs;
use std::path::Path;
use std::time::{Duration, Instant};
use support::analyzer::{Analyzer, LIMIT, serve};
use support::fleet::{self, Disorder, Fleet, Plan, Role};
use support::sample::{node, row, window};
use support::telemetry::{Agent, Answer, Ended, hello};

/// Agents of the large tests. `ISOTHERM_FLEET` makes them more.
fn size() -> usize {
    std::env::var("ISOTHERM_FLEET").ok().and_then(|text| text.parse().ok()).unwrap_or(1_000)
}

/// Each connection is a descriptor, here and there.
fn provide_files() {
    let (_, hard) = getrlimit(Resource::RLIMIT_NOFILE).unwrap();
    setrlimit(Resource::RLIMIT_NOFILE, hard, hard).unwrap();
}

fn dirs() -> (tempfile::TempDir, tempfile::TempDir) {
    (tempfile::tempdir().unwrap(), tempfile::tempdir().unwrap())
}

fn start(data: &Path, scratch: &Path, ingest: &str) -> Analyzer {
    let config = scratch.join("isotherm.toml");
    fs::write(&config, format!("[ingest]\n{ingest}\n")).unwrap();
    let mut command = serve(data).unwrap();
    command.arg("--config").arg(&config).env("RUST_LOG", "warn");
    Analyzer::from_command(command, scratch).unwrap()
}

/// What a client is told, with its causes.
fn told(error: &dyn std::error::Error) -> String {
    std::iter::successors(Some(error), |error| error.source())
        .map(ToString::to_string)
        .collect::<Vec<_>>()
        .join(": ")
}

/// A line of /proc/PID/status, in KiB.
async fn agents(analyzer: &Analyzer) -> (BTreeMap<String, AgentStatus>, Intake) {
    let answer = analyzer.control().await.unwrap().list_agents(ListAgentsRequest {}).await.unwrap();
    let answer = answer.into_inner();
    let agents = answer.agents.into_iter().map(|agent| (agent.name.clone(), agent)).collect();
    (agents, answer.intake.unwrap())
}

async fn nodes(analyzer: &Analyzer) -> BTreeMap<String, Node> {
    let nodes = analyzer.nodes().await.unwrap();
    nodes.into_iter().map(|node| (node.name.clone(), node)).collect()
}

/// Holds reads and gaps of every node against the fleet's truth.
async fn check(analyzer: &Analyzer, fleet: &Fleet) {
    let nodes = nodes(analyzer).await;
    for truth in &fleet.truths {
        let reads = nodes.get(&truth.name).map_or(0, |node| node.total.unwrap_or_default().reads);
        let gaps = nodes.get(&truth.name).map_or(0, |node| node.gaps);
        assert_eq!((reads, gaps), (truth.reads, truth.missing), "{}", truth.name);
    }
}

#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn agents_in_all_disorder_are_stored_exactly_once_within_a_bound_of_memory() {
    provide_files();
    let (data, scratch) = dirs();
    let mut analyzer = start(data.path(), scratch.path(), "memory = \"64MiB\"\nagent_memory = \"8MiB\"");
    let plan = Plan {
        seed: 7,
        agents: size(),
        batches: 8,
        rows: 8,
        connections: 100,
        disorder: Disorder::ALL,
        roles: |number| if number % 50 == 49 { Role::Deaf } else { Role::Ordinary },
        ..Plan::default()
    };
    let fleet = fleet::run(&analyzer.url, &plan).await.unwrap();
    let seen = fleet.mishaps();
    eprintln!("{} agents, {} acks, {:?}, {seen:?}", plan.agents, fleet.acknowledged(), fleet.took);
    for number in [seen.duplicates, seen.reordered, seen.out_of_order, seen.garbage, seen.cuts, seen.reboots]
    {
        assert!(number > 0, "a disorder that did not happen proves nothing: {seen:?}");
    }
    // Those that do not listen have sent, and it is stored all the same.
    let deaf: Vec<_> = fleet.truths.iter().skip(49).step_by(50).collect();
    let deadline = Instant::now() + LIMIT;
    while {
        let nodes = nodes(&analyzer).await;
        deaf.iter().any(|truth| {
            nodes.get(&truth.name).is_none_or(|node| node.total.is_none_or(|total| total.reads < truth.reads))
        })
    } {
        assert!(Instant::now() < deadline, "what the deaf ones sent is not stored");
        tokio::time::sleep(Duration::from_millis(50)).await;
    }
    check(&analyzer, &fleet).await;
    let (_, intake) = agents(&analyzer).await;
    assert_eq!((intake.streams as usize, intake.memory_bytes, intake.queued), (plan.agents, 0, 0));
    // Memory for batches, and for 1,000 streams with what the program itself takes, questions among it.
    let peak_kib = memory_kib(analyzer.child.pid(), "VmHWM").unwrap();
    eprintln!("VmHWM {} MiB", peak_kib >> 10);
    assert!(peak_kib < 700 << 10, "{peak_kib} KiB");

    // With all of them open it ends in time.
    let started = Instant::now();
    analyzer.child.signal(Signal::SIGTERM).unwrap();
    let status = wait_for("the analyzer to end", LIMIT, || analyzer.child.ended()).unwrap();
    eprintln!("ended within {:?}", started.elapsed());
    assert!(
        status.success() && started.elapsed() < Duration::from_secs(5),
        "{status} {:?}",
        started.elapsed()
    );
    drop(fleet);
}

#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn idle_streams_take_little_and_hold_up_no_end() {
    provide_files();
    let (data, scratch) = dirs();
    let mut analyzer = start(data.path(), scratch.path(), "");
    let plan = |agents| Plan { agents, batches: 0, ..Plan::default() };
    // The first ones pay for what all share.
    let first = fleet::run(&analyzer.url, &plan(50)).await.unwrap();
    let before_kib = memory_kib(analyzer.child.pid(), "VmRSS").unwrap();
    drop(first);
    let fleet = fleet::run(&analyzer.url, &plan(size())).await.unwrap();
    let each_kib = (memory_kib(analyzer.child.pid(), "VmRSS").unwrap().saturating_sub(before_kib)) as usize
        / (size() - 50);
    eprintln!("{each_kib} KiB for each stream with a connection of its own");
    assert!(each_kib < 120, "{each_kib} KiB");
    assert_eq!(fleet.open.len(), size());

    let started = Instant::now();
    analyzer.child.signal(Signal::SIGTERM).unwrap();
    let status = wait_for("the analyzer to end", LIMIT, || analyzer.child.ended()).unwrap();
    assert!(
        status.success() && started.elapsed() < Duration::from_secs(5),
        "{status} {:?}",
        started.elapsed()
    );
}

/// A greedy agent takes all that it gets, the others send a little now and then.
#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn a_greedy_agent_keeps_nobody_waiting_for_its_backlog() {
    let (data, scratch) = dirs();
    let analyzer = start(data.path(), scratch.path(), "memory = \"64MiB\"\nagent_memory = \"4MiB\"");
    let plan = Plan {
        seed: 3,
        agents: 21,
        batches: 15,
        rows: 10,
        pace: Some(Duration::from_millis(200)),
        ..Plan::default()
    };
    let alone = fleet::run(&analyzer.url, &plan).await.unwrap();
    let other_data = tempfile::tempdir().unwrap();
    drop(analyzer);
    let analyzer = start(other_data.path(), scratch.path(), "memory = \"64MiB\"\nagent_memory = \"4MiB\"");
    let greedy = |number| if number == 0 { Role::Greedy { rows: 400, batches: 100 } } else { Role::Ordinary };
    let beside = fleet::run(&analyzer.url, &Plan { roles: greedy, ..plan }).await.unwrap();
    check(&analyzer, &beside).await;
    let ordinary = |number| number > 0;
    let waits = [&alone, &beside].map(|fleet| [50, 95].map(|percent| fleet.wait(percent, ordinary)));
    let its_own = [50, 95].map(|percent| beside.wait(percent, |number| number == 0));
    eprintln!("alone {:?}, beside a greedy one {:?}, which itself waits {its_own:?}", waits[0], waits[1]);
    // A commit under way and one more, each with no more of the greedy one's than its part of the memory; an
    // unoptimised build on two busy processors takes a second for that.
    assert!(waits[1][1] <= (waits[0][1] * 10).max(Duration::from_secs(3)), "{waits:?}");
    let others: u64 = beside.truths[1..].iter().map(|truth| truth.rows).sum();
    assert!(beside.truths[0].rows > 10 * others, "it was not greedy");
}

#[tokio::test]
async fn limits_are_met_by_name_and_others_go_on() {
    let (data, scratch) = dirs();
    let limits = "max_connections = 12\nmax_streams = 6\nmax_streams_per_agent = 2\nmax_agents = 4\n\
                  max_nodes_per_agent = 2\nmax_partitions_per_agent = 10\nmax_partitions = 15\nmax_batch_rows = 40";
    let analyzer = start(data.path(), scratch.path(), limits);
    let refused = async |agent: &str, boot: &str| {
        // Before it is a stream, or as its only answer.
        let status = match Agent::introduce(&analyzer.url, hello(agent, boot)).await {
            Ok(answer) => answer.err().unwrap(),
            Err(error) => error.downcast::<tonic::Status>().unwrap(),
        };
        assert_eq!(status.code(), tonic::Code::ResourceExhausted);
        status.message().to_owned()
    };
    let connect = async |agent: &str, boot: &str| Agent::connect(&analyzer.url, agent, boot).await.unwrap();
    let mut first = connect("a", "1").await;
    let mut replaced = connect("a", "2").await;
    assert_eq!(
        refused("a", "3").await,
        "this stream of agent a would be one more than ingest.max_streams_per_agent = 2"
    );
    let _newer = connect("a", "2").await;
    let error = replaced.answer().await.unwrap_err();
    let Ended(code, message) = error.downcast_ref().unwrap();
    assert_eq!(
        (*code, message.as_str()),
        (tonic::Code::Aborted, "a newer stream of this run took its place")
    );

    let mut second = connect("b", "1").await;
    let _others = (connect("c", "1").await, connect("d", "1").await);
    assert_eq!(refused("e", "1").await, "agent e would be one more than ingest.max_agents = 4");
    let _sixth = connect("d", "2").await;
    assert_eq!(refused("b", "2").await, "this stream would be one more than ingest.max_streams = 6");

    let partitions = |name: &str, number: u64| {
        let rows = (0..number).map(|id| row(&id.to_string(), Operation::Read, 1)).collect();
        window(1, vec![node(name, rows)])
    };
    let retry = |answer: Answer| {
        let Answer::Nack(1, NackReason::Retry, detail) = &answer else { panic!("{answer:?}") };
        detail.clone()
    };
    let eleven = retry(first.deliver(1, &[partitions("n", 11)]).await.unwrap());
    assert!(eleven.ends_with("would be one more than ingest.max_partitions_per_agent = 10"), "{eleven}");
    assert_eq!(first.deliver(1, &[partitions("n", 10)]).await.unwrap(), Answer::Ack(1));
    let six = retry(second.deliver(1, &[partitions("m", 6)]).await.unwrap());
    assert!(six.ends_with("would be one more than ingest.max_partitions = 15"), "{six}");
    let nodes = ["x", "y", "z"].map(|name| node(name, Vec::new())).to_vec();
    let three = retry(second.deliver(1, &[window(1, nodes)]).await.unwrap());
    assert!(three.ends_with("would be one more than ingest.max_nodes_per_agent = 2"), "{three}");
    let answer = second.deliver(1, &[partitions("m", 40)]).await.unwrap();
    let Answer::Nack(1, NackReason::TooLarge, rows) = answer else {
        panic!("{answer:?}");
    };
    assert!(rows.ends_with("more than ingest.max_batch_rows = 40"), "{rows}");
    assert_eq!(second.deliver(1, &[partitions("m", 5)]).await.unwrap(), Answer::Ack(1));

    let (agents, intake) = agents(&analyzer).await;
    assert_eq!((agents["b"].refused, agents["b"].acknowledged, agents["a"].partitions), (3, 1, 10));
    assert!(agents["b"].last_refusal.ends_with("max_batch_rows = 40"), "{}", agents["b"].last_refusal);
    assert_eq!(
        (intake.streams, intake.max_streams, intake.partitions, intake.refused_streams),
        (6, 6, 15, 3)
    );

    // Seven connections are open, and each of the refused ones is about to go. A client that hears it before its
    // request has left says only that the connection was closed, and asks again.
    let mut held = Vec::new();
    let full = loop {
        assert!(held.len() < 20, "{} connections are open", held.len());
        let mut control = analyzer.control().await.unwrap();
        match control.list_agents(ListAgentsRequest {}).await {
            Err(status) if status.code() == tonic::Code::Cancelled => held.push(None),
            Ok(_) => held.push(Some(control)),
            Err(status) => break told(&status),
        }
    };
    assert!(full.contains("this connection would be one more than ingest.max_connections = 12"), "{full}");
    assert_eq!(second.deliver(2, &[partitions("m", 5)]).await.unwrap(), Answer::Ack(2));
}

#[tokio::test]
async fn clocks_that_are_off_are_measured_and_told_and_nothing_is_corrected() {
    let (data, scratch) = dirs();
    let analyzer = start(data.path(), scratch.path(), "");
    let plan = Plan {
        agents: 4,
        batches: 20,
        pace: Some(Duration::from_millis(100)),
        roles: |number| match number {
            1 => Role::Skewed { ms: 30_000 },
            2 => Role::Skewed { ms: -20_000 },
            _ => Role::Ordinary,
        },
        ..Plan::default()
    };
    let fleet = fleet::run(&analyzer.url, &plan).await.unwrap();
    check(&analyzer, &fleet).await;
    let (agents, nodes) = (agents(&analyzer).await.0, nodes(&analyzer).await);
    let of = |number: usize| {
        let name = &fleet.truths[number].name;
        assert_eq!((nodes[name].clock(), nodes[name].lag_ms), (agents[name].clock(), agents[name].lag_ms));
        (agents[name].clock(), agents[name].lag_ms.unwrap())
    };
    for (number, state, least_ms) in [
        (0, ClockState::InStep, 0),
        (1, ClockState::Ahead, -30_000),
        (2, ClockState::Late, 20_000),
        (3, ClockState::InStep, 0),
    ] {
        let (found, lag_ms) = of(number);
        assert_eq!(found, state, "{number}: {lag_ms}");
        assert!((least_ms - 5..least_ms + 2_000).contains(&lag_ms), "{number}: {lag_ms}");
    }
    let log = fs::read_to_string(scratch.path().join("analyzer.log")).unwrap();
    for words in ["its clock is ahead", "comes late by about as much"] {
        assert_eq!(log.matches(words).count(), 1, "{log}");
    }
    let table = String::from_utf8(analyzer.ask(&["get", "nodes", "--since", "@0"]).unwrap().stdout).unwrap();
    assert!(
        table.contains("ahead (-") && table.contains("late (20.") && table.contains("in_step"),
        "{table}"
    );
    let table = String::from_utf8(analyzer.ask(&["get", "agents"]).unwrap().stdout).unwrap();
    assert!(table.contains("agent-00002") && table.contains("streams 4 of 4096"), "{table}");
}
