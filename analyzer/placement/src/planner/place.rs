//! Where replicas go that cannot stay: the least bytes there are, spread so that pressure stays even, and in few
//! pieces where partitions share a subset.
//!
//! Partitions with the same other holders form a *group*. A group larger than the fan-out is copied to as many
//! substitutes as the fan-out says, so a copyset becomes few copysets; a substitute that would be pressed beyond
//! what is tolerable gets less, and the group one more. What is alone goes where pressure is least. The largest are
//! dealt first.

use super::choose::{Candidates, Choice, Load};
use super::deal::Quota;
use super::refuse;
use super::regime::Grouped;
use super::work::Work;
use crate::ids::{Node, Partition};
use crate::partitions::MOST_REPLICAS;
use crate::plan::{Constraint, Gain, Reason};

/// A group splits into at most this many times the fan-out, however little room there is.
const MOST_SPLITS: u32 = 3;

/// The least part of a fair piece that is worth a copyset of its own.
const LEAST_PIECE: f64 = 0.2;

/// A replica that has to be somewhere else.
#[derive(Debug, Clone, Copy)]
pub(crate) struct Job {
    pub(crate) partition: Partition,
    /// Whose slot it takes.
    pub(crate) from: Option<Node>,
    /// Replicas on nodes that serve and stay.
    pub(crate) staying: u8,
    pub(crate) reason: Reason,
}

/// The other holders of a job's partition, sorted, packed.
type Others = u128;

/// Places jobs of different partitions, or refuses them.
pub(crate) fn place(work: &mut Work<'_>, jobs: &[Job]) {
    let mut keyed: Vec<(Others, Job)> = jobs.iter().map(|job| (others(work, job), *job)).collect();
    keyed.sort_unstable_by_key(|(others, job)| (*others, job.partition));
    let mut fan_out = fan_out(work, &keyed);
    let mut piles: Vec<Pile> = Vec::new();
    for group in keyed.chunk_by(|a, b| a.0 == b.0) {
        if group.len() > work.snapshot.policy().fan_out as usize {
            piles.push(Pile::new(work, group.iter().map(|(_, job)| *job).collect()));
        } else {
            piles.extend(group.iter().map(|(_, job)| Pile::new(work, vec![*job])));
        }
    }
    sort(work, &mut piles);
    let known = Known::new(work, &piles);
    for pile in &piles {
        match pile.jobs.as_slice() {
            [job] => single(work, *job),
            _ => group(work, pile, &mut fan_out, &known),
        }
    }
}

/// Into how many pieces groups may split: as the policy says, or fewer where its budget of copysets does not last.
/// `keyed` is sorted.
fn fan_out(work: &Work<'_>, keyed: &[(Others, Job)]) -> FanOut {
    let wanted = work.snapshot.policy().fan_out;
    let groups = keyed.chunk_by(|a, b| a.0 == b.0).filter(|group| group.len() > wanted as usize).count();
    let left = match groups {
        0 => None,
        _ => Grouped::new(work).map(|grouped| grouped.left.max(0) as u64),
    };
    let left = left.unwrap_or(u64::MAX / 2);
    // Each piece is a copyset; the copyset that a group is now goes.
    let pieces = u32::try_from(1 + left / groups.max(1) as u64).unwrap_or(u32::MAX).min(wanted);
    let spare = left - u64::from(pieces - 1) * groups as u64;
    FanOut {
        pieces,
        spare: u32::try_from(spare).unwrap_or(u32::MAX),
        most: wanted.saturating_mul(MOST_SPLITS),
    }
}

/// Pieces of a group: how many there should be, how many more all groups together may have where room is short, and
/// how many one may have at most.
#[derive(Debug, Clone, Copy)]
struct FanOut {
    pieces: u32,
    spare: u32,
    most: u32,
}

/// Jobs that are placed together.
struct Pile {
    jobs: Vec<Job>,
    bytes: f64,
    load: f64,
    weight: f64,
}

impl Pile {
    fn new(work: &Work<'_>, jobs: Vec<Job>) -> Self {
        let bytes = jobs.iter().map(|job| work.size_of(job.partition)).sum();
        let load = jobs.iter().map(|job| work.load_of(job.partition)).sum();
        let weight = work.share_of_bytes(bytes).max(work.share_of_load(load));
        Self { jobs, bytes, load, weight }
    }
}

/// The largest first, as the small ones fill the gaps; where room is short, what is most urgent first.
fn sort(work: &Work<'_>, piles: &mut [Pile]) {
    let needed: f64 = piles.iter().map(|pile| pile.bytes).sum();
    let room: f64 = (0..work.room.len()).filter(|at| work.target[*at]).map(|at| work.room[at].max(0.0)).sum();
    let tight = needed * 1.2 > room;
    let urgency = |pile: &Pile| if tight { -work.urgency(pile.jobs[0].partition) } else { 0.0 };
    piles.sort_by(|a, b| {
        urgency(a)
            .total_cmp(&urgency(b))
            .then(b.weight.total_cmp(&a.weight))
            .then(a.jobs[0].partition.cmp(&b.jobs[0].partition))
    });
}

