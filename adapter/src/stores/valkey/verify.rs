//! Comparing the copy with what was remembered of the source, after the switch.

use super::Valkey;
use super::baseline::{Baseline, Pace};
use super::movement::{BASELINE, read};
use crate::contract::Refusal;
use crate::store::Task;
use std::time::Duration;
use tokio::time::sleep;

/// Between two looks at the target, where the first found something: so long, clients show how fast they write.
const AGAIN: Duration = Duration::from_secs(3);

impl Valkey {
    /// Refused with a mismatch for what clients cannot have done. Called once the target serves.
    pub(super) async fn compare(&self, task: &Task) -> Result<String, Refusal> {
        let baseline: Baseline = read(task, BASELINE)?.ok_or_else(|| {
            Refusal::conflict("nothing was noted of the source before it was left: nothing can be compared")
        })?;
        let ends = self.ends(&task.migration)?;
        let target = self.scene(ends).await?.to.address;
        let first = self.look(target, ends.bucket, baseline.keys()).await?;
        let pace = baseline.pace().unwrap_or_default();
        let verdict = baseline.judge(&first, pace, None);
        if verdict.faults.is_empty() {
            return Ok(verdict.evidence);
        }
        sleep(AGAIN).await;
        let second = self.look(target, ends.bucket, baseline.keys()).await?;
        let verdict = baseline.judge(&first, pace.max(Pace::between(&first, &second)), Some(&second));
        if verdict.faults.is_empty() {
            return Ok(verdict.evidence);
        }
        Err(Refusal::mismatch(format!("{} ({})", verdict.faults.join("; "), verdict.evidence)))
    }
}
