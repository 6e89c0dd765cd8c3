//! What the master does not tell any more: it forgets a server as soon as that is gone, and with it what lay there.
//!
//! A replica that is not listed still counts to its volume's nodes while its server is gone and the volume lacks
//! copies, or while it is drained. What was never seen cannot be remembered: an adapter that starts after a server
//! died does not know of it.

use super::master::{Listed, Listing, Replica};
use super::placement::Replication;
use super::server::Volume;
use std::collections::{BTreeMap, BTreeSet};

/// What was seen since the adapter started.
#[derive(Debug, Default)]
pub(super) struct Memory {
    /// Servers, by name.
    pub(super) servers: BTreeMap<String, Seen>,
    /// The replicas of each volume, by server.
    pub(super) replicas: BTreeMap<Volume, BTreeMap<String, Replica>>,
    drained: BTreeSet<(Volume, String)>,
    stood_down: BTreeSet<(Volume, String)>,
}

/// A server that was seen.
#[derive(Debug)]
pub(super) struct Seen {
    pub(super) listed: Listed,
    pub(super) alive: bool,
    /// Its folders, if it was asked.
    pub(super) folders: Option<Vec<String>>,
}

impl Memory {
    /// Takes a listing of the whole cluster.
    pub(super) fn saw(&mut self, listing: Listing) {
        for seen in self.servers.values_mut() {
            seen.alive = false;
        }
        let mut listed: BTreeMap<Volume, BTreeMap<String, Replica>> = BTreeMap::new();
        for (name, server) in listing.servers {
            for (volume, replica) in &server.volumes {
                listed.entry(*volume).or_default().insert(name.clone(), replica.clone());
            }
            let folders = self.servers.remove(&name).and_then(|seen| seen.folders);
            self.servers.insert(name, Seen { listed: server, alive: true, folders });
        }
        let volumes: BTreeSet<Volume> = listed.keys().chain(self.replicas.keys()).copied().collect();
        let mut replicas = BTreeMap::new();
        for volume in volumes {
            let holders = self.holders(volume, listed.remove(&volume).unwrap_or_default());
            if !holders.is_empty() {
                replicas.insert(volume, holders);
            }
        }
        self.replicas = replicas;
        let held: BTreeSet<&String> = self.replicas.values().flat_map(BTreeMap::keys).collect();
        self.servers.retain(|name, seen| seen.alive || held.contains(name));
    }

    /// Those that hold a volume: the listed ones, and those remembered that still count.
    pub(super) fn holders(
        &self,
        volume: Volume,
        mut listed: BTreeMap<String, Replica>,
    ) -> BTreeMap<String, Replica> {
        let known = self.replicas.get(&volume).into_iter().flatten();
        let wanted =
            known.clone().find_map(|(_, replica)| replica.replication).map_or(1, Replication::copies);
        let lacks = listed.len() < wanted;
        for (name, replica) in known {
            let gone = self.servers.get(name).is_some_and(|seen| !seen.alive);
            let drained = self.drained.contains(&(volume, name.clone()));
            if drained || (gone && lacks) {
                listed.entry(name.clone()).or_insert_with(|| replica.clone());
            }
        }
        listed
    }

    /// A replica gets no reads, or gets them again.
    pub(super) fn set_drained(&mut self, volume: Volume, server: &str, drained: bool) {
        set(&mut self.drained, (volume, server.to_owned()), drained);
    }

    /// A server's copy is out of date, and must not be served; or may be again.
    pub(super) fn set_stood_down(&mut self, volume: Volume, server: &str, down: bool) {
        set(&mut self.stood_down, (volume, server.to_owned()), down);
    }

    /// Copies that are served and must not be, since they are out of date or drained: their server has started again, and
    /// serves all that it has. A drained one that nobody else serves does.
    pub(super) fn risen<'a>(&'a self, listing: &'a Listing) -> impl Iterator<Item = (Volume, &'a str)> {
        let others = |volume: &Volume, name: &String| {
            listing.holders(*volume).keys().any(|other| *other != name.as_str())
        };
        let drained = self.drained.iter().filter(move |(volume, name)| others(volume, name));
        self.stood_down.iter().chain(drained).filter_map(|(volume, name)| {
            let server = listing.servers.get(name)?;
            server.volumes.contains_key(volume).then_some((*volume, name.as_str()))
        })
    }
}

