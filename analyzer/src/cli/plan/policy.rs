//! A policy file: TOML of the fields that differ from their defaults.

use isotherm_placement::{Policy, PolicyError};
use std::path::Path;
use thiserror::Error;

/// Why a file is no policy.
#[derive(Debug, Error)]
pub(super) enum PolicyFileError {
    #[error("{file} cannot be read")]
    Read {
        file: String,
        #[source]
        source: std::io::Error,
    },
    #[error("{file} line {line}: {cause}")]
    Invalid { file: String, line: usize, cause: String },
}

/// Reads a policy and checks it against the levels of domains that there are.
pub(super) fn read(path: &Path, levels: &[String]) -> Result<Policy, PolicyFileError> {
    let file = path.display().to_string();
    match std::fs::read_to_string(path) {
        Ok(text) => parse(file, &text, levels),
        Err(source) => Err(PolicyFileError::Read { file, source }),
    }
}

fn parse(file: String, text: &str, levels: &[String]) -> Result<Policy, PolicyFileError> {
    let policy: Policy = toml::from_str(text).map_err(|error| PolicyFileError::Invalid {
        file: file.clone(),
        line: line_of(text, error.span().map_or(0, |span| span.start)),
        cause: error.message().to_owned(),
    })?;
    policy.check(levels).map_err(|error| {
        let line = line_that_sets(text, key(&error));
        PolicyFileError::Invalid { file, line, cause: error.to_string() }
    })?;
    Ok(policy)
}

fn line_of(text: &str, byte: usize) -> usize {
    text.bytes().take(byte).filter(|byte| *byte == b'\n').count() + 1
}

/// What the file calls what cannot be.
fn key(error: &PolicyError) -> &str {
    match error {
        PolicyError::OutOfRange { field, .. } => field.rsplit('.').next().unwrap_or(field),
        PolicyError::NoSuchLevel { name, .. } => name,
        PolicyError::NoRest { .. } => "balance",
    }
}

/// The first line that sets a key, from 1; the first of all if none does, as where two fields do not agree of which
/// one is a default.
fn line_that_sets(text: &str, key: &str) -> usize {
    let sets = |line: &str| {
        line.split_once('=').is_some_and(|(left, _)| {
            left.split(['.', '{', ',']).any(|part| part.trim().trim_matches('"') == key)
        })
    };
    text.lines().position(|line| sets(line) || line.contains(&format!("{key} ="))).map_or(1, |at| at + 1)
}

#[cfg(test)]
mod tests {
    use super::*;

    fn error(text: &str) -> String {
        parse("p.toml".into(), text, &["zone".into(), "rack".into()]).unwrap_err().to_string()
    }

    #[test]
    fn what_is_not_given_is_the_default() {
        let policy = parse("p".into(), "fan_out = 8\n[weights]\nlocality = 0.5\n", &[]).unwrap();
        assert_eq!((policy.fan_out, policy.weights.locality), (8, 0.5));
        assert_eq!(policy.gate, Policy::default().gate);
    }

    #[test]
    fn what_is_wrong_is_told_with_its_line() {
        assert!(error("fan_out = 4\n\nfanout = 4\n").starts_with("p.toml line 3: unknown field `fanout`"));
        assert!(error("fan_out = \"4\"\n").starts_with("p.toml line 1: invalid type"));
        let range = "p.toml line 2: fill_limit is 1.5, and must be above 0 and at most 1";
        assert_eq!(error("fan_out = 4\nfill_limit = 1.5\n"), range);
        assert!(
            error("[weights]\ncopyset = 1\nlocality = -1\n").starts_with("p.toml line 3: weights.locality")
        );
        let level = error("[replicas_per_domain]\nrow = 1\n");
        assert_eq!(level, "p.toml line 2: replicas_per_domain names the level row; there are zone, rack");
        assert!(
            error("fan_out = 4\nreplicas_per_domain = { row = 1 }\n").starts_with("p.toml line 2: replicas")
        );
        assert!(error("fan_out = 4\nbalance = 0.5\n").starts_with("p.toml line 2: balance is 0.5"));
        assert!(error("fan_out = 4\ndead_band = 0.005\n").starts_with("p.toml line 1: balance is 0.02"));
    }
}
