//! Rules about the text of sources: pure crates touch nothing outside, files stay short, lints are shared.

use anyhow::{Context, Result};
use std::collections::BTreeSet;
use std::fs;
use std::path::{Path, PathBuf};

/// Folders of the pure crates.
const PURE: [&str; 7] = [
    "model",
    "analyzer/cycle",
    "analyzer/forecast",
    "analyzer/migration",
    "analyzer/placement",
    "analyzer/risk",
    "analyzer/simulate",
];

/// Words by which a pure crate would reach a clock, a file, a socket, a process or chance. Addresses of
/// `std::net` are plain values.
const IMPURE: [&str; 13] = [
    "std::fs",
    "TcpStream",
    "TcpListener",
    "UdpSocket",
    "ToSocketAddrs",
    "std::env",
    "std::process",
    "std::thread",
    "std::os",
    "Instant",
    "SystemTime",
    "RandomState",
    "std::{",
];

/// Lines of a file that needs no excuse.
const MAX_LINES: usize = 600;

/// One sentence per violation.
pub(super) fn violations(root: &Path) -> Result<Vec<String>> {
    let mut found = Vec::new();
    for path in files(root)? {
        let shown = path.strip_prefix(root).unwrap_or(&path).to_string_lossy().into_owned();
        let text = fs::read_to_string(&path).with_context(|| format!("read {shown}"))?;
        if shown.ends_with(".rs") {
            found.extend(too_long(&text).map(|why| format!("{shown}: {why}")));
            if PURE.iter().any(|folder| shown.starts_with(&format!("{folder}/src/"))) {
                found.extend(impure(&text).into_iter().map(|why| format!("{shown}:{why}")));
            }
        } else if text.contains("[package]") && !shares_lints(&text) {
            found.push(format!("{shown}: does not share the workspace's lints"));
        }
    }
    Ok(found)
}

/// Rust sources and manifests; nothing hidden, nothing built.
fn files(folder: &Path) -> Result<BTreeSet<PathBuf>> {
    let mut found = BTreeSet::new();
    for entry in fs::read_dir(folder).with_context(|| format!("list {}", folder.display()))? {
        let entry = entry.with_context(|| format!("list {}", folder.display()))?;
        let name = entry.file_name().to_string_lossy().into_owned();
        let path = entry.path();
        if name.starts_with('.') || name == "target" {
            continue;
        }
        if path.is_dir() {
            found.extend(files(&path)?);
        } else if name.ends_with(".rs") || name == "Cargo.toml" {
            found.insert(path);
        }
    }
    Ok(found)
}

fn shares_lints(manifest: &str) -> bool {
    let parsed: Result<toml::Table, _> = toml::from_str(manifest);
    let lints = parsed.ok().and_then(|table| table.get("lints")?.get("workspace")?.as_bool());
    lints == Some(true)
}

fn too_long(text: &str) -> Option<String> {
    let lines = text.lines().count();
    let header = text.lines().take_while(|line| line.starts_with("//!"));
    let excused = header.into_iter().any(|line| line.contains(&format!("{MAX_LINES} lines")));
    (lines > MAX_LINES && !excused).then(|| {
        format!("{lines} lines: split it by concept, or say in its header why it is over {MAX_LINES} lines")
    })
}

/// Impure words with their lines, outside comments and tests.
fn impure(text: &str) -> Vec<String> {
    let code = text.lines().take_while(|line| line.trim() != "#[cfg(test)]").enumerate();
    let code = code.filter(|(_, line)| !line.trim_start().starts_with("//"));
    let mut found = Vec::new();
    for (number, line) in code {
        for word in IMPURE.into_iter().filter(|word| has_word(line, word)) {
            let what = if word == "std::{" {
                "a grouped import hides what is used; one line per module"
            } else {
                word
            };
            found.push(format!("{}: {what}: the crate is pure", number + 1));
        }
    }
    found
}

/// Whether `word` stands in `line` and not as a part of a longer name.
fn has_word(line: &str, word: &str) -> bool {
    let inside = |c: Option<char>| c.is_some_and(|c| c.is_alphanumeric() || c == '_');
    line.match_indices(word).any(|(at, _)| {
        let after = &line[at + word.len()..];
        let whole_end = word.ends_with('{') || !inside(after.chars().next());
        whole_end && !inside(line[..at].chars().next_back())
    })
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn clocks_and_files_are_seen_outside_comments_and_tests() {
        let text = "use std::fs;\n// TcpStream is not used\nlet t = Instant::now();\nlet i = Instantly;\n\
                    #[cfg(test)]\nuse std::net::TcpStream;\n";
        assert_eq!(impure(text).len(), 2, "{:?}", impure(text));
        assert_eq!(impure("use std::{collections::HashMap, fs};").len(), 1);
        assert!(impure("use std::fmt;\nuse std::f64::consts::LN_2;\n").is_empty());
    }

    #[test]
    fn a_long_file_needs_a_reason() {
        let long = "let x = 1;\n".repeat(601);
        assert!(too_long(&long).is_some());
        assert!(too_long(&format!("//! Over 600 lines because it is a table.\n{long}")).is_none());
        assert!(too_long(&"x\n".repeat(600)).is_none());
    }

    #[test]
    fn lints_are_shared_by_their_table() {
        assert!(shares_lints("[package]\nname = \"x\"\n[lints]\nworkspace = true\n"));
        assert!(!shares_lints("[package]\nname = \"x\"\n"));
    }
}
