//! The agent in operation: a changed configuration, its service manager, the least rights, its own metrics.

#![allow(clippy::unwrap_used, reason = "the whole file is a test")]

use caps::{CapSet, Capability};
use isotherm_agent::config::Config;
use isotherm_agent::discovery::{self, Depth, Listeners, Selector};
use isotherm_agent::probe::{Capacity, Probe};
use isotherm_agent::rights;
use isotherm_agent::watch::{Reload, Watcher};
use isotherm_model::{Completeness, Layer, Operation, Subject, Window};
use isotherm_tests::process::{Child, spawn, wait_for};
use isotherm_tests::skip::skipped;
use isotherm_tests::truth::Generator;
use isotherm_tests::workspace::{program, target_dir};
use nix::sys::signal::Signal;
use std::os::unix::fs::PermissionsExt;
use std::os::unix::net::UnixDatagram;
use std::path::Path;
use std::process::Command;
use std::time::Duration;
use tempfile::TempDir;

/// How long the agent may take for a step: its start is a second of processor time, which it may have to share.
const LIMIT: Duration = Duration::from_secs(60);

/// Neither root nor anyone else.
const NOBODY: u32 = 65534;

fn folder() -> TempDir {
    let parent = target_dir().join("tmp");
    std::fs::create_dir_all(&parent).unwrap();
    TempDir::new_in(parent).unwrap()
}

fn generator(folder: &TempDir) -> Generator {
    Generator::start(Path::new(env!("CARGO_BIN_EXE_truth")), folder.path(), "steady").unwrap()
}

/// `true`, told as skipped, where the rights are missing.
fn no_rights(test: &str) -> bool {
    match rights::check() {
        Ok(()) => false,
        Err(missing) => {
            skipped(test, &missing.to_string());
            true
        }
    }
}

/// An analyzer that does not answer, metrics at any port, and a spool in the folder.
fn head(folder: &TempDir) -> String {
    let spool = folder.path().join("spool");
    format!(
        "[analyzer]\nendpoint = \"http://127.0.0.1:1\"\n[metrics]\nlisten = \"127.0.0.1:0\"\n[spool]\ndir = {spool:?}\n"
    )
}

/// A configuration of targets, each a node, a selector and the template of its partitions.
fn targets(head: &str, targets: &[(&str, &str, &str)]) -> String {
    let mut text = format!("[agent]\nwindow = \"300ms\"\n{head}");
    for (node, select, partition) in targets {
        text += &format!(
            "[[target]]\nsystem = \"s\"\nnode = \"{node}\"\nselect = {{ {select} }}\n[[target.rule]]\npath = '/(shared)$'\n\
             partition = \"{partition}\"\n"
        );
    }
    text
}

fn config(text: &str) -> Config {
    Config::parse(Path::new("agent.toml"), text).unwrap()
}

/// Nodes of targets, the host not among them.
fn nodes(window: &Window) -> usize {
    window.nodes.iter().filter(|node| !node.node.is_host()).count()
}

/// Node, partition and reads of each row.
fn partitions(window: &Window) -> Vec<(String, String, u64)> {
    let rows = window.nodes.iter().flat_map(|node| node.rows.iter().map(move |row| (node, row)));
    let rows = rows.filter(|(_, row)| (row.layer, row.operation) == (Layer::Logical, Operation::Read));
    rows.filter_map(|(node, row)| match &row.subject {
        Subject::Partition(id) => Some((node.node.name().to_owned(), id.name().to_owned(), row.counts.ops)),
        Subject::Other(_) | Subject::Unattributed(_) => None,
    })
    .collect()
}

