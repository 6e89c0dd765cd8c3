//! A plan's decisions made once more: what each node was at the moment of a decision, and why a partition stays.
//!
//! The moves before it are done on the same view of the cluster, and nodes are judged by the same code as when the
//! plan was made, so an explanation cannot tell another story than the decision.

use super::choose::{Candidates, Choice, Load};
use super::risk::{Judge, reads};
use super::work::Work;
use crate::ids::{Node, Partition};
use crate::plan::{Action, Constraint, Move, Reason};
use crate::proactive::Outlook;
use crate::snapshot::Snapshot;
use crate::topology::NodeState;

/// The cluster as it was before a move of a plan, or after all.
pub(crate) struct Replay<'a, 'o> {
    work: Work<'a>,
    outlook: &'o Outlook<'o>,
    judge: Option<Judge<'o>>,
}

/// What every node was for a decision.
pub(crate) struct Looked {
    /// In the order of nodes.
    pub(crate) nodes: Vec<(Node, Result<f64, Constraint>)>,
    /// What a scan of them chooses.
    pub(crate) choice: Option<Choice>,
}

/// Why a partition stays, by the state of the cluster after a plan.
pub(crate) enum Stay {
    /// Nothing is to be gained: the highest pressure of its holders is within the band, and none is worth leaving.
    Fine(f64),
    /// Every node has something that forbids it.
    Nowhere(Vec<(Node, Constraint)>),
    /// It could lose less elsewhere, and that is not worth it: benefit and cost.
    NoGain(f64, f64),
    /// It could have been moved, and others were: the holder with the highest pressure, and that.
    PassedOver(Node, f64),
}

impl<'a, 'o> Replay<'a, 'o> {
    /// Does the first moves of a plan; they fit the snapshot.
    pub(crate) fn new(snapshot: &'a Snapshot, moves: &[Move], outlook: &'o Outlook<'o>) -> Self {
        let mut replay = Self { work: Work::new(snapshot), outlook, judge: None };
        moves.iter().for_each(|decided| replay.act(decided));
        replay
    }

    fn act(&mut self, decided: &Move) {
        let partition = decided.partition;
        if decided.reason == Reason::Risk {
            self.start_risk();
        }
        match decided.action {
            Action::Copy { from, to } => {
                if let (Reason::Risk, Some(judge), Some(from)) = (decided.reason, &mut self.judge, from) {
                    judge.take(&self.work, partition, from, to);
                }
                let choice = Choice {
                    node: to,
                    score: decided.score,
                    runner_up: decided.runner_up,
                    rejected: decided.rejected,
                };
                self.work.copy(partition, from, decided.reason, decided.gain, choice);
            }
            Action::Lead { .. } | Action::DrainReads { .. } => {
                if let Some(judge) = &mut self.judge {
                    judge.take_shift(&self.work, partition, decided.action);
                }
                if let Action::Lead { to, .. } = decided.action {
                    self.work.assignment.lead(partition, to);
                }
            }
        }
    }

    /// Proactive moves are bounded by the cluster as it is when the first of them is decided.
    fn start_risk(&mut self) {
        if self.judge.is_none() {
            self.judge = Some(Judge::new(&self.work, self.outlook));
        }
    }

    /// Every node for a move that is the next.
    pub(crate) fn look(&mut self, decided: &Move) -> Looked {
        if decided.reason == Reason::Risk {
            self.start_risk();
        }
        match (decided.action, &self.judge) {
            (Action::Copy { from: Some(from), .. }, Some(judge)) if decided.reason == Reason::Risk => self
                .look_for(
                    decided.partition,
                    Some(from),
                    true,
                    judge.word(&self.work, decided.partition, from),
                ),
            (Action::Copy { from, .. }, _) => {
                self.look_for(decided.partition, from, decided.reason.by_choice(), |_, score| Ok(score))
            }
            (Action::Lead { .. } | Action::DrainReads { .. }, Some(judge)) => {
                self.look_at_holders(decided, judge)
            }
            (Action::Lead { .. } | Action::DrainReads { .. }, None) => {
                Looked { nodes: Vec::new(), choice: None }
            }
        }
    }

