//! What is remembered of a source, so that its copy can be judged after the switch, when the source has nothing
//! left to compare with.
//!
//! Before and while the engine copies, the keys are counted again and again and a sample of them is read. What was
//! written meanwhile leaves the sample; what stayed the same up to the last look must be the same at the target.
//! Between that look and the first at the target clients go on, so as much change is forgiven as they were seen to
//! make in that time, threefold, and none if they made none; and a key that goes on changing at the target is in
//! their hands. That finds lost and mangled keys; it cannot find that a key which is written all the time lost its
//! very last write. No key is compared that was given a time to live, as it may rightly be gone.

use serde::{Deserialize, Serialize};
use std::collections::BTreeMap;
use std::fmt;

/// How much more change is forgiven than was seen.
const SLACK: f64 = 3.0;

/// Of the sample, what may have been written for the first time since the last look although nothing was seen to be
/// written: one in fifty. A key that is gone is never forgiven so.
const STRAY: f64 = 0.02;

/// What is remembered. Times are of the adapter's clock, in milliseconds since 1970.
#[derive(Debug, Clone, PartialEq, Serialize, Deserialize)]
pub(super) struct Baseline {
    /// The first look at the source.
    since_ms: u64,
    /// The last.
    until_ms: u64,
    /// Keys at the last look.
    keys: u64,
    /// By how much the number of keys fell, from look to look.
    shrunk: u64,
    /// Keys of the sample that were written, and are in it no more.
    written: u64,
    /// Keys of the sample that were removed.
    removed: u64,
    /// Of all the keys that were looked at for the sample, how many have a time to live.
    expiring: u64,
    /// All of those.
    drawn: u64,
    /// Keys, as hexadecimal digits, with the digest of their value.
    sample: BTreeMap<String, u64>,
}

/// A look at the bucket.
#[derive(Debug, Clone, PartialEq, Eq)]
pub(super) struct Look {
    /// When.
    pub(super) at_ms: u64,
    /// How many keys there are.
    pub(super) keys: u64,
    /// Digests of the sample's keys; those that are not there are gone.
    pub(super) digests: BTreeMap<String, u64>,
}

/// How fast clients change what is compared.
#[derive(Debug, Clone, Copy, Default, PartialEq)]
pub(super) struct Pace {
    /// Keys of the sample that are written for the first time, a second.
    written_per_s: f64,
    /// Keys of the sample that are removed, a second.
    removed_per_s: f64,
    /// By how many the keys become fewer, a second.
    shrunk_per_s: f64,
}

/// What the comparison says.
#[derive(Debug, Clone, PartialEq, Eq)]
pub(super) struct Verdict {
    /// What was compared and found.
    pub(super) evidence: String,
    /// What cannot have come from clients; empty if nothing.
    pub(super) faults: Vec<String>,
}

impl Baseline {
    /// The first look: `drawn` keys were looked at, `expiring` of which have a time to live and are not compared.
    pub(super) fn new(first: Look, drawn: u64, expiring: u64) -> Self {
        Self {
            since_ms: first.at_ms,
            until_ms: first.at_ms,
            keys: first.keys,
            shrunk: 0,
            written: 0,
            removed: 0,
            expiring,
            drawn,
            sample: first.digests,
        }
    }

    /// The keys that are compared, as hexadecimal digits.
    pub(super) fn keys(&self) -> impl Iterator<Item = &str> {
        self.sample.keys().map(String::as_str)
    }

    /// How many keys the source had at the last look.
    pub(super) fn count(&self) -> u64 {
        self.keys
    }

    /// Takes another look at the source.
    pub(super) fn look(&mut self, look: &Look) {
        self.until_ms = self.until_ms.max(look.at_ms);
        self.shrunk += self.keys.saturating_sub(look.keys);
        self.keys = look.keys;
        let (written, removed) = changed(&self.sample, &look.digests);
        self.written += written as u64;
        self.removed += removed as u64;
        self.sample.retain(|key, digest| look.digests.get(key) == Some(digest));
    }

    /// How fast clients were at the source; `None` after a single look.
    pub(super) fn pace(&self) -> Option<Pace> {
        let seconds = seconds(self.since_ms, self.until_ms);
        (seconds > 0.0).then(|| Pace {
            written_per_s: self.written as f64 / seconds,
            removed_per_s: self.removed as f64 / seconds,
            shrunk_per_s: self.shrunk as f64 / seconds,
        })
    }

