//! What another plan does otherwise: for people, and for golden files of tests.
//!
//! Moves are matched by what they take: the partition, the kind of action and the holder it starts from. So a move
//! that goes elsewhere is one changed line and not two. The order in which two plans decided is no difference; gains,
//! scores and hashes are not compared, for they change with everything around them.

use crate::ids::{Node, Partition};
use crate::plan::{Action, Move, Plan};
use crate::refusal::Refusal;
use std::cmp::Ordering;
use std::fmt;

/// What differs between two plans, sorted by partition.
#[derive(Debug, Clone, PartialEq, Default)]
pub struct PlanDiff {
    /// Moves of the old plan and of the new one; one of both is absent for what was removed or added.
    pub moves: Vec<(Option<Move>, Option<Move>)>,
    /// The same of refusals, matched by partition and node.
    pub refusals: Vec<(Option<Refusal>, Option<Refusal>)>,
}

impl PlanDiff {
    /// What the new plan does otherwise.
    #[must_use]
    pub fn new(old: &Plan, new: &Plan) -> Self {
        let same = |a: &Move, b: &Move| {
            (a.action, a.bytes, a.epoch, a.reason) == (b.action, b.bytes, b.epoch, b.reason)
        };
        Self {
            moves: differences(&old.moves, &new.moves, taken, same),
            refusals: differences(
                &old.refusals,
                &new.refusals,
                |refusal| (refusal.partition, refusal.node),
                |a, b| a == b,
            ),
        }
    }

    /// Whether the plans do the same.
    #[must_use]
    pub fn is_empty(&self) -> bool {
        self.moves.is_empty() && self.refusals.is_empty()
    }

    /// Lines that start with `+` for what is added, `-` for what is removed and `~` for what is changed; empty if
    /// nothing is. Names are the caller's.
    #[must_use]
    pub fn text(&self, partition: &dyn Fn(Partition) -> String, node: &dyn Fn(Node) -> String) -> String {
        let names = Names { partition, node };
        let moves = self.moves.iter().map(|(old, new)| match (old, new) {
            (Some(old), Some(new)) => format!("~ {}, not {}\n", names.of_move(new), names.of_change(old)),
            (Some(old), None) => format!("- {}\n", names.of_move(old)),
            (None, Some(new)) => format!("+ {}\n", names.of_move(new)),
            (None, None) => String::new(),
        });
        let refusals = self.refusals.iter().map(|(old, new)| match (old, new) {
            (Some(old), Some(new)) => format!("~ {}, not: {}\n", names.of_refusal(new), old.cause),
            (Some(old), None) => format!("- {}\n", names.of_refusal(old)),
            (None, Some(new)) => format!("+ {}\n", names.of_refusal(new)),
            (None, None) => String::new(),
        });
        moves.chain(refusals).collect()
    }
}

/// Positions for names: p3, n4.
impl fmt::Display for PlanDiff {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.write_str(&self.text(&|partition| format!("p{}", partition.0), &|node| format!("n{}", node.0)))
    }
}

/// What a move takes: the partition, the kind of action, the holder it starts from.
fn taken(decided: &Move) -> (Partition, u8, Option<Node>) {
    let (kind, from) = match decided.action {
        Action::Copy { from, .. } => (0, from),
        Action::Lead { from, .. } => (1, Some(from)),
        Action::DrainReads { from } => (2, Some(from)),
    };
    (decided.partition, kind, from)
}

/// Pairs of the same key that are not the same, and what has no pair, sorted by key. Among equal keys the order of
/// the lists decides who is paired, after those that are the same.
fn differences<T: Clone, K: Ord>(
    old: &[T],
    new: &[T],
    key: impl Fn(&T) -> K,
    same: impl Fn(&T, &T) -> bool,
) -> Vec<(Option<T>, Option<T>)> {
    let sorted = |list: &[T]| {
        let mut list = list.to_vec();
        list.sort_by_key(&key);
        list
    };
    let (mut old, mut new) = (sorted(old).into_iter().peekable(), sorted(new).into_iter().peekable());
    let mut found = Vec::new();
    loop {
        let least = match (old.peek(), new.peek()) {
            (None, None) => return found,
            (Some(of), None) | (None, Some(of)) => key(of),
            (Some(a), Some(b)) => key(a).min(key(b)),
        };
        let here = |value: &T| key(value).cmp(&least) == Ordering::Equal;
        let mut olds: Vec<T> = std::iter::from_fn(|| old.next_if(here)).collect();
        let mut news: Vec<T> = std::iter::from_fn(|| new.next_if(here)).collect();
        olds.retain(|a| {
            let twin = news.iter().position(|b| same(a, b));
            twin.map(|at| news.remove(at)).is_none()
        });
        let len = olds.len().max(news.len());
        let padded = |list: Vec<T>| list.into_iter().map(Some).chain(std::iter::repeat(None)).take(len);
        found.extend(padded(olds).zip(padded(news)));
    }
}

