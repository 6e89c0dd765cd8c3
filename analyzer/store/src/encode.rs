//! Frames as Parquet files.
//!
//! Compressed with zstd, with statistics for readers that skip. Text is marked as plain text: what polars
//! writes by default is marked as Arrow string views, which pyarrow reads and then cannot compare.

use crate::segment::Unfinished;
use polars::io::parquet::write::BatchedWriter;
use polars::io::utils::file::{Writable, WritableTrait};
use polars::prelude::{
    CompatLevel, DataFrame, FileWriteFormat, IntoLazy, KeyValueMetadata, ParquetReader, ParquetWriteOptions,
    PolarsResult, Schema, SerReader, SinkDestination, SinkTarget, SpecialEq, UnifiedSinkArgs,
};
use std::cell::Cell;
use std::io::{self, Write};
use std::rc::Rc;
use std::sync::mpsc::{self, Sender};
use std::sync::{Arc, Mutex};

/// Rows of a row group, as far as a frame has so many: those of `windows` are 17 MB of offset histograms when they are
/// read, and several row groups are read at a time.
const ROW_GROUP: usize = 1 << 15;

/// Encodes a frame. Takes the memory of the file beside that of the frame.
pub(crate) fn parquet(frame: DataFrame) -> PolarsResult<Vec<u8>> {
    let (pieces, file) = mpsc::channel();
    let sink = Writable::Dyn(Box::new(Pieces(pieces)));
    // The shape that polars asks for; nobody else has the lock.
    let target = SinkTarget::Dyn(SpecialEq::new(Arc::new(Mutex::new(Some(sink)))));
    let options = ParquetWriteOptions {
        compat_level: Some(CompatLevel::oldest()),
        row_group_size: Some(ROW_GROUP),
        ..ParquetWriteOptions::default()
    };
    frame
        .lazy()
        .sink(
            SinkDestination::File { target },
            FileWriteFormat::Parquet(Arc::new(options)),
            UnifiedSinkArgs::default(),
        )?
        .collect()?;
    Ok(file.try_iter().collect::<Vec<_>>().concat())
}

/// A Parquet file that is written frame by frame, each a row group: memory holds one of them.
pub(crate) struct Sheets<'a>(BatchedWriter<Counted<'a>>, Rc<Cell<u64>>);

impl<'a> Sheets<'a> {
    /// Begins a file of these columns.
    pub(crate) fn new(file: &'a mut Unfinished, schema: &Schema) -> PolarsResult<Self> {
        let bytes = Rc::new(Cell::new(0));
        let options = ParquetWriteOptions::default();
        let writer = options
            .to_writer(Counted { file, bytes: Rc::clone(&bytes) })
            .with_key_value_metadata(Some(label(schema)?))
            .batched(schema)?;
        Ok(Self(writer, bytes))
    }

    /// Adds rows, and says how many.
    pub(crate) fn write(&mut self, mut frame: DataFrame) -> PolarsResult<u64> {
        frame.rechunk_mut();
        self.0.write_batch(&frame)?;
        Ok(frame.height() as u64)
    }

    /// Bytes so far.
    pub(crate) fn bytes(&self) -> u64 {
        self.1.get()
    }

    /// Ends the file. What it lies in is the caller's to make durable.
    pub(crate) fn finish(self) -> PolarsResult<()> {
        self.0.finish().map(drop)
    }
}

/// Where row groups go, and how many bytes went there.
struct Counted<'a> {
    file: &'a mut Unfinished,
    bytes: Rc<Cell<u64>>,
}

impl Write for Counted<'_> {
    fn write(&mut self, data: &[u8]) -> io::Result<usize> {
        let written = self.file.write(data)?;
        self.bytes.set(self.file.bytes());
        Ok(written)
    }

    fn flush(&mut self) -> io::Result<()> {
        self.file.flush()
    }
}

/// What [`parquet`] says of columns. Without it, row groups would be marked as Arrow string views.
fn label(schema: &Schema) -> PolarsResult<KeyValueMetadata> {
    const KEY: &str = "ARROW:schema";
    let empty = parquet(DataFrame::empty_with_schema(schema))?;
    let mut file = ParquetReader::new(io::Cursor::new(empty));
    let pairs = file.get_metadata()?.key_value_metadata().as_deref().unwrap_or_default();
    let value = pairs.iter().find(|pair| pair.key == KEY).and_then(|pair| pair.value.clone());
    Ok(KeyValueMetadata::from_static(value.map(|value| (KEY.to_owned(), value)).into_iter().collect()))
}

/// Hands on what is written, from whichever thread polars writes on.
struct Pieces(Sender<Vec<u8>>);

impl Write for Pieces {
    fn write(&mut self, data: &[u8]) -> io::Result<usize> {
        self.0.send(data.to_vec()).map_err(|_| io::ErrorKind::BrokenPipe)?;
        Ok(data.len())
    }

    fn flush(&mut self) -> io::Result<()> {
        Ok(())
    }
}

impl WritableTrait for Pieces {
    fn close(&mut self) -> io::Result<()> {
        Ok(())
    }

    fn sync_all(&self) -> io::Result<()> {
        Ok(())
    }

    fn sync_data(&self) -> io::Result<()> {
        Ok(())
    }
}
