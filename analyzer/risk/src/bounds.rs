//! Numbers of a policy or a rule that cannot be.

use thiserror::Error;

/// A number of a policy or a rule outside what it can be.
#[derive(Debug, Clone, PartialEq, Error)]
#[error("{field} is {value}, and must be {must}")]
pub struct OutOfRange {
    /// The field, with its section if it has one.
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

/// `Ok` if `holds`. A comparison with what is no number does not hold, so NaN is refused by any bound.
pub(crate) fn require(
    holds: bool,
    field: &'static str,
    value: f64,
    must: &'static str,
) -> Result<(), OutOfRange> {
    if holds { Ok(()) } else { Err(OutOfRange { field, value, must }) }
}

/// Makes a rule, which has `new` and `settings`, read and written as the settings that it was made from.
macro_rules! written_as {
    ($rule:ty, $settings:ty) => {
        impl TryFrom<$settings> for $rule {
            type Error = $crate::OutOfRange;

            fn try_from(settings: $settings) -> Result<Self, Self::Error> {
                Self::new(settings)
            }
        }

        impl From<$rule> for $settings {
            fn from(rule: $rule) -> Self {
                *rule.settings()
            }
        }
    };
}

pub(crate) use written_as;
