//! Which seeds and which policies.

use isotherm_simulate::policy::Policy;
use std::str::FromStr;

/// The first seed unless one is given: none of those that numbers were tuned on.
const FIRST: u64 = 1_000;

/// Seeds that the policies' numbers were tuned on.
pub(super) const TUNED: std::ops::RangeInclusive<u64> = 1..=4;

/// More say no more than these: an interval shrinks with the square root.
const MOST: u64 = 1_000;

/// Seeds in a row.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub(super) struct Seeds {
    first: u64,
    last: u64,
}

impl Seeds {
    pub(super) fn all(self) -> Vec<u64> {
        (self.first..=self.last).collect()
    }
}

impl FromStr for Seeds {
    type Err = String;

    fn from_str(text: &str) -> Result<Self, String> {
        let number = |part: &str| {
            part.parse::<u64>().map_err(|_| format!("{part:?} is not a whole number of 0 or more"))
        };
        let (first, last) = match text.split_once("..") {
            Some((first, last)) => (number(first)?, number(last)?),
            None => match number(text)? {
                0 => return Err("no seed is nothing to compare".to_owned()),
                count => (FIRST, FIRST.saturating_add(count - 1)),
            },
        };
        if last < first {
            return Err(format!("{last} is before {first}"));
        }
        if last - first >= MOST {
            return Err(format!("there may be {MOST} seeds at most"));
        }
        Ok(Self { first, last })
    }
}

/// A policy of the table.
#[derive(Debug, Clone, Copy, PartialEq)]
pub(super) struct Named {
    name: &'static str,
    policy: Policy,
}

/// The name of a policy as it is typed: without spaces, and without saying of what a part is left out.
fn typed(name: &str) -> String {
    name.trim_start_matches("full, ").replace(' ', "-")
}

/// Parses a policy.
pub(super) fn policy(text: &str) -> Result<Named, String> {
    let table = Policy::table();
    let found = table.iter().find(|(name, _)| typed(name) == text);
    found.map(|(name, policy)| Named { name, policy: *policy }).ok_or_else(|| {
        let names: Vec<String> = table.iter().map(|(name, _)| typed(name)).collect();
        format!("it is none of {}", names.join(", "))
    })
}

/// The policies of the table that were named, or all; reactive only is among them, and the first.
pub(super) fn with_reactive(named: &[Named]) -> Vec<(&'static str, Policy)> {
    let is_wanted = |name: &str, policy: &Policy| {
        *policy == Policy::Reactive || named.is_empty() || named.iter().any(|one| one.name == name)
    };
    Policy::table().into_iter().filter(|(name, policy)| is_wanted(name, policy)).collect()
}

/// Those that are not the full model with a part left out.
pub(super) fn whole(policies: &[(&'static str, Policy)]) -> Vec<(&'static str, Policy)> {
    policies.iter().filter(|(name, _)| !name.starts_with("full, ")).copied().collect()
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn seeds_are_a_range_with_both_ends_or_a_count() {
        assert_eq!("7..9".parse::<Seeds>().unwrap().all(), [7, 8, 9]);
        assert_eq!("2".parse::<Seeds>().unwrap().all(), [1000, 1001]);
        for (text, part) in [
            ("0", "no seed"),
            ("9..7", "7 is before 9"),
            ("1..x", "\"x\" is not"),
            ("-1", "\"-1\" is not"),
            ("0..1000", "1000 seeds at most"),
        ] {
            let error = text.parse::<Seeds>().unwrap_err();
            assert!(error.contains(part), "{text}: {error}");
        }
    }

    #[test]
    fn every_policy_has_a_name_of_its_own_without_commas() {
        for (name, policy) in Policy::table() {
            assert!(!typed(name).contains([',', ' ']));
            assert_eq!(super::policy(&typed(name)), Ok(Named { name, policy }));
        }
        assert!(policy("oracle").unwrap_err().contains("full-model, no-entropy-forecast"));
    }

    #[test]
    fn the_first_policy_is_what_others_are_compared_with() {
        let named = ["full-model", "hazard-only", "full-model"].map(|text| policy(text).unwrap());
        let names: Vec<_> = with_reactive(&named).into_iter().map(|(name, _)| name).collect();
        assert_eq!(names, ["reactive only", "hazard only", "full model"]);
        assert_eq!(whole(&with_reactive(&[])).len(), 5);
    }
}
