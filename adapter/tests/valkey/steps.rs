//! Steps of a migration of the first bucket, as the server around the adapter asks for them.

use anyhow::Result;
use isotherm_adapter::contract::{Migration, Refusal};
use isotherm_adapter::store::{Notes, Task, Tell, Told};
use isotherm_adapter::stores::valkey::{Config, Valkey};
use isotherm_migration::{MigrationId, Origin};
use isotherm_model::{NodeId, PartitionId, SystemId};
use isotherm_tests::stores::valkey::{Lab, USER};
use std::collections::BTreeMap;
use std::sync::{Arc, Mutex};
use tokio_util::sync::CancellationToken;

/// The bucket that tests move.
pub(crate) const BUCKET: &str = "slots-00000-00255";

/// Notes that outlive an adapter, and all progress that was told.
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
    SystemId::new("valkey").unwrap()
}

pub(crate) fn node(lab: &Lab, node: usize) -> NodeId {
    NodeId::new(system(), lab.nodes[node].address.to_string()).unwrap()
}

pub(crate) fn partition(name: &str) -> PartitionId {
    PartitionId::new(system(), name).unwrap()
}

/// An adapter for the lab, logged in with no more rights than it needs.
pub(crate) fn adapter(lab: &Lab) -> Arc<Valkey> {
    let config = Config {
        nodes: lab.nodes.iter().map(|node| node.address).collect(),
        buckets: 64,
        user: Some(USER.to_owned()),
        password_file: Some(lab.password_file()),
        tls: None,
    };
    Arc::new(Valkey::new(system(), config).unwrap())
}

pub(crate) fn migration(lab: &Lab, source: usize, target: usize) -> Migration {
    Migration {
        id: MigrationId::new("m1").unwrap(),
        partition: partition(BUCKET),
        origin: Origin::Move { source: node(lab, source) },
        target: node(lab, target),
    }
}

/// A step of a migration, with notes of its own.
pub(crate) fn task(lab: &Lab, source: usize, target: usize) -> (Task, Arc<Record>) {
    let record = Arc::new(Record::default());
    (again(&migration(lab, source, target), &record), record)
}

/// Another step of the same migration.
pub(crate) fn again(migration: &Migration, record: &Arc<Record>) -> Task {
    let (notes, progress) = (Arc::clone(record) as Arc<dyn Notes>, Arc::clone(record) as Arc<dyn Tell>);
    Task { migration: migration.clone(), stop: CancellationToken::new(), notes, progress }
}
