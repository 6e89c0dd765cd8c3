//! What lies on a block device, and what it lies on.

use super::{ExplainError, View, number, unread_line};
use crate::rule::Rule;
use procfs::process::Process;
use serde::Serialize;
use std::collections::{BTreeMap, BTreeSet};
use std::fmt;
use std::os::unix::fs::MetadataExt;
use std::path::{Path, PathBuf};

/// Devices of a stack that are looked at: loops there are none, but links one can make.
const MAX_STACK: usize = 256;

/// Files of a file system that are named; the others are counted.
const MAX_FILES: usize = 20;

/// A block device and what has to do with it.
///
/// Whatever happens on it and is of no target's file counts for a node of the host; if rules name it, all of it
/// counts for the first target whose rules do.
#[derive(Debug, Serialize)]
pub struct DeviceStory {
    /// Its name.
    pub name: String,
    /// `major:minor`.
    pub number: String,
    /// Bytes.
    pub size_bytes: Option<u64>,
    /// The disk that it is a partition of.
    pub disk: Option<String>,
    /// Its partitions.
    pub partitions: Vec<String>,
    /// Devices that it is made of, and those that they are made of.
    pub below: Vec<String>,
    /// Devices that are made of it or its partitions, and so on.
    pub above: Vec<String>,
    /// Rules that claim parts of it.
    pub rules: Vec<ClaimStory>,
    /// File systems on it, or on what is made of it.
    pub filesystems: Vec<MountedStory>,
    /// Processes of targets whose open files could not be read.
    pub unread: Vec<u32>,
}

/// A rule over the device.
#[derive(Debug, Serialize)]
pub struct ClaimStory {
    /// The target that it is of.
    pub target: String,
    /// What it claims for which partition.
    pub claims: String,
    /// The revision of the locators that it is by; absent for one of the configuration. Such a rule holds while a
    /// process of the target has the device open.
    pub locators: Option<u64>,
}

/// A mounted file system.
#[derive(Debug, Serialize)]
pub struct MountedStory {
    /// The device that it lies on.
    pub device: String,
    /// Such as `ext4`.
    pub kind: String,
    /// Where it is mounted, as the agent sees it.
    pub mounted_at: Vec<String>,
    /// Files on it that targets have open: target, number, and some of their paths.
    pub open: Vec<OpenStory>,
}

/// Files that a target has open.
#[derive(Debug, Serialize)]
pub struct OpenStory {
    /// The target.
    pub target: String,
    /// How many files.
    pub files: usize,
    /// The first of them, by path.
    pub paths: Vec<String>,
}

/// The number of a device by its folder in /sys.
pub(super) fn number_of(folder: &Path) -> Result<String, ExplainError> {
    let path = folder.join("dev");
    let text = std::fs::read_to_string(&path);
    let text = text.map_err(|source| ExplainError::Device { number: "?".to_owned(), path, source })?;
    Ok(text.trim().to_owned())
}

pub(super) fn explain(view: &View<'_>, number: &str) -> Result<DeviceStory, ExplainError> {
    let link = Path::new("/sys/dev/block").join(number);
    let folder = link.canonicalize().map_err(|source| ExplainError::Device {
        number: number.to_owned(),
        path: link.clone(),
        source,
    })?;
    let partitions = partitions(&folder);
    let disk = folder.join("partition").exists().then(|| folder.parent().map(name)).flatten();
    let mut above = BTreeSet::new();
    for start in std::iter::once(&folder).chain(&partitions) {
        walk(start, "holders", &mut above);
    }
    let mut below = BTreeSet::new();
    walk(&folder, "slaves", &mut below);
    // By number, so that mounts can be found.
    let mut devices: BTreeMap<String, String> = BTreeMap::new();
    for device in std::iter::once(&folder).chain(&partitions).chain(&above) {
        devices.insert(number_of(device)?, name(device));
    }
    let (filesystems, unread) = filesystems(view, &devices);
    let sectors = std::fs::read_to_string(folder.join("size")).ok();
    Ok(DeviceStory {
        name: name(&folder),
        number: number.to_owned(),
        // In units of 512 bytes, whatever the device's own are.
        size_bytes: sectors.and_then(|text| text.trim().parse::<u64>().ok()).map(|sectors| sectors * 512),
        disk,
        partitions: partitions.iter().map(|folder| name(folder)).collect(),
        below: below.iter().map(|folder| name(folder)).collect(),
        above: above.iter().map(|folder| name(folder)).collect(),
        rules: rules(view, number),
        filesystems,
        unread,
    })
}