fn single(work: &mut Work<'_>, job: Job) {
    let load = Load {
        partition: job.partition,
        from: job.from,
        bytes: work.size_of(job.partition),
        load: work.load_of(job.partition),
        by_choice: job.reason.by_choice(),
    };
    let best = Candidates::new(work, load).best();
    match best {
        Ok(choice) => commit(work, job, choice),
        Err(rejected) => refuse::no_target(work, &job, rejected),
    }
}

fn commit(work: &mut Work<'_>, job: Job, choice: Choice) {
    let gain = if job.reason.repairs() {
        Gain::Replicas { before: job.staying, after: job.staying + 1 }
    } else {
        let before = job.from.map_or(0.0, |from| work.pressure(from.at()));
        Gain::Pressure { before, after: choice.score.min(before) }
    };
    work.copy(job.partition, job.from, job.reason, gain, choice);
}

/// Places a group on few substitutes: first who gets how much, then who gets what.
fn group(work: &mut Work<'_>, pile: &Pile, fan_out: &mut FanOut, known: &Known) {
    let (choices, quotas) = substitutes(work, pile, *fan_out, known);
    let more = (choices.len() as u32).saturating_sub(fan_out.pieces);
    fan_out.spare = fan_out.spare.saturating_sub(more);
    if choices.is_empty() {
        pile.jobs.iter().for_each(|job| single(work, *job));
        return;
    }
    let mut jobs = pile.jobs.clone();
    let weight = |job: &Job| {
        let (bytes, load) = (work.size_of(job.partition), work.load_of(job.partition));
        work.share_of_bytes(bytes).max(work.share_of_load(load))
    };
    jobs.sort_by(|a, b| weight(b).total_cmp(&weight(a)).then(a.partition.cmp(&b.partition)));
    let mut filled = vec![Quota { bytes: 0.0, load: 0.0 }; quotas.len()];
    for job in jobs {
        let Some(at) = emptiest(work, job.partition, &choices, &quotas, &filled) else {
            single(work, job);
            continue;
        };
        filled[at].bytes += work.size_of(job.partition);
        filled[at].load += work.load_of(job.partition);
        commit(work, job, choices[at]);
    }
}

/// The substitute whose quota is the least used with a partition, of those that it does not press beyond what is
/// tolerable; else the one that it presses least.
fn emptiest(
    work: &Work<'_>,
    partition: Partition,
    choices: &[Choice],
    quotas: &[Quota],
    filled: &[Quota],
) -> Option<usize> {
    let (bytes, load) = (work.size_of(partition), work.load_of(partition));
    let rank = |at: usize| {
        let node = choices[at].node.at();
        let size = (work.bytes[node] + bytes) * work.size_scale[node];
        let pressure = size.max((work.load[node] + load) * work.load_scale[node]);
        if pressure <= 1.0 {
            let used = |has: f64, quota: f64| if quota > 0.0 { has / quota } else { 0.0 };
            let size = used(filled[at].bytes + bytes, quotas[at].bytes);
            (false, size.max(used(filled[at].load + load, quotas[at].load)))
        } else {
            (true, pressure)
        }
    };
    let open = (0..choices.len()).filter(|at| bytes <= work.room[choices[*at].node.at()].max(0.0));
    open.min_by(|a, b| {
        let (a, b) = (rank(*a), rank(*b));
        a.0.cmp(&b.0).then(a.1.total_cmp(&b.1))
    })
}

