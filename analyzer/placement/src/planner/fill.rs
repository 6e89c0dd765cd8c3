//! Bringing a node up to its share: it is new, back and empty, or larger than before.
//!
//! What comes is chosen so that size and load rise together, from the nodes that are pressed most. Where copysets are
//! kept few, pieces of a copyset that was split are put together again first; a node that comes back thus undoes
//! what its failure did. Only then copysets are split, in as many pieces as the fan-out says.
//!
//! Balancing and moves for risk can take large partitions from a node that was filled, and leave it below its share.
//! What it lacks then comes in the same plan, and only the end says whether a node is refused.

use super::choose::{Candidates, Choice, Load};
use super::deal::{Quota, deal};
use super::postings::Postings;
use super::regime::{Grouped, pack};
use super::work::Work;
use crate::copyset::Copyset;
use crate::ids::{Node, Partition};
use crate::plan::{Gain, Reason, Rejected};
use crate::refusal::{Cause, Refusal};

/// Partitions of a donor that are compared for one move.
const COMPARED: usize = 48;
/// Of its share, what a node may lack in the end.
const NEAR_ENOUGH: f64 = 0.002;
/// A piece that is nearly its copyset is taken whole.
const NEARLY_WHOLE: f64 = 1.3;

/// Plans what each of these nodes gets.
pub(crate) fn run(work: &mut Work<'_>, nodes: &[Node]) {
    for node in nodes.iter().copied() {
        if is_short(work, node) {
            work.least_bytes += need(work, node).bytes as u64;
            bring(work, node);
        }
    }
}

/// Plans for those of these nodes that what was decided since took too much from.
pub(crate) fn again(work: &mut Work<'_>, nodes: &[Node]) {
    for node in nodes.iter().copied() {
        if is_short(work, node) {
            bring(work, node);
        }
    }
}

/// Says which of these nodes are short of their share in the end.
pub(crate) fn refuse(work: &mut Work<'_>, nodes: &[Node]) {
    let wanted = 1.0 - work.dead_band();
    for node in nodes.iter().copied() {
        if is_short(work, node) {
            let cause = Cause::Pressure { reached: work.pressure(node.at()), wanted };
            work.refusals.push(Refusal { partition: None, node: Some(node), cause });
        }
    }
}

/// Whether a node that may take something lacks more than the dead band of its share.
fn is_short(work: &Work<'_>, node: Node) -> bool {
    let shares = work.target[node.at()] && work.all != (0.0, 0.0);
    shares && work.pressure(node.at()) < 1.0 - work.dead_band()
}

fn bring(work: &mut Work<'_>, node: Node) {
    match Grouped::new(work) {
        Some(grouped) => from_sets(work, node, grouped),
        None => from_donors(work, node),
    }
}

/// What a node lacks of its share.
fn need(work: &Work<'_>, node: Node) -> Quota {
    let at = node.at();
    let lack = |pressure: f64, per: f64| if per > 0.0 { ((1.0 - pressure) / per).max(0.0) } else { 0.0 };
    Quota {
        bytes: lack(work.size_pressure(at), work.per_byte[at]),
        load: lack(work.load_pressure(at), work.per_load[at]),
    }
}

/// Whether a node has its share: of size, or of load where nothing has a size.
fn full(work: &Work<'_>, node: Node) -> bool {
    let at = node.at();
    let pressure = if work.per_byte[at] > 0.0 { work.size_pressure(at) } else { work.load_pressure(at) };
    pressure >= 1.0 - NEAR_ENOUGH
}

fn may_take(work: &Work<'_>, partition: Partition, from: Node, to: Node) -> bool {
    let (bytes, load) = (work.size_of(partition), work.load_of(partition));
    work.may_move(partition)
        && Candidates::new(work, Load { partition, from: Some(from), bytes, load, by_choice: false })
            .judge(to)
            .is_ok()
        && bears(work, load, from, to)
}

/// Whether a node that takes so much load is within the dead band, or bears no more than another does then: what
/// lacks bytes is not to be filled with load.
fn bears(work: &Work<'_>, load: f64, from: Node, to: Node) -> bool {
    let borne = |at: usize| {
        let less = if at == from.at() { load } else { 0.0 };
        (work.load[at] - less) * work.per_load[at]
    };
    let after = (work.load[to.at()] + load) * work.per_load[to.at()];
    let mut others = (0..work.up.len()).filter(|at| work.up[*at] && *at != to.at());
    after <= 1.0 + work.dead_band() || others.any(|at| borne(at) >= after)
}

fn take(work: &mut Work<'_>, partition: Partition, from: Node, to: Node) {
    let before = work.pressure(from.at());
    let (size, load) = (work.size_of(partition), work.load_of(partition));
    let after = |work: &Work<'_>, node: Node, sign: f64| {
        let bytes = (work.bytes[node.at()] + sign * size) * work.per_byte[node.at()];
        bytes.max((work.load[node.at()] + sign * load) * work.per_load[node.at()])
    };
    let score = after(work, to, 1.0);
    let gain = Gain::Pressure { before, after: score.max(after(work, from, -1.0)) };
    let choice = Choice { node: to, score, runner_up: None, rejected: Rejected::default() };
    work.copy(partition, Some(from), Reason::Underfull, gain, choice);
}

