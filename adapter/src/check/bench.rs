//! What all stories share: the adapter, the partition that is moved, and the cluster as it was.

use super::trial::Trial;
use super::{CheckError, Options, Why, failed};
use crate::contract::{Migration, Refusal, migration_from_wire};
use crate::store::Cluster;
use isotherm_migration::{MigrationId, Origin, Step, Term};
use isotherm_model::{NodeId, PartitionId};
use isotherm_proto::adapter::v1 as wire;
use isotherm_proto::adapter::v1::migration_adapter_client::MigrationAdapterClient;
use isotherm_proto::{
    Capabilities, Health, MAX_MESSAGE_BYTES, PartitionFacts, Switch, TopologyMessage, capabilities_from_wire,
    topology_from_wire,
};
use std::time::Duration;
use tonic::transport::{Channel, Endpoint};

pub(super) type Client = MigrationAdapterClient<Channel>;

/// How long a call may take; adapters answer within a few seconds, with `running` if need be.
pub(super) const CALL: Duration = Duration::from_secs(30);

/// How long a connection may take.
const CONNECT: Duration = Duration::from_secs(5);

/// How long a snapshot may take.
const SNAPSHOT: Duration = Duration::from_secs(30);

/// Ids of the check's migrations begin so.
const PREFIX: &str = "check";

/// The bench.
pub(super) struct Bench {
    endpoint: Endpoint,
    pub(super) client: Client,
    pub(super) options: Options,
    pub(super) capabilities: Capabilities,
    pub(super) term: Term,
    run: String,
    trials: u32,
    /// What is moved, and who held it at first; `None` before the cluster was seen.
    pub(super) subject: Option<Subject>,
}

/// What is moved.
#[derive(Debug, Clone)]
pub(super) struct Subject {
    pub(super) partition: PartitionId,
    pub(super) source: NodeId,
    pub(super) target: NodeId,
    pub(super) size_bytes: Option<u64>,
    /// At the beginning of the check.
    pub(super) holders: Vec<NodeId>,
}

impl Bench {
    pub(super) async fn connect(address: &str, options: Options) -> Result<Self, CheckError> {
        let bad = || CheckError::Endpoint { endpoint: address.to_owned() };
        let mut endpoint = Endpoint::from_shared(address.to_owned()).map_err(|_| bad())?;
        match endpoint.uri().scheme_str() {
            Some("https") => {
                let files = options.tls.clone().unwrap_or_default();
                endpoint = endpoint.tls_config(files.read()?).map_err(|_| bad())?;
            }
            Some("http") => {}
            Some(_) | None => return Err(bad()),
        }
        let endpoint = endpoint.connect_timeout(CONNECT).timeout(CALL);
        let unreachable = |cause: String| CheckError::Unreachable { endpoint: address.to_owned(), cause };
        let mut client = client(&endpoint);
        let told = client.get_capabilities(wire::GetCapabilitiesRequest {}).await;
        let told = told.map_err(|status| unreachable(status.to_string()))?;
        let capabilities = capabilities_from_wire(told.into_inner())
            .map_err(|malformed| unreachable(format!("its capabilities cannot be read: {malformed}")))?;
        let run = uuid::Uuid::new_v4().simple().to_string();
        let run = format!("{PREFIX}-{}", &run[..8]);
        Ok(Self { endpoint, client, options, capabilities, term: Term(1), run, trials: 0, subject: None })
    }

    /// A connection of its own.
    pub(super) fn another(&self) -> Client {
        client(&self.endpoint)
    }

    /// After a restart: the connection is a new one.
    pub(super) fn reconnect(&mut self) {
        self.client = client(&self.endpoint);
    }

    /// The cluster, from a fresh stream.
    pub(super) async fn cluster(&mut self) -> Result<Cluster, Why> {
        let mut cluster = Cluster::default();
        let whole = async {
            let request = wire::WatchTopologyRequest { heartbeat_ms: 1_000 };
            let stream = self.client.watch_topology(request).await;
            let mut stream =
                stream.map_err(|status| Why::Failed(format!("WatchTopology: {status}")))?.into_inner();
            loop {
                let message = stream.message().await;
                let message = message.map_err(|status| Why::Failed(format!("WatchTopology: {status}")))?;
                let Some(raw) = message else { return failed("WatchTopology ended within the snapshot") };
                let parsed = topology_from_wire(&self.capabilities.system, raw);
                match parsed.map_err(|malformed| Why::Failed(format!("WatchTopology: {malformed}")))? {
                    TopologyMessage::Part(part) => {
                        cluster.nodes.extend(part.nodes);
                        cluster.partitions.extend(part.partitions);
                        if !part.more {
                            return Ok(());
                        }
                    }
                    TopologyMessage::Changes(_) => {
                        return failed("changes came before the snapshot was whole");
                    }
                }
            }
        };
        match tokio::time::timeout(SNAPSHOT, whole).await {
            Ok(whole) => whole.map(|()| cluster),
            Err(_) => failed(format!("no whole snapshot within {} s", SNAPSHOT.as_secs())),
        }
    }

