//! The tools that turn `agent-ebpf` into bytes: one nightly, one core source, one linker.
//!
//! The nightly is pinned by commit, because a name such as `nightly` moves, and another compiler gives
//! other bytes. The core source has to lie inside its sysroot, where `-Z build-std` looks for it.

use super::manifest::sha256_of_files;
use crate::shell;
use anyhow::{Context, Result, ensure};
use isotherm_tests::tools::Tools;
use isotherm_tests::workspace;
use std::fmt;
use std::fs;
use std::os::unix::fs::symlink;
use std::path::{Path, PathBuf};

/// The nightly that the committed object is built with.
pub(crate) struct Pin {
    /// Its name in rustup's archive.
    pub(crate) name: &'static str,
    /// Its commit.
    pub(crate) commit: &'static str,
}

/// aya-ebpf 0.2 and bpf-linker 0.13 build with it, and its LLVM is that of stable 1.95.
pub(crate) const PINNED: Pin =
    Pin { name: "nightly-2026-05-20", commit: "e50aa6fba4e63ab34c72bf9acfd2c307c1155d1a" };

/// The linker that reads the bitcode of that nightly.
const BPF_LINKER: &str = "0.13.0";

/// A piece of the pinned nightly toolchain that is not on this machine, and that xtask does not install.
#[derive(Debug, Clone, PartialEq, Eq)]
pub(crate) enum Missing {
    /// A nightly of the pinned commit.
    Compiler,
    /// The core source in that nightly's sysroot, which would be here.
    CoreSource(PathBuf),
}

impl fmt::Display for Missing {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        match self {
            Self::Compiler => {
                write!(
                    f,
                    "no nightly of commit {}: `rustup toolchain install {}`",
                    PINNED.commit, PINNED.name
                )
            }
            Self::CoreSource(wanted) => {
                write!(f, "the core source is not in {}: {CORE_SOURCE_HINT}", wanted.display())
            }
        }
    }
}

/// How to come by the core source.
pub(crate) const CORE_SOURCE_HINT: &str = "`rustup component add rust-src --toolchain nightly-2026-05-20`, or set \
     ISOTHERM_CORE_SOURCE to a folder or .tar.xz that holds `library/`";

/// An installed nightly of the pinned commit.
pub(crate) struct Nightly {
    /// What to put behind `+`.
    pub(crate) name: &'static str,
    /// Where it lies.
    pub(crate) sysroot: PathBuf,
    /// Its version as it tells it.
    pub(crate) version: String,
}

impl Nightly {
    /// Where `-Z build-std` looks for the core source.
    pub(crate) fn core_source(&self) -> PathBuf {
        self.sysroot.join("lib/rustlib/src/rust")
    }

    /// Looks under the names that a nightly of this commit can have; `None` if it has none of them.
    pub(crate) fn locate() -> Result<Option<Self>> {
        for name in ["nightly", PINNED.name] {
            let rustc = |args: &[&str]| shell::read(shell::clean("rustc").arg(format!("+{name}")).args(args));
            let Ok(told) = rustc(&["-vV"]) else { continue };
            if told.lines().any(|line| line == format!("commit-hash: {}", PINNED.commit)) {
                let version = told.lines().next().unwrap_or_default().to_owned();
                let sysroot = rustc(&["--print", "sysroot"])?.into();
                return Ok(Some(Self { name, sysroot, version }));
            }
        }
        Ok(None)
    }
}

/// Everything a build needs, found or installed.
pub(crate) struct Toolchain {
    /// The compiler.
    pub(crate) nightly: Nightly,
    /// The folder that holds `library/`, as the compiler sees it.
    pub(crate) core_source: PathBuf,
    /// SHA-256 over that source.
    pub(crate) core_source_sha256: String,
    /// The folder of bpf-linker.
    pub(crate) linker_folder: PathBuf,
    /// Its version.
    pub(crate) linker_version: String,
}

/// What looking for the tools came to.
pub(crate) enum Prepared {
    /// All are here.
    Ready(Toolchain),
    /// This one is not.
    Lacking(Missing),
}

