//! The agent's configuration: read once, checked once, typed from then on.
//!
//! ```toml
//! [agent]
//! id = "host-1"                  # default: the host's name
//! window = "10s"                 # default
//!
//! [analyzer]
//! endpoint = "http://127.0.0.1:7600"
//! # with https://: ca (default: the system's), cert and key, PEM files
//!
//! [spool]                        # what is not delivered yet
//! dir = "/var/lib/isotherm-agent/spool"
//! max_bytes = "256MiB"
//!
//! [[target]]
//! system = "seaweedfs"
//! node = "10.77.0.1:8080"        # the store's own name of the node
//! select = { listen = "10.77.0.1:8080" }
//! [[target.rule]]
//! path = '/(?P<volume>[0-9]+)\.dat$'
//! partition = "$volume"
//! ```

mod delivery;

use crate::discovery::Selector;
use crate::rule::{Rule, RuleError};
use crate::spool::Bounds;
use isotherm_agent_ebpf::{DEFAULT_FILES, SELF_TEST_TARGET};
use isotherm_model::{AgentId, InvalidName, NodeId, SystemId};
use isotherm_proto::tls::ClientFiles;
use regex::Regex;
use serde::Deserialize;
use std::collections::HashMap;
use std::net::SocketAddr;
use std::path::{Path, PathBuf};
use std::time::Duration;
use toml::Spanned;

/// Shortest and longest window. A shorter one costs more than it tells; a longer one hides what happened.
const WINDOW_RANGE: [Duration; 2] = [Duration::from_millis(100), Duration::from_secs(3600)];

/// A checked configuration.
#[derive(Debug, Clone)]
pub struct Config {
    /// The agent's id; default: the host's name.
    pub agent: AgentId,
    /// Length of a window; default 10 s, which six times fill a step of a minute.
    pub window: Duration,
    /// Where the analyzer listens; default `http://127.0.0.1:7600`.
    pub endpoint: String,
    /// Certificates for an `https://` endpoint; `None` for `http://`.
    pub tls: Option<ClientFiles>,
    /// What is not delivered yet; default 256 MiB in `/var/lib/isotherm-agent/spool` for root, else in
    /// `$XDG_STATE_HOME/isotherm-agent/spool`.
    pub spool: Bounds,
    /// Bounds of memory.
    pub limits: Limits,
    /// What to watch; at least one, at most 63.
    pub targets: Vec<Target>,
}

/// Bounds of memory.
#[derive(Debug, Clone, Copy)]
pub struct Limits {
    /// Files counted apart, per direction and bucket width; default 16,384 (about 10 MB of kernel memory).
    pub files: u32,
    /// Partitions told apart; default 10,000. Accesses of further ones count as `other`.
    pub partitions: usize,
}

/// A node to watch.
#[derive(Debug, Clone)]
pub struct Target {
    /// The node.
    pub node: NodeId,
    /// Which processes it consists of.
    pub select: Selector,
    /// Which files belong to which partition.
    pub rules: Vec<Rule>,
}

/// A configuration that cannot be used, and where.
#[derive(Debug, thiserror::Error)]
pub enum ConfigError {
    /// The file cannot be read.
    #[error("cannot read {path}")]
    Read {
        /// The file.
        path: PathBuf,
        /// What the system said.
        #[source]
        source: std::io::Error,
    },
    /// Not TOML, an unknown key, or a value of the wrong type.
    #[error("{path}:{line}: {what}")]
    Syntax {
        /// The file.
        path: PathBuf,
        /// Line, from 1.
        line: usize,
        /// What is wrong.
        what: String,
    },
    /// A value that makes no sense.
    #[error("{path}:{line}: {key}: {what}")]
    Value {
        /// The file.
        path: PathBuf,
        /// Line, from 1.
        line: usize,
        /// The key, with the position of array entries.
        key: String,
        /// What is wrong.
        what: String,
    },
}

#[derive(Deserialize)]
#[serde(deny_unknown_fields)]
struct RawConfig {
    agent: Option<RawAgent>,
    analyzer: Option<delivery::RawAnalyzer>,
    spool: Option<delivery::RawSpool>,
    limits: Option<RawLimits>,
    #[serde(default)]
    target: Vec<Spanned<RawTarget>>,
}

