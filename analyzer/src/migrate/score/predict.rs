//! What is expected of a migration, from the record of the last cycle.

use super::{loss, record, risk};
use crate::cycle::Cycled;
use isotherm_cycle::record::{Action, How};
use isotherm_migration::{Origin, Spec};
use isotherm_risk::GatePolicy;
use isotherm_runner::journal::score::{Benefit, Predicted};

/// What is expected. `cycled` is the last cycle, `size_bytes` what the topology tells of a replica. Where the last cycle
/// asked for this very move, its benefit is known too.
pub(super) fn predicted(
    spec: &Spec,
    cycled: Option<&Cycled>,
    size_bytes: Option<u64>,
    now_ms: u64,
) -> Predicted {
    let unknown = Predicted { at_ms: now_ms, bytes: size_bytes, ..Predicted::default() };
    let Some(cycled) = cycled else { return unknown };
    let cost = &cycled.settings.risk.cost;
    let rate = spec
        .policy
        .bytes_per_s
        .map_or(cost.copy_bytes_per_s, |bound| cost.copy_bytes_per_s.min(bound as f64));
    let stops_writes = matches!(spec.origin, Origin::Move { .. });
    let expected = Predicted {
        pause_ms: stops_writes.then(|| ms(cost.move_pause_s)).flatten(),
        duration_ms: size_bytes.and_then(|bytes| ms(bytes as f64 / rate)),
        ..unknown
    };
    let Some(record) = record(cycled, &spec.partition) else { return expected };
    let action = record.action.as_deref().filter(|action| asks_for(action, spec));
    Predicted {
        judged_ms: Some(record.at.0),
        risk: risk(record),
        loss: loss(record),
        loss_there_per_hour: action.and_then(|action| action.loss_after_per_hour),
        benefit: action.map(|action| benefit(action, &cycled.settings.gate)),
        cost: action.map(|action| action.cost),
        ..expected
    }
}

/// Whether a verdict asks for exactly what is done.
fn asks_for(action: &Action, spec: &Spec) -> bool {
    match (&action.how, &spec.origin) {
        (How::Move { from, to }, Origin::Move { source }) => {
            from == source.name() && to == spec.target.name()
        }
        (How::Move { .. }, Origin::Repair { .. }) | (How::Lead { .. } | How::Drain { .. }, _) => false,
    }
}

/// What is believed is taken for normal, so the upper bound is as far from what is expected as the lower one.
fn benefit(action: &Action, gate: &GatePolicy) -> Benefit {
    Benefit {
        expected: action.benefit,
        lower: action.benefit_lower,
        upper: 2.0 * action.benefit - action.benefit_lower,
        lasting_h: action.lasting_h,
        gray_h: gate.gray_h.min(action.lasting_h),
    }
}

/// `None` where that is no time.
fn ms(seconds: f64) -> Option<u64> {
    let time = std::time::Duration::try_from_secs_f64(seconds).ok()?;
    u64::try_from(time.as_millis()).ok()
}

#[cfg(test)]
mod tests {
    use super::*;
    use isotherm_migration::{Capabilities, Fence, MigrationId, Policy, Revision, Switch};
    use isotherm_model::{NodeId, PartitionId, SystemId};
    use isotherm_risk::Standing;

    fn spec(from: &str, to: &str) -> Spec {
        let system = || SystemId::new("s").unwrap();
        let node = |name: &str| NodeId::new(system(), name).unwrap();
        Spec {
            id: MigrationId::new("m").unwrap(),
            partition: PartitionId::new(system(), "p").unwrap(),
            origin: Origin::Move { source: node(from) },
            target: node(to),
            revision: Revision(1),
            capabilities: Capabilities {
                switch: Switch::Gated,
                fence: Fence::AtSwitch,
                repair_from_replica: true,
                reverse: false,
            },
            policy: Policy::default(),
        }
    }

    fn action() -> Action {
        Action {
            how: How::Move { from: "a".to_owned(), to: "b".to_owned() },
            benefit: 200.0,
            benefit_lower: 150.0,
            lasting_h: 100.0,
            loss_after_per_hour: Some(1.0),
            cost: 3.0,
            gray: false,
            standing: Standing::Carried,
        }
    }

    #[test]
    fn only_the_very_move_that_was_asked_for_has_a_benefit() {
        assert!(asks_for(&action(), &spec("a", "b")));
        assert!(!asks_for(&action(), &spec("a", "c")) && !asks_for(&action(), &spec("c", "b")));
        let mut repair = spec("a", "b");
        repair.origin = Origin::Repair { dead: repair.origin.node().clone() };
        assert!(!asks_for(&action(), &repair));
        let drain = Action { how: How::Drain { from: "a".to_owned() }, ..action() };
        assert!(!asks_for(&drain, &spec("a", "b")));
    }

    #[test]
    fn the_interval_of_a_benefit_is_as_wide_on_both_sides() {
        let gate = GatePolicy { gray_h: 4.0, ..GatePolicy::default() };
        let found = benefit(&action(), &gate);
        assert_eq!((found.lower, found.expected, found.upper), (150.0, 200.0, 250.0));
        assert_eq!((found.lasting_h, found.gray_h), (100.0, 4.0));
        let short = Action { lasting_h: 2.0, ..action() };
        assert_eq!(benefit(&short, &gate).gray_h, 2.0, "nothing counts for longer than what lasts");
    }

    #[test]
    fn without_a_cycle_only_the_size_is_known() {
        let found = predicted(&spec("a", "b"), None, Some(7), 5);
        assert_eq!(found, Predicted { at_ms: 5, bytes: Some(7), ..Predicted::default() });
    }

    #[test]
    fn what_is_no_time_is_unknown() {
        assert_eq!((ms(1.5), ms(f64::INFINITY), ms(f64::NAN), ms(-1.0)), (Some(1_500), None, None, None));
    }
}
