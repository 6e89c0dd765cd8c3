//! Targets: which processes, and which files of theirs belong to which partition.

use super::rule::RawRule;
use super::{ConfigError, Source};
use crate::discovery::{Selector, UnitName};
use crate::locator::Located;
use crate::rule::Rule;
use isotherm_agent_ebpf::HOST_TARGET;
use isotherm_model::{HOST_SYSTEM, InvalidName, NodeId, SystemId};
use regex::Regex;
use serde::Deserialize;
use std::collections::HashMap;
use std::net::SocketAddr;
use toml::Spanned;

/// A node to watch.
#[derive(Debug, Clone)]
pub struct Target {
    /// The node.
    pub node: NodeId,
    /// Which processes it consists of.
    pub select: Selector,
    /// Which files belong to which partition.
    pub rules: Vec<Rule>,
    /// The same by locators, for what the rules leave. None in a configuration.
    pub located: Located,
}

#[derive(Deserialize)]
#[serde(deny_unknown_fields)]
pub(super) struct RawTarget {
    system: Spanned<String>,
    node: Option<Spanned<String>>,
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
    cgroup: Option<Spanned<String>>,
    unit: Option<Spanned<String>>,
    listen: Option<Spanned<String>>,
}

impl Source<'_> {
    pub(super) fn targets(&self, raw: Vec<Spanned<RawTarget>>) -> Result<Vec<Target>, ConfigError> {
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
            if index as u32 >= HOST_TARGET {
                return Err(self.error(at, key, format!("an agent watches {HOST_TARGET} targets at most")));
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
        if system.as_str() == HOST_SYSTEM {
            let what = format!(
                "{HOST_SYSTEM:?} is the agent's own, for what happens on the host's block devices and is no \
                 target's; name the store"
            );
            return Err(self.error(at, format!("{key}.system"), what));
        }
        let select_at = raw.select.span().start;
        let select = self.selector(key, raw.select)?;
        let (at, name) = match (raw.node, select.listen) {
            (Some(node), _) => (node.span().start, node.into_inner()),
            (None, Some(address)) => (select_at, address.to_string()),
            (None, None) => {
                let what = "give the store's own name of the node; only one that is selected by the address it \
                            listens on can do without, and is named by that";
                return Err(self.error(at, format!("{key}.node"), what));
            }
        };
        let node = NodeId::new(system, name).map_err(|error| name_error(at, "node", error))?;
        let rules = self.rules(key, raw.rule)?;
        Ok(Target { node, select, rules, located: Located::default() })
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
        let unit = raw
            .unit
            .map(|unit| {
                UnitName::new(unit.get_ref())
                    .map_err(|error| self.error(unit.span().start, format!("{key}.select.unit"), error))
            })
            .transpose()?;
        let selector = Selector {
            exe: regex("exe", raw.exe)?,
            cmdline: regex("cmdline", raw.cmdline)?,
            pid: raw.pid,
            cgroup: regex("cgroup", raw.cgroup)?,
            unit,
            listen,
        };
        if selector.is_empty() {
            return Err(self.error(
                at,
                format!("{key}.select"),
                "give at least one of exe, cmdline, pid, cgroup, unit, listen",
            ));
        }
        Ok(selector)
    }
}
