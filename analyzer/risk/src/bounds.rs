//! Numbers of a policy that cannot be.

use thiserror::Error;

/// A number of a policy outside what it can be.
#[derive(Debug, Clone, PartialEq, Error)]
#[error("{field} is {value}, and must be {must}")]
pub struct OutOfRange {
    /// The field, with its section.
    pub field: &'static str,
    /// Its value.
    pub value: f64,
    /// What it must be.
    pub must: &'static str,
}

/// A field, its value, and what it must be.
pub(crate) type Rule = (&'static str, f64, Must);

/// What a number must be.
#[derive(Debug, Clone, Copy)]
pub(crate) enum Must {
    /// Above 0 and at most 1.
    Share,
    /// From 0 to 1.
    Probability,
    /// 0 or more, and finite.
    NotNegative,
    /// Above 0, and finite.
    Positive,
    /// 1 or more, and finite.
    AtLeastOne,
}

impl Must {
    fn holds(self, value: f64) -> bool {
        match self {
            Self::Share => value > 0.0 && value <= 1.0,
            Self::Probability => (0.0..=1.0).contains(&value),
            Self::NotNegative => value.is_finite() && value >= 0.0,
            Self::Positive => value.is_finite() && value > 0.0,
            Self::AtLeastOne => value.is_finite() && value >= 1.0,
        }
    }

    const fn words(self) -> &'static str {
        match self {
            Self::Share => "above 0 and at most 1",
            Self::Probability => "from 0 to 1",
            Self::NotNegative => "0 or more",
            Self::Positive => "above 0",
            Self::AtLeastOne => "at least 1",
        }
    }
}

/// The first field that is not what it must be.
pub(crate) fn check(rules: &[Rule]) -> Result<(), OutOfRange> {
    match rules.iter().find(|(_, value, must)| !must.holds(*value)) {
        Some((field, value, must)) => Err(OutOfRange { field, value: *value, must: must.words() }),
        None => Ok(()),
    }
}
