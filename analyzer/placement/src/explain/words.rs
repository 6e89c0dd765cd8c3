//! Explanations in plain words, with the names of nodes and domains.

use super::{Explained, How, Standing, Verdict, Why};
use crate::ids::{Level, Node};
use crate::plan::{Action, Constraint, Gain, Reason};
use crate::topology::Topology;
use std::fmt;

/// Nodes that are named one by one where several are rejected for the same.
const MOST_NAMES: usize = 5;

/// A move in words, see [`Explained::in_words`].
pub struct MoveInWords<'a>(&'a Explained, &'a Topology);

/// A partition's standing in words, see [`Standing::in_words`].
pub struct StandingInWords<'a>(&'a Standing, &'a Topology);

impl Explained {
    /// To be shown: what is done and why, the nodes that were allowed, and what rejected the others.
    #[must_use]
    pub fn in_words<'a>(&'a self, topology: &'a Topology) -> MoveInWords<'a> {
        MoveInWords(self, topology)
    }
}

impl Standing {
    /// To be shown.
    #[must_use]
    pub fn in_words<'a>(&'a self, topology: &'a Topology) -> StandingInWords<'a> {
        StandingInWords(self, topology)
    }
}

impl fmt::Display for MoveInWords<'_> {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        let Self(explained, topology) = self;
        let name = |node: Node| &topology.node(node).name;
        write!(f, "partition {} ", explained.partition.0)?;
        match explained.action {
            Action::Copy { from: Some(from), to } => write!(f, "goes from {} to {}", name(from), name(to))?,
            Action::Copy { from: None, to } => write!(f, "gets another replica on {}", name(to))?,
            Action::Lead { from, to } => write!(f, "is led by {} instead of {}", name(to), name(from))?,
            Action::DrainReads { from } => write!(f, "is no longer read from {}", name(from))?,
        }
        writeln!(f, ", because {}; {}", reason(explained.reason), Gained(explained.gain))?;
        if explained.how == How::Together {
            writeln!(f, "decided together with other moves")?;
        }
        let mut allowed = explained.nodes.iter().filter_map(|(node, verdict)| match verdict {
            Verdict::Chosen { score } => Some((*node, Some(*score))),
            Verdict::Allowed { score } => Some((*node, *score)),
            Verdict::Rejected(_) => None,
        });
        for (place, (node, score)) in allowed.by_ref().take(MOST_NAMES).enumerate() {
            let score = score.map_or_else(|| "unknown".to_owned(), |score| format!("{score:.6}"));
            writeln!(f, "{}. {}, score {score}", place + 1, name(node))?;
        }
        let more = allowed.count();
        if more > 0 {
            writeln!(f, "and {more} more that were allowed")?;
        }
        let rejected = explained.nodes.iter().filter_map(|(node, verdict)| match verdict {
            Verdict::Rejected(constraint) => Some((*node, *constraint)),
            Verdict::Chosen { .. } | Verdict::Allowed { .. } => None,
        });
        by_constraint(f, topology, rejected.collect())
    }
}

impl fmt::Display for StandingInWords<'_> {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        let Self(standing, topology) = self;
        let why = match standing {
            Standing::Moves(moves) => {
                let moves: Vec<String> = moves.iter().map(ToString::to_string).collect();
                return writeln!(f, "moves: {}", moves.join(", "));
            }
            Standing::Stays(why) => why,
        };
        match why {
            Why::Refused(cause) => writeln!(f, "stays: {cause}"),
            Why::Pinned => writeln!(f, "stays: it is pinned"),
            Why::Cooling { until_s } => {
                writeln!(f, "stays: it moved not long ago, and may move again at {until_s} s")
            }
            Why::InFlight(copy) => {
                writeln!(f, "stays: a copy of it to {} is under way", topology.node(copy.to).name)
            }
            Why::Fine { pressure, band } => writeln!(
                f,
                "stays: its holders are fine, the most pressed at {pressure:.4} of the mean, which is within {band:.4}"
            ),
            Why::NoGain { benefit, cost } => {
                writeln!(f, "stays: moving will not help, it saves {benefit:.3} for {cost:.3}")
            }
            Why::Nowhere(nodes) => {
                writeln!(f, "stays: no node may take it")?;
                by_constraint(f, topology, nodes.clone())
            }
            Why::PassedOver { holder, pressure } => writeln!(
                f,
                "stays: others were moved instead, or nothing was asked for; {} is at {pressure:.4} of the mean",
                topology.node(*holder).name
            ),
        }
    }
}

fn reason(reason: Reason) -> &'static str {
    match reason {
        Reason::Lost => "its holder is down",
        Reason::Missing => "it has too few replicas",
        Reason::Draining => "its holder is draining",
        Reason::Overfull => "its holder has more than its share",
        Reason::Underfull => "the new holder has less than its share",
        Reason::Balance => "pressure is uneven",
        Reason::Risk => "it is expected to lose less there",
    }
}

struct Gained(Gain);

impl fmt::Display for Gained {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        match self.0 {
            Gain::Replicas { before, after } => write!(f, "{after} replicas that stay instead of {before}"),
            Gain::Pressure { before, after } => {
                write!(f, "pressure {after:.4} of the mean instead of {before:.4}")
            }
            Gain::Loss { benefit, cost } => write!(f, "it saves {benefit:.3} for {cost:.3}"),
        }
    }
}

/// One line for each constraint, in their order, with some names.
fn by_constraint(
    f: &mut fmt::Formatter<'_>,
    topology: &Topology,
    mut nodes: Vec<(Node, Constraint)>,
) -> fmt::Result {
    nodes.sort_by_key(|(node, constraint)| (*constraint, *node));
    for group in nodes.chunk_by(|a, b| a.1 == b.1) {
        let names: Vec<&str> =
            group.iter().take(MOST_NAMES).map(|(node, _)| topology.node(*node).name.as_str()).collect();
        let more = group.len() - names.len();
        let more = if more > 0 { format!(" and {more} more") } else { String::new() };
        writeln!(f, "not {}{more}: {}", names.join(", "), constraint(topology, group[0].1))?;
    }
    Ok(())
}

fn constraint(topology: &Topology, constraint: Constraint) -> String {
    match constraint {
        Constraint::NotATarget => "down, draining, cordoned or without capacity".to_owned(),
        Constraint::Risk => "too risky".to_owned(),
        Constraint::Holds => "holds it already".to_owned(),
        Constraint::Domain(Level(level)) => {
            let name = topology.levels().get(usize::from(level)).map_or("domain", String::as_str);
            format!("its {name} has another replica")
        }
        Constraint::Capacity => "no room for it".to_owned(),
        Constraint::Returned => "it left there not long ago".to_owned(),
        Constraint::Headroom => "no headroom for it".to_owned(),
        Constraint::Copysets => "would be one copyset too many".to_owned(),
    }
}