/// One partition after the other from the node that is pressed most, the one whose load per byte the node lacks.
fn from_donors(work: &mut Work<'_>, node: Node) {
    let postings = Postings::new(work);
    let mut next: Vec<usize> = vec![0; work.target.len()];
    let mut open: Vec<bool> =
        (0..work.target.len()).map(|at| work.up[at] && !work.filling.contains(&Node(at as u16))).collect();
    while !full(work, node) {
        let least = work.pressure(node.at()).max(1.0 - work.dead_band());
        let donors = (0..open.len()).filter(|at| open[*at] && work.pressure(*at) > least);
        let Some(donor) = donors.max_by(|a, b| work.strain(*a).total_cmp(&work.strain(*b)).then(b.cmp(a)))
        else {
            break;
        };
        let from = Node(donor as u16);
        match best_of(work, postings.of(from), &mut next[donor], from, node) {
            Some(partition) => take(work, partition, from, node),
            None => open[donor] = false,
        }
    }
}

/// Of some of a donor's partitions, from `next` on and around, the one whose load per byte is nearest to what the
/// node lacks; none if none of all fits.
fn best_of(work: &Work<'_>, list: &[Partition], next: &mut usize, from: Node, to: Node) -> Option<Partition> {
    let need = need(work, to);
    let (ks, kl) = (work.per_byte[to.at()], work.per_load[to.at()]);
    let steep = if need.bytes * ks > 0.0 { need.load * kl / (need.bytes * ks) } else { 1.0 };
    let mut best: Option<(f64, Partition)> = None;
    let (mut compared, mut seen) = (0, 0);
    while seen < list.len() && compared < COMPARED {
        *next = if *next < list.len() { *next } else { 0 };
        let partition = list[*next];
        (seen, *next) = (seen + 1, *next + 1);
        let (size, load) = (work.size_of(partition), work.load_of(partition));
        let fits = if ks > 0.0 { size <= need.bytes } else { load <= need.load };
        if fits && work.assignment.holds(from, partition) && may_take(work, partition, from, to) {
            compared += 1;
            let miss = (load * kl - steep * size * ks).abs() / (size * ks).max(1e-12);
            if best.is_none_or(|(least, _)| miss < least) {
                best = Some((miss, partition));
            }
        }
    }
    best.map(|(_, partition)| partition)
}

/// A copyset, and the holder in it that the node would replace.
struct Piece {
    others: u128,
    set: Copyset,
    donor: Node,
    quota: Quota,
}

fn from_sets(work: &mut Work<'_>, node: Node, grouped: Grouped) {
    let mut pieces = pieces(work, node, &grouped);
    pieces.sort_unstable_by_key(|piece| (piece.others, piece.set));
    join(work, node, &grouped, &pieces);
    split(work, node, grouped, &pieces);
}

/// Every copyset that the node could join in the place of one of its members.
fn pieces(work: &Work<'_>, node: Node, grouped: &Grouped) -> Vec<Piece> {
    let mut pieces = Vec::new();
    for set in grouped.sets.all() {
        let members = grouped.sets.nodes(set);
        let Some(first) = grouped.groups.of(set).first() else { continue };
        if members.contains(&node) {
            continue;
        }
        let partitions = grouped.groups.of(set);
        let quota = partitions.iter().fold(Quota { bytes: 0.0, load: 0.0 }, |sum, partition| Quota {
            bytes: sum.bytes + work.size_of(*partition),
            load: sum.load + work.load_of(*partition),
        });
        for donor in
            members.iter().copied().filter(|donor| work.up[donor.at()] && !work.filling.contains(donor))
        {
            let load = Load { partition: *first, from: Some(donor), bytes: 0.0, load: 0.0, by_choice: false };
            if Candidates::new(work, load).judge(node).is_ok() {
                let others = pack(members.iter().filter(|member| **member != donor));
                pieces.push(Piece { others, set, donor, quota });
            }
        }
    }
    pieces
}

/// Pieces of what was one copyset become one again: those with the same other holders, if their donors can spare
/// them.
fn join(work: &mut Work<'_>, node: Node, grouped: &Grouped, pieces: &[Piece]) {
    let own = own(grouped, node);
    let mut runs: Vec<(f64, &[Piece])> = pieces
        .chunk_by(|a, b| a.others == b.others)
        .filter(|run| run.len() > 1 || own.binary_search(&run[0].others).is_ok())
        .map(|run| (run.iter().map(|piece| piece.quota.bytes).sum(), run))
        .collect();
    runs.sort_by(|a, b| {
        b.1.len().cmp(&a.1.len()).then(a.0.total_cmp(&b.0)).then(a.1[0].others.cmp(&b.1[0].others))
    });
    let spare = 1.0 - 2.5 * work.dead_band();
    for (_, run) in runs {
        let can = |piece: &&Piece| {
            let left = work.bytes[piece.donor.at()] - piece.quota.bytes;
            left * work.per_byte[piece.donor.at()] >= spare
        };
        let joined: Vec<&Piece> = run.iter().filter(can).collect();
        let bytes: f64 = joined.iter().map(|piece| piece.quota.bytes).sum();
        let known = own.binary_search(&run[0].others).is_ok();
        if joined.len() + usize::from(known) > 1 && bytes <= need(work, node).bytes * (1.0 + NEAR_ENOUGH) {
            for piece in joined {
                for partition in grouped.groups.of(piece.set) {
                    if may_take(work, *partition, piece.donor, node) {
                        take(work, *partition, piece.donor, node);
                    }
                }
            }
        }
    }
}

