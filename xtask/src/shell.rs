//! Running other programs and telling what they said.

use anyhow::{Context, Result, bail};
use isotherm_tests::tools::Tools;
use isotherm_tests::workspace;
use std::ffi::OsStr;
use std::fmt::Write;
use std::path::PathBuf;
use std::process::{Command, Output, Stdio};

/// A cargo command that is free of what the cargo above us put into the environment: its toolchain, and
/// the package variables of xtask itself.
///
/// Folders that the environment names become absolute: tests run elsewhere, and would resolve them anew.
pub(crate) fn cargo() -> Command {
    let mut command = clean("cargo");
    for (name, folder) in
        [("CARGO_TARGET_DIR", workspace::target_dir()), ("ISOTHERM_TOOLS", Tools::locate().root().into())]
    {
        if std::env::var_os(name).is_some_and(|value| !value.is_empty()) {
            command.env(name, folder);
        }
    }
    command
}

/// Any other program, as free as [`cargo`].
pub(crate) fn clean(program: impl AsRef<OsStr>) -> Command {
    let mut command = Command::new(program);
    for (name, _) in std::env::vars_os() {
        let name = name.to_string_lossy();
        let package =
            ["CARGO_PKG_", "CARGO_MANIFEST_", "CARGO_BIN_"].iter().any(|start| name.starts_with(start));
        if package || ["CARGO", "RUSTUP_TOOLCHAIN", "LD_LIBRARY_PATH"].contains(&&*name) {
            command.env_remove(&*name);
        }
    }
    command
}

/// Runs to the end with our own stdout turned to stderr; fails by name if the program does.
pub(crate) fn run(command: &mut Command) -> Result<()> {
    let status = command
        .stdin(Stdio::null())
        .stdout(std::io::stderr())
        .status()
        .with_context(|| format!("start {}", shown(command)))?;
    if !status.success() {
        bail!("{} failed: {status}", shown(command));
    }
    Ok(())
}

/// Runs to the end and gives its trimmed stdout; fails with its stderr.
pub(crate) fn read(command: &mut Command) -> Result<String> {
    let Output { status, stdout, stderr } =
        command.stdin(Stdio::null()).output().with_context(|| format!("start {}", shown(command)))?;
    if !status.success() {
        bail!("{} failed: {status}: {}", shown(command), String::from_utf8_lossy(&stderr).trim());
    }
    Ok(String::from_utf8_lossy(&stdout).trim().to_owned())
}

fn shown(command: &Command) -> String {
    let mut line = command.get_program().to_string_lossy().into_owned();
    for arg in command.get_args() {
        let _ = write!(line, " {}", arg.to_string_lossy());
    }
    line
}

/// Where a program lies: in PATH, or where programs for root are.
pub(crate) fn find(program: &str) -> Option<PathBuf> {
    let path = std::env::var_os("PATH")?;
    // Programs for root are installed also where they are not in everybody's PATH.
    let folders = std::env::split_paths(&path).chain(["/usr/sbin".into(), "/sbin".into()]);
    folders.map(|folder| folder.join(program)).find(|path| path.is_file())
}
