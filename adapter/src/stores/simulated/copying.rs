//! Copies: of what there is, and of what clients write meanwhile.

use super::{SimulatedStore, pause};
use crate::contract::Refusal;
use crate::store::{Task, Told};
use isotherm_migration::{Position, Progress};
use std::time::Duration;

/// Blocks that are copied in one go.
const AT_ONCE: u32 = 4;

/// Writes that are taken over in one go.
const TAKES: u32 = 64;

/// How often the target is looked at.
const LOOK: Duration = Duration::from_millis(10);

impl SimulatedStore {
    /// Copies what the target has not.
    pub(super) async fn copy(&self, task: &Task, bytes_per_s: Option<u64>) -> Result<(), Refusal> {
        loop {
            let copied = self.world.copy(&task.migration, AT_ONCE)?;
            self.tell(task, bytes_per_s, false)?;
            if copied == 0 {
                return Ok(());
            }
            let bytes = u64::from(copied) * u64::from(self.table.block_bytes);
            let paced = bytes_per_s.map_or(0.0, |rate| bytes as f64 / rate.max(1) as f64);
            pause(task, self.table.latency.max(Duration::from_secs_f64(paced.min(3_600.0)))).await?;
        }
    }

    /// The engine takes over the last writes, and switches.
    pub(super) async fn hand_over(&self, task: &Task) -> Result<(), Refusal> {
        self.tell(task, None, true)?;
        pause(task, self.table.latency).await?;
        self.world.switch(&task.migration)
    }

    /// Waits until the target is as far as it should be. Returns what it lags behind.
    pub(super) async fn follow(
        &self,
        task: &Task,
        position: Option<&Position>,
        max_lag_bytes: u64,
    ) -> Result<u64, Refusal> {
        let position = position.map(|position| {
            let no_position = |_| Refusal::conflict(format!("{position} is no position of this store"));
            position.0.parse::<u64>().map_err(no_position)
        });
        let position = position.transpose()?;
        loop {
            let lag = self.world.lag(&task.migration, position)?;
            let lag_bytes = lag * u64::from(self.table.block_bytes);
            self.tell(task, None, false)?;
            if lag_bytes <= max_lag_bytes {
                return Ok(lag_bytes);
            }
            self.world.feed(TAKES)?;
            pause(task, LOOK).await?;
        }
    }

    fn tell(&self, task: &Task, bytes_per_s: Option<u64>, handing_over: bool) -> Result<(), Refusal> {
        let copied = self.world.copied(&task.migration)?;
        let block_bytes = u64::from(self.table.block_bytes);
        let done = copied.blocks * block_bytes;
        task.progress.tell(Told {
            progress: Progress {
                done,
                total: Some(u64::from(self.table.blocks) * block_bytes),
                lag_bytes: copied.lag.map(|writes| writes * block_bytes),
                throttled_by: bytes_per_s.map(|rate| format!("the bound of {rate} bytes a second")),
                resume: Some(copied.blocks.to_string()),
                handing_over,
            },
            unit: "bytes",
            estimated: false,
            position: copied.applied.map(|write| Position(write.to_string())),
        });
        Ok(())
    }
}
