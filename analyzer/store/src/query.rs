//! SQL over everything that is kept, for questions that no command answers.
//!
//! polars reads the statement; what is ours is what may be asked and of what. Only a single `SELECT` is let
//! through, and only over the tables named in [`VIEWS`]: polars' own functions that read files would open
//! any file of the host to whoever may ask. Tables with a time are cut to the segments that overlap the bounds
//! which the statement itself puts on their time ([`statement`]), before anything is opened.
//!
//! Answers come in batches from the streaming engine, in order. What a statement that groups or sorts keeps in
//! memory has no bound here: run it where memory has a limit.

mod statement;
mod value;
mod view;

use crate::error::{QueryError, SqlError};
use crate::read::{Reader, Span};
use polars::error::PolarsError;
use polars::prelude::{DataFrame, Engine, LazyFrame, PlanCallback, PolarsResult, Schema};
use polars::sql::SQLContext;
use std::num::NonZeroUsize;
use std::ops::ControlFlow;
use std::sync::Arc;
use std::sync::mpsc::{self, Receiver, SyncSender};
pub use value::{ColumnHead, Rows, Value};
pub use view::{VIEWS, View};

/// A statement that can be answered.
pub struct Prepared {
    frame: LazyFrame,
    columns: Vec<ColumnHead>,
}

impl Reader {
    /// Understands a statement, without reading more than the catalog. Of tables with a time, only rows of
    /// `span` are there.
    ///
    /// # Errors
    /// [`SqlError`] of the statement, or [`SqlError::Read`] when the catalog cannot be read.
    pub fn prepare(&self, sql: &str, span: Span) -> Result<Prepared, SqlError> {
        let statement = statement::parse(sql)?;
        let catalog = self.catalog().map_err(SqlError::Read)?;
        let mut context = SQLContext::new();
        for view in &statement.views {
            let bounds = statement.bounds(*view, span);
            context.register(view.name(), view.frame(self, &catalog, bounds).map_err(SqlError::Read)?);
        }
        let invalid = |refusal| SqlError::Invalid { refusal, columns: columns_of(&statement.views) };
        let mut frame = context.execute(&statement.sql).map_err(invalid)?;
        let schema = frame.collect_schema().map_err(invalid)?;
        Ok(Prepared { columns: heads(&schema), frame })
    }
}

/// What is held back between the engine and who takes the rows, in batches.
const WAITING: usize = 1;

impl Prepared {
    /// The columns of the answer, in their order.
    #[must_use]
    pub fn columns(&self) -> &[ColumnHead] {
        &self.columns
    }

    /// Answers, in batches of at most so many rows, until `take` has enough. Only the last batch is smaller.
    ///
    /// # Errors
    /// [`SqlError::Invalid`] where only the data shows what is wrong, such as a text that is no number;
    /// [`SqlError::Read`] when a segment cannot be read.
    pub fn run(
        self,
        batch: NonZeroUsize,
        mut take: impl FnMut(&Rows) -> ControlFlow<()>,
    ) -> Result<(), SqlError> {
        let (send, batches) = mpsc::sync_channel(WAITING);
        let callback = PlanCallback::new(move |frame: DataFrame| Ok(send.send(frame).is_err()));
        let frame = self.frame.sink_batches(callback, true, Some(batch)).map_err(run_error)?;
        let (ended, end) = mpsc::sync_channel(WAITING);
        let engine = std::thread::Builder::new().name("query".to_owned());
        let engine = engine.spawn(move || answer(frame, &ended)).map_err(SqlError::Thread)?;
        forward(batches, &mut take);
        let result = end.recv();
        // Whoever panicked has said so on the standard error.
        let joined = engine.join();
        match (result, joined) {
            (Ok(result), Ok(())) => result.map_err(run_error),
            (Err(_), _) | (_, Err(_)) => Err(SqlError::Panicked),
        }
    }
}

fn answer(frame: LazyFrame, ended: &SyncSender<PolarsResult<()>>) {
    let result = frame.collect_with_engine(Engine::Streaming).map(drop);
    // The one who waits for it waits until it comes.
    let _ = ended.send(result);
}

/// Hands batches on until enough are taken. The engine sees the end of the channel as the end of its work.
fn forward(batches: Receiver<DataFrame>, take: &mut impl FnMut(&Rows) -> ControlFlow<()>) {
    for frame in &batches {
        if take(&Rows::new(frame)).is_break() {
            return;
        }
    }
}

fn run_error(source: PolarsError) -> SqlError {
    #[expect(clippy::wildcard_enum_match_arm, reason = "all others are of the statement")]
    match source {
        PolarsError::IO { .. } => SqlError::Read(QueryError::Segments(source)),
        refusal => SqlError::Invalid { refusal, columns: String::new() },
    }
}

fn heads(schema: &Arc<Schema>) -> Vec<ColumnHead> {
    schema.iter().map(|(name, dtype)| ColumnHead::new(name, dtype)).collect()
}

/// What may be named, for errors.
fn columns_of(views: &[View]) -> String {
    let columns = |view: &View| format!("columns of {}: {}", view.name(), view.columns_in_words());
    views.iter().map(columns).collect::<Vec<_>>().join("; ")
}

#[cfg(test)]
mod tests;