#[test]
fn a_reload_loses_nothing_and_each_window_has_one_set_of_rules() {
    if no_rights("a_reload_loses_nothing_and_each_window_has_one_set_of_rules") {
        return;
    }
    let (folder, other_folder) = (folder(), folder());
    let (mut generator, waiting) = (generator(&folder), generator(&other_folder));
    let chosen = format!("pid = {}", generator.pid());
    // Not this process, whose children are generators of other tests, which would count for it.
    let idle = format!("pid = {}", waiting.pid());
    let old = config(&targets("", &[("n", &chosen, "a$1")]));
    let watcher = Watcher::new(Probe::attach(Capacity::default()).unwrap(), &old).unwrap();
    let (stop, stopped) = std::sync::mpsc::channel();
    let (reloads, requests) = std::sync::mpsc::channel();
    let (sender, mut received) = tokio::sync::mpsc::channel(1_024);
    let (ready, is_ready) = std::sync::mpsc::channel();
    let watching = std::thread::spawn(move || {
        watcher.with_reloads(requests).run(&stopped, &sender, |_| ready.send(()).unwrap())
    });
    is_ready.recv_timeout(LIMIT).unwrap();
    generator.go().unwrap();
    let mut windows: Vec<Window> = Vec::new();
    let mut until = |windows: &mut Vec<Window>, what: &str, holds: &dyn Fn(&Window) -> bool| {
        wait_for(what, LIMIT, || {
            while let Ok(window) = received.try_recv() {
                windows.push(window);
                if holds(windows.last().unwrap()) {
                    return Ok(Some(()));
                }
            }
            Ok(None)
        })
        .unwrap();
    };
    let has = |window: &Window, node: &str, partition: &str| {
        window.completeness == Completeness::Complete
            && partitions(window).iter().any(|(n, p, _)| n == node && p == partition)
    };
    let reload = |list: &[(&str, &str, &str)]| {
        let (answer, changes) = tokio::sync::oneshot::channel();
        reloads.send(Reload { targets: config(&targets("", list)).targets, answer, in_force: None }).unwrap();
        changes.blocking_recv().unwrap().unwrap().to_string()
    };
    until(&mut windows, "a window with the old rules", &|window| has(window, "n", "ashared"));
    // Other rules, and a second target whose process ran before.
    let changes = reload(&[("n", &chosen, "b$1"), ("second", &idle, "x$1")]);
    assert_eq!(changes, "added s/second; other rules for s/n");
    until(&mut windows, "a window with the new rules", &|window| has(window, "n", "bshared"));
    assert!(nodes(windows.last().unwrap()) == 2, "both targets are told");
    let from = windows.iter().position(|window| window.completeness == Completeness::Complete).unwrap();
    let gap: Vec<&Window> =
        windows[from..].iter().filter(|window| window.completeness == Completeness::Partial).collect();
    assert!(gap.is_empty(), "nothing was unwatched for a moment: {gap:?}");
    // The process changes hands, and a target goes.
    let changes = reload(&[("heir", &chosen, "c$1")]);
    assert_eq!(changes, "added s/heir; removed s/n, s/second");
    until(&mut windows, "a window of the heir", &|window| has(window, "heir", "cshared"));
    until(&mut windows, "a window of the heir alone", &|window| nodes(window) == 1);
    // The index of a removed target is free again after a while.
    let changes = reload(&[("heir", &chosen, "c$1"), ("n", &idle, "a$1")]);
    assert_eq!(changes, "added s/n");
    until(&mut windows, "a window of two", &|window| nodes(window) == 2);
    generator.go().unwrap();
    let truth = generator.done(|| Ok(())).unwrap();
    drop(stop);
    watching.join().unwrap().unwrap();
    while let Ok(window) = received.try_recv() {
        windows.push(window);
    }
    let told: u64 = windows.iter().flat_map(partitions).map(|(_, _, ops)| ops).sum();
    assert_eq!(told, truth.counts("shared", false).0, "every read is told once");
    for window in &windows {
        for node in &window.nodes {
            node.check_conserved().unwrap();
        }
        let of_n: Vec<String> =
            partitions(window).into_iter().filter(|(node, _, _)| node == "n").map(|(_, id, _)| id).collect();
        assert!(of_n.len() <= 1, "one window, two sets of rules: {of_n:?}");
    }
    for (one, next) in windows.iter().zip(&windows[1..]) {
        assert!(one.end() == next.start, "no time is missing between windows");
    }
}