    /// Compares a look at the target with the last one at the source, for clients of this pace. By a second look at
    /// the target it is known which keys are in their hands.
    pub(super) fn judge(&self, look: &Look, pace: Pace, second: Option<&Look>) -> Verdict {
        let gap_s = seconds(self.until_ms, look.at_ms);
        let still =
            |key: &String| second.is_none_or(|second| second.digests.get(key) == look.digests.get(key));
        let compared: BTreeMap<String, u64> = self
            .sample
            .iter()
            .filter(|(key, _)| still(key))
            .map(|(key, digest)| (key.clone(), *digest))
            .collect();
        let (other, gone) = changed(&compared, &look.digests);
        let fewer = self.keys.saturating_sub(look.keys);

        let most_other = (SLACK * pace.written_per_s * gap_s).max(compared.len() as f64 * STRAY);
        let most_gone = SLACK * pace.removed_per_s * gap_s;
        let most_fewer = SLACK * pace.shrunk_per_s * gap_s + self.keys as f64 * self.expiring_share();
        let mut faults = Vec::new();
        if gone as f64 > most_gone {
            faults.push(format!("{gone} of {} sampled keys are gone", compared.len()));
        }
        if other as f64 > most_other {
            faults.push(format!("{other} of {} sampled keys have another value", compared.len()));
        }
        if fewer as f64 > most_fewer {
            faults.push(format!("there are {} keys, {fewer} fewer than there were", look.keys));
        }
        let evidence = Evidence { of: self, look, compared: compared.len(), other, gone, gap_s }.to_string();
        Verdict { evidence, faults }
    }

    fn expiring_share(&self) -> f64 {
        if self.drawn == 0 { 0.0 } else { self.expiring as f64 / self.drawn as f64 }
    }
}

impl Pace {
    /// Between two looks at the target, of the keys that are compared.
    pub(super) fn between(first: &Look, second: &Look) -> Self {
        let seconds = seconds(first.at_ms, second.at_ms);
        if seconds <= 0.0 {
            return Self::default();
        }
        let (written, removed) = changed(&first.digests, &second.digests);
        Self {
            written_per_s: written as f64 / seconds,
            removed_per_s: removed as f64 / seconds,
            shrunk_per_s: first.keys.saturating_sub(second.keys) as f64 / seconds,
        }
    }

    /// The faster of two, in each respect.
    pub(super) fn max(self, other: Self) -> Self {
        Self {
            written_per_s: self.written_per_s.max(other.written_per_s),
            removed_per_s: self.removed_per_s.max(other.removed_per_s),
            shrunk_per_s: self.shrunk_per_s.max(other.shrunk_per_s),
        }
    }
}

struct Evidence<'a> {
    of: &'a Baseline,
    look: &'a Look,
    compared: usize,
    other: usize,
    gone: usize,
    gap_s: f64,
}

impl fmt::Display for Evidence<'_> {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        let Self { of, look, compared, other, gone, gap_s } = self;
        let same = compared - other - gone;
        let written = of.written as usize + of.removed as usize + of.sample.len() - compared;
        write!(f, "{} keys, {} at the source {gap_s:.1} s before; ", look.keys, of.keys)?;
        write!(
            f,
            "of {compared} sampled keys {same} are the same, {other} have another value, {gone} are gone"
        )?;
        write!(f, "; {written} more were being written")?;
        if of.expiring > 0 {
            write!(f, "; {} of {} have a time to live and were not compared", of.expiring, of.drawn)?;
        }
        Ok(())
    }
}

/// How many of these keys have another value, and how many are gone.
fn changed(before: &BTreeMap<String, u64>, after: &BTreeMap<String, u64>) -> (usize, usize) {
    let gone = before.keys().filter(|key| !after.contains_key(*key)).count();
    let same = before.iter().filter(|(key, digest)| after.get(*key) == Some(*digest)).count();
    (before.len() - same - gone, gone)
}

fn seconds(from_ms: u64, to_ms: u64) -> f64 {
    to_ms.saturating_sub(from_ms) as f64 / 1_000.0
}

#[cfg(test)]
mod tests;
