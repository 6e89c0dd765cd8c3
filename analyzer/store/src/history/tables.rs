//! The tables of the record, and the words in them.

use super::{Cause, DomainSize, Recorder, Witness, Word};

/// The tables, as the catalog's schema version 4 adds them.
pub(crate) const TABLES: &str = "
    CREATE TABLE IF NOT EXISTS down (
        system TEXT NOT NULL,
        node TEXT NOT NULL,
        from_ms INTEGER NOT NULL,
        to_ms INTEGER CHECK (to_ms > from_ms),
        cause TEXT NOT NULL,
        source TEXT NOT NULL,
        domains TEXT NOT NULL,
        note TEXT NOT NULL,
        who TEXT NOT NULL,
        ended_by TEXT NOT NULL DEFAULT '',
        recorded_ms INTEGER NOT NULL,
        PRIMARY KEY (system, node, from_ms, cause, source)
    ) STRICT;
    CREATE INDEX IF NOT EXISTS down_by_end ON down (to_ms);
    CREATE TABLE IF NOT EXISTS observed (
        system TEXT NOT NULL,
        node TEXT NOT NULL,
        witness TEXT NOT NULL,
        from_ms INTEGER NOT NULL,
        to_ms INTEGER NOT NULL CHECK (to_ms > from_ms),
        PRIMARY KEY (system, node, witness, from_ms)
    ) STRICT;
    CREATE TABLE IF NOT EXISTS hazards (
        id INTEGER PRIMARY KEY,
        system TEXT NOT NULL,
        node TEXT NOT NULL,
        kind TEXT NOT NULL,
        value REAL NOT NULL,
        set_ms INTEGER NOT NULL,
        until_ms INTEGER NOT NULL,
        reason TEXT NOT NULL,
        who TEXT NOT NULL,
        cleared_ms INTEGER,
        cleared_by TEXT NOT NULL DEFAULT '',
        cleared_reason TEXT NOT NULL DEFAULT ''
    ) STRICT;
    CREATE INDEX IF NOT EXISTS hazards_by_node ON hazards (system, node);
";

impl Cause {
    /// The word used in tables and messages.
    #[must_use]
    pub fn as_str(self) -> &'static str {
        match self {
            Self::Failure => "failure",
            Self::Maintenance => "maintenance",
            Self::AgentLoss => "agent_loss",
        }
    }

    /// A word that nobody wrote says the least: that nothing is known.
    pub(super) fn from_text(text: &str) -> Self {
        match text {
            "failure" => Self::Failure,
            "maintenance" => Self::Maintenance,
            _ => Self::AgentLoss,
        }
    }
}

impl Recorder {
    /// The word used in tables and messages.
    #[must_use]
    pub fn as_str(self) -> &'static str {
        match self {
            Self::Agent => "agent",
            Self::Topology => "topology",
            Self::Import => "import",
            Self::Operator => "operator",
        }
    }

    pub(super) fn from_text(text: &str) -> Self {
        match text {
            "topology" => Self::Topology,
            "import" => Self::Import,
            "operator" => Self::Operator,
            _ => Self::Agent,
        }
    }
}

impl Witness {
    pub(super) fn as_str(self) -> &'static str {
        match self {
            Self::Agent => "agent",
            Self::Topology => "topology",
        }
    }
}

impl Word {
    pub(super) fn parts(self) -> (&'static str, f64) {
        match self {
            Self::PerHour(rate) => ("per_hour", rate),
            Self::Factor(factor) => ("factor", factor),
        }
    }

    pub(super) fn from_parts(kind: &str, value: f64) -> Self {
        if kind == "per_hour" { Self::PerHour(value) } else { Self::Factor(value) }
    }
}

/// `NODES NAME` for each domain, on lines of their own: names have no control characters.
pub(super) fn domains_to_text(domains: &[DomainSize]) -> String {
    let lines: Vec<String> =
        domains.iter().map(|domain| format!("{} {}", domain.nodes, domain.name)).collect();
    lines.join("\n")
}

pub(super) fn domains_from_text(text: &str) -> Vec<DomainSize> {
    let domain = |line: &str| {
        let (nodes, name) = line.split_once(' ')?;
        Some(DomainSize { nodes: nodes.parse().ok()?, name: name.to_owned() })
    };
    text.lines().filter_map(domain).collect()
}
