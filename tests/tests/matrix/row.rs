//! Rows of the matrix: a store, a fault, the phase in which it strikes, and a seed for the moment within it.

use std::fmt;
use std::str::FromStr;

/// A storage system.
#[derive(Debug, Clone, Copy, PartialEq, Eq, PartialOrd, Ord, Hash)]
pub(crate) enum Kind {
    SeaweedFs,
    Postgres,
    Valkey,
}

/// What goes wrong.
#[derive(Debug, Clone, Copy, PartialEq, Eq, PartialOrd, Ord, Hash)]
pub(crate) enum Fault {
    /// Nothing does.
    Nothing,
    /// SIGKILL of the analyzer, which is started again.
    KillAnalyzer,
    KillAdapter,
    /// SIGKILL of the server that is left; it is started again with what is on its disk.
    KillSource,
    KillTarget,
    /// The cable between adapter and target is pulled, for seconds.
    CutAdapter,
    /// That between source and target.
    CutSource,
    /// The same until the migration has ended or stopped for an operator, who plugs it in.
    LoseAdapter,
    LoseSource,
    /// Somebody fills the target's disk, and makes room again once the migration has ended or stopped.
    FullDisk,
    /// The target has rows, keys or files of the partition already.
    Occupied,
    /// The partition has no key by which rows could be followed.
    Keyless,
    /// What the copy has is changed behind everybody's back.
    Corrupt,
}

/// Where a migration is, by the name it has in the diary.
#[derive(Debug, Clone, Copy, PartialEq, Eq, PartialOrd, Ord, Hash)]
pub(crate) enum Phase {
    Preflight,
    Preparing,
    Replicating,
    CatchingUp,
    Verifying,
    Ready,
    Fencing,
    Committing,
    Switched,
    Retiring,
    Aborting,
    Reversing,
}

/// One row.
#[derive(Debug, Clone, Copy, PartialEq, Eq, PartialOrd, Ord, Hash)]
pub(crate) struct Row {
    pub(crate) kind: Kind,
    pub(crate) fault: Fault,
    pub(crate) phase: Phase,
    pub(crate) seed: u64,
}

impl Kind {
    pub(crate) const ALL: [Self; 3] = [Self::SeaweedFs, Self::Postgres, Self::Valkey];

    /// As `isotherm-adapter` calls it.
    pub(crate) fn name(self) -> &'static str {
        match self {
            Self::SeaweedFs => "seaweedfs",
            Self::Postgres => "postgres",
            Self::Valkey => "valkey",
        }
    }

    /// Phases that its migrations go through. An engine that switches by itself copies, catches up and switches in one,
    /// and what follows is verified in SWITCHED.
    pub(crate) fn phases(self) -> Vec<Phase> {
        let engine = [Phase::CatchingUp, Phase::Verifying, Phase::Fencing, Phase::Committing];
        let all = Phase::ALL.into_iter();
        match self {
            Self::SeaweedFs | Self::Postgres => all.collect(),
            Self::Valkey => all.filter(|phase| !engine.contains(phase)).collect(),
        }
    }
}

impl Fault {
    /// Those that strike in any phase and last.
    pub(crate) const LASTING: [Self; 2] = [Self::LoseAdapter, Self::LoseSource];

    /// All of them.
    const ALL: [Self; 13] = [
        Self::Nothing,
        Self::KillAnalyzer,
        Self::KillAdapter,
        Self::KillSource,
        Self::KillTarget,
        Self::CutAdapter,
        Self::CutSource,
        Self::LoseAdapter,
        Self::LoseSource,
        Self::FullDisk,
        Self::Occupied,
        Self::Keyless,
        Self::Corrupt,
    ];

    fn name(self) -> &'static str {
        match self {
            Self::Nothing => "nothing",
            Self::KillAnalyzer => "kill-analyzer",
            Self::KillAdapter => "kill-adapter",
            Self::KillSource => "kill-source",
            Self::KillTarget => "kill-target",
            Self::CutAdapter => "cut-adapter-target",
            Self::CutSource => "cut-source-target",
            Self::LoseAdapter => "lose-adapter-target",
            Self::LoseSource => "lose-source-target",
            Self::FullDisk => "full-disk",
            Self::Occupied => "occupied",
            Self::Keyless => "keyless",
            Self::Corrupt => "corrupt",
        }
    }

    /// The phases in which it is tried.
    pub(crate) fn phases(self, kind: Kind) -> Vec<Phase> {
        match self {
            Self::Nothing
            | Self::KillAnalyzer
            | Self::KillAdapter
            | Self::KillSource
            | Self::KillTarget
            | Self::CutAdapter
            | Self::CutSource
            | Self::LoseAdapter
            | Self::LoseSource => kind.phases(),
            Self::FullDisk => vec![Phase::Preflight, Phase::Replicating],
            Self::Occupied => vec![Phase::Preflight],
            // A key is what PostgreSQL alone can be without.
            Self::Keyless => {
                if kind == Kind::Postgres {
                    vec![Phase::Preflight]
                } else {
                    Vec::new()
                }
            }
            Self::Corrupt => vec![Phase::Replicating],
        }
    }
}

impl Phase {
    pub(crate) const ALL: [Self; 12] = [
        Self::Preflight,
        Self::Preparing,
        Self::Replicating,
        Self::CatchingUp,
        Self::Verifying,
        Self::Ready,
        Self::Fencing,
        Self::Committing,
        Self::Switched,
        Self::Retiring,
        Self::Aborting,
        Self::Reversing,
    ];

