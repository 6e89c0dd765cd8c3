//! Whether a bucket can be moved, and back: looked at before anything is begun.

use super::Valkey;
use super::reply::line;
use super::sight::Ends;
use super::view::{Held, Member, Role, Shard, View};
use crate::contract::{Migration, Refusal};
use crate::store::Findings;
use isotherm_migration::{Copies, Reason};
use isotherm_proto::Health;
use std::collections::HashMap;
use std::net::SocketAddr;

/// The first version that moves slots by itself.
const FIRST_MAJOR: u32 = 9;

impl Valkey {
    /// What stands in the way of a migration.
    pub(super) async fn findings(&self, migration: &Migration) -> Result<Findings, Refusal> {
        let ends = match self.ends(migration) {
            Ok(ends) => ends,
            Err(refusal) if refusal.reason == Reason::Unsupported => {
                return Ok(Findings { findings: vec![refusal.message], copies: Copies::Live });
            }
            Err(refusal) => return Err(refusal),
        };
        let view = self.view_of_holder(ends.bucket).await?;
        let (source, target, mut findings) = parties(&view, ends);
        let copies = copies(&view, ends);
        if let (Some(source), Some(target), Copies::Live, true) =
            (source, target, copies, findings.is_empty())
        {
            for node in [source.primary(), target.primary()] {
                findings.extend(self.node_findings(node.address).await?);
            }
            // A node of an older version does not know the commands by which the rest is asked.
            if findings.is_empty() {
                findings.extend(self.pair_findings(ends, source).await?);
            }
        }
        Ok(Findings { findings, copies })
    }

    /// What one of the two nodes says of itself.
    async fn node_findings(&self, node: SocketAddr) -> Result<Vec<String>, Refusal> {
        let mut findings = Vec::new();
        let info: String = self.nodes.ask(node, redis::cmd("INFO").arg("server")).await?;
        findings.extend(too_old(&info).map(|version| {
            format!("{node} runs {version}, which cannot move slots by itself; update it to Valkey {FIRST_MAJOR} or later")
        }));
        if !self.serves_cluster(node).await? {
            findings.push(format!("{node} says that the cluster does not serve; see CLUSTER INFO there"));
        }
        let nodes: String = self.nodes.ask(node, redis::cmd("CLUSTER").arg("NODES")).await?;
        let open = open_slots(&nodes);
        if !open.is_empty() {
            findings.push(format!(
                "{node} has slots that were opened by hand ({}); end that with CLUSTER SETSLOT",
                open.join(" ")
            ));
        }
        Ok(findings)
    }

    /// What the engine would stumble over.
    async fn pair_findings(&self, ends: Ends, source: &Shard) -> Result<Vec<String>, Refusal> {
        let mut findings = Vec::new();
        let name = ends.bucket.name();
        for job in self.jobs(ends.from).await?.iter().filter(|job| job.is_active_export()) {
            findings.push(format!("{} is sending slot migration {}; wait for its end", ends.from, job.name));
        }
        for job in self.jobs(ends.to).await? {
            if job.stage.is_active() && job.touches(ends.bucket) {
                findings.push(format!(
                    "{} is being sent slots of {name} by {}; wait for its end",
                    ends.to, job.name
                ));
            }
        }
        let strays = self.keys(ends.to, ends.bucket).await?;
        if strays > 0 {
            findings.push(format!(
                "{} has {strays} keys of {name}, which it does not serve; restart it, and it drops them",
                ends.to
            ));
        }
        findings.extend(self.lack_of_room(ends).await?);
        let gives_all =
            source.slots.iter().map(|range| usize::from(range.last - range.first) + 1).sum::<usize>()
                == ends.bucket.width();
        if gives_all && self.becomes_replica(ends.from).await? {
            findings.push(format!(
                "{} would give its last slots away, become a replica of {}, and there would be no way back; CONFIG SET \
                 cluster-allow-replica-migration no on both",
                ends.from, ends.to
            ));
        }
        Ok(findings)
    }

    /// The target, if it may not use as much memory as the bucket takes.
    async fn lack_of_room(&self, ends: Ends) -> Result<Option<String>, Refusal> {
        let info: String = self.nodes.ask(ends.to, redis::cmd("INFO").arg("memory")).await?;
        let bytes = |name| line(&info, name).and_then(|value| value.parse::<u64>().ok());
        let (Some(most @ 1..), Some(used)) = (bytes("maxmemory"), bytes("used_memory")) else {
            return Ok(None);
        };
        let Some(size) = self.size_bytes(ends.from, ends.bucket).await? else { return Ok(None) };
        Ok((used.saturating_add(size) > most).then(|| {
            format!(
                "{} uses {used} of the {most} bytes of its maxmemory, and the keys take about {size}; raise maxmemory, or \
                 choose another target",
                ends.to
            )
        }))
    }

