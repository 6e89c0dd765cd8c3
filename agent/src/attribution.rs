//! Whose accesses a file's are: from the kernel's key to a partition, `other` or `unattributed`.
//!
//! Keeps the names of files as the kernel sent them, and the claims of the rules on them. Counts nothing.
//! A file without a name is `unattributed` until its name arrives; it never falls to a guess.

use crate::config::Target;
use crate::mounts::{Mounts, is_at};
use crate::probe::PathBelowMount;
use crate::rule::claim;
use isotherm_agent_ebpf::FileKey;
use isotherm_model::{NodeId, OtherReason, PartitionId, Subject, UnattributedReason};
use std::collections::{BTreeSet, HashMap, HashSet};
use std::path::{Path, PathBuf};

/// Files whose path is checked per round, at most: a look at each costs a system call.
const CHECKS_PER_ROUND: usize = 1_000;

/// What makes a file unique on its host.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Hash)]
struct InodeId {
    ino: u64,
    dev: u32,
    generation: u32,
}

impl From<&FileKey> for InodeId {
    fn from(key: &FileKey) -> Self {
        Self { ino: key.ino, dev: key.dev, generation: key.generation }
    }
}

#[derive(Debug)]
struct KnownFile {
    path: PathBuf,
    /// A process that touched it, in whose view the path holds.
    tgid: u32,
    /// The kernel still gives this path, although the file is not there: it was deleted while open.
    detached: bool,
}

/// Names and claims.
pub struct Attribution {
    targets: Vec<(NodeId, Vec<crate::rule::Rule>)>,
    files: HashMap<InodeId, Option<KnownFile>>,
    claims: HashMap<(u32, InodeId), Subject>,
    partitions: BTreeSet<PartitionId>,
    max_partitions: usize,
    limit_reported: bool,
}

impl Attribution {
    /// For the targets by their index. At most `max_partitions` are told apart.
    #[must_use]
    pub fn new(targets: &[Target], max_partitions: usize) -> Self {
        Self {
            targets: targets.iter().map(|target| (target.node.clone(), target.rules.clone())).collect(),
            files: HashMap::new(),
            claims: HashMap::new(),
            partitions: BTreeSet::new(),
            max_partitions,
            limit_reported: false,
        }
    }

    /// Takes in names that the kernel has sent.
    pub fn learn(&mut self, names: Vec<PathBelowMount>) {
        let mut mounts = Mounts::default();
        for name in names {
            let id = InodeId { ino: name.ino, dev: name.dev, generation: name.generation };
            let known = name.path.map(|below_root| {
                let path = mounts.path_of(name.tgid, name.dev, name.ino, &below_root);
                let same = matches!(self.files.get(&id), Some(Some(before)) if before.path == path);
                KnownFile { detached: same && !is_at(name.tgid, &path, name.ino), path, tgid: name.tgid }
            });
            let renamed = match (self.files.get(&id), &known) {
                (Some(Some(before)), Some(now)) => before.path != now.path,
                (Some(None), Some(_)) => true,
                _ => false,
            };
            if renamed {
                self.claims.retain(|(_, file), _| *file != id);
            }
            self.files.insert(id, known);
        }
    }

    /// Whose the accesses under a key are.
    pub fn subject(&mut self, key: &FileKey) -> Subject {
        if key.is_overflow() {
            return Subject::Unattributed(UnattributedReason::FilesFull);
        }
        let id = InodeId::from(key);
        if let Some(subject) = self.claims.get(&(key.target, id)) {
            return subject.clone();
        }
        let path = self.files.get(&id).and_then(Option::as_ref).map(|file| file.path.to_string_lossy());
        let target = self.targets.get(key.target as usize);
        let (Some(path), Some((node, rules))) = (path, target) else {
            return Subject::Unattributed(UnattributedReason::NoPath);
        };
        let subject = claim(node, rules, &path);
        let subject = self.within_limit(subject);
        self.claims.insert((key.target, id), subject.clone());
        subject
    }

    /// The path of the file under a key, if it is known.
    #[must_use]
    pub fn path(&self, key: &FileKey) -> Option<&Path> {
        self.files.get(&InodeId::from(key)).and_then(Option::as_ref).map(|file| file.path.as_path())
    }

    fn within_limit(&mut self, subject: Subject) -> Subject {
        let Subject::Partition(id) = subject else { return subject };
        if self.partitions.contains(&id) {
            return Subject::Partition(id);
        }
        if self.partitions.len() >= self.max_partitions {
            if !self.limit_reported {
                self.limit_reported = true;
                tracing::warn!(
                    "{} partitions are told apart; accesses of partition {id} and further ones count as other \
                     (limits.partitions)",
                    self.max_partitions
                );
            }
            return Subject::Other(OtherReason::PartitionLimit);
        }
        self.partitions.insert(id.clone());
        Subject::Partition(id)
    }

