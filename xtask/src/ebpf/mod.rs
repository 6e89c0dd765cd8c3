//! The kernel object: built from `agent-ebpf`, committed as `agent/bpf/isotherm.bpf.o`.
//!
//! Why it is committed: users need stable Rust and a C compiler only. What keeps it honest is the manifest
//! beside it, which names the sources and tools it came from, and a build that gives the same bytes in
//! whatever folder it runs.

mod compile;
mod manifest;
mod toolchain;

use crate::shell;
use anyhow::{Context, Result, bail};
use clap::{Args, Subcommand};
use isotherm_tests::workspace;
use manifest::Manifest;
use std::fs;
use std::path::{Path, PathBuf};
use std::process::ExitCode;
use toolchain::Prepared;

pub(crate) use manifest::check as check_manifest;
pub(crate) use toolchain::{CORE_SOURCE_HINT, Missing, Nightly, holds_core};

/// What to do with the kernel object.
#[derive(Subcommand)]
pub(crate) enum Command {
    /// Build the object and write it, its checksum and its manifest to `agent/bpf`.
    ///
    /// Needs the pinned nightly, the core source in its sysroot and bpf-linker; installs bpf-linker and
    /// links a core source where it can, and says so.
    Build,
    /// Check that object, manifest and sources belong together, and rebuild where the tools are there.
    ///
    /// The first half needs no tools. The rebuild is made from a copy of the workspace in another folder
    /// and compared byte for byte. Exits 1 on a mismatch.
    Verify(VerifyOptions),
}

/// How to verify.
#[derive(Args)]
pub(crate) struct VerifyOptions {
    /// Exit 1, too, if it could not be rebuilt.
    #[arg(long)]
    rebuild: bool,
}

/// Runs the command.
pub(crate) fn run(command: Command) -> Result<ExitCode> {
    match command {
        Command::Build => build(),
        Command::Verify(options) => verify(&options),
    }
}

/// Where the object, its checksum and its manifest are committed.
fn folder(root: &Path) -> PathBuf {
    root.join("agent/bpf")
}

const OBJECT: &str = "isotherm.bpf.o";
const CHECKSUM: &str = "isotherm.bpf.sha256";
const MANIFEST: &str = "manifest.toml";

fn build() -> Result<ExitCode> {
    let root = workspace::root();
    let tools = match toolchain::prepare()? {
        Prepared::Ready(tools) => tools,
        Prepared::Lacking(missing) => bail!("{missing}"),
    };
    let object = compile::compile(&root, &workspace::target_dir().join("ebpf"), &tools)?;
    let manifest = Manifest::of(&root, &object, &tools)?;
    let folder = folder(&root);
    fs::create_dir_all(&folder).with_context(|| format!("create {}", folder.display()))?;
    for (name, content) in [
        (OBJECT, object.as_slice()),
        (CHECKSUM, format!("{}  {OBJECT}\n", manifest.object_sha256).as_bytes()),
        (MANIFEST, manifest.to_toml()?.as_bytes()),
    ] {
        let path = folder.join(name);
        fs::write(&path, content).with_context(|| format!("write {}", path.display()))?;
    }
    eprintln!("{}: {} bytes, sha256 {}", folder.join(OBJECT).display(), object.len(), manifest.object_sha256);
    Ok(ExitCode::SUCCESS)
}

/// What the second half of `verify` came to.
pub(crate) enum Rebuild {
    /// Byte for byte the same.
    Identical,
    /// Not tried, as this is not on the machine.
    Lacking(Missing),
    /// Other bytes, but by other tools, of which this is the first.
    Incomparable(String),
}

fn verify(options: &VerifyOptions) -> Result<ExitCode> {
    check_manifest(&workspace::root())?;
    eprintln!("the kernel object matches its manifest, the manifest matches the sources");
    let why = match rebuild()? {
        Rebuild::Identical => {
            eprintln!("rebuilt in another folder: identical, byte for byte");
            return Ok(ExitCode::SUCCESS);
        }
        Rebuild::Lacking(missing) => missing.to_string(),
        Rebuild::Incomparable(other) => format!("the bytes differ, but so does {other}"),
    };
    eprintln!("rebuild skipped: {why}");
    Ok(if options.rebuild { ExitCode::FAILURE } else { ExitCode::SUCCESS })
}

/// Builds a copy of the workspace elsewhere and compares; an error is a mismatch, or a build that failed.
pub(crate) fn rebuild() -> Result<Rebuild> {
    let root = workspace::root();
    let tools = match toolchain::prepare()? {
        Prepared::Ready(tools) => tools,
        Prepared::Lacking(missing) => return Ok(Rebuild::Lacking(missing)),
    };
    let committed = Manifest::read(&root)?;
    let elsewhere = workspace::target_dir().join("ebpf-verify");
    compile::mirror(&root, &elsewhere.join("source"))?;
    let rebuilt = compile::compile(&elsewhere.join("source"), &elsewhere.join("target"), &tools)?;
    let path = folder(&root).join(OBJECT);
    let object = fs::read(&path).with_context(|| format!("read {}", path.display()))?;
    if object == rebuilt {
        return Ok(Rebuild::Identical);
    }
    if let Some(other) = committed.other_tool(&tools) {
        return Ok(Rebuild::Incomparable(other));
    }
    let kept = elsewhere.join(OBJECT);
    fs::write(&kept, &rebuilt).with_context(|| format!("write {}", kept.display()))?;
    bail!(
        "the rebuilt object ({}) differs from the committed one ({}); run `cargo xtask ebpf build`",
        kept.display(),
        path.display()
    )
}

/// The version that a program tells about itself, the last word of `--version`.
fn version_of(program: &Path) -> Result<String> {
    let said = shell::read(shell::clean(program).arg("--version"))?;
    Ok(said.split_whitespace().last().unwrap_or_default().to_owned())
}