struct Names<'a> {
    partition: &'a dyn Fn(Partition) -> String,
    node: &'a dyn Fn(Node) -> String,
}

impl Names<'_> {
    fn of_move(&self, decided: &Move) -> String {
        format!("{} {}", (self.partition)(decided.partition), self.of_change(decided))
    }

    fn of_change(&self, decided: &Move) -> String {
        let action = match decided.action {
            Action::Copy { from: Some(from), to } => format!("{} -> {}", (self.node)(from), (self.node)(to)),
            Action::Copy { from: None, to } => format!("-> {}", (self.node)(to)),
            Action::Lead { from, to } => format!("leader {} -> {}", (self.node)(from), (self.node)(to)),
            Action::DrainReads { from } => format!("reads leave {}", (self.node)(from)),
        };
        format!("{action}, {} bytes, epoch {}, {:?}", decided.bytes, decided.epoch, decided.reason)
    }

    fn of_refusal(&self, refusal: &Refusal) -> String {
        let of = match (refusal.partition, refusal.node) {
            (Some(partition), Some(node)) => {
                format!("{} of {}", (self.partition)(partition), (self.node)(node))
            }
            (Some(partition), None) => (self.partition)(partition),
            (None, Some(node)) => (self.node)(node),
            (None, None) => "the plan".to_owned(),
        };
        format!("{of} refused: {}", refusal.cause)
    }
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::plan::Reason;
    use crate::refusal::Cause;
    use crate::sample::{Sample, decided, plan};

    fn refused(mut plan: Plan, partition: u32, cause: Cause) -> Plan {
        plan.refusals.push(Refusal { partition: Some(Partition(partition)), node: None, cause });
        plan
    }

    #[test]
    fn a_plan_differs_from_itself_in_nothing_and_order_is_no_difference() {
        let sample = Sample::racks(5, 1).with(10, &[0, 1, 2]).with(20, &[0, 1, 2]);
        let [a, b] = [sample.copy(0, Some(0), 3, Reason::Lost), sample.copy(1, Some(0), 4, Reason::Lost)];
        let diff = PlanDiff::new(&plan(vec![a.clone(), b.clone()]), &plan(vec![b, a]));
        assert!(diff.is_empty());
        assert_eq!(diff.to_string(), "");
    }

    #[test]
    fn added_removed_and_changed_moves_and_refusals_are_a_line_each() {
        let sample = Sample::racks(5, 1).with(10, &[0, 1, 2]).with(20, &[0, 1, 2]).with(30, &[0, 1]);
        let old = plan(vec![
            sample.copy(1, Some(0), 3, Reason::Lost),
            sample.copy(0, Some(0), 3, Reason::Lost),
            decided(2, Action::Lead { from: Node(0), to: Node(1) }, 0, Reason::Risk),
        ]);
        let old = refused(refused(old, 1, Cause::Pinned), 2, Cause::InFlight);
        let new = plan(vec![
            sample.copy(0, Some(0), 3, Reason::Lost),
            sample.copy(1, Some(0), 4, Reason::Draining),
            sample.copy(2, None, 4, Reason::Missing),
            decided(2, Action::DrainReads { from: Node(1) }, 0, Reason::Risk),
        ]);
        let new = refused(refused(new, 1, Cause::NoSurvivor), 0, Cause::Pinned);
        let diff = PlanDiff::new(&old, &new);
        let expected = "\
~ p1 n0 -> n4, 20 bytes, epoch 7, Draining, not n0 -> n3, 20 bytes, epoch 7, Lost
+ p2 -> n4, 30 bytes, epoch 7, Missing
- p2 leader n0 -> n1, 0 bytes, epoch 7, Risk
+ p2 reads leave n1, 0 bytes, epoch 7, Risk
+ p0 refused: pinned
~ p1 refused: no live replica is left to copy from, not: pinned
- p2 refused: a copy of it is under way
";
        assert_eq!(diff.to_string(), expected);
    }

    #[test]
    fn names_are_the_callers() {
        let sample = Sample::racks(5, 1).with(10, &[0, 1, 2]);
        let new = plan(vec![sample.copy(0, Some(0), 3, Reason::Lost)]);
        let diff = PlanDiff::new(&plan(Vec::new()), &new);
        let text =
            diff.text(&|_| "orders".to_owned(), &|node| sample.nodes[node.at()].name.clone() + ".example");
        assert_eq!(text, "+ orders n0.example -> n3.example, 10 bytes, epoch 7, Lost\n");
    }
}
