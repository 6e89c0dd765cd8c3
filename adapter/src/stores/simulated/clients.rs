//! What goes on in the cluster by itself: clients write, and copies follow.

use super::Simulated;
use super::world::World;
use std::sync::{Arc, Weak};
use std::time::Duration;

/// How often clients write a few, and copies are fed.
const TICK: Duration = Duration::from_millis(20);

/// Writes that a copy takes over in one go.
const TAKES: u32 = 64;

/// Begins; ends with the world.
pub(super) fn start(world: &Arc<World>, table: &Simulated) {
    let world: Weak<World> = Arc::downgrade(world);
    let per_tick = f64::from(table.writes_per_s) * TICK.as_secs_f64();
    let (partitions, blocks, seed) = (table.partitions, table.blocks, table.seed);
    tokio::spawn(async move {
        let mut chance = fastrand::Rng::with_seed(seed);
        let mut due = 0.0;
        loop {
            tokio::time::sleep(TICK).await;
            let Some(world) = world.upgrade() else { return };
            due += per_tick;
            while due >= 1.0 {
                due -= 1.0;
                let (partition, block) = (chance.u32(1..=partitions), chance.u32(0..blocks));
                // A write that is refused, because of a fence for one, is not made.
                let _ = world.write(partition, block, chance.u64(..));
            }
            if let Err(refusal) = world.feed(TAKES) {
                tracing::warn!("copies cannot be fed: {refusal}");
            }
        }
    });
}
