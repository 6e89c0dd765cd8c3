//! How telemetry is kept.
//!
//! ```toml
//! [store]
//! lateness = "15m"
//! retention = { windows = "30d", risks = { age = "7d", bytes = "2GiB" }, entropy = "forever", bytes = "50GiB" }
//! ```

use super::Problem;
use bytesize::ByteSize;
use isotherm_store::{Limit, Table, Upkeep};
use serde::Deserialize;
use toml::Spanned;

/// Lateness past which windows would hold up the closing of hours for more than a day.
const MAX_LATENESS_MS: u64 = 86_400_000;

/// What stands for no limit.
const FOREVER: &str = "forever";
const UNLIMITED: &str = "unlimited";

#[derive(Default, Deserialize)]
#[serde(deny_unknown_fields)]
pub(super) struct RawStore {
    lateness: Option<Spanned<String>>,
    retention: Option<RawRetention>,
}

#[derive(Deserialize)]
#[serde(deny_unknown_fields)]
struct RawRetention {
    windows: Option<Spanned<RawLimit>>,
    late: Option<Spanned<RawLimit>>,
    entropy: Option<Spanned<RawLimit>>,
    forecasts: Option<Spanned<RawLimit>>,
    risks: Option<Spanned<RawLimit>>,
    bytes: Option<Spanned<String>>,
}

#[derive(Deserialize)]
#[serde(untagged, expecting = "expected an age such as \"30d\", or a table of age and bytes")]
enum RawLimit {
    Age(String),
    Both(RawBoth),
}

#[derive(Deserialize)]
#[serde(deny_unknown_fields)]
struct RawBoth {
    age: Option<String>,
    bytes: Option<String>,
}

/// What is not said is by default.
pub(super) fn checked(raw: RawStore) -> Result<Upkeep, Problem> {
    let mut upkeep = Upkeep::default();
    if let Some(lateness) = raw.lateness {
        let problem = |message| Problem::new(lateness.span(), "store.lateness", message);
        upkeep.lateness_ms = milliseconds(lateness.get_ref()).map_err(problem)?;
        if upkeep.lateness_ms > MAX_LATENESS_MS {
            return Err(problem(format!("{:?} is more than a day", lateness.get_ref())));
        }
    }
    let Some(raw) = raw.retention else { return Ok(upkeep) };
    let tables = [
        (Table::Windows, raw.windows),
        (Table::Late, raw.late),
        (Table::Entropy, raw.entropy),
        (Table::Forecasts, raw.forecasts),
        (Table::Risks, raw.risks),
    ];
    for (table, raw) in tables {
        let Some(raw) = raw else { continue };
        let problem = |message| Problem::new(raw.span(), "store.retention", message);
        let (said_age, said_bytes) = match raw.get_ref() {
            RawLimit::Age(age) => (Some(age), None),
            RawLimit::Both(RawBoth { age, bytes }) => (age.as_ref(), bytes.as_ref()),
        };
        let limit: &mut Limit = upkeep.retention.tables.entry(table).or_default();
        if let Some(said) = said_age {
            limit.age_ms = age(said).map_err(problem)?;
        }
        if let Some(said) = said_bytes {
            limit.bytes = bytes(said).map_err(problem)?;
        }
    }
    if let Some(said) = raw.bytes {
        let problem = |message| Problem::new(said.span(), "store.retention", message);
        upkeep.retention.bytes = bytes(said.get_ref()).map_err(problem)?;
    }
    Ok(upkeep)
}

fn age(text: &str) -> Result<Option<u64>, String> {
    if text == FOREVER {
        return Ok(None);
    }
    match milliseconds(text)? {
        0 => Err(format!("{text:?} keeps nothing")),
        age_ms => Ok(Some(age_ms)),
    }
}

fn bytes(text: &str) -> Result<Option<u64>, String> {
    if text == UNLIMITED {
        return Ok(None);
    }
    // A bare number is one of bytes, which nobody means.
    let has_unit = text.ends_with(|last: char| last.is_ascii_alphabetic());
    let size = text.parse::<ByteSize>().ok().filter(|_| has_unit);
    match size.map(|size| size.as_u64()) {
        Some(0) => Err(format!("{text:?} keeps nothing")),
        Some(bytes) => Ok(Some(bytes)),
        None => Err(format!("{text:?} is not a size such as \"50GiB\", or {UNLIMITED:?}")),
    }
}

fn milliseconds(text: &str) -> Result<u64, String> {
    let time = humantime::parse_duration(text)
        .map_err(|error| format!("{text:?} is not a duration such as \"30d\": {error}"))?;
    let ms = u64::try_from(time.as_millis()).ok().filter(|ms| i64::try_from(*ms).is_ok());
    ms.ok_or_else(|| format!("{text:?} is too long"))
}