/// The nodes that take a share of a group, and how much.
fn substitutes(work: &Work<'_>, pile: &Pile, fan_out: FanOut, known: &Known) -> (Vec<Choice>, Vec<Quota>) {
    let first = pile.jobs[0];
    let mut piece = 1.0 / f64::from(fan_out.pieces);
    let mut left = 1.0;
    let (mut choices, mut quotas): (Vec<Choice>, Vec<Quota>) = (Vec::new(), Vec::new());
    let penalty = work.snapshot.policy().weights.copyset;
    let others = others(work, &first);
    if let Some((choice, share)) = filling(work, pile) {
        quotas.push(Quota { bytes: pile.bytes * share, load: pile.load * share });
        choices.push(choice);
        left -= share;
    }
    while left > 1e-9 {
        let fair = piece.min(left);
        let load = Load {
            partition: first.partition,
            from: first.from,
            bytes: pile.bytes * fair,
            load: pile.load * fair,
            by_choice: first.reason.by_choice(),
        };
        let taken: Vec<Node> = choices.iter().map(|choice| choice.node).collect();
        let best = Candidates::new(work, load).best_with(|node, score| {
            if taken.contains(&node) {
                return Err(Constraint::Holds);
            }
            Ok(if known.has(others, node) { score } else { score + penalty })
        });
        let Ok(choice) = best else {
            // No node has room for so much: less, before every partition looks for itself.
            piece /= 2.0;
            if piece * pile.jobs.len() as f64 <= 1.0 {
                break;
            }
            continue;
        };
        let room = work.share_until_tolerable(choice.node, pile.bytes, pile.load);
        let last = choices.len() as u32 + 1 >= fan_out.pieces.saturating_add(fan_out.spare).min(fan_out.most);
        let share = if last { left } else { fair.min(room.max(fair * LEAST_PIECE)) };
        quotas.push(Quota { bytes: pile.bytes * share, load: pile.load * share });
        choices.push(choice);
        left -= share;
    }
    if left > 1e-9 && !quotas.is_empty() {
        let more = 1.0 / (1.0 - left);
        quotas.iter_mut().for_each(|quota| {
            quota.bytes *= more;
            quota.load *= more;
        });
    }
    (choices, quotas)
}

/// A node that is to be filled anyway, and how much of the group it lacks: all of it, if it can be, and then the
/// copyset is as before, with another node.
fn filling(work: &Work<'_>, pile: &Pile) -> Option<(Choice, f64)> {
    let first = pile.jobs[0];
    let lacks = |node: Node| {
        let at = node.at();
        let more = pile.bytes * work.per_byte[at];
        let share = if more > 0.0 { (1.0 + work.dead_band() - work.size_pressure(at)) / more } else { 0.0 };
        let share = share.min(1.0);
        (work.filling.contains(&node) && share >= LEAST_PIECE).then_some(share)
    };
    let (node, share) = work
        .filling
        .iter()
        .filter_map(|node| Some((*node, lacks(*node)?)))
        .max_by(|a, b| a.1.total_cmp(&b.1).then(b.0.cmp(&a.0)))?;
    let load = Load {
        partition: first.partition,
        from: first.from,
        bytes: pile.bytes * share,
        load: pile.load * share,
        by_choice: first.reason.by_choice(),
    };
    let only = |candidate: Node, score| if candidate == node { Ok(score) } else { Err(Constraint::Headroom) };
    Some((Candidates::new(work, load).best_with(only).ok()?, share))
}

/// The holders of a job's partition but the one that is replaced.
pub(crate) fn others(work: &Work<'_>, job: &Job) -> Others {
    let mut nodes = [0u16; MOST_REPLICAS];
    let mut len = 0;
    for holder in work.assignment.subset(job.partition).filter(|holder| Some(*holder) != job.from) {
        nodes[len] = holder.0 + 1;
        len += 1;
    }
    pack(&mut nodes[..len])
}

fn pack(nodes: &mut [u16]) -> Others {
    nodes.sort_unstable();
    nodes.iter().fold(0, |packed, node| packed << 16 | Others::from(*node))
}

/// Which nodes make a copyset that is in use already with the other holders of a group.
struct Known {
    /// Sorted.
    sets: Vec<(Others, Node)>,
}

impl Known {
    /// One look at all partitions, if there are groups at all.
    fn new(work: &Work<'_>, piles: &[Pile]) -> Self {
        let mut wanted: Vec<Others> =
            piles.iter().filter(|pile| pile.jobs.len() > 1).map(|pile| others(work, &pile.jobs[0])).collect();
        wanted.sort_unstable();
        let mut sets = Vec::new();
        let mut near = vec![false; work.target.len()];
        for packed in &wanted {
            let nodes = (0..MOST_REPLICAS).map(|at| (packed >> (16 * at)) as u16).filter(|node| *node > 0);
            nodes.for_each(|node| near[usize::from(node - 1)] = true);
        }
        if wanted.is_empty() {
            return Self { sets };
        }
        for partition in work.snapshot.partitions().all() {
            let len = work.assignment.subset(partition).len();
            let close = work.assignment.subset(partition).filter(|holder| near[holder.at()]).count();
            if close + 1 < len {
                continue;
            }
            for member in work.assignment.subset(partition) {
                let mut nodes = [0u16; MOST_REPLICAS];
                let mut kept = 0;
                for other in work.assignment.subset(partition).filter(|other| *other != member) {
                    nodes[kept] = other.0 + 1;
                    kept += 1;
                }
                let packed = pack(&mut nodes[..kept]);
                if wanted.binary_search(&packed).is_ok() {
                    sets.push((packed, member));
                }
            }
        }
        sets.sort_unstable();
        sets.dedup();
        Self { sets }
    }

    fn has(&self, others: Others, node: Node) -> bool {
        self.sets.binary_search(&(others, node)).is_ok()
    }
}
