//! The life of a migration, from a plan's move to an end that leaves nothing behind.
//!
//! A [`Migration`] is told what happens ([`Event`]) and answers with what is to be done next ([`Command`]): calls of
//! a storage system's adapter, questions about calls whose outcome nobody knows, and when it wants to be woken. It
//! decides what is done, in which order, what is tried again and how often, when to go back, and when to ask a person.
//! It is a value that can be written down, and no clock, task, socket or chance is in it; a *runner* has those.
//! docs/migration.md has phases, guarantees, and what to do when one stops.
//!
//! Why a machine and not a task that calls one step after the other: a task's place in its code cannot be written
//! down, so it dies with its process. Here each place is a state with its data, and the journal has it.
//!
//! What a runner owes it:
//! - The migration that follows an event is written before its commands are performed. (Intent; the answer's event
//!   writes the outcome.)
//! - `now` comes from a clock that never falls, also across its own restarts; see [`Moment`].
//! - [`Event::Due`] at [`Migration::deadline`].
//! - After a start, [`Event::Resumed`] with a term higher than any before.
//! - An outcome that it does not know is [`Outcome::Unknown`], never a refusal.
//!
//! What it owes a runner: every event is answered in every state; the same migration and event give the same answer;
//! a repeated or late event changes nothing.

mod answer;
mod call;
mod end;
mod event;
mod ids;
mod machine;
pub mod names;
mod policy;
mod request;
mod spec;
mod state;
mod watchdog;

pub use answer::{
    Copies, Done, Fate, Fenced, Observation, Outcome, Position, Progress, Reason, Side, Told, Validated,
    Verification,
};
pub use end::{Cause, Decision, End, Expiry};
pub use event::{Action, Denied, Event};
pub use ids::{Epoch, InvalidId, MAX_ID_LEN, MigrationId, Moment, Revision, Term};
pub use machine::{Migration, Transition};
pub use policy::{Approval, Policy, PolicyError, Retry, SwitchWhen};
pub use request::{Command, Proposal, Question, Request, RequestId, Step, StepKind, Warrant};
pub use spec::{Capabilities, Fence, Origin, Path, Spec, SpecError, Switch};
pub use state::{FenceHold, Phase, Traces};
