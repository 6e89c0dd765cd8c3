//! Whose accesses a file's are: from the kernel's key to a partition, `other` or `unattributed`.
//!
//! Keeps the names of files as the kernel sent them, and the claims of the rules on them. Counts nothing.
//! A file without a name is `unattributed` until its name arrives; it never falls to a guess.

use crate::config::Target;
use crate::discovery::is_alive;
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

/// A file that the kernel has named.
#[derive(Debug)]
struct Named {
    /// `None` if its path is too deep to be known.
    file: Option<KnownFile>,
    /// When it was named last.
    round: u64,
}

/// Names and claims.
pub struct Attribution {
    targets: Vec<(NodeId, Vec<crate::rule::Rule>)>,
    files: HashMap<InodeId, Named>,
    round: u64,
    /// Where the last check of paths ended.
    checked: usize,
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
            round: 0,
            checked: 0,
            claims: HashMap::new(),
            partitions: BTreeSet::new(),
            max_partitions,
            limit_reported: false,
        }
    }

    /// Goes on with other targets and rules: names are kept, every claim is made anew.
    pub fn reload(&mut self, targets: &[Target]) {
        self.targets = targets.iter().map(|target| (target.node.clone(), target.rules.clone())).collect();
        self.claims.clear();
        self.partitions.clear();
        self.limit_reported = false;
    }

    /// Takes in names that the kernel has sent.
    pub fn learn(&mut self, names: Vec<PathBelowMount>) {
        let mut mounts = Mounts::default();
        for name in names {
            let id = InodeId { ino: name.ino, dev: name.dev, generation: name.generation };
            let before = self.files.get(&id).and_then(|named| named.file.as_ref());
            let file = name.path.map(|below_root| {
                let path = mounts.path_of(name.tgid, name.dev, name.ino, &below_root);
                let same = before.is_some_and(|before| before.path == path);
                KnownFile { detached: same && !is_at(name.tgid, &path, name.ino), path, tgid: name.tgid }
            });
            if before.map(|before| &before.path) != file.as_ref().map(|file| &file.path) {
                self.claims.retain(|(_, claimed), _| *claimed != id);
            }
            self.files.insert(id, Named { file, round: self.round });
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
        let path = self.path(key).map(Path::to_string_lossy);
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
        self.files.get(&InodeId::from(key))?.file.as_ref().map(|file| file.path.as_path())
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
    /// should then be asked for names again. `process_of` gives a living process of a target.
    pub fn any_moved<'a>(
        &mut self,
        active: impl Iterator<Item = &'a FileKey>,
        process_of: impl Fn(u32) -> Option<u32>,
    ) -> bool {
        let mut seen = HashSet::new();
        let files: Vec<(InodeId, u32)> =
            active.map(|key| (InodeId::from(key), key.target)).filter(|(id, _)| seen.insert(*id)).collect();
        // Every file gets its turn, however many there are.
        let start = if files.is_empty() { 0 } else { self.checked % files.len() };
        self.checked = start + CHECKS_PER_ROUND;
        files.iter().cycle().skip(start).take(files.len().min(CHECKS_PER_ROUND)).any(|(id, target)| {
            let Some(file) = self.files.get(id).and_then(|named| named.file.as_ref()) else { return false };
            let viewer = if is_alive(file.tgid) { Some(file.tgid) } else { process_of(*target) };
            file.path.is_absolute()
                && !file.detached
                && viewer.is_some_and(|viewer| !is_at(viewer, &file.path, id.ino))
        })
    }

    /// Ends a round of learning and telling.
    pub fn next_round(&mut self) {
        self.round += 1;
    }

    /// Forgets evicted files, and partitions that have no other file; but not what is `counted` again, or was
    /// named in this round, because it is about to be.
    pub fn forget(&mut self, evicted: &[FileKey], counted: &HashSet<FileKey>) {
        let counted: HashSet<InodeId> = counted.iter().map(InodeId::from).collect();
        for id in evicted.iter().map(InodeId::from).filter(|id| !counted.contains(id)) {
            if self.files.get(&id).is_some_and(|named| named.round < self.round) {
                self.files.remove(&id);
            }
        }
        self.claims.retain(|(_, id), _| self.files.contains_key(id));
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
    fn other_rules_claim_the_same_names() {
        let mut attribution = Attribution::new(&[target(&[(r"(\d+)\.dat$", "$1")])], 1);
        attribution.learn(vec![named(5, Some("/7.dat")), named(6, Some("/8.idx"))]);
        assert_eq!(word(attribution.subject(&key(5))), "7");
        attribution.reload(&[target(&[(r"(\d+)\.idx$", "$1")])]);
        assert_eq!(word(attribution.subject(&key(5))), "no_rule");
        // The partition that went makes room within the limit.
        assert_eq!(word(attribution.subject(&key(6))), "8");
    }

    #[test]
    fn partitions_beyond_the_limit_are_other() {
        let mut attribution = Attribution::new(&[target(&[(r"(\d+)\.dat$", "$1")])], 1);
        attribution.learn(vec![named(1, Some("/1.dat")), named(2, Some("/2.dat")), named(3, Some("/1.dat"))]);
        assert_eq!(word(attribution.subject(&key(1))), "1");
        assert_eq!(word(attribution.subject(&key(2))), "partition_limit");
        assert_eq!(word(attribution.subject(&key(3))), "1");
    }

    fn named_by_kernel(path: &Path) -> (PathBelowMount, FileKey) {
        let (ino, dev, below_root) = crate::mounts::below_root(path);
        let name =
            PathBelowMount { ino, dev, generation: 0, tgid: std::process::id(), path: Some(below_root) };
        (name, FileKey { ino, dev, generation: 0, target: 0, operation: 0, shift: 12 })
    }

    #[test]
    fn a_rename_on_disk_is_noticed_and_a_deletion_only_once() {
        let folder = tempfile::tempdir().unwrap();
        let folder = folder.path().canonicalize().unwrap();
        let (old, new) = (folder.join("7.cpd"), folder.join("7.dat"));
        std::fs::write(&old, "x").unwrap();
        let mut attribution = Attribution::new(&[target(&[(r"(\d+)\.dat$", "$1")])], 1);
        let (name, key) = named_by_kernel(&old);
        attribution.learn(vec![name]);
        let moved = |attribution: &mut Attribution| attribution.any_moved([key].iter(), |_| None);
        assert!(!moved(&mut attribution));
        std::fs::rename(&old, &new).unwrap();
        assert!(moved(&mut attribution));
        let (name, _) = named_by_kernel(&new);
        attribution.learn(vec![name.clone()]);
        assert!(!moved(&mut attribution));
        assert_eq!(word(attribution.subject(&key)), "7");
        std::fs::remove_file(&new).unwrap();
        assert!(moved(&mut attribution));
        // The kernel can only say the same again.
        attribution.learn(vec![name]);
        assert!(!moved(&mut attribution));
        assert_eq!(word(attribution.subject(&key)), "7");
    }

    #[test]
    fn a_name_that_became_too_deep_is_no_claim() {
        let mut attribution = Attribution::new(&[target(&[(r"(\d+)\.dat$", "$1")])], 10);
        attribution.learn(vec![named(5, Some("/7.dat"))]);
        assert_eq!(word(attribution.subject(&key(5))), "7");
        attribution.learn(vec![named(5, None)]);
        assert_eq!(word(attribution.subject(&key(5))), "no_path");
    }

    #[test]
    fn evicted_files_are_forgotten_unless_they_are_back() {
        let mut attribution = Attribution::new(&[target(&[(r"(\d+)\.dat$", "$1")])], 10);
        attribution.learn(vec![named(1, Some("/1.dat")), named(2, Some("/2.dat")), named(3, Some("/3.dat"))]);
        attribution.subject(&key(2));
        attribution.next_round();
        // The third was touched again: its name came just before its eviction is dealt with.
        attribution.learn(vec![named(3, Some("/3.dat"))]);
        attribution.forget(&[key(1), key(2), key(3)], &HashSet::from([key(1)]));
        let known = |ino| attribution.path(&key(ino)).is_some();
        assert_eq!((known(1), known(2), known(3)), (true, false, true));
        assert!(attribution.claims.is_empty() && attribution.partitions.is_empty());
    }
}
