//! Rules about the contracts: buf's, with the exceptions that `proto/buf.yaml` gives reasons for.

use crate::setup::{self, BUF};
use crate::shell;
use anyhow::{Context, Result, bail};
use isotherm_tests::tools::Tools;
use std::path::Path;
use std::process::Stdio;

/// What `buf lint` exits with when it has found something.
const FOUND: i32 = 100;

/// One line per violation.
///
/// # Errors
/// buf cannot be installed or started, or cannot read the contracts.
pub(super) fn violations(root: &Path) -> Result<Vec<String>> {
    let tools = Tools::locate();
    {
        let _lock = setup::lock(&tools)?;
        setup::install_wheels(&tools.venv(), &[BUF])?;
    }
    let mut buf = shell::clean(tools.buf()?);
    buf.arg("lint").current_dir(root.join("proto")).stdin(Stdio::null());
    let output = buf.output().context("start buf")?;
    let (found, errors) = (String::from_utf8_lossy(&output.stdout), String::from_utf8_lossy(&output.stderr));
    match output.status.code() {
        Some(0) => Ok(Vec::new()),
        Some(FOUND) => Ok(found.lines().map(|line| format!("proto/{line}")).collect()),
        _ => bail!("buf lint failed: {}: {}", output.status, errors.trim()),
    }
}

#[cfg(test)]
mod tests {
    use super::*;
    use isotherm_tests::workspace;
    use std::fs;

    #[test]
    fn a_name_against_the_rules_is_found_everywhere_but_in_the_exception() {
        let folder = std::env::temp_dir().join(format!("isotherm-xtask-{}-contracts", std::process::id()));
        let rules = fs::read_to_string(workspace::root().join("proto/buf.yaml")).unwrap();
        let write = |name: &str, text: &str| {
            let path = folder.join("proto").join(name);
            fs::create_dir_all(path.parent().unwrap()).unwrap();
            fs::write(path, text).unwrap();
        };
        write("buf.yaml", &rules);
        let service = |package: &str, name: &str| {
            format!(
                "syntax = \"proto3\";\npackage isotherm.{package}.v1;\n\
                 service {name} {{ rpc Ask(AskRequest) returns (AskResponse); }}\n\
                 message AskRequest {{}}\nmessage AskResponse {{}}\n"
            )
        };
        write("isotherm/adapter/v1/adapter.proto", &service("adapter", "MigrationAdapter"));
        assert_eq!(violations(&folder).unwrap(), Vec::<String>::new());
        write("isotherm/control/v1/control.proto", &service("control", "Control"));
        let found = violations(&folder).unwrap();
        assert!(
            found.len() == 1 && found[0].starts_with("proto/isotherm/control/v1/control.proto:3:"),
            "{found:?}"
        );
        write("isotherm/control/v1/control.proto", "this is no contract");
        assert!(!matches!(violations(&folder), Ok(found) if found.is_empty()));
        fs::remove_dir_all(folder).unwrap();
    }
}
