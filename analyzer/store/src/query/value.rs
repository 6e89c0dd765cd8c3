//! Answers as plain values, so that nobody else needs to know polars.

use chrono::{DateTime, NaiveDate, SecondsFormat};
use polars::prelude::{AnyValue, DataFrame, DataType, Field, Series, TimeUnit};
use serde::ser::{Serialize, SerializeMap, Serializer};
use std::borrow::Cow;

/// A column of an answer.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct ColumnHead {
    /// Its name.
    pub name: String,
    /// Whether its values are numbers.
    pub numeric: bool,
}

impl ColumnHead {
    pub(super) fn new(name: &str, dtype: &DataType) -> Self {
        Self { name: name.to_owned(), numeric: dtype.is_primitive_numeric() }
    }
}

/// A value of an answer.
#[derive(Debug, Clone, PartialEq)]
pub enum Value<'a> {
    /// Nothing is known, or nothing is there.
    Null,
    /// Yes or no.
    Bool(bool),
    /// A whole number from 0.
    Unsigned(u64),
    /// A whole number.
    Signed(i64),
    /// Any other number. NaN and the infinities are null in JSON, which has none.
    Float(f64),
    /// A text. Moments are RFC 3339 in UTC, days are `YYYY-MM-DD`; durations are ISO 8601 seconds.
    Text(Cow<'a, str>),
    /// Several values.
    List(Vec<Value<'a>>),
    /// Values with names.
    Fields(Vec<(String, Value<'a>)>),
}

impl Serialize for Value<'_> {
    fn serialize<S: Serializer>(&self, serializer: S) -> Result<S::Ok, S::Error> {
        match self {
            Self::Null => serializer.serialize_unit(),
            Self::Bool(value) => serializer.serialize_bool(*value),
            Self::Unsigned(value) => serializer.serialize_u64(*value),
            Self::Signed(value) => serializer.serialize_i64(*value),
            Self::Float(value) if value.is_finite() => serializer.serialize_f64(*value),
            Self::Float(_) => serializer.serialize_unit(),
            Self::Text(value) => serializer.serialize_str(value),
            Self::List(values) => serializer.collect_seq(values),
            Self::Fields(fields) => {
                serializer.collect_map(fields.iter().map(|(name, value)| (name.as_str(), value)))
            }
        }
    }
}

/// A batch of an answer.
#[derive(Debug)]
pub struct Rows {
    columns: Vec<Series>,
    rows: usize,
}

impl Rows {
    pub(crate) fn new(frame: DataFrame) -> Self {
        let rows = frame.height();
        let columns = frame.into_columns().into_iter().map(|column| {
            // In one piece, so that a value is found without looking for its piece.
            column.take_materialized_series().rechunk()
        });
        Self { columns: columns.collect(), rows }
    }

    /// How many rows there are.
    #[must_use]
    pub fn len(&self) -> usize {
        self.rows
    }

    /// Whether there are none.
    #[must_use]
    pub fn is_empty(&self) -> bool {
        self.rows == 0
    }

    /// Its columns, in their order.
    #[must_use]
    pub fn heads(&self) -> Vec<ColumnHead> {
        self.columns.iter().map(|column| ColumnHead::new(column.name(), column.dtype())).collect()
    }

    /// The values of a row below [`Self::len`], in the order of the columns.
    pub fn row(&self, row: usize) -> impl Iterator<Item = Value<'_>> {
        self.columns.iter().map(move |column| column.get(row).map_or(Value::Null, value))
    }

    /// A row as an object of its columns.
    #[must_use]
    pub fn object(&self, row: usize) -> impl Serialize {
        Object { rows: self, row }
    }
}

struct Object<'a> {
    rows: &'a Rows,
    row: usize,
}