/// The agent's binary with a service manager that listens.
struct Running {
    child: Child,
    manager: UnixDatagram,
    told: Vec<String>,
    log: std::path::PathBuf,
}

impl Running {
    fn start(folder: &TempDir, command: &mut Command) -> Self {
        let socket = folder.path().join("notify");
        let manager = UnixDatagram::bind(&socket).unwrap();
        std::fs::set_permissions(&socket, PermissionsExt::from_mode(0o777)).unwrap();
        manager.set_nonblocking(true).unwrap();
        command.env("NOTIFY_SOCKET", &socket).env("WATCHDOG_USEC", "600000");
        let log = folder.path().join("log");
        Self { child: spawn("isotherm-agent", command, &log).unwrap(), manager, told: Vec::new(), log }
    }

    fn log(&self) -> String {
        std::fs::read_to_string(&self.log).unwrap()
    }

    /// Waits for something that the service manager is told, after what it was told before.
    fn tells(&mut self, what: &str) {
        let Self { child, manager, told, .. } = self;
        wait_for(what, LIMIT, || {
            child.ensure_alive()?;
            let mut buffer = [0; 4096];
            while let Ok(length) = manager.recv(&mut buffer) {
                told.push(String::from_utf8_lossy(&buffer[..length]).into_owned());
                if told.last().unwrap().contains(what) {
                    return Ok(Some(()));
                }
            }
            Ok(None)
        })
        .unwrap();
    }
}

#[test]
fn the_service_manager_is_told_of_progress_and_of_reloads() {
    if no_rights("the_service_manager_is_told_of_progress_and_of_reloads") {
        return;
    }
    let folder = folder();
    let file = folder.path().join("agent.toml");
    let head = head(&folder);
    let good = targets(&head, &[("n", "pid = 1", "a$1")]);
    std::fs::write(&file, &good).unwrap();
    let mut command = Command::new(program("isotherm-agent"));
    command.args(["--log-format", "json", "run", "--config"]).arg(&file);
    let mut running = Running::start(&folder, &mut command);
    running.tells("READY=1");
    for _ in 0..3 {
        running.tells("WATCHDOG=1");
    }
    // A broken file leaves everything as it was, and says where it is broken.
    std::fs::write(&file, good.replace("pid = 1", "pid = 1, port = 2")).unwrap();
    running.child.signal(Signal::SIGHUP).unwrap();
    running.tells("RELOADING=1");
    assert!(running.told.last().unwrap().contains("MONOTONIC_USEC="), "{:?}", running.told);
    running.tells("READY=1");
    let status = running.told.last().unwrap().clone();
    assert!(
        status.contains("stays as it was") && status.contains("agent.toml:12: unknown field `port`"),
        "{status}"
    );
    // A good one is taken; what needs a restart is named.
    std::fs::write(&file, good.replace("300ms", "400ms").replace("\"n\"", "\"m\"")).unwrap();
    running.child.signal(Signal::SIGHUP).unwrap();
    running.tells("RELOADING=1");
    running.tells("READY=1");
    let status = running.told.last().unwrap().clone();
    assert!(status.contains("added s/m; removed s/n"), "{status}");
    running.tells("WATCHDOG=1");
    running.child.signal(Signal::SIGTERM).unwrap();
    running.tells("STOPPING=1");
    let status = wait_for("the agent to stop", LIMIT, || running.child.ended()).unwrap();
    assert!(status.success(), "{status}\n{}", running.child.log_tail());
    let messages: Vec<serde_json::Value> =
        running.log().lines().map(|line| serde_json::from_str(line).expect(line)).collect();
    let has = |level: &str, text: &str| {
        messages
            .iter()
            .any(|message| message["level"] == level && message["message"].as_str().unwrap().contains(text))
    };
    assert!(has("WARN", "only a restart puts it in force: agent.window"), "{messages:?}");
    assert!(has("ERROR", "the configuration stays as it was"), "{messages:?}");
}

