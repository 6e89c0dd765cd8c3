//! The cluster as one of its nodes sees it.

use super::bucket::Bucket;
use super::reply::{Fields, Unread, number, text};
use isotherm_proto::{Health, SlotRange};
use redis::Value;
use std::net::{IpAddr, SocketAddr};

/// All shards.
#[derive(Debug, Clone, Default, PartialEq, Eq)]
pub(super) struct View {
    pub(super) shards: Vec<Shard>,
}

/// Nodes that hold the same slots.
#[derive(Debug, Clone, PartialEq, Eq)]
pub(super) struct Shard {
    /// Its slots.
    pub(super) slots: Vec<SlotRange>,
    /// Its nodes, never none: the primary first, then replicas in the order of their addresses. While a shard has
    /// two primaries (one of them dead and replaced), the one that lives is first, and the other is a replica.
    pub(super) members: Vec<Member>,
}

/// A node.
#[derive(Debug, Clone, PartialEq, Eq)]
pub(super) struct Member {
    /// The cluster's name of it.
    pub(super) id: String,
    /// Where clients find it; its name here.
    pub(super) address: SocketAddr,
    /// Whether it takes writes.
    pub(super) role: Role,
    /// As the cluster has agreed on.
    pub(super) health: Health,
}

/// What a node is in its shard.
#[derive(Debug, Clone, Copy, PartialEq, Eq, PartialOrd, Ord)]
pub(super) enum Role {
    /// It takes writes.
    Primary,
    /// It follows the primary.
    Replica,
}

/// Who has the slots of a bucket.
#[derive(Debug, Clone, PartialEq, Eq)]
pub(super) enum Held<'a> {
    /// One shard has them all.
    Whole(&'a Shard),
    /// Several have some of them, or one has some and nobody the rest; the one with most first.
    Spread(Vec<&'a Shard>),
    /// No shard has any.
    Nowhere,
}

impl View {
    /// Reads CLUSTER SHARDS. A node that does not know its own address has the one that it was `asked` at.
    pub(super) fn of(shards: &Value, tls: bool, asked: SocketAddr) -> Result<Self, Unread> {
        let shards = shards.as_sequence().ok_or(Unread("no list of shards"))?;
        let shards =
            shards.iter().map(|shard| Shard::of(shard, tls, asked)).collect::<Result<Vec<_>, _>>()?;
        Ok(Self { shards: shards.into_iter().flatten().collect() })
    }

    /// All nodes.
    pub(super) fn members(&self) -> impl Iterator<Item = &Member> {
        self.shards.iter().flat_map(|shard| &shard.members)
    }

    /// The shard of the node at this address.
    pub(super) fn shard_of(&self, node: SocketAddr) -> Option<&Shard> {
        self.shards.iter().find(|shard| shard.member(node).is_some())
    }

    /// Who has the slots of a bucket.
    pub(super) fn held(&self, bucket: Bucket) -> Held<'_> {
        let mut holders: Vec<(usize, &Shard)> = self
            .shards
            .iter()
            .map(|shard| (bucket.within(&shard.slots), shard))
            .filter(|(slots, _)| *slots > 0)
            .collect();
        // Shards with as many slots are in the order of their first: it does not change from one look to the next.
        holders.sort_by_key(|(slots, shard)| {
            (std::cmp::Reverse(*slots), shard.slots.iter().map(|range| range.first).min())
        });
        match holders.as_slice() {
            [] => Held::Nowhere,
            [(slots, shard)] if *slots == bucket.width() => Held::Whole(shard),
            _ => Held::Spread(holders.into_iter().map(|(_, shard)| shard).collect()),
        }
    }
}

impl Shard {
    /// `None` for a shard whose nodes all have lost their addresses.
    fn of(value: &Value, tls: bool, asked: SocketAddr) -> Result<Option<Self>, Unread> {
        let fields = Fields::of(value)?;
        let bounds: Option<Vec<u16>> = fields.list("slots")?.iter().map(number).collect();
        let bounds = bounds.ok_or(Unread("slots"))?;
        let slots = bounds.chunks_exact(2).map(|pair| SlotRange { first: pair[0], last: pair[1] }).collect();
        let members = fields.list("nodes")?.iter().map(|node| Member::of(node, tls, asked));
        let members = members.collect::<Result<Vec<_>, _>>()?;
        let mut members: Vec<Member> = members.into_iter().flatten().collect();
        members.sort_by_key(|member| (member.role, member.health != Health::Up, member.address));
        for later in members.iter_mut().skip(1) {
            later.role = Role::Replica;
        }
        Ok((!members.is_empty()).then_some(Self { slots, members }))
    }

