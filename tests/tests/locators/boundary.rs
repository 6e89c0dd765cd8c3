//! Locators that change under load: each window is counted by one revision of them, and nothing is lost between two.

use isotherm_agent::config::{Config, Target};
use isotherm_agent::locator::{Known, locate};
use isotherm_agent::probe::{Capacity, Probe};
use isotherm_agent::rights;
use isotherm_agent::watch::{Reload, Watcher};
use isotherm_model::{Completeness, Layer, NodeId, Operation, PartitionId, Subject, Window};
use isotherm_proto::{Locator, Locators, Place};
use isotherm_tests::process::wait_for;
use isotherm_tests::skip::skipped;
use isotherm_tests::truth::Generator;
use isotherm_tests::workspace::target_dir;
use std::collections::BTreeSet;
use std::path::Path;
use std::sync::mpsc::Sender;
use std::time::Duration;
use tempfile::TempDir;
use tokio::sync::{mpsc, oneshot};

const LIMIT: Duration = Duration::from_secs(60);

/// Revisions, one after the other: the file is the first partition's, then the other's, then nobody's.
const TURNS: [Option<&str>; 6] = [Some("a"), Some("b"), None, Some("a"), None, Some("b")];

/// The targets with the file as a partition's by locators, or nobody's.
fn located(targets: &[Target], node: &NodeId, file: &str, of: Option<&str>) -> Vec<Target> {
    let locator = Locator {
        node: None,
        files: vec![file.to_owned()],
        devices: Vec::new(),
        ports: Vec::new(),
        key_ranges: Vec::new(),
        relations: Vec::new(),
        slots: Vec::new(),
    };
    let place = |id| {
        let partition = PartitionId::new(node.system().clone(), id).unwrap();
        (Place { node: node.clone(), partition }, vec![locator.clone()])
    };
    let message =
        Locators { revision: 1, located: of.map(place).into_iter().collect(), ..Locators::default() };
    let known = Known::default().with(message, &BTreeSet::from([node.clone()])).unwrap();
    locate(targets, &known).0
}

/// Whose the reads of a window's rows are, or why they are nobody's, and how many.
fn reads(window: &Window) -> Vec<(String, u64)> {
    let rows = window.nodes.iter().filter(|node| !node.node.is_host()).flat_map(|node| &node.rows);
    let rows = rows.filter(|row| (row.layer, row.operation) == (Layer::Logical, Operation::Read));
    rows.map(|row| match &row.subject {
        Subject::Partition(id) => (id.name().to_owned(), row.counts.ops),
        Subject::Other(reason) => (reason.to_string(), row.counts.ops),
        Subject::Unattributed(reason) => (reason.to_string(), row.counts.ops),
    })
    .collect()
}

fn change(reloads: &Sender<Reload>, targets: Vec<Target>) {
    let ((answer, staged), (in_force, is_in_force)) = (oneshot::channel(), oneshot::channel());
    reloads.send(Reload { targets, answer, in_force: Some(in_force) }).unwrap();
    staged.blocking_recv().unwrap().unwrap();
    is_in_force.blocking_recv().unwrap();
}

#[test]
fn a_change_of_locators_loses_nothing_and_each_window_has_one_revision() {
    if let Err(missing) = rights::check() {
        let name = "a_change_of_locators_loses_nothing_and_each_window_has_one_revision";
        return skipped(name, &missing.to_string());
    }
    let parent = target_dir().join("tmp");
    std::fs::create_dir_all(&parent).unwrap();
    let folder = TempDir::new_in(parent).unwrap();
    let truth = Path::new(env!("CARGO_BIN_EXE_truth"));
    let mut generator = Generator::start(truth, folder.path(), "steady").unwrap();
    let text = format!(
        "[agent]\nwindow = \"300ms\"\n[[target]]\nsystem = \"s\"\nnode = \"n\"\nselect = {{ pid = {} }}\n",
        generator.pid()
    );
    let config = Config::parse(Path::new("agent.toml"), &text).unwrap();
    let node = config.targets[0].node.clone();
    let file = folder.path().canonicalize().unwrap().join("shared").display().to_string();
    let watcher = Watcher::new(Probe::attach(Capacity::default()).unwrap(), &config).unwrap();
    let (stop, stopped) = std::sync::mpsc::channel();
    let (reloads, requests) = std::sync::mpsc::channel();
    let (sender, mut received) = mpsc::channel(1_024);
    let (ready, is_ready) = std::sync::mpsc::channel();
    let watching = std::thread::spawn(move || {
        watcher.with_reloads(requests).run(&stopped, &sender, |_| ready.send(()).unwrap())
    });
    is_ready.recv_timeout(LIMIT).unwrap();
    generator.go().unwrap();
    let mut windows: Vec<Window> = Vec::new();
    for of in TURNS {
        change(&reloads, located(&config.targets, &node, &file, of));
        let wanted = of.unwrap_or("no_rule");
        let has = |window: &Window| reads(window).iter().any(|(whose, ops)| *whose == wanted && *ops > 0);
        wait_for("a window by these locators", LIMIT, || {
            while let Ok(window) = received.try_recv() {
                windows.push(window);
                if has(windows.last().unwrap()) {
                    return Ok(Some(()));
                }
            }
            Ok(None)
        })
        .unwrap();
    }
    generator.go().unwrap();
    let truth = generator.done(|| Ok(())).unwrap();
    drop(stop);
    watching.join().unwrap().unwrap();
    while let Ok(window) = received.try_recv() {
        windows.push(window);
    }
    let (done, _) = truth.counts("shared", false);
    let told: u64 = windows.iter().flat_map(reads).map(|(_, ops)| ops).sum();
    assert!(done > 100, "{done} reads are too few to prove anything");
    assert_eq!(told, done, "every read is told once");
    for window in &windows {
        window.nodes.iter().for_each(|node| node.check_conserved().unwrap());
        // Before its name has come, a file is nobody's by any rules.
        let of = reads(window).into_iter().filter(|(whose, _)| whose != "no_path");
        assert!(of.count() <= 1, "one window, two revisions: {:?}", reads(window));
    }
    let inner = &windows[1..windows.len() - 1];
    assert!(
        inner.iter().all(|window| window.completeness == Completeness::Complete),
        "nothing was unwatched"
    );
    assert!(windows.windows(2).all(|pair| pair[0].end() == pair[1].start), "no time is missing");
}
