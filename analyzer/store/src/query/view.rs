//! The tables as they are asked, from the catalog and the segments of one moment.

use crate::catalog::{self, NodeReport};
use crate::error::QueryError;
use crate::read::{Reader, Span};
use crate::schema::{self, Class};
use crate::table::Table;
use isotherm_model::{Layer, Operation, Timestamp};
use polars::prelude::{
    Column, DataFrame, DataType, Expr, IntoColumn, IntoLazy, LazyFrame, ListChunked, NULL, NamedFrom,
    PlSmallStr, PolarsResult, Series, TimeUnit, col, lit, when,
};
use rusqlite::Connection;

/// A table as it is asked.
#[derive(Debug, Clone, Copy, PartialEq, Eq, PartialOrd, Ord)]
pub enum View {
    /// What was counted in every window; peers are apart.
    Windows,
    /// What nodes exchanged with whom: parts of rows of the network layer.
    Peers,
    /// Rows of windows and peers that came too late to count.
    Late,
    /// Entropy of partitions by steps.
    Entropy,
    /// Forecasts of entropy.
    Forecasts,
    /// Decisions, one per partition and cycle.
    Risks,
    /// Every node that was ever reported.
    Nodes,
    /// Every partition that was seen.
    Partitions,
}

/// All of them, in the order in which errors list them.
pub const VIEWS: [View; 8] = [
    View::Windows,
    View::Peers,
    View::Late,
    View::Entropy,
    View::Forecasts,
    View::Risks,
    View::Nodes,
    View::Partitions,
];

const FIRST_WATCHED: &str = "first_watched";
const LAST_WATCHED: &str = "last_watched";
const LAST_END: &str = "last_end";
const FIRST_WINDOW: &str = "first_window";
const LAST_WINDOW: &str = "last_window";

/// A moment in UTC that does not say so.
const PLAIN: DataType = DataType::Datetime(TimeUnit::Milliseconds, None);

/// What only rows of peers have.
const OF_PEERS: [&str; 4] = [schema::LOCAL, schema::REMOTE, schema::PEER_SYSTEM, schema::PEER_NODE];

impl View {
    /// Its name in SQL.
    #[must_use]
    pub fn name(self) -> &'static str {
        match self {
            Self::Windows => "windows",
            Self::Peers => "peers",
            Self::Late => "late",
            Self::Entropy => "entropy",
            Self::Forecasts => "forecasts",
            Self::Risks => "risks",
            Self::Nodes => "nodes",
            Self::Partitions => "partitions",
        }
    }

    /// The view of a name, if there is one.
    #[must_use]
    pub fn from_name(name: &str) -> Option<Self> {
        VIEWS.into_iter().find(|view| view.name() == name)
    }

    /// The table that it shows row by row; `None` if it is made of others.
    pub(crate) fn table(self) -> Option<Table> {
        match self {
            Self::Windows | Self::Peers => Some(Table::Windows),
            Self::Late => Some(Table::Late),
            Self::Entropy => Some(Table::Entropy),
            Self::Forecasts => Some(Table::Forecasts),
            Self::Risks => Some(Table::Risks),
            Self::Nodes | Self::Partitions => None,
        }
    }

    /// The column that says when a row is; `None` if rows have no time.
    pub(super) fn time(self) -> Option<&'static str> {
        self.table().map(Table::time)
    }

    /// Its rows as SQL sees them: moments do not say that they are in UTC, because texts can be compared only
    /// with such.
    pub(super) fn frame(
        self,
        reader: &Reader,
        catalog: &Connection,
        bounds: Span,
    ) -> Result<LazyFrame, QueryError> {
        let mut rows = self.rows(reader, catalog, bounds)?;
        let schema = rows.collect_schema()?;
        let times = schema.iter().filter(|(_, dtype)| **dtype == schema::start_type());
        let plain: Vec<Expr> = times.map(|(name, _)| col(name.clone()).cast(PLAIN)).collect();
        Ok(rows.with_columns(plain))
    }

    /// Its rows, read when they are asked for. Of those with a time, the rows of `bounds`; of partitions, what was
    /// counted in it.
    pub(crate) fn rows(
        self,
        reader: &Reader,
        catalog: &Connection,
        bounds: Span,
    ) -> Result<LazyFrame, QueryError> {
        let (start, end) = (bounds.start(), bounds.end().max(bounds.start()));
        let rows = |table| reader.rows_of(catalog, table, start, end);
        let class = |class: Class| col(schema::CLASS).eq(lit(class.as_str()));
        Ok(match self {
            Self::Windows => rows(Table::Windows)?.filter(class(Class::Peer).not()).select(self.columns()),
            Self::Peers => rows(Table::Windows)?.filter(class(Class::Peer)).select(self.columns()),
            Self::Late => rows(Table::Late)?,
            Self::Entropy => rows(Table::Entropy)?,
            Self::Forecasts => rows(Table::Forecasts)?,
            Self::Risks => rows(Table::Risks)?,
            Self::Nodes => nodes(&catalog::nodes(catalog)?)?.lazy(),
            Self::Partitions => partitions(rows(Table::Windows)?.filter(class(Class::Partition))),
        })
    }

    fn columns(self) -> Vec<Expr> {
        self.names().into_iter().map(col).collect()
    }

    /// Names of its columns, in their order.
    fn names(self) -> Vec<PlSmallStr> {
        let Some(table) = self.table() else {
            let names = if self == Self::Nodes { NODES } else { PARTITIONS };
            return names.map(PlSmallStr::from_static).to_vec();
        };
        let kept = |name: &&PlSmallStr| {
            let of_peers = OF_PEERS.contains(&name.as_str());
            match self {
                Self::Windows => !of_peers,
                Self::Peers => name.as_str() != schema::CLASS && !of_histograms(name),
                Self::Late | Self::Entropy | Self::Forecasts | Self::Risks => true,
                Self::Nodes | Self::Partitions => false,
            }
        };
        table.schema().iter_names().filter(kept).cloned().collect()
    }

    /// Its columns, histograms as ranges.
    pub(super) fn columns_in_words(self) -> String {
        let names = self.names();
        let bucket = |name: &PlSmallStr| is_bucket(name);
        let mut words: Vec<&str> =
            names.iter().filter(|name| !bucket(name)).map(PlSmallStr::as_str).collect();
        if names.iter().any(bucket) {
            words.extend(["o00 to o63", "l00 to l39"]);
        }
        words.join(", ")
    }
}