    fn look_for(
        &self,
        partition: Partition,
        from: Option<Node>,
        by_choice: bool,
        mut word: impl FnMut(Node, f64) -> Result<f64, Constraint>,
    ) -> Looked {
        let load = Load {
            partition,
            from,
            bytes: self.work.size_of(partition),
            load: self.work.load_of(partition),
            by_choice,
        };
        let candidates = Candidates::new(&self.work, load);
        let mut judge = |node: Node| candidates.judge(node).and_then(|score| word(node, score));
        let nodes = self.work.snapshot.topology().all().map(|node| (node, judge(node))).collect();
        let choice = candidates.best_with(&mut word).ok();
        Looked { nodes, choice }
    }

    /// Only holders are candidates of a shift.
    fn look_at_holders(&self, decided: &Move, judge: &Judge<'_>) -> Looked {
        let (work, partition) = (&self.work, decided.partition);
        let best = reads::best(judge, work, partition);
        let before = best.map_or(f64::NAN, |best| best.before);
        let of = |holder: Node| {
            let action = reads::action(judge, work, partition, holder)?;
            let after = reads::after(judge, work, partition, action);
            Some((holder, after.map(|loss| reads::score(loss, before))))
        };
        let choice = best.map(|best| Choice {
            node: reads::holder(best.action),
            score: best.score,
            runner_up: best.runner_up,
            rejected: best.rejected,
        });
        Looked { nodes: work.assignment.subset(partition).filter_map(of).collect(), choice }
    }

    /// Why a partition that no plan refuses, and that may move, stays. With an outlook that is `known` losses count.
    pub(crate) fn stay(&mut self, partition: Partition, known: bool) -> Stay {
        if known {
            self.start_risk();
        }
        let work = &self.work;
        let judge = self.judge.as_ref().filter(|_| known);
        let nodes = work.snapshot.topology().nodes();
        let pressed = work
            .assignment
            .subset(partition)
            .map(|holder| (holder, work.pressure(holder.at())))
            .max_by(|a, b| a.1.total_cmp(&b.1).then(b.0.cmp(&a.0)));
        let wanted = usize::from(work.snapshot.partitions().replicas.get(partition));
        let serving = |holder: Node| nodes[holder.at()].state == NodeState::Up;
        let whole = work.assignment.subset(partition).len() >= wanted;
        let broken = work.assignment.subset(partition).find(|holder| !serving(*holder));
        let risky = judge.and_then(|judge| judge.worst(work, partition));
        let band = 1.0 + work.snapshot.policy().dead_band;
        let (holder, pressure) = pressed.unwrap_or((Node(0), 0.0));
        if whole && broken.is_none() && risky.is_none() && pressure <= band {
            return Stay::Fine(pressure);
        }
        let from = if whole { broken.or(risky).or(Some(holder)) } else { None };
        let by_choice = whole && broken.is_none();
        let looked = match (judge, risky, from) {
            (Some(judge), Some(risky), Some(from)) if risky == from => {
                self.look_for(partition, Some(from), true, judge.word(work, partition, from))
            }
            _ => self.look_for(partition, from, by_choice, |_, score| Ok(score)),
        };
        let Some(choice) = looked.choice else {
            let forbidden = looked.nodes.into_iter().filter_map(|(node, is)| Some((node, is.err()?)));
            return Stay::Nowhere(forbidden.collect());
        };
        if let (Some(judge), Some(risky), true) = (judge, risky, risky.is_some() && from == risky) {
            let (benefit, cost) = judge.gain(work, partition, risky, choice.node);
            if !judge.pays(benefit, cost) {
                return Stay::NoGain(benefit, cost);
            }
        }
        Stay::PassedOver(holder, pressure)
    }
}
