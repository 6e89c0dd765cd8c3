//! Names of systemd units, as they appear in the paths of control groups.

use std::fmt;

/// Endings of unit names (systemd.unit(5)).
const KINDS: [&str; 11] = [
    "service",
    "socket",
    "device",
    "mount",
    "automount",
    "swap",
    "target",
    "path",
    "timer",
    "slice",
    "scope",
];

/// Longest name, of unit and of folder alike.
const MAX_LEN: usize = 255;

/// Prefixes that the kernel's own files in a control group have; systemd escapes a unit named so.
const KERNEL_PREFIXES: [&str; 10] =
    ["cgroup", "cpu", "cpuacct", "cpuset", "io", "blkio", "memory", "devices", "pids", "misc"];

/// Files of the kernel's without a prefix.
const KERNEL_FILES: [&str; 3] = ["notify_on_release", "release_agent", "tasks"];

/// A unit, by its full name.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct UnitName {
    name: String,
    folder: String,
}

/// What cannot be the name of one unit.
#[derive(Debug, Clone, Copy, PartialEq, Eq, thiserror::Error)]
pub enum UnitNameError {
    /// Nothing given.
    #[error("is empty")]
    Empty,
    /// Longer than a unit's name can be.
    #[error("is longer than {MAX_LEN} bytes")]
    TooLong,
    /// The name of a file.
    #[error("is a path, not a unit such as \"weed-volume.service\"")]
    Path,
    /// A pattern over names.
    #[error("is a pattern; give one unit, or a regular expression as `cgroup`")]
    Pattern,
}

impl UnitName {
    /// As systemctl takes it: without an ending it is a service, and what cannot be part of a name is escaped.
    pub fn new(name: &str) -> Result<Self, UnitNameError> {
        if name.is_empty() {
            return Err(UnitNameError::Empty);
        }
        if name.starts_with('/') {
            return Err(UnitNameError::Path);
        }
        if name.contains(['*', '?', '[']) {
            return Err(UnitNameError::Pattern);
        }
        let mut escaped = String::with_capacity(name.len());
        for byte in name.bytes() {
            match byte {
                b'/' => escaped.push('-'),
                b'a'..=b'z' | b'A'..=b'Z' | b'0'..=b'9' | b':' | b'_' | b'.' | b'\\' | b'@' | b'-' => {
                    escaped.push(char::from(byte));
                }
                _ => escaped.push_str(&format!("\\x{byte:02x}")),
            }
        }
        if !KINDS.iter().any(|kind| escaped.rsplit_once('.').is_some_and(|(_, end)| end == *kind)) {
            escaped.push_str(".service");
        }
        if escaped.len() > MAX_LEN {
            return Err(UnitNameError::TooLong);
        }
        let folder = if needs_escape(&escaped) { format!("_{escaped}") } else { escaped.clone() };
        Ok(Self { name: escaped, folder })
    }

    /// Whether a control group is the unit's or lies below it.
    #[must_use]
    pub fn is_in(&self, cgroup: &str) -> bool {
        cgroup.split('/').any(|component| component == self.folder)
    }
}

impl fmt::Display for UnitName {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.write_str(&self.name)
    }
}

/// Whether a folder of this name could be taken for a file of the kernel's; systemd then puts `_` before it.
fn needs_escape(name: &str) -> bool {
    name.starts_with(['_', '.'])
        || KERNEL_FILES.contains(&name)
        || name.split_once('.').is_some_and(|(first, _)| KERNEL_PREFIXES.contains(&first))
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn a_unit_is_a_component_of_the_path() {
        let unit = UnitName::new("weed-volume@1").unwrap();
        assert_eq!(unit.to_string(), "weed-volume@1.service");
        assert!(unit.is_in("/system.slice/system-weed\\x2dvolume.slice/weed-volume@1.service"));
        assert!(unit.is_in("/system.slice/weed-volume@1.service/payload"));
        assert!(!unit.is_in("/system.slice/weed-volume@11.service"));
        assert!(!unit.is_in("/"));
        assert!(UnitName::new("user.slice").unwrap().is_in("/user.slice/user-0.slice/session-1.scope"));
    }

    #[test]
    fn names_are_escaped_as_systemd_does() {
        for (given, name, folder) in [
            ("weed@/data/1", "weed@-data-1.service", "weed@-data-1.service"),
            ("a b", "a\\x20b.service", "a\\x20b.service"),
            ("data\\x2dbase.service", "data\\x2dbase.service", "data\\x2dbase.service"),
            ("cpu.service", "cpu.service", "_cpu.service"),
            ("_x.scope", "_x.scope", "__x.scope"),
            ("memory", "memory.service", "_memory.service"),
            ("v1.2", "v1.2.service", "v1.2.service"),
        ] {
            let unit = UnitName::new(given).unwrap();
            assert_eq!((unit.name.as_str(), unit.folder.as_str()), (name, folder), "{given}");
        }
    }

    #[test]
    fn what_is_no_unit_is_refused() {
        assert_eq!(UnitName::new(""), Err(UnitNameError::Empty));
        assert_eq!(UnitName::new("/data"), Err(UnitNameError::Path));
        assert_eq!(UnitName::new("weed@*.service"), Err(UnitNameError::Pattern));
        assert_eq!(UnitName::new(&"x".repeat(250)), Err(UnitNameError::TooLong));
    }
}
