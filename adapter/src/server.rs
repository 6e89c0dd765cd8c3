//! The adapter's server: the contract around a [`Store`], the same for every storage system.
//!
//! A call is heard by the ledger first, which decides what is refused and writes down what is to be begun. The step
//! then runs as a task of its own, whether or not the caller stays; the call waits a moment for it and else answers
//! that it runs. What came of it is written down before anybody is told. After a start, whatever was under way is done
//! again: steps find out in the store how far they came.

mod ask;
mod desk;
mod listen;
mod progress;
mod service;
mod shift;
mod step;
mod topology;
mod validate;

pub use listen::{Listen, ListenError, serve};

use crate::ledger::Ledger;
use crate::ledger::rules::Leaders;
use crate::store::Store;
use desk::Desk;
use isotherm_proto::{Capabilities, ShiftReads};
use std::sync::Arc;
use std::time::Duration;
use tokio_util::sync::CancellationToken;

/// How long a call waits for its step before it answers that it runs.
const WAIT: Duration = Duration::from_secs(1);

/// How long the store may take to say something small, such as who holds a partition.
const LOOK: Duration = Duration::from_secs(5);

/// How long steps may take to end after the signal. They are done again after the next start in any case.
const GRACE: Duration = Duration::from_secs(5);

/// Whether a leader is of any meaning to the clients of a system.
#[must_use]
pub fn leaders(capabilities: &Capabilities) -> Leaders {
    match capabilities.shift_reads {
        ShiftReads::LeaderSwitch => Leaders::Matter,
        ShiftReads::None | ShiftReads::DrainReplica => Leaders::Alike,
    }
}

/// An adapter that runs. Clones are the same one.
#[derive(Clone)]
pub struct Adapter {
    desk: Arc<Desk>,
}

impl Adapter {
    /// Takes up what was under way, and begins to look at the cluster. Ends when `closing` is cancelled.
    pub fn start(
        store: Arc<dyn Store>,
        ledger: Arc<Ledger>,
        closing: CancellationToken,
    ) -> Result<Self, crate::ledger::LedgerError> {
        let desk = Desk::start(store, ledger, closing)?;
        desk.resume()?;
        Ok(Self { desk })
    }

    /// Waits for what runs to end, after `closing` was cancelled, but not for long.
    pub async fn stopped(&self) {
        self.desk.tasks.close();
        if tokio::time::timeout(GRACE, self.desk.tasks.wait()).await.is_err() {
            tracing::info!("ending steps that are under way; the next start takes them up");
        }
    }
}

fn now_ms() -> i64 {
    let since = std::time::SystemTime::now().duration_since(std::time::UNIX_EPOCH).unwrap_or_default();
    i64::try_from(since.as_millis()).unwrap_or(i64::MAX)
}
