//! Tilting shares to an entropy.
//!
//! With x = ln p, the entropy of p^tau over its sum falls in tau at the rate of tau times the variance of x under
//! the tilted shares, so there is at most one tau of each entropy, and Newton's method inside a bracket finds it.

use super::normalised_entropy;
use std::f64::consts::LN_2;

/// Difference of normalised entropies that counts as none.
const CLOSE: f64 = 1e-12;

/// Beyond this power the largest share and those tied with it have everything.
const MOST_TAU: f64 = 1e6;

/// Steps of the search. Halving alone takes 70 of them from the widest bracket to the last bit.
const STEPS: usize = 200;

/// Whose shares were tilted, and whether they reached the entropy.
#[derive(Debug, Clone, Copy, PartialEq)]
pub enum Reached {
    /// The present shares reach it.
    Present,
    /// The present shares cannot, those of the baseline reach it.
    Baseline,
    /// Neither can: these are the present ones, tilted to the nearest there is.
    Nearest {
        /// Normalised entropy of the shares.
        entropy: f64,
    },
}

/// Shares of an entropy.
#[derive(Debug, Clone, PartialEq)]
pub struct Tilted {
    /// In the order of the shares that were tilted; they add up to 1.
    pub shares: Vec<f64>,
    /// The power.
    pub tau: f64,
    /// Whether they have the entropy.
    pub reached: Reached,
}

/// Shares to the power of `tau`, made to add up to 1, into `tilted`. Who serves nothing still serves nothing, at a
/// power of 0 too: it makes even what serves.
pub fn tilt(shares: &[f64], tau: f64, tilted: &mut Vec<f64>) {
    let largest = shares.iter().copied().fold(0.0, f64::max);
    tilted.clear();
    tilted.extend(
        shares.iter().map(|share| if *share > 0.0 { (tau * (share / largest).ln()).exp() } else { 0.0 }),
    );
    let sum: f64 = tilted.iter().sum();
    tilted.iter_mut().for_each(|share| *share /= sum);
}

/// The shares that have a normalised entropy (0 to 1), by tilting the present ones, or, where no power of those has
/// it, the baseline's. The present ones cannot where they are even and less is asked for (any two that are tied for
/// the largest share stay tied), and where somebody serves nothing and more is asked for than the rest can have.
///
/// The entropy is met within 1e-9. `None` for fewer than two shares, shares that do not add up to something, or a
/// target that is no number; beyond 0 and 1 the target is the bound.
#[must_use]
pub fn tilt_to(shares: &[f64], baseline: Option<&[f64]>, target: f64) -> Option<Tilted> {
    if shares.len() < 2 || target.is_nan() || !serves(shares) {
        return None;
    }
    let target = target.clamp(0.0, 1.0);
    let present = search(shares, target);
    if (present.entropy - target).abs() <= REACHED {
        return Some(present.tilted(Reached::Present));
    }
    let usual = baseline.filter(|usual| usual.len() == shares.len() && serves(usual));
    if let Some(usual) = usual.map(|usual| search(usual, target))
        && (usual.entropy - target).abs() <= REACHED
    {
        return Some(usual.tilted(Reached::Baseline));
    }
    let entropy = present.entropy;
    Some(present.tilted(Reached::Nearest { entropy }))
}

/// What counts as having an entropy.
const REACHED: f64 = 1e-9;

fn serves(shares: &[f64]) -> bool {
    shares.iter().all(|share| *share >= 0.0 && share.is_finite()) && shares.iter().any(|share| *share > 0.0)
}

struct Found {
    shares: Vec<f64>,
    tau: f64,
    entropy: f64,
}

impl Found {
    fn tilted(self, reached: Reached) -> Tilted {
        Tilted { shares: self.shares, tau: self.tau, reached }
    }
}

/// The power between 0 and [`MOST_TAU`] whose entropy is nearest to the target.
fn search(shares: &[f64], target: f64) -> Found {
    let mut tilted = Vec::with_capacity(shares.len());
    let most = (shares.len() as f64).log2();
    let entropy_at = |tau: f64, tilted: &mut Vec<f64>| {
        tilt(shares, tau, tilted);
        normalised_entropy(tilted).expect("there are two shares or more")
    };
    let (mut low, mut high) = (0.0, 2.0);
    if entropy_at(low, &mut tilted) <= target {
        let entropy = entropy_at(low, &mut tilted);
        return Found { shares: tilted, tau: low, entropy };
    }
    while high < MOST_TAU && entropy_at(high, &mut tilted) > target {
        low = high;
        high *= 2.0;
    }
    let mut tau = if low == 0.0 { 1.0 } else { 0.5 * (low + high) };
    let mut entropy = entropy_at(tau, &mut tilted);
    for _ in 0..STEPS {
        if (entropy - target).abs() <= CLOSE || high - low <= f64::EPSILON * high {
            break;
        }
        if entropy > target {
            low = tau;
        } else {
            high = tau;
        }
        let slope = -tau * variance_of_log(shares, &tilted) / (LN_2 * most);
        let newton = tau - (entropy - target) / slope;
        tau = if newton > low && newton < high { newton } else { 0.5 * (low + high) };
        entropy = entropy_at(tau, &mut tilted);
    }
    Found { shares: tilted, tau, entropy }
}

/// Variance of the logarithm of shares under the tilted ones.
fn variance_of_log(shares: &[f64], tilted: &[f64]) -> f64 {
    let pairs = || shares.iter().zip(tilted).filter(|(share, _)| **share > 0.0);
    let mean: f64 = pairs().map(|(share, weight)| weight * share.ln()).sum();
    pairs().map(|(share, weight)| weight * (share.ln() - mean).powi(2)).sum()
}