fn rules(view: &View<'_>, number: &str) -> Vec<ClaimStory> {
    let is_it =
        |path: &Path| std::fs::metadata(path).is_ok_and(|found| super::number(found.rdev()) == number);
    let mut found = Vec::new();
    for target in &view.config.targets {
        let configured = target.rules.iter().filter_map(|rule| match rule {
            Rule::Device(rule) => Some((rule, None)),
            Rule::Path(_) | Rule::Port(_) => None,
        });
        let located = target.located.devices().iter().map(|rule| (rule, Some(view.revision)));
        for (rule, locators) in configured.chain(located).filter(|(rule, _)| is_it(rule.device())) {
            let (target, claims) = (target.node.to_string(), rule.summary());
            found.push(ClaimStory { target, claims, locators });
        }
    }
    found
}

fn name(folder: &Path) -> String {
    folder.file_name().unwrap_or_default().to_string_lossy().into_owned()
}

fn partitions(folder: &Path) -> Vec<PathBuf> {
    let entries = std::fs::read_dir(folder).into_iter().flatten().filter_map(Result::ok);
    let mut found: Vec<PathBuf> =
        entries.map(|entry| entry.path()).filter(|path| path.join("partition").exists()).collect();
    found.sort();
    found
}

/// Adds what stands in `direction` of a device, and what stands there of that.
fn walk(folder: &Path, direction: &str, found: &mut BTreeSet<PathBuf>) {
    let Ok(entries) = std::fs::read_dir(folder.join(direction)) else { return };
    for entry in entries.filter_map(Result::ok) {
        if let Ok(next) = entry.path().canonicalize()
            && found.len() < MAX_STACK
            && found.insert(next.clone())
        {
            walk(&next, direction, found);
        }
    }
}

fn filesystems(view: &View<'_>, devices: &BTreeMap<String, String>) -> (Vec<MountedStory>, Vec<u32>) {
    let mounts = Process::myself().and_then(|process| process.mountinfo());
    let mut found: BTreeMap<String, (String, Vec<String>)> = BTreeMap::new();
    for mount in mounts.map(|mounts| mounts.0).unwrap_or_default() {
        if devices.contains_key(&mount.majmin) {
            let (_, places) = found.entry(mount.majmin).or_insert((mount.fs_type, Vec::new()));
            places.push(mount.mount_point.display().to_string());
        }
    }
    let mut open: BTreeMap<(String, usize), BTreeSet<PathBuf>> = BTreeMap::new();
    let unread = view.open_files(|_, index, metadata, path| {
        let device = number(metadata.dev());
        if metadata.is_file() && found.contains_key(&device) {
            open.entry((device, index)).or_default().insert(path);
        }
    });
    let mounted = found.into_iter().map(|(number, (kind, mounted_at))| {
        let mine = open.iter().filter(|((device, _), _)| *device == number);
        let open = mine.map(|((_, index), paths)| OpenStory {
            target: view.node(*index).to_string(),
            files: paths.len(),
            paths: paths.iter().take(MAX_FILES).map(|path| path.display().to_string()).collect(),
        });
        MountedStory { device: devices[&number].clone(), kind, mounted_at, open: open.collect() }
    });
    (mounted.collect(), unread)
}

impl fmt::Display for DeviceStory {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        let size =
            self.size_bytes.map_or_else(|| "unknown size".to_owned(), |bytes| format!("{bytes} bytes"));
        writeln!(f, "block device {} ({}), {size}", self.name, self.number)?;
        if let Some(disk) = &self.disk {
            writeln!(f, "  partition of {disk}")?;
        }
        for (what, devices) in
            [("partitions", &self.partitions), ("made of", &self.below), ("part of", &self.above)]
        {
            if !devices.is_empty() {
                writeln!(f, "  {what} {}", devices.join(" "))?;
            }
        }
        for rule in &self.rules {
            let by = rule.locators.map(|revision| format!(" by locators of revision {revision}"));
            writeln!(f, "a rule of {} claims {}{}", rule.target, rule.claims, by.unwrap_or_default())?;
        }
        if self.filesystems.is_empty() && self.rules.is_empty() {
            writeln!(f, "no file system on it is mounted here: its accesses count for the host")?;
        }
        for filesystem in &self.filesystems {
            let places = filesystem.mounted_at.join(" ");
            writeln!(f, "file system {} on {}, mounted at {places}", filesystem.kind, filesystem.device)?;
            if filesystem.open.is_empty() {
                writeln!(f, "  no process of a target has a file open on it")?;
            }
            for open in &filesystem.open {
                writeln!(f, "  {} has {} files open", open.target, open.files)?;
                for path in &open.paths {
                    writeln!(f, "    {path}")?;
                }
                if open.files > open.paths.len() {
                    writeln!(f, "    and {} more", open.files - open.paths.len())?;
                }
            }
        }
        unread_line(f, &self.unread)
    }
}