    /// What is moved: as it was asked for, or the smallest partition that can be.
    pub(super) async fn subject(&mut self) -> Result<Subject, Why> {
        if let Some(subject) = &self.subject {
            return Ok(subject.clone());
        }
        if self.capabilities.switch == Switch::None {
            return Err(Why::Skipped("the adapter moves nothing".to_owned()));
        }
        let cluster = self.cluster().await?;
        let up = |node: &NodeId| cluster.nodes.get(node).is_some_and(|facts| facts.health == Health::Up);
        let named = |node: &NodeId| self.options.target.as_ref().is_none_or(|name| name == node.name());
        let target = |facts: &PartitionFacts| {
            let free = |node: &&NodeId| up(node) && named(node) && !facts.nodes.contains(node);
            cluster.nodes.keys().find(free).cloned()
        };
        let mut found: Vec<Subject> = Vec::new();
        for (partition, facts) in &cluster.partitions {
            let wanted = self.options.partition.as_ref().is_none_or(|name| name == partition.name());
            let whole = facts.nodes.iter().all(up);
            if let (true, true, Some(target), Some(source)) =
                (wanted, whole, target(facts), facts.nodes.first())
            {
                found.push(Subject {
                    partition: partition.clone(),
                    source: source.clone(),
                    target,
                    size_bytes: facts.size_bytes,
                    holders: facts.nodes.clone(),
                });
            }
        }
        found.sort_by_key(|subject| subject.size_bytes.unwrap_or(u64::MAX));
        let Some(subject) = found.into_iter().next() else {
            let of = self.options.partition.as_deref().unwrap_or("any partition");
            return Err(Why::Skipped(format!(
                "{of} cannot be moved: its nodes must be up, and so must a node that does not hold it"
            )));
        };
        self.subject = Some(subject.clone());
        Ok(subject)
    }

    /// Takes a term that is not below any.
    pub(super) async fn lead(&mut self) -> Result<(), Why> {
        let subject = self.subject().await?;
        let trial = self.named(Origin::Move { source: subject.source.clone() }, &subject.target)?;
        self.term = trial.highest_term().await?;
        Ok(())
    }

    /// A new migration of the subject, from where it lies to where it goes.
    pub(super) async fn trial(&mut self) -> Result<Trial, Why> {
        let subject = self.subject().await?;
        self.moving(&subject.source, &subject.target).await
    }

    /// A new migration of the subject that is validated, so that its epochs are known.
    pub(super) async fn moving(&mut self, source: &NodeId, target: &NodeId) -> Result<Trial, Why> {
        self.lead().await?;
        let mut trial = self.named(Origin::Move { source: source.clone() }, target)?;
        let findings = trial.learn().await?;
        super::must(findings.is_empty(), || format!("{source} to {target} cannot be done: {findings:?}"))?;
        Ok(trial)
    }

    /// A new migration of the subject.
    pub(super) fn named(&mut self, origin: Origin, target: &NodeId) -> Result<Trial, Why> {
        let Some(subject) = self.subject.clone() else { return failed("no partition to move was found") };
        self.trials += 1;
        let id = MigrationId::new(format!("{}-{}", self.run, self.trials));
        let id = id.map_err(|error| Why::Failed(error.to_string()))?;
        let migration = Migration { id, partition: subject.partition, origin, target: target.clone() };
        Ok(Trial::new(self.client.clone(), migration, self.term, &self.capabilities))
    }

    /// What is left in the store of migrations of this check.
    pub(super) async fn left(&mut self) -> Result<Vec<wire::MigrationStatus>, Why> {
        let list = self.client.list_migrations(wire::ListMigrationsRequest {}).await;
        let list = list.map_err(|status| Why::Failed(format!("ListMigrations: {status}")))?.into_inner();
        let own = |status: &wire::MigrationStatus| {
            status.migration.as_ref().is_some_and(|migration| migration.migration_id.starts_with(&self.run))
        };
        Ok(list.migrations.into_iter().filter(own).collect())
    }

