//! The states of a migration, each with what it needs and nothing else.

use crate::answer::{Position, Verification};
use crate::call::Call;
use crate::end::{Cause, Decision, End};
use crate::ids::{Epoch, Moment};
use crate::request::Warrant;
use serde::{Deserialize, Serialize};

/// Where a migration is.
#[derive(Debug, Clone, PartialEq, Eq, Serialize, Deserialize)]
pub(crate) enum State {
    /// Waits for the runner's limits.
    Planned,
    /// Waits for somebody to agree.
    AwaitingApproval { until: Moment },
    /// Looks whether it can be done; no effects.
    Preflight { call: Call },
    /// Has effects, or may have them.
    Underway(Underway),
    /// Stopped; all is kept as it was.
    NeedsOperator { why: Cause, underway: Underway },
    /// Over.
    Ended(End),
}

/// A migration whose epochs are known.
#[derive(Debug, Clone, PartialEq, Eq, Serialize, Deserialize)]
pub(crate) struct Underway {
    pub(crate) epochs: Epochs,
    pub(crate) traces: Traces,
    /// Somebody accepted that data may be lost.
    pub(crate) loss: Option<Decision>,
    /// What the last commit was founded on, until it surely has not happened.
    pub(crate) warrant: Option<Warrant>,
    /// Fences so far that were meant to lead to the switch.
    pub(crate) fences: u32,
    /// A question about the partition, where no call is under way that could be asked about.
    pub(crate) probe: Option<Probe>,
    pub(crate) doing: Doing,
}

/// Epochs of the partition.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Serialize, Deserialize)]
pub(crate) struct Epochs {
    /// The one that serves, as far as is known.
    pub(crate) serving: Epoch,
    /// The highest that was proposed, by this migration or, as far as is known, another. At least `serving`.
    pub(crate) highest: Epoch,
}

/// What may be in the store because of this migration. Noted before it is made, crossed out when it is surely gone.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Serialize, Deserialize)]
pub struct Traces {
    /// A copy on the target, and what feeds it.
    pub objects: bool,
    /// Writes to the source are stopped.
    pub fence: Option<FenceHold>,
}

/// A fence.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Serialize, Deserialize)]
pub struct FenceHold {
    /// When writes must go on at the latest; absent for as long as the copy makes progress.
    pub until: Option<Moment>,
}

/// A question about the partition.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Serialize, Deserialize)]
pub(crate) enum Probe {
    /// To be asked.
    At(Moment),
    /// Asked.
    Open { number: u32, until: Moment },
}

/// What is being done.
#[derive(Debug, Clone, PartialEq, Eq, Serialize, Deserialize)]
pub(crate) enum Doing {
    Preparing {
        call: Call,
    },
    Replicating {
        call: Call,
        position: Option<Position>,
    },
    CatchingUp {
        call: Call,
        position: Option<Position>,
    },
    Verifying {
        call: Call,
    },
    /// Behind the gate; `call` looks at the lag before the fence.
    Ready {
        gate: Gate,
        open: Open,
        call: Option<Call>,
    },
    /// Stopping writes, or, where the copy is there, waiting for its last ones.
    Fencing {
        gate: Gate,
        call: Call,
    },
    Unfencing {
        call: Call,
        then: Then,
    },
    Committing {
        call: Call,
    },
    /// The engine copies and switches.
    Engine {
        call: Call,
        handing_over: bool,
    },
    Switched {
        proof: Proof,
        until: Moment,
    },
    /// The source goes. First the epoch is looked at once more, and only then there is a call.
    Retiring {
        warrant: Warrant,
        call: Option<Call>,
    },
    Aborting {
        call: Call,
        end: End,
    },
    /// The source shall serve again; when it does, the copy is removed.
    Reversing {
        call: Call,
    },
}

/// What begins when the gate opens.
#[derive(Debug, Clone, PartialEq, Eq, Serialize, Deserialize)]
pub(crate) enum Gate {
    /// The copy, behind a fence or in the engine.
    Copy,
    /// The switch to a verified copy.
    Switch(Verification),
}

/// Whether the gate is open.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Serialize, Deserialize)]
pub(crate) enum Open {
    /// It waits to be told.
    No,
    /// From then on.
    From(Moment),
}

/// What follows when writes go on.
#[derive(Debug, Clone, PartialEq, Eq, Serialize, Deserialize)]
pub(crate) enum Then {
    Ready(Gate),
    Abort(End),
}

