//! Whose accesses a file's are: from the kernel's key to a partition, `other` or `unattributed`.
//!
//! Keeps the names of files as the kernel sent them, and the claims of the rules on them. Counts nothing.
//! A file without a name is `unattributed` until its name arrives; it never falls to a guess.
//!
//! A file is an inode (device, number, generation), under one path: that by which it was first accessed, as the
//! process sees it. Hard links are one file. A file that was renamed changes hands when its name is renewed,
//! one that was deleted keeps its last name, and one that takes over the inode number of another has a
//! generation of its own. On an overlay, the logical layer has the file as the overlay shows it, before
//! and after it was copied up; the device layer has the file of the layer that holds the blocks, under its path
//! there, which no target is known to use: it is a partition's only if exactly one target's rules claim that
//! path. What a device is given for a file before it has a name is nobody's: so is the copy for an overlay.

use crate::config::Target;
use crate::discovery::is_alive;
use crate::mounts::{Place, View, is_at, namespace_of};

use crate::probe::PathBelowMount;
use crate::rule::Rules;
use crate::window::{Attribute, Owner};
use isotherm_agent_ebpf::{BlockKey, BlockKind, FileKey, HOST_TARGET, PeerKey, Stripes};
use isotherm_model::{NodeId, OtherReason, PartitionId, Subject, UnattributedReason};
use std::collections::{BTreeSet, HashMap, HashSet};
use std::hash::{DefaultHasher, Hash, Hasher};
use std::path::{Path, PathBuf};
use std::rc::Rc;

/// Files whose path is checked per round, at most: a look at each costs a system call.
const CHECKS_PER_ROUND: usize = 1_000;

/// Rounds between two looks at what is mounted.
const MOUNTS_EVERY: u64 = 6;

/// Mount namespaces of watched processes that are remembered.
const MAX_VIEWS: usize = 64;

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
    /// A process in whose view the path holds.
    tgid: u32,
    /// That was a watched process.
    watched: bool,
    /// The kernel still gives this path, although the file is not there: it was deleted while open.
    detached: bool,
}

/// A file that the kernel has named.
#[derive(Debug)]
struct Named {
    /// `None` if its path is too deep to be known.
    file: Option<KnownFile>,
    /// Hash of the path that the kernel sent.
    below: u64,
    /// The naming epoch in which it was looked for.
    epoch: u64,
    /// When it was named last.
    round: u64,
}

/// What a look for the devices of rules found.
#[derive(Debug, Default, PartialEq, Eq)]
pub struct Devices {
    /// What the probe has to claim: the device's kernel number, and how it is divided.
    pub claims: Vec<(u32, Stripes)>,
    /// Paths of rules that lead to no block device, with the node whose rule it is.
    pub missing: Vec<(NodeId, PathBuf)>,
    /// Devices that rules of two nodes name; they are counted for the first.
    pub disputed: Vec<(u32, NodeId, NodeId)>,
}

