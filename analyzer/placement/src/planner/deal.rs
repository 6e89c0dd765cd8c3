//! Parts of a pile, in two dimensions: partitions to shares of given size and load.

use super::work::Work;
use crate::ids::Partition;

/// What a share is to get.
#[derive(Debug, Clone, Copy, PartialEq)]
pub(crate) struct Quota {
    pub(crate) bytes: f64,
    pub(crate) load: f64,
}

/// Deals partitions to quotas, so that all are used up evenly in size and load: the largest first, each to the quota
/// that is the least used with it. The index of its quota for each partition, in their order.
///
/// # Panics
/// If there are partitions and no quotas.
pub(crate) fn deal(work: &Work<'_>, partitions: &[Partition], quotas: &[Quota]) -> Vec<u16> {
    let total = quotas.iter().fold((0.0, 0.0), |sum, quota| (sum.0 + quota.bytes, sum.1 + quota.load));
    let over = |value: f64, of: f64| if of > 0.0 { value / of } else { 0.0 };
    let weight = |partition: Partition| {
        over(work.size_of(partition), total.0).max(over(work.load_of(partition), total.1))
    };
    let mut order: Vec<u32> = (0..partitions.len() as u32).collect();
    order.sort_unstable_by(|a, b| {
        let (x, y) = (partitions[*a as usize], partitions[*b as usize]);
        weight(y).total_cmp(&weight(x)).then(x.cmp(&y))
    });
    let mut used = vec![(0.0, 0.0); quotas.len()];
    let mut dealt = vec![0; partitions.len()];
    for at in order {
        let partition = partitions[at as usize];
        let (bytes, load) = (work.size_of(partition), work.load_of(partition));
        let filled = |share: usize| {
            let (had, quota): ((f64, f64), &Quota) = (used[share], &quotas[share]);
            fill(had.0 + bytes, quota.bytes).max(fill(had.1 + load, quota.load))
        };
        let least = (0..quotas.len()).min_by(|a, b| filled(*a).total_cmp(&filled(*b)));
        let least = least.expect("there is at least one quota");
        used[least].0 += bytes;
        used[least].1 += load;
        dealt[at as usize] = least as u16;
    }
    dealt
}

/// How full a quota is; one of nothing is full of anything, and empty of nothing.
fn fill(value: f64, quota: f64) -> f64 {
    if quota > 0.0 {
        value / quota
    } else if value > 0.0 {
        f64::INFINITY
    } else {
        0.0
    }
}
