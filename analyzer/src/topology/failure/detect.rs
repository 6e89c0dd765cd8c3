//! Decides when a node went down and came back. Pure: what is seen and the time in, what to record out.
//!
//! A node is down when it was seen to be down for all of the hold-down, since the first of it; up again likewise. So a
//! restart is no failure, and a node that flaps has failed once. What is not seen changes nothing: a node that was down
//! when the topology became stale stays down. A node that was draining when it went down was taken down on purpose.
//!
//! The agent has a track of its own. Its silence is recorded as agent loss unless its node is down, too; when a second
//! signal comes later, the loss is made a failure since its beginning.

use super::signals::Seen;
use isotherm_model::Timestamp;
use isotherm_store::{Cause, Recorder};

/// Where a node stands.
#[derive(Debug, Clone, Default, PartialEq, Eq)]
enum State {
    #[default]
    Unknown,
    Up {
        draining: bool,
    },
    /// Seen to be down, not long enough to be believed.
    Falling {
        since: Timestamp,
        draining: bool,
    },
    /// On record as down.
    Down,
    /// Seen to be up, not long enough.
    Rising {
        since: Timestamp,
    },
}

/// Where its agent stands.
#[derive(Debug, Clone, Copy, Default, PartialEq, Eq)]
enum Agent {
    #[default]
    Heard,
    /// Silent, not long enough to be believed.
    Quiet { since: Timestamp, noticed: Timestamp },
    /// On record as lost.
    Lost { from: Timestamp },
}

/// A node and its agent.
#[derive(Debug, Clone, Default, PartialEq, Eq)]
pub(super) struct Machine {
    state: State,
    agent: Agent,
    was_up: bool,
}

/// What to record. Each may be repeated.
#[derive(Debug, Clone, PartialEq, Eq)]
pub(super) enum Command {
    Open {
        from: Timestamp,
        cause: Cause,
        source: Recorder,
        note: String,
    },
    /// End what was detected; maintenance and failure alike.
    Close {
        at: Timestamp,
        cause: Cause,
    },
    /// The agent loss since then was a failure of the node.
    LossWasFailure {
        from: Timestamp,
        note: String,
    },
}

impl Machine {
    /// Goes on with what is on record since before the start.
    pub(super) fn resume(&mut self, cause: Cause, from: Timestamp) {
        match cause {
            Cause::Failure | Cause::Maintenance => self.state = State::Down,
            Cause::AgentLoss => self.agent = Agent::Lost { from },
        }
    }

    /// Whether the node was ever seen to be up.
    pub(super) fn was_up(&self) -> bool {
        self.was_up
    }

    /// Whether nothing of it is worth remembering.
    pub(super) fn is_idle(&self) -> bool {
        self.state != State::Down && self.agent == Agent::Heard
    }

    /// What follows from what is seen. `gone`: neither topology nor agents name the node any more.
    pub(super) fn step(
        mut self,
        seen: &Seen,
        gone: bool,
        hold_ms: u64,
        now: Timestamp,
    ) -> (Self, Vec<Command>) {
        let mut commands = Vec::new();
        self.was_up |= matches!(seen, Seen { up: Some(true), .. });
        self.node(seen, gone, hold_ms, now, &mut commands);
        self.agent(seen, gone, hold_ms, now, &mut commands);
        (self, commands)
    }

    fn node(&mut self, seen: &Seen, gone: bool, hold_ms: u64, now: Timestamp, commands: &mut Vec<Command>) {
        let held = |since: Timestamp| since.plus_ms(hold_ms) <= now;
        let state = std::mem::take(&mut self.state);
        self.state = match (state, seen.up) {
            (State::Down | State::Rising { .. }, None) if gone => {
                commands.push(Command::Close { at: now, cause: Cause::Failure });
                State::Unknown
            }
            (State::Unknown | State::Up { .. } | State::Falling { .. }, Some(true)) => {
                State::Up { draining: seen.draining }
            }
            (State::Unknown, Some(false)) => State::Falling { since: now, draining: false },
            (State::Up { draining }, Some(false)) => State::Falling { since: now, draining },
            (State::Falling { since, draining }, Some(false)) if held(since) => {
                self.fell(since, draining, seen, commands);
                State::Down
            }
            (falling @ State::Falling { .. }, Some(false)) => falling,
            (State::Unknown | State::Falling { .. }, None) => State::Unknown,
            (up @ State::Up { .. }, None) => up,
            (State::Down, Some(true)) => State::Rising { since: now },
            (State::Rising { since }, Some(true)) if held(since) => {
                commands.push(Command::Close { at: since, cause: Cause::Failure });
                State::Up { draining: seen.draining }
            }
            (rising @ State::Rising { .. }, Some(true)) => rising,
            (State::Down | State::Rising { .. }, Some(false) | None) => State::Down,
        };
    }

    /// The node is down for good. A loss of its agent was a part of that.
    fn fell(&mut self, since: Timestamp, draining: bool, seen: &Seen, commands: &mut Vec<Command>) {
        let (note, cause) = (seen.why.clone(), if draining { Cause::Maintenance } else { Cause::Failure });
        match std::mem::take(&mut self.agent) {
            Agent::Lost { from } if !draining && (from >= since || seen.source == Recorder::Agent) => {
                commands.push(Command::LossWasFailure { from, note });
                return;
            }
            Agent::Lost { from } => {
                let at = since.max(from.plus_ms(1));
                commands.push(Command::Close { at, cause: Cause::AgentLoss });
            }
            Agent::Heard | Agent::Quiet { .. } => {}
        }
        commands.push(Command::Open { from: since, cause, source: seen.source, note });
    }

    fn agent(&mut self, seen: &Seen, gone: bool, hold_ms: u64, now: Timestamp, commands: &mut Vec<Command>) {
        let down = match self.state {
            State::Down | State::Falling { .. } | State::Rising { .. } => true,
            State::Unknown | State::Up { .. } => false,
        };
        self.agent = match (self.agent, seen.silent_since) {
            (Agent::Lost { .. }, None) => {
                commands.push(Command::Close { at: now, cause: Cause::AgentLoss });
                Agent::Heard
            }
            (Agent::Heard | Agent::Quiet { .. }, None) => Agent::Heard,
            (lost @ Agent::Lost { .. }, Some(_)) if !gone => lost,
            (Agent::Lost { .. }, Some(_)) => {
                commands.push(Command::Close { at: now, cause: Cause::AgentLoss });
                Agent::Heard
            }
            // It went with its node; when that is back and the agent is not, its silence begins anew.
            (Agent::Heard | Agent::Quiet { .. }, Some(_)) if down => Agent::Heard,
            (Agent::Heard, Some(since)) => Agent::Quiet { since, noticed: now },
            (Agent::Quiet { since, noticed }, Some(_)) if noticed.plus_ms(hold_ms) <= now => {
                commands.push(Command::Open {
                    from: since,
                    cause: Cause::AgentLoss,
                    source: Recorder::Agent,
                    note: "its agent is silent, and nothing else says that it is down".to_owned(),
                });
                Agent::Lost { from: since }
            }
            (quiet @ Agent::Quiet { .. }, Some(_)) => quiet,
        };
    }
}

#[cfg(test)]
mod tests;
