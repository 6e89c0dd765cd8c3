//! What a master tells of the cluster.

use super::address::Address;
use super::placement::{Replication, Site};
use super::rpc::{Fault, ask, channel};
use super::server::Volume;
use super::wire::master as wire;
use crate::contract::Refusal;
use std::collections::{BTreeMap, BTreeSet};
use std::time::Duration;
use tonic::transport::Channel;
use wire::seaweed_client::SeaweedClient;

/// The longest that an answer may take.
const LIMIT: Duration = Duration::from_secs(10);

/// The longest answer: some 60 bytes for each volume.
const MAX_MESSAGE_BYTES: usize = 1 << 30;

/// The servers and volumes that a master knows: a server that died is not among them.
#[derive(Debug, Clone, Default, PartialEq, Eq)]
pub(super) struct Listing {
    pub(super) servers: BTreeMap<String, Listed>,
}

/// A volume server that is alive.
#[derive(Debug, Clone, PartialEq, Eq)]
pub(super) struct Listed {
    pub(super) address: Address,
    pub(super) site: Site,
    pub(super) capacity_bytes: Option<u64>,
    /// Volumes that still fit, by type of disk.
    pub(super) free: BTreeMap<String, i64>,
    pub(super) volumes: BTreeMap<Volume, Replica>,
    pub(super) erasure_coded: BTreeSet<Volume>,
}

/// A volume that is mounted on a server.
#[derive(Debug, Clone, PartialEq, Eq)]
pub(super) struct Replica {
    pub(super) bytes: u64,
    pub(super) collection: String,
    pub(super) replication: Option<Replication>,
    pub(super) has_ttl: bool,
    pub(super) remote: bool,
    pub(super) disk_type: String,
    /// Which of the server's folders.
    pub(super) folder: usize,
}

impl Listing {
    /// Who has the volume mounted.
    pub(super) fn holders(&self, volume: Volume) -> BTreeMap<&str, &Replica> {
        let servers = self.servers.iter();
        servers.filter_map(|(name, server)| Some((name.as_str(), server.volumes.get(&volume)?))).collect()
    }
}

/// The masters of a cluster.
#[derive(Debug)]
pub(super) struct Masters {
    addresses: Vec<Address>,
}

impl Masters {
    pub(super) fn new(addresses: Vec<Address>) -> Self {
        Self { addresses }
    }

    /// The cluster; only these volumes, unless there are none.
    pub(super) async fn list(&self, only: &[Volume]) -> Result<Listing, Refusal> {
        let volume_ids: Vec<u32> = only.iter().map(|volume| volume.0).collect();
        let list = self.first(|mut client, name| {
            let request = wire::VolumeListRequest { volume_ids: volume_ids.clone() };
            async move { ask(&name, "VolumeList", LIMIT, client.volume_list(request)).await }
        });
        listing(list.await?)
    }

    /// Who holds the lock under which SeaweedFS's own shell moves volumes.
    pub(super) async fn lock_holder(&self) -> Result<Option<String>, Refusal> {
        let ask = |mut client: SeaweedClient<Channel>, name: String| async move {
            let answer = client.get_admin_lock_status(wire::GetAdminLockStatusRequest {});
            ask(&name, "GetAdminLockStatus", LIMIT, answer).await
        };
        let status = self.first(ask).await?;
        Ok(status.is_locked.then_some(status.client_name))
    }

    /// The answer of the first master that gives one; those that do not lead do not.
    async fn first<T, F>(&self, call: impl Fn(SeaweedClient<Channel>, String) -> F) -> Result<T, Refusal>
    where
        F: Future<Output = Result<T, Fault>>,
    {
        let mut faults = Vec::new();
        for address in &self.addresses {
            let client = SeaweedClient::new(channel(address)?).max_decoding_message_size(MAX_MESSAGE_BYTES);
            match call(client, address.http().to_owned()).await {
                Ok(answer) => return Ok(answer),
                Err(fault) => faults.push(Refusal::from(fault).message),
            }
        }
        Err(Refusal::not_now(format!("no master answers: {}", faults.join("; "))))
    }
}

fn listing(response: wire::VolumeListResponse) -> Result<Listing, Refusal> {
    let limit_bytes = response.volume_size_limit_mb << 20;
    let topology = response.topology_info.ok_or_else(|| Refusal::not_now("the master tells no topology"))?;
    let mut servers = BTreeMap::new();
    for center in topology.data_center_infos {
        for rack in center.rack_infos {
            for raw in rack.data_node_infos {
                let name = if raw.address.is_empty() { &raw.id } else { &raw.address };
                let address = Address::with_grpc_port(name, raw.grpc_port)
                    .map_err(|error| Refusal::not_now(format!("the master names a server: {error}")))?;
                let node = address.http().to_owned();
                let site = Site { data_center: center.id.clone(), rack: rack.id.clone(), node: node.clone() };
                servers.insert(node, listed(address, site, raw.disk_infos, limit_bytes));
            }
        }
    }
    Ok(Listing { servers })
}

fn listed(
    address: Address,
    site: Site,
    disks: std::collections::HashMap<String, wire::DiskInfo>,
    limit_bytes: u64,
) -> Listed {
    let (mut volumes, mut erasure_coded, mut free) = (BTreeMap::new(), BTreeSet::new(), BTreeMap::new());
    let (mut slots_bytes, mut disk_bytes) = (0_u64, 0_u64);
    for (kind, disk) in disks {
        let slots = u64::try_from(disk.max_volume_count).unwrap_or(0);
        slots_bytes = slots_bytes.saturating_add(slots.saturating_mul(limit_bytes));
        disk_bytes = disk_bytes.saturating_add(disk.disk_total_bytes);
        free.insert(kind, disk.free_volume_count);
        volumes.extend(disk.volume_infos.into_iter().map(|raw| (Volume(raw.id), replica(raw))));
        erasure_coded.extend(disk.ec_shard_infos.into_iter().map(|raw| Volume(raw.id)));
    }
    // Volumes may fill their slots, or the disk before that; either is 0 where it is not told.
    let capacity_bytes = [slots_bytes, disk_bytes].into_iter().filter(|bytes| *bytes > 0).min();
    Listed { address, site, capacity_bytes, free, volumes, erasure_coded }
}

fn replica(raw: wire::VolumeInformationMessage) -> Replica {
    Replica {
        bytes: raw.size,
        collection: raw.collection,
        replication: Replication::new(raw.replica_placement),
        has_ttl: raw.ttl != 0,
        remote: !raw.remote_storage_name.is_empty(),
        disk_type: raw.disk_type,
        folder: usize::try_from(raw.disk_id).unwrap_or(usize::MAX),
    }
}
