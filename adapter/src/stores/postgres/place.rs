//! Where partitions lie, as the router has it, and the cluster as a whole.

use super::Postgres;
use super::link::{Endpoint, Link, Row};
use super::names::Table;
use crate::contract::Refusal;
use crate::store::Cluster;
use futures::future::join_all;
use isotherm_model::{NodeId, PartitionId};
use isotherm_proto::{Health, Locator, NodeFacts, PartitionFacts, Relation};
use std::collections::BTreeMap;
use std::time::Duration;

/// How long a node may take to say that it is there.
const ALIVE: Duration = Duration::from_secs(2);

/// Leaves of the partitioned tables, and where the router finds each. All of it is of one moment, `pg_get_expr` excepted,
/// which knows nothing of tables that were dropped since; `pg_partition_tree` would be of a later moment than the rest.
const LEAVES: &str = "
    WITH RECURSIVE tree AS (
        SELECT tc.oid, NULL::oid AS parent FROM unnest($1::text[], $2::text[]) AS t(schema_name, table_name)
        JOIN pg_namespace tn ON tn.nspname = t.schema_name
        JOIN pg_class tc ON tc.relnamespace = tn.oid AND tc.relname = t.table_name
        UNION ALL
        SELECT i.inhrelid, i.inhparent FROM tree JOIN pg_inherits i ON i.inhparent = tree.oid
        WHERE NOT i.inhdetachpending)
    SELECT n.nspname, c.relname, pn.nspname, p.relname, pg_get_expr(c.relpartbound, c.oid), c.oid, s.srvname,
        coalesce(o.host, o.hostaddr, 'localhost'), coalesce(o.port, '5432'), coalesce(o.dbname, current_database()),
        coalesce(f.schema_name, n.nspname), coalesce(f.table_name, c.relname)
    FROM tree
    JOIN pg_class c ON c.oid = tree.oid JOIN pg_namespace n ON n.oid = c.relnamespace
    JOIN pg_class p ON p.oid = tree.parent JOIN pg_namespace pn ON pn.oid = p.relnamespace
    LEFT JOIN pg_foreign_table ft ON ft.ftrelid = c.oid LEFT JOIN pg_foreign_server s ON s.oid = ft.ftserver
    LEFT JOIN LATERAL (SELECT max(option_value) FILTER (WHERE option_name = 'host') AS host,
        max(option_value) FILTER (WHERE option_name = 'hostaddr') AS hostaddr,
        max(option_value) FILTER (WHERE option_name = 'port') AS port,
        max(option_value) FILTER (WHERE option_name = 'dbname') AS dbname
        FROM pg_options_to_table(s.srvoptions)) AS o ON true
    LEFT JOIN LATERAL (SELECT max(option_value) FILTER (WHERE option_name = 'schema_name') AS schema_name,
        max(option_value) FILTER (WHERE option_name = 'table_name') AS table_name
        FROM pg_options_to_table(ft.ftoptions)) AS f ON true
    WHERE c.relispartition AND c.relkind <> 'p'";

/// A partition, as the router has it.
#[derive(Debug, Clone)]
pub(super) struct Place {
    /// The partition on the router.
    pub(super) table: Table,
    /// Of what it is a partition.
    pub(super) parent: Table,
    /// Of which rows, as `ATTACH PARTITION` takes it; `None` if the table was dropped while this was read.
    pub(super) bound: Option<String>,
    /// The router's number of it.
    pub(super) oid: u32,
    /// The router's foreign server of it; `None` where it lies on the router itself.
    pub(super) server: Option<String>,
    /// The configured node, by its number; `None` if it is none of them.
    pub(super) node: Option<usize>,
    /// The table on the node.
    pub(super) remote: Table,
}

impl Place {
    fn name(&self) -> String {
        format!("{}.{}", self.table.schema, self.table.name)
    }
}

impl Postgres {
    /// All partitions.
    pub(super) async fn places(&self, router: &Link) -> Result<Vec<Place>, Refusal> {
        let (schemas, names): (Vec<&str>, Vec<&str>) =
            self.servers.tables.iter().map(|table| (table.schema.as_str(), table.name.as_str())).unzip();
        let rows = router.rows(LEAVES, &[&schemas, &names]).await?;
        if rows.is_empty() {
            let tables: Vec<String> = self.servers.tables.iter().map(Table::to_string).collect();
            return Err(Refusal::conflict(format!(
                "the router has no partitions of {}: mend store.tables",
                tables.join(", ")
            )));
        }
        rows.iter().map(|row| self.place_of(row)).collect()
    }

