//! What a placement from scratch comes to.

use super::Blast;
use super::table::{self, count};
use super::{Evenness, Seconds, Size, Spread};
use crate::cli::Failure;
use crate::cli::print::{self, Format};
use isotherm_placement::bound;
use isotherm_placement::{Assignment, Pressure, Request, Snapshot, SnapshotError, plan};
use serde::Serialize;

/// All that is told.
#[derive(Debug, Serialize)]
pub(in crate::cli::plan) struct LayoutReport {
    pub(in crate::cli::plan) data: String,
    pub(in crate::cli::plan) out: String,
    cluster: Size,
    #[serde(flatten)]
    laid: Laid,
    /// Replicas that the placement has elsewhere than the present one, and their bytes.
    copies: u64,
    bytes: u64,
    pressure: Evenness,
    copysets: Spread,
    pub(in crate::cli::plan) seconds: Seconds,
    pub(in crate::cli::plan) peak_rss_bytes: Option<u64>,
}

/// What was built.
#[derive(Debug, Clone, Copy, Serialize)]
pub(in crate::cli::plan) struct Laid {
    pub(in crate::cli::plan) spread: u32,
    pub(in crate::cli::plan) seed: u64,
    /// What the sets alone give a node at most over its share.
    pub(in crate::cli::plan) fit: f64,
    /// Sets that were built; with few partitions not all are in use.
    pub(in crate::cli::plan) sets: usize,
}

impl LayoutReport {
    /// Compares a placement with the snapshot's own.
    pub(in crate::cli::plan) fn new(
        snapshot: Snapshot,
        after: Assignment,
        laid: Laid,
    ) -> Result<Self, SnapshotError> {
        let cluster = Size::of(&snapshot);
        let (copies, bytes) = elsewhere(&snapshot, &after);
        let copysets = Spread {
            before: Blast::of(&snapshot, snapshot.assignment()),
            after: Blast::of(&snapshot, &after),
        };
        let (before, feasible) = (pressure(&snapshot), bound::pressure(&snapshot));
        let mut placed = snapshot.into_cluster();
        placed.assignment = after;
        let pressure = Evenness { before, after: pressure(&Snapshot::new(placed)?), feasible };
        Ok(Self {
            data: String::new(),
            out: String::new(),
            cluster,
            laid,
            copies,
            bytes,
            pressure,
            copysets,
            seconds: Seconds::default(),
            peak_rss_bytes: None,
        })
    }

    pub(in crate::cli::plan) fn print(&self, format: Format) -> Result<(), Failure> {
        if format == Format::Json {
            return print::json(self);
        }
        let Self { data, out, laid: Laid { spread, seed, fit, sets }, .. } = self;
        let size = table::size(&self.cluster);
        print::out(&format!(
            "copysets of spread factor {spread}, seed {seed}, for {data}: {size}\nin {out}: {}, which alone give no \
             node more than {fit:.4} of its share\n\n",
            count(*sets, "set")
        ))?;
        table::before_and_after(&self.pressure, &self.copysets)?;
        let lines = [
            (
                "elsewhere",
                format!("{}, {}", count(self.copies as usize, "replica"), print::bytes(self.bytes)),
            ),
            ("time", table::time(&self.seconds, self.peak_rss_bytes)),
        ];
        print::out(&format!("\n{}", table::lines(&lines)))
    }
}

/// Pressures as a plan that does nothing finds them.
fn pressure(snapshot: &Snapshot) -> Pressure {
    plan(snapshot, &Request::default()).totals.before
}

/// Replicas on nodes that did not hold the partition before.
fn elsewhere(snapshot: &Snapshot, after: &Assignment) -> (u64, u64) {
    let partitions = snapshot.partitions();
    let mut total = (0, 0);
    for partition in partitions.all() {
        let new = after.subset(partition).filter(|node| !snapshot.assignment().holds(*node, partition));
        let copies = new.count() as u64;
        total = (total.0 + copies, total.1 + copies * partitions.size_bytes[partition.at()]);
    }
    total
}
