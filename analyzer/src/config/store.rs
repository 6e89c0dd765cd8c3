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
    windows: Option<RawLimit>,
    late: Option<RawLimit>,
    entropy: Option<RawLimit>,
    forecasts: Option<RawLimit>,
    risks: Option<RawLimit>,
    bytes: Option<Spanned<String>>,
}

#[derive(Deserialize)]
#[serde(untagged, expecting = "expected an age such as \"30d\", or a table of age and bytes")]
enum RawLimit {
    Age(Spanned<String>),
    Both(RawBoth),
}

#[derive(Deserialize)]
#[serde(deny_unknown_fields)]
struct RawBoth {
    age: Option<Spanned<String>>,
    bytes: Option<Spanned<String>>,
}

/// What is not said is by default.
pub(super) fn checked(raw: RawStore) -> Result<Upkeep, Problem> {
    let mut upkeep = Upkeep::default();
    if let Some(lateness) = raw.lateness {
        upkeep.lateness_ms = milliseconds(&lateness, "store.lateness")?;
        if upkeep.lateness_ms > MAX_LATENESS_MS {
            let message = format!("{:?} is more than a day", lateness.get_ref());
            return Err(Problem::new(lateness.span(), "store.lateness", message));
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
    for (table, limit) in tables {
        let (said_age, said_bytes) = match limit {
            Some(RawLimit::Age(age)) => (Some(age), None),
            Some(RawLimit::Both(RawBoth { age, bytes })) => (age, bytes),
            None => continue,
        };
        let limit: &mut Limit = upkeep.retention.tables.entry(table).or_default();
        if let Some(said) = said_age {
            limit.age_ms = age(&said)?;
        }
        if let Some(said) = said_bytes {
            limit.bytes = bytes(&said)?;
        }
    }
    if let Some(said) = raw.bytes {
        upkeep.retention.bytes = bytes(&said)?;
    }
    Ok(upkeep)
}

const KEY: &str = "store.retention";

fn age(raw: &Spanned<String>) -> Result<Option<u64>, Problem> {
    if raw.get_ref() == FOREVER {
        return Ok(None);
    }
    let age_ms = milliseconds(raw, KEY)?;
    if age_ms == 0 {
        return Err(Problem::new(raw.span(), KEY, format!("{:?} keeps nothing", raw.get_ref())));
    }
    Ok(Some(age_ms))
}

fn bytes(raw: &Spanned<String>) -> Result<Option<u64>, Problem> {
    if raw.get_ref() == UNLIMITED {
        return Ok(None);
    }
    let problem = |message| Problem::new(raw.span(), KEY, message);
    let text = raw.get_ref();
    // A bare number is one of bytes nobody means.
    let has_unit = text.ends_with(|last: char| last.is_ascii_alphabetic());
    let size = text.parse::<ByteSize>().ok().filter(|_| has_unit);
    match size.map(|size| size.as_u64()) {
        Some(0) => Err(problem(format!("{text:?} keeps nothing"))),
        Some(bytes) => Ok(Some(bytes)),
        None => Err(problem(format!("{text:?} is not a size such as \"50GiB\", or {UNLIMITED:?}"))),
    }
}

fn milliseconds(raw: &Spanned<String>, key: &'static str) -> Result<u64, Problem> {
    let problem = |message| Problem::new(raw.span(), key, message);
    let text = raw.get_ref();
    let time = humantime::parse_duration(text)
        .map_err(|error| problem(format!("{text:?} is not a duration such as \"30d\": {error}")))?;
    u64::try_from(time.as_millis())
        .ok()
        .filter(|ms| i64::try_from(*ms).is_ok())
        .ok_or_else(|| problem(format!("{text:?} is too long")))
}
