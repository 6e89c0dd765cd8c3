//! The moment and the deed.

use super::super::row::{Fault, Phase};
use super::super::store::ADAPTER;
use super::super::support::command::{code, stderr};
use super::{Lane, Try};
use anyhow::{Context, Result, ensure};
use isotherm_tests::process::wait_for;
use nix::errno::Errno;
use nix::fcntl::{FallocateFlags, fallocate};
use nix::sys::statvfs::statvfs;
use std::fs::{self, File};
use std::path::Path;
use std::thread;
use std::time::Duration;

/// How long a phase may keep the fault waiting.
const LIMIT: Duration = Duration::from_secs(90);

/// For how long killed programs and servers are away, and cables pulled that are plugged in again.
const AWAY_MS: std::ops::Range<u64> = 100..1_500;
const CUT_MS: std::ops::Range<u64> = 2_000..6_000;

/// Bytes that a full disk has left, and the file that takes the others.
const LEFT_BYTES: u64 = 64 << 10;
const BALLOON: &str = "balloon";

impl Lane {
    /// Prepares what must be there before the migration begins. What stands in the way is told by a dry run, too.
    pub(super) fn plant(&mut self, tried: &mut Try) -> Result<()> {
        match tried.row.fault {
            Fault::Occupied => self.store.occupy(tried.target, true)?,
            Fault::Keyless => self.store.keyless(true)?,
            Fault::FullDisk if tried.row.phase == Phase::Preflight => return self.fill(tried, true),
            Fault::Nothing
            | Fault::KillAnalyzer
            | Fault::KillAdapter
            | Fault::KillSource
            | Fault::KillTarget
            | Fault::CutAdapter
            | Fault::CutSource
            | Fault::LoseAdapter
            | Fault::LoseSource
            | Fault::FullDisk
            | Fault::Corrupt => {
                if self.is_slow(tried.row) {
                    self.store.slow(tried.source, true)?;
                }
                return Ok(());
            }
        }
        let (partition, from, to) =
            (self.store.partition(), self.store.node(tried.source), self.store.node(tried.target));
        let dry = self.programs.ask(&["migrate", "start", &partition, "--from", &from, "--to", &to])?;
        ensure!(code(&dry) == Some(4), "a dry run did not see it: {:?} {}", code(&dry), stderr(&dry));
        Ok(())
    }

    /// Takes away what was planted, which must be as it was.
    pub(super) fn uproot(&mut self, tried: &Try) -> Result<()> {
        match tried.row.fault {
            Fault::Occupied => self.store.occupy(tried.target, false),
            Fault::Keyless => self.store.keyless(false),
            Fault::Corrupt => self.store.recover(),
            Fault::Nothing
            | Fault::KillAnalyzer
            | Fault::KillAdapter
            | Fault::KillSource
            | Fault::KillTarget
            | Fault::CutAdapter
            | Fault::CutSource
            | Fault::LoseAdapter
            | Fault::LoseSource
            | Fault::FullDisk => Ok(()),
        }
    }

    /// Waits for the phase, strikes, and says what the migration waits for. False if it ended before that phase.
    pub(super) fn strike(&mut self, tried: &mut Try) -> Result<bool> {
        if [Fault::Occupied, Fault::Keyless].contains(&tried.row.fault) {
            return Ok(true);
        }
        let mut chance = fastrand::Rng::with_seed(tried.row.seed);
        if !self.reach(tried)? {
            return Ok(false);
        }
        thread::sleep(Duration::from_millis(chance.u64(0..=tried.row.phase.most_delay_ms())));
        tried.hit = self.programs.phases(&tried.id)?.last().cloned().unwrap_or_default();
        self.deed(tried, &mut chance)?;
        if self.is_slow(tried.row) && tried.row.fault != Fault::Corrupt {
            // A server that was killed has forgotten it.
            let _ = self.store.slow(tried.source, false);
        }
        match tried.row.phase {
            Phase::Ready => self.programs.act("switch", &tried.id)?,
            Phase::Switched => self.complete(tried)?,
            Phase::Preflight
            | Phase::Preparing
            | Phase::Replicating
            | Phase::CatchingUp
            | Phase::Verifying
            | Phase::Fencing
            | Phase::Committing
            | Phase::Retiring
            | Phase::Aborting
            | Phase::Reversing => {}
        }
        Ok(true)
    }