/// Finds the tools and installs what it can. That a piece is missing is an answer; that installing one
/// failed is an error.
pub(crate) fn prepare() -> Result<Prepared> {
    let tools = Tools::locate();
    let Some(nightly) = Nightly::locate()? else { return Ok(Prepared::Lacking(Missing::Compiler)) };
    let Some(core_source) = link_core_source(&nightly, &tools)? else {
        return Ok(Prepared::Lacking(Missing::CoreSource(nightly.core_source())));
    };
    let core_source_sha256 =
        sha256_of_files(&core_source, &["library/core/src", "library/compiler-builtins"])?;
    install_bpf_linker(&tools)?;
    let linker_version = super::version_of(&tools.bpf_linker()?)?;
    let linker_folder = tools.bin();
    Ok(Prepared::Ready(Toolchain { nightly, core_source, core_source_sha256, linker_folder, linker_version }))
}

/// The core source in the nightly's sysroot; links one there if it is missing and can be found.
fn link_core_source(nightly: &Nightly, tools: &Tools) -> Result<Option<PathBuf>> {
    let wanted = nightly.core_source();
    if holds_core(&wanted) {
        return Ok(Some(wanted));
    }
    let beside = workspace::root().join("../shared/toolchain/rust-library-1.97.1.tar.xz");
    let named = std::env::var_os("ISOTHERM_CORE_SOURCE").map(PathBuf::from);
    let unpacked = tools.root().join("core-source");
    let source = match named {
        Some(folder) if folder.is_dir() => folder,
        Some(archive) => unpack(&archive, &unpacked)?,
        None if holds_core(&unpacked) => unpacked,
        None if beside.is_file() => unpack(&beside, &unpacked)?,
        None => return Ok(None),
    };
    ensure!(holds_core(&source), "{} holds no library/core", source.display());
    let source = fs::canonicalize(&source).with_context(|| format!("find {}", source.display()))?;
    eprintln!("linking the core source {} as {}", source.display(), wanted.display());
    if wanted.is_symlink() {
        fs::remove_file(&wanted).with_context(|| format!("remove the dangling {}", wanted.display()))?;
    }
    fs::create_dir_all(wanted.parent().unwrap_or(&wanted))
        .and_then(|()| symlink(&source, &wanted))
        .with_context(|| format!("link {}", wanted.display()))?;
    Ok(Some(wanted))
}

/// Whether a folder is a core source.
pub(crate) fn holds_core(folder: &Path) -> bool {
    folder.join("library/core/Cargo.toml").is_file()
}

fn unpack(archive: &Path, into: &Path) -> Result<PathBuf> {
    eprintln!("unpacking {} into {}", archive.display(), into.display());
    fs::create_dir_all(into).with_context(|| format!("create {}", into.display()))?;
    shell::run(shell::clean("tar").arg("xJf").arg(archive).arg("-C").arg(into))?;
    Ok(into.to_path_buf())
}

/// Builds bpf-linker against the LLVM that the stable compiler ships, unless it is there.
fn install_bpf_linker(tools: &Tools) -> Result<()> {
    if tools.bpf_linker().is_ok() {
        return Ok(());
    }
    let sysroot = PathBuf::from(shell::read(shell::clean("rustc").args(["--print", "sysroot"]))?);
    let llvm = llvm_of(&sysroot)?;
    let prefix = tools.root().join("llvm");
    let lib = prefix.join("lib");
    fs::create_dir_all(&lib).with_context(|| format!("create {}", lib.display()))?;
    let own_name = llvm.file_name().context("a library has a name")?;
    for name in ["libLLVM.so".as_ref(), own_name] {
        let link = lib.join(name);
        if !link.exists() {
            let _ = fs::remove_file(&link);
            symlink(&llvm, &link).with_context(|| format!("link {}", link.display()))?;
        }
    }
    eprintln!("building bpf-linker {BPF_LINKER} into {} (a minute or two)", tools.bin().display());
    shell::run(
        shell::cargo()
            .env("LLVM_PREFIX", &prefix)
            .args(["install", "bpf-linker", "--version", BPF_LINKER, "--locked", "--no-default-features"])
            .args(["--features", "llvm-22", "--root"])
            .arg(tools.root()),
    )
}

/// The compiler's own LLVM, under its full name: `libLLVM.so.22.1-rust-1.95.0-stable`.
fn llvm_of(sysroot: &Path) -> Result<PathBuf> {
    let lib = sysroot.join("lib");
    let entries = fs::read_dir(&lib).with_context(|| format!("list {}", lib.display()))?;
    entries
        .flatten()
        .map(|entry| entry.path())
        .find(|path| path.file_name().is_some_and(|name| name.to_string_lossy().starts_with("libLLVM.so.22")))
        .with_context(|| {
            format!(
                "{} has no libLLVM.so.22: `cargo binstall bpf-linker`, and copy it to tools/bin",
                lib.display()
            )
        })
}