    /// Whether a node without slots joins the shard that took its last.
    async fn becomes_replica(&self, node: SocketAddr) -> Result<bool, Refusal> {
        let name = "cluster-allow-replica-migration";
        let config: HashMap<String, String> =
            self.nodes.ask(node, redis::cmd("CONFIG").arg("GET").arg(name)).await?;
        Ok(config.get(name).is_none_or(|value| value == "yes"))
    }
}

/// The shards at both ends, and what is wrong with them as the cluster sees them.
fn parties(view: &View, ends: Ends) -> (Option<&Shard>, Option<&Shard>, Vec<String>) {
    let mut findings = Vec::new();
    let name = ends.bucket.name();
    let source = match view.held(ends.bucket) {
        Held::Whole(shard) => Some(shard),
        Held::Spread(shards) => {
            let holders: Vec<String> =
                shards.iter().map(|shard| shard.primary().address.to_string()).collect();
            findings.push(format!(
                "the slots of {name} are spread over {} or have no owner; bring them together with CLUSTER MIGRATESLOTS, or \
                 choose `buckets` so that no bucket is cut",
                holders.join(", ")
            ));
            None
        }
        Held::Nowhere => {
            findings.push(format!("nobody has the slots of {name}; assign them with CLUSTER ADDSLOTSRANGE"));
            None
        }
    };
    let Some(source) = source else { return (None, None, findings) };
    let leader = source.primary();
    if leader.address != ends.from {
        findings.push(match source.member(ends.from) {
            Some(_) => {
                format!("{} is a replica; the source must be the primary, {}", ends.from, leader.address)
            }
            None => format!("{} does not have {name}; {} has it", ends.from, leader.address),
        });
    }
    let Some(target) = view.shard_of(ends.to) else {
        findings.push(format!("{} is no node of the cluster; see CLUSTER NODES for those that are", ends.to));
        return (Some(source), None, findings);
    };
    findings.extend(target_findings(source, target, ends.to));
    (Some(source), Some(target), findings)
}

fn target_findings(source: &Shard, target: &Shard, node: SocketAddr) -> Vec<String> {
    let leader = target.primary();
    if source == target {
        return vec![format!(
            "{node} is of the same shard as the source; reads are moved there by making it the leader"
        )];
    }
    if leader.address != node {
        return vec![format!(
            "{node} is a replica; the target must be a primary, such as {}",
            leader.address
        )];
    }
    let down = |member: &&Member| member.health != Health::Up;
    target.members.iter().filter(down).map(unhealthy).collect()
}

fn unhealthy(member: &Member) -> String {
    let role = match member.role {
        Role::Primary => "the target",
        Role::Replica => "a replica of the target, whose copy would be missing,",
    };
    let (address, health) = (member.address, member.health.as_str());
    format!("{address}, {role} is {health}; bring it back or CLUSTER FORGET it")
        .replace("the target is", "the target, is")
}

/// Whether the shard that has the bucket has a node left.
fn copies(view: &View, ends: Ends) -> Copies {
    match view.held(ends.bucket) {
        Held::Whole(shard) if shard.members.iter().all(|member| member.health == Health::Down) => {
            Copies::Lost
        }
        Held::Whole(_) | Held::Spread(_) | Held::Nowhere => Copies::Live,
    }
}

/// The version, if it is too old.
fn too_old(info: &str) -> Option<String> {
    let Some(version) = line(info, "valkey_version") else {
        return Some(format!("Redis {}", line(info, "redis_version").unwrap_or("of an unknown version")));
    };
    let major = version.split('.').next().and_then(|major| major.parse::<u32>().ok());
    major.is_none_or(|major| major < FIRST_MAJOR).then(|| format!("Valkey {version}"))
}

/// Slots that a node is giving or getting one by one, as it says itself in CLUSTER NODES: `[93->-292f...]`.
fn open_slots(nodes: &str) -> Vec<&str> {
    let own = nodes.lines().find(|line| line.split(' ').nth(2).is_some_and(|flags| flags.contains("myself")));
    own.into_iter().flat_map(|line| line.split(' ').filter(|word| word.starts_with('['))).collect()
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn only_valkey_from_9_on_is_new_enough() {
        assert_eq!(too_old("redis_version:7.2.4\r\nvalkey_version:9.1.2\r\n"), None);
        assert_eq!(too_old("redis_version:7.2.4\r\nvalkey_version:10.0.0\r\n"), None);
        assert_eq!(
            too_old("redis_version:7.2.4\r\nvalkey_version:8.1.3\r\n").as_deref(),
            Some("Valkey 8.1.3")
        );
        assert_eq!(too_old("redis_version:7.0.15\r\n").as_deref(), Some("Redis 7.0.15"));
    }

    /// As Valkey 9.1.2 writes it.
    #[test]
    fn slots_that_were_opened_by_hand_are_seen_at_the_node_itself() {
        let nodes = "51 127.0.0.1:1@2 myself,master - 0 0 1 connected 0-5460 [93->-292f]\n\
                     71 127.0.0.1:3@4 master - 0 0 2 connected 5461-10922 [7-<-51]\n";
        assert_eq!(open_slots(nodes), ["[93->-292f]"]);
        assert!(open_slots("").is_empty());
    }
}
