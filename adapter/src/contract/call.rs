//! What a call says, whatever its step.

use super::{MAX_REQUEST_ID, Malformed, malformed};
use isotherm_migration::{
    Decision, Epoch, MigrationId, Origin, Proposal, Request, Spec, Step, Term, Verification, Warrant,
};
use isotherm_model::{NodeId, PartitionId, SystemId};
use isotherm_proto::adapter::v1 as wire;
use serde::{Deserialize, Serialize};

/// What is moved, from where to where.
#[derive(Debug, Clone, PartialEq, Eq, Serialize, Deserialize)]
#[serde(try_from = "kept::Migration", into = "kept::Migration")]
pub struct Migration {
    /// Its name.
    pub id: MigrationId,
    /// What is moved.
    pub partition: PartitionId,
    /// The node whose place the target takes, and whether it lives.
    pub origin: Origin,
    /// The node that gets the copy.
    pub target: NodeId,
}

/// A call, as an adapter hears it.
#[derive(Debug, Clone, PartialEq, Eq, Serialize, Deserialize)]
pub struct Asked {
    /// The name of the request.
    pub request_id: String,
    /// The controller's.
    pub term: Term,
    /// Absent in a validation only.
    pub epochs: Option<Proposal>,
    /// The migration.
    pub migration: Migration,
    /// What is to be done.
    pub step: Step,
}

impl From<&Spec> for Migration {
    fn from(spec: &Spec) -> Self {
        Self {
            id: spec.id.clone(),
            partition: spec.partition.clone(),
            origin: spec.origin.clone(),
            target: spec.target.clone(),
        }
    }
}

impl Asked {
    /// Checks a call that asks for `step`.
    pub fn from_wire(system: &SystemId, call: Option<wire::Call>, step: Step) -> Result<Self, Malformed> {
        let call = call.ok_or_else(|| malformed("call", "absent"))?;
        let epochs = match (call.expected_epoch, call.new_epoch, &step) {
            (None, None, Step::ValidateMigration) => None,
            (Some(expected), Some(new), step) if !matches!(step, Step::ValidateMigration) => {
                if new < expected {
                    return Err(malformed(
                        "call.new_epoch",
                        format!("{new} is below expected_epoch {expected}"),
                    ));
                }
                Some(Proposal { expected: Epoch(expected), new: Epoch(new) })
            }
            _ => {
                let what = "both expected_epoch and new_epoch are needed, and neither in ValidateMigration";
                return Err(malformed("call.expected_epoch", what));
            }
        };
        let raw = call.migration.ok_or_else(|| malformed("call.migration", "absent"))?;
        Ok(Self {
            request_id: request_id("call.request_id", call.request_id)?,
            term: Term(call.term),
            epochs,
            migration: migration_from_wire("call.migration", system, raw)?,
            step,
        })
    }

    /// Whether it is the same request as another: all but the term is.
    #[must_use]
    pub fn repeats(&self, other: &Self) -> bool {
        (&self.request_id, &self.epochs, &self.migration, &self.step)
            == (&other.request_id, &other.epochs, &other.migration, &other.step)
    }
}

/// The name of a request: see [`MAX_REQUEST_ID`].
pub(crate) fn request_id(field: &str, id: String) -> Result<String, Malformed> {
    let plain = id.bytes().all(|byte| byte.is_ascii_graphic());
    if plain && (1..=MAX_REQUEST_ID).contains(&id.len()) {
        return Ok(id);
    }
    Err(malformed(field, format!("must be 1 to {MAX_REQUEST_ID} printable ASCII characters without space")))
}

/// The part of a call that all steps have.
#[must_use]
pub fn call_to_wire(migration: &Migration, term: Term, request: &Request) -> wire::Call {
    wire::Call {
        request_id: request.id.to_string(),
        term: term.0,
        expected_epoch: request.epochs.map(|epochs| epochs.expected.0),
        new_epoch: request.epochs.map(|epochs| epochs.new.0),
        migration: Some(migration_to_wire(migration)),
    }
}

/// A migration as it is sent.
#[must_use]
pub fn migration_to_wire(migration: &Migration) -> wire::Migration {
    let origin = match &migration.origin {
        Origin::Move { source } => wire::migration::Origin::Source(source.name().to_owned()),
        Origin::Repair { dead } => wire::migration::Origin::Dead(dead.name().to_owned()),
    };
    wire::Migration {
        migration_id: migration.id.to_string(),
        partition: migration.partition.name().to_owned(),
        origin: Some(origin),
        target: migration.target.name().to_owned(),
    }
}

