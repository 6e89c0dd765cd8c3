//! Whose a file's accesses are, and what each rule says.

use super::{ExplainError, View, number, unread_line, verdict};
use crate::config::Target;
use crate::rule::{PathRule, Rule, Rules};
use isotherm_model::Subject;
use procfs::process::Process;
use regex::Regex;
use serde::Serialize;
use std::collections::BTreeMap;
use std::fmt;
use std::fs::Metadata;
use std::os::unix::fs::MetadataExt;
use std::path::Path;

/// A file and whom it belongs to.
#[derive(Debug, Serialize)]
pub struct FileStory {
    /// Its path, without symbolic links.
    pub path: String,
    /// Its inode number.
    pub inode: u64,
    /// The device of its file system, `major:minor`.
    pub device: String,
    /// Type of its file system and where that is mounted; absent if no mount of this process has the device.
    pub filesystem: Option<Filesystem>,
    /// Every target, with each of its rules on the path above.
    pub targets: Vec<RulesStory>,
    /// The processes of targets that have it open.
    pub open: Vec<Opener>,
    /// Processes of targets whose open files could not be read.
    pub unread: Vec<u32>,
}

/// Where a file lies.
#[derive(Debug, Serialize)]
pub struct Filesystem {
    /// Such as `ext4`.
    pub kind: String,
    /// Where it is mounted.
    pub mounted_at: String,
    /// What is mounted: a block device, or a name.
    pub source: Option<String>,
}

/// What a target's rules say.
#[derive(Debug, Serialize)]
pub struct RulesStory {
    /// The target.
    pub target: String,
    /// Whom an access by one of its processes would count for.
    pub verdict: String,
    /// Each rule of the configuration.
    pub rules: Vec<RuleStory>,
    /// What locators say of the path; absent if they do not name it. Rules of the configuration win over it.
    pub located: Option<LocatedStory>,
}

/// What locators say of a file.
#[derive(Debug, Serialize)]
pub struct LocatedStory {
    /// Whose it is.
    pub verdict: String,
    /// Of the locators that the agent keeps.
    pub revision: u64,
}

/// What a rule says.
#[derive(Debug, Serialize)]
pub struct RuleStory {
    /// Its pattern.
    pub path: String,
    /// How it makes a partition's id.
    pub partition: String,
    /// Whether it claims the file.
    pub claims: bool,
    /// The groups that took part, by name or number.
    pub captures: BTreeMap<String, String>,
    /// The partition that it claims the file for.
    pub id: Option<String>,
}

/// A process that has the file open.
#[derive(Debug, Serialize)]
pub struct Opener {
    /// Its id.
    pub pid: u32,
    /// Its target.
    pub target: String,
    /// The path as it sees it, which the rules are asked about.
    pub path: String,
    /// Whom its accesses count for.
    pub verdict: String,
}

pub(super) fn explain(view: &View<'_>, path: &Path, metadata: &Metadata) -> Result<FileStory, ExplainError> {
    let real = path.canonicalize().map_err(|source| ExplainError::Path { path: path.to_owned(), source })?;
    let text = real.to_string_lossy().into_owned();
    let device = number(metadata.dev());
    let mut open: Vec<Opener> = Vec::new();
    let unread = view.open_files(|pid, index, other, seen| {
        let same = (other.dev(), other.ino()) == (metadata.dev(), metadata.ino());
        if !same || open.iter().any(|opener| opener.pid == pid) {
            return;
        }
        let target = &view.config.targets[index];
        let seen = seen.to_string_lossy().trim_end_matches(" (deleted)").to_owned();
        let verdict = verdict(&Rules::of(target).claim_path(&target.node, &seen));
        open.push(Opener { pid, target: target.node.to_string(), path: seen, verdict });
    });
    Ok(FileStory {
        filesystem: filesystem(&real, &device),
        inode: metadata.ino(),
        targets: view.config.targets.iter().map(|target| rules(target, &text, view.revision)).collect(),
        path: text,
        device,
        open,
        unread,
    })
}

/// The mount that a path lies on: of those of its device that are above it, the innermost.
fn filesystem(path: &Path, device: &str) -> Option<Filesystem> {
    let mounts = Process::myself().and_then(|process| process.mountinfo()).ok()?.0;
    let mount = mounts
        .into_iter()
        .filter(|mount| mount.majmin == device && path.starts_with(&mount.mount_point))
        .max_by_key(|mount| mount.mount_point.components().count())?;
    Some(Filesystem {
        kind: mount.fs_type,
        mounted_at: mount.mount_point.display().to_string(),
        source: mount.mount_source,
    })
}

fn rules(target: &Target, path: &str, revision: u64) -> RulesStory {
    RulesStory {
        target: target.node.to_string(),
        verdict: verdict(&Rules::of(target).claim_path(&target.node, path)),
        located: match target.located.claim_path(path) {
            Subject::Other(_) => None,
            claimed @ (Subject::Partition(_) | Subject::Unattributed(_)) => {
                Some(LocatedStory { verdict: verdict(&claimed), revision })
            }
        },
        rules: target
            .rules
            .iter()
            .filter_map(|rule| match rule {
                Rule::Path(rule) => Some(one_rule(rule, path)),
                // They claim no files.
                Rule::Port(_) | Rule::Device(_) => None,
            })
            .collect(),
    }
}

fn one_rule(rule: &PathRule, path: &str) -> RuleStory {
    // The rule was made of the same pattern, so that this one is good.
    let captures = Regex::new(rule.pattern()).ok().and_then(|regex| {
        let found = regex.captures(path)?;
        let names = regex.capture_names().enumerate();
        let groups = names.skip(1).filter_map(|(index, name)| {
            let key = name.map_or_else(|| index.to_string(), ToOwned::to_owned);
            Some((key, found.get(index)?.as_str().to_owned()))
        });
        Some(groups.collect())
    });
    let id = rule.claim(path);
    RuleStory {
        path: rule.pattern().to_owned(),
        partition: rule.template().to_owned(),
        claims: id.is_some(),
        captures: captures.unwrap_or_default(),
        id,
    }
}

impl fmt::Display for FileStory {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        writeln!(f, "file {}: inode {} on device {}", self.path, self.inode, self.device)?;
        match &self.filesystem {
            Some(found) => {
                let source = found.source.as_deref().unwrap_or("an unnamed source");
                writeln!(f, "  file system {} of {source}, mounted at {}", found.kind, found.mounted_at)?;
            }
            None => writeln!(f, "  file system unknown: no mount here has this device")?,
        }
        for target in &self.targets {
            writeln!(f, "target {}: {}", target.target, target.verdict)?;
            for rule in &target.rules {
                let groups: Vec<String> =
                    rule.captures.iter().map(|(key, value)| format!("{key} = {value}")).collect();
                match &rule.id {
                    Some(id) => writeln!(f, "  {} claims it for {id:?} ({})", rule.path, groups.join(", "))?,
                    None => writeln!(f, "  {} does not claim it", rule.path)?,
                }
            }
            if let Some(LocatedStory { verdict, revision }) = &target.located {
                let loses = if *verdict == target.verdict { "" } else { ", but a rule above wins" };
                writeln!(f, "  locators of revision {revision} say {verdict}{loses}")?;
            }
        }
        if self.open.is_empty() {
            writeln!(f, "no process of a target has it open")?;
        }
        for opener in &self.open {
            let Opener { pid, target, path, verdict } = opener;
            writeln!(f, "open in process {pid} of {target} as {path}: {verdict}")?;
        }
        unread_line(f, &self.unread)
    }
}