#[derive(Deserialize, Default)]
#[serde(deny_unknown_fields)]
struct RawAgent {
    id: Option<Spanned<String>>,
    window: Option<Spanned<String>>,
}

#[derive(Deserialize, Default)]
#[serde(deny_unknown_fields)]
struct RawLimits {
    files: Option<Spanned<u32>>,
    partitions: Option<Spanned<usize>>,
    unacked_batches: Option<Spanned<usize>>,
}

#[derive(Deserialize)]
#[serde(deny_unknown_fields)]
struct RawTarget {
    system: Spanned<String>,
    node: Spanned<String>,
    select: Spanned<RawSelector>,
    #[serde(default)]
    rule: Vec<Spanned<RawRule>>,
}

#[derive(Deserialize)]
#[serde(deny_unknown_fields)]
struct RawSelector {
    exe: Option<Spanned<String>>,
    cmdline: Option<Spanned<String>>,
    pid: Option<u32>,
    listen: Option<Spanned<String>>,
}

#[derive(Deserialize)]
#[serde(deny_unknown_fields)]
struct RawRule {
    path: Spanned<String>,
    partition: Spanned<String>,
}

impl Config {
    /// Reads and checks a file.
    pub fn read(path: &Path) -> Result<Self, ConfigError> {
        let text = std::fs::read_to_string(path)
            .map_err(|source| ConfigError::Read { path: path.to_owned(), source })?;
        Self::parse(path, &text)
    }

    /// Checks the text of a file; `path` is for messages.
    pub fn parse(path: &Path, text: &str) -> Result<Self, ConfigError> {
        let source = Source { path, text };
        let raw: RawConfig = toml::from_str(text).map_err(|error| ConfigError::Syntax {
            path: path.to_owned(),
            line: error.span().map_or(1, |span| source.line(span.start)),
            what: error.message().to_owned(),
        })?;
        let agent = raw.agent.unwrap_or_default();
        let limits = raw.limits.unwrap_or_default();
        let (endpoint, tls) = source.analyzer(raw.analyzer.unwrap_or_default())?;
        Ok(Self {
            agent: source.agent(agent.id)?,
            window: source.window(agent.window)?,
            endpoint,
            tls,
            spool: source.spool(raw.spool.unwrap_or_default(), limits.unacked_batches)?,
            limits: Limits {
                files: source.limit("limits.files", limits.files, 64, 1 << 20, DEFAULT_FILES)?,
                partitions: source.limit("limits.partitions", limits.partitions, 1, 20_000, 10_000)?,
            },
            targets: source.targets(raw.target)?,
        })
    }
}

/// Text of the file, to turn positions into lines.
struct Source<'a> {
    path: &'a Path,
    text: &'a str,
}

