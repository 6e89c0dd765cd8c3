//! SQL in a process of its own.
//!
//! A statement can take any amount of memory and time, and whatever goes wrong in the engine ends its process.
//! So it runs in a child, this program again ([`worker`]), which limits itself before it reads anything and
//! dies with whoever asked; [`supervise`] hands on what it writes and ends it when its time is up or nobody
//! waits for it. The child renders the answer ([`render`]): what passes through the parent are bytes, a piece at
//! a time, whether they go to a terminal or to a stream of the control API.
//!
//! The limit on memory is `RLIMIT_DATA`: what is allocated and could be written to. `RLIMIT_AS` would also count what
//! is only reserved, such as arenas of 64 MB for each thread, and what is mapped of files: an aggregation that had
//! 41 MB of data, and 127 MB resident with the program's own code, had 936 MB of addresses (two processors).

pub(crate) mod allocator;
pub(crate) mod render;
pub(crate) mod supervise;
pub(crate) mod worker;

use std::time::Duration;

/// What a statement may take unless it is told otherwise.
pub(crate) const MEMORY_BYTES: u64 = 2 << 30;

/// Less does not let the engine start its threads.
pub(crate) const LEAST_MEMORY_BYTES: u64 = 128 << 20;

/// How long a statement may take unless it is told otherwise.
pub(crate) const TIME: Duration = Duration::from_secs(60);

/// Why there is no answer, or not all of it.
#[derive(Debug, thiserror::Error)]
pub(crate) enum QueryFailure {
    /// Of the statement.
    #[error("{0}")]
    Statement(String),
    /// It took too much.
    #[error(
        "the query needs more than the {} of memory it may take; ask for less time, fewer columns or fewer groups, \
         or allow more with --memory", crate::cli::bytes(*limit_bytes)
    )]
    Memory {
        /// What it was allowed.
        limit_bytes: u64,
    },
    /// It took too long.
    #[error(
        "the query took longer than {}; ask for less time (--since, or a bound on window_start), or allow more \
         with --timeout", humantime::format_duration(*limit)
    )]
    Time {
        /// What it was allowed.
        limit: Duration,
    },
    /// Anything else.
    #[error("{0}")]
    Failed(String),
}
