//! Scores as messages.

use crate::migrate::trust::until_ms;
use isotherm_model::SystemId;
use isotherm_proto::VerifyMethod;
use isotherm_proto::control::v1 as wire;
use isotherm_runner::journal::score::{ENOUGH, Measured, P99, Predicted, Scorecard, Scored, Summary};
use isotherm_runner::journal::trust::Distrust;
use isotherm_runner::journal::{Compared, name_of};
use std::time::Duration;

pub(in super::super) fn scorecard(card: &Scorecard) -> wire::Scorecard {
    wire::Scorecard {
        predicted: Some(predicted(&card.predicted)),
        measured: card.measured.as_ref().map(measured),
        saved: card.saved(),
        within: card.within(),
    }
}

fn predicted(predicted: &Predicted) -> wire::PredictedScore {
    wire::PredictedScore {
        at_ms: predicted.at_ms,
        judged_ms: predicted.judged_ms,
        risk: predicted.risk,
        loss_per_hour: predicted.loss.map(|loss| loss.per_hour),
        loss_there_per_hour: predicted.loss_there_per_hour,
        benefit: predicted.benefit.map(|benefit| benefit.expected),
        benefit_lower: predicted.benefit.map(|benefit| benefit.lower),
        benefit_upper: predicted.benefit.map(|benefit| benefit.upper),
        cost: predicted.cost,
        pause_ms: predicted.pause_ms,
        bytes: predicted.bytes,
        duration_ms: predicted.duration_ms,
    }
}

fn measured(measured: &Measured) -> wire::MeasuredScore {
    let (before, after) = (measured.p99_before.as_ref(), measured.p99_after.as_ref());
    let ns = |p99: Option<&P99>| p99.map(|p99| p99.ns);
    wire::MeasuredScore {
        at_ms: measured.at_ms,
        judged_ms: measured.judged_ms,
        risk: measured.risk,
        loss_per_hour: measured.loss.map(|loss| loss.per_hour),
        p99_layer: after.or(before).map(|p99| p99.layer.clone()).unwrap_or_default(),
        p99_before_ns: ns(before),
        p99_after_ns: ns(after),
        pause_ms: measured.pause_ms,
        bytes: measured.bytes,
        duration_ms: measured.duration_ms,
        gap: measured.gap.clone().unwrap_or_default(),
    }
}

/// `methods` are those that the adapter says it has.
pub(in super::super) fn comparisons(
    compared: &[Compared],
    methods: &[VerifyMethod],
) -> Vec<wire::Comparison> {
    let name = |method: &VerifyMethod| match method {
        VerifyMethod::Count => "count",
        VerifyMethod::Checksum => "checksum",
        VerifyMethod::Sample => "sample",
        VerifyMethod::Size => "size",
    };
    let methods: Vec<String> = methods.iter().map(|method| name(method).to_owned()).collect();
    let comparison = |compared: &Compared| wire::Comparison {
        at_ms: compared.at_ms,
        request: compared.request.clone(),
        epoch: compared.epoch.0,
        equal: compared.equal,
        evidence: compared.evidence.clone(),
        methods: methods.clone(),
    };
    compared.iter().map(comparison).collect()
}

pub(in super::super) fn distrust(distrust: &Distrust, quiet: Duration) -> wire::Distrust {
    wire::Distrust {
        system: distrust.system.clone(),
        cause: distrust.cause.as_str().to_owned(),
        at_ms: distrust.at_ms,
        why: distrust.why.clone(),
        until_ms: until_ms(distrust, quiet),
    }
}

pub(super) fn score(scored: &Scored) -> wire::Score {
    let (migration, about) = (&scored.entry.migration, &scored.entry.about);
    let spec = migration.spec();
    wire::Score {
        migration_id: spec.id.to_string(),
        partition: spec.partition.to_string(),
        source: spec.origin.node().to_string(),
        target: spec.target.to_string(),
        phase: name_of(migration.phase()),
        trigger: about.trigger.as_str().to_owned(),
        ended_ms: about.ended_ms.unwrap_or(0),
        rolled_back: about.rolled_back,
        scorecard: scored.card.as_ref().map(scorecard),
    }
}

pub(super) fn system(
    system: &SystemId,
    summary: &Summary,
    distrust: Vec<wire::Distrust>,
) -> wire::SystemScore {
    wire::SystemScore {
        system: system.to_string(),
        moves: summary.moves as u64,
        judged: summary.judged as u64,
        within: summary.within as u64,
        rollbacks: summary.rollbacks as u64,
        earned: summary.earned as u64,
        needed: ENOUGH as u64,
        distrust,
    }
}
