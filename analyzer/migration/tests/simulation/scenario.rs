//! What a seed decides before the first tick.

use crate::chance::Chance;
use isotherm_migration::{
    Approval, Capabilities, Fence, MigrationId, Origin, Path, Policy, Retry, Revision, Spec, Switch,
    SwitchWhen,
};
use isotherm_model::{NodeId, PartitionId, SystemId};

/// A controller that was replaced and does not know it.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub(crate) enum Zombies {
    None,
    /// It writes before it acts, as it should; a write is refused once a successor has written.
    Writing,
    /// It writes to a journal of its own, as after a backup was restored: it and its successor know nothing of each
    /// other but by the adapter. Data must be safe even then; all else may need an operator.
    Blind,
}

pub(crate) struct Scenario {
    pub(crate) spec: Spec,
    /// Percent of messages that are lost, and of those that come twice.
    pub(crate) network: u64,
    /// Percent of calls that are refused for the moment; half as many meet a crash of the adapter.
    pub(crate) adapter: u64,
    /// Permille of ticks at which the controller dies.
    pub(crate) controller: u64,
    /// Whether a controller that is replaced may go on for a while.
    pub(crate) zombies: Zombies,
    /// Permille of ticks at which somebody wants something.
    pub(crate) operator: u64,
    /// A write reaches the copy as another.
    pub(crate) corrupts: bool,
    /// When the source is lost for ever.
    pub(crate) source_lost_ms: Option<u64>,
    /// Whether the operator would rather lose data than wait.
    pub(crate) accepts_loss: bool,
    pub(crate) writes: u64,
}

impl Scenario {
    pub(crate) fn new(chance: &mut Chance) -> Self {
        let path = chance.below(4);
        let calm = chance.percent(10);
        let scale = |percent: u64| if calm { 0 } else { percent };
        Self {
            network: scale(chance.below(25)),
            adapter: scale(chance.below(20)),
            controller: scale(chance.below(20)),
            zombies: match chance.below(10) {
                0..5 => Zombies::None,
                5..8 => Zombies::Writing,
                _ => Zombies::Blind,
            },
            operator: chance.below(16),
            corrupts: chance.percent(8),
            source_lost_ms: chance.percent(8).then(|| chance.below(2_500)),
            accepts_loss: chance.percent(50),
            writes: 20 + chance.below(200),
            spec: spec(path, chance),
        }
    }
}

fn spec(path: u64, chance: &mut Chance) -> Spec {
    let system = SystemId::new("sim").unwrap();
    let node = |name: &str| NodeId::new(system.clone(), name).unwrap();
    let origin = if path == 3 {
        Origin::Repair { dead: node("dead") }
    } else {
        Origin::Move { source: node("source") }
    };
    Spec {
        id: MigrationId::new("m1").unwrap(),
        partition: PartitionId::new(system.clone(), "p").unwrap(),
        origin,
        target: node("target"),
        revision: Revision(3),
        capabilities: Capabilities {
            switch: if path == 2 { Switch::EngineAtomic } else { Switch::Gated },
            fence: if path == 1 { Fence::BeforeCopy } else { Fence::AtSwitch },
            repair_from_replica: true,
            reverse: chance.percent(70),
        },
        policy: Policy {
            approval: if chance.percent(20) { Approval::Within { ms: 600 } } else { Approval::NotNeeded },
            switch: if chance.percent(50) { SwitchWhen::AtOnce } else { SwitchWhen::Told },
            fence_budget_ms: 150,
            copy_fence_budget_ms: chance.percent(50).then_some(1_500),
            max_lag_bytes: 1_000,
            no_progress_ms: 2_000,
            probation_ms: 300,
            bytes_per_s: None,
            call_timeout_ms: 100,
            poll_ms: 25,
            retry: Retry { most_refusals: 6, most_silent: 8, most_fences: 3, first_ms: 10, longest_ms: 100 },
        },
    }
}

/// The name of the path, for statistics.
pub(crate) fn path_name(path: Path) -> &'static str {
    match path {
        Path::FenceAtSwitch => "fence at switch",
        Path::FenceBeforeCopy => "fence before copy",
        Path::Engine => "engine",
        Path::Repair => "repair",
    }
}
