//! Whether a volume can be moved: looked at, without effects.

use super::SeaweedFs;
use super::copy::occupied;
use super::master::{Listing, Replica};
use super::placement::Replication;
use super::server::{Presence, Volume};
use crate::contract::{Migration, Refusal};
use crate::store::Findings;
use isotherm_migration::{Copies, Origin};
use std::collections::{BTreeMap, BTreeSet};

impl SeaweedFs {
    /// What stands in the way of a migration.
    pub(super) async fn find(&self, migration: &Migration) -> Result<Findings, Refusal> {
        let volume = super::volume(&migration.partition)?;
        let listing = self.list(&[]).await?;
        let holders = listing.holders(volume);
        let mut findings = Vec::new();
        findings.extend(volume_findings(volume, &listing, &holders));
        findings.extend(origin_findings(volume, &migration.origin, &listing, &holders));
        let replica = holders.values().next().copied();
        if let Some(replica) = replica {
            findings.extend(placement_findings(volume, migration, &listing, &holders, replica));
        }
        findings.extend(self.server_findings(volume, migration, &holders, replica).await?);
        if let Some(client) = self.masters.lock_holder().await? {
            let words = "holds SeaweedFS's own lock and may be moving volumes: wait until it is done, or unlock there";
            findings.push(format!("{client} {words}"));
        }
        let copies = if holders.is_empty() { Copies::Lost } else { Copies::Live };
        Ok(Findings { findings, copies })
    }

    /// What the servers themselves say.
    async fn server_findings(
        &self,
        volume: Volume,
        migration: &Migration,
        holders: &BTreeMap<&str, &Replica>,
        replica: Option<&Replica>,
    ) -> Result<Vec<String>, Refusal> {
        let collection = replica.map(|replica| replica.collection.as_str()).unwrap_or_default();
        let mut findings = Vec::new();
        let target = self.server(migration.target.name())?;
        match target.presence(volume, collection).await {
            Ok(Presence::Nothing) => {
                let bytes = replica.map_or(0, |replica| replica.bytes);
                let folders = target.folders().await?;
                if !folders.iter().any(|folder| folder.free_bytes > bytes) {
                    findings
                        .push(format!("{} has no folder with {bytes} bytes free: make room", target.name()));
                }
            }
            Ok(there) => findings.push(occupied(volume.0, target.name(), &there)),
            Err(refusal) => findings.push(format!("the target does not answer: {refusal}")),
        }
        let is_move = matches!(migration.origin, Origin::Move { .. });
        for name in holders.keys().filter(|name| is_move && **name != migration.target.name()) {
            match self.server(name)?.mounted(volume).await {
                Ok(Some(mounted)) if mounted.read_only => findings.push(format!(
                    "volume {volume} is read-only on {name}, by somebody's order or for want of room: \
                     `volume.mark -writable`, or make room"
                )),
                Ok(_) => {}
                Err(refusal) => findings.push(format!("{name} does not answer: {refusal}")),
            }
        }
        if let Origin::Repair { dead } = &migration.origin {
            let dead = self.server(dead.name())?;
            let there = dead.presence(volume, collection).await;
            if let Ok(Presence::Unmounted | Presence::Mounted(_)) = there {
                let way = "it is not lost; mount it (restore its reads), or remove it";
                findings.push(format!("{} lives and has volume {volume}: {way}", dead.name()));
            }
        }
        Ok(findings)
    }
}

/// What no volume may be that is moved.
fn volume_findings(volume: Volume, listing: &Listing, holders: &BTreeMap<&str, &Replica>) -> Vec<String> {
    let mut findings = Vec::new();
    if listing.servers.values().any(|server| server.erasure_coded.contains(&volume)) {
        findings.push(format!(
            "volume {volume} is erasure-coded, which is not supported: `ec.balance` moves shards"
        ));
    }
    if holders.values().any(|replica| replica.has_ttl) {
        findings
            .push(format!("volume {volume} has a lifetime, and would go by itself meanwhile: let it expire"));
    }
    if holders.values().any(|replica| replica.remote) {
        findings
            .push(format!("the data of volume {volume} is in a remote store: `volume.tier.download` first"));
    }
    findings
}

/// What must be so where it comes from.
fn origin_findings(
    volume: Volume,
    origin: &Origin,
    listing: &Listing,
    holders: &BTreeMap<&str, &Replica>,
) -> Vec<String> {
    let mut findings = Vec::new();
    let wanted = holders.values().find_map(|replica| replica.replication).map_or(1, Replication::copies);
    match origin {
        Origin::Move { source } => {
            let name = source.name();
            if !listing.servers.contains_key(name) {
                findings
                    .push(format!("the master does not know {name}: a dead server's volumes are repaired"));
            } else if !holders.contains_key(name) {
                findings.push(format!("{name} does not hold volume {volume}: plan anew"));
            }
            if !holders.is_empty() && holders.len() < wanted {
                let has = holders.len();
                findings.push(format!("volume {volume} has {has} of {wanted} replicas: repair it first"));
            }
        }
        Origin::Repair { .. } => {
            if holders.len() >= wanted && !holders.is_empty() {
                findings.push(format!(
                    "volume {volume} has all of its {wanted} replicas: nothing is to be repaired"
                ));
            }
        }
    }
    findings
}

/// Whether the target may hold it.
fn placement_findings(
    volume: Volume,
    migration: &Migration,
    listing: &Listing,
    holders: &BTreeMap<&str, &Replica>,
    replica: &Replica,
) -> Vec<String> {
    let name = migration.target.name();
    let Some(target) = listing.servers.get(name) else {
        return vec![format!("the master does not know {name}: start it, or choose another target")];
    };
    let mut findings = Vec::new();
    if target.free.get(&replica.disk_type).copied().unwrap_or(0) < 1 {
        findings.push(format!("{name} has no room for another volume of its kind of disk: raise its -max"));
    }
    let stays = holders.keys().filter(|holder| **holder != migration.origin.node().name());
    let sites = stays.chain([&name]).filter_map(|holder| Some(listing.servers.get(*holder)?.site.clone()));
    let sites: BTreeSet<_> = sites.collect();
    if let Some(replication) = replica.replication
        && !replication.permits(&sites)
    {
        findings.push(format!(
            "with a copy on {name}, volume {volume} would break its replication {replication}"
        ));
    }
    findings
}
