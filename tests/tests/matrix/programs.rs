//! Analyzer, adapter and command line, and the journal by which the moment of a fault is chosen.

use super::row::{Kind, Phase};
use super::store::{ADAPTER, Store};
use super::support::analyzer::{Analyzer, run, serve_on};
use super::support::command::{code, stderr};
use anyhow::{Context, Result, bail, ensure};
use isotherm_tests::network::Network;
use isotherm_tests::notify::Notify;
use isotherm_tests::process::{Child, wait_for};
use isotherm_tests::workspace;
use rusqlite::{Connection, OpenFlags};
use serde_json::Value;
use std::fs;
use std::ops::Range;
use std::path::PathBuf;
use std::process::{Command, Output};
use std::thread;
use std::time::{Duration, Instant};
use tempfile::TempDir;

const LIMIT: Duration = Duration::from_secs(60);

/// Between two looks into the journal: shorter than any phase.
const LOOK: Duration = Duration::from_millis(4);

/// Lines of a log that a failure shows.
const TAIL_LINES: usize = 40;

/// Where the analyzer listens, on the hub.
const SERVER: &str = "http://127.0.0.1:7600";

/// The programs of one store.
pub(crate) struct Programs {
    folder: TempDir,
    kind: Kind,
    adapter: Option<Child>,
    analyzer: Option<Analyzer>,
}

impl Programs {
    /// Writes their configuration, and starts them. To be called on the hub.
    pub(crate) fn start(kind: Kind, store: &dyn Store, network: &Network) -> Result<Self> {
        let folder = tempfile::tempdir()?;
        let (dir, name) = (folder.path().display(), kind.name());
        let address = format!("{}:7700", network.host(ADAPTER).address());
        let adapter = format!(
            "system = \"{name}\"\ndata = \"{dir}/adapter\"\n[listen]\naddress = \"{address}\"\n\
             allow_plaintext = true\n[store]\n{}",
            store.table()
        );
        let analyzer = format!(
            "[[adapter]]\nsystem = \"{name}\"\nendpoint = \"http://{address}\"\nheartbeat = \"2s\"\n\
             [migrate]\nprobation = \"700ms\"\nno_progress = \"40s\"\n"
        );
        fs::write(folder.path().join("adapter.toml"), adapter)?;
        fs::write(folder.path().join("isotherm.toml"), analyzer)?;
        let mut programs = Self { folder, kind, adapter: None, analyzer: None };
        programs.restore(network)?;
        Ok(programs)
    }

    fn path(&self, name: &str) -> PathBuf {
        self.folder.path().join(name)
    }

    /// Starts what does not run, and waits until it is ready.
    pub(crate) fn restore(&mut self, network: &Network) -> Result<()> {
        if self.adapter.is_none() {
            let mut command = Command::new(workspace::program("isotherm-adapter"));
            command
                .args([self.kind.name(), "--config"])
                .arg(self.path("adapter.toml"))
                .env("RUST_LOG", "info");
            let mut notify = Notify::bind(self.folder.path(), "adapter")?;
            notify.announce(&mut command);
            self.keep_log("adapter")?;
            let log = self.path("adapter.log");
            let mut child = network.host(ADAPTER).spawn("isotherm-adapter", command, &log)?;
            notify.wait_ready(&mut child, LIMIT)?;
            self.adapter = Some(child);
        }
        if self.analyzer.is_none() {
            let mut command = serve_on(SERVER.trim_start_matches("http://"), &self.path("data"))?;
            command.arg("--config").arg(self.path("isotherm.toml"));
            self.keep_log("analyzer")?;
            self.analyzer = Some(Analyzer::from_command(command, self.folder.path())?);
        }
        Ok(())
    }

    /// What a program said before it was killed goes before what its successor says.
    fn keep_log(&self, name: &str) -> Result<()> {
        let (log, earlier) = (self.path(&format!("{name}.log")), self.path(&format!("{name}.earlier.log")));
        if log.exists() {
            fs::rename(&log, &earlier)?;
        }
        Ok(())
    }

    /// By SIGKILL.
    pub(crate) fn kill_analyzer(&mut self) -> Result<()> {
        self.analyzer.take().context("the analyzer runs")?.child.kill();
        Ok(())
    }

    /// By SIGKILL.
    pub(crate) fn kill_adapter(&mut self) -> Result<()> {
        self.adapter.take().context("the adapter runs")?.kill();
        Ok(())
    }

    /// Runs a command of the CLI.
    pub(crate) fn ask(&self, args: &[&str]) -> Result<Output> {
        run(&[args, &["--server", SERVER]].concat())
    }

    /// The answer of a command that must succeed.
    pub(crate) fn parsed(&self, args: &[&str]) -> Result<Value> {
        let output = self.ask(&[args, &["-o", "json"]].concat())?;
        ensure!(code(&output) == Some(0), "isotherm {}: {}", args.join(" "), stderr(&output));
        Ok(serde_json::from_slice(&output.stdout)?)
    }

