//! What hazards of nodes mean for a partition: the first term of an expected loss, the
//! requests that have to find another replica.
//!
//! Per hour, on a subset: the sum over its nodes of hazard x load x share of the reads x seconds until they go
//! elsewhere. What overload of the survivors costs, and the time without a replica, need measurements that files do
//! not have, and are left out. So losses are low, and the gate lets fewer moves pass.

use super::Reads;
use isotherm_placement::{Node, Outlook, Partition, Shifts};

/// Seconds until clients of a node that failed read elsewhere: a few timeouts of ten seconds. Measured where it is
/// known; files do not tell it.
const REROUTE_S: f64 = 30.0;

/// Seconds for which requests wait when a copy takes over.
const COPY_PAUSE_S: f64 = 1.0;

/// Seconds for which requests wait when another holder leads.
const SHIFT_PAUSE_S: f64 = 0.1;

/// Gives an outlook to whoever asks with it, as it borrows what it is made of.
pub(super) fn with<T>(hazards: &[f64], load: &[f64], reads: Reads, ask: impl FnOnce(Outlook<'_>) -> T) -> T {
    let loss_per_hour = |partition: Partition, subset: &[Node]| {
        load[partition.at()] * REROUTE_S * served_by_what_fails(hazards, reads, subset)
    };
    let exposure_per_hour =
        |_: Partition, subset: &[Node]| -> f64 { subset.iter().map(|node| hazards[node.at()]).sum() };
    let cost_of_copy = |partition: Partition, _: u64| load[partition.at()] * COPY_PAUSE_S;
    let cost_of_shift = |partition: Partition| load[partition.at()] * SHIFT_PAUSE_S;
    ask(Outlook {
        loss_per_hour: &loss_per_hour,
        exposure_per_hour: &exposure_per_hour,
        cost_of_copy: &cost_of_copy,
        cost_of_shift: &cost_of_shift,
        hazard_over_class: None,
        shifts: match reads {
            Reads::Spread => Shifts::None,
            Reads::Leader => Shifts::Lead,
        },
    })
}

/// Share of the reads that a failure hits, per hour.
fn served_by_what_fails(hazards: &[f64], reads: Reads, subset: &[Node]) -> f64 {
    match (reads, subset) {
        (_, []) => 0.0,
        (Reads::Leader, [leader, ..]) => hazards[leader.at()],
        (Reads::Spread, all) => all.iter().map(|node| hazards[node.at()]).sum::<f64>() / all.len() as f64,
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn a_loss_is_what_a_failing_node_serves_until_clients_read_elsewhere() {
        let (hazards, load) = ([0.5, 0.0, 0.1], [10.0, 2.0]);
        let subset = [Node(0), Node(2)];
        let asked = |reads| {
            with(&hazards, &load, reads, |outlook| {
                let loss = outlook.loss_per_hour;
                [loss(Partition(0), &subset), loss(Partition(1), &subset), loss(Partition(0), &[])]
            })
        };
        assert_eq!(asked(Reads::Spread), [0.3 * 10.0 * 30.0, 0.3 * 2.0 * 30.0, 0.0]);
        assert_eq!(asked(Reads::Leader), [0.5 * 10.0 * 30.0, 0.5 * 2.0 * 30.0, 0.0]);
        let exposure = with(&hazards, &load, Reads::Leader, |outlook| {
            (outlook.exposure_per_hour)(Partition(0), &subset)
        });
        assert_eq!(exposure, 0.6);
    }
}
