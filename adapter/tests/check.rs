//! The check against the simulated store: an adapter that is right passes in all its shapes, also when it is killed
//! in every phase, and each flaw is found.

#![allow(clippy::unwrap_used, reason = "tests")]

use isotherm_adapter::check::{Finding, Options, Report, check};
use std::fs;
use std::net::TcpListener;
use std::path::Path;
use std::process::{Child, Command, Stdio};
use std::time::{Duration, Instant};
use tempfile::TempDir;

const ADAPTER: &str = env!("CARGO_BIN_EXE_isotherm-adapter");

/// An adapter that runs, and is killed when dropped, also after it was started anew by the check.
struct Running {
    folder: TempDir,
    endpoint: String,
}

impl Running {
    fn start(store: &str) -> Self {
        let folder = TempDir::new().unwrap();
        let port = TcpListener::bind("127.0.0.1:0").unwrap().local_addr().unwrap().port();
        let data = folder.path().join("data");
        let config = format!(
            "system = \"demo\"\ndata = {data:?}\nlisten = \"127.0.0.1:{port}\"\n[store]\n{store}\n\
             state = \"cluster.sqlite\"\nlatency = \"1ms\"\npartitions = 3\nblocks = 24\n"
        );
        fs::write(folder.path().join("adapter.toml"), config).unwrap();
        // Waits for the one that was killed to be gone: it has the port and the lock.
        let script = format!(
            "cd {:?}\nif read -r pid < pid; then kill -9 \"$pid\"; \
             until ! kill -0 \"$pid\" || grep -q 'State:.Z' \"/proc/$pid/status\"; do sleep 0.02; done; fi 2> /dev/null\n\
             {ADAPTER:?} simulated --config adapter.toml < /dev/null > /dev/null 2>> log &\necho $! > pid\n",
            folder.path()
        );
        fs::write(folder.path().join("restart.sh"), script).unwrap();
        let running = Self { folder, endpoint: format!("http://127.0.0.1:{port}") };
        assert!(Command::new("sh").arg(running.folder.path().join("restart.sh")).status().unwrap().success());
        let until = Instant::now() + Duration::from_secs(20);
        while std::net::TcpStream::connect(("127.0.0.1", port)).is_err() {
            assert!(Instant::now() < until, "{}", running.log());
            std::thread::sleep(Duration::from_millis(20));
        }
        running
    }

    fn log(&self) -> String {
        fs::read_to_string(self.folder.path().join("log")).unwrap_or_default()
    }

    fn restart(&self) -> String {
        format!("sh {}", self.folder.path().join("restart.sh").display())
    }

    fn check(&self, only: &[&str]) -> Report {
        let only = only.iter().map(|name| (*name).to_owned()).collect();
        let options = Options { restart: Some(self.restart()), only, ..Options::default() };
        let runtime = tokio::runtime::Builder::new_multi_thread().worker_threads(1).enable_all().build();
        runtime.unwrap().block_on(check(&self.endpoint, options)).unwrap()
    }
}

impl Drop for Running {
    fn drop(&mut self) {
        let Ok(pid) = fs::read_to_string(self.folder.path().join("pid")) else { return };
        let _ = Command::new("kill").args(["-9", pid.trim()]).stderr(Stdio::null()).status();
    }
}

fn passes(store: &str, skipped: &[&str]) {
    let running = Running::start(store);
    let report = running.check(&[]);
    assert!(report.is_good(), "{report}\n{}", running.log());
    let left_out: Vec<&str> = report
        .checks
        .iter()
        .filter(|checked| matches!(checked.finding, Finding::Skipped(_)))
        .map(|checked| checked.check)
        .collect();
    assert_eq!(left_out, skipped, "{report}");
}

#[test]
fn an_adapter_that_fences_at_the_switch_passes_with_clients_and_faults() {
    passes("kind = \"at_switch\"\nwrites_per_s = 100\nrefuse_percent = 8\nseed = 3", &["repair"]);
}

#[test]
fn an_adapter_that_fences_before_the_copy_passes_and_repairs() {
    let store = "kind = \"before_copy\"\nshift_reads = \"drain\"\ndown = [\"n4\"]\nwrites_per_s = 100";
    passes(store, &[]);
}

#[test]
fn an_engine_that_switches_by_itself_passes() {
    passes("kind = \"engine_atomic\"\nwrites_per_s = 100", &["warrant", "fence", "repair"]);
}

#[test]
fn every_flaw_is_found_by_the_story_that_is_about_it() {
    for (flaw, found_by) in [
        ("forgets-requests", "other content"),
        ("skips-terms", "stale term"),
        ("skips-epochs", "stale epoch"),
        ("commits-blindly", "warrant"),
        ("hides-fence", "fence"),
        ("progress-falls", "progress"),
        ("abort-leaves-copy", "abort"),
        ("retire-leaves-source", "move"),
        ("forgets-at-start", "crash"),
    ] {
        let running = Running::start(&format!("kind = \"at_switch\"\nflaw = {flaw:?}"));
        let report = running.check(&[found_by]);
        assert_eq!(report.failures(), [found_by], "{flaw} is not found:\n{report}");
    }
}

#[test]
fn a_second_adapter_of_the_same_folder_is_told_so() {
    let running = Running::start("kind = \"at_switch\"");
    let folder = running.folder.path();
    let config = fs::read_to_string(folder.join("adapter.toml")).unwrap();
    let listen = config.lines().find(|line| line.starts_with("listen")).unwrap();
    fs::write(folder.join("second.toml"), config.replace(listen, "listen = \"127.0.0.1:0\"")).unwrap();
    let (code, error) = refused(&folder.join("second.toml"));
    assert_eq!(code, Some(1));
    assert!(error.contains("is in use by process"), "{error}");
}

#[test]
fn a_wrong_file_is_refused_with_line_and_key() {
    let folder = TempDir::new().unwrap();
    let file = folder.path().join("adapter.toml");
    let head = "system = \"demo\"\ndata = \"data\"\n";
    for (rest, says) in [
        ("[store]\nkind = \"at_once\"\n", "adapter.toml:4: kind: unknown variant"),
        ("[store]\ncolour = 1\n", "adapter.toml:4: colour: unknown field"),
        ("[store]\nnodes = 3\nreplicas = 3\n", "adapter.toml:5: store.replicas: 3 is not within 1 and 2"),
        ("[store]\ndown = [\"n9\"]\n", "adapter.toml:4: store.down: \"n9\" is no node"),
        ("listen = \"0.0.0.0:7700\"\n[store]\n", "adapter.toml:3: listen: 0.0.0.0:7700 can be reached"),
        ("", "adapter.toml:1: system: missing field `store`"),
    ] {
        fs::write(&file, format!("{head}{rest}")).unwrap();
        let (code, error) = refused(&file);
        assert_eq!(code, Some(1), "{rest}");
        assert!(error.contains(says), "{rest} is refused with {error}");
    }
}

fn refused(config: &Path) -> (Option<i32>, String) {
    let mut adapter = Command::new(ADAPTER);
    let adapter: &mut Command = adapter.args(["simulated", "--config"]).arg(config);
    let child: Child = adapter.stdout(Stdio::null()).stderr(Stdio::piped()).spawn().unwrap();
    let output = child.wait_with_output().unwrap();
    (output.status.code(), String::from_utf8(output.stderr).unwrap())
}
