//! How sure the coefficients are: standard errors from the observed information.
//!
//! The information is the matrix of second derivatives of the negative logarithm of the exact likelihood, with
//! the variance of the innovations at its maximum, as in R. It is taken where the coefficients are, by central
//! differences in short parts of a standard error, so that a likelihood that bends within R's fixed step of a
//! thousandth is still measured at its peak; for the constant, in which the sum of squares is a parabola, from
//! the parabola itself.

use crate::polynomial::partial;
use crate::series::{Origin, Prepared};
use crate::state::{Filtered, deviance};
use crate::{FitError, Fitted};

/// Coefficients at most: five of each kind and a constant.
const MAX: usize = 11;

/// The step of a difference, in standard errors: long enough for twelve digits of a likelihood to tell the rise
/// at its end, short enough for the rise to be that of a parabola.
const STEP: f64 = 0.02;

/// The step where nothing is known yet.
const FIRST_STEP: f64 = 1e-4;

/// Next to a border of the region steps are shortened, by a tenth each time, so often at most.
const SHORTENINGS: usize = 3;

type Matrix = [[f64; MAX]; MAX];

impl Fitted {
    /// Standard errors of the coefficients, given the series they were estimated from: those of `ar`, of `ma`,
    /// then of the constant, in its unit. From the observed information, without small-sample correction.
    ///
    /// With a moving-average root on the unit circle the likelihood is smooth and measured as elsewhere, as in R,
    /// though its peak is none of a normal distribution.
    ///
    /// `None` where the information says nothing: of a coefficient at the border of stationarity, and of all if
    /// the likelihood has no peak where the coefficients are, say if they are not those of the series.
    ///
    /// # Errors
    /// [`FitError::Series`] for a series without values, with an infinite one, of a magnitude that cannot be
    /// squared, or with not more than d values; [`FitError::NoNoise`] for a constant or, with `d > 0`, a straight
    /// line.
    pub fn standard_errors(&self, series: &[f64]) -> Result<Vec<Option<f64>>, FitError> {
        let order = self.order();
        let free = order.has_constant() || order.d() > 0;
        let prepared = Prepared::new(series, if free { Origin::Free } else { Origin::Fixed })?;
        prepared.check(order.d(), order.d() + 1)?;
        let surface = Surface::of(self, &prepared);
        let mut errors = surface.standard_errors();
        if let (true, Some(constant)) = (order.has_constant(), errors.last_mut()) {
            *constant = constant.map(|error| error * prepared.unit);
        }
        let usable = |error: &f64| error.is_normal();
        Ok(errors.into_iter().map(|error| error.filter(usable)).collect())
    }
}

/// The likelihood around the coefficients of a model.
struct Surface<'a> {
    series: &'a [f64],
    p: usize,
    q: usize,
    d: usize,
    /// Coefficients, first those of `ar`, then those of `ma`.
    centre: [f64; MAX],
    /// In the unit of the prepared series.
    constant: Option<f64>,
}

/// The surface at one place.
#[derive(Clone, Copy)]
struct Height {
    /// The negative logarithm of the likelihood, up to a constant.
    value: f64,
    /// Its first and second derivatives in the constant; zero if there is none.
    slope: f64,
    bend: f64,
}

impl<'a> Surface<'a> {
    fn of(fitted: &Fitted, prepared: &'a Prepared) -> Self {
        let (order, coefficients) = (fitted.order(), fitted.coefficients());
        let mut centre = [0.0; MAX];
        for (at, value) in centre.iter_mut().zip(coefficients.ar.iter().chain(&coefficients.ma)) {
            *at = *value;
        }
        let shift = if order.d() == 0 { prepared.shift } else { 0.0 };
        let constant = coefficients.constant.map(|c| c / prepared.unit - shift / prepared.unit);
        Self { series: &prepared.values, p: order.p(), q: order.q(), d: order.d(), centre, constant }
    }