/// Whether a column of that name is a moment, in any view.
pub(super) fn is_moment(name: &str) -> bool {
    let made = [FIRST_WATCHED, LAST_WATCHED, LAST_END, FIRST_WINDOW, LAST_WINDOW];
    let stored = |table: Table| table.schema().get(name) == Some(&schema::start_type());
    made.contains(&name) || Table::ALL.into_iter().any(stored)
}

fn is_bucket(name: &PlSmallStr) -> bool {
    schema::buckets().chain(schema::latencies()).any(|bucket| bucket == *name)
}

fn of_histograms(name: &PlSmallStr) -> bool {
    [schema::LATENCY_OPS, schema::OFFSET_SHIFT].contains(&name.as_str()) || is_bucket(name)
}

const NODES: [&str; 9] = [
    schema::SYSTEM,
    schema::NODE,
    schema::AGENT,
    FIRST_WATCHED,
    LAST_WATCHED,
    LAST_END,
    schema::WINDOW_MS,
    schema::PROCESSES,
    "listening",
];

fn nodes(reports: &[NodeReport]) -> PolarsResult<DataFrame> {
    let text = |name: &str, of: &dyn Fn(&NodeReport) -> String| {
        Column::new(name.into(), reports.iter().map(of).collect::<Vec<_>>())
    };
    let number = |name: &str, of: fn(&NodeReport) -> u32| {
        Column::new(name.into(), reports.iter().map(of).collect::<Vec<_>>())
    };
    let moment = |name: &str, of: fn(&NodeReport) -> Option<Timestamp>| {
        let ms = |at: Timestamp| at.as_ms().cast_signed();
        Column::new(name.into(), reports.iter().map(|report| of(report).map(ms)).collect::<Vec<_>>())
            .cast(&schema::start_type())
    };
    let listening = reports.iter().map(|report| {
        Series::new("".into(), report.listening.iter().map(ToString::to_string).collect::<Vec<_>>())
    });
    let listening: ListChunked = listening.collect();
    let listening = listening.into_column().with_name("listening".into());
    // An empty list of lists does not know what it would hold.
    let listening = listening.cast(&DataType::List(Box::new(DataType::String)))?;
    DataFrame::new(
        reports.len(),
        vec![
            text(schema::SYSTEM, &|report| report.node.system().to_string()),
            text(schema::NODE, &|report| report.node.name().to_owned()),
            text(schema::AGENT, &|report| report.agent.clone()),
            moment(FIRST_WATCHED, |report| report.first_watched)?,
            moment(LAST_WATCHED, |report| report.last_watched)?,
            moment(LAST_END, |report| Some(report.last_end))?,
            number(schema::WINDOW_MS, |report| report.window_ms),
            number(schema::PROCESSES, |report| report.processes),
            listening,
        ],
    )
}

const PARTITIONS: [&str; 9] = [
    schema::SYSTEM,
    schema::PARTITION,
    "nodes",
    FIRST_WINDOW,
    LAST_WINDOW,
    "reads",
    "read_bytes",
    "writes",
    "written_bytes",
];

/// Partitions with what the logical layer counted of them: null where it counted nothing of that kind.
fn partitions(rows: LazyFrame) -> LazyFrame {
    let place = |operation: Operation| {
        col(schema::LAYER)
            .eq(lit(Layer::Logical.as_str()))
            .and(col(schema::OPERATION).eq(lit(operation.as_str())))
    };
    let sum = |column: &str, operation: Operation| {
        let counted = col(column).filter(place(operation));
        // The sum of nothing is 0 to polars, but nobody counted.
        let some = counted.clone().count().gt(lit(0u32));
        when(some).then(counted.sum()).otherwise(lit(NULL))
    };
    let start = || col(schema::WINDOW_START);
    rows.group_by([col(schema::SYSTEM), col(schema::PARTITION)]).agg([
        col(schema::NODE).n_unique().alias(PARTITIONS[2]),
        start().min().alias(FIRST_WINDOW),
        start().max().alias(LAST_WINDOW),
        sum(schema::OPS, Operation::Read).alias(PARTITIONS[5]),
        sum(schema::BYTES, Operation::Read).alias(PARTITIONS[6]),
        sum(schema::OPS, Operation::Write).alias(PARTITIONS[7]),
        sum(schema::BYTES, Operation::Write).alias(PARTITIONS[8]),
    ])
}