fn status_field(pid: u32, field: &str) -> String {
    let status = std::fs::read_to_string(format!("/proc/{pid}/status")).unwrap();
    let line = status.lines().find_map(|line| line.strip_prefix(field)?.strip_prefix(':')).unwrap();
    line.trim().to_owned()
}

fn set_of(pid: u32, field: &str) -> u64 {
    u64::from_str_radix(&status_field(pid, field), 16).unwrap()
}

#[test]
fn a_user_without_other_rights_counts_and_then_has_fewer() {
    let name = "a_user_without_other_rights_counts_and_then_has_fewer";
    if no_rights(name) {
        return;
    }
    for needed in [Capability::CAP_SETUID, Capability::CAP_SETGID, Capability::CAP_SETPCAP] {
        if !caps::has_cap(None, CapSet::Effective, needed).unwrap() {
            return skipped(name, &format!("missing {needed}, for setpriv"));
        }
    }
    if Command::new("setpriv").arg("--version").output().is_err() {
        return skipped(name, "setpriv is not installed (Debian package util-linux)");
    }
    // Where anyone may look, unlike the folder of build output.
    let folder = TempDir::new().unwrap();
    std::fs::set_permissions(folder.path(), PermissionsExt::from_mode(0o755)).unwrap();
    let binary = folder.path().join("isotherm-agent");
    std::fs::copy(program("isotherm-agent"), &binary).unwrap();
    let mut generator = generator(&folder);
    let file = folder.path().join("agent.toml");
    let head = head(&folder);
    std::fs::write(&file, targets(&head, &[("n", &format!("pid = {}", generator.pid()), "a$1")])).unwrap();
    std::fs::create_dir(folder.path().join("spool")).unwrap();
    std::os::unix::fs::chown(folder.path().join("spool"), Some(NOBODY), Some(NOBODY)).unwrap();
    let rights = "-all,+bpf,+perfmon,+sys_ptrace,+dac_read_search,+syslog";
    let mut command = Command::new("setpriv");
    command
        .args([&format!("--reuid={NOBODY}"), &format!("--regid={NOBODY}"), "--clear-groups"])
        .args([&format!("--inh-caps={rights}"), &format!("--ambient-caps={rights}")])
        .arg(&binary)
        .args(["run", "--config"])
        .arg(&file);
    let mut running = Running::start(&folder, &mut command);
    running.tells("READY=1");
    let pid = running.child.pid();
    assert_eq!(status_field(pid, "Uid").split_whitespace().next().unwrap(), NOBODY.to_string());
    let bit = |capability: Capability| 1u64 << capability.index();
    let always = bit(Capability::CAP_SYS_PTRACE) | bit(Capability::CAP_DAC_READ_SEARCH);
    // Kernels before 5.19 ask for CAP_BPF at each use of a map where others may not use it at all.
    let permitted = set_of(pid, "CapPrm") & !bit(Capability::CAP_BPF);
    assert_eq!((permitted, set_of(pid, "CapEff") & !bit(Capability::CAP_BPF)), (always, always));
    assert_eq!((set_of(pid, "CapAmb"), set_of(pid, "CapInh")), (0, 0));
    assert_eq!(status_field(pid, "NoNewPrivs"), "1");

    generator.go().unwrap();
    let log = running.log();
    let address = log.split("metrics at http://").nth(1).unwrap().split('/').next().unwrap().to_owned();
    let scrape = || {
        ureq::get(format!("http://{address}/metrics")).call().unwrap().body_mut().read_to_string().unwrap()
    };
    let counted = |text: &str| -> u64 {
        let series = "isotherm_agent_accesses_total{layer=\"logical\",operation=\"read\",class=\"partition\",reason=\"\"} ";
        text.lines().find_map(|line| line.strip_prefix(series)?.parse().ok()).unwrap_or(0)
    };
    wait_for("something to be counted", LIMIT, || Ok((counted(&scrape()) > 0).then_some(()))).unwrap();
    generator.go().unwrap();
    let truth = generator.done(|| Ok(())).unwrap();
    let (reads, _) = truth.counts("shared", false);
    wait_for("every read to be counted", LIMIT, || Ok((counted(&scrape()) == reads).then_some(()))).unwrap();
    let text = scrape();
    assert!(text.contains("isotherm_agent_target_processes{system=\"s\",node=\"n\"} 1"), "{text}");
    assert!(text.contains("isotherm_agent_map_capacity_entries{map=\"FILES\"}"), "{text}");
    assert!(text.contains("isotherm_agent_conservation_failures_total 0"), "{text}");
}

