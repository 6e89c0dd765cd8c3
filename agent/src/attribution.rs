//! Whose accesses a file's are: from the kernel's key to a partition, `other` or `unattributed`.
//!
//! Keeps the names of files as the kernel sent them, and the claims of the rules on them. Counts nothing.
//! A file without a name is `unattributed` until its name arrives; it never falls to a guess.

use crate::config::Target;
use crate::discovery::is_alive;
use crate::mounts::{Mounts, is_at};
use crate::probe::PathBelowMount;
use crate::rule::Rules;
use crate::window::{Attribute, Owner};
use isotherm_agent_ebpf::{BlockKey, BlockKind, FileKey, HOST_TARGET, PeerKey, Stripes};
use isotherm_model::{NodeId, OtherReason, PartitionId, Subject, UnattributedReason};
use std::collections::{BTreeSet, HashMap, HashSet};
use std::path::{Path, PathBuf};

/// Files whose path is checked per round, at most: a look at each costs a system call.
const CHECKS_PER_ROUND: usize = 1_000;

/// Rounds between two looks at what is mounted.
const MOUNTS_EVERY: u64 = 6;

/// What makes a file unique on its host.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Hash)]
pub struct InodeId {
    ino: u64,
    dev: u32,
    generation: u32,
}

impl From<&FileKey> for InodeId {
    fn from(key: &FileKey) -> Self {
        Self { ino: key.ino, dev: key.dev, generation: key.generation }
    }
}

impl From<&BlockKey> for InodeId {
    fn from(key: &BlockKey) -> Self {
        Self { ino: key.number, dev: key.dev, generation: key.generation }
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
    targets: Vec<(NodeId, Rules)>,
    files: HashMap<InodeId, Named>,
    /// Targets whose processes were seen to access a file, a bit for each.
    users: HashMap<InodeId, u64>,
    /// Whose a file is in the device layer.
    owners: HashMap<InodeId, (Owner, Subject)>,
    /// Numbers of devices that hold a mounted file system.
    mounted: HashSet<u32>,
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
            targets: compiled(targets),
            files: HashMap::new(),
            users: HashMap::new(),
            owners: HashMap::new(),
            mounted: crate::mounts::mounted_devices(),
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
        self.targets = compiled(targets);
        self.claims.clear();
        self.owners.clear();
        self.partitions.clear();
        self.limit_reported = false;
    }

