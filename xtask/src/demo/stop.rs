//! The wish to stop: SIGINT, SIGTERM or SIGHUP sets a flag that every wait looks at, so that whatever was
//! started is stopped in order.

use anyhow::{Context, Result};
use nix::sys::signal::{SaFlags, SigAction, SigHandler, SigSet, Signal, sigaction};
use std::sync::atomic::{AtomicBool, Ordering};
use std::sync::{Arc, OnceLock};

static ASKED: OnceLock<Arc<AtomicBool>> = OnceLock::new();

/// Whether somebody asked us to stop.
#[derive(Clone)]
pub(super) struct Stop(Arc<AtomicBool>);

impl Stop {
    /// Installs the handlers.
    pub(super) fn install() -> Result<Self> {
        let asked = Arc::clone(ASKED.get_or_init(Arc::default));
        let action = SigAction::new(SigHandler::Handler(ask), SaFlags::SA_RESTART, SigSet::empty());
        for signal in [Signal::SIGINT, Signal::SIGTERM, Signal::SIGHUP] {
            // SAFETY: the handler only reads an initialised OnceLock and stores to an atomic.
            unsafe { sigaction(signal, &action) }.with_context(|| format!("handle {signal}"))?;
        }
        Ok(Self(asked))
    }

    /// Whether a signal came.
    pub(super) fn asked(&self) -> bool {
        self.0.load(Ordering::Relaxed)
    }
}

extern "C" fn ask(_signal: i32) {
    if let Some(asked) = ASKED.get() {
        asked.store(true, Ordering::Relaxed);
    }
}
