//! A step's surroundings: notes that outlive the adapter, and progress that is kept.

use isotherm_adapter::contract::{Migration, Refusal};
use isotherm_adapter::store::{Notes, Task, Tell, Told};
use std::collections::BTreeMap;
use std::sync::{Arc, Mutex};
use tokio_util::sync::CancellationToken;

/// Notes in memory, which a new adapter is given again.
#[derive(Debug, Default)]
pub(crate) struct Kept(Mutex<BTreeMap<String, String>>);

impl Notes for Kept {
    fn get(&self, name: &str) -> Result<Option<String>, Refusal> {
        Ok(self.0.lock().unwrap().get(name).cloned())
    }

    fn set(&self, name: &str, value: &str) -> Result<(), Refusal> {
        self.0.lock().unwrap().insert(name.to_owned(), value.to_owned());
        Ok(())
    }
}

/// All progress that was told.
#[derive(Debug, Default)]
pub(crate) struct Heard(Mutex<Vec<Told>>);

impl Tell for Heard {
    fn tell(&self, progress: Told) {
        self.0.lock().unwrap().push(progress);
    }
}

impl Heard {
    /// Progress of what is counted in bytes: its last, after a look that it does not fall and knows its total.
    pub(crate) fn bytes(&self) -> (u64, Option<u64>) {
        let heard = self.0.lock().unwrap();
        let bytes: Vec<_> =
            heard.iter().filter(|told| told.unit == "bytes").map(|told| &told.progress).collect();
        assert!(bytes.is_sorted_by_key(|progress| progress.done), "{bytes:?}");
        let last = bytes.last().expect("progress was told");
        (last.done, last.total)
    }
}

/// A migration's surroundings.
pub(crate) fn task(migration: Migration) -> (Task, Arc<Heard>) {
    let heard = Arc::new(Heard::default());
    let task = Task {
        migration,
        stop: CancellationToken::new(),
        notes: Arc::new(Kept::default()),
        progress: Arc::clone(&heard) as Arc<dyn Tell>,
    };
    (task, heard)
}