    /// Its first node: the primary, unless only replicas are left.
    pub(super) fn primary(&self) -> &Member {
        &self.members[0]
    }

    /// Its node at this address.
    pub(super) fn member(&self, node: SocketAddr) -> Option<&Member> {
        self.members.iter().find(|member| member.address == node)
    }
}

impl Member {
    /// `None` for one without an address.
    fn of(value: &Value, tls: bool, asked: SocketAddr) -> Result<Option<Self>, Unread> {
        let fields = Fields::of(value)?;
        let port = fields.number(if tls { "tls-port" } else { "port" });
        let ip = match fields.get("ip").and_then(text) {
            Some("") => Some(asked.ip()),
            Some(ip) => ip.parse::<IpAddr>().ok(),
            None => None,
        };
        let (Some(ip), Some(port)) = (ip, port) else { return Ok(None) };
        let role = if fields.text("role")? == "master" { Role::Primary } else { Role::Replica };
        let health = match fields.text("health")? {
            "online" => Health::Up,
            "fail" | "failed" => Health::Down,
            _ => Health::Unknown,
        };
        let (id, address) = (fields.text("id")?.to_owned(), SocketAddr::new(ip, port));
        Ok(Some(Self { id, address, role, health }))
    }
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::stores::valkey::bucket::Buckets;

    fn member(port: u16, role: Role) -> Member {
        let address = SocketAddr::from(([10, 0, 0, 1], port));
        Member { id: port.to_string(), address, role, health: Health::Up }
    }

    fn shard(port: u16, slots: &[(u16, u16)]) -> Shard {
        let slots = slots.iter().map(|&(first, last)| SlotRange { first, last }).collect();
        Shard { slots, members: vec![member(port, Role::Primary)] }
    }

    fn first_bucket() -> Bucket {
        Buckets::new(64).unwrap().all().next().unwrap()
    }

    #[test]
    fn a_bucket_is_whole_spread_or_nowhere() {
        let view = |shards: &[Shard]| View { shards: shards.to_vec() };
        let (a, b) = (shard(1, &[(0, 99)]), shard(2, &[(100, 5_000)]));
        let all = shard(3, &[(0, 300)]);
        assert_eq!(view(std::slice::from_ref(&all)).held(first_bucket()), Held::Whole(&all));
        assert_eq!(view(&[a.clone(), b.clone()]).held(first_bucket()), Held::Spread(vec![&b, &a]));
        assert_eq!(
            view(std::slice::from_ref(&a)).held(first_bucket()),
            Held::Spread(vec![&a]),
            "some slots are nobody's"
        );
        assert_eq!(view(&[shard(1, &[(256, 511)])]).held(first_bucket()), Held::Nowhere);
    }

    fn fields(pairs: Vec<(&str, Value)>) -> Value {
        let flat = pairs.into_iter().flat_map(|(name, value)| [Value::BulkString(name.into()), value]);
        Value::Array(flat.collect())
    }

    fn raw_node(id: &str, ip: &str, port: i64, role: &str, health: &str) -> Value {
        let word = |word: &str| Value::BulkString(word.into());
        fields(vec![
            ("id", word(id)),
            ("port", Value::Int(port)),
            ("ip", word(ip)),
            ("role", word(role)),
            ("health", word(health)),
        ])
    }

    #[test]
    fn a_replaced_primary_counts_as_a_replica() {
        let asked = "10.0.0.9:7".parse().unwrap();
        let nodes = vec![
            raw_node("old", "10.0.0.1", 7, "master", "fail"),
            raw_node("new", "", 8, "master", "online"),
            raw_node("third", "10.0.0.3", 9, "replica", "loading"),
        ];
        let slots = Value::Array([0, 99, 200, 255].map(Value::Int).to_vec());
        let raw = Value::Array(vec![fields(vec![("slots", slots), ("nodes", Value::Array(nodes))])]);
        let view = View::of(&raw, false, asked).unwrap();
        let seen: Vec<_> =
            view.members().map(|m| (m.id.as_str(), m.address.to_string(), m.role, m.health)).collect();
        assert_eq!(
            seen,
            [
                ("new", "10.0.0.9:8".to_owned(), Role::Primary, Health::Up),
                ("old", "10.0.0.1:7".to_owned(), Role::Replica, Health::Down),
                ("third", "10.0.0.3:9".to_owned(), Role::Replica, Health::Unknown),
            ]
        );
        assert_eq!(view.shards[0].slots[1], SlotRange { first: 200, last: 255 });
        assert!(View::of(&Value::Int(1), false, asked).is_err());
    }
}