impl Source<'_> {
    fn line(&self, byte: usize) -> usize {
        self.text.as_bytes()[..byte.min(self.text.len())].iter().filter(|byte| **byte == b'\n').count() + 1
    }

    fn error(&self, at: usize, key: impl Into<String>, what: impl ToString) -> ConfigError {
        ConfigError::Value {
            path: self.path.to_owned(),
            line: self.line(at),
            key: key.into(),
            what: what.to_string(),
        }
    }

    fn agent(&self, id: Option<Spanned<String>>) -> Result<AgentId, ConfigError> {
        let (at, name) = match id {
            Some(id) => (id.span().start, id.into_inner()),
            None => (
                0,
                host_name().map_err(|error| self.error(0, "agent.id", format!("not given, and {error}")))?,
            ),
        };
        AgentId::new(name).map_err(|error| self.error(at, "agent.id", error))
    }

    fn window(&self, window: Option<Spanned<String>>) -> Result<Duration, ConfigError> {
        let Some(window) = window else { return Ok(Duration::from_secs(10)) };
        let length = humantime::parse_duration(window.get_ref()).map_err(|error| {
            self.error(window.span().start, "agent.window", format!("{error}, such as \"10s\""))
        })?;
        if length < WINDOW_RANGE[0] || length > WINDOW_RANGE[1] || length.subsec_nanos() % 1_000_000 != 0 {
            return Err(self.error(
                window.span().start,
                "agent.window",
                "must be whole milliseconds from 100ms to 1h",
            ));
        }
        Ok(length)
    }

    fn limit<T: PartialOrd + Copy + std::fmt::Display>(
        &self,
        key: &str,
        value: Option<Spanned<T>>,
        least: T,
        most: T,
        default: T,
    ) -> Result<T, ConfigError> {
        match value {
            None => Ok(default),
            Some(value) if *value.get_ref() < least || *value.get_ref() > most => {
                Err(self.error(value.span().start, key, format!("must be from {least} to {most}")))
            }
            Some(value) => Ok(value.into_inner()),
        }
    }

    fn targets(&self, raw: Vec<Spanned<RawTarget>>) -> Result<Vec<Target>, ConfigError> {
        if raw.is_empty() {
            return Err(self.error(
                0,
                "target",
                "nothing to watch: add a [[target]], or try `isotherm-agent top`",
            ));
        }
        let mut lines: HashMap<NodeId, usize> = HashMap::new();
        let mut selectors: Vec<(usize, Selector)> = Vec::new();
        let mut targets = Vec::with_capacity(raw.len());
        for (index, raw) in raw.into_iter().enumerate() {
            let at = raw.span().start;
            let key = format!("target[{index}]");
            if index as u32 >= SELF_TEST_TARGET {
                return Err(self.error(
                    at,
                    key,
                    format!("an agent watches {SELF_TEST_TARGET} targets at most"),
                ));
            }
            let target = self.target(&key, raw.into_inner())?;
            if let Some(line) = lines.insert(target.node.clone(), self.line(at)) {
                return Err(self.error(
                    at,
                    key,
                    format!("node {} is also the target of line {line}", target.node),
                ));
            }
            if let Some((line, _)) = selectors.iter().find(|(_, other)| other.same_as(&target.select)) {
                return Err(self.error(
                    at,
                    key,
                    format!("selects the same processes as the target of line {line}"),
                ));
            }
            selectors.push((self.line(at), target.select.clone()));
            targets.push(target);
        }
        Ok(targets)
    }

    fn target(&self, key: &str, raw: RawTarget) -> Result<Target, ConfigError> {
        let name_error =
            |at: usize, field: &str, error: InvalidName| self.error(at, format!("{key}.{field}"), error);
        let at = raw.system.span().start;
        let system =
            SystemId::new(raw.system.into_inner()).map_err(|error| name_error(at, "system", error))?;
        let at = raw.node.span().start;
        let node =
            NodeId::new(system, raw.node.into_inner()).map_err(|error| name_error(at, "node", error))?;
        let select = self.selector(key, raw.select)?;
        let mut rules: Vec<(usize, Rule)> = Vec::with_capacity(raw.rule.len());
        for (index, raw) in raw.rule.into_iter().enumerate() {
            let key = format!("{key}.rule[{index}]");
            let RawRule { path, partition } = raw.into_inner();
            let (path_at, partition_at) = (path.span().start, partition.span().start);
            let rule = Rule::new(path.get_ref(), partition.get_ref()).map_err(|error| match error {
                RuleError::Path(_) => self.error(path_at, format!("{key}.path"), error),
                RuleError::UnknownCapture { .. } | RuleError::Constant => {
                    self.error(partition_at, format!("{key}.partition"), error)
                }
            })?;
            if let Some((line, _)) = rules.iter().find(|(_, other)| other.pattern() == rule.pattern()) {
                let what = format!("claims the same paths as the rule of line {line}");
                return Err(self.error(path_at, format!("{key}.path"), what));
            }
            rules.push((self.line(path_at), rule));
        }
        Ok(Target { node, select, rules: rules.into_iter().map(|(_, rule)| rule).collect() })
    }

    fn selector(&self, key: &str, raw: Spanned<RawSelector>) -> Result<Selector, ConfigError> {
        let at = raw.span().start;
        let raw = raw.into_inner();
        let regex = |field: &str, pattern: Option<Spanned<String>>| {
            pattern
                .map(|pattern| {
                    Regex::new(pattern.get_ref()).map_err(|error| {
                        self.error(pattern.span().start, format!("{key}.select.{field}"), error)
                    })
                })
                .transpose()
        };
        let listen = raw
            .listen
            .map(|listen| {
                listen.get_ref().parse::<SocketAddr>().map_err(|_| {
                    let what = format!("{:?} is no address:port such as \"10.0.0.1:8080\"", listen.get_ref());
                    self.error(listen.span().start, format!("{key}.select.listen"), what)
                })
            })
            .transpose()?;
        let selector = Selector {
            exe: regex("exe", raw.exe)?,
            cmdline: regex("cmdline", raw.cmdline)?,
            pid: raw.pid,
            listen,
        };
        if selector.is_empty() {
            return Err(self.error(
                at,
                format!("{key}.select"),
                "give at least one of exe, cmdline, pid, listen",
            ));
        }
        Ok(selector)
    }
}