fn set<T: Ord>(set: &mut BTreeSet<T>, value: T, present: bool) {
    if present {
        set.insert(value);
    } else {
        set.remove(&value);
    }
}

#[cfg(test)]
mod tests {
    use super::super::address::Address;
    use super::super::placement::Site;
    use super::*;

    const VOLUME: Volume = Volume(7);

    fn listing(servers: &[(&str, bool)]) -> Listing {
        let replica = Replica {
            bytes: 1,
            collection: String::new(),
            replication: Replication::new(1),
            has_ttl: false,
            remote: false,
            disk_type: String::new(),
            folder: 0,
        };
        let listed = |(name, holds): &(&str, bool)| {
            let site = Site { data_center: "d".into(), rack: "r".into(), node: (*name).to_owned() };
            let volumes = holds.then(|| (VOLUME, replica.clone())).into_iter().collect();
            let listed = Listed {
                address: Address::try_from((*name).to_owned()).unwrap(),
                site,
                capacity_bytes: None,
                free: BTreeMap::new(),
                volumes,
                erasure_coded: BTreeSet::new(),
            };
            ((*name).to_owned(), listed)
        };
        Listing { servers: servers.iter().map(listed).collect() }
    }

    fn holders(memory: &Memory) -> Vec<&str> {
        memory.replicas.get(&VOLUME).map(|held| held.keys().map(String::as_str).collect()).unwrap_or_default()
    }

    #[test]
    fn a_dead_server_counts_until_its_replica_is_made_again() {
        let mut memory = Memory::default();
        memory.saw(listing(&[("a:1", true), ("b:1", true), ("c:1", false)]));
        memory.saw(listing(&[("a:1", true), ("c:1", false)]));
        assert_eq!(holders(&memory), ["a:1", "b:1"]);
        assert!(!memory.servers["b:1"].alive);
        memory.saw(listing(&[("a:1", true), ("c:1", true)]));
        assert_eq!(holders(&memory), ["a:1", "c:1"]);
        assert!(!memory.servers.contains_key("b:1"));
    }

    #[test]
    fn a_volume_whose_servers_are_all_dead_is_not_forgotten() {
        let mut memory = Memory::default();
        memory.saw(listing(&[("a:1", true)]));
        memory.saw(listing(&[]));
        memory.saw(listing(&[]));
        assert_eq!(holders(&memory), ["a:1"]);
    }

    #[test]
    fn what_a_living_server_does_not_list_is_gone_unless_drained() {
        let mut memory = Memory::default();
        memory.saw(listing(&[("a:1", true), ("b:1", true)]));
        memory.set_drained(VOLUME, "b:1", true);
        memory.saw(listing(&[("a:1", true), ("b:1", false)]));
        assert_eq!(holders(&memory), ["a:1", "b:1"]);
        memory.set_drained(VOLUME, "b:1", false);
        memory.saw(listing(&[("a:1", true), ("b:1", false)]));
        assert_eq!(holders(&memory), ["a:1"]);
    }

    #[test]
    fn a_copy_that_stood_down_is_seen_to_rise() {
        let mut memory = Memory::default();
        memory.set_stood_down(VOLUME, "b:1", true);
        let seen = listing(&[("a:1", true), ("b:1", true)]);
        assert_eq!(memory.risen(&seen).collect::<Vec<_>>(), [(VOLUME, "b:1")]);
        memory.set_stood_down(VOLUME, "b:1", false);
        assert_eq!(memory.risen(&seen).count(), 0);
        memory.set_drained(VOLUME, "b:1", true);
        assert_eq!(memory.risen(&seen).collect::<Vec<_>>(), [(VOLUME, "b:1")]);
        assert_eq!(memory.risen(&listing(&[("b:1", true)])).count(), 0, "nobody else has it");
    }
}