/// What is known of the copy after the switch.
#[derive(Debug, Clone, PartialEq, Eq, Serialize, Deserialize)]
pub(crate) enum Proof {
    Passed(Warrant),
    Pending(Call),
    /// It has passed, and is compared again.
    Again {
        warrant: Warrant,
        call: Call,
    },
}

/// The name of a state, as it is told to people.
#[derive(Debug, Clone, Copy, PartialEq, Eq, PartialOrd, Ord, Hash, Serialize, Deserialize)]
pub enum Phase {
    /// Waits for the runner's limits.
    Planned,
    /// Waits for somebody to agree, and expires.
    AwaitingApproval,
    /// Looks whether it can be done, and undone; no effects.
    Preflight,
    /// Makes what the copy needs.
    Preparing,
    /// Copies, while clients go on; where an engine does it all, up to its hand-over.
    Replicating,
    /// Copies what a dead node held, from a survivor.
    Repairing,
    /// Waits until the copy is close enough.
    CatchingUp,
    /// Compares copy and source.
    Verifying,
    /// Waits for an operator, a window, or the lag to fall.
    Ready,
    /// Stops writes; the last ones reach the copy.
    Fencing,
    /// Lets writes go on at the source, unless the switch has happened after all.
    Unfencing,
    /// Switches. From here on it goes forward unless it surely has not switched.
    Committing,
    /// The target serves; the source is kept for a while.
    Switched,
    /// Removes the source.
    Retiring,
    /// Restores the start.
    Aborting,
    /// Takes the switch back, and removes the copy.
    Reversing,
    /// Stopped; all is kept.
    NeedsOperator,
    /// The target serves, nothing is left of the source.
    Completed,
    /// Given up; nothing is left of the copy.
    Cancelled,
    /// Could not be done; nothing is left of the copy.
    Failed,
    /// Taken back; nothing is left of the copy.
    Reversed,
    /// Never began.
    Expired,
}

impl Underway {
    /// The call that is under way.
    pub(crate) fn call(&self) -> Option<&Call> {
        match &self.doing {
            Doing::Preparing { call }
            | Doing::Replicating { call, .. }
            | Doing::CatchingUp { call, .. }
            | Doing::Verifying { call }
            | Doing::Fencing { call, .. }
            | Doing::Unfencing { call, .. }
            | Doing::Committing { call }
            | Doing::Engine { call, .. }
            | Doing::Switched { proof: Proof::Pending(call) | Proof::Again { call, .. }, .. }
            | Doing::Aborting { call, .. }
            | Doing::Reversing { call } => Some(call),
            Doing::Ready { call, .. } | Doing::Retiring { call, .. } => call.as_ref(),
            Doing::Switched { proof: Proof::Passed(_), .. } => None,
        }
    }

    /// The call that is under way.
    pub(crate) fn call_mut(&mut self) -> Option<&mut Call> {
        match &mut self.doing {
            Doing::Preparing { call }
            | Doing::Replicating { call, .. }
            | Doing::CatchingUp { call, .. }
            | Doing::Verifying { call }
            | Doing::Fencing { call, .. }
            | Doing::Unfencing { call, .. }
            | Doing::Committing { call }
            | Doing::Engine { call, .. }
            | Doing::Switched { proof: Proof::Pending(call) | Proof::Again { call, .. }, .. }
            | Doing::Aborting { call, .. }
            | Doing::Reversing { call } => Some(call),
            Doing::Ready { call, .. } | Doing::Retiring { call, .. } => call.as_mut(),
            Doing::Switched { proof: Proof::Passed(_), .. } => None,
        }
    }

    /// Whether a pause must not hold it up: writes are stopped, or it is neither here nor there.
    pub(crate) fn is_urgent(&self) -> bool {
        if self.traces.fence.is_some() {
            return true;
        }
        match self.doing {
            Doing::Fencing { .. }
            | Doing::Unfencing { .. }
            | Doing::Committing { .. }
            | Doing::Aborting { .. }
            | Doing::Reversing { .. } => true,
            Doing::Preparing { .. }
            | Doing::Replicating { .. }
            | Doing::CatchingUp { .. }
            | Doing::Verifying { .. }
            | Doing::Ready { .. }
            | Doing::Engine { .. }
            | Doing::Switched { .. }
            | Doing::Retiring { .. } => false,
        }
    }
}
