//! The table `[store]` of a simulated cluster. Everything has a default.
//!
//! ```toml
//! [store]
//! kind = "at_switch"        # or "before_copy" or "engine_atomic": who switches, and when writes are stopped
//! nodes = 4
//! partitions = 8
//! replicas = 2
//! blocks = 64               # of a partition
//! block_bytes = 4096
//! down = ["n4"]             # nodes that are dead
//! seed = 1                  # of the bytes, and of what happens by chance
//! latency = "5ms"           # of a small step, and of the copy of a few blocks
//! refuse_percent = 0        # steps that are refused for the moment, by chance
//! writes_per_s = 0          # of clients, on all partitions together
//! shift_reads = "leader"    # or "drain" or "none"
//! max_concurrent = 4
//! load_capacity = 1000      # accesses per second that a node can serve; default: nobody has measured it
//! state = "cluster.sqlite"  # where the cluster outlives the adapter; default: nowhere
//! flaw = "skips-terms"      # what is wrong on purpose, for tests of the check
//! ```

use super::world::World;
use super::{Flaw, SimulatedStore, clients};
use crate::config::{Problem, duration};
use crate::ledger::Ledger;
use crate::store::Store;
use crate::stores::Configured;
use anyhow::Context as _;
use isotherm_model::SystemId;
use isotherm_proto::ShiftReads;
use serde::Deserialize;
use std::path::{Path, PathBuf};
use std::sync::Arc;
use std::time::Duration;
use toml::Spanned;

/// A cluster to be made up.
#[derive(Debug, Clone)]
pub struct Simulated {
    pub(super) kind: Kind,
    pub(super) nodes: u32,
    pub(super) partitions: u32,
    pub(super) replicas: u32,
    pub(super) blocks: u32,
    pub(super) block_bytes: u32,
    pub(super) down: Vec<String>,
    pub(super) seed: u64,
    pub(super) latency: Duration,
    pub(super) refuse_percent: u8,
    pub(super) writes_per_s: u32,
    pub(super) shift_reads: ShiftReads,
    pub(super) max_concurrent: u32,
    pub(super) load_capacity: Option<u32>,
    pub(super) state: Option<PathBuf>,
    pub(super) flaw: Option<Flaw>,
}

/// Which kind of system it plays.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Deserialize)]
#[serde(rename_all = "snake_case")]
pub enum Kind {
    /// The caller switches; writes stop for that only.
    AtSwitch,
    /// The caller switches; writes stop for all of the copy.
    BeforeCopy,
    /// The engine copies and switches.
    EngineAtomic,
}

#[derive(Debug, Clone, Copy, Deserialize)]
#[serde(rename_all = "snake_case")]
enum RawShift {
    None,
    Leader,
    Drain,
}

/// The table as it is written.
#[derive(Deserialize)]
#[serde(deny_unknown_fields)]
pub struct Raw {
    kind: Option<Kind>,
    nodes: Option<Spanned<u32>>,
    partitions: Option<Spanned<u32>>,
    replicas: Option<Spanned<u32>>,
    blocks: Option<Spanned<u32>>,
    block_bytes: Option<Spanned<u32>>,
    #[serde(default)]
    down: Vec<Spanned<String>>,
    seed: Option<u64>,
    latency: Option<Spanned<String>>,
    refuse_percent: Option<Spanned<u32>>,
    writes_per_s: Option<Spanned<u32>>,
    shift_reads: Option<RawShift>,
    max_concurrent: Option<Spanned<u32>>,
    load_capacity: Option<Spanned<u32>>,
    state: Option<PathBuf>,
    flaw: Option<Flaw>,
}

impl Configured for Simulated {
    type Raw = Raw;

    fn checked(raw: Raw) -> Result<Self, Problem> {
        let nodes = number("store.nodes", raw.nodes.as_ref(), 4, 2, 1_000)?;
        let replicas = number("store.replicas", raw.replicas.as_ref(), 2, 1, nodes - 1)?;
        for node in &raw.down {
            if !(1..=nodes).any(|number| name("n", number) == *node.get_ref()) {
                let message = format!("{:?} is no node; they are n1 to n{nodes}", node.get_ref());
                return Err(Problem::new(node.span(), "store.down", message));
            }
        }
        let latency = raw.latency.map(|raw| duration("store.latency", &raw)).transpose()?;
        let refuse_percent = number("store.refuse_percent", raw.refuse_percent.as_ref(), 0, 0, 90)?;
        Ok(Self {
            kind: raw.kind.unwrap_or(Kind::AtSwitch),
            nodes,
            partitions: number("store.partitions", raw.partitions.as_ref(), 8, 1, 10_000)?,
            replicas,
            blocks: number("store.blocks", raw.blocks.as_ref(), 64, 1, 10_000)?,
            block_bytes: number("store.block_bytes", raw.block_bytes.as_ref(), 4_096, 1, 1 << 20)?,
            down: raw.down.into_iter().map(Spanned::into_inner).collect(),
            seed: raw.seed.unwrap_or(1),
            latency: latency.unwrap_or(Duration::from_millis(5)),
            refuse_percent: u8::try_from(refuse_percent).unwrap_or(0),
            writes_per_s: number("store.writes_per_s", raw.writes_per_s.as_ref(), 0, 0, 10_000)?,
            shift_reads: match raw.shift_reads {
                None | Some(RawShift::Leader) => ShiftReads::LeaderSwitch,
                Some(RawShift::Drain) => ShiftReads::DrainReplica,
                Some(RawShift::None) => ShiftReads::None,
            },
            max_concurrent: number("store.max_concurrent", raw.max_concurrent.as_ref(), 4, 0, 1_000)?,
            load_capacity: raw
                .load_capacity
                .map(|raw| number("store.load_capacity", Some(&raw), 0, 1, 10_000_000))
                .transpose()?,
            state: raw.state,
            flaw: raw.flaw,
        })
    }

    async fn open(self, system: SystemId, data: &Path) -> anyhow::Result<Arc<dyn Store>> {
        if self.flaw == Some(Flaw::ForgetsAtStart) {
            Ledger::forget(data).context("the ledger cannot be removed")?;
        }
        let state = self.state.as_ref().map(|state| data.join(state));
        let world = World::open(&self, state.as_deref());
        let world = world.context("the simulated cluster cannot be opened")?;
        let world = Arc::new(world);
        clients::start(&world, &self);
        Ok(Arc::new(SimulatedStore::new(self, system, world)))
    }

    fn flaw(&self) -> Option<Flaw> {
        self.flaw
    }
}

/// The name of a node or a partition.
pub(super) fn name(kind: &str, number: u32) -> String {
    format!("{kind}{number}")
}

fn number(
    key: &str,
    raw: Option<&Spanned<u32>>,
    default: u32,
    least: u32,
    most: u32,
) -> Result<u32, Problem> {
    let Some(raw) = raw else { return Ok(default.min(most)) };
    let number = *raw.get_ref();
    if (least..=most).contains(&number) {
        return Ok(number);
    }
    Err(Problem::new(raw.span(), key, format!("{number} is not within {least} and {most}")))
}
