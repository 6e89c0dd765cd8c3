//! `cargo xtask tidy`: the workspace's own rules, those of ARCHITECTURE.md that no compiler checks.
//!
//! Dependencies are read from the manifests as cargo understands them, sources as text, contracts by buf. `unwrap` outside
//! tests is clippy's business.

mod contracts;
mod dependencies;
mod sources;

use crate::{ebpf, shell};
use anyhow::{Context, Result, bail};
use isotherm_tests::workspace;
use std::fs;
use std::path::Path;

/// Commands that a newcomer must find in the README.
const README_COMMANDS: [&str; 2] = ["cargo xtask demo", "cargo xtask test"];

/// Fails with every violation, one a line.
pub(crate) fn check() -> Result<()> {
    let root = workspace::root();
    let mut violations = dependencies::violations(&dependencies::read(&root)?);
    violations.extend(sources::violations(&root)?);
    violations.extend(ebpf::check_manifest(&root).err().map(|error| format!("agent/bpf: {error:#}")));
    violations.extend(contracts::violations(&root)?);
    violations.extend(readme(&root)?);
    if violations.is_empty() {
        eprintln!("tidy");
        return Ok(());
    }
    bail!("{} violations:\n  {}", violations.len(), violations.join("\n  "))
}

fn readme(root: &Path) -> Result<Vec<String>> {
    let path = root.join("README.md");
    if !path.exists() {
        return Ok(vec!["README.md: is missing".to_owned()]);
    }
    let text = fs::read_to_string(&path).with_context(|| format!("read {}", path.display()))?;
    let missing = README_COMMANDS.into_iter().filter(|command| !text.contains(command));
    Ok(missing.map(|command| format!("README.md: does not mention `{command}`")).collect())
}
