//! Moments on the command line.

use super::Failure;
use crate::writer::now;
use clap::Args;
use std::fmt;
use std::str::FromStr;
use std::time::{Duration, UNIX_EPOCH};

/// A moment, as it was given.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub(super) enum Moment {
    /// So long before the command was given.
    Ago(Duration),
    /// Milliseconds since the epoch.
    AtMs(u64),
}

/// `--since` and `--until` of questions.
#[derive(Args)]
pub(super) struct SpanArgs {
    /// From when: a duration ago such as 15m or 2h, RFC 3339, or @<unix ms>; @0 for everything kept
    #[arg(long, value_name = "WHEN", default_value = "15m")]
    since: Moment,
    /// Until when, likewise; by default the newest moment that all reporting nodes have reported of
    #[arg(long, value_name = "WHEN")]
    until: Option<Moment>,
}

/// `--since` and `--until` of an export.
#[derive(Args)]
pub(super) struct ExportSpanArgs {
    /// From when: a duration ago such as 15m or 2h, RFC 3339, or @<unix ms>; @0 for everything kept
    #[arg(long, value_name = "WHEN", default_value = "@0")]
    since: Moment,
    /// Until when, likewise; by default no end
    #[arg(long, value_name = "WHEN")]
    until: Option<Moment>,
}

/// `since_ms` and `until_ms` as requests have them: 0 leaves an end open.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub(super) struct SpanMs {
    pub(super) since: u64,
    pub(super) until: u64,
}

impl SpanArgs {
    pub(super) fn resolved(&self) -> Result<SpanMs, Failure> {
        resolved(self.since, self.until, now().as_ms())
    }
}

impl ExportSpanArgs {
    /// The same words are the same time to people, whenever they are given.
    pub(super) fn as_given(&self) -> [String; 2] {
        [Some(self.since), self.until]
            .map(|moment| moment.map_or_else(String::new, |moment| moment.to_string()))
    }

    pub(super) fn resolved(&self) -> Result<SpanMs, Failure> {
        resolved(self.since, self.until, now().as_ms())
    }
}

impl Moment {
    /// Milliseconds since the epoch.
    pub(super) fn ms(self, now_ms: u64) -> u64 {
        match self {
            Self::Ago(ago) => now_ms.saturating_sub(u64::try_from(ago.as_millis()).unwrap_or(u64::MAX)),
            Self::AtMs(ms) => ms,
        }
    }
}

/// A moment to come, in milliseconds since the epoch: a duration from now, or as a [`Moment`].
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub(super) struct Deadline(pub(super) u64);

impl FromStr for Deadline {
    type Err = String;

    fn from_str(text: &str) -> Result<Self, String> {
        let from_now =
            |after: Duration| now().plus_ms(u64::try_from(after.as_millis()).unwrap_or(u64::MAX)).as_ms();
        text.parse().map(|moment| match moment {
            Moment::Ago(after) => Self(from_now(after)),
            Moment::AtMs(ms) => Self(ms),
        })
    }
}

fn resolved(since: Moment, until: Option<Moment>, now_ms: u64) -> Result<SpanMs, Failure> {
    let ms = |moment: Moment| moment.ms(now_ms);
    let span = SpanMs { since: ms(since), until: until.map_or(0, ms) };
    if until.is_some() && span.until <= span.since {
        return Err(Failure::Usage("--since is not before --until".to_owned()));
    }
    Ok(span)
}

/// A length of time in words that can be given again: whole days are days, and no months of 30.44.
pub(crate) fn span(length: Duration) -> String {
    const DAY_S: u64 = 86_400;
    let (days, rest) =
        (length.as_secs() / DAY_S, Duration::new(length.as_secs() % DAY_S, length.subsec_nanos()));
    let whole = if days == 1 { "1day".to_owned() } else { format!("{days}days") };
    match (days, rest.is_zero()) {
        (0, _) => humantime::format_duration(rest).to_string(),
        (_, true) => whole,
        (_, false) => format!("{whole} {}", humantime::format_duration(rest)),
    }
}

