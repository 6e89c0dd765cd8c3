//! A score as one line of the diary.

use isotherm_runner::journal::score::{Measured, P99, Scorecard};
use std::time::Duration;

/// What was predicted beside what was measured; whatever is not known is not told.
pub(super) fn told(card: &Scorecard) -> String {
    let Some(measured) = &card.measured else { return "not scored yet".to_owned() };
    let parts = [benefit(card), risk(card, measured), latency(measured), pause(card, measured)];
    let known: Vec<String> = parts.into_iter().flatten().collect();
    let text = if known.is_empty() { "nothing is known to compare".to_owned() } else { known.join("; ") };
    match &measured.gap {
        Some(gap) => format!("scored: {text}; a gap: {gap}"),
        None => format!("scored: {text}"),
    }
}

fn benefit(card: &Scorecard) -> Option<String> {
    let predicted = card.predicted.benefit?;
    let (saved, within) = (card.saved()?, card.within()?);
    let place = if within { "within" } else { "outside" };
    Some(format!(
        "it saves {saved:.1} client-minutes, {place} the {:.1} to {:.1} that were predicted",
        predicted.lower, predicted.upper
    ))
}

fn risk(card: &Scorecard, measured: &Measured) -> Option<String> {
    Some(format!("its risk is {:.4}, from {:.4}", measured.risk?, card.predicted.risk?))
}

fn latency(measured: &Measured) -> Option<String> {
    let ms = |p99: &P99| p99.ns as f64 / 1e6;
    let (before, after) = (measured.p99_before.as_ref()?, measured.p99_after.as_ref()?);
    Some(format!("99 of 100 reads took {:.2} ms at the most, from {:.2} ms", ms(after), ms(before)))
}

fn pause(card: &Scorecard, measured: &Measured) -> Option<String> {
    let time = |ms| humantime::format_duration(Duration::from_millis(ms));
    let stopped = measured.pause_ms?;
    Some(match card.predicted.pause_ms {
        Some(expected) => format!("writes were stopped for {}, {} expected", time(stopped), time(expected)),
        None => format!("writes were stopped for {}", time(stopped)),
    })
}

#[cfg(test)]
mod tests {
    use super::*;
    use isotherm_runner::journal::score::{Benefit, Loss, Predicted};

    #[test]
    fn a_line_tells_what_is_known_and_no_more() {
        let measured = Measured { pause_ms: Some(12), ..Measured::default() };
        let mut card = Scorecard { predicted: Predicted::default(), measured: Some(measured) };
        assert_eq!(told(&card), "scored: writes were stopped for 12ms");
        let loss = |per_hour| Some(Loss { per_hour, gray_per_hour: 0.0 });
        let benefit = Benefit { expected: 20.0, lower: 15.0, upper: 25.0, lasting_h: 10.0, gray_h: 1.0 };
        card.predicted =
            Predicted { loss: loss(3.0), benefit: Some(benefit), risk: Some(0.2), ..Predicted::default() };
        card.measured = Some(Measured { loss: loss(1.0), risk: Some(0.05), ..Measured::default() });
        assert_eq!(
            told(&card),
            "scored: it saves 20.0 client-minutes, within the 15.0 to 25.0 that were predicted; its risk is \
             0.0500, from 0.2000"
        );
        card.measured = Some(Measured { gap: Some("nobody watched".to_owned()), ..Measured::default() });
        assert_eq!(told(&card), "scored: nothing is known to compare; a gap: nobody watched");
    }
}