    /// As the diary has it.
    pub(crate) fn name(self) -> &'static str {
        match self {
            Self::Preflight => "PREFLIGHT",
            Self::Preparing => "PREPARING",
            Self::Replicating => "REPLICATING",
            Self::CatchingUp => "CATCHING_UP",
            Self::Verifying => "VERIFYING",
            Self::Ready => "READY",
            Self::Fencing => "FENCING",
            Self::Committing => "COMMITTING",
            Self::Switched => "SWITCHED",
            Self::Retiring => "RETIRING",
            Self::Aborting => "ABORTING",
            Self::Reversing => "REVERSING",
        }
    }

    /// The longest that a fault waits after the phase was begun: phases that last are struck anywhere in them.
    pub(crate) fn most_delay_ms(self) -> u64 {
        match self {
            Self::Replicating | Self::Switched | Self::Ready => 500,
            Self::Preflight
            | Self::Preparing
            | Self::CatchingUp
            | Self::Verifying
            | Self::Fencing
            | Self::Committing
            | Self::Retiring
            | Self::Aborting
            | Self::Reversing => 40,
        }
    }
}

/// All rows, store by store.
pub(crate) fn whole(seed: u64) -> Vec<Row> {
    let mut rows = Vec::new();
    for kind in Kind::ALL {
        for fault in Fault::ALL {
            rows.extend(fault.phases(kind).into_iter().map(|phase| Row { kind, fault, phase, seed }));
        }
    }
    rows
}

/// Of how many rows of a store and a fault a sample has one.
const EVERY: usize = 3;

/// What each run of the tests tries: of a store and a fault every third phase, by the seed. What lasts for minutes is not
/// among it: `cargo xtask soak migration` tries all.
fn sampled(kind: Kind) -> &'static [Fault] {
    match kind {
        Kind::SeaweedFs => {
            &[Fault::Nothing, Fault::KillAnalyzer, Fault::KillAdapter, Fault::Occupied, Fault::Corrupt]
        }
        Kind::Postgres => &[
            Fault::Nothing,
            Fault::KillAnalyzer,
            Fault::KillAdapter,
            Fault::KillSource,
            Fault::Occupied,
            Fault::Keyless,
            Fault::Corrupt,
        ],
        Kind::Valkey => &[
            Fault::Nothing,
            Fault::KillAnalyzer,
            Fault::KillAdapter,
            Fault::KillSource,
            Fault::KillTarget,
            Fault::CutAdapter,
            Fault::CutSource,
            Fault::Occupied,
            Fault::Corrupt,
        ],
    }
}

/// A sample: each store with each fault that is [sampled], in other phases for each fault.
pub(crate) fn sample(seed: u64) -> Vec<Row> {
    let turn = usize::try_from(seed).unwrap_or(0);
    let mut rows = Vec::new();
    for kind in Kind::ALL {
        for (number, fault) in sampled(kind).iter().copied().enumerate() {
            let phases = fault.phases(kind);
            let first = (turn + number) % EVERY.min(phases.len());
            let chosen = phases.into_iter().skip(first).step_by(EVERY);
            rows.extend(chosen.map(|phase| Row { kind, fault, phase, seed }));
        }
    }
    rows
}

impl fmt::Display for Row {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        let (kind, fault, phase) = (self.kind.name(), self.fault.name(), self.phase.name());
        write!(f, "{kind}/{fault}/{phase}/{}", self.seed)
    }
}

impl FromStr for Row {
    type Err = String;

    /// `STORE/FAULT/PHASE/SEED`, as it is shown.
    fn from_str(text: &str) -> Result<Self, String> {
        let wrong = || format!("{text:?} is no row, such as valkey/kill-source/REPLICATING/1");
        let parts: Vec<&str> = text.split('/').collect();
        let [kind, fault, phase, seed] = parts[..] else { return Err(wrong()) };
        Ok(Self {
            kind: Kind::ALL.into_iter().find(|one| one.name() == kind).ok_or_else(wrong)?,
            fault: Fault::ALL.into_iter().find(|one| one.name() == fault).ok_or_else(wrong)?,
            phase: Phase::ALL.into_iter().find(|one| one.name() == phase).ok_or_else(wrong)?,
            seed: seed.parse().map_err(|_| wrong())?,
        })
    }
}

#[cfg(test)]
mod tests {
    use super::*;
    use std::collections::BTreeSet;

    #[test]
    fn a_sample_has_each_store_with_each_of_its_faults_and_in_time_each_phase() {
        let mut ever = BTreeSet::new();
        for seed in 0..EVERY as u64 {
            let (sample, all) = (sample(seed), whole(seed));
            for kind in Kind::ALL {
                let of_kind = sample.iter().filter(|row| row.kind == kind);
                let faults: BTreeSet<Fault> = of_kind.map(|row| row.fault).collect();
                assert_eq!(faults, sampled(kind).iter().copied().collect());
            }
            assert!(sample.iter().all(|row| all.contains(row)), "{sample:?}");
            ever.extend(sample.into_iter().map(|row| (row.kind, row.fault, row.phase)));
        }
        let wanted = whole(0).into_iter().filter(|row| sampled(row.kind).contains(&row.fault));
        assert_eq!(ever, wanted.map(|row| (row.kind, row.fault, row.phase)).collect());
    }

    #[test]
    fn rows_are_read_as_they_are_shown() {
        for row in whole(7) {
            assert_eq!(row.to_string().parse(), Ok(row));
        }
        assert!("valkey/kill-source/REPLICATING".parse::<Row>().is_err());
        assert!("valkey/kill-source/REPLICATING/x".parse::<Row>().is_err());
    }
}
