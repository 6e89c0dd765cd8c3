//! Readiness by the protocol of sd_notify(3): the child writes `READY=1` to a datagram socket we bind.

use crate::process::Child;
use anyhow::{Context, Result, bail};
use std::env;
use std::fs;
use std::io::ErrorKind;
use std::os::unix::net::UnixDatagram;
use std::path::{Path, PathBuf};
use std::process::Command;
use std::time::{Duration, Instant};

/// The longest path of a socket, from unix(7), without its closing zero byte.
const MAX_PATH_BYTES: usize = 107;

/// The socket of one child. Its file goes with it.
#[derive(Debug)]
pub struct Notify {
    socket: UnixDatagram,
    path: PathBuf,
    /// The last `STATUS=` received.
    status: Option<String>,
}

impl Notify {
    /// Binds `NAME.sock` in `folder`, or, where that path is too long for a socket, in the system's
    /// temporary folder.
    pub fn bind(folder: &Path, name: &str) -> Result<Self> {
        let mut path = folder.join(format!("{name}.sock"));
        if path.as_os_str().len() > MAX_PATH_BYTES {
            path = env::temp_dir().join(format!("isotherm-{}-{name}.sock", std::process::id()));
        }
        let _ = fs::remove_file(&path);
        let socket = UnixDatagram::bind(&path).with_context(|| format!("bind {}", path.display()))?;
        Ok(Self { socket, path, status: None })
    }

    /// Tells a command where to report.
    pub fn announce(&self, command: &mut Command) {
        command.env("NOTIFY_SOCKET", &self.path);
    }

    /// Waits until the child says that it is ready; fails with its log if it ends, or at the deadline.
    pub fn wait_ready(&mut self, child: &mut Child, limit: Duration) -> Result<()> {
        let deadline = Instant::now() + limit;
        let mut buffer = [0; 4096];
        self.socket.set_read_timeout(Some(Duration::from_millis(100))).context("set a read timeout")?;
        loop {
            match self.socket.recv(&mut buffer) {
                Ok(len) => {
                    if self.is_ready(&String::from_utf8_lossy(&buffer[..len])) {
                        return Ok(());
                    }
                }
                Err(error) if [ErrorKind::WouldBlock, ErrorKind::TimedOut].contains(&error.kind()) => {}
                Err(error) if error.kind() == ErrorKind::Interrupted => {}
                Err(error) => return Err(error).context("receive a notification"),
            }
            child.ensure_alive()?;
            if Instant::now() >= deadline {
                bail!(
                    "not ready after {} s; status: {:?}\n{}",
                    limit.as_secs(),
                    self.status,
                    child.log_tail()
                );
            }
        }
    }

    /// What the child last said about itself.
    #[must_use]
    pub fn status(&self) -> Option<&str> {
        self.status.as_deref()
    }

    fn is_ready(&mut self, message: &str) -> bool {
        for line in message.lines() {
            if let Some(status) = line.strip_prefix("STATUS=") {
                self.status = Some(status.to_owned());
            }
        }
        message.lines().any(|line| line == "READY=1")
    }
}

impl Drop for Notify {
    fn drop(&mut self) {
        let _ = fs::remove_file(&self.path);
    }
}
