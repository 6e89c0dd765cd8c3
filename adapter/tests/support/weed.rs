//! Adapters of a cluster of SeaweedFS in a network namespace of its own, and what they are asked to move.

use isotherm_adapter::contract::Migration;
use isotherm_adapter::stores::seaweedfs::{Config, SeaweedFs};
use isotherm_migration::{MigrationId, Origin};
use isotherm_model::{NodeId, PartitionId, SystemId};
use isotherm_tests::host::Host;
use isotherm_tests::netns::Namespace;
use isotherm_tests::skip::skipped;
use isotherm_tests::stores::seaweedfs::Layout;
pub(crate) use isotherm_tests::stores::seaweedfs::{Object, Objects, Weed, content};
use isotherm_tests::tools::Tools;
use std::net::Ipv4Addr;
use std::sync::{Mutex, PoisonError};

pub(crate) const MASTER: &str = "10.77.0.9:9333";

/// One cluster at a time: there may be two processors for all.
static ONE: Mutex<()> = Mutex::new(());

/// The rack of each server.
const RACKS: [&str; 4] = ["rackA", "rackA", "rackA", "rackB"];

/// Runs a test on a cluster, in its namespace, or says that it cannot. Its runtime's threads are in there, too.
pub(crate) fn with_weed(name: &'static str, test: impl AsyncFnOnce(&mut Weed) + Send + 'static) {
    let _one = ONE.lock().unwrap_or_else(PoisonError::into_inner);
    let namespace = match (Tools::locate().weed(), Namespace::new()) {
        (Ok(_), Ok(namespace)) => namespace,
        (Err(error), _) | (_, Err(error)) => return skipped(name, &format!("{error:#}")),
    };
    let run = move || {
        let folder = tempfile::tempdir().unwrap();
        let mut weed = Weed::start(folder.path(), layout()).unwrap();
        let mut runtime = tokio::runtime::Builder::new_multi_thread();
        let runtime = runtime.worker_threads(2).enable_all().build().unwrap();
        runtime.block_on(test(&mut weed));
    };
    namespace.run(run).unwrap();
}

fn layout() -> Layout {
    let host = |number| Host::here(Ipv4Addr::new(10, 77, 0, number));
    Layout { master: host(9), servers: (1..).map(host).zip(RACKS).collect() }
}

/// A new adapter of the cluster.
pub(crate) fn adapter() -> SeaweedFs {
    let config: Config = toml::from_str(&format!("master = [\"{MASTER}\"]")).unwrap();
    SeaweedFs::new(system(), config)
}

/// A server's name.
pub(crate) fn node(number: usize) -> String {
    format!("10.77.0.{number}:8080")
}

pub(crate) fn system() -> SystemId {
    SystemId::new("seaweedfs").unwrap()
}

pub(crate) fn node_id(number: usize) -> NodeId {
    NodeId::new(system(), node(number)).unwrap()
}

pub(crate) fn partition(volume: u32) -> PartitionId {
    PartitionId::new(system(), volume.to_string()).unwrap()
}

/// The number of a server, by its name.
pub(crate) fn number(name: &str) -> usize {
    name.trim_start_matches("10.77.0.").trim_end_matches(":8080").parse().unwrap()
}

/// A move.
pub(crate) fn migration(volume: u32, source: usize, target: usize) -> Migration {
    moved(volume, Origin::Move { source: node_id(source) }, target)
}

/// A repair.
pub(crate) fn repair(volume: u32, dead: usize, target: usize) -> Migration {
    moved(volume, Origin::Repair { dead: node_id(dead) }, target)
}

fn moved(volume: u32, origin: Origin, target: usize) -> Migration {
    let id = MigrationId::new(format!("m{volume}")).unwrap();
    Migration { id, partition: partition(volume), origin, target: node_id(target) }
}
