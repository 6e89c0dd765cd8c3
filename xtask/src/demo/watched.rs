//! What cycles said while a phase was played.

use super::risk::{self, Risk};
use anyhow::Result;
use serde::Serialize;
use std::collections::BTreeMap;
use std::time::{Duration, Instant};

/// How often the cycles are asked about: one takes place every second.
const ASK_EVERY: Duration = Duration::from_secs(1);

/// A phase as the analyzer saw it.
pub(super) struct Watched {
    began: Instant,
    next: Instant,
    /// The cycle that foresaw the most: between the phases nobody reads, so it is one under load.
    pub(super) best: Vec<Risk>,
    signs: BTreeMap<String, Signs>,
}

/// When a volume's surge was first told.
#[derive(Debug, Clone, Default, Serialize)]
pub(super) struct Signs {
    pub(super) volume: String,
    /// Seconds after the phase began at which a surge was forecast; absent if it never was.
    pub(super) forecast_after_s: Option<f64>,
    /// And at which it was there.
    pub(super) surging_after_s: Option<f64>,
}

impl Watched {
    /// Begins now.
    pub(super) fn new() -> Self {
        let began = Instant::now();
        Self { began, next: began + ASK_EVERY, best: Vec::new(), signs: BTreeMap::new() }
    }

    /// Asks what the last cycle found, if it is time to.
    pub(super) fn look(&mut self, endpoint: &str) -> Result<()> {
        if Instant::now() >= self.next {
            self.next = Instant::now() + ASK_EVERY;
            self.see(risk::ask(endpoint)?, self.began.elapsed().as_secs_f64());
        }
        Ok(())
    }

    fn see(&mut self, risks: Vec<Risk>, after_s: f64) {
        for risk in &risks {
            let signs = self.signs.entry(risk.volume().to_owned()).or_default();
            risk.volume().clone_into(&mut signs.volume);
            if risk.surge_is_forecast() {
                signs.forecast_after_s.get_or_insert(after_s);
            }
            if risk.surges() {
                signs.surging_after_s.get_or_insert(after_s);
            }
        }
        if risk::forecast(&risks) >= risk::forecast(&self.best) {
            self.best = risks;
        }
    }

    /// The signs of some volumes.
    pub(super) fn signs_of(&self, volumes: &[u32]) -> Vec<Signs> {
        volumes.iter().filter_map(|volume| self.signs.get(&volume.to_string())).cloned().collect()
    }
}
