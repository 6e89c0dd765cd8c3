//! The story for people.

use super::super::report::columns;
use super::super::risk::Shown;
use super::{Counts, Story};
use std::fmt;

impl fmt::Display for Story {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        writeln!(f, "the story of {}, which has failed often before:\n", self.weak)?;
        for act in &self.acts {
            writeln!(f, "{:7.1} s  {}", act.after_s, act.what)?;
        }
        writeln!(f, "\nits volumes while it was hardly leaned on:\n{}\n", Shown(&self.before))?;
        let after = |after_s: Option<f64>| after_s.map_or_else(|| "-".to_owned(), |s| format!("{s:.0} s"));
        let rows = self
            .signs
            .iter()
            .map(|signs| [signs.volume.clone(), after(signs.forecast_after_s), after(signs.surging_after_s)]);
        let header = ["VOLUME", "SURGE FORECAST AFTER", "SURGING AFTER"];
        writeln!(f, "while their reads spread:\n{}\n", columns(header, rows))?;
        writeln!(f, "and when their reads had spread:\n{}\n", Shown(&self.spread))?;
        let rows = [
            (format!("moved: {}", listed(&self.moved)), &self.clients.moved),
            (format!("held out: {}", listed(&self.held_out)), &self.clients.held_out),
            ("others".to_owned(), &self.clients.others),
        ];
        let rows = rows.into_iter().map(|(name, counts)| {
            let Counts { reads, read_errors, writes, writes_elsewhere, write_errors } = *counts;
            let [reads, read_errors, writes, elsewhere, write_errors] =
                [reads, read_errors, writes, writes_elsewhere, write_errors].map(|count| count.to_string());
            [name, reads, read_errors, writes, elsewhere, write_errors]
        });
        let header = ["VOLUMES", "READS", "READ ERRORS", "WRITES", "WRITES SENT ELSEWHERE", "WRITE ERRORS"];
        writeln!(f, "what clients saw:\n{}\n", columns(header, rows))?;
        let rows = self.migrations.iter().map(|migration| {
            let what = if migration.repair { "made again" } else { "moved" };
            let took = migration.ended_ms.map_or_else(
                || "-".to_owned(),
                |ended| format!("{:.1} s", ended.saturating_sub(migration.created_ms) as f64 / 1e3),
            );
            [
                migration.partition.clone(),
                what.to_owned(),
                migration.source.clone(),
                migration.target.clone(),
                migration.phase.clone(),
                took,
            ]
        });
        let header = ["VOLUME", "WAS", "FROM", "TO", "ENDED", "TOOK"];
        writeln!(f, "what isotherm did:\n{}\n", columns(header, rows))?;
        for error in &self.errors {
            writeln!(f, "a client saw: {error}")?;
        }
        for lost in &self.lost {
            writeln!(f, "LOST: {lost}")?;
        }
        write!(f, "acknowledged writes: {}, lost: {}", self.acked_writes, self.acked_writes_lost)
    }
}

fn listed(volumes: &[u32]) -> String {
    volumes.iter().map(ToString::to_string).collect::<Vec<_>>().join(", ")
}
