//! How far a long command is, on a terminal only: elsewhere nobody watches, and a file would fill.

use std::io::{IsTerminal, Write, stderr};
use std::sync::atomic::{AtomicUsize, Ordering};

/// Counts what has ended, from any thread.
pub(in crate::cli) struct Progress {
    what: &'static str,
    all: usize,
    ended: AtomicUsize,
    shown: bool,
}

impl Progress {
    /// Of so many things.
    pub(in crate::cli) fn new(what: &'static str, all: usize) -> Self {
        let this = Self { what, all, ended: AtomicUsize::new(0), shown: stderr().is_terminal() };
        this.show(0);
        this
    }

    /// One of them has ended.
    pub(in crate::cli) fn ended(&self) {
        self.show(self.ended.fetch_add(1, Ordering::Relaxed) + 1);
    }

    /// Takes the line away.
    pub(in crate::cli) fn clear(&self) {
        self.write("\r\x1b[K");
    }

    fn show(&self, ended: usize) {
        self.write(&format!("\r\x1b[K{}: {ended} of {}", self.what, self.all));
    }

    fn write(&self, text: &str) {
        if self.shown {
            // Who does not see how far it is loses nothing else.
            let _ = stderr().lock().write_all(text.as_bytes());
        }
    }
}
