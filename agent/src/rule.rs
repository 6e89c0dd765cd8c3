//! From a path to a partition: the rules of a target.

use isotherm_model::{NodeId, OtherReason, PartitionId, Subject, SystemId, UnattributedReason};
use regex::Regex;

/// A regular expression over the paths of files, and how a partition's id is made of its groups.
#[derive(Debug, Clone)]
pub struct Rule {
    path: Regex,
    partition: String,
}

/// A rule that cannot work.
#[derive(Debug, thiserror::Error)]
pub enum RuleError {
    /// Not a regular expression; its own text shows where.
    #[error(transparent)]
    Path(regex::Error),
    /// The partition refers to a group that the expression does not have.
    #[error("${name} is no group of the path")]
    UnknownCapture {
        /// The group.
        name: String,
    },
    /// The partition refers to no group at all.
    #[error("names no group of the path, so that all files would be one partition")]
    Constant,
}

impl Rule {
    /// `partition` may refer to groups as `$1`, `$name` or `${name}`; `$$` is a dollar sign.
    pub fn new(path: &str, partition: &str) -> Result<Self, RuleError> {
        let path = Regex::new(path).map_err(RuleError::Path)?;
        let names = references(partition);
        for name in &names {
            let known = match name.parse::<usize>() {
                Ok(number) => number < path.captures_len(),
                Err(_) => path.capture_names().flatten().any(|group| group == name),
            };
            if !known {
                return Err(RuleError::UnknownCapture { name: name.clone() });
            }
        }
        if names.is_empty() {
            return Err(RuleError::Constant);
        }
        Ok(Self { path, partition: partition.to_owned() })
    }

    /// The regular expression as given.
    #[must_use]
    pub fn pattern(&self) -> &str {
        self.path.as_str()
    }

    /// How the partition's id is made, as given.
    #[must_use]
    pub fn template(&self) -> &str {
        &self.partition
    }

    /// Whether it is written the same way, and so claims the same files for the same partitions.
    #[must_use]
    pub fn same_as(&self, other: &Self) -> bool {
        self.pattern() == other.pattern() && self.partition == other.partition
    }

    /// The partition's id, if the rule claims the path. May be empty, if a group took part as empty.
    #[must_use]
    pub fn claim(&self, path: &str) -> Option<String> {
        let captures = self.path.captures(path)?;
        let mut id = String::new();
        captures.expand(&self.partition, &mut id);
        Some(id)
    }
}

/// Groups that a template refers to, in the syntax of [`regex::Captures::expand`].
fn references(template: &str) -> Vec<String> {
    let reference = Regex::new(r"\$(?:\$|\{([^}]*)\}|([0-9A-Za-z_]+))").expect("the pattern is constant");
    reference
        .captures_iter(template)
        .filter_map(|found| found.get(1).or_else(|| found.get(2)))
        .map(|group| group.as_str().to_owned())
        .collect()
}

/// Whom a file belongs to, by all rules of its target. Two rules that claim it for different partitions
/// disagree, and nobody gets it; the log says which.
#[must_use]
pub fn claim(node: &NodeId, rules: &[Rule], path: &str) -> Subject {
    let mut claims = rules.iter().filter_map(|rule| Some((rule, rule.claim(path)?)));
    let Some((first, id)) = claims.next() else { return Subject::Other(OtherReason::NoRule) };
    if let Some((second, other)) = claims.find(|(_, other)| *other != id) {
        tracing::warn!(
            %node, path,
            "two rules claim one file: {:?} for partition {id}, {:?} for partition {other}",
            first.pattern(), second.pattern(),
        );
        return Subject::Unattributed(UnattributedReason::RulesDisagree);
    }
    named(node.system(), path, first, id)
}

fn named(system: &SystemId, path: &str, rule: &Rule, id: String) -> Subject {
    match PartitionId::new(system.clone(), id) {
        Ok(partition) => Subject::Partition(partition),
        Err(error) => {
            tracing::warn!(path, "rule {:?} claims the file, but {error}", rule.pattern());
            Subject::Other(OtherReason::NoRule)
        }
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    fn subject(rules: &[(&str, &str)], path: &str) -> String {
        let node = NodeId::new(SystemId::new("s").unwrap(), "n").unwrap();
        let rules: Vec<Rule> = rules.iter().map(|(path, id)| Rule::new(path, id).unwrap()).collect();
        match claim(&node, &rules, path) {
            Subject::Partition(id) => id.name().to_owned(),
            Subject::Other(reason) => reason.to_string(),
            Subject::Unattributed(reason) => reason.to_string(),
        }
    }

    #[test]
    fn groups_make_the_id() {
        let volume = (r"/(?:(?P<collection>[^/]+)_)?(?P<volume>[0-9]+)\.dat$", "$volume");
        assert_eq!(subject(&[volume], "/data/7.dat"), "7");
        assert_eq!(subject(&[volume], "/data/photos_12.dat"), "12");
        assert_eq!(subject(&[volume], "/data/7.idx"), "no_rule");
        assert_eq!(subject(&[(r"/base/(\d+)/(\d+)", "${1}-$2")], "/pg/base/5/1249"), "5-1249");
    }

    #[test]
    fn rules_that_disagree_give_the_file_to_nobody() {
        let rules = [(r"/(\d+)\.dat$", "$1"), (r"/(\w+)\.dat$", "v$1")];
        assert_eq!(subject(&rules, "/7.dat"), "rules_disagree");
        assert_eq!(subject(&rules, "/x.dat"), "vx");
        assert_eq!(subject(&[(r"(\d+)", "$1"), (r"/(\d+)\.", "$1")], "/7.dat"), "7");
    }

    #[test]
    fn an_empty_id_is_no_partition() {
        assert_eq!(subject(&[(r"/(\d*)\.dat$", "$1")], "/.dat"), "no_rule");
    }

    #[test]
    fn a_dollar_sign_is_no_reference() {
        assert!(matches!(Rule::new("(a)", "$$1"), Err(RuleError::Constant)));
        assert!(matches!(Rule::new("(a)", "${b}"), Err(RuleError::UnknownCapture { .. })));
    }
}
