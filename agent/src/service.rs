//! What the agent tells its service manager (sd_notify(3)). Without one, nothing is told.

use sd_notify::NotifyState;
use std::time::{Duration, Instant};
use tracing::error;

/// The service is up, with a line for people.
pub fn ready(status: &str) {
    tell(&[NotifyState::Ready, NotifyState::Status(status)]);
}

/// A changed configuration is being read. [`ready`] ends it.
pub fn reloading() {
    match NotifyState::monotonic_usec_now() {
        Ok(now) => tell(&[NotifyState::Reloading, now]),
        Err(error) => error!("cannot tell the service manager that the agent reloads: {error}"),
    }
}

/// The service ends.
pub fn stopping() {
    tell(&[NotifyState::Stopping]);
}

fn tell(state: &[NotifyState<'_>]) {
    if let Err(error) = sd_notify::notify(state) {
        error!("cannot tell the service manager how the agent is: {error}");
    }
}

/// Tells the service manager, in time, that the thread that cuts windows gets on. It belongs to that thread
/// alone, so that nobody else can tell it in its place.
#[derive(Debug)]
pub struct Watchdog {
    /// A third of what the service manager waits for; `None` if it does not wait.
    every: Option<Duration>,
    told: Option<Instant>,
}

impl Watchdog {
    /// As the service manager asked for (`WATCHDOG_USEC`).
    #[must_use]
    pub fn of_environment() -> Self {
        Self { every: sd_notify::watchdog_enabled().map(|limit| limit / 3), told: None }
    }

    /// Call it after each step.
    pub fn step(&mut self) {
        let Some(every) = self.every else { return };
        if self.told.is_none_or(|told| told.elapsed() >= every) {
            self.told = Some(Instant::now());
            tell(&[NotifyState::Watchdog]);
        }
    }

    /// The longest step that leaves time to tell.
    #[must_use]
    pub fn patience(&self) -> Duration {
        self.every.unwrap_or(Duration::MAX)
    }
}
