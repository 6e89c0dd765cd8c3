//! From what was counted in a step to decisions: the pure stages of every cycle.
//!
//! [`State::absorb`] takes in a [`input::Step`]: habits, series, surges, shares. [`assess()`] makes a
//! [`record::Record`] of every partition from the state and the [`cluster::Cluster`]. Nothing else is remembered. A
//! [`frame::Frame`] is all that one minute brings, and is taken in and judged the same way by everybody.
//!
//! No clock, no file, no chance without a seed: the analyzer feeds it, and so do replay, backtest and simulation.

mod assess;
pub mod band;
pub mod calibrate;
pub mod cluster;
mod days;
mod decide;
pub mod explain;
pub mod frame;
pub mod horizon;
pub mod input;
mod names;
mod nodes;
mod partition;
mod policy;
pub mod record;
pub mod recording;
pub mod series;
mod state;

pub use assess::{AssessError, Landscape, Placed, assess};
pub use decide::decide_all;
pub use partition::Ahead;
pub use policy::{LONGEST_HORIZON_H, LONGEST_LEAD, ReadsNeed, Settings, SettingsError, Shifts};
pub use state::{Absorbed, NodeView, State};
