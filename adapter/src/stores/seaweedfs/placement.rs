//! How many copies a volume has, and where they may lie.

use std::collections::{BTreeMap, BTreeSet};
use std::fmt;

/// A replication `xyz`: x copies in other data centers, y in other racks of one's own, z on other servers of the rack.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub(super) struct Replication(u8);

/// Where a server stands.
#[derive(Debug, Clone, PartialEq, Eq, PartialOrd, Ord)]
pub(super) struct Site {
    pub(super) data_center: String,
    pub(super) rack: String,
    pub(super) node: String,
}

impl Replication {
    /// As the master tells it, one decimal digit for each; `None` if it is none.
    pub(super) fn new(raw: u32) -> Option<Self> {
        u8::try_from(raw).ok().map(Self)
    }

    /// Copies of a volume.
    pub(super) fn copies(self) -> usize {
        let [x, y, z] = self.digits();
        x + y + z + 1
    }

    /// Whether these copies, or more beside them, keep to it.
    pub(super) fn permits(self, sites: &BTreeSet<Site>) -> bool {
        let [x, y, z] = self.digits();
        let centers = groups(sites.iter(), |site| &site.data_center);
        let Some((main, others)) = centers.split_first() else { return true };
        let racks = groups(main.iter().copied(), |site| &site.rack);
        let Some((rack, other_racks)) = racks.split_first() else { return true };
        let single = |groups: &[Vec<&Site>], most: usize| {
            groups.len() <= most && groups.iter().all(|group| group.len() == 1)
        };
        single(others, x) && single(other_racks, y) && rack.len() <= z + 1
    }

    fn digits(self) -> [usize; 3] {
        [self.0 / 100, self.0 / 10 % 10, self.0 % 10].map(usize::from)
    }
}

impl fmt::Display for Replication {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        write!(f, "{:03}", self.0)
    }
}

/// The sites that have a name in common, the largest group first.
fn groups<'a>(sites: impl Iterator<Item = &'a Site>, name: impl Fn(&Site) -> &String) -> Vec<Vec<&'a Site>> {
    let mut groups: BTreeMap<String, Vec<&Site>> = BTreeMap::new();
    for site in sites {
        groups.entry(name(site).clone()).or_default().push(site);
    }
    let mut groups: Vec<_> = groups.into_values().collect();
    groups.sort_by_key(|group| std::cmp::Reverse(group.len()));
    groups
}

#[cfg(test)]
mod tests {
    use super::*;

    fn permits(replication: u32, sites: &[&str]) -> bool {
        let site = |text: &&str| {
            let [data_center, rack, node] = [0, 1, 2].map(|at| text[at..=at].to_owned());
            Site { data_center, rack, node }
        };
        Replication::new(replication).unwrap().permits(&sites.iter().map(site).collect())
    }

    #[test]
    fn copies_lie_where_the_digits_say() {
        assert!(permits(0, &["1a1"]) && !permits(0, &["1a1", "1a2"]));
        assert!(permits(1, &["1a1", "1a2"]) && !permits(1, &["1a1", "1b1"]));
        assert!(permits(10, &["1a1", "1b1"]) && !permits(10, &["1a1", "1a2"]));
        assert!(permits(100, &["1a1", "2a1"]) && !permits(100, &["1a1", "1b1"]));
        assert!(permits(11, &["1a1", "1a2", "1b1"]) && !permits(11, &["1a1", "1a2", "1a3"]));
        assert!(permits(110, &["1a1", "1b2", "2c1"]) && !permits(110, &["1a1", "2b2", "2c1", "1c1"]));
        assert!(permits(2, &["1a1"]), "there may be less");
    }

    #[test]
    fn copies_are_counted() {
        let copies = [0, 1, 10, 100, 111, 2].map(|raw| Replication::new(raw).unwrap().copies());
        assert_eq!(copies, [1, 2, 2, 2, 4, 3]);
        assert_eq!(Replication::new(1).unwrap().to_string(), "001");
        assert_eq!(Replication::new(256), None);
    }
}