impl fmt::Display for Moment {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        match self {
            Self::Ago(ago) => f.write_str(&span(*ago)),
            Self::AtMs(ms) => write!(f, "@{ms}"),
        }
    }
}

impl FromStr for Moment {
    type Err = String;

    fn from_str(text: &str) -> Result<Self, String> {
        if let Some(ms) = text.strip_prefix('@') {
            return ms.parse().map(Self::AtMs).map_err(|_| format!("{ms:?} is not unix milliseconds"));
        }
        if let Ok(ago) = humantime::parse_duration(text) {
            return Ok(Self::Ago(ago));
        }
        let at = chrono::DateTime::parse_from_rfc3339(text).map_err(|_| {
            "expected a duration such as 15m, RFC 3339 such as 2026-01-31T12:00:00Z, or @<unix ms>".to_owned()
        })?;
        u64::try_from(at.timestamp_millis()).map(Self::AtMs).map_err(|_| "is before 1970".to_owned())
    }
}

/// A length of steps: a duration, or `all` for a single step.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub(super) struct StepMs(pub(super) u64);

impl FromStr for StepMs {
    type Err = String;

    fn from_str(text: &str) -> Result<Self, String> {
        if text == "all" {
            return Ok(Self(0));
        }
        let step = humantime::parse_duration(text).map_err(|error| error.to_string())?;
        let ms = u64::try_from(step.as_millis()).map_err(|_| "is too long".to_owned())?;
        if ms == 0 || Duration::from_millis(ms) != step {
            return Err("expected whole milliseconds above 0, or all".to_owned());
        }
        Ok(Self(ms))
    }
}

/// RFC 3339 in UTC, to the second where the milliseconds are 0.
pub(super) fn rfc3339(ms: u64) -> String {
    let at = UNIX_EPOCH + Duration::from_millis(ms);
    if ms.is_multiple_of(1_000) {
        humantime::format_rfc3339_seconds(at).to_string()
    } else {
        humantime::format_rfc3339_millis(at).to_string()
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn moments_are_relative_absolute_or_unix_milliseconds() {
        let parse = |text: &str| text.parse::<Moment>();
        assert_eq!(parse("15m"), Ok(Moment::Ago(Duration::from_secs(900))));
        assert_eq!(parse("@1500"), Ok(Moment::AtMs(1_500)));
        assert_eq!(parse("1970-01-01T01:00:01+01:00"), Ok(Moment::AtMs(1_000)));
        for text in ["yesterday", "@", "@-1", "1969-01-01T00:00:00Z", ""] {
            assert!(parse(text).is_err(), "{text}");
        }
    }

    #[test]
    fn a_span_has_its_beginning_before_its_end() {
        let ago = |s| Moment::Ago(Duration::from_secs(s));
        let span = resolved(ago(10), Some(ago(5)), 100_000).unwrap();
        assert_eq!(span, SpanMs { since: 90_000, until: 95_000 });
        assert_eq!(resolved(Moment::AtMs(0), None, 5).unwrap(), SpanMs { since: 0, until: 0 });
        assert!(resolved(ago(5), Some(ago(10)), 100_000).is_err());
    }

    #[test]
    fn a_step_is_a_duration_or_all() {
        assert_eq!("60s".parse(), Ok(StepMs(60_000)));
        assert_eq!("all".parse(), Ok(StepMs(0)));
        for text in ["0s", "1us", "some"] {
            assert!(text.parse::<StepMs>().is_err(), "{text}");
        }
    }

    #[test]
    fn moments_are_printed_in_utc() {
        assert_eq!(rfc3339(0), "1970-01-01T00:00:00Z");
        assert_eq!(rfc3339(1_500), "1970-01-01T00:00:01.500Z");
    }

    #[test]
    fn a_length_of_time_has_days_and_no_months() {
        for text in ["0s", "90s", "1day", "70days", "70days 3h 4ms"] {
            let length = humantime::parse_duration(text).unwrap();
            assert_eq!(humantime::parse_duration(&span(length)).unwrap(), length);
        }
        assert_eq!(span(Duration::from_hours(70 * 24)), "70days");
        assert_eq!(span(Duration::from_secs(90)), "1m 30s");
    }
}
