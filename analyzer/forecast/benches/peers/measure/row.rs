//! Rows, as xtask reads them.

use crate::peer::Peer;
use nix::time::{ClockId, clock_gettime};
use serde::Serialize;

/// The start of the name of the peer that goals are about.
const STATSFORECAST: &str = "statsforecast";

/// A median, beside what it is compared with.
#[derive(Serialize)]
pub(crate) struct Row {
    name: String,
    value: f64,
    unit: &'static str,
    /// Absent where there is nothing to compare with.
    beside: Option<f64>,
    /// What `beside` is.
    of: Option<String>,
    ratio: Option<f64>,
}

impl Row {
    pub(crate) fn new(name: impl Into<String>, value: f64, unit: &'static str) -> Self {
        Self { name: name.into(), value, unit, beside: None, of: None, ratio: None }
    }

    pub(crate) fn beside(self, beside: f64, of: &str) -> Self {
        Self { beside: Some(beside), of: Some(of.to_owned()), ratio: Some(self.value / beside), ..self }
    }

    /// One row per peer. The one beside statsforecast, whose ratio goals are about, has the plain name, and is
    /// there without it too.
    pub(crate) fn beside_peers<'a, T: 'a>(
        name: &str,
        value: f64,
        unit: &'static str,
        peers: impl Iterator<Item = (&'a Peer, &'a T)>,
        number: impl Fn(&T) -> f64,
    ) -> Vec<Self> {
        let mut plain = Self::new(name, value, unit);
        let mut others = Vec::new();
        for (peer, theirs) in peers {
            if peer.name().starts_with(STATSFORECAST) {
                plain = Self::new(name, value, unit).beside(number(theirs), peer.name());
            } else {
                let row = Self::new(format!("{name}, beside {}", peer.name()), value, unit);
                others.push(row.beside(number(theirs), peer.name()));
            }
        }
        [plain].into_iter().chain(others).collect()
    }
}

pub(crate) fn median(values: &[f64]) -> f64 {
    let mut values = values.to_vec();
    values.sort_by(f64::total_cmp);
    match values.len() {
        0 => f64::NAN,
        len if len % 2 == 1 => values[len / 2],
        len => f64::midpoint(values[len / 2 - 1], values[len / 2]),
    }
}

/// Processor time of all threads of this process, in seconds.
pub(crate) fn cpu_s() -> f64 {
    let time = clock_gettime(ClockId::CLOCK_PROCESS_CPUTIME_ID).expect("Linux has a clock of the process");
    time.tv_sec() as f64 + time.tv_nsec() as f64 * 1e-9
}