    /// Whether some file that was just active is no longer where its name says: renamed since. The kernel
    /// should then be asked for names again.
    #[must_use]
    pub fn any_moved<'a>(&self, active: impl Iterator<Item = &'a FileKey>) -> bool {
        let mut seen = HashSet::new();
        active
            .map(InodeId::from)
            .filter(|id| seen.insert(*id))
            .filter_map(|id| Some((id, self.files.get(&id)?.as_ref()?)))
            .filter(|(_, file)| file.path.is_absolute() && !file.detached)
            .take(CHECKS_PER_ROUND)
            .any(|(id, file)| crate::discovery::is_alive(file.tgid) && !is_at(file.tgid, &file.path, id.ino))
    }

    /// Forgets files that the kernel no longer counts, and partitions that have no other file.
    pub fn retain(&mut self, counted: &HashSet<FileKey>) {
        let inodes: HashSet<InodeId> = counted.iter().map(InodeId::from).collect();
        self.files.retain(|id, _| inodes.contains(id));
        self.claims.retain(|(_, id), _| inodes.contains(id));
        let claimed = self.claims.values().filter_map(|subject| match subject {
            Subject::Partition(id) => Some(id.clone()),
            Subject::Other(_) | Subject::Unattributed(_) => None,
        });
        self.partitions = claimed.collect();
    }
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::discovery::Selector;
    use crate::rule::Rule;
    use isotherm_model::SystemId;

    fn target(rules: &[(&str, &str)]) -> Target {
        Target {
            node: NodeId::new(SystemId::new("s").unwrap(), "n").unwrap(),
            select: Selector::default(),
            rules: rules.iter().map(|(path, id)| Rule::new(path, id).unwrap()).collect(),
        }
    }

    fn named(ino: u64, path: Option<&str>) -> PathBelowMount {
        // A device that is mounted nowhere: paths come out without their leading slash.
        let (dev, tgid) = (0xfff << 20, std::process::id());
        PathBelowMount { ino, dev, generation: 0, tgid, path: path.map(PathBuf::from) }
    }

    fn key(ino: u64) -> FileKey {
        FileKey { ino, dev: 0xfff << 20, generation: 0, target: 0, operation: 0, shift: 12 }
    }

    fn word(subject: Subject) -> String {
        match subject {
            Subject::Partition(id) => id.name().to_owned(),
            Subject::Other(reason) => reason.to_string(),
            Subject::Unattributed(reason) => reason.to_string(),
        }
    }

    #[test]
    fn a_file_is_unattributed_until_its_name_arrives() {
        let mut attribution = Attribution::new(&[target(&[(r"(\d+)\.dat$", "$1")])], 10);
        assert_eq!(word(attribution.subject(&key(5))), "no_path");
        attribution.learn(vec![named(5, Some("/7.dat")), named(6, None)]);
        assert_eq!(word(attribution.subject(&key(5))), "7");
        assert_eq!(word(attribution.subject(&key(6))), "no_path");
        assert_eq!(word(attribution.subject(&FileKey::overflow(0, 1))), "files_full");
    }

    #[test]
    fn a_renamed_file_changes_hands() {
        let mut attribution = Attribution::new(&[target(&[(r"(\d+)\.dat$", "$1")])], 10);
        attribution.learn(vec![named(5, Some("/7.cpd"))]);
        assert_eq!(word(attribution.subject(&key(5))), "no_rule");
        attribution.learn(vec![named(5, Some("/7.dat"))]);
        assert_eq!(word(attribution.subject(&key(5))), "7");
    }

    #[test]
    fn partitions_beyond_the_limit_are_other() {
        let mut attribution = Attribution::new(&[target(&[(r"(\d+)\.dat$", "$1")])], 1);
        attribution.learn(vec![named(1, Some("/1.dat")), named(2, Some("/2.dat")), named(3, Some("/1.dat"))]);
        assert_eq!(word(attribution.subject(&key(1))), "1");
        assert_eq!(word(attribution.subject(&key(2))), "partition_limit");
        assert_eq!(word(attribution.subject(&key(3))), "1");
    }

    #[test]
    fn a_rename_on_disk_is_noticed_and_a_deletion_only_once() {
        let folder = tempfile::tempdir().unwrap();
        let (old, new) = (folder.path().join("7.cpd"), folder.path().join("7.dat"));
        std::fs::write(&old, "x").unwrap();
        let metadata = std::fs::metadata(&old).unwrap();
        let ino = std::os::unix::fs::MetadataExt::ino(&metadata);
        let mut attribution = Attribution::new(&[target(&[])], 1);
        let id = InodeId { ino, dev: key(0).dev, generation: 0 };
        let file =
            |path: &Path| KnownFile { path: path.to_owned(), tgid: std::process::id(), detached: false };
        attribution.files.insert(id, Some(file(&old)));
        assert!(!attribution.any_moved([key(ino)].iter()));
        std::fs::rename(&old, &new).unwrap();
        assert!(attribution.any_moved([key(ino)].iter()));
        attribution.files.insert(id, Some(KnownFile { detached: true, ..file(&old) }));
        assert!(!attribution.any_moved([key(ino)].iter()));
    }

    #[test]
    fn files_that_are_not_counted_are_forgotten() {
        let mut attribution = Attribution::new(&[target(&[(r"(\d+)\.dat$", "$1")])], 10);
        attribution.learn(vec![named(1, Some("/1.dat")), named(2, Some("/2.dat"))]);
        attribution.subject(&key(2));
        attribution.retain(&HashSet::from([key(1)]));
        assert!(attribution.path(&key(1)).is_some() && attribution.path(&key(2)).is_none());
        assert!(attribution.claims.is_empty() && attribution.partitions.is_empty());
    }
}
