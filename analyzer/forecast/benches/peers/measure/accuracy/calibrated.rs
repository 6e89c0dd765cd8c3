//! placeholder
use crate::measure::row::Row;
use anyhow::Result;
pub(super) fn measure(_seed: u64) -> Result<Vec<Row>> {
    Ok(Vec::new())
}
