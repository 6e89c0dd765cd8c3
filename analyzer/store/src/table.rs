//! The tables of the store: what each is called, when its rows are, and in which order a finished hour has them.
//!
//! Two tables hold what agents sent: [`Table::Windows`], and [`Table::Late`] for what came when its hour was
//! closed. The others are derived: the cycle computes them and [appends](crate::Store::append) them.

use crate::derived::{EntropyRow, ForecastRow, Record, RiskRow};
use crate::schema;
use isotherm_model::Timestamp;
use object_store::path::Path;
use polars::prelude::Schema;
use std::fmt;

/// A table of the store.
#[derive(Debug, Clone, Copy, PartialEq, Eq, PartialOrd, Ord, Hash)]
pub enum Table {
    /// What agents counted, in the hour that each window starts in.
    Windows,
    /// Windows that came after their hour was closed. They change no answer, and nothing is lost of them.
    Late,
    /// Entropy of partitions, by steps.
    Entropy,
    /// Forecasts of entropy.
    Forecasts,
    /// Decisions, one per partition and cycle.
    Risks,
}

/// The order of the rows of a window, in which questions need only the first column.
const WINDOW_ORDER: [&str; 1] = [schema::WINDOW_START];

impl Table {
    /// Every table.
    pub const ALL: [Self; 5] = [Self::Windows, Self::Late, Self::Entropy, Self::Forecasts, Self::Risks];

    /// Its name, in the catalog, in questions and in the configuration.
    #[must_use]
    pub fn as_str(self) -> &'static str {
        match self {
            Self::Windows => "windows",
            Self::Late => "late",
            Self::Entropy => EntropyRow::TABLE,
            Self::Forecasts => ForecastRow::TABLE,
            Self::Risks => RiskRow::TABLE,
        }
    }

    /// The table of that name.
    #[must_use]
    pub fn from_name(name: &str) -> Option<Self> {
        Self::ALL.into_iter().find(|table| table.as_str() == name)
    }

    /// The columns of its segments.
    pub(crate) fn schema(self) -> Schema {
        match self {
            Self::Windows | Self::Late => schema::windows(),
            Self::Entropy => EntropyRow::schema(),
            Self::Forecasts => ForecastRow::schema(),
            Self::Risks => RiskRow::schema(),
        }
    }

    /// The columns that the rows of a closed hour are sorted by. The first says when a row is, and in which hour
    /// it lies.
    pub(crate) fn order(self) -> &'static [&'static str] {
        match self {
            Self::Windows | Self::Late => &WINDOW_ORDER,
            Self::Entropy => EntropyRow::ORDER,
            Self::Forecasts => ForecastRow::ORDER,
            Self::Risks => RiskRow::ORDER,
        }
    }

    /// The column that says when a row is.
    pub(crate) fn time(self) -> &'static str {
        self.order()[0]
    }

    /// How long after the watermark has passed it an hour is closed, in milliseconds. Windows cannot come any more;
    /// of derived tables the steps of an hour's length are computed only when the hour is over.
    pub(crate) fn closed_after_ms(self) -> u64 {
        match self {
            Self::Windows | Self::Late => 0,
            Self::Entropy | Self::Forecasts | Self::Risks => 3_600_000,
        }
    }

    /// The folder of an hour, within that of all segments. Windows lie where they always did.
    pub(crate) fn folder(self, hour: Timestamp) -> Path {
        let hour = crate::segment::hive_folder(hour);
        match self {
            Self::Windows => hour,
            Self::Late | Self::Entropy | Self::Forecasts | Self::Risks => {
                Path::from(format!("{self}/{hour}"))
            }
        }
    }
}

impl fmt::Display for Table {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.write_str(self.as_str())
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn names_of_tables_are_read_back() {
        for table in Table::ALL {
            assert_eq!(Table::from_name(table.as_str()), Some(table));
        }
        assert_eq!(Table::from_name("window"), None);
    }

    #[test]
    fn tables_are_sorted_by_columns_they_have() {
        for table in Table::ALL {
            let schema = table.schema();
            assert!(table.order().iter().all(|column| schema.contains(column)), "{table}");
            assert_eq!(schema.get(table.time()), Some(&schema::start_type()), "{table}");
        }
    }
}
