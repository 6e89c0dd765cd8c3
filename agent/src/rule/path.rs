//! Rules over the paths of files.

use super::RuleError;
use regex::Regex;

/// A regular expression over the paths of files, and how a partition's id is made of its groups.
#[derive(Debug, Clone)]
pub struct PathRule {
    path: Regex,
    partition: String,
}

impl PathRule {
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
pub(super) fn references(template: &str) -> Vec<String> {
    let reference = Regex::new(r"\$(?:\$|\{([^}]*)\}|([0-9A-Za-z_]+))").expect("the pattern is constant");
    reference
        .captures_iter(template)
        .filter_map(|found| found.get(1).or_else(|| found.get(2)))
        .map(|group| group.as_str().to_owned())
        .collect()
}
