//! Derived tables: rows as plain structs, one file per table.
//!
//! A table is written down once, as the struct of its rows: the names of the fields are those of the columns, and
//! their types say what the columns hold. Unknown is null everywhere, in lists too, and never a number.

mod cell;
mod entropy;
mod forecasts;
mod risks;

use crate::segment::hour_of;
pub(crate) use cell::Cell;
pub use entropy::{EntropyRow, EntropyStatus};
pub use forecasts::{ForecastKind, ForecastRow, IntervalSource};
use isotherm_model::Timestamp;
use polars::prelude::{DataFrame, PolarsResult, Schema};
pub use risks::RiskRow;
use std::collections::BTreeMap;

/// What one cycle computed. It becomes true all at once.
#[derive(Debug, Clone, Default, PartialEq)]
pub struct Derived {
    /// Rows of the table `entropy`.
    pub entropy: Vec<EntropyRow>,
    /// Rows of the table `forecasts`.
    pub forecasts: Vec<ForecastRow>,
    /// Rows of the table `risks`.
    pub risks: Vec<RiskRow>,
}

impl Derived {
    /// Whether there are no rows.
    #[must_use]
    pub fn is_empty(&self) -> bool {
        self.entropy.is_empty() && self.forecasts.is_empty() && self.risks.is_empty()
    }
}

/// A row of a derived table.
pub(crate) trait Record: Sized {
    /// Name of the table.
    const TABLE: &'static str;
    /// The columns that a closed hour is sorted by; the first is the time.
    const ORDER: &'static [&'static str];

    /// When it is.
    fn at(&self) -> Timestamp;

    /// The end of the time that it is about.
    fn end(&self) -> Timestamp;

    fn schema() -> Schema;

    fn frame(rows: &[&Self]) -> PolarsResult<DataFrame>;

    /// The rows of a frame with at least the columns of the table.
    fn rows(frame: &DataFrame) -> PolarsResult<Vec<Self>>;
}

/// Rows by the hour that they lie in. No hour is empty.
pub(crate) fn by_hour<'a, R: Record + 'a>(
    rows: impl Iterator<Item = &'a R>,
) -> BTreeMap<Timestamp, Vec<&'a R>> {
    let mut hours: BTreeMap<Timestamp, Vec<&R>> = BTreeMap::new();
    for row in rows {
        hours.entry(hour_of(row.at())).or_default().push(row);
    }
    hours
}

/// Defines a table by the struct of its rows.
macro_rules! record {
    (
        $(#[$row_doc:meta])*
        pub struct $row:ident in $table:literal by [$time:ident $(, $order:ident)*] {
            $($(#[$doc:meta])* pub $field:ident: $type:ty,)*
        }
    ) => {
        $(#[$row_doc])*
        #[derive(Debug, Clone, PartialEq)]
        pub struct $row {
            $($(#[$doc])* pub $field: $type,)*
        }

        impl $row {
            /// The names of the columns, in their order.
            pub const COLUMNS: &'static [&'static str] = &[$(stringify!($field)),*];
        }

        impl crate::derived::Record for $row {
            const TABLE: &'static str = $table;
            const ORDER: &'static [&'static str] = &[stringify!($time) $(, stringify!($order))*];

            fn at(&self) -> isotherm_model::Timestamp {
                self.$time
            }

            fn end(&self) -> isotherm_model::Timestamp {
                self.time_end()
            }

            fn schema() -> polars::prelude::Schema {
                polars::prelude::Schema::from_iter([$(polars::prelude::Field::new(
                    stringify!($field).into(),
                    <$type as crate::derived::Cell>::data_type(),
                )),*])
            }

            fn frame(rows: &[&Self]) -> polars::prelude::PolarsResult<polars::prelude::DataFrame> {
                let columns = vec![$(<$type as crate::derived::Cell>::column(
                    stringify!($field),
                    rows.iter().map(|row| &row.$field),
                )),*];
                polars::prelude::DataFrame::new(rows.len(), columns)
            }

            fn rows(frame: &polars::prelude::DataFrame) -> polars::prelude::PolarsResult<Vec<Self>> {
                $(let mut $field =
                    <$type as crate::derived::Cell>::cells(frame.column(stringify!($field))?)?.into_iter();)*
                let row = |_| $row { $($field: $field.next().expect("a column has a cell for every row")),* };
                Ok((0..frame.height()).map(row).collect())
            }
        }
    };
}
use record;

#[cfg(test)]
pub(crate) mod tests;
