//! `isotherm migrate scores` and `promote`: whether moves brought what they were to bring.

use super::super::Failure;
use super::super::client::ClientArgs;
use super::super::node::WhoArgs;
use super::super::print::{self, Column, Format};
use super::super::time::{rfc3339, span};
use super::show;
use clap::Args;
use isotherm_proto::control::v1::{
    Distrust, ListScoresRequest, MeasuredScore, PredictedScore, PromoteRequest, Score, Scorecard, SystemScore,
};
use std::fmt::Write;
use std::time::Duration;

/// List what migrations were to bring, and what they brought
///
/// Some time after a migration has ended (`migrate.score_after`), what was predicted when it began is compared with what
/// is so: the client-minutes it saves, reads' latency before and after, how long writes were stopped. A dash is what
/// nobody knew or could measure. Below, what that comes to for each system, whether isotherm has earned to act by itself
/// there, and what holds it back.
#[derive(Args)]
pub(in crate::cli) struct ScoresArgs {
    #[command(flatten)]
    client: ClientArgs,
    /// Only of this system
    #[arg(long, value_name = "SYSTEM", default_value = "", hide_default_value = true)]
    system: String,
    /// The newest so many
    #[arg(long, value_name = "N", default_value_t = 20)]
    limit: u32,
}

/// Let isotherm act by itself again on a system that was demoted
///
/// A rollback, or a move of which nobody can say what it brought, makes everything that isotherm would begin by itself on
/// that system wait for approval. This ends it; whether isotherm then acts is as the mode of the policy says.
#[derive(Args)]
pub(in crate::cli) struct PromoteArgs {
    #[command(flatten)]
    client: ClientArgs,
    /// The system
    #[arg(value_name = "SYSTEM")]
    system: String,
    /// Why; it is recorded
    #[arg(long, value_name = "TEXT")]
    reason: String,
    #[command(flatten)]
    who: WhoArgs,
}

pub(super) async fn run(args: ScoresArgs) -> Result<(), Failure> {
    let mut client = args.client.connect().await?;
    let request = ListScoresRequest { system: args.system, limit: args.limit };
    let answer = client.trust.list_scores(request).await;
    let answer = answer.map_err(|status| client.failure(&status))?.into_inner();
    if args.client.output == Format::Json {
        return print::json(&serde_json::json!({ "scores": answer.scores, "systems": answer.systems }));
    }
    let header = ["ID", "PARTITION", "FROM", "TO", "PHASE", "ENDED"].map(Column::Text).into_iter().chain([
        Column::Number("PREDICTED"),
        Column::Number("SAVED"),
        Column::Text("WITHIN"),
        Column::Number("P99 BEFORE"),
        Column::Number("P99 AFTER"),
        Column::Number("STOPPED"),
    ]);
    let rows = answer.scores.iter().map(row).collect();
    print::table(&header.collect::<Vec<_>>(), rows, "no migration has ended yet")?;
    answer.systems.iter().try_for_each(|system| print::out(&summary(system)))
}

pub(super) async fn promote(args: PromoteArgs) -> Result<(), Failure> {
    let mut client = args.client.connect().await?;
    let request = PromoteRequest { system: args.system.clone(), who: args.who.name(), reason: args.reason };
    client.trust.promote(request).await.map_err(|status| client.failure(&status))?;
    match args.client.output {
        Format::Json => print::json(&serde_json::json!({ "system": args.system, "promoted": true })),
        Format::Table => {
            print::out(&format!("isotherm acts on {} again as far as its mode allows\n", args.system))
        }
    }
}

fn row(score: &Score) -> Vec<String> {
    let card = score.scorecard.as_ref();
    let predicted = card.and_then(|card| card.predicted);
    let measured = card.and_then(|card| card.measured.as_ref());
    let ended = if score.rolled_back { format!("{} (undone)", score.phase) } else { score.phase.clone() };
    vec![
        show::short(&score.migration_id).to_owned(),
        score.partition.clone(),
        score.source.clone(),
        score.target.clone(),
        ended,
        rfc3339(score.ended_ms),
        or_dash(predicted.and_then(|predicted| interval(&predicted))),
        or_dash(card.and_then(|card| card.saved).map(|saved| format!("{saved:.1}"))),
        or_dash(card.and_then(|card| card.within).map(|within| yes(within).to_owned())),
        or_dash(measured.and_then(|measured| measured.p99_before_ns).map(print::nanoseconds)),
        or_dash(measured.and_then(|measured| measured.p99_after_ns).map(print::nanoseconds)),
        or_dash(measured.and_then(|measured| measured.pause_ms).map(time)),
    ]
}

