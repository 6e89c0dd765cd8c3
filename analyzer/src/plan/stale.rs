//! Whether a plan still fits the cluster: its moves are checked again on a snapshot of the moment.
//!
//! The topology's revision rises with everything that changes. What matters is whether each move that is left to do
//! could still be decided: the partition lies where it did, under the same epoch, and the checker, which knows nothing of
//! how the plan came about, finds nothing against it.

use super::kept::{Plan, Reason};
use super::make::{Known, MakeError, charted, in_words, reason_of};
use isotherm_placement as placement;
use isotherm_placement::{Action, Gain, Node, NodeState, Partition, Pressure, Rejected, Totals};

/// Whether a plan has changed epochs itself.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub(crate) enum Begun {
    /// Nothing of it was begun: the epochs must be those it was planned with.
    No,
    /// Moves were made, or given up on the way.
    Yes,
}

/// Why moves of a plan cannot be made any more, of which `left` are yet to do; `None` if all of them can.
///
/// # Errors
/// Nothing can be said of the cluster of this moment.
pub(super) fn stale(
    known: &Known<'_>,
    plan: &Plan,
    left: &[usize],
    begun: Begun,
) -> Result<Option<String>, MakeError> {
    let Ok(system) = plan.system() else { return Ok(Some("its system has no name".to_owned())) };
    let charted = charted(known, &system, &plan.asked)?;
    let (snapshot, mut moves, mut ends) = (&charted.snapshot, Vec::new(), Vec::new());
    for at in left {
        let decided = &plan.moves[*at];
        let words = |why: &str| {
            let (partition, from, to) = (&decided.partition, &decided.from, &decided.to);
            Some(format!("move {} of {partition} from {from} to {to}: {why}", at + 1))
        };
        let partition = plan.partition(&decided.partition).ok().and_then(|id| charted.partition(&id));
        let Some(partition) = partition else {
            let left_out = charted.left_out.iter().find(|left| left.partition.name() == decided.partition);
            return Ok(words(
                left_out.map_or("there is no such partition any more", |left| left.why.as_str()),
            ));
        };
        let node = |name: &str| plan.node(name).ok().and_then(|id| charted.node(&id));
        let (Some(from), Some(to)) = (node(&decided.from), node(&decided.to)) else {
            return Ok(words("a node of it is not there any more"));
        };
        let down = snapshot.topology().node(from).state == NodeState::Down;
        match (decided.reason == Reason::Lost, down) {
            (true, false) => return Ok(words("the node that was lost is there again")),
            (false, true) => return Ok(words("its source is down")),
            (true, true) | (false, false) => {}
        }
        ends.push((*at, [from, to]));
        let epoch = match begun {
            Begun::No => decided.epoch,
            Begun::Yes => snapshot.partitions().epoch.get(partition),
        };
        moves.push(placement::Move { epoch, ..again(snapshot, decided, partition, from, to) });
    }
    let nothing = Pressure { size: None, load: None };
    let totals = Totals { bytes: 0, least_bytes: 0, before: nothing, after: nothing, feasible: 1.0 };
    let again = placement::Plan::new(snapshot.revision(), moves, Vec::new(), totals);
    let found = placement::check(snapshot, &again);
    let Some(found) = found.first() else { return Ok(None) };
    let Some((at, nodes)) = found.position.and_then(|position| ends.get(position as usize)) else {
        return Ok(Some(found.fault.to_string()));
    };
    let decided = &plan.moves[*at];
    let (partition, from, to) = (&decided.partition, &decided.from, &decided.to);
    let why = in_words(&charted, found, *nodes);
    Ok(Some(format!("move {} of {partition} from {from} to {to}: {why}", at + 1)))
}

/// A kept move as the checker takes it. That a partition has grown meanwhile is no fault; that it does not fit is.
fn again(
    snapshot: &placement::Snapshot,
    decided: &super::kept::Move,
    partition: Partition,
    from: Node,
    to: Node,
) -> placement::Move {
    placement::Move {
        partition,
        action: Action::Copy { from: Some(from), to },
        bytes: snapshot.partitions().size_bytes[partition.at()],
        epoch: decided.epoch,
        reason: reason_of(decided.reason),
        gain: Gain::Replicas { before: 0, after: 0 },
        score: 0.0,
        runner_up: None,
        rejected: Rejected::default(),
    }
}