    /// Who holds the subject, by a fresh snapshot.
    pub(super) async fn holders(&mut self) -> Result<Vec<NodeId>, Why> {
        let subject = self.subject().await?;
        let cluster = self.cluster().await?;
        let facts = cluster.partitions.get(&subject.partition);
        facts
            .map(|facts| facts.nodes.clone())
            .ok_or_else(|| Why::Failed(format!("{} is not in the topology any more", subject.partition)))
    }

    /// Fails unless nothing is left of migrations, and these nodes hold the subject.
    pub(super) async fn clean(&mut self, holders: &[NodeId], when: &str) -> Result<(), Why> {
        self.nothing_left(when).await?;
        self.settled(holders, when).await
    }

    /// Fails unless nothing is left of migrations.
    pub(super) async fn nothing_left(&mut self, when: &str) -> Result<(), Why> {
        let left = self.left().await?;
        let Some(status) = left.first() else { return Ok(()) };
        let id =
            status.migration.as_ref().map(|migration| migration.migration_id.clone()).unwrap_or_default();
        failed(format!("{when}, ListMigrations has {id}, with {:?}", status.objects))
    }

    /// Waits until these nodes hold the subject, in any order: a store may tell of it a little later.
    pub(super) async fn settled(&mut self, holders: &[NodeId], when: &str) -> Result<(), Why> {
        let expected = sorted(holders);
        self.told(|found| *found == expected, &format!("{expected:?}"), when).await
    }

    /// Waits until this node holds the subject, and that one does not.
    pub(super) async fn settled_on(&mut self, holds: &NodeId, not: &NodeId, when: &str) -> Result<(), Why> {
        let has = |found: &[String], node: &NodeId| found.iter().any(|name| name == node.name());
        let told = |found: &Vec<String>| has(found, holds) && !has(found, not);
        self.told(told, &format!("{} instead of {}", holds.name(), not.name()), when).await
    }

    /// Waits until the subject lies where it lay at first; what comes of a story that cannot begin so is told by it.
    pub(super) async fn rested(&mut self) {
        if let Some(subject) = self.subject.clone() {
            let _ = self.settled(&subject.holders, "before a story").await;
        }
    }

    async fn told(
        &mut self,
        so: impl Fn(&Vec<String>) -> bool,
        expected: &str,
        when: &str,
    ) -> Result<(), Why> {
        let until = tokio::time::Instant::now() + Duration::from_secs(20);
        loop {
            let found = sorted(&self.holders().await?);
            if so(&found) {
                return Ok(());
            }
            if tokio::time::Instant::now() > until {
                return failed(format!("{when}, the topology says that {found:?} hold it, not {expected}"));
            }
            tokio::time::sleep(Duration::from_millis(100)).await;
        }
    }

    /// Waits until a node comes first among those that hold the subject.
    pub(super) async fn leads(&mut self, node: &NodeId, when: &str) -> Result<(), Why> {
        let until = tokio::time::Instant::now() + Duration::from_secs(20);
        loop {
            let found = self.holders().await?;
            if found.first() == Some(node) {
                return Ok(());
            }
            if tokio::time::Instant::now() > until {
                let first = found.first().map(ToString::to_string).unwrap_or_default();
                return failed(format!("{when}, {first} comes first in the topology, not {node}"));
            }
            tokio::time::sleep(Duration::from_millis(200)).await;
        }
    }

    /// Ends what a story that failed has left, as well as it goes.
    pub(super) async fn tidy(&mut self) {
        let Ok(left) = self.left().await else { return };
        for status in left {
            let Some(raw) = status.migration else { continue };
            let Ok(migration) = migration_from_wire("migration", &self.capabilities.system, raw) else {
                continue;
            };
            if self.lead().await.is_err() {
                return;
            }
            let mut trial = Trial::new(self.client.clone(), migration, self.term, &self.capabilities);
            if trial.learn().await.is_ok() && trial.step(Step::Abort).await.is_err() {
                let _ = trial.learn().await;
                let _ = trial.step(Step::ReverseSwitch).await;
                let _ = trial.learn().await;
                let _ = trial.step(Step::Abort).await;
            }
        }
    }
}

fn client(endpoint: &Endpoint) -> Client {
    MigrationAdapterClient::new(endpoint.connect_lazy()).max_decoding_message_size(MAX_MESSAGE_BYTES)
}

/// What a refusal was, for people.
pub(super) fn words(refusal: &Refusal) -> String {
    format!("{:?} ({})", refusal.reason, refusal.message)
}

/// Names of nodes, so that their order does not count.
fn sorted(nodes: &[NodeId]) -> Vec<String> {
    let mut names: Vec<String> = nodes.iter().map(|node| node.name().to_owned()).collect();
    names.sort();
    names
}
