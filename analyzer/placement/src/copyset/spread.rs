//! Which spread factor to choose: how often data is lost against how fast a node is made again.
//!
//! With N nodes, R replicas and spread factor S there are `M = N S / (R (R - 1))` copysets. A node of D bytes is
//! made again by S peers, which read and write D bytes each way with b bytes per second for both, in
//! `t = 2 D / (S b)`. Data is lost in two ways:
//!
//! - independently: all R nodes of a copyset fail, each of the last R - 1 within the repair of the one before, at
//!   the rate `M R! lambda^R t^(R - 1)`; for R = 3 it is `N S lambda (lambda t)^2`. More spread repairs faster: it
//!   falls as `S^(2 - R)`.
//! - at once: nu times a year f nodes fail together (a power loss), and a given copyset is among them with the
//!   probability `C(f, R) / C(N, R)`: the rate is `nu M C(f, R) / C(N, R)`, and grows as S.
//!
//! The sum is least where `S = (2 D / b) ((R - 2) R! lambda^R C(N, R) / (nu C(f, R)))^(1 / (R - 1))`, lambda and nu
//! per second if D / b is in seconds. For R = 3 it is `(2 D / b) lambda^1.5 sqrt(6 C(N, 3) / (nu C(f, 3)))`. For
//! R = 2 independent losses do not depend on S, and the least S is best.
//!
//! To be repaired within T takes `S >= 2 D / (b T)`, by the same t. (Where reading and writing each have b to
//! themselves, D / (b T) would do; one t is used in both places, the longer.) Rates are right to a small factor:
//! windows of repair overlap in more than one way. The spread factor goes with the root of them.

use thiserror::Error;

/// What the recommendation follows from.
#[derive(Debug, Clone, Copy, PartialEq)]
pub struct SpreadInputs {
    /// Nodes of the cluster.
    pub nodes: u32,
    /// Replicas of a partition.
    pub replicas: u8,
    /// Bytes that a node holds.
    pub node_bytes: f64,
    /// Bytes per second that a node may spend on repair, read and written together.
    pub repair_bytes_per_s: f64,
    /// Failures of one node per year, of those whose data is lost.
    pub failures_per_year: f64,
    /// Events per year in which several nodes fail at once and do not all come back.
    pub correlated_per_year: f64,
    /// Nodes that fail in such an event.
    pub correlated_nodes: u32,
    /// Seconds in which a node should be made again; absent if it does not matter.
    pub repair_s: Option<f64>,
}

/// The recommendation, and the terms it is the highest of.
#[derive(Debug, Clone, Copy, PartialEq)]
pub struct Spread {
    /// The spread factor to take: at least `least`, `loss` and `repair`, and at most `most`.
    pub factor: u32,
    /// Which term decided.
    pub decided_by: SpreadTerm,
    /// Peers within one copyset, R - 1.
    pub least: u32,
    /// Where losses are rarest. Infinite where there are no correlated events that can lose data.
    pub loss: f64,
    /// What the wanted repair time takes; 0 where none is wanted.
    pub repair: f64,
    /// All other nodes.
    pub most: u32,
    /// Seconds to make a node again at that factor.
    pub repair_s: f64,
    /// Expected losses per year at that factor, independent ones.
    pub independent_per_year: f64,
    /// Expected losses per year at that factor, correlated ones.
    pub correlated_per_year: f64,
}

/// A term of the recommendation.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub enum SpreadTerm {
    /// Peers within one copyset.
    Least,
    /// Fewest losses.
    Loss,
    /// The wanted repair time.
    Repair,
    /// There are no more nodes.
    Most,
}

/// An input that cannot be.
#[derive(Debug, Clone, Copy, PartialEq, Error)]
#[error("{field} is {value}, and must be {must}")]
pub struct SpreadError {
    /// Which.
    pub field: &'static str,
    /// Its value.
    pub value: f64,
    /// What it must be.
    pub must: &'static str,
}

/// Seconds in a year of 365.25 days.
const YEAR_S: f64 = 365.25 * 86_400.0;

