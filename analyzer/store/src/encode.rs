//! Frames as Parquet files.
//!
//! Compressed with zstd, with statistics for readers that skip. Text is marked as plain text: what polars
//! writes by default is marked as Arrow string views, which pyarrow reads and then cannot compare.

use polars::io::utils::file::{Writable, WritableTrait};
use polars::prelude::{
    CompatLevel, DataFrame, FileWriteFormat, IntoLazy, ParquetWriteOptions, PolarsResult, SinkDestination,
    SinkTarget, SpecialEq, UnifiedSinkArgs,
};
use std::io::{self, Write};
use std::sync::mpsc::{self, Sender};
use std::sync::{Arc, Mutex};

/// Encodes a frame. Takes the memory of the file beside that of the frame.
pub(crate) fn parquet(frame: DataFrame) -> PolarsResult<Vec<u8>> {
    let (pieces, file) = mpsc::channel();
    let sink = Writable::Dyn(Box::new(Pieces(pieces)));
    // The shape that polars asks for; nobody else has the lock.
    let target = SinkTarget::Dyn(SpecialEq::new(Arc::new(Mutex::new(Some(sink)))));
    let options =
        ParquetWriteOptions { compat_level: Some(CompatLevel::oldest()), ..ParquetWriteOptions::default() };
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