    fn place_of(&self, row: &Row) -> Result<Place, Refusal> {
        let server: Option<String> = row.get(6)?;
        let text = |at: usize| row.get::<String>(at);
        let (at, local) = match &server {
            Some(_) => (Endpoint { host: text(7)?, port: text(8)?.parse().unwrap_or(0) }, false),
            None => (self.servers.router.clone(), true),
        };
        let known = local || text(9)? == self.servers.database;
        Ok(Place {
            table: Table::new(text(0)?, text(1)?),
            parent: Table::new(text(2)?, text(3)?),
            bound: row.get(4)?,
            oid: row.get(5)?,
            server,
            node: self.servers.nodes.iter().position(|listed| known && listed.at == at),
            remote: Table::new(text(10)?, text(11)?),
        })
    }

    /// Where a partition lies.
    pub(super) async fn place(&self, router: &Link, partition: &PartitionId) -> Result<Place, Refusal> {
        let places = self.places(router).await?;
        places
            .into_iter()
            .find(|place| place.name() == partition.name())
            .ok_or_else(|| Refusal::conflict(format!("the router has no partition {}", partition.name())))
    }

    /// The node that a partition lies on.
    pub(super) fn holder(&self, place: &Place) -> Result<NodeId, Refusal> {
        place.node.map(|node| self.nodes[node].clone()).ok_or_else(|| {
            let server = place.server.as_deref().unwrap_or("the router itself");
            Refusal::conflict(format!(
                "{} lies on {server}, which is no node: add a [[store.node]]",
                place.table
            ))
        })
    }

    /// Nodes and partitions. Sizes of what lies on a node that is down are unknown.
    pub(super) async fn look(&self) -> Result<Cluster, Refusal> {
        let router = self.router().await?;
        let places = self.places(&router).await?;
        let looks = (0..self.nodes.len()).map(|node| self.look_at(node, &places));
        let mut cluster = Cluster::default();
        let mut sizes = BTreeMap::new();
        for (node, found) in join_all(looks).await.into_iter().enumerate() {
            let listed = &self.servers.nodes[node];
            let health = if found.is_some() { Health::Up } else { Health::Down };
            let facts = NodeFacts {
                addresses: vec![listed.address],
                domains: listed.domains.clone(),
                health,
                ..NodeFacts::default()
            };
            cluster.nodes.insert(self.nodes[node].clone(), facts);
            sizes.extend(found.unwrap_or_default());
        }
        for (number, place) in places.iter().enumerate() {
            let id = PartitionId::new(self.system.clone(), place.name())
                .map_err(|error| Refusal::conflict(format!("{} cannot be named: {error}", place.table)))?;
            cluster.partitions.insert(id, self.facts(place, sizes.get(&number).copied()));
        }
        Ok(cluster)
    }

    fn facts(&self, place: &Place, size_bytes: Option<u64>) -> PartitionFacts {
        let relation = Relation {
            database: self.servers.database.clone(),
            schema: place.remote.schema.clone(),
            name: place.remote.name.clone(),
        };
        let nodes: Vec<NodeId> = place.node.map(|node| self.nodes[node].clone()).into_iter().collect();
        let locators = nodes.iter().map(|node| Locator {
            node: Some(node.clone()),
            files: Vec::new(),
            devices: Vec::new(),
            ports: Vec::new(),
            slots: Vec::new(),
            key_ranges: Vec::new(),
            relations: vec![relation.clone()],
        });
        PartitionFacts { size_bytes, locators: locators.collect(), nodes, epoch: 0 }
    }

    /// Sizes of the partitions on a node, by their numbers; `None` if it is down.
    async fn look_at(&self, node: usize, places: &[Place]) -> Option<BTreeMap<usize, u64>> {
        let sizes = async {
            let link = self.node(node).await?;
            let here = places.iter().enumerate().filter(|(_, place)| place.node == Some(node));
            let (numbers, tables): (Vec<usize>, Vec<String>) =
                here.map(|(number, place)| (number, place.remote.to_string())).unzip();
            let sql = "SELECT pg_total_relation_size(to_regclass(name)) FROM unnest($1::text[]) WITH ORDINALITY \
                AS t(name, place) ORDER BY place";
            let rows = link.rows(sql, &[&tables]).await?;
            let mut sizes = BTreeMap::new();
            for (number, row) in numbers.into_iter().zip(rows) {
                if let Some(size) = row.get::<Option<i64>>(0)? {
                    sizes.extend(u64::try_from(size).ok().map(|size| (number, size)));
                }
            }
            Ok::<_, Refusal>(sizes)
        };
        tokio::time::timeout(ALIVE, sizes).await.ok()?.ok()
    }
}
