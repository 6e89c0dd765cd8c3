//! Rises of entropy that somebody knows of, from a CSV file.

use crate::cli::Failure;
use crate::cli::plan::csv::{CsvError, Rows};
use crate::cli::time::Moment;
use crate::writer::with_causes;
use anyhow::anyhow;
use isotherm_simulate::recorded::Shift;
use std::fs::File;
use std::io::{BufRead, BufReader};
use std::path::Path;

pub(super) fn read(file: &Path) -> Result<Vec<Shift>, Failure> {
    let name = file.display().to_string();
    let opened = File::open(file).map_err(|source| CsvError::Open { file: name.clone(), source });
    let shifts = opened.and_then(|opened| rows(name, BufReader::new(opened)));
    shifts.map_err(|error| anyhow!(with_causes(&error)).into())
}

fn rows(name: String, input: impl BufRead) -> Result<Vec<Shift>, CsvError> {
    let mut rows = Rows::new(name, input)?;
    let (time, partition) = (rows.need("time")?, rows.need("partition")?);
    let mut shifts = Vec::new();
    while rows.next()? {
        let at_ms = match rows.lossy(time).parse::<Moment>() {
            Ok(Moment::AtMs(ms)) => ms,
            Ok(Moment::Ago(_)) => {
                let cause = format!("{:?} is no moment; give RFC 3339 or @<unix ms>", rows.lossy(time));
                return Err(rows.fault(time, cause));
            }
            Err(cause) => return Err(rows.fault(time, cause)),
        };
        shifts.push(Shift { partition: rows.lossy(partition), at_ms });
    }
    Ok(shifts)
}
