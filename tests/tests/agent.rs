//! The agent as its users run it: the binary, its messages and its reports.

#![allow(clippy::unwrap_used, reason = "the whole file is a test")]

use caps::{CapSet, Capability};
use isotherm_agent::rights;
use isotherm_tests::process::{Child, spawn, wait_for};
use isotherm_tests::skip::skipped;
use isotherm_tests::truth::Generator;
use isotherm_tests::workspace::{program, target_dir};
use serde_json::Value;
use std::path::Path;
use std::process::{Command, Output};
use std::time::Duration;
use tempfile::TempDir;

/// How long the agent may take for a step: its start is a second of processor time, which it may have to share.
const LIMIT: Duration = Duration::from_secs(60);

fn folder() -> TempDir {
    let parent = target_dir().join("tmp");
    std::fs::create_dir_all(&parent).unwrap();
    TempDir::new_in(parent).unwrap()
}

fn agent() -> Command {
    let path = program("isotherm-agent");
    assert!(path.exists(), "{} is not built: cargo build --workspace --bins", path.display());
    Command::new(path)
}

fn error_of(output: &Output) -> String {
    assert!(!output.status.success(), "{output:?}");
    String::from_utf8_lossy(&output.stderr).into_owned()
}

/// `true`, told as skipped, where a right that the test itself needs is missing, or the program that uses
/// it.
fn cannot(test: &str, capability: Capability, program: &str) -> bool {
    if !caps::has_cap(None, CapSet::Effective, capability).unwrap() {
        skipped(test, &format!("missing {capability}, for {program}"));
        return true;
    }
    let installed = Command::new(program).arg("--version").output().is_ok();
    if !installed {
        skipped(test, &format!("{program} is not installed (Debian package util-linux)"));
    }
    !installed
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

#[test]
fn top_reports_what_a_process_did() {
    if no_rights("top_reports_what_a_process_did") {
        return;
    }
    let folder = folder();
    let truth = Path::new(env!("CARGO_BIN_EXE_truth"));
    let mut generator = Generator::start(truth, folder.path(), "shared").unwrap();
    let pattern = format!("{}/(shared)", folder.path().display());
    let pid = generator.pid().to_string();
    let log = folder.path().join("top.log");
    let report = folder.path().join("report.json");
    let mut command = agent();
    command.args(["top", "--pid", &pid, "--path", &pattern, "--once", "--for", "8s", "-o", "json"]);
    let mut top = spawn_with_output("top", &mut command, &log, &report);
    wait_for("top to watch the process", LIMIT, || {
        top.ensure_alive()?;
        Ok(std::fs::read_to_string(&log)?.contains(&format!("watching process {pid} ")).then_some(()))
    })
    .unwrap();
    generator.go().unwrap();
    let did = generator.done(|| Ok(())).unwrap();
    let status = wait_for("top to report", LIMIT, || top.ended()).unwrap();
    assert!(status.success(), "{}", top.log_tail());
    let text = std::fs::read_to_string(&report).unwrap();
    let report: Value = serde_json::from_str(&text).unwrap();
    let (reads, bytes) = did.counts("shared", false);
    let lines = report["lines"].as_array().unwrap();
    assert_eq!(lines.len(), 1, "{text}");
    let line = &lines[0];
    assert_eq!((line["partition"].as_str(), line["reads"].as_u64()), (Some("shared"), Some(reads)), "{text}");
    assert_eq!((line["read_bytes"].as_u64(), line["writes"].as_u64()), (Some(bytes), Some(0)), "{text}");
    assert!(line["offset_entropy_bits"].as_f64().unwrap() > 1.0, "{text}");
    assert_eq!((report["lost"].as_u64(), report["unattributed"].as_u64()), (Some(0), Some(0)), "{text}");
}

/// As [`spawn`], with stdout in a file of its own.
fn spawn_with_output(name: &str, command: &mut Command, log: &Path, output: &Path) -> Child {
    // A shell keeps the two apart; exec makes the agent take its place.
    let mut shell = Command::new("sh");
    shell
        .arg("-c")
        .arg("exec \"$@\" > \"$0\"")
        .arg(output)
        .arg(command.get_program())
        .args(command.get_args());
    spawn(name, &mut shell, log).unwrap()
}

#[test]
fn top_says_what_it_looked_for() {
    if no_rights("top_says_what_it_looked_for") {
        return;
    }
    // Above every limit of process ids (2^22).
    let error = error_of(&agent().args(["top", "--pid", "4194305", "--once"]).output().unwrap());
    assert!(error.contains("process [4194305] is not there") && error.contains("--path"), "{error}");
    let error = error_of(&agent().args(["top", "--path", "(", "--once"]).output().unwrap());
    assert!(error.contains("--path") && error.contains("unclosed group"), "{error}");
}

#[test]
fn check_tells_whose_a_path_is_and_where_an_error_is() {
    let folder = folder();
    let config = folder.path().join("agent.toml");
    let text = "[[target]]\nsystem = \"s\"\nnode = \"n\"\nselect = { pid = 1 }\n\
                [[target.rule]]\npath = '/(\\d+)\\.dat$'\npartition = \"$1\"\n";
    std::fs::write(&config, text).unwrap();
    let check = |paths: &[&str]| {
        let mut command = agent();
        command.arg("check").arg("--config").arg(&config);
        for path in paths {
            command.args(["--path", path]);
        }
        command.output().unwrap()
    };
    let output = check(&["/v/7.dat", "/v/7.idx"]);
    let told = String::from_utf8(output.stdout).unwrap();
    assert!(told.contains("/v/7.dat: partition 7") && told.contains("/v/7.idx: other"), "{told}");
    std::fs::write(&config, text.replace("pid = 1", "pid = 1, port = 2")).unwrap();
    let error = error_of(&check(&[]));
    assert!(error.contains("agent.toml:4: unknown field `port`"), "{error}");
    std::fs::remove_file(&config).unwrap();
    let error = error_of(&check(&[]));
    assert!(error.contains("cannot read") && error.contains("agent.toml"), "{error}");
}

#[test]
fn a_missing_right_is_named() {
    let name = "a_missing_right_is_named";
    if no_rights(name) || cannot(name, Capability::CAP_SETPCAP, "setpriv") {
        return;
    }
    let path = program("isotherm-agent");
    let output =
        Command::new("setpriv").arg("--bounding-set=-perfmon").arg(path).args(["top", "--once"]).output();
    let error = error_of(&output.unwrap());
    assert!(error.contains("missing CAP_PERFMON") && error.contains("setcap"), "{error}");
    assert!(!error.contains("CAP_BPF ("), "{error}");
}

/// Runs `top` where `mount` has changed what the kernel shows, for this process alone.
fn top_after(mount: &str) -> String {
    let script = format!("{mount} && exec \"$0\" top --pid $$ --once --for 1s");
    let output = Command::new("unshare")
        .args(["--mount", "sh", "-c", &script])
        .arg(program("isotherm-agent"))
        .output()
        .unwrap();
    error_of(&output)
}

#[test]
fn a_kernel_that_lacks_something_is_told_what() {
    let name = "a_kernel_that_lacks_something_is_told_what";
    if no_rights(name) || cannot(name, Capability::CAP_SYS_ADMIN, "unshare") {
        return;
    }
    let error = top_after("mount -t tmpfs none /sys/kernel/btf");
    assert!(error.contains("/sys/kernel/btf/vmlinux") && error.contains("CONFIG_DEBUG_INFO_BTF"), "{error}");
    // The type information of a kernel whose inodes have no generation.
    let mut types = std::fs::read("/sys/kernel/btf/vmlinux").unwrap();
    let name = b"\0i_generation\0";
    let at = types.windows(name.len()).position(|window| window == name).unwrap();
    types[at + 1] = b'x';
    let folder = folder();
    let path = folder.path().join("vmlinux");
    std::fs::write(&path, &types).unwrap();
    let error = top_after(&format!("mount --bind {} /sys/kernel/btf/vmlinux", path.display()));
    assert!(error.contains("no field `inode.i_generation`, which the system call probe needs"), "{error}");
    std::fs::write(&path, &types[..types.len() / 2]).unwrap();
    let error = top_after(&format!("mount --bind {} /sys/kernel/btf/vmlinux", path.display()));
    assert!(error.contains("type information is damaged"), "{error}");
}

#[test]
fn an_agent_among_processes_of_its_own_refuses_to_count() {
    let name = "an_agent_among_processes_of_its_own_refuses_to_count";
    if no_rights(name) || cannot(name, Capability::CAP_SYS_ADMIN, "unshare") {
        return;
    }
    let output = Command::new("unshare")
        .args(["--pid", "--fork", "--mount-proc"])
        .arg(program("isotherm-agent"))
        .args(["top", "--pid", "1", "--once", "--for", "1s"])
        .output()
        .unwrap();
    let error = error_of(&output);
    assert!(error.contains("not in a process namespace of its own"), "{error}");
}

#[test]
fn a_target_without_a_process_is_waited_for() {
    if no_rights("a_target_without_a_process_is_waited_for") {
        return;
    }
    let folder = folder();
    let config = folder.path().join("agent.toml");
    // The pattern must not match the command line of anything else, this test's children included.
    let marker = folder.path().file_name().unwrap().to_string_lossy().into_owned();
    let text = format!(
        "[agent]\nwindow = \"1s\"\n[analyzer]\nendpoint = \"http://127.0.0.1:1\"\n[spool]\ndir = \"{}\"\n[[target]]\n\
         system = \"s\"\nnode = \"n\"\nselect = {{ cmdline = '{marker} shared$' }}\n",
        folder.path().join("spool").display()
    );
    std::fs::write(&config, text).unwrap();
    let log = folder.path().join("log");
    let mut running = spawn("isotherm-agent", agent().arg("run").arg("--config").arg(&config), &log).unwrap();
    let mut says = |what: &str| {
        wait_for(what, LIMIT, || {
            running.ensure_alive()?;
            Ok(std::fs::read_to_string(&log)?.contains(what).then_some(()))
        })
        .unwrap();
    };
    says("no process matches s/n; waiting for one");
    says("watching 0 processes of 1 targets");
    // There is no analyzer either; that ends nothing.
    says("cannot connect to http://127.0.0.1:1");
    let generator =
        Generator::start(Path::new(env!("CARGO_BIN_EXE_truth")), folder.path(), "shared").unwrap();
    says(&format!("watching process {} for s/n", generator.pid()));
    running.signal(nix::sys::signal::Signal::SIGTERM).unwrap();
    let status = wait_for("the agent to stop", LIMIT, || running.ended()).unwrap();
    assert!(status.success(), "{status}\n{}", running.log_tail());
    assert!(
        std::fs::read_to_string(&log).unwrap().contains("batches were not delivered; they stay in the spool"),
        "it says what became of them"
    );
}