/// Checks a migration of `system`.
pub fn migration_from_wire(
    field: &str,
    system: &SystemId,
    raw: wire::Migration,
) -> Result<Migration, Malformed> {
    let at = |name: &str| format!("{field}.{name}");
    let node = |name: &str, raw: String| {
        NodeId::new(system.clone(), raw).map_err(|error| malformed(&at(name), error))
    };
    let origin = match raw.origin {
        Some(wire::migration::Origin::Source(source)) => Origin::Move { source: node("source", source)? },
        Some(wire::migration::Origin::Dead(dead)) => Origin::Repair { dead: node("dead", dead)? },
        None => return Err(malformed(&at("origin"), "absent: a source, or a dead node")),
    };
    let target = node("target", raw.target)?;
    if *origin.node() == target {
        return Err(malformed(&at("target"), format!("{target} is source and target")));
    }
    Ok(Migration {
        id: MigrationId::new(raw.migration_id).map_err(|error| malformed(&at("migration_id"), error))?,
        partition: PartitionId::new(system.clone(), raw.partition)
            .map_err(|error| malformed(&at("partition"), error))?,
        origin,
        target,
    })
}

/// A warrant as it is sent.
#[must_use]
pub fn warrant_to_wire(warrant: &Warrant) -> wire::commit_switch_request::Warrant {
    match warrant {
        Warrant::Verified(verification) => {
            wire::commit_switch_request::Warrant::Verification(verification_to_wire(verification))
        }
        Warrant::DataLoss(Decision { by, reason }) => {
            let (by, reason) = (by.clone(), reason.clone());
            wire::commit_switch_request::Warrant::DataLoss(wire::DataLossAccepted { by, reason })
        }
    }
}

/// Checks a warrant.
pub fn warrant_from_wire(raw: Option<wire::commit_switch_request::Warrant>) -> Result<Warrant, Malformed> {
    match raw {
        Some(wire::commit_switch_request::Warrant::Verification(raw)) => {
            verification_from_wire("verification", raw).map(Warrant::Verified)
        }
        Some(wire::commit_switch_request::Warrant::DataLoss(raw)) => {
            if raw.by.is_empty() || raw.reason.is_empty() {
                return Err(malformed("data_loss", "who accepts the loss, and why, must be said"));
            }
            Ok(Warrant::DataLoss(Decision { by: raw.by, reason: raw.reason }))
        }
        None => Err(malformed("warrant", "absent: there is no switch without")),
    }
}

pub(super) fn verification_to_wire(verification: &Verification) -> wire::Verification {
    wire::Verification {
        migration_id: verification.migration.to_string(),
        serving_epoch: verification.epoch.0,
        evidence: verification.evidence.clone(),
    }
}

pub(super) fn verification_from_wire(
    field: &str,
    raw: wire::Verification,
) -> Result<Verification, Malformed> {
    let migration = MigrationId::new(raw.migration_id)
        .map_err(|error| malformed(&format!("{field}.migration_id"), error))?;
    Ok(Verification { migration, epoch: Epoch(raw.serving_epoch), evidence: raw.evidence })
}

/// How a migration is written down: by names, which are checked again when they are read.
mod kept {
    use super::{Origin, migration_from_wire, wire};
    use isotherm_model::SystemId;
    use serde::{Deserialize, Serialize};

    #[derive(Serialize, Deserialize)]
    #[serde(deny_unknown_fields)]
    pub(super) struct Migration {
        system: String,
        id: String,
        partition: String,
        origin: Kind,
        from: String,
        target: String,
    }

    #[derive(Serialize, Deserialize)]
    enum Kind {
        Source,
        Dead,
    }

    impl From<super::Migration> for Migration {
        fn from(of: super::Migration) -> Self {
            let kind = match of.origin {
                Origin::Move { .. } => Kind::Source,
                Origin::Repair { .. } => Kind::Dead,
            };
            Self {
                system: of.partition.system().to_string(),
                id: of.id.to_string(),
                partition: of.partition.name().to_owned(),
                origin: kind,
                from: of.origin.node().name().to_owned(),
                target: of.target.name().to_owned(),
            }
        }
    }

    impl TryFrom<Migration> for super::Migration {
        type Error = String;

        fn try_from(kept: Migration) -> Result<Self, String> {
            let system = SystemId::new(kept.system).map_err(|error| error.to_string())?;
            let origin = match kept.origin {
                Kind::Source => wire::migration::Origin::Source(kept.from),
                Kind::Dead => wire::migration::Origin::Dead(kept.from),
            };
            let raw = wire::Migration {
                migration_id: kept.id,
                partition: kept.partition,
                origin: Some(origin),
                target: kept.target,
            };
            migration_from_wire("migration", &system, raw).map_err(|error| error.to_string())
        }
    }
}
