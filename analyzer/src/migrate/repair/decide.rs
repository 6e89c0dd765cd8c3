//! What is to be done about failures. Pure.
//!
//! A failure is confirmed by two: the topology, and somebody who watches the node. It is acted on when it has lasted for
//! the wait, when nobody took the node down on purpose, and while the breaker is closed.

use super::book::Failure;
use super::settings::{Settings, ms};
use super::track::{Lack, Told};
use crate::topology::failure::{AgentSays, ProbeSays, Witness};
use isotherm_migration::End;
use isotherm_model::NodeId;
use isotherm_runner::Entry;
use std::collections::BTreeMap;

/// Where a failure stands.
#[derive(Debug, Clone, PartialEq, Eq)]
pub(super) enum Standing {
    /// The node is back, with what it had as far as is known.
    Back,
    /// It was taken down on purpose.
    Maintenance,
    /// The topology does not say any more whether it is down.
    Unsaid,
    /// Somebody sees it running; in words.
    Contradicted(String),
    /// It has not lasted for the wait.
    Waits,
    /// Only the topology says so, and nobody else watches the node.
    OneSignal,
    /// It is confirmed, by what is said here.
    Confirmed(String),
}

impl Standing {
    /// The word used in tables and messages.
    pub(super) fn as_str(&self) -> &'static str {
        match self {
            Self::Back => "back",
            Self::Maintenance => "maintenance",
            Self::Unsaid => "unsaid",
            Self::Contradicted(_) => "contradicted",
            Self::Waits => "waits",
            Self::OneSignal => "one signal",
            Self::Confirmed(_) => "confirmed",
        }
    }

    /// The same as a sentence.
    pub(super) fn why(&self, settings: &Settings) -> String {
        match self {
            Self::Back => "it is back".to_owned(),
            Self::Maintenance => "it is on record as taken down on purpose".to_owned(),
            Self::Unsaid => "the topology does not say whether it is down".to_owned(),
            Self::Contradicted(what) => format!("the topology says that it is down, but {what}"),
            Self::Waits => {
                format!("it has to be down for {}", humantime::format_duration(settings.wait))
            }
            Self::OneSignal => {
                "only the topology says so: no agent watches it, and no probe has an answer of it \
                                to compare with"
                    .to_owned()
            }
            Self::Confirmed(what) => what.clone(),
        }
    }

    /// Whether the node counts as failed for the breaker.
    pub(super) fn counts(&self) -> bool {
        match self {
            Self::Contradicted(_) | Self::Waits | Self::OneSignal | Self::Confirmed(_) => true,
            Self::Back | Self::Maintenance | Self::Unsaid => false,
        }
    }

    /// Whether its replicas may be made again; with one signal only if somebody agrees to each.
    pub(super) fn permits(&self, somebody_agrees: bool) -> bool {
        match self {
            Self::Confirmed(_) => true,
            Self::OneSignal => somebody_agrees,
            Self::Back | Self::Maintenance | Self::Unsaid | Self::Contradicted(_) | Self::Waits => false,
        }
    }
}

/// Where a failure stands. `wait_ms` is at least the hold-down.
pub(super) fn standing(
    failure: &Failure,
    told: Told,
    witness: &Witness,
    maintained: bool,
    wait_ms: u64,
    now_ms: u64,
) -> Standing {
    if failure.back_ms.is_some() {
        return Standing::Back;
    }
    if maintained {
        return Standing::Maintenance;
    }
    let topology = match told {
        Told::Up => return Standing::Back,
        Told::Unknown => return Standing::Unsaid,
        Told::Down => "the topology says that it is down",
        Told::Gone => "the topology does not name it any more",
    };
    let second = match second(witness) {
        Second::Against(what) => return Standing::Contradicted(what),
        Second::For(what) => Some(what),
        Second::None => None,
    };
    if failure.since_ms.saturating_add(wait_ms) > now_ms {
        return Standing::Waits;
    }
    second.map_or(Standing::OneSignal, |what| Standing::Confirmed(format!("{topology}, and {what}")))
}

/// The second signal.
enum Second {
    For(String),
    Against(String),
    None,
}