#[test]
fn probe_says_what_works_here_and_its_exit_code_agrees() {
    let name = "probe_says_what_works_here_and_its_exit_code_agrees";
    if no_rights(name) {
        return;
    }
    let layer = |output: &std::process::Output| -> serde_json::Value {
        let report: serde_json::Value = serde_json::from_slice(&output.stdout).unwrap();
        report["layers"].as_array().unwrap().iter().find(|layer| layer["layer"] == "logical").unwrap().clone()
    };
    let agent = program("isotherm-agent");
    let output = Command::new(&agent).args(["probe", "-o", "json"]).output().unwrap();
    assert!(output.status.success(), "{output:?}");
    assert_ne!(layer(&output)["state"], "not_available");
    if !caps::has_cap(None, CapSet::Effective, Capability::CAP_SETPCAP).unwrap() {
        return skipped(name, "missing CAP_SETPCAP, for setpriv");
    }
    let mut without = Command::new("setpriv");
    let output =
        without.arg("--bounding-set=-perfmon").arg(&agent).args(["probe", "-o", "json"]).output().unwrap();
    assert_eq!(output.status.code(), Some(1), "{output:?}");
    let layer = layer(&output);
    assert_eq!(layer["state"], "not_available");
    assert!(layer["reasons"][0].as_str().unwrap().starts_with("missing CAP_PERFMON"), "{layer}");
}

#[test]
fn a_listener_in_another_network_namespace_is_found_and_not_looked_for_all_the_time() {
    let name = "a_listener_in_another_network_namespace_is_found_and_not_looked_for_all_the_time";
    if !caps::has_cap(None, CapSet::Effective, Capability::CAP_SYS_ADMIN).unwrap() {
        return skipped(name, "missing CAP_SYS_ADMIN, for a network namespace");
    }
    let folder = folder();
    let script =
        "import socket, time\ns = socket.socket()\ns.bind(('0.0.0.0', 4711))\ns.listen()\ntime.sleep(60)\n";
    let mut command = Command::new("unshare");
    command.args(["--net", "sh", "-c", "ip link set lo up; exec python3 -c \"$0\"", script]);
    let listener = spawn("listener", &mut command, &folder.path().join("log")).unwrap();
    let mut listeners = Listeners::default();
    // The same port elsewhere is another matter: this address is local in that namespace only as loopback.
    let wanted = Selector { listen: Some("127.0.0.1:4711".parse().unwrap()), ..Selector::default() };
    let found = |listeners: &mut Listeners, depth| {
        let candidates = discovery::candidates().unwrap();
        listeners.update(&candidates, depth);
        let selection = discovery::select_with(&candidates, [(0, &wanted)].into_iter(), listeners);
        selection.processes.contains(&(listener.pid(), 0))
    };
    wait_for("the listener to be found", LIMIT, || Ok(found(&mut listeners, Depth::Full).then_some(())))
        .unwrap();
    // A short look right after it keeps what it knows, and says that it did not read again.
    assert!(found(&mut listeners, Depth::Short) && listeners.is_stale());
}
