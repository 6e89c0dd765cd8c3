//! A record in plain words and numbers.
//!
//! Words say what the record says and nothing else: whoever doubts a sentence finds its number in the record.

use crate::band::{Foreseen, Source};
use crate::cluster::{Cluster, HazardSource};
use crate::record::{Judged, Record, Status, Surging, Verdict};
use isotherm_risk::class::Class;
use std::fmt::Write;

/// Sentences about a partition, a paragraph each: what was seen, where it is going, on whom its clients lean, what a
/// failure would cost, what is to be done.
#[must_use]
pub fn partition(record: &Record, cluster: &Cluster, lead_min: u32) -> Vec<String> {
    let mut words = vec![entropy(record), habit(record)];
    words.extend(forecast(record, lead_min));
    words.extend(others(record));
    words.push(risk(record));
    words.extend(leaning(record, cluster));
    words.extend(cost(record));
    words.push(verdict(record));
    words
}

fn entropy(record: &Record) -> String {
    let name = format!("Partition {}/{}", record.system, record.partition);
    let reads = record
        .reads_per_s
        .map_or_else(|| "reads of unknown rate".to_owned(), |reads| format!("{} reads/s", number(reads)));
    match (record.status, record.node.h, record.bits, record.effective_nodes) {
        (Status::Known, Some(h), Some(bits), Some(effective)) => format!(
            "{name}: {reads}, spread over its {} nodes with an entropy of {bits:.3} bits, {:.0} % of the most there \
             can be ({}); clients lean on {effective:.2} nodes.",
            record.holders.len(),
            h * 100.0,
            record.class.map_or("no class yet", Class::as_str),
        ),
        (Status::NotApplicable, ..) => {
            format!("{name}: {reads}. Fewer than two nodes may serve it, so there is no entropy over nodes.")
        }
        (Status::Insufficient, ..) => {
            format!("{name}: {reads}, too few in this minute to say how they are spread.")
        }
        (Status::Unseen, ..) => format!("{name} was not counted in this minute."),
        (Status::Unknown | Status::Known, ..) => format!(
            "{name}: {reads}. A node that may serve it was not watched for all of this minute, so the entropy over \
             nodes is unknown."
        ),
    }
}

fn habit(record: &Record) -> String {
    let Some(habitual) = record.node.habitual else {
        return "There is no habit yet to hold that against.".to_owned();
    };
    let source = match habitual.weeks {
        0 => "the mean of the last days".to_owned(),
        weeks => format!("the median of this hour of the last {weeks} weeks"),
    };
    let off = match record.node.z {
        Some(z) => {
            format!("{:.1} robust standard deviations {}", z.abs(), if z < 0.0 { "below" } else { "above" })
        }
        None => "not comparable in this minute".to_owned(),
    };
    let surge = match record.surge {
        Surging::Since(since) => {
            format!(" It surges, since {} minutes.", record.at.0.saturating_sub(since).div_ceil(60_000))
        }
        Surging::Quiet => String::new(),
        Surging::Unknown => " Whether it surges is not known yet.".to_owned(),
    };
    format!("Habitual is {:.0} % ({source}); this is {off}.{surge}", habitual.value * 100.0)
}

fn forecast(record: &Record, lead_min: u32) -> Option<String> {
    let Foreseen { h, lower_80, upper_80, source, .. } = record.forecast?;
    if source == Source::Still {
        return Some(format!("It has not changed, and is expected to stay at {:.0} %.", h * 100.0));
    }
    let [p, d, q] = record.order.unwrap_or_default();
    let from = match source {
        Source::Group => "from the errors of forecasts of its kind",
        Source::Pooled => "from the errors of all forecasts",
        Source::Model | Source::Still => "by the model alone, as too few forecasts have been judged",
    };
    let surge = match record.forecast_surge {
        Some(true) => " A surge is forecast.",
        Some(false) | None => "",
    };
    Some(format!(
        "In {lead_min} minutes: {:.0} %, with a probability of .8 above {:.0} % and of .8 below {:.0} %, {from} \
         (ARIMA({p},{d},{q})).{surge}",
        h * 100.0,
        lower_80 * 100.0,
        upper_80 * 100.0
    ))
}

fn others(record: &Record) -> Option<String> {
    let of = |what: &str, judged: Option<Judged>| {
        let judged = judged?;
        let h = judged.h?;
        let mut text = format!("over {what} {:.0} %", h * 100.0);
        if let (Some(habitual), Some(z)) = (judged.habitual, judged.z) {
            let _ = write!(text, " (habitual {:.0} %, {z:+.1} deviations)", habitual.value * 100.0);
        }
        Some(text)
    };
    let parts: Vec<String> =
        [of("offsets", record.offset), of("peers", record.peer)].into_iter().flatten().collect();
    (!parts.is_empty()).then(|| format!("Other entropies of its reads: {}.", parts.join(", ")))
}

