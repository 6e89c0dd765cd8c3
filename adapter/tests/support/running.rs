//! An adapter that is killed and started anew.

use isotherm_adapter::check::{Options, Report, check};
use std::fs;
use std::net::TcpListener;
use std::process::{Command, Stdio};
use std::time::{Duration, Instant};
use tempfile::TempDir;

pub(crate) const ADAPTER: &str = env!("CARGO_BIN_EXE_isotherm-adapter");

/// An adapter that runs, and is killed when dropped, also after it was started anew by the check.
pub(crate) struct Running {
    pub(crate) folder: TempDir,
    endpoint: String,
}

impl Running {
    /// Of this kind of store, with this table `[store]`.
    pub(crate) fn start(kind: &str, store: &str) -> Self {
        let (folder, port) = (TempDir::new().unwrap(), free_port());
        let data = folder.path().join("data");
        let config =
            format!("system = \"demo\"\ndata = {data:?}\nlisten = \"127.0.0.1:{port}\"\n[store]\n{store}\n");
        fs::write(folder.path().join("adapter.toml"), config).unwrap();
        Self::launch(folder, port, &format!("{ADAPTER:?} {kind} --config adapter.toml"))
    }

    /// Of any program, by the command that starts it in the folder and lets it listen at the port.
    pub(crate) fn launch(folder: TempDir, port: u16, command: &str) -> Self {
        // Waits for the one that was killed to be gone: it has the port and the lock.
        let script = format!(
            "cd {:?}\nif read -r pid < pid; then kill -9 \"$pid\"; \
             until ! kill -0 \"$pid\" || grep -q 'State:.Z' \"/proc/$pid/status\"; do sleep 0.02; done; fi 2> /dev/null\n\
             {command} < /dev/null > /dev/null 2>> log &\necho $! > pid\n",
            folder.path()
        );
        fs::write(folder.path().join("restart.sh"), script).unwrap();
        let running = Self { folder, endpoint: format!("http://127.0.0.1:{port}") };
        assert!(Command::new("sh").arg(running.folder.path().join("restart.sh")).status().unwrap().success());
        let until = Instant::now() + Duration::from_secs(60);
        while std::net::TcpStream::connect(("127.0.0.1", port)).is_err() {
            assert!(Instant::now() < until, "{}", running.log());
            std::thread::sleep(Duration::from_millis(20));
        }
        running
    }

    pub(crate) fn log(&self) -> String {
        fs::read_to_string(self.folder.path().join("log")).unwrap_or_default()
    }

    fn restart(&self) -> String {
        format!("sh {}", self.folder.path().join("restart.sh").display())
    }

    /// What the check finds, killing it on the way.
    pub(crate) fn check(&self, options: Options) -> Report {
        let options = Options { restart: Some(self.restart()), ..options };
        let runtime = tokio::runtime::Builder::new_multi_thread().worker_threads(1).enable_all().build();
        runtime.unwrap().block_on(check(&self.endpoint, options)).unwrap()
    }
}

/// A port that nobody has at the moment.
pub(crate) fn free_port() -> u16 {
    TcpListener::bind("127.0.0.1:0").unwrap().local_addr().unwrap().port()
}

impl Drop for Running {
    fn drop(&mut self) {
        let Ok(pid) = fs::read_to_string(self.folder.path().join("pid")) else { return };
        let _ = Command::new("kill").args(["-9", pid.trim()]).stderr(Stdio::null()).status();
    }
}