    /// What is told of a migration.
    pub(crate) fn status(&self, id: &str) -> Result<Value> {
        let mut told = self.parsed(&["migrate", "status", id])?["migration"].take();
        // What may be done now says nothing of what is.
        if let Some(told) = told.as_object_mut() {
            told.remove("permissions");
        }
        Ok(told)
    }

    /// Tells a migration something, as often as it takes until it is taken on.
    pub(crate) fn act(&self, verb: &str, id: &str) -> Result<()> {
        let mut last = String::new();
        let yes: &[&str] = match verb {
            "approve" | "switch" | "reverse" | "complete" | "retry" | "accept-loss" => &["--yes"],
            _ => &[],
        };
        let done = wait_for(verb, LIMIT, || {
            let output = self.ask(&[&["migrate", verb, id, "--reason", "the matrix"], yes].concat())?;
            last = stderr(&output);
            if code(&output) != Some(0) {
                thread::sleep(Duration::from_millis(200));
            }
            Ok((code(&output) == Some(0)).then_some(()))
        });
        done.with_context(|| format!("migrate {verb}: {last}"))
    }

    /// Waits until the adapter has nothing against a move. The topology follows the store, so that takes a moment.
    pub(crate) fn agreed(&self, partition: &str, source: &str, target: &str) -> Result<()> {
        let mut last = String::new();
        let asked = wait_for("a move that can be made", LIMIT, || {
            let output = self.ask(&["migrate", "start", partition, "--from", source, "--to", target])?;
            last = stderr(&output);
            Ok((code(&output) == Some(0)).then_some(()))
        });
        asked.with_context(|| last)
    }

    /// Waits until the diary says that a migration has entered a phase; false if it ended or stopped before that.
    pub(crate) fn entered(&self, id: &str, phase: Phase, limit: Duration) -> Result<bool> {
        let deadline = Instant::now() + limit;
        loop {
            let seen = self.phases(id)?;
            if seen.iter().any(|line| line == phase.name()) {
                return Ok(true);
            }
            if seen.last().is_some_and(|line| ENDS.contains(&line.as_str()) || line == STOPPED) {
                return Ok(false);
            }
            if Instant::now() >= deadline {
                bail!("it did not enter {}: it went {}", phase.name(), seen.join(", "));
            }
            thread::sleep(LOOK);
        }
    }

    /// The phases that a migration went through, as the journal has them, which is read beside whoever writes it.
    pub(crate) fn phases(&self, id: &str) -> Result<Vec<String>> {
        Ok(self.entries(id)?.into_iter().map(|(_, phase)| phase).collect())
    }

    /// When a migration was in which phase, in microseconds since 1970.
    pub(crate) fn spells(&self, id: &str) -> Result<Vec<(String, Range<i64>)>> {
        let entries = self.entries(id)?;
        let ends = entries.iter().skip(1).map(|(at_ms, _)| (*at_ms + 1) * 1_000).chain([i64::MAX]);
        let spells = entries.iter().zip(ends);
        Ok(spells.map(|((at_ms, phase), end_us)| (phase.clone(), at_ms * 1_000..end_us)).collect())
    }

    /// When it entered which phase, in milliseconds since 1970.
    fn entries(&self, id: &str) -> Result<Vec<(i64, String)>> {
        let flags = OpenFlags::SQLITE_OPEN_READ_ONLY | OpenFlags::SQLITE_OPEN_NO_MUTEX;
        let journal = Connection::open_with_flags(self.path("data/migrations.sqlite"), flags)?;
        journal.busy_timeout(LIMIT)?;
        let mut lines = journal.prepare(
            "SELECT at_ms, what FROM diary WHERE migration = ?1 AND kind = 'phase' ORDER BY number",
        )?;
        let lines = lines.query_map([id], |row| Ok((row.get(0)?, row.get(1)?)))?;
        Ok(lines.collect::<Result<_, _>>()?)
    }

    /// What the programs said last, for a failure.
    pub(crate) fn logs(&self) -> String {
        let log = |name: &str| {
            let text = fs::read_to_string(self.path(name)).unwrap_or_default();
            let lines: Vec<&str> = text.lines().collect();
            lines[lines.len().saturating_sub(TAIL_LINES)..].join("\n")
        };
        let names = ["analyzer.earlier.log", "analyzer.log", "adapter.earlier.log", "adapter.log"];
        names.map(|name| format!("\n--- {name}\n{}", log(name))).concat()
    }
}

/// Phases that are ends.
pub(crate) const ENDS: [&str; 5] = ["COMPLETED", "CANCELLED", "FAILED", "REVERSED", "EXPIRED"];

/// The phase of one that waits for somebody.
pub(crate) const STOPPED: &str = "NEEDS_OPERATOR";
