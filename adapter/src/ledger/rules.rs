//! What is refused, and why: one pure function for each rule of the contract.

use super::record::{Begun, Content, Heard, Partition, ShiftMade};
use crate::contract::{Asked, Refusal};
use isotherm_migration::{Epoch, Origin, Proposal, Reason, Side, Step, StepKind, Term, Warrant};
use isotherm_model::NodeId;
use std::collections::BTreeSet;

/// The epoch of a partition that was never seen before. 0 stands for none.
pub const FIRST_EPOCH: Epoch = Epoch(1);

/// A term below the highest is refused.
pub fn term(seen: Term, heard: Term) -> Result<(), Refusal> {
    if heard >= seen {
        return Ok(());
    }
    Err(Refusal::new(
        Reason::StaleTerm { seen },
        format!("a controller of term {seen} was heard of; this one has {heard}"),
    ))
}

/// A request is refused if another epoch serves than it expects, or a higher one was proposed.
pub fn epochs(partition: &Partition, proposal: Proposal) -> Result<(), Refusal> {
    let stale = |message| Err(Refusal::new(Reason::StaleEpoch, message));
    if proposal.expected != partition.serving {
        return stale(format!("epoch {} serves, not {}", partition.serving, proposal.expected));
    }
    if proposal.new < partition.highest {
        return stale(format!("epoch {} was proposed before; {} is below", partition.highest, proposal.new));
    }
    Ok(())
}

/// Whether a step is the one that was heard under its name; refused if it is another.
pub fn repeats(first: &Heard, asked: &Asked) -> Result<(), Refusal> {
    match &first.content {
        Content::Step(first) if first.repeats(asked) => Ok(()),
        Content::Step(_) | Content::Shift(_) => Err(other_content(&asked.request_id)),
    }
}

/// Whether a shift is the one that was heard under its name; refused if it is another.
pub fn repeats_shift(id: &str, first: &Heard, made: &ShiftMade) -> Result<(), Refusal> {
    match &first.content {
        Content::Shift(first) if first.repeats(made) => Ok(()),
        Content::Shift(_) | Content::Step(_) => Err(other_content(id)),
    }
}

fn other_content(id: &str) -> Refusal {
    let message = format!("request {id} was made before with another content; name this one differently");
    Refusal::new(Reason::AlreadyExists, message)
}

/// What a migration that was begun says to a step. `None` for one that was not.
pub fn same_subject(begun: Option<&Begun>, asked: &Asked) -> Result<(), Refusal> {
    let Some(begun) = begun else { return Ok(()) };
    let id = &asked.migration.id;
    if begun.migration != asked.migration {
        let of = &begun.migration;
        let (partition, from, to) = (&of.partition, of.origin.node(), &of.target);
        return Err(Refusal::conflict(format!("migration {id} is that of {partition} from {from} to {to}")));
    }
    match (begun.ended_ms, asked.step.kind()) {
        (None, _) | (Some(_), StepKind::Abort | StepKind::RetireSource) => Ok(()),
        (Some(_), kind) => Err(Refusal::conflict(format!("migration {id} has ended; {kind} comes too late"))),
    }
}

/// One migration of a partition at a time; the start can be restored at any time.
pub fn alone(others: &[Begun], asked: &Asked) -> Result<(), Refusal> {
    match others.first() {
        Some(other) if asked.step.kind() != StepKind::Abort => Err(Refusal::conflict(format!(
            "migration {} of {} is under way; it must end first",
            other.migration.id, asked.migration.partition
        ))),
        Some(_) | None => Ok(()),
    }
}

/// Which running requests a step stops before it begins; refused if one of them must end by itself.
pub fn stops(running: &[Asked], step: StepKind) -> Result<(), Refusal> {
    match running.iter().find(|other| !yields(other.step.kind(), step)) {
        None => Ok(()),
        Some(other) => Err(Refusal::conflict(format!("{} runs; {step} must wait", other.request_id))),
    }
}

