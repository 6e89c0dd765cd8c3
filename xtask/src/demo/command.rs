//! The analyzer's own command line, by which the demo asks and tells everything.

use crate::shell;
use anyhow::{Context, Result};
use isotherm_tests::workspace;
use serde::de::DeserializeOwned;

/// Runs `isotherm` to its end; fails with what it says if it fails.
pub(super) fn isotherm(endpoint: &str, args: &[&str]) -> Result<String> {
    let mut command = shell::clean(workspace::program("isotherm"));
    shell::read(command.args(args).args(["--server", endpoint]))
}

/// The same, and what it says as JSON.
pub(super) fn ask<T: DeserializeOwned>(endpoint: &str, args: &[&str]) -> Result<T> {
    let said = isotherm(endpoint, &[args, &["-o", "json"]].concat())?;
    serde_json::from_str(&said).with_context(|| format!("parse the answer to {args:?}: {said}"))
}
