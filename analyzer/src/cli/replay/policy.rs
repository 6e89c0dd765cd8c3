//! Settings to compare with.

use crate::cli::Failure;
use anyhow::{Context, anyhow};
use isotherm_cycle::Settings;
use std::fs;
use std::path::Path;
use toml::{Table, Value};

/// The recorded settings, with the fields of a file in their place.
pub(super) fn read(file: &Path, recorded: &Settings) -> Result<Settings, Failure> {
    let text = fs::read_to_string(file).with_context(|| format!("cannot read {}", file.display()))?;
    changed(&text, recorded).map_err(|error| Failure::Usage(format!("{}: {error:#}", file.display())))
}

fn changed(text: &str, recorded: &Settings) -> anyhow::Result<Settings> {
    // By itself first: its errors have lines.
    toml::from_str::<Settings>(text)?;
    let mut settings = Table::try_from(recorded).context("cannot write down the recorded settings")?;
    lay(&mut settings, toml::from_str(text)?);
    let settings: Settings = settings.try_into()?;
    settings.check()?;
    if settings.step_ms != recorded.step_ms {
        return Err(anyhow!(
            "step_ms is {} in the recording, and its minutes cannot be other",
            recorded.step_ms
        ));
    }
    Ok(settings)
}

/// Puts one table over another.
fn lay(under: &mut Table, over: Table) {
    for (key, value) in over {
        match (under.get_mut(&key), value) {
            (Some(Value::Table(under)), Value::Table(over)) => lay(under, over),
            (_, value) => drop(under.insert(key, value)),
        }
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn fields_that_are_not_given_stay_as_recorded() {
        let recorded = Settings { lead_min: 7, gray_failing: 0.1 + 0.2, ..Settings::default() };
        assert_eq!(changed("", &recorded).unwrap(), recorded);
        let other = changed("lead_min = 9\n[gate]\nhazard_trigger = 3.0\n", &recorded).unwrap();
        let mut expected = Settings { lead_min: 9, ..recorded.clone() };
        expected.gate.hazard_trigger = 3.0;
        assert_eq!(other, expected);
    }

    #[test]
    fn what_cannot_be_is_said_with_its_line() {
        let error = |text: &str| format!("{:#}", changed(text, &Settings::default()).unwrap_err());
        let unknown = error("lead_min = 9\nmoon = 1\n");
        assert!(unknown.contains("line 2") && unknown.contains("moon"), "{unknown}");
        assert!(error("lead_min = 99").contains("lead_min is 99"));
        assert!(error("step_ms = 30000").contains("its minutes cannot be other"));
    }
}