fn risk(record: &Record) -> String {
    let Some(exposed) = record.exposure else {
        return format!("Its risk is unknown: {}.", record.reason);
    };
    let calibrated = match record.calibrated {
        Some(calibrated) => format!("{:.2} % after calibration", calibrated * 100.0),
        None => "uncalibrated: too few incidents have been seen to say how often it is right".to_owned(),
    };
    let bound = if exposed.headroom_known {
        ""
    } else {
        " It is a lower bound: capacities are not known, so neither is the survivors' headroom."
    };
    let surge = match record.surge_part() {
        Some(part) if part.abs() >= 0.01 * exposed.mean.max(f64::MIN_POSITIVE) => format!(
            " Of the {} incidents that are to be expected, {} are due to the entropy's going elsewhere than is \
             habitual.",
            number(exposed.mean),
            number(part)
        ),
        Some(_) | None => String::new(),
    };
    format!(
        "Probability of an incident within {:.0} hours: {:.3} % ({calibrated}). The exposure is {} per hour; {:.0} % \
         of the horizon are covered by models.{surge}{bound}",
        exposed.horizon_h,
        exposed.risk * 100.0,
        number(exposed.per_hour),
        exposed.forecast_share * 100.0
    )
}

fn leaning(record: &Record, cluster: &Cluster) -> Vec<String> {
    let total = record.exposure.map(|exposed| exposed.per_hour);
    let part = |exposure: Option<f64>| match (exposure, total) {
        (Some(exposure), Some(total)) if total > 0.0 => {
            format!(", {:.0} % of the exposure", exposure / total * 100.0)
        }
        _ => String::new(),
    };
    let mut words = Vec::new();
    for holder in &record.holders {
        let Some(facts) = cluster.nodes.get(holder.node as usize) else { continue };
        let share = holder.share.map_or_else(
            || "an unknown share of its reads".to_owned(),
            |share| format!("{:.0} % of its reads", share * 100.0),
        );
        let source = match facts.hazard.source {
            HazardSource::Prior => "assumed",
            HazardSource::Observed => "observed",
            HazardSource::Override => "by an operator",
        };
        let overload = holder.overload.map_or_else(
            || "whether the others could bear its load is not known".to_owned(),
            |overload| format!("the others would lack headroom with a probability of {overload:.2}"),
        );
        words.push(format!(
            "  {} serves {share}; {} failures per hour ({source}, {:.1} times its class){}; if it fails, {overload}.",
            facts.name,
            number(holder.hazard),
            holder.hazard_over_class,
            part(holder.exposure)
        ));
    }
    for domain in &record.domains {
        let Some(facts) = cluster.domains.get(domain.domain as usize) else { continue };
        if domain.hazard > 0.0 {
            words.push(format!(
                "  Domain {} carries {:.0} %; {} failures per hour{}.",
                facts.name,
                domain.share * 100.0,
                number(domain.hazard),
                part(Some(domain.exposure))
            ));
        }
    }
    words
}

fn cost(record: &Record) -> Option<String> {
    let loss = record.loss?;
    let mut parts =
        vec![format!("{} until clients have gone elsewhere", number(loss.failover + loss.domains))];
    match (loss.after_failures, loss.present_overload) {
        (Some(after), Some(present)) => {
            parts.push(format!("{} by survivors' overload", number(after)));
            parts.push(format!("{} by present overload", number(present)));
        }
        _ => parts.push("overload unknown".to_owned()),
    }
    parts.push(format!("{} while replicas are missing", number(loss.under_replication())));
    if loss.gray > 0.0 {
        parts.push(format!("{} at nodes that answer badly", number(loss.gray)));
    }
    let total =
        loss.per_hour().map_or_else(|| format!("at least {}", number(loss.without_overload())), number);
    Some(format!("Expected loss, in client-minutes per hour: {total} ({}).", parts.join(", ")))
}

fn verdict(record: &Record) -> String {
    let what = match record.verdict {
        Verdict::Unknown => "Too little is known to say what to do",
        Verdict::Nothing => "Nothing is to be done",
        Verdict::ShiftReads => "Shift reads",
        Verdict::Move => "Move it",
        Verdict::MovingWillNotHelp => "Moving will not help",
        Verdict::SplitIt => "Split it",
        Verdict::SlowDownClients => "Slow down its clients",
    };
    if record.reason.is_empty() { format!("{what}.") } else { format!("{what}: {}.", record.reason) }
}

/// Three digits that matter.
fn number(value: f64) -> String {
    match value.abs() {
        0.0 => "0".to_owned(),
        size if size >= 100.0 => format!("{value:.0}"),
        size if size >= 10.0 => format!("{value:.1}"),
        size if size >= 1.0 => format!("{value:.2}"),
        size if size >= 0.001 => format!("{value:.4}"),
        _ => format!("{value:.2e}"),
    }
}