    /// Ends probation. What cannot be compared may not be completed: then whatever still fails is mended first.
    fn complete(&mut self, tried: &mut Try) -> Result<()> {
        let asked =
            self.programs.ask(&["migrate", "complete", &tried.id, "--yes", "--reason", "the matrix"])?;
        if code(&asked) == Some(0) {
            return Ok(());
        }
        if Fault::LASTING.contains(&tried.row.fault) && stderr(&asked).contains("has not been verified yet") {
            self.mend(tried)?;
        }
        self.programs.act("complete", &tried.id)
    }

    /// Brings the migration to the row's phase. False if it ended before.
    fn reach(&self, tried: &Try) -> Result<bool> {
        let enter = |phase: Phase| self.programs.entered(&tried.id, phase, LIMIT);
        let (before, verb) = match tried.row.phase {
            Phase::Aborting => (Phase::Replicating, "cancel"),
            Phase::Reversing => (Phase::Switched, "reverse"),
            phase @ (Phase::Preflight
            | Phase::Preparing
            | Phase::Replicating
            | Phase::CatchingUp
            | Phase::Verifying
            | Phase::Ready
            | Phase::Fencing
            | Phase::Committing
            | Phase::Switched
            | Phase::Retiring) => return enter(phase),
        };
        if !enter(before)? {
            return Ok(false);
        }
        self.programs.act(verb, &tried.id)?;
        enter(tried.row.phase)
    }

    fn deed(&mut self, tried: &mut Try, chance: &mut fastrand::Rng) -> Result<()> {
        let (source, target) = (tried.source, tried.target);
        match tried.row.fault {
            Fault::KillAnalyzer => {
                self.programs.kill_analyzer()?;
                pause(chance, AWAY_MS);
                self.programs.restore(&self.network)
            }
            Fault::KillAdapter => {
                self.programs.kill_adapter()?;
                pause(chance, AWAY_MS);
                self.programs.restore(&self.network)
            }
            Fault::KillSource => self.killed(source, chance),
            Fault::KillTarget => self.killed(target, chance),
            Fault::CutAdapter => self.cut(target, ADAPTER, chance),
            Fault::CutSource => self.cut(target, source, chance),
            Fault::LoseAdapter => self.network.cut(target, ADAPTER),
            Fault::LoseSource => self.network.cut(target, source),
            Fault::FullDisk => self.fill(tried, true),
            Fault::Corrupt => self.corrupt(tried),
            Fault::Nothing | Fault::Occupied | Fault::Keyless => Ok(()),
        }
    }

    fn killed(&mut self, server: usize, chance: &mut fastrand::Rng) -> Result<()> {
        self.store.kill(server)?;
        pause(chance, AWAY_MS);
        self.store.start(server)
    }

    fn cut(&self, target: usize, other: usize, chance: &mut fastrand::Rng) -> Result<()> {
        self.network.cut(target, other)?;
        pause(chance, CUT_MS);
        self.network.mend(target, other)
    }

    /// Between the copy and its verification, which a paused migration does not begin.
    fn corrupt(&self, tried: &Try) -> Result<()> {
        self.programs.act("pause", &tried.id)?;
        self.store.slow(tried.source, false)?;
        let whole = || Ok(self.store.copied(tried.target)?.then_some(()));
        wait_for("a copy that is whole", LIMIT, whole)?;
        self.store.corrupt(tried.target)?;
        self.programs.act("resume", &tried.id)
    }

    /// Fills the target's disk, or makes room again.
    pub(super) fn fill(&self, tried: &mut Try, full: bool) -> Result<()> {
        if full == tried.full {
            return Ok(());
        }
        tried.full = full;
        let disk = self.store.disk(tried.target);
        self.network.host(tried.target).run(move || {
            let balloon = disk.join(BALLOON);
            if full { inflate(&disk, &balloon) } else { Ok(fs::remove_file(balloon)?) }
        })?
    }
}

fn inflate(disk: &Path, balloon: &Path) -> Result<()> {
    let file = File::create(balloon).with_context(|| format!("create {}", balloon.display()))?;
    // Others write meanwhile, so what was free may be no more.
    wait_for("a full disk", LIMIT, || {
        let room = statvfs(disk)?;
        let free_bytes = room.blocks_available() * room.fragment_size();
        let size_bytes = i64::try_from(free_bytes.saturating_sub(LEFT_BYTES).max(1))?;
        match fallocate(&file, FallocateFlags::empty(), 0, size_bytes) {
            Ok(()) => Ok(Some(())),
            Err(Errno::ENOSPC) => Ok(None),
            Err(errno) => Err(errno).context("fill a disk"),
        }
    })
}

fn pause(chance: &mut fastrand::Rng, range_ms: std::ops::Range<u64>) {
    thread::sleep(Duration::from_millis(chance.u64(range_ms)));
}