fn host_name() -> std::io::Result<String> {
    Ok(std::fs::read_to_string("/proc/sys/kernel/hostname")?.trim().to_owned())
}

#[cfg(test)]
mod tests {
    use super::*;

    const TARGET: &str = "[[target]]\nsystem = \"s\"\nnode = \"n\"\nselect = { pid = 1 }\n";

    fn error(text: &str) -> String {
        Config::parse(Path::new("agent.toml"), text).unwrap_err().to_string()
    }

    #[test]
    fn defaults_are_filled_in() {
        let config = Config::parse(Path::new("agent.toml"), TARGET).unwrap();
        assert_eq!(config.window, Duration::from_secs(10));
        assert_eq!(config.endpoint, "http://127.0.0.1:7600");
        assert_eq!(config.targets[0].node.to_string(), "s/n");
        assert!(!config.agent.as_str().is_empty());
    }

    #[test]
    fn errors_name_line_and_key() {
        let with = |text: &str| format!("{TARGET}{text}");
        for (text, want) in [
            (
                String::new(),
                "agent.toml:1: target: nothing to watch: add a [[target]], or try `isotherm-agent top`",
            ),
            (
                "[agent]\nwindw = \"1s\"".into(),
                "agent.toml:2: unknown field `windw`, expected `id` or `window`",
            ),
            (
                "[agent]\nwindow = \"soon\"".into(),
                "agent.toml:2: agent.window: expected number at 0, such as \"10s\"",
            ),
            (
                "[agent]\nwindow = \"2h\"".into(),
                "agent.toml:2: agent.window: must be whole milliseconds from 100ms to 1h",
            ),
            (
                "[analyzer]\nendpoint = \"nowhere\"".into(),
                "agent.toml:2: analyzer.endpoint: \"nowhere\" is no address such as \"http://127.0.0.1:7600\" or \"https://analyzer.example:7600\"",
            ),
            ("[limits]\nfiles = 1".into(), "agent.toml:2: limits.files: must be from 64 to 1048576"),
            ("[[target]]\nsystem = \"s\"".into(), "agent.toml:1: missing field `node`"),
            (with(TARGET), "agent.toml:5: target[1]: node s/n is also the target of line 1"),
            (
                with(&TARGET.replace("\"n\"", "\"m\"")),
                "agent.toml:5: target[1]: selects the same processes as the target of line 1",
            ),
            (
                TARGET.replace("pid = 1", ""),
                "agent.toml:4: target[0].select: give at least one of exe, cmdline, pid, listen",
            ),
            (
                TARGET.replace("pid = 1", "listen = \"8080\""),
                "agent.toml:4: target[0].select.listen: \"8080\" is no address:port such as \"10.0.0.1:8080\"",
            ),
            (TARGET.replace("\"n\"", "\"\""), "agent.toml:3: target[0].node: node is empty"),
            (
                with("[[target.rule]]\npath = 'x([0-9]+)'\npartition = \"$2\""),
                "agent.toml:7: target[0].rule[0].partition: $2 is no group of the path",
            ),
            (
                with("[[target.rule]]\npath = 'x'\npartition = \"all\""),
                "agent.toml:7: target[0].rule[0].partition: names no group of the path, so that all files would be one partition",
            ),
            (
                with(
                    "[[target.rule]]\npath = '(a)'\npartition = \"$1\"\n[[target.rule]]\npath = '(a)'\npartition = \"x$1\"",
                ),
                "agent.toml:9: target[0].rule[1].path: claims the same paths as the rule of line 6",
            ),
        ] {
            assert_eq!(error(&text), want, "\n{text}");
        }
        let bad_regex = error(&with("[[target.rule]]\npath = '(a'\npartition = \"$1\""));
        assert!(bad_regex.starts_with("agent.toml:6: target[0].rule[0].path: "), "{bad_regex}");
        assert!(bad_regex.contains("unclosed group"), "{bad_regex}");
    }
}
