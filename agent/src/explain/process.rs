//! Which target takes a process, and why the others do not.

use super::{ExplainError, View};
use serde::Serialize;
use std::collections::BTreeSet;
use std::fmt;

/// Ancestors that are shown.
const MAX_PARENTS: usize = 32;

/// A process and its target.
#[derive(Debug, Serialize)]
pub struct ProcessStory {
    /// Its id.
    pub pid: u32,
    /// Its executable.
    pub exe: String,
    /// Its arguments.
    pub cmdline: String,
    /// Its control groups.
    pub cgroups: Vec<String>,
    /// Addresses that it listens on.
    pub listening: Vec<String>,
    /// The target that it counts for.
    pub target: Option<String>,
    /// Why.
    pub because: String,
    /// Its parent, the parent's parent and so on.
    pub parents: Vec<Parent>,
    /// Every target, with each part of its selector.
    pub targets: Vec<TargetStory>,
}

/// An ancestor.
#[derive(Debug, Serialize)]
pub struct Parent {
    /// Its id.
    pub pid: u32,
    /// Its executable.
    pub exe: String,
    /// The target that it counts for.
    pub target: Option<String>,
}

/// A target's selector, held against the process.
#[derive(Debug, Serialize)]
pub struct TargetStory {
    /// The target.
    pub target: String,
    /// Whether all parts hold.
    pub matches: bool,
    /// The parts.
    pub parts: Vec<PartStory>,
}

/// One part of a selector.
#[derive(Debug, Serialize)]
pub struct PartStory {
    /// Its key in the configuration.
    pub key: &'static str,
    /// What it asks for.
    pub wanted: String,
    /// What the process has.
    pub seen: Vec<String>,
    /// Whether that is so.
    pub holds: bool,
}

pub(super) fn explain(mut view: View<'_>, pid: u32) -> Result<ProcessStory, ExplainError> {
    let process = view.candidate(pid).cloned().ok_or(ExplainError::NoProcess { pid })?;
    let mut targets = Vec::new();
    for target in &view.config.targets {
        let parts: Vec<PartStory> = target
            .select
            .parts()
            .map(|part| PartStory {
                key: part.key(),
                wanted: part.to_string(),
                seen: part.seen(&process, &mut view.listeners),
                holds: part.holds(&process, &mut view.listeners),
            })
            .collect();
        let matches = parts.iter().all(|part| part.holds);
        targets.push(TargetStory { target: target.node.to_string(), matches, parts });
    }
    let name = |pid: u32| view.owners.get(&pid).map(|index| view.node(*index).to_string());
    let mut parents = Vec::new();
    let mut seen = BTreeSet::from([pid]);
    let mut next = process.parent;
    while let Some(parent) = view.candidate(next).filter(|parent| seen.insert(parent.pid)) {
        if parents.len() == MAX_PARENTS {
            break;
        }
        let exe = parent.exe.display().to_string();
        parents.push(Parent { pid: parent.pid, exe, target: name(parent.pid) });
        next = parent.parent;
    }
    let others = targets.iter().filter(|target| target.matches).skip(1).count();
    let because = if view.selected.contains_key(&pid) {
        let first = if others == 0 { "" } else { ", the first of several in the configuration" };
        format!("every part of its selector holds{first}")
    } else if name(pid).is_some() {
        format!("its parent {} counts for it, and no selector takes it", process.parent)
    } else {
        "no selector takes it, and its parent counts for no target".to_owned()
    };
    Ok(ProcessStory {
        pid,
        exe: process.exe.display().to_string(),
        cmdline: process.cmdline.clone(),
        cgroups: process.cgroups.clone(),
        target: name(pid),
        because,
        parents,
        targets,
        listening: view.listeners.of(&process).iter().map(ToString::to_string).collect(),
    })
}

impl fmt::Display for ProcessStory {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        writeln!(f, "process {}: {}", self.pid, self.target.as_deref().unwrap_or("no target"))?;
        writeln!(f, "  because {}", self.because)?;
        writeln!(f, "  exe     {}", self.exe)?;
        writeln!(f, "  cmdline {}", self.cmdline)?;
        writeln!(f, "  cgroup  {}", self.cgroups.join(" "))?;
        writeln!(
            f,
            "  listens {}",
            if self.listening.is_empty() { "nowhere".to_owned() } else { self.listening.join(" ") }
        )?;
        for parent in &self.parents {
            let target = parent.target.as_deref().unwrap_or("no target");
            writeln!(f, "  child of {} {}: {target}", parent.pid, parent.exe)?;
        }
        for target in &self.targets {
            writeln!(
                f,
                "target {}: {}",
                target.target,
                if target.matches { "matches" } else { "does not match" }
            )?;
            for part in &target.parts {
                let holds = if part.holds { "holds" } else { "fails" };
                let seen = if part.seen.is_empty() { "nothing".to_owned() } else { part.seen.join(" ") };
                writeln!(f, "  {} = {}: {holds}, it is {seen}", part.key, part.wanted)?;
            }
        }
        Ok(())
    }
}
