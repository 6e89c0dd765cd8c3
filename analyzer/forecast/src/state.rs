//! Where a series left a model, by the Kalman filter.

use serde::{Deserialize, Serialize};

/// What the past says about the next value.
#[derive(Clone, Debug, Default, PartialEq, Serialize, Deserialize)]
pub struct State {}
