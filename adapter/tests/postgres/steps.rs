//! An adapter for the lab, and what surrounds a step.

use crate::lab::{A, B, DATABASE, Lab, PARTITION, USER};
use isotherm_adapter::config::Config;
use isotherm_adapter::contract::{Migration, Refusal};
use isotherm_adapter::store::{Notes, Store, Task, Tell, Told};
use isotherm_adapter::stores::Configured as _;
use isotherm_adapter::stores::postgres::Servers;
use isotherm_migration::{MigrationId, Origin};
use isotherm_model::{NodeId, PartitionId, SystemId};
use std::collections::BTreeMap;
use std::path::Path;
use std::sync::{Arc, Mutex};
use tokio_util::sync::CancellationToken;

/// Notes that outlive the adapter, and the progress that was told.
#[derive(Default)]
pub(crate) struct Record {
    notes: Mutex<BTreeMap<String, String>>,
    pub(crate) told: Mutex<Vec<Told>>,
}

impl Notes for Record {
    fn get(&self, name: &str) -> Result<Option<String>, Refusal> {
        Ok(self.notes.lock().unwrap().get(name).cloned())
    }

    fn set(&self, name: &str, value: &str) -> Result<(), Refusal> {
        self.notes.lock().unwrap().insert(name.to_owned(), value.to_owned());
        Ok(())
    }
}

impl Tell for Record {
    fn tell(&self, progress: Told) {
        self.told.lock().unwrap().push(progress);
    }
}

pub(crate) fn system() -> SystemId {
    SystemId::new("shop").unwrap()
}

pub(crate) fn node(lab: &Lab, server: usize) -> NodeId {
    NodeId::new(system(), format!("127.0.0.1:{}", lab.port(server))).unwrap()
}

pub(crate) fn partition(name: &str) -> PartitionId {
    PartitionId::new(system(), name).unwrap()
}

/// The configuration as an operator writes it.
pub(crate) fn config(lab: &Lab, data: &Path) -> String {
    let (router, a, b) = (lab.port(0), lab.port(A), lab.port(B));
    format!(
        "system = \"shop\"\ndata = \"{}\"\nlisten = \"127.0.0.1:0\"\n[store]\ndbname = \"{DATABASE}\"\n\
         user = \"{USER}\"\n\
         password_file = \"{}\"\ntables = [\"public.orders\"]\n[store.router]\nhost = \"127.0.0.1\"\nport = {router}\n\
         [[store.node]]\nname = \"127.0.0.1:{a}\"\n[[store.node]]\nname = \"127.0.0.1:{b}\"\n",
        data.display(),
        lab.password_file().display(),
    )
}

/// A new adapter, which knows nothing but its configuration.
pub(crate) async fn adapter(lab: &Lab) -> Arc<dyn Store> {
    let data = Path::new("/nonexistent");
    let config = Config::<Servers>::from_text(Path::new("adapter.toml"), &config(lab, data)).unwrap();
    config.store.open(system(), data).await.unwrap()
}

pub(crate) fn migration(lab: &Lab, id: &str, source: usize, target: usize) -> Migration {
    Migration {
        id: MigrationId::new(id).unwrap(),
        partition: partition(PARTITION),
        origin: Origin::Move { source: node(lab, source) },
        target: node(lab, target),
    }
}

/// A step of a move of the partition from A to B, with notes of its own.
pub(crate) fn task(lab: &Lab, id: &str) -> (Task, Arc<Record>) {
    let record = Arc::new(Record::default());
    (again(&migration(lab, id, A, B), &record), record)
}

/// Another step of the same migration.
pub(crate) fn again(migration: &Migration, record: &Arc<Record>) -> Task {
    let (notes, progress) = (Arc::clone(record) as Arc<dyn Notes>, Arc::clone(record) as Arc<dyn Tell>);
    Task { migration: migration.clone(), stop: CancellationToken::new(), notes, progress }
}

/// All steps up to a copy that has been verified.
pub(crate) async fn copied(store: &dyn Store, task: &Task) -> String {
    assert_eq!(store.validate(&task.migration).await.unwrap().findings, Vec::<String>::new());
    store.prepare(task).await.unwrap();
    store.replicate(task, None, None).await.unwrap();
    store.catch_up(task, None, 1 << 20).await.unwrap();
    store.verify(task).await.unwrap()
}

/// The fence, the last writes, and the switch.
pub(crate) async fn switched(store: &dyn Store, task: &Task) {
    let position = store.fence(task).await.unwrap();
    store.catch_up(task, Some(&position), 0).await.unwrap();
    store.commit(task).await.unwrap();
}
