//! The least time that any schedule of the same copies takes.
//!
//! The highest of: what comes into a node over its budget; what only one node can feed over that node's budget; all
//! bytes over the budgets of all that can feed any of them; what crosses a link whoever feeds it over the link's
//! rate; and a partition's copies one after the other, each over its fastest way. Each holds for every choice of
//! sources and every order, so the highest does.

use super::jobs::Jobs;
use super::network::{Network, UNBOUNDED, duration_ms, over};

/// In milliseconds, of the jobs that were done.
pub(super) fn least_ms(jobs: &Jobs, network: &Network<'_>, done: &dyn Fn(usize) -> bool) -> u64 {
    let nodes = network.budget.len();
    let (mut incoming, mut forced) = (vec![0u128; nodes], vec![0u128; nodes]);
    let mut across = vec![0u128; network.lanes.len()];
    let (mut all, mut feeds) = (0u128, vec![false; nodes]);
    let mut chains: Vec<(u32, u64)> = Vec::with_capacity(jobs.all.len());
    for (at, job) in jobs.all.iter().enumerate() {
        let (true, Some(ends)) = (done(at), &job.copy) else { continue };
        let bytes = u128::from(job.bytes);
        let sources = jobs.sources(ends);
        incoming[ends.to.at()] += bytes;
        all += bytes;
        for source in sources {
            feeds[source.at()] = true;
        }
        if let [source] = sources {
            forced[source.at()] += bytes;
        }
        for lane in network.crossed(sources[0], ends.to) {
            if sources[1..].iter().all(|source| network.crossed(*source, ends.to).any(|other| other == lane))
            {
                across[lane as usize] += bytes;
            }
        }
        let way = sources.iter().map(|source| network.empty_way(*source, ends.to)).max().unwrap_or(UNBOUNDED);
        chains.push((job.partition.0, duration_ms(job.bytes, way)));
    }
    chains.sort_unstable();
    let chain = chains
        .chunk_by(|a, b| a.0 == b.0)
        .map(|chain| chain.iter().fold(0u64, |sum, (_, duration_ms)| sum.saturating_add(*duration_ms)));
    let bounded = |bytes: &[u128], rates: &[u64]| {
        let each = bytes.iter().zip(rates).filter(|(_, rate)| **rate != UNBOUNDED);
        each.map(|(bytes, rate)| over(*bytes, u128::from(*rate))).max().unwrap_or(0)
    };
    let feeders =
        || network.budget.iter().zip(&feeds).filter(|(_, feeds)| **feeds).map(|(budget, _)| *budget);
    let together = if feeders().all(|budget| budget != UNBOUNDED) && all > 0 {
        over(all, feeders().map(u128::from).sum())
    } else {
        0
    };
    let most = [
        bounded(&incoming, &network.budget),
        bounded(&forced, &network.budget),
        bounded(&across, &network.lanes),
        chain.max().unwrap_or(0),
        together,
    ];
    most.into_iter().max().unwrap_or(0)
}
