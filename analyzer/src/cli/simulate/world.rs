//! Which cluster is made up: a file, and flags that win over it. What cannot be is told with its line and key.

use super::super::Failure;
use crate::config::{key_at, line_of};
use anyhow::Context;
use clap::Args;
use isotherm_simulate::world::{Spec, SpecError};
use std::fs;
use std::path::{Path, PathBuf};
use toml::{Spanned, de::DeTable, de::DeValue};

/// The cluster that is made up.
#[derive(Args)]
pub(in crate::cli) struct WorldArgs {
    /// Nodes, a multiple of the racks, of which there are 6 [default: 60]
    #[arg(long, value_name = "N")]
    nodes: Option<u16>,
    /// Partitions, of three replicas each [default: 1000]
    #[arg(long, value_name = "N")]
    partitions: Option<u32>,
    /// Days that count, after 7 days of learning [default: 30]
    #[arg(long, value_name = "D")]
    days: Option<u32>,
    /// What the cluster is like (TOML): any of the fields that `isotherm simulate -o json` shows under spec; flags
    /// win over it
    #[arg(long, value_name = "FILE.toml")]
    spec: Option<PathBuf>,
}

/// The most memory that reads and shares by the hour may take.
const MOST_BYTES: f64 = 4.0 * 1024.0 * 1024.0 * 1024.0;

/// Of a partition and hour: its reads and three shares, of 4 bytes each.
const BYTES_PER_HOUR: f64 = 16.0;

impl WorldArgs {
    /// The cluster, checked.
    pub(in crate::cli) fn spec(&self, healthy: bool) -> Result<Spec, Failure> {
        let text = match &self.spec {
            Some(path) => {
                fs::read_to_string(path).with_context(|| format!("cannot read {}", path.display()))?
            }
            None => String::new(),
        };
        let path = self.spec.as_deref().unwrap_or(Path::new("-"));
        let mut spec = parse(path, &text)?;
        spec.nodes = self.nodes.unwrap_or(spec.nodes);
        spec.partitions = self.partitions.unwrap_or(spec.partitions);
        spec.days = self.days.unwrap_or(spec.days);
        spec.check().map_err(|error| self.refused(path, &text, &error))?;
        let hours = (f64::from(spec.learning_days) + f64::from(spec.days)) * 24.0;
        let bytes = hours * f64::from(spec.partitions) * BYTES_PER_HOUR;
        if bytes > MOST_BYTES {
            return Err(Failure::Usage(format!(
                "{} partitions over {} days of learning and {} that count would take {:.0} GiB, and may take 4: \
                 fewer partitions, days or learning_days fit",
                spec.partitions,
                spec.learning_days,
                spec.days,
                (bytes / MOST_BYTES * 4.0).ceil(),
            )));
        }
        Ok(if healthy { spec.healthy() } else { spec })
    }

    fn refused(&self, path: &Path, text: &str, error: &SpecError) -> Failure {
        let SpecError::OutOfRange { field, .. } = error;
        let flag = match *field {
            "nodes" => self.nodes.map(|_| "--nodes"),
            "partitions" => self.partitions.map(|_| "--partitions"),
            "days" => self.days.map(|_| "--days"),
            _ => None,
        };
        Failure::Usage(match (flag, place(text, field)) {
            (Some(flag), _) => format!("{flag}: {error}"),
            (None, Some(line)) => format!("{}:{line}: {error}", path.display()),
            (None, None) => format!("{}: {error}", path.display()),
        })
    }
}

fn parse(path: &Path, text: &str) -> Result<Spec, Failure> {
    toml::from_str(text).map_err(|error| {
        let start = error.span().map_or(0, |span| span.start);
        Failure::Usage(format!(
            "{}:{}: {}: {}",
            path.display(),
            line_of(text, start),
            key_at(text, start),
            error.message()
        ))
    })
}

/// The line of a field; of the first of several, and absent if the text does not have it.
fn place(text: &str, field: &str) -> Option<usize> {
    let table = DeTable::parse(text).ok()?.into_inner();
    let mut names = field.trim_start_matches("the sum of ").split('.');
    let mut at: &Spanned<DeValue<'_>> = table.get(names.next()?)?;
    let found = names.try_fold(at.span(), |_, name| {
        at = match at.get_ref().as_array() {
            Some(items) => items.iter().find_map(|item| item.get_ref().get(name))?,
            None => at.get_ref().get(name)?,
        };
        Some(at.span())
    });
    Some(line_of(text, found?.start))
}
