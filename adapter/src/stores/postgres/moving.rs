//! A migration, as the router has it now.

use super::Postgres;
use super::link::Link;
use super::names::{Names, Table};
use super::place::Place;
use crate::contract::{Migration, Refusal};
use isotherm_migration::{MigrationId, Origin, Side};
use isotherm_model::NodeId;

/// What a step needs to know of its migration.
pub(super) struct Moving {
    pub(super) id: MigrationId,
    pub(super) names: Names,
    pub(super) place: Place,
    /// Source and target among the configured nodes.
    pub(super) source: usize,
    pub(super) target: usize,
    pub(super) router: Link,
}

impl Moving {
    /// The table on source and target.
    pub(super) fn data(&self) -> &Table {
        &self.place.remote
    }

    /// Which of the two serves.
    pub(super) fn side(&self) -> Side {
        match self.place.node {
            Some(node) if node == self.source => Side::Source,
            Some(node) if node == self.target => Side::Target,
            Some(_) | None => Side::Neither,
        }
    }

    /// Refused unless the source serves.
    pub(super) fn source_serves(&self) -> Result<(), Refusal> {
        match self.side() {
            Side::Source => Ok(()),
            Side::Target => Err(Refusal::new(
                isotherm_migration::Reason::StaleEpoch,
                format!("the target serves {}: the way back is to reverse", self.place.table),
            )),
            Side::Neither => Err(self.elsewhere()),
        }
    }

    /// Somebody else has moved the partition.
    pub(super) fn elsewhere(&self) -> Refusal {
        Refusal::conflict(format!("{} lies on neither source nor target", self.place.table))
    }
}

impl Postgres {
    /// Asks the router where the partition of a migration is.
    pub(super) async fn moving(&self, migration: &Migration) -> Result<Moving, Refusal> {
        let source = match &migration.origin {
            Origin::Move { source } => source,
            Origin::Repair { .. } => {
                return Err(Refusal::unsupported(
                    "a partition has no replica that it could be repaired from",
                ));
            }
        };
        let router = self.router().await?;
        Ok(Moving {
            id: migration.id.clone(),
            names: Names::of(&migration.id),
            place: self.place(&router, &migration.partition).await?,
            source: self.number(source)?,
            target: self.number(&migration.target)?,
            router,
        })
    }

    fn number(&self, node: &NodeId) -> Result<usize, Refusal> {
        let found = self.nodes.iter().position(|known| known == node);
        found.ok_or_else(|| Refusal::conflict(format!("{node} is no node; name one that is configured")))
    }

    pub(super) async fn router(&self) -> Result<Link, Refusal> {
        Link::open("the router", &self.servers.router, &self.login).await
    }

    /// A session with a node, by its number.
    pub(super) async fn node(&self, node: usize) -> Result<Link, Refusal> {
        Link::open(self.nodes[node].name(), &self.servers.nodes[node].at, &self.login).await
    }

    /// Sessions with source and target.
    pub(super) async fn both(&self, moving: &Moving) -> Result<(Link, Link), Refusal> {
        tokio::try_join!(self.node(moving.source), self.node(moving.target))
    }
}
