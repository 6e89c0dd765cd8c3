//! What nodes and partitions are called in files, and which position each name has.
//!
//! Names are mostly numbers that count up. Those are found without comparing text, and a million of them take no
//! memory.

use isotherm_placement::{Node, Partition};
use std::collections::BTreeMap;

/// No node.
const NONE: u16 = u16::MAX;

/// Names of nodes.
#[derive(Debug, Default)]
pub(super) struct NodeNames {
    names: Vec<String>,
    /// For a number that is a name, its node.
    numbered: Vec<u16>,
    others: BTreeMap<Vec<u8>, u16>,
}

impl NodeNames {
    /// Gives the next node a name. Whether no other has it.
    pub(super) fn push(&mut self, name: String) -> bool {
        if self.find(name.as_bytes()).is_some() {
            return false;
        }
        // What has more nodes than can be numbered is refused by the topology.
        let node = u16::try_from(self.names.len()).unwrap_or(NONE);
        match number(name.as_bytes()) {
            Some(number) if number < usize::from(NONE) => {
                if self.numbered.len() <= number {
                    self.numbered.resize(number + 1, NONE);
                }
                self.numbered[number] = node;
            }
            Some(_) | None => {
                self.others.insert(name.as_bytes().to_vec(), node);
            }
        }
        self.names.push(name);
        true
    }

    pub(super) fn find(&self, name: &[u8]) -> Option<Node> {
        let node = match number(name) {
            Some(number) if number < usize::from(NONE) => self.numbered.get(number),
            Some(_) | None => self.others.get(name),
        };
        node.copied().filter(|node| *node != NONE).map(Node)
    }

    pub(super) fn of(&self, node: Node) -> &str {
        &self.names[node.at()]
    }

    pub(super) fn len(&self) -> usize {
        self.names.len()
    }
}

/// Names of partitions, in their order.
#[derive(Debug)]
pub(super) enum PartitionNames {
    /// Each is called by its position.
    Numbered(usize),
    /// One text after the other, where each ends, and positions in the order of their names.
    Named { text: Vec<u8>, ends: Vec<usize>, sorted: Vec<u32> },
}

impl PartitionNames {
    pub(super) fn new() -> Self {
        Self::Numbered(0)
    }

    /// Gives the next partition a name.
    pub(super) fn push(&mut self, name: &[u8]) {
        if let Self::Numbered(len) = self {
            if number(name) == Some(*len) {
                *len += 1;
                return;
            }
            let (mut text, mut ends) = (Vec::new(), Vec::new());
            for at in 0..*len {
                text.extend_from_slice(at.to_string().as_bytes());
                ends.push(text.len());
            }
            *self = Self::Named { text, ends, sorted: Vec::new() };
        }
        if let Self::Named { text, ends, .. } = self {
            text.extend_from_slice(name);
            ends.push(text.len());
        }
    }

    /// Makes names findable once all are there. Gives one that two partitions have, if any.
    pub(super) fn sort(&mut self) -> Option<String> {
        let Self::Named { text, ends, sorted } = self else { return None };
        let name = |at: u32| slice(text, ends, at as usize);
        *sorted = (0..ends.len() as u32).collect();
        sorted.sort_unstable_by_key(|at| name(*at));
        let twice = sorted.windows(2).find(|pair| name(pair[0]) == name(pair[1]))?;
        Some(String::from_utf8_lossy(name(twice[0])).into_owned())
    }

    /// The partition of that name, which is most likely the one at `likely`.
    pub(super) fn find(&self, name: &[u8], likely: usize) -> Option<Partition> {
        match self {
            Self::Numbered(len) => number(name).filter(|at| at < len).map(|at| Partition(at as u32)),
            Self::Named { text, ends, sorted } => {
                if likely < ends.len() && slice(text, ends, likely) == name {
                    return Some(Partition(likely as u32));
                }
                let found = sorted.binary_search_by_key(&name, |at| slice(text, ends, *at as usize)).ok()?;
                Some(Partition(sorted[found]))
            }
        }
    }

    /// What a partition is called.
    pub(super) fn of(&self, partition: Partition) -> String {
        match self {
            Self::Numbered(_) => partition.0.to_string(),
            Self::Named { text, ends, .. } => {
                String::from_utf8_lossy(slice(text, ends, partition.at())).into_owned()
            }
        }
    }

    pub(super) fn len(&self) -> usize {
        match self {
            Self::Numbered(len) => *len,
            Self::Named { ends, .. } => ends.len(),
        }
    }
}

fn slice<'a>(text: &'a [u8], ends: &[usize], at: usize) -> &'a [u8] {
    let start = if at == 0 { 0 } else { ends[at - 1] };
    &text[start..ends[at]]
}

/// A name that is a number in its shortest form, which no other name stands for.
fn number(name: &[u8]) -> Option<usize> {
    let shortest = match name {
        [] => false,
        [b'0'] => true,
        [b'0', ..] => false,
        // Nine digits fit into four bytes.
        name => name.len() <= 9 && name.iter().all(u8::is_ascii_digit),
    };
    shortest.then(|| name.iter().fold(0, |number, digit| 10 * number + usize::from(digit - b'0')))
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn numbers_are_names_like_others() {
        let mut names = NodeNames::default();
        for name in ["7", "a", "0", "07", "123456789012", "70000"] {
            assert!(names.push(name.to_owned()), "{name}");
            assert!(!names.push(name.to_owned()), "{name}");
        }
        let found = ["7", "a", "0", "07", "123456789012", "70000", "1", "", "b", "007"]
            .map(|name| names.find(name.as_bytes()).map(|node| node.0));
        assert_eq!(found, [Some(0), Some(1), Some(2), Some(3), Some(4), Some(5), None, None, None, None]);
        assert_eq!((names.of(Node(3)), names.len()), ("07", 6));
    }

    #[test]
    fn partitions_are_found_whatever_they_are_called() {
        let mut numbered = PartitionNames::new();
        let mut named = PartitionNames::new();
        for at in 0..20 {
            numbered.push(at.to_string().as_bytes());
            named.push(if at < 10 { at.to_string() } else { format!("v{at}") }.as_bytes());
        }
        assert_eq!((numbered.sort(), named.sort()), (None, None));
        assert_eq!(numbered.find(b"19", 0), Some(Partition(19)));
        assert_eq!(numbered.find(b"20", 20), None);
        assert_eq!(numbered.find(b"019", 19), None);
        for likely in [0, 9, 12, 99] {
            assert_eq!(named.find(b"9", likely), Some(Partition(9)));
            assert_eq!(named.find(b"v12", likely), Some(Partition(12)));
            assert_eq!(named.find(b"12", likely), None);
        }
        assert_eq!((named.of(Partition(9)), named.of(Partition(10))), ("9".into(), "v10".into()));
        assert_eq!((numbered.len(), named.len()), (20, 20));
    }

    #[test]
    fn a_name_of_two_partitions_is_told() {
        let mut names = PartitionNames::new();
        for name in ["0", "b", "c", "b"] {
            names.push(name.as_bytes());
        }
        assert_eq!(names.sort(), Some("b".into()));
    }
}