impl Serialize for Object<'_> {
    fn serialize<S: Serializer>(&self, serializer: S) -> Result<S::Ok, S::Error> {
        let mut map = serializer.serialize_map(Some(self.rows.columns.len()))?;
        for (column, value) in self.rows.columns.iter().zip(self.rows.row(self.row)) {
            map.serialize_entry(column.name().as_str(), &value)?;
        }
        map.end()
    }
}

#[expect(clippy::wildcard_enum_match_arm, reason = "polars has more types than our tables")]
fn value(any: AnyValue<'_>) -> Value<'_> {
    match any {
        AnyValue::Null => Value::Null,
        AnyValue::Boolean(value) => Value::Bool(value),
        AnyValue::String(text) => Value::Text(Cow::Borrowed(text)),
        AnyValue::StringOwned(text) => Value::Text(Cow::Owned(text.to_string())),
        AnyValue::UInt8(value) => Value::Unsigned(value.into()),
        AnyValue::UInt16(value) => Value::Unsigned(value.into()),
        AnyValue::UInt32(value) => Value::Unsigned(value.into()),
        AnyValue::UInt64(value) => Value::Unsigned(value),
        AnyValue::Int8(value) => Value::Signed(value.into()),
        AnyValue::Int16(value) => Value::Signed(value.into()),
        AnyValue::Int32(value) => Value::Signed(value.into()),
        AnyValue::Int64(value) => Value::Signed(value),
        AnyValue::Float32(value) => Value::Float(value.into()),
        AnyValue::Float64(value) => Value::Float(value),
        AnyValue::Date(days) => NaiveDate::from_epoch_days(days)
            .map_or(Value::Null, |day| Value::Text(Cow::Owned(day.to_string()))),
        AnyValue::Datetime(at, unit, _) => moment(at, unit),
        AnyValue::DatetimeOwned(at, unit, _) => moment(at, unit),
        AnyValue::Duration(length, unit) => {
            let seconds = length as f64 / per_second(unit) as f64;
            Value::Text(Cow::Owned(format!("PT{seconds}S")))
        }
        AnyValue::List(series) => Value::List(series.iter().map(|any| value(any).into_owned()).collect()),
        other => match other.into_static() {
            AnyValue::StructOwned(fields) => {
                let (values, names) = *fields;
                let named = values.into_iter().zip(&names);
                let field = |(any, name): (AnyValue<'static>, &Field)| (name.name().to_string(), value(any));
                Value::Fields(named.map(field).collect())
            }
            other => Value::Text(Cow::Owned(other.to_string())),
        },
    }
}

impl Value<'_> {
    fn into_owned(self) -> Value<'static> {
        match self {
            Self::Null => Value::Null,
            Self::Bool(value) => Value::Bool(value),
            Self::Unsigned(value) => Value::Unsigned(value),
            Self::Signed(value) => Value::Signed(value),
            Self::Float(value) => Value::Float(value),
            Self::Text(text) => Value::Text(Cow::Owned(text.into_owned())),
            Self::List(values) => Value::List(values.into_iter().map(Value::into_owned).collect()),
            Self::Fields(fields) => {
                Value::Fields(fields.into_iter().map(|(name, value)| (name, value.into_owned())).collect())
            }
        }
    }
}

fn per_second(unit: TimeUnit) -> i64 {
    match unit {
        TimeUnit::Nanoseconds => 1_000_000_000,
        TimeUnit::Microseconds => 1_000_000,
        TimeUnit::Milliseconds => 1_000,
    }
}

fn moment(at: i64, unit: TimeUnit) -> Value<'static> {
    let (seconds, rest) = (at.div_euclid(per_second(unit)), at.rem_euclid(per_second(unit)));
    let nanoseconds = u32::try_from(rest * (1_000_000_000 / per_second(unit))).unwrap_or(0);
    let Some(at) = DateTime::from_timestamp(seconds, nanoseconds) else { return Value::Null };
    Value::Text(Cow::Owned(at.to_rfc3339_opts(SecondsFormat::AutoSi, true)))
}