/// The other holders of each copyset that the node is in, sorted.
fn own(grouped: &Grouped, node: Node) -> Vec<u128> {
    let sets = grouped.sets.all().map(|set| grouped.sets.nodes(set));
    let mut own: Vec<u128> = sets
        .filter(|members| members.contains(&node))
        .map(|members| pack(members.iter().filter(|member| **member != node)))
        .collect();
    own.sort_unstable();
    own
}

/// Copysets give a piece each, from the donors that are left with the most.
fn split(work: &mut Work<'_>, node: Node, mut grouped: Grouped, pieces: &[Piece]) {
    let whole = need(work, node);
    let sets = share_of_sets(work, node, &grouped);
    let fan_out = (grouped.left as f64 / sets).clamp(1.0, f64::from(work.snapshot.policy().fan_out));
    let quota = Quota { bytes: whole.bytes / (sets * fan_out), load: whole.load / (sets * fan_out) };
    let mut used = vec![false; pieces.len()];
    while !full(work, node) {
        let need = need(work, node);
        let left = |piece: &Piece, part: f64| {
            let at = piece.donor.at();
            let size = (work.bytes[at] - part * piece.quota.bytes) * work.per_byte[at];
            size.max((work.load[at] - part * piece.quota.load) * work.per_load[at])
        };
        let strain = |piece: &Piece, part: f64| {
            let at = piece.donor.at();
            let size = (work.bytes[at] - part * piece.quota.bytes) * work.size_scale[at];
            size.max((work.load[at] - part * piece.quota.load) * work.load_scale[at])
        };
        // A whole copyset that its donor can spare makes no new one.
        let spared = |piece: &Piece| left(piece, 1.0) >= 1.0 - work.dead_band();
        let part = |piece: &Piece| {
            let fits = piece.quota.bytes <= need.bytes;
            let share = (quota.bytes.min(need.bytes) / piece.quota.bytes.max(1.0)).min(1.0);
            let whole = share * NEARLY_WHOLE >= 1.0 || grouped.left <= 0 || spared(piece);
            if fits && whole { 1.0 } else { share }
        };
        let allowed = |at: &usize| {
            let piece = &pieces[*at];
            !used[*at]
                && work.assignment.holds(piece.donor, grouped.groups.of(piece.set)[0])
                && (grouped.left > 0 || part(piece) >= 1.0)
        };
        let worth = |at: &usize| {
            let (piece, part) = (&pieces[*at], part(&pieces[*at]));
            if part >= 1.0 && spared(piece) {
                1.0 + work.strain(piece.donor.at())
            } else if part >= 1.0 {
                strain(piece, part)
            } else {
                strain(piece, part) - work.snapshot.policy().weights.copyset
            }
        };
        let best =
            (0..pieces.len()).filter(allowed).max_by(|a, b| worth(a).total_cmp(&worth(b)).then(b.cmp(a)));
        let Some(best) = best else { break };
        let piece = &pieces[best];
        let share = part(piece);
        used[best] = true;
        grouped.left -= i64::from(share < 1.0);
        let partitions: Vec<Partition> = grouped.groups.of(piece.set).to_vec();
        let parts = [
            Quota { bytes: piece.quota.bytes * share, load: piece.quota.load * share },
            Quota { bytes: piece.quota.bytes * (1.0 - share), load: piece.quota.load * (1.0 - share) },
        ];
        let dealt = if share < 1.0 { deal(work, &partitions, &parts) } else { vec![0; partitions.len()] };
        for (partition, _) in partitions.iter().zip(dealt).filter(|(_, part)| *part == 0) {
            if may_take(work, *partition, piece.donor, node) {
                take(work, *partition, piece.donor, node);
            }
        }
    }
}

/// How many copysets a node of this capacity should be in.
fn share_of_sets(work: &Work<'_>, node: Node, grouped: &Grouped) -> f64 {
    let capacity = |node: Node| work.snapshot.topology().node(node).capacity_bytes as f64;
    let all: f64 = (0..work.up.len()).filter(|at| work.up[*at]).map(|at| capacity(Node(at as u16))).sum();
    let seats: usize = grouped.sets.all().map(|set| grouped.sets.nodes(set).len()).sum();
    (seats as f64 * capacity(node) / all.max(1.0)).round().max(1.0)
}
