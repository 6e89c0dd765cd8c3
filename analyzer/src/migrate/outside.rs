//! What the runner is told of the cluster: adapters, and whether the topology has moved.

use crate::topology::{Adapter, Freshness, Topologies, connect};
use crate::writer::now;
use futures::future::BoxFuture;
use isotherm_migration::{Origin, Revision, Spec};
use isotherm_model::SystemId;
use isotherm_runner::Connect;
use std::collections::BTreeMap;
use tonic::transport::Channel;

pub(super) struct Outside {
    adapters: BTreeMap<SystemId, Adapter>,
    topologies: Topologies,
}

impl Outside {
    pub(super) fn new(adapters: Vec<Adapter>, topologies: Topologies) -> Self {
        let adapters = adapters.into_iter().map(|adapter| (adapter.system.clone(), adapter)).collect();
        Self { adapters, topologies }
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

    fn now_ms(&self) -> u64 {
        now().as_ms()
    }
}