/// The recommended spread factor.
///
/// # Errors
/// The first input that cannot be.
pub fn recommend(inputs: &SpreadInputs) -> Result<Spread, SpreadError> {
    check(inputs)?;
    let (n, r) = (f64::from(inputs.nodes), f64::from(inputs.replicas));
    let least = u32::from(inputs.replicas).saturating_sub(1);
    let most = inputs.nodes - 1;
    let loss = rarest_loss(inputs);
    let repair = inputs.repair_s.map_or(0.0, |repair_s| alone_s(inputs) / repair_s);
    let wanted = loss.max(repair.ceil()).max(f64::from(least));
    let (factor, decided_by) = if wanted >= f64::from(most) {
        (most, SpreadTerm::Most)
    } else if wanted <= f64::from(least) {
        (least, SpreadTerm::Least)
    } else {
        let term = if repair.ceil() > loss { SpreadTerm::Repair } else { SpreadTerm::Loss };
        (wanted.round() as u32, term)
    };
    let s = f64::from(factor);
    let repair_s = alone_s(inputs) / s.max(1.0);
    let sets = if r > 1.0 { n * s / (r * (r - 1.0)) } else { n };
    let rate = inputs.failures_per_year;
    let window_years = repair_s / YEAR_S;
    Ok(Spread {
        factor,
        decided_by,
        least,
        loss,
        repair,
        most,
        repair_s,
        independent_per_year: sets
            * factorial(inputs.replicas)
            * libm::pow(rate, r)
            * libm::pow(window_years, r - 1.0),
        correlated_per_year: inputs.correlated_per_year * sets * among(inputs),
    })
}

/// Seconds in which one peer alone would make a node again.
fn alone_s(inputs: &SpreadInputs) -> f64 {
    2.0 * inputs.node_bytes / inputs.repair_bytes_per_s
}

/// The spread factor of the fewest losses.
fn rarest_loss(inputs: &SpreadInputs) -> f64 {
    let r = f64::from(inputs.replicas);
    if inputs.replicas < 3 {
        return f64::from(inputs.replicas) - 1.0;
    }
    let independent = (r - 2.0) * factorial(inputs.replicas) * libm::pow(inputs.failures_per_year, r);
    let correlated = inputs.correlated_per_year * among(inputs);
    if independent == 0.0 {
        return 0.0;
    }
    if correlated == 0.0 {
        return f64::INFINITY;
    }
    alone_s(inputs) / YEAR_S * libm::pow(independent / correlated, 1.0 / (r - 1.0))
}

/// The probability that a given copyset is among the nodes of a correlated event: C(f, R) / C(N, R).
fn among(inputs: &SpreadInputs) -> f64 {
    let of = |nodes: u32, at: u32| f64::from(nodes.saturating_sub(at));
    (0..u32::from(inputs.replicas)).map(|at| of(inputs.correlated_nodes, at) / of(inputs.nodes, at)).product()
}

fn factorial(of: u8) -> f64 {
    (1..=of).map(f64::from).product()
}

fn check(inputs: &SpreadInputs) -> Result<(), SpreadError> {
    const ABOVE: &str = "above 0";
    const COUNT: &str = "0 or more";
    let above = |value: f64| value.is_finite() && value > 0.0;
    let count = |value: f64| value.is_finite() && value >= 0.0;
    let (nodes, replicas) = (f64::from(inputs.nodes), f64::from(inputs.replicas));
    let repair_s = inputs.repair_s.unwrap_or(1.0);
    let fields = [
        ("replicas", replicas, replicas >= 1.0, "at least 1"),
        ("nodes", nodes, nodes >= replicas, "at least as many as the replicas"),
        ("node_bytes", inputs.node_bytes, count(inputs.node_bytes), COUNT),
        ("repair_bytes_per_s", inputs.repair_bytes_per_s, above(inputs.repair_bytes_per_s), ABOVE),
        ("failures_per_year", inputs.failures_per_year, count(inputs.failures_per_year), COUNT),
        ("correlated_per_year", inputs.correlated_per_year, count(inputs.correlated_per_year), COUNT),
        (
            "correlated_nodes",
            f64::from(inputs.correlated_nodes),
            inputs.correlated_nodes <= inputs.nodes,
            "at most the nodes",
        ),
        ("repair_s", repair_s, above(repair_s), ABOVE),
    ];
    fields
        .into_iter()
        .find(|(_, _, right, _)| !right)
        .map_or(Ok(()), |(field, value, _, must)| Err(SpreadError { field, value, must }))
}

#[cfg(test)]
mod tests {
    use super::*;

    fn thousand() -> SpreadInputs {
        SpreadInputs {
            nodes: 1000,
            replicas: 3,
            node_bytes: 30.0 * 1.0995e12,
            repair_bytes_per_s: 250e6,
            failures_per_year: 0.5,
            correlated_per_year: 0.1,
            correlated_nodes: 10,
            repair_s: None,
        }
    }