/// Names and claims.
pub struct Attribution {
    targets: Vec<(NodeId, Rules)>,
    /// Watched processes.
    viewers: HashSet<u32>,
    /// What they see mounted, by mount namespace, the latest last. Kept when they have ended, as names of their
    /// files come later.
    views: Vec<(u64, View)>,
    /// A mount namespace came, in which files may have other paths than those known.
    view_came: bool,
    files: HashMap<InodeId, Named>,
    /// Targets whose processes were seen to access a file, a bit for each.
    users: HashMap<InodeId, u64>,
    /// Targets that are watched now, a bit for each.
    live: u64,
    /// Whose a file is in the device layer.
    owners: HashMap<InodeId, (Owner, Subject)>,
    /// Numbers of devices that hold a mounted file system.
    mounted: HashSet<u32>,
    round: u64,
    /// Counts the times that names were asked for anew.
    epoch: u64,
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
            viewers: HashSet::new(),
            views: Vec::new(),
            view_came: false,
            files: HashMap::new(),
            users: HashMap::new(),
            live: (0..targets.len()).fold(0, |bits, index| bits | 1 << index),
            owners: HashMap::new(),
            mounted: crate::mounts::mounted_devices(),
            round: 0,
            epoch: 0,
            checked: 0,
            claims: HashMap::new(),
            partitions: BTreeSet::new(),
            max_partitions,
            limit_reported: false,
        }
    }

    /// Goes on with other targets and rules: names are kept, every claim is made anew. Targets that are not
    /// `live` are told of what they still did, but own nothing any more.
    pub fn reload(&mut self, targets: &[Target], live: impl IntoIterator<Item = usize>) {
        let live = live.into_iter().fold(0, |bits, index| bits | 1 << index);
        // An index may have been another target's before.
        let new = live & !self.live;
        self.users.values_mut().for_each(|users| *users &= !new);
        self.live = live;
        self.targets = compiled(targets);
        self.claims.clear();
        self.owners.clear();
        self.partitions.clear();
        self.limit_reported = false;
    }

    /// Says which processes are watched. In their views, paths of files are looked for that a thread of the kernel
    /// or an unknown process brought to a device.
    pub fn set_viewers(&mut self, pids: impl IntoIterator<Item = u32>) {
        self.viewers = pids.into_iter().collect();
        let mut seen = HashSet::new();
        for pid in &self.viewers {
            let Some(namespace) = namespace_of(*pid).filter(|namespace| seen.insert(*namespace)) else {
                continue;
            };
            let Some(view) = View::of(*pid) else { continue };
            let known = self.views.len();
            self.views.retain(|(known, _)| *known != namespace);
            // Beyond the limit, views come and go, and names cannot be asked for each time.
            self.view_came |= self.views.len() == known && known < MAX_VIEWS;
            self.views.push((namespace, view));
        }
        let excess = self.views.len().saturating_sub(MAX_VIEWS);
        self.views.drain(..excess);
    }

    /// Looks up the devices that rules name, by a function that gives a path's number in kernel form, as
    /// [`crate::mounts::block_device`] does. To be repeated when a device may have come.
    ///
    /// A device that only locators name counts for a target if one of its processes has it `open`, and no rule of the
    /// configuration gives it to another target.
    pub fn find_devices(
        &mut self,
        number_of: impl Fn(&Path) -> Option<u32>,
        open: &BTreeSet<(u32, u32)>,
    ) -> Devices {
        let mut found = Devices::default();
        let mut first: HashMap<u32, NodeId> = HashMap::new();
        let mut configured: HashMap<u32, u32> = HashMap::new();
        for (index, (_, rules)) in self.targets.iter().enumerate() {
            for dev in rules.devices().filter_map(&number_of) {
                configured.entry(dev).or_insert(index as u32);
            }
        }
        for (index, (node, rules)) in self.targets.iter_mut().enumerate() {
            let index = index as u32;
            let may_locate = |dev: u32| {
                open.contains(&(index, dev)) && configured.get(&dev).is_none_or(|owner| *owner == index)
            };
            let (claims, missing) = rules.find_devices_where(index, &number_of, &may_locate);
            found.missing.extend(missing.into_iter().map(|path| (node.clone(), path.to_owned())));
            for (dev, stripes) in claims {
                match first.get(&dev) {
                    Some(other) => found.disputed.push((dev, other.clone(), node.clone())),
                    None => {
                        first.insert(dev, node.clone());
                        found.claims.push((dev, stripes));
                    }
                }
            }
        }
        found
    }

    /// The targets of which locators name devices.
    #[must_use]
    pub fn locating_devices(&self) -> BTreeSet<u32> {
        let targets = self.targets.iter().enumerate();
        targets.filter(|(_, (_, rules))| rules.locates_devices()).map(|(index, _)| index as u32).collect()
    }

    /// Takes in names that the kernel has sent.
    pub fn learn(&mut self, names: Vec<PathBelowMount>) {
        let mut views = HashMap::new();
        for name in names {
            let id = InodeId { ino: name.ino, dev: name.dev, generation: name.generation };
            // What has files is mounted, if only where the agent does not see it.
            self.mounted.insert(name.dev);
            let below = hash_of(name.path.as_deref());
            // Each key of a file sends its name; to look for the path once is enough.
            if let Some(known) = self.files.get_mut(&id)
                && (known.below, known.epoch) == (below, self.epoch)
                && known.file.as_ref().is_some_and(|file| file.watched || file.tgid == name.tgid)
            {
                known.round = self.round;
                continue;
            }
            let file = name.path.as_ref().map(|below_root| self.find(&mut views, id, &name, below_root));
            let before = self.files.get(&id).and_then(|named| named.file.as_ref());
            if before.map(|before| &before.path) != file.as_ref().map(|file| &file.path) {
                for target in 0..self.targets.len() as u32 {
                    self.claims.remove(&(target, id));
                }
                self.owners.remove(&id);
            }
            self.files.insert(id, Named { file, below, epoch: self.epoch, round: self.round });
        }
    }

    /// Where a file is: as its sender sees it, if that is watched; else as the watched process saw it that had
    /// it before, else as any watched one sees it. Only a file that none of them sees is where its sender, or the
    /// agent, sees it. One that is nowhere, such as an anonymous memory file, has a path without its leading
    /// slash, which no path of a process looks like.
    fn find(
        &self,
        views: &mut HashMap<u32, Option<Rc<View>>>,
        id: InodeId,
        name: &PathBelowMount,
        below_root: &Path,
    ) -> KnownFile {
        let before = self.files.get(&id).and_then(|named| named.file.as_ref());
        let sender = (name.tgid, self.viewers.contains(&name.tgid));
        let known = before.filter(|before| before.watched).map(|before| (before.tgid, true));
        let first = sender.1.then_some(sender).into_iter().chain(known);
        let last = [sender, (std::process::id(), false)];
        let mut perhaps = None;
        let mut look = |view: &View, watched: bool| match view.place(id.dev, id.ino, below_root) {
            Place::There(path) => Some(KnownFile { path, tgid: view.tgid(), watched, detached: false }),
            Place::Perhaps(path) => {
                perhaps.get_or_insert((path, view.tgid(), watched));
                None
            }
            Place::Nowhere => None,
        };
        let mut view_of = |tgid| views.entry(tgid).or_insert_with(|| View::of(tgid).map(Rc::new)).clone();
        let mut found = first.into_iter().find_map(|(tgid, watched)| look(view_of(tgid)?.as_ref(), watched));
        if found.is_none() {
            found = self.views.iter().find_map(|(_, view)| look(view, true));
        }
        if found.is_none() {
            found = last.into_iter().find_map(|(tgid, watched)| look(view_of(tgid)?.as_ref(), watched));
        }
        found.unwrap_or_else(|| {
            let nowhere = || below_root.strip_prefix("/").unwrap_or(below_root).to_owned();
            let (path, tgid, watched) = perhaps.unwrap_or_else(|| (nowhere(), name.tgid, false));
            KnownFile { detached: before.is_some_and(|before| before.path == path), path, tgid, watched }
        })
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

    /// Whether some file that was just active is no longer where its name says, renamed since; or a process with
    /// mounts of its own came since the last question. The kernel should then be asked for names again. `process_of` gives a living process of a target.
    pub fn any_moved<'a>(
        &mut self,
        active: impl Iterator<Item = &'a FileKey>,
        process_of: impl Fn(u32) -> Option<u32>,
    ) -> bool {
        if std::mem::take(&mut self.view_came) {
            self.epoch += 1;
            return true;
        }
        let mut alive: HashMap<u32, bool> = HashMap::new();
        let mut seen = HashSet::new();
        let files: Vec<(InodeId, u32)> =
            active.map(|key| (InodeId::from(key), key.target)).filter(|(id, _)| seen.insert(*id)).collect();
        // Every file gets its turn, however many there are.
        let start = if files.is_empty() { 0 } else { self.checked % files.len() };
        self.checked = start + CHECKS_PER_ROUND;
        let moved =
            files.iter().cycle().skip(start).take(files.len().min(CHECKS_PER_ROUND)).any(|(id, target)| {
                let Some(file) = self.files.get(id).and_then(|named| named.file.as_ref()) else {
                    return false;
                };
                let lives = *alive.entry(file.tgid).or_insert_with(|| is_alive(file.tgid));
                let viewer = if lives { Some(file.tgid) } else { process_of(*target) };
                file.path.is_absolute()
                    && !file.detached
                    && viewer.is_some_and(|viewer| !is_at(viewer, &file.path, id.ino))
            });
        self.epoch += u64::from(moved);
        moved
    }

    /// Ends a round of learning and telling.
    pub fn next_round(&mut self) {
        self.round += 1;
        if self.round.is_multiple_of(MOUNTS_EVERY) {
            self.mounted = crate::mounts::mounted_devices();
            self.mounted.extend(self.files.keys().map(|id| id.dev));
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

fn hash_of(path: Option<&Path>) -> u64 {
    let mut hasher = DefaultHasher::new();
    path.hash(&mut hasher);
    hasher.finish()
}

fn compiled(targets: &[Target]) -> Vec<(NodeId, Rules)> {
    targets.iter().map(|target| (target.node.clone(), Rules::of(target))).collect()
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
        let host = |subject| (Owner::Device(key.dev), subject);
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
        let users = self.users.get(&id).copied().unwrap_or_default() & self.live;
        if users.count_ones() != 1 && self.path_of(&id).is_none() {
            return (Owner::Device(id.dev), Subject::Unattributed(UnattributedReason::NoPath));
        }
        let owner = if users.count_ones() == 1 {
            let target = users.trailing_zeros();
            (Owner::Target(target), self.claim_of(target, id))
        } else {
            let may = |target: &u32| self.live & 1 << target != 0 && (users == 0 || users & 1 << target != 0);
            let path = self.path_of(&id).map(Path::to_string_lossy);
            // Only tried: a claim that comes to nothing takes no place among the partitions.
            let claims = |target: &u32| {
                let (Some(path), Some((node, rules))) = (&path, self.targets.get(*target as usize)) else {
                    return false;
                };
                rules.claim_path(node, path) != Subject::Other(OtherReason::NoRule)
            };
            let mut claiming = (0..self.targets.len() as u32).filter(may).filter(claims);
            match (claiming.next(), claiming.next()) {
                (Some(target), None) => (Owner::Target(target), self.claim_of(target, id)),
                (None, _) if users == 0 => (Owner::Device(id.dev), Subject::Other(OtherReason::NoTarget)),
                _ => (Owner::Device(id.dev), Subject::Unattributed(UnattributedReason::SeveralTargets)),
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