    /// Looks the devices up that rules name. Returns how each is to be counted; the log says which are no device.
    pub fn find_devices(&mut self) -> Vec<(u32, Stripes)> {
        let mut found = Vec::new();
        for (index, (node, rules)) in self.targets.iter_mut().enumerate() {
            let (stripes, missing) = rules.find_devices(index as u32, crate::mounts::device_number);
            for path in missing {
                tracing::warn!(%node, "a rule names {}, which is no block device now", path.display());
            }
            found.extend(stripes);
        }
        found
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
                self.owners.remove(&id);
            }
            self.files.insert(id, Named { file, round: self.round });
        }
    }

    /// The path of the file under a key, if it is known.
    #[must_use]
    pub fn path(&self, key: &FileKey) -> Option<&Path> {
        self.path_of(&InodeId::from(key))
    }

    fn path_of(&self, id: &InodeId) -> Option<&Path> {
        self.files.get(id)?.file.as_ref().map(|file| file.path.as_path())
    }

    /// Whose a file would be for a target. `NoPath` without a name.
    fn claim_of(&mut self, target: u32, id: InodeId) -> Subject {
        if let Some(subject) = self.claims.get(&(target, id)) {
            return subject.clone();
        }
        let path = self.path_of(&id).map(Path::to_string_lossy);
        let (Some(path), Some((node, rules))) = (path, self.targets.get(target as usize)) else {
            return Subject::Unattributed(UnattributedReason::NoPath);
        };
        let subject = rules.claim_path(node, &path);
        let subject = self.within_limit(subject);
        self.claims.insert((target, id), subject.clone());
        subject
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
        if self.round.is_multiple_of(MOUNTS_EVERY) {
            self.mounted = crate::mounts::mounted_devices();
        }
    }

    /// Forgets evicted files, and partitions that have no other file; but not what is `counted` again, or was
    /// named in this round, because it is about to be.
    pub fn forget(&mut self, evicted: &[InodeId], counted: &HashSet<InodeId>) {
        for id in evicted.iter().filter(|id| !counted.contains(id)) {
            if self.files.get(id).is_none_or(|named| named.round < self.round) {
                self.files.remove(id);
                self.users.remove(id);
                self.owners.remove(id);
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

fn compiled(targets: &[Target]) -> Vec<(NodeId, Rules)> {
    targets.iter().map(|target| (target.node.clone(), Rules::new(&target.rules))).collect()
}

impl Attribute for Attribution {
    fn file(&mut self, key: &FileKey) -> Subject {
        if key.is_overflow() {
            return Subject::Unattributed(UnattributedReason::FilesFull);
        }
        let id = InodeId::from(key);
        let users = self.users.entry(id).or_default();
        if *users & 1 << key.target == 0 {
            *users |= 1 << key.target;
            self.owners.remove(&id);
        }
        self.claim_of(key.target, id)
    }

    fn block(&mut self, key: &BlockKey) -> (Owner, Subject) {
        let host = |subject| (Owner::Host, subject);
        let no_file = Subject::Unattributed(UnattributedReason::NoFile);
        match BlockKind::of(key.kind) {
            Some(BlockKind::File) => self.owner_of(InodeId::from(key)),
            Some(BlockKind::Stripe) => {
                let claim = self.targets.get(key.target as usize);
                let subject = claim.map(|(node, rules)| rules.claim_stripe(node, key.dev, key.number));
                let subject = self.within_limit(subject.unwrap_or(no_file));
                (Owner::Target(key.target), subject)
            }
            Some(BlockKind::Metadata) if self.mounted.contains(&key.dev) => {
                host(Subject::Other(OtherReason::Metadata))
            }
            Some(BlockKind::Journal) => host(Subject::Other(OtherReason::Journal)),
            Some(BlockKind::Overflow) => {
                let owner = if key.target == HOST_TARGET { Owner::Host } else { Owner::Target(key.target) };
                (owner, Subject::Unattributed(UnattributedReason::FilesFull))
            }
            Some(BlockKind::Metadata | BlockKind::Unknown) | None => host(no_file),
        }
    }

    fn peer(&mut self, key: &PeerKey) -> Subject {
        if key.is_overflow() {
            return Subject::Unattributed(UnattributedReason::PeersFull);
        }
        let Some((node, rules)) = self.targets.get(key.target as usize) else {
            return Subject::Other(OtherReason::NoRule);
        };
        let subject = rules.claim_port(node, key.local.port);
        self.within_limit(subject)
    }
}

impl Attribution {
    /// Whose a file is where nobody knows who caused the access: the only target that uses it; else the only one
    /// whose rules claim it.
    fn owner_of(&mut self, id: InodeId) -> (Owner, Subject) {
        if let Some(known) = self.owners.get(&id) {
            return known.clone();
        }
        let users = self.users.get(&id).copied().unwrap_or_default();
        if users.count_ones() != 1 && self.path_of(&id).is_none() {
            return (Owner::Host, Subject::Unattributed(UnattributedReason::NoPath));
        }
        let may = |target: &u32| users == 0 || users & 1 << target != 0;
        let candidates: Vec<u32> = (0..self.targets.len() as u32).filter(may).collect();
        let claims: Vec<(u32, Subject)> =
            candidates.into_iter().map(|target| (target, self.claim_of(target, id))).collect();
        let is_claim = |subject: &Subject| !matches!(subject, Subject::Other(OtherReason::NoRule));
        let owner = match claims.as_slice() {
            [(target, subject)] if users != 0 => (Owner::Target(*target), subject.clone()),
            claims => {
                let mut claimed = claims.iter().filter(|(_, subject)| is_claim(subject));
                match (claimed.next(), claimed.next()) {
                    (Some((target, subject)), None) => (Owner::Target(*target), subject.clone()),
                    (None, _) if users == 0 => (Owner::Host, Subject::Other(OtherReason::NoTarget)),
                    _ => (Owner::Host, Subject::Unattributed(UnattributedReason::SeveralTargets)),
                }
            }
        };
        if owner.1 != Subject::Unattributed(UnattributedReason::NoPath) {
            self.owners.insert(id, owner.clone());
        }
        owner
    }
}

#[cfg(test)]
mod tests;