/// An agent that sees the node knows best; where it is silent, a connection may know more.
fn second(witness: &Witness) -> Second {
    match (witness.agent, &witness.probe) {
        (AgentSays::Runs, _) => Second::Against("its agent sees it running".to_owned()),
        (AgentSays::NoProcess, _) => Second::For("its agent sees no process of it any more".to_owned()),
        (AgentSays::Silent | AgentSays::Nothing, ProbeSays::Answers) => {
            Second::Against("it answers a connection".to_owned())
        }
        (AgentSays::Silent, ProbeSays::Fails(why)) => Second::For(format!("its agent is silent and {why}")),
        (AgentSays::Silent, ProbeSays::Nothing) => Second::For("its agent is silent".to_owned()),
        (AgentSays::Nothing, ProbeSays::Fails(why)) => Second::For(why.clone()),
        (AgentSays::Nothing, ProbeSays::Nothing) => Second::None,
    }
}

/// What becomes of a partition that lacks a replica.
#[derive(Debug, Clone, PartialEq, Eq)]
pub(super) enum Verdict {
    /// A replica is to be made again in the place of the one on this node.
    Repair { dead: NodeId },
    /// It is being made.
    UnderWay,
    /// Nothing is done while its node stands as it does.
    Held,
    /// Nothing is done, and this is why.
    Not(String),
}

/// What is known beside a lack.
pub(super) struct Known<'a> {
    pub(super) failures: &'a BTreeMap<String, Failure>,
    pub(super) standings: &'a BTreeMap<String, Standing>,
    /// Repairs that a failure began, the newest first.
    pub(super) repairs: &'a [Entry],
    /// Whether a migration of the partition is under way.
    pub(super) moving: bool,
    /// Why it must not be touched, if so.
    pub(super) forbidden: Option<String>,
    /// Somebody agrees to each repair.
    pub(super) somebody_agrees: bool,
    pub(super) settings: &'a Settings,
    pub(super) now_ms: u64,
}

/// What becomes of a lack. At most one replica of a partition is made at a time; replicas whose nodes may yet come back
/// are not made in their place.
pub(super) fn verdict(lack: &Lack, known: &Known<'_>) -> Verdict {
    if known.moving {
        return Verdict::UnderWay;
    }
    if lack.survivors.is_empty() {
        return Verdict::Not("no replica is left to copy from: bring a node back that has one".to_owned());
    }
    let permitted = |node: &&NodeId| {
        let standing = known.standings.get(node.name());
        standing.is_some_and(|standing| standing.permits(known.somebody_agrees))
    };
    let held = lack.dead.iter().filter(|node| !permitted(node)).count();
    let Some(dead) = lack.dead.iter().find(permitted).filter(|_| lack.missing > held) else {
        return Verdict::Held;
    };
    if let Some(why) = known.forbidden.clone().or_else(|| tried(lack, dead, known)) {
        return Verdict::Not(why);
    }
    Verdict::Repair { dead: dead.clone() }
}

/// Why it is not tried again yet, if it was tried since its node failed.
fn tried(lack: &Lack, dead: &NodeId, known: &Known<'_>) -> Option<String> {
    let failure = known.failures.get(dead.name())?;
    let of_it = known.repairs.iter().find(|entry| {
        let spec = entry.migration.spec();
        let withdrawn = failure.withdrawn.contains(spec.id.as_str());
        spec.partition == lack.partition && entry.about.created_ms >= failure.since_ms && !withdrawn
    })?;
    match of_it.migration.end()? {
        End::Completed | End::Expired(_) => None,
        End::Cancelled => {
            Some("somebody cancelled its repair; `isotherm migrate start` begins one".to_owned())
        }
        End::Failed(_) | End::Reversed => {
            let again_ms = of_it.about.ended_ms.unwrap_or(0).saturating_add(ms(known.settings.retry));
            (again_ms > known.now_ms).then(|| {
                let retry = humantime::format_duration(known.settings.retry);
                format!("its repair has failed; it is tried again {retry} later")
            })
        }
    }
}

#[cfg(test)]
mod tests;
