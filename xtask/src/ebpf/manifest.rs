//! What the committed object was made from, in a form that can be checked without any tool.

use super::toolchain::{PINNED, Toolchain};
use super::{CHECKSUM, MANIFEST, OBJECT, folder};
use anyhow::{Context, Result, bail};
use serde::{Deserialize, Serialize};
use sha2::{Digest, Sha256};
use std::collections::{BTreeMap, BTreeSet};
use std::fmt::Write;
use std::fs;
use std::path::{Path, PathBuf};

/// Hashes and versions behind the committed object.
#[derive(Debug, PartialEq, Serialize, Deserialize)]
#[serde(deny_unknown_fields)]
pub(crate) struct Manifest {
    /// Of the object.
    pub(crate) object_sha256: String,
    /// Of the kernel crate: its sources and its `Cargo.toml`.
    sources_sha256: String,
    /// The compiler, for people.
    rustc: String,
    /// The compiler, exactly.
    rustc_commit: String,
    /// The linker's version.
    bpf_linker: String,
    /// Of the core library that was compiled in.
    core_source_sha256: String,
    /// Versions of the crates that it contains, from `Cargo.lock`.
    crates: BTreeMap<String, String>,
}

impl Manifest {
    /// Describes an object that was just built.
    pub(super) fn of(root: &Path, object: &[u8], tools: &Toolchain) -> Result<Self> {
        Ok(Self {
            object_sha256: hex(&Sha256::digest(object)),
            sources_sha256: sources_sha256(root)?,
            rustc: tools.nightly.version.clone(),
            rustc_commit: PINNED.commit.to_owned(),
            bpf_linker: tools.linker_version.clone(),
            core_source_sha256: tools.core_source_sha256.clone(),
            crates: crates(root)?,
        })
    }

    /// Reads the committed one.
    pub(super) fn read(root: &Path) -> Result<Self> {
        let path = folder(root).join(MANIFEST);
        let text = fs::read_to_string(&path).with_context(|| format!("read {}", path.display()))?;
        toml::from_str(&text).with_context(|| format!("parse {}", path.display()))
    }

    pub(super) fn to_toml(&self) -> Result<String> {
        let head = "# Written by `cargo xtask ebpf build`, checked by `cargo xtask ebpf verify`.\n";
        Ok(format!("{head}{}", toml::to_string(self).context("write the manifest")?))
    }

    /// The first tool that is not the one the committed object was built with.
    pub(super) fn other_tool(&self, tools: &Toolchain) -> Option<String> {
        if self.rustc_commit != PINNED.commit {
            Some(format!("rustc (built with {})", self.rustc))
        } else if self.bpf_linker != tools.linker_version {
            Some(format!("bpf-linker ({}, built with {})", tools.linker_version, self.bpf_linker))
        } else if self.core_source_sha256 != tools.core_source_sha256 {
            Some("the core source".to_owned())
        } else {
            None
        }
    }
}

/// Checks that object, checksum, manifest, sources and `Cargo.lock` belong together.
pub(crate) fn check(root: &Path) -> Result<()> {
    let manifest = Manifest::read(root)?;
    let read = |name: &str| {
        let path = folder(root).join(name);
        fs::read(&path).with_context(|| format!("read {}", path.display()))
    };
    let found = hex(&Sha256::digest(read(OBJECT)?));
    if found != manifest.object_sha256 {
        bail!("{OBJECT} has the hash {found}, its manifest says {}", manifest.object_sha256);
    }
    if read(CHECKSUM)? != format!("{found}  {OBJECT}\n").as_bytes() {
        bail!("{CHECKSUM} is not the checksum of {OBJECT}");
    }
    if sources_sha256(root)? != manifest.sources_sha256 {
        bail!("the sources of agent-ebpf changed since {OBJECT} was built: run `cargo xtask ebpf build`");
    }
    let crates = crates(root)?;
    if crates != manifest.crates {
        bail!(
            "Cargo.lock has {crates:?}, {OBJECT} was built with {:?}: run `cargo xtask ebpf build`",
            manifest.crates
        );
    }
    Ok(())
}

fn sources_sha256(root: &Path) -> Result<String> {
    sha256_of_files(&root.join("agent-ebpf"), &["Cargo.toml", "src"])
}

/// SHA-256 over relative names and contents of all files below `parts`, in order of name.
pub(super) fn sha256_of_files(base: &Path, parts: &[&str]) -> Result<String> {
    let mut files = BTreeSet::new();
    for part in parts {
        collect(&base.join(part), &mut files)?;
    }
    let mut hash = Sha256::new();
    for file in files {
        let content = fs::read(&file).with_context(|| format!("read {}", file.display()))?;
        let name = file.strip_prefix(base).unwrap_or(&file).to_string_lossy().into_owned();
        hash.update(format!("{} {name}\n", content.len()));
        hash.update(content);
    }
    Ok(hex(&hash.finalize()))
}

fn collect(path: &Path, files: &mut BTreeSet<PathBuf>) -> Result<()> {
    if path.is_dir() {
        for entry in fs::read_dir(path).with_context(|| format!("list {}", path.display()))? {
            collect(&entry?.path(), files)?;
        }
    } else {
        files.insert(path.to_path_buf());
    }
    Ok(())
}

/// The part of `Cargo.lock` that matters here.
#[derive(Deserialize)]
struct Lock {
    package: Vec<Locked>,
}

#[derive(Deserialize)]
struct Locked {
    name: String,
    version: String,
    #[serde(default)]
    dependencies: Vec<String>,
}

/// The aya crates that the kernel crate depends on, however deep.
///
/// Others in that closure run at build time only, and a new version of them must not ask for a new object.
fn crates(root: &Path) -> Result<BTreeMap<String, String>> {
    let path = root.join("Cargo.lock");
    let text = fs::read_to_string(&path).with_context(|| format!("read {}", path.display()))?;
    let lock: Lock = toml::from_str(&text).with_context(|| format!("parse {}", path.display()))?;
    let mut found = BTreeMap::new();
    let mut waiting = vec!["isotherm-agent-ebpf".to_owned()];
    while let Some(name) = waiting.pop() {
        for package in lock.package.iter().filter(|package| package.name == name) {
            let aya = |name: &str| name.starts_with("aya-") && name != "aya-build";
            if aya(&package.name) {
                found.insert(package.name.clone(), package.version.clone());
            }
            let next = package.dependencies.iter().filter_map(|entry| entry.split(' ').next());
            waiting.extend(next.filter(|name| aya(name) && !found.contains_key(*name)).map(str::to_owned));
        }
    }
    Ok(found)
}

fn hex(bytes: &[u8]) -> String {
    bytes.iter().fold(String::new(), |mut text, byte| {
        let _ = write!(text, "{byte:02x}");
        text
    })
}
