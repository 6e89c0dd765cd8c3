//! Values of fields as values of columns, and back.
//!
//! Null is read as a value only where the field says that it may be unknown; elsewhere it is an error, as a segment
//! with such a null was not written by this store.

use isotherm_model::{Layer, Timestamp};
use polars::prelude::{
    ChunkedArray, Column, DataType, Float64Type, Int64Chunked, IntoColumn, IntoSeries, ListBuilderTrait,
    ListPrimitiveChunkedBuilder, ListStringChunkedBuilder, PolarsError, PolarsNumericType, PolarsResult,
    TimeUnit, TimeZone, UInt64Type,
};

/// What a column can hold.
pub(crate) trait Cell: Sized {
    fn data_type() -> DataType;

    fn column<'a>(name: &str, cells: impl Iterator<Item = &'a Self>) -> Column
    where
        Self: 'a;

    fn cells(column: &Column) -> PolarsResult<Vec<Self>>;
}

/// A word that stands for a variant.
pub(crate) trait Word: Sized + Copy + 'static {
    fn word(self) -> &'static str;
    fn from_word(word: &str) -> Option<Self>;
}

fn unexpected_null(column: &Column) -> PolarsError {
    PolarsError::ComputeError(format!("the column {} has a null", column.name()).into())
}

/// Cells that are never null, from those that may be.
fn never_null<T>(column: &Column, cells: impl Iterator<Item = Option<T>>) -> PolarsResult<Vec<T>> {
    cells.map(|cell| cell.ok_or_else(|| unexpected_null(column))).collect()
}

impl Cell for Timestamp {
    fn data_type() -> DataType {
        crate::schema::start_type()
    }

    fn column<'a>(name: &str, cells: impl Iterator<Item = &'a Self>) -> Column {
        let ms = cells.map(|at| at.as_ms().cast_signed()).collect();
        Int64Chunked::from_vec(name.into(), ms)
            .into_datetime(TimeUnit::Milliseconds, Some(TimeZone::UTC))
            .into_series()
            .into_column()
    }

    fn cells(column: &Column) -> PolarsResult<Vec<Self>> {
        let ms = column.cast(&DataType::Int64)?;
        never_null(column, ms.i64()?.iter().map(|ms| ms.map(|ms| Self::from_ms(ms.cast_unsigned()))))
    }
}

/// Numbers, and what may be unknown of them.
macro_rules! plain {
    ($($type:ty, $data_type:ident, $get:ident;)*) => {$(
        impl Cell for $type {
            fn data_type() -> DataType {
                DataType::$data_type
            }

            fn column<'a>(name: &str, cells: impl Iterator<Item = &'a Self>) -> Column {
                Column::new(name.into(), cells.copied().collect::<Vec<_>>())
            }

            fn cells(column: &Column) -> PolarsResult<Vec<Self>> {
                never_null(column, column.$get()?.iter().map(|cell| cell.map(<$type>::from)))
            }
        }

        impl Cell for Option<$type> {
            fn data_type() -> DataType {
                DataType::$data_type
            }

            fn column<'a>(name: &str, cells: impl Iterator<Item = &'a Self>) -> Column {
                Column::new(name.into(), cells.copied().collect::<Vec<_>>())
            }

            fn cells(column: &Column) -> PolarsResult<Vec<Self>> {
                Ok(column.$get()?.iter().map(|cell| cell.map(<$type>::from)).collect())
            }
        }
    )*};
}

plain! {
    u32, UInt32, u32;
    u64, UInt64, u64;
    f64, Float64, f64;
    bool, Boolean, bool;
}

impl Cell for String {
    fn data_type() -> DataType {
        DataType::String
    }

    fn column<'a>(name: &str, cells: impl Iterator<Item = &'a Self>) -> Column {
        Column::new(name.into(), cells.map(String::as_str).collect::<Vec<_>>())
    }

    fn cells(column: &Column) -> PolarsResult<Vec<Self>> {
        never_null(column, column.str()?.iter().map(|text| text.map(str::to_owned)))
    }
}

