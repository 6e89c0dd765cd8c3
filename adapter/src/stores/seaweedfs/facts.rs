//! The cluster in the words of the contract.

use super::SeaweedFs;
use super::master::Replica;
use super::memory::{Memory, Seen};
use super::server::Volume;
use crate::contract::Refusal;
use crate::store::Cluster;
use isotherm_model::{NodeId, PartitionId, SystemId};
use isotherm_proto::{Health, Locator, NodeFacts, PartitionFacts};
use std::collections::BTreeMap;
use tokio::task::JoinSet;

impl SeaweedFs {
    /// Looks at the cluster. What stood down and has risen is stood down again on the way.
    pub(super) async fn look(&self) -> Result<Cluster, Refusal> {
        let listing = self.list(&[]).await?;
        let risen: Vec<(Volume, String)> =
            self.memory().risen(&listing).map(|(volume, name)| (volume, name.to_owned())).collect();
        self.memory().saw(listing);
        for (volume, name) in risen {
            tracing::warn!(%volume, server = name, "an old or drained copy is served again, and is unmounted");
            if let Err(refusal) = self.server(&name)?.unmount(volume).await {
                tracing::warn!(%refusal, "it cannot be unmounted, which is tried again");
            }
        }
        self.ask_for_folders().await?;
        cluster(&self.system, &self.memory())
    }

    /// Asks those for their folders that have not been asked. One that does not answer is asked at the next look.
    async fn ask_for_folders(&self) -> Result<(), Refusal> {
        let unasked =
            |(name, seen): (&String, &Seen)| (seen.alive && seen.folders.is_none()).then(|| name.clone());
        let unasked: Vec<String> = self.memory().servers.iter().filter_map(unasked).collect();
        let mut answers = JoinSet::new();
        for name in unasked {
            let server = self.server(&name)?;
            answers.spawn(async move { (name, server.folders().await) });
        }
        for (name, folders) in answers.join_all().await {
            if let (Ok(folders), Some(seen)) = (folders, self.memory().servers.get_mut(&name)) {
                seen.folders = Some(folders.into_iter().map(|folder| folder.path).collect());
            }
        }
        Ok(())
    }

    /// Who holds a volume.
    pub(super) async fn who_holds(&self, partition: &PartitionId) -> Result<Vec<NodeId>, Refusal> {
        let volume = super::volume(partition)?;
        let listing = self.list(&[volume]).await?;
        let listed = listing.holders(volume);
        let listed = listed.into_iter().map(|(name, replica)| (name.to_owned(), replica.clone())).collect();
        let holders = self.memory().holders(volume, listed);
        holders.into_keys().map(|name| node(&self.system, &name)).collect()
    }
}

fn cluster(system: &SystemId, memory: &Memory) -> Result<Cluster, Refusal> {
    let mut cluster = Cluster::default();
    for (name, seen) in &memory.servers {
        cluster.nodes.insert(node(system, name)?, node_facts(name, seen));
    }
    for (volume, replicas) in &memory.replicas {
        let id = PartitionId::new(system.clone(), volume.to_string()).map_err(odd_name)?;
        cluster.partitions.insert(id, partition_facts(system, memory, *volume, replicas)?);
    }
    Ok(cluster)
}

fn node_facts(name: &str, seen: &Seen) -> NodeFacts {
    let site = &seen.listed.site;
    NodeFacts {
        // A server may be known by a host name, which is no address.
        addresses: name.parse().into_iter().collect(),
        domains: vec![site.data_center.clone(), site.rack.clone()],
        capacity_bytes: seen.listed.capacity_bytes,
        load_capacity_ops_per_s: None,
        class: None,
        health: if seen.alive { Health::Up } else { Health::Down },
    }
}

fn partition_facts(
    system: &SystemId,
    memory: &Memory,
    volume: Volume,
    replicas: &BTreeMap<String, Replica>,
) -> Result<PartitionFacts, Refusal> {
    let (mut nodes, mut locators) = (Vec::new(), Vec::new());
    for (name, replica) in replicas {
        let node = node(system, name)?;
        let folders = memory.servers.get(name).and_then(|seen| seen.folders.as_deref());
        if let Some(folder) = folders.and_then(|folders| folders.get(replica.folder)) {
            locators.push(locator(node.clone(), folder, volume, replica));
        }
        nodes.push(node);
    }
    let size_bytes = replicas.values().map(|replica| replica.bytes).max();
    Ok(PartitionFacts { size_bytes, nodes, epoch: 0, locators })
}

fn locator(node: NodeId, folder: &str, volume: Volume, replica: &Replica) -> Locator {
    let prefix =
        if replica.collection.is_empty() { String::new() } else { format!("{}_", replica.collection) };
    // Its objects. What the server notes of them in its index is counted with none: a write of an object is one write.
    let objects = format!("{}/{prefix}{volume}.dat", folder.trim_end_matches('/'));
    Locator {
        node: Some(node),
        files: vec![objects],
        devices: Vec::new(),
        ports: Vec::new(),
        key_ranges: Vec::new(),
        relations: Vec::new(),
        slots: Vec::new(),
    }
}

fn node(system: &SystemId, name: &str) -> Result<NodeId, Refusal> {
    NodeId::new(system.clone(), name).map_err(odd_name)
}

fn odd_name(error: isotherm_model::InvalidName) -> Refusal {
    Refusal::not_now(format!("the master names something that cannot be named here: {error}"))
}