fn or_dash(text: Option<String>) -> String {
    text.unwrap_or_else(|| "-".to_owned())
}

fn yes(is_so: bool) -> &'static str {
    if is_so { "yes" } else { "no" }
}

fn time(ms: u64) -> String {
    span(Duration::from_millis(ms))
}

fn interval(predicted: &PredictedScore) -> Option<String> {
    Some(format!("{:.1} to {:.1}", predicted.benefit_lower?, predicted.benefit_upper?))
}

/// What the scores of a system come to.
fn summary(system: &SystemScore) -> String {
    let SystemScore { system: name, moves, judged, within, rollbacks, earned, needed, distrust } = system;
    let mut text =
        format!("\n{name}: {moves} moves completed, {rollbacks} undone; the benefit lay in its interval in ");
    let _ = match judged {
        0 => writeln!(text, "none, as none could be judged"),
        judged => writeln!(text, "{within} of {judged} that could be judged"),
    };
    let _ = if earned >= needed {
        writeln!(
            text,
            "  \"auto\" can be trusted: {earned} approved moves in a row kept their word ([cycle.policy] mode)"
        )
    } else {
        writeln!(
            text,
            "  \"auto\" is suggested after {needed} approved moves in a row that keep their word; so far {earned}"
        )
    };
    text + &held(distrust)
}

/// What holds isotherm back; empty if nothing does at this moment.
pub(super) fn held(distrust: &[Distrust]) -> String {
    let now_ms = crate::writer::now().as_ms();
    let mut text = String::new();
    for one in distrust.iter().filter(|one| one.until_ms.is_none_or(|until_ms| until_ms > now_ms)) {
        let Distrust { system, at_ms, why, .. } = one;
        let since = rfc3339(*at_ms);
        let _ = match one.until_ms {
            Some(until_ms) => writeln!(
                text,
                "  somebody else moves partitions of {system} ({why}, {since}): isotherm begins nothing there by \
                 itself until {}",
                rfc3339(until_ms)
            ),
            None => writeln!(
                text,
                "  {system} is demoted since {since} ({why}): what isotherm would begin by itself waits for approval; \
                 `isotherm migrate promote {system} --reason TEXT` ends it"
            ),
        };
    }
    text
}

/// Lines of `isotherm migrate status`: what was predicted, and what was measured.
pub(super) fn words(card: Option<&Scorecard>) -> String {
    let Some((card, predicted)) = card.and_then(|card| Some((card, card.predicted.as_ref()?))) else {
        return String::new();
    };
    let measured = card.measured.as_ref();
    let mut text = String::new();
    let mut line = |name: &str, before: Option<String>, after: Option<String>| {
        if before.is_some() || after.is_some() {
            let _ = writeln!(text, "  {name:<22} {:>22} {:>16}", or_dash(before), or_dash(after));
        }
    };
    let number = |value: Option<f64>| value.map(|value| format!("{value:.4}"));
    let of = |value: fn(&MeasuredScore) -> Option<u64>| measured.and_then(value);
    line("", Some("predicted".to_owned()), measured.map(|_| "measured".to_owned()));
    line("risk", number(predicted.risk), number(measured.and_then(|measured| measured.risk)));
    let loss = [predicted.loss_per_hour, predicted.loss_there_per_hour].map(number);
    let loss = match loss {
        [Some(here), Some(there)] => Some(format!("{here} to {there}")),
        [here, _] => here,
    };
    line("client-minutes an hour", loss, number(measured.and_then(|measured| measured.loss_per_hour)));
    line("client-minutes saved", interval(predicted), card.saved.map(|saved| format!("{saved:.1}")));
    line("writes stopped", predicted.pause_ms.map(time), of(|measured| measured.pause_ms).map(time));
    line("bytes", predicted.bytes.map(print::bytes), of(|measured| measured.bytes).map(print::bytes));
    line("until the switch", predicted.duration_ms.map(time), of(|measured| measured.duration_ms).map(time));
    let latency = |value: fn(&MeasuredScore) -> Option<u64>| of(value).map(print::nanoseconds);
    let before = latency(|measured| measured.p99_before_ns).map(|before| format!("before {before}"));
    line("p99 of reads", before, latency(|measured| measured.p99_after_ns));
    if let Some(gap) = measured.map(|measured| &measured.gap).filter(|gap| !gap.is_empty()) {
        let _ = writeln!(text, "  a gap: {gap}");
    }
    format!("score:\n{text}")
}