impl Cell for Option<String> {
    fn data_type() -> DataType {
        DataType::String
    }

    fn column<'a>(name: &str, cells: impl Iterator<Item = &'a Self>) -> Column {
        Column::new(name.into(), cells.map(Option::as_deref).collect::<Vec<_>>())
    }

    fn cells(column: &Column) -> PolarsResult<Vec<Self>> {
        Ok(column.str()?.iter().map(|text| text.map(str::to_owned)).collect())
    }
}

/// Lists of numbers of which some may be unknown. A list is never null.
macro_rules! numbers {
    ($($type:ty, $polars:ident, $data_type:ident;)*) => {$(
        impl Cell for Vec<Option<$type>> {
            fn data_type() -> DataType {
                DataType::List(Box::new(DataType::$data_type))
            }

            fn column<'a>(name: &str, cells: impl Iterator<Item = &'a Self>) -> Column {
                number_lists::<$polars>(name, DataType::$data_type, cells)
            }

            fn cells(column: &Column) -> PolarsResult<Vec<Self>> {
                never_null(column, column.list()?.series_iter())?
                    .iter()
                    .map(|list| Ok(list.unpack::<$polars>()?.iter().collect()))
                    .collect()
            }
        }
    )*};
}

numbers! {
    u64, UInt64Type, UInt64;
    f64, Float64Type, Float64;
}

fn number_lists<'a, T: PolarsNumericType>(
    name: &str,
    data_type: DataType,
    lists: impl Iterator<Item = &'a Vec<Option<T::Native>>>,
) -> Column
where
    ChunkedArray<T>: IntoSeries,
{
    let lists: Vec<_> = lists.collect();
    let values = lists.iter().map(|list| list.len()).sum();
    let mut builder = ListPrimitiveChunkedBuilder::<T>::new(name.into(), lists.len(), values, data_type);
    for list in lists {
        builder.append_iter(list.iter().copied());
    }
    builder.finish().into_series().into_column()
}

impl Cell for Vec<String> {
    fn data_type() -> DataType {
        DataType::List(Box::new(DataType::String))
    }

    fn column<'a>(name: &str, cells: impl Iterator<Item = &'a Self>) -> Column {
        let lists: Vec<_> = cells.collect();
        let values = lists.iter().map(|list| list.len()).sum();
        let mut builder = ListStringChunkedBuilder::new(name.into(), lists.len(), values);
        for list in lists {
            builder.append_values_iter(list.iter().map(String::as_str));
        }
        builder.finish().into_series().into_column()
    }

    fn cells(column: &Column) -> PolarsResult<Vec<Self>> {
        never_null(column, column.list()?.series_iter())?
            .iter()
            .map(|list| never_null(column, list.str()?.iter().map(|text| text.map(str::to_owned))))
            .collect()
    }
}

/// Variants that are stored as words.
macro_rules! words {
    ($($type:ty),*) => {$(
        impl Cell for $type {
            fn data_type() -> DataType {
                DataType::String
            }

            fn column<'a>(name: &str, cells: impl Iterator<Item = &'a Self>) -> Column {
                Column::new(name.into(), cells.map(|cell| Word::word(*cell)).collect::<Vec<_>>())
            }

            fn cells(column: &Column) -> PolarsResult<Vec<Self>> {
                let unknown = |word: &str| {
                    let message = format!("the column {} has the unknown word {word:?}", column.name());
                    PolarsError::ComputeError(message.into())
                };
                never_null(column, column.str()?.iter())?
                    .into_iter()
                    .map(|word| <$type as Word>::from_word(word).ok_or_else(|| unknown(word)))
                    .collect()
            }
        }
    )*};
}

words!(Layer, super::EntropyStatus, super::ForecastKind, super::IntervalSource);

impl Word for Layer {
    fn word(self) -> &'static str {
        self.as_str()
    }

    fn from_word(word: &str) -> Option<Self> {
        Self::ALL.iter().copied().find(|layer| layer.as_str() == word)
    }
}
