//! One build of the kernel object, the same bytes in every folder.
//!
//! Paths reach the object through line information, so each folder that can differ is mapped to a fixed
//! name. Debug sections are stripped, `.BTF` and `.BTF.ext` stay: the loader needs them, and the verifier's
//! messages quote source lines from them.

use super::toolchain::Toolchain;
use crate::shell;
use anyhow::{Context, Result};
use std::collections::BTreeSet;
use std::env;
use std::ffi::OsString;
use std::fs;
use std::path::{Path, PathBuf};

const TARGET: &str = "bpfel-unknown-none";

/// The whole profile, so that nothing in a workspace or user configuration changes the bytes.
const PROFILE: [(&str, &str); 9] = [
    ("CARGO_PROFILE_RELEASE_OPT_LEVEL", "3"),
    ("CARGO_PROFILE_RELEASE_DEBUG", "2"),
    ("CARGO_PROFILE_RELEASE_LTO", "false"),
    ("CARGO_PROFILE_RELEASE_CODEGEN_UNITS", "1"),
    ("CARGO_PROFILE_RELEASE_PANIC", "abort"),
    ("CARGO_PROFILE_RELEASE_STRIP", "none"),
    ("CARGO_PROFILE_RELEASE_OVERFLOW_CHECKS", "false"),
    ("CARGO_PROFILE_RELEASE_DEBUG_ASSERTIONS", "false"),
    ("CARGO_INCREMENTAL", "0"),
];

/// Builds the kernel crate of the workspace at `root` and gives the stripped object.
pub(super) fn compile(root: &Path, target: &Path, tools: &Toolchain) -> Result<Vec<u8>> {
    // As the compiler names it: a prefix with `..` or a symbolic link in it would not be mapped.
    let root = &fs::canonicalize(root).with_context(|| format!("find {}", root.display()))?;
    let path = env::var_os("PATH").unwrap_or_default();
    let folders = std::iter::once(tools.linker_folder.clone()).chain(env::split_paths(&path));
    shell::run(
        shell::cargo()
            .arg(format!("+{}", tools.nightly.name))
            .args(["build", "--release", "--target", TARGET, "-Z", "build-std=core"])
            .args(["--package", "isotherm-agent-ebpf", "--bin", "isotherm-bpf", "--features", "kernel"])
            // The workspace leaves this out for dependencies; no variable says it of packages.
            .args(["--config", r#"profile.release.package."*".debug=2"#])
            .current_dir(root)
            .envs(PROFILE)
            .env("CARGO_TARGET_DIR", target)
            .env("CARGO_ENCODED_RUSTFLAGS", rustflags(root, tools)?)
            .env("PATH", env::join_paths(folders).context("extend PATH by the tools")?)
            .env_remove("RUSTFLAGS"),
    )?;
    strip(&target.join(TARGET).join("release/isotherm-bpf"), tools)
}

fn rustflags(root: &Path, tools: &Toolchain) -> Result<OsString> {
    let mut flags = OsString::from("-Cdebuginfo=2\u{1f}-Clink-arg=--btf");
    let core = &tools.core_source;
    let linked = fs::canonicalize(core).with_context(|| format!("find {}", core.display()))?;
    let mut maps = vec![(root.to_path_buf(), "/isotherm"), (linked, "/core"), (core.clone(), "/core")];
    maps.extend(registries().into_iter().map(|folder| (folder, "/registry")));
    for (folder, name) in maps {
        flags.push("\u{1f}--remap-path-prefix=");
        flags.push(folder);
        flags.push("=");
        flags.push(name);
    }
    Ok(flags)
}

/// The folders of unpacked crates, one per registry.
fn registries() -> BTreeSet<PathBuf> {
    let home = env::var_os("CARGO_HOME").map(PathBuf::from);
    let home = home.or_else(|| env::home_dir().map(|home| home.join(".cargo")));
    let sources = home.map(|home| home.join("registry/src"));
    let entries = sources.and_then(|folder| fs::read_dir(folder).ok());
    entries.into_iter().flatten().flatten().map(|entry| entry.path()).collect()
}

/// Strips with the nightly's own objcopy, so that the tool is pinned with the compiler.
fn strip(object: &Path, tools: &Toolchain) -> Result<Vec<u8>> {
    let sysroot = &tools.nightly.sysroot;
    let stripped = object.with_extension("stripped.o");
    let host = shell::read(shell::clean("rustc").args(["--print", "host-tuple"]))?;
    shell::run(
        shell::clean(sysroot.join("lib/rustlib").join(host).join("bin/rust-objcopy"))
            .env("LD_LIBRARY_PATH", sysroot.join("lib"))
            .arg("--strip-debug")
            .arg(object)
            .arg(&stripped),
    )?;
    fs::read(&stripped).with_context(|| format!("read {}", stripped.display()))
}

/// Makes `copy` hold the workspace's sources; files that did not change are left alone, so that a second
/// rebuild is quick.
pub(super) fn mirror(root: &Path, copy: &Path) -> Result<()> {
    fs::create_dir_all(copy).with_context(|| format!("create {}", copy.display()))?;
    let mut present = BTreeSet::new();
    for entry in fs::read_dir(root).with_context(|| format!("list {}", root.display()))? {
        let entry = entry?;
        let name = entry.file_name();
        let shown = name.to_string_lossy();
        if shown.starts_with('.') || shown == "target" {
            continue;
        }
        let (from, to) = (entry.path(), copy.join(&name));
        if from.is_dir() {
            mirror(&from, &to)?;
        } else {
            let content = fs::read(&from).with_context(|| format!("read {}", from.display()))?;
            if fs::read(&to).ok().as_ref() != Some(&content) {
                fs::write(&to, content).with_context(|| format!("write {}", to.display()))?;
            }
        }
        present.insert(name);
    }
    for entry in fs::read_dir(copy)? {
        let entry = entry?;
        if !present.contains(&entry.file_name()) {
            let path = entry.path();
            if path.is_dir() { fs::remove_dir_all(&path) } else { fs::remove_file(&path) }
                .with_context(|| format!("remove {}", path.display()))?;
        }
    }
    Ok(())
}