/// Whether a running step gives way to another. One that lets a copy serve, or removes one, is only interrupted to
/// restore the start, and then the store is asked who serves.
fn yields(running: StepKind, to: StepKind) -> bool {
    let copies = matches!(
        running,
        StepKind::PrepareTarget | StepKind::StartReplication | StepKind::AwaitCatchup | StepKind::Verify
    );
    match to {
        StepKind::Abort => running != StepKind::RetireSource && running != StepKind::Abort,
        StepKind::UnfenceSource => copies || running == StepKind::FenceSource,
        StepKind::ReverseSwitch => copies,
        StepKind::FenceSource | StepKind::RetireSource => {
            matches!(running, StepKind::AwaitCatchup | StepKind::Verify)
        }
        StepKind::ValidateMigration
        | StepKind::PrepareTarget
        | StepKind::StartReplication
        | StepKind::AwaitCatchup
        | StepKind::Verify
        | StepKind::CommitSwitch => false,
    }
}

/// A switch needs a warrant, and a fence of the same epoch: unless it repairs, or a loss is accepted because nobody is
/// left to be fenced.
pub fn commit(begun: Option<&Begun>, serving: Epoch, asked: &Asked) -> Result<(), Refusal> {
    let Step::CommitSwitch { warrant: given } = &asked.step else { return Ok(()) };
    warrant(begun, serving, given)?;
    let free =
        matches!(asked.migration.origin, Origin::Repair { .. }) || matches!(given, Warrant::DataLoss(_));
    let fence = begun.and_then(|begun| begun.fence).map(|fence| fence.epoch);
    let new = asked.epochs.map(|epochs| epochs.new);
    if free || (fence.is_some() && fence == new) {
        return Ok(());
    }
    let found = fence.map_or("there is none".to_owned(), |epoch| format!("there is one of epoch {epoch}"));
    Err(Refusal::conflict(format!("the switch needs a fence of the same epoch; {found}")))
}

/// A verification must be that of this migration and of the epoch that serves.
pub fn warrant(begun: Option<&Begun>, serving: Epoch, given: &Warrant) -> Result<(), Refusal> {
    let Warrant::Verified(given) = given else { return Ok(()) };
    let kept = begun.and_then(|begun| begun.verified.as_ref());
    if kept == Some(given) && given.epoch == serving {
        return Ok(());
    }
    let message =
        "the verification is not the one of this migration and of the epoch that serves; verify again";
    Err(Refusal::mismatch(message))
}

/// Which copy serves, as far as a migration is concerned.
#[must_use]
pub fn side(begun: Option<&Begun>, partition: &Partition) -> Side {
    match begun {
        None => Side::Source,
        Some(begun) if begun.at == partition.serving => begun.side,
        Some(_) => Side::Neither,
    }
}

/// What leads to a new subset: who holds the partition, and, where leaders matter, who leads.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub enum Leaders {
    /// The first one leads.
    Matter,
    /// All are alike.
    Alike,
}

/// The partition after a look at who holds it: who moved without a migration that `explains` it was moved by somebody
/// else, and that is a new epoch.
#[must_use]
pub fn looked(
    kept: Option<&Partition>,
    told: &[NodeId],
    leaders: Leaders,
    explains: &BTreeSet<String>,
) -> Partition {
    let told: Vec<String> = told.iter().map(|node| node.name().to_owned()).collect();
    let Some(kept) = kept else {
        return Partition { serving: FIRST_EPOCH, highest: FIRST_EPOCH, holders: told };
    };
    if told == kept.holders || explained(&kept.holders, &told, leaders, explains) {
        return kept.clone();
    }
    let next = kept.highest.next();
    Partition { serving: next, highest: next, holders: told }
}

/// Whether only nodes of migrations came and went, and the lead, if it changed, went from or to one of them. Where leaders
/// matter, a lead that went from one node of a migration to another is that migration's switch, and with the leader come
/// and go those who follow it: nodes that the migration does not name.
fn explained(kept: &[String], told: &[String], leaders: Leaders, explains: &BTreeSet<String>) -> bool {
    let before: BTreeSet<&String> = kept.iter().collect();
    let after: BTreeSet<&String> = told.iter().collect();
    let leads = [kept.first(), told.first()];
    let led_by_one_of_it = |lead: &Option<&String>| lead.is_some_and(|node| explains.contains(node));
    let switched = leads[0] != leads[1] && leads.iter().all(led_by_one_of_it);
    if leaders == Leaders::Matter && switched {
        return true;
    }
    let same_leader = leaders == Leaders::Alike || leads[0] == leads[1];
    before.symmetric_difference(&after).all(|node| explains.contains(*node))
        && (same_leader || leads.iter().any(led_by_one_of_it))
}
