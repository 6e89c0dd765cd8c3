//! What the runner is told of the world: adapters, whether the topology has moved, and whether the freeze file is there.

use crate::topology::{Adapter, Freshness, Topologies, connect};
use crate::writer::now;
use futures::future::BoxFuture;
use isotherm_migration::{Origin, Revision, Spec};
use isotherm_model::SystemId;
use isotherm_runner::Connect;
use std::collections::BTreeMap;
use std::path::PathBuf;
use tonic::transport::Channel;

pub(super) struct Outside {
    adapters: BTreeMap<SystemId, Adapter>,
    topologies: Topologies,
    /// While this file is there, nothing new is begun.
    freeze_file: Option<PathBuf>,
}

impl Outside {
    pub(super) fn new(adapters: Vec<Adapter>, topologies: Topologies, freeze_file: Option<PathBuf>) -> Self {
        let adapters = adapters.into_iter().map(|adapter| (adapter.system.clone(), adapter)).collect();
        Self { adapters, topologies, freeze_file }
    }

    pub(super) fn systems(&self) -> Vec<SystemId> {
        self.adapters.keys().cloned().collect()
    }
}

impl Connect for Outside {
    fn connect(&self, system: &SystemId) -> BoxFuture<'static, Result<Channel, String>> {
        let adapter = self.adapters.get(system).cloned();
        let system = system.clone();
        Box::pin(async move {
            let adapter =
                adapter.ok_or_else(|| format!("{system} has no [[adapter]] in the configuration"))?;
            connect(&adapter).await
        })
    }

    fn takes(&self, system: &SystemId) -> u32 {
        let topology = self.topologies.borrow();
        let capabilities = topology.sources.get(system).and_then(|source| source.capabilities.as_ref());
        capabilities.map_or(0, |capabilities| capabilities.max_concurrent)
    }

    /// The plan does not hold any more if the target is gone, holds a replica already, or the source holds none. While the
    /// adapter was not heard, nobody knows.
    fn moved(&self, spec: &Spec) -> Option<Revision> {
        let topology = self.topologies.borrow();
        let source = topology.sources.get(spec.partition.system());
        let fresh = source.is_some_and(|source| source.freshness == Freshness::Fresh);
        if !fresh || Revision(topology.revision) <= spec.revision {
            return None;
        }
        let fits = topology.subsets.get(&spec.partition).is_some_and(|subset| {
            topology.nodes.contains_key(&spec.target)
                && !subset.contains(&spec.target)
                && (subset.contains(spec.origin.node()) || matches!(spec.origin, Origin::Repair { .. }))
        });
        (!fits).then_some(Revision(topology.revision))
    }

    /// A file that cannot be looked for is taken to be there: somebody meant to be able to stop everything.
    fn frozen(&self) -> Option<String> {
        let file = self.freeze_file.as_ref()?;
        match file.try_exists() {
            Ok(false) => None,
            Ok(true) => Some(format!("migrations are frozen as long as {} is there", file.display())),
            Err(error) => {
                Some(format!("migrations are frozen, as nobody can look for {}: {error}", file.display()))
            }
        }
    }

    fn now_ms(&self) -> u64 {
        now().as_ms()
    }
}