    fn standard_errors(&self) -> Vec<Option<f64>> {
        let terms = self.p + self.q;
        let count = terms + usize::from(self.constant.is_some());
        let mut errors = vec![None; count];
        let Some(centre) = self.height(&self.centre) else { return errors };
        let mut steps = [0.0; MAX];
        let mut free = Vec::with_capacity(count);
        for (i, step) in steps.iter_mut().enumerate().take(terms) {
            if let Some(found) = self.step(i, centre) {
                *step = found;
                free.push(i);
            }
        }
        let mut information = None;
        for _ in 0..=SHORTENINGS {
            information = self.information(&free, &steps, centre);
            if information.is_some() {
                break;
            }
            steps = steps.map(|step| 0.1 * step);
        }
        let Some(information) = information else { return errors };
        if self.constant.is_some() {
            free.push(terms);
        }
        let variances = inverse_diagonal(&information, free.len());
        for (&i, variance) in free.iter().zip(variances.iter().flatten()) {
            errors[i] = Some(variance.sqrt());
        }
        errors
    }

    /// How far to go along one coefficient, or nothing if the border is too near.
    fn step(&self, i: usize, centre: Height) -> Option<f64> {
        let mut step = FIRST_STEP;
        for _ in 0..=SHORTENINGS {
            let (above, below) = (self.moved(&[(i, step)]), self.moved(&[(i, -step)]));
            let Some((above, below)) = above.zip(below) else {
                step *= 0.1;
                continue;
            };
            let bend = (above.value - 2.0 * centre.value + below.value) / (step * step);
            let wanted = if bend > 0.0 { STEP / bend.sqrt() } else { FIRST_STEP };
            // No longer than what is known to lie within the region, unless that was no border.
            return Some(if step < FIRST_STEP { wanted.min(step) } else { wanted });
        }
        None
    }

    /// Second derivatives of the coefficients in `free`, then of the constant; nothing if a step leaves the region.
    fn information(&self, free: &[usize], steps: &[f64; MAX], centre: Height) -> Option<Matrix> {
        let mut matrix = [[0.0; MAX]; MAX];
        let last = free.len();
        for (a, &i) in free.iter().enumerate() {
            let (above, below) = (self.moved(&[(i, steps[i])])?, self.moved(&[(i, -steps[i])])?);
            matrix[a][a] = (above.value - 2.0 * centre.value + below.value) / (steps[i] * steps[i]);
            if self.constant.is_some() {
                matrix[a][last] = (above.slope - below.slope) / (2.0 * steps[i]);
                matrix[last][a] = matrix[a][last];
            }
            for (b, &j) in free.iter().enumerate().take(a) {
                let at = |up: f64, right: f64| self.moved(&[(i, up * steps[i]), (j, right * steps[j])]);
                let twisted =
                    at(1.0, 1.0)?.value - at(1.0, -1.0)?.value - at(-1.0, 1.0)?.value + at(-1.0, -1.0)?.value;
                matrix[a][b] = twisted / (4.0 * steps[i] * steps[j]);
                matrix[b][a] = matrix[a][b];
            }
        }
        if self.constant.is_some() {
            matrix[last][last] = centre.bend;
        }
        Some(matrix)
    }

    fn moved(&self, by: &[(usize, f64)]) -> Option<Height> {
        let mut at = self.centre;
        for &(i, step) in by {
            at[i] += step;
        }
        self.height(&at)
    }

    /// Nothing outside the region of stationarity. Beyond the border of invertibility the likelihood is that of the
    /// inverted roots.
    fn height(&self, at: &[f64; MAX]) -> Option<Height> {
        let (ar, ma) = (&at[..self.p], &at[self.p..self.p + self.q]);
        partial(ar)?;
        let found = deviance(ar, ma, self.d, self.constant, self.series)?;
        let height = Height::of(&found, self.constant.is_some());
        (height.value.is_finite() && height.slope.is_finite() && height.bend.is_finite()).then_some(height)
    }
}

impl Height {
    /// The sum of squares is `s_yy - 2 c s_yx + c^2 s_xx`, where `c` is how far the constant is moved.
    fn of(found: &Filtered, constant: bool) -> Self {
        let n = found.n as f64;
        let squares = found.s_yy;
        let value = 0.5 * (n * (squares / n).ln() + found.log_det);
        if !constant {
            return Self { value, slope: 0.0, bend: 0.0 };
        }
        let slope = -n * found.s_yx / squares;
        Self { value, slope, bend: n * found.s_xx / squares - 2.0 * slope * slope / n }
    }
}

