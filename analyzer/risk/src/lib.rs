//! What a partition's accesses say about its future, and what its nodes' failures would cost.
//!
//! In the order of the data: a value of an entropy gets a [`class`], is held against the partition's own [`habit`],
//! and may be a [`surge`]; nodes that answer badly are [`gray`]; failures that happened become [`hazard`]s; a
//! partition that leans on its nodes by its [`shares`] has an [`exposure`] to them, and would lose something
//! ([`loss`]) if they failed, more where the survivors have no headroom ([`field`]); the [`gate`] says whether
//! anything should be done about it.
//!
//! Definitions are those of docs/risk.md. No clock, no file, no chance: everything is an argument. What is unknown is
//! `None` or a value of its own, never 0, and nothing finite becomes a number that is none.

mod bounds;
pub mod class;
mod domains;
pub mod exposure;
pub mod field;
pub mod gate;
pub mod gray;
pub mod habit;
pub mod hazard;
mod ids;
pub mod loss;
pub mod node_down;
pub mod shares;
pub mod surge;

pub use bounds::OutOfRange;
pub use domains::{Domains, DomainsError};
pub use exposure::{
    DomainExposure, Exposure, ExposurePolicy, NodeExposure, Outages, Redundancy, Surroundings,
    SurroundingsError, second_order,
};
pub use field::{Bearing, Effect, Field, FieldError, FieldPolicy, Holding};
pub use gate::{
    Candidates, Check, Criterion, Decision, Destination, Factors, GatePolicy, Judged, Mode, Move, Shift,
    ShiftAction, Shifted, Situation, Standing, Trigger, Verdict, WhyNot, decide, undo_shift,
};
pub use hazard::{
    Basis, ClassPrior, DownCause, Hazard, HazardError, HazardPolicy, Hazards, History, HistoryError,
    NodeClass, Override, OverrideRate, Span, SpanState, Tally,
};
pub use ids::{Domain, Node};
pub use loss::{CopyCost, CostPolicy, Gain, Loss, LossParts, LossPolicy, RiskPolicy};
pub use node_down::{Holders, Lying, MovingHelps, NodeDown, Responsible, Survivor};
pub use shares::{
    Inherit, Reached, Tilted, drained, entropy_bits, inherit, normalised_entropy, shares_of, tilt, tilt_to,
};

#[cfg(test)]
mod sample;