    /// Losses per year by the two rates as they are argued for, written out for three replicas.
    fn losses(inputs: &SpreadInputs, s: f64) -> f64 {
        let n = f64::from(inputs.nodes);
        let f = f64::from(inputs.correlated_nodes);
        let t = 2.0 * inputs.node_bytes / (s * inputs.repair_bytes_per_s) / (365.25 * 86_400.0);
        let lambda = inputs.failures_per_year;
        let choose = |n: f64| n * (n - 1.0) * (n - 2.0) / 6.0;
        n * s * lambda * (lambda * t) * (lambda * t)
            + inputs.correlated_per_year * (n * s / 6.0) * choose(f) / choose(n)
    }

    #[test]
    fn no_other_spread_loses_less() {
        for (bytes, rate, lambda, nu) in
            [(3e12, 250e6, 0.5, 0.1), (30e12, 250e6, 0.5, 0.1), (100e12, 100e6, 2.0, 0.1)]
        {
            let inputs = SpreadInputs {
                node_bytes: bytes,
                repair_bytes_per_s: rate,
                failures_per_year: lambda,
                correlated_per_year: nu,
                ..thousand()
            };
            let scanned = (2..1000u32)
                .min_by(|a, b| losses(&inputs, f64::from(*a)).total_cmp(&losses(&inputs, f64::from(*b))))
                .unwrap();
            let spread = recommend(&inputs).unwrap();
            assert!(spread.factor.abs_diff(scanned) <= 1, "{spread:?}, scanned {scanned}");
            let total = spread.independent_per_year + spread.correlated_per_year;
            let expected = losses(&inputs, f64::from(spread.factor));
            assert!((total / expected - 1.0).abs() < 1e-9, "{total} {expected}");
        }
    }

    #[test]
    fn a_wanted_repair_time_is_met() {
        let spread = recommend(&SpreadInputs { repair_s: Some(600.0), ..thousand() }).unwrap();
        // 2 x 30 TiB at 250 MB/s take 263,880 s alone: 439.8 peers in 600 s.
        assert_eq!(spread.factor, 440);
        assert_eq!(spread.decided_by, SpreadTerm::Repair);
        assert!(spread.repair_s <= 600.0);
    }

    #[test]
    fn four_replicas_have_their_least_where_the_formula_says() {
        let inputs = SpreadInputs { replicas: 4, node_bytes: 1e15, failures_per_year: 5.0, ..thousand() };
        let total = |s: f64| {
            let t = 2.0 * inputs.node_bytes / (s * inputs.repair_bytes_per_s) / (365.25 * 86_400.0);
            let sets = 1000.0 * s / 12.0;
            let among = (10.0 * 9.0 * 8.0 * 7.0) / (1000.0 * 999.0 * 998.0 * 997.0);
            sets * 24.0 * 625.0 * t * t * t + 0.1 * sets * among
        };
        let spread = recommend(&inputs).unwrap();
        if spread.decided_by == SpreadTerm::Loss {
            let s = f64::from(spread.factor);
            assert!(total(s) <= total(s - 2.0) && total(s) <= total(s + 2.0), "{spread:?}");
        } else {
            assert!(total(f64::from(spread.most)) <= total(f64::from(spread.most) - 1.0), "{spread:?}");
        }
    }

    #[test]
    fn the_bounds_hold() {
        let never_at_once = SpreadInputs { correlated_per_year: 0.0, ..thousand() };
        assert_eq!(recommend(&never_at_once).unwrap().decided_by, SpreadTerm::Most);
        assert_eq!(recommend(&never_at_once).unwrap().factor, 999);
        let never = SpreadInputs { failures_per_year: 0.0, ..thousand() };
        assert_eq!(recommend(&never).unwrap().factor, 2);
        let pairs = SpreadInputs { replicas: 2, ..thousand() };
        assert_eq!(recommend(&pairs).unwrap().factor, 1);
        let alone = SpreadInputs { nodes: 1, replicas: 1, correlated_nodes: 1, ..thousand() };
        assert_eq!(recommend(&alone).unwrap().factor, 0);
    }

    #[test]
    fn what_cannot_be_is_named() {
        let few = recommend(&SpreadInputs { nodes: 2, correlated_nodes: 1, ..thousand() }).unwrap_err();
        assert_eq!((few.field, few.value), ("nodes", 2.0));
        let none = recommend(&SpreadInputs { repair_bytes_per_s: 0.0, ..thousand() }).unwrap_err();
        assert_eq!(none.field, "repair_bytes_per_s");
        assert!(recommend(&SpreadInputs { failures_per_year: f64::NAN, ..thousand() }).is_err());
    }
}