/// The diagonal of the inverse of the leading `k` rows and columns, or nothing if that is not positive definite.
fn inverse_diagonal(matrix: &Matrix, k: usize) -> Option<Vec<f64>> {
    let mut root = [[0.0; MAX]; MAX];
    for i in 0..k {
        for j in 0..=i {
            let known: f64 = (0..j).map(|c| root[i][c] * root[j][c]).sum();
            let rest = matrix[i][j] - known;
            if i == j {
                // What is left of a diagonal that cancels is chance.
                if rest.is_nan() || rest <= 1e-9 * matrix[i][i].abs() {
                    return None;
                }
                root[i][i] = rest.sqrt();
            } else {
                root[i][j] = rest / root[j][j];
            }
        }
    }
    // Columns of the inverse of the root: the diagonal is the sum of their squares.
    let squares = (0..k).map(|column| {
        let mut solved = [0.0; MAX];
        for i in column..k {
            let known: f64 = (column..i).map(|c| root[i][c] * solved[c]).sum();
            solved[i] = (f64::from(u8::from(i == column)) - known) / root[i][i];
        }
        solved.iter().map(|x| x * x).sum()
    });
    Some(squares.collect())
}

#[cfg(test)]
mod tests {
    use crate::{Coefficients, Fit, Model, Order};

    fn noise(n: u64) -> Vec<f64> {
        (0..n).map(|t| ((t * t * 7 + t * 31) % 101) as f64 - 50.0).collect()
    }

    #[test]
    fn the_mean_of_noise_is_as_sure_as_the_law_of_large_numbers_says() {
        let series = noise(200);
        let order = Order::new(0, 0, 0).and_then(Order::with_constant).expect("in range");
        let fitted = Fit::new(order).fit(&series).expect("noise");
        let errors = fitted.standard_errors(&series).expect("noise");
        let want = (fitted.sigma2() / 200.0).sqrt();
        let have = errors[0].expect("it is a peak");
        assert_eq!(errors.len(), 1);
        assert!((have / want - 1.0).abs() < 1e-9, "{have} {want}");
    }

    #[test]
    fn a_long_autoregression_is_as_sure_as_its_asymptotic_variance() {
        let mut series = noise(4000);
        for t in 1..series.len() {
            series[t] += 0.7 * series[t - 1];
        }
        let fitted = Fit::new(Order::new(1, 0, 0).expect("in range")).fit(&series).expect("a peak");
        let errors = fitted.standard_errors(&series).expect("a series");
        let ar = fitted.coefficients().ar[0];
        let want = ((1.0 - ar * ar) / 4000.0).sqrt();
        assert!((errors[0].expect("a peak") / want - 1.0).abs() < 0.01, "{errors:?} {want}");
    }

    #[test]
    fn where_there_is_no_peak_there_is_no_standard_error() {
        let series = noise(60);
        // Two terms that cancel: a ridge along which nothing changes.
        let order = Order::new(1, 0, 1).expect("in range");
        let coefficients = Coefficients { ar: vec![0.5], ma: vec![-0.5], constant: None };
        let fitted = Model::new(order, coefficients).expect("a model").apply(&series).expect("a likelihood");
        let errors = fitted.standard_errors(&series).expect("a series");
        assert!(errors.iter().flatten().all(|error| *error > 0.0 && error.is_finite()), "{errors:?}");
        // A root so near to the circle that there is no room for a step.
        let order = Order::new(1, 0, 0).expect("in range");
        let coefficients = Coefficients { ar: vec![1.0 - 1e-12], ma: Vec::new(), constant: None };
        let fitted = Model::new(order, coefficients).expect("a model").apply(&series).expect("a likelihood");
        assert_eq!(fitted.standard_errors(&series), Ok(vec![None]));
        assert!(
            fitted.standard_errors(&[f64::NAN; 9]).is_err() && fitted.standard_errors(&[3.0; 9]).is_err()
        );
    }

    #[test]
    fn standard_errors_have_the_unit_of_the_series() {
        let series = noise(80);
        let large: Vec<f64> = series.iter().map(|y| 1e9 + 1024.0 * y).collect();
        let order = Order::new(1, 0, 0).and_then(Order::with_constant).expect("in range");
        let of = |series: &[f64]| {
            let fitted = Fit::new(order).fit(series).expect("a peak");
            fitted.standard_errors(series).expect("a series").into_iter().flatten().collect::<Vec<_>>()
        };
        let (small, large) = (of(&series), of(&large));
        assert!(
            (large[0] / small[0] - 1.0).abs() < 1e-3 && (large[1] / small[1] / 1024.0 - 1.0).abs() < 1e-3
        );
    }
}
