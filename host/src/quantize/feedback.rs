//! Error feedback: what the columns still to come can make good of the errors of those before.
//!
//! Frantar et al., *GPTQ*, 2022, in the form of Chee et al., *QuIP*, 2023 (LDLQ, the same integers): with moments H = L D Lᵀ, L unit lower triangular, columns are
//! rounded from the last to the first, and what column j is rounded from is its weight plus the sum over later columns k of their error times
//! L_kj. The weighted error of a row is then the sum of D_jj times the square of what rounding column j changed.

use super::statistics::Sensitivity;
use crate::cpu::{Backend, Body};
use rayon::prelude::*;

/// Share of the mean moment that is added to each input's own: a text of finite length does not show all directions.
const DAMPING: f32 = 0.01;
/// Columns that are factored together.
const PANEL: usize = 48;

/// The factors of a matrix's moments.
#[derive(Debug)]
pub(crate) struct Feedback {
    /// Columns by rising moment: large ones are rounded first, while many are left to make good.
    pub order: Vec<u32>,
    /// L by rows, each of `order.len()`, of which row j has j elements and then zeros; columns as ordered.
    pub coefficients: Vec<f32>,
    /// D, scaled so that the moments' mean diagonal is one.
    pub weights: Vec<f32>,
}

impl Feedback {
    /// Factors `columns × columns` moments.
    #[cfg(test)]
    pub(crate) fn new(moments: &[f32], columns: usize) -> Self {
        Self::in_order(moments, Self::order_of(&[moments], columns))
    }

    /// Columns by rising moment, of all of some moments together.
    fn order_of(moments: &[&[f32]], columns: usize) -> Vec<u32> {
        let diagonal = |i: usize| moments.iter().map(|moments| moments[i * (columns + 1)].max(0.0)).sum::<f32>();
        let diagonal: Vec<f32> = (0..columns).map(diagonal).collect();
        let mut order: Vec<u32> = (0..columns as u32).collect();
        order.sort_by(|&a, &b| diagonal[a as usize].total_cmp(&diagonal[b as usize]).then(a.cmp(&b)));
        order
    }

    /// Factors moments whose columns come in this order.
    fn in_order(moments: &[f32], order: Vec<u32>) -> Self {
        let n = order.len();
        let mean = ((0..n).map(|i| moments[i * (n + 1)].max(0.0) as f64).sum::<f64>() / n.max(1) as f64) as f32;
        let mut damping = DAMPING;
        loop {
            let scaled = |i: usize, j: usize| {
                let value = moments[order[i] as usize * n + order[j] as usize] / mean;
                if i == j { value + damping } else { value }
            };
            let mut factor = vec![0f32; n * n];
            factor.par_chunks_mut(n.max(1)).enumerate().for_each(|(i, row)| {
                row[..=i].iter_mut().enumerate().for_each(|(j, value)| *value = scaled(i, j));
            });
            if cholesky(&mut factor, n) {
                // C = L √D.
                let roots: Vec<f32> = (0..n).map(|i| factor[i * (n + 1)]).collect();
                factor.par_chunks_mut(n.max(1)).for_each(|row| row.iter_mut().zip(&roots).for_each(|(c, root)| *c /= root));
                return Self { order, coefficients: factor, weights: roots.iter().map(|r| r * r).collect() };
            }
            // Moments that are not positive definite but for rounding, or are no numbers.
            damping *= 10.0;
            if !damping.is_finite() {
                return Self { order, ..Self::none(n) };
            }
        }
    }

    /// Of inputs that are independent and alike: nothing can be made good.
    pub(crate) fn none(columns: usize) -> Self {
        Self { order: (0..columns as u32).collect(), coefficients: Vec::new(), weights: vec![1.0; columns] }
    }

    /// Row j of L, to the left of its diagonal; empty if there is no feedback.
    #[inline(always)]
    pub(crate) fn row(&self, j: usize) -> &[f32] {
        if self.coefficients.is_empty() { &[] } else { &self.coefficients[j * self.order.len()..][..j] }
    }
}

/// The factors of a tensor's moments, of each class of its rows.
pub(crate) struct Feedbacks {
    classes: Vec<Feedback>,
    /// The mean of each one's weights.
    means: Vec<f32>,
    /// The class of each row; empty if there is but one.
    of: Vec<u8>,
}

impl Feedbacks {
    /// Of a tensor of so many columns. They come in the same order for all rows, so that rows go through them side by side.
    pub(crate) fn new(sensitivity: &Sensitivity, columns: usize) -> Self {
        let all: Vec<&[f32]> = sensitivity.moments.iter().map(|moments| &moments[..]).collect();
        let order = Feedback::order_of(&all, columns);
        let mut classes: Vec<Feedback> = all.iter().map(|moments| Feedback::in_order(moments, order.clone())).collect();
        if classes.is_empty() {
            classes.push(Feedback::none(columns));
        }
        let mean = |f: &Feedback| (f.weights.iter().map(|&w| w as f64).sum::<f64>() / f.weights.len().max(1) as f64) as f32;
        let means = classes.iter().map(mean).collect();
        Self { classes, means, of: sensitivity.classes.clone() }
    }

    /// That of a row.
    pub(crate) fn of(&self, row: usize) -> &Feedback {
        &self.classes[self.class(row)]
    }

    /// The columns' order.
    pub(crate) fn order(&self) -> &[u32] {
        &self.classes[0].order
    }

    /// What squared errors of rows from `first` on cost after what is made good, given what they cost before.
    pub(crate) fn prices(&self, first: usize, rows: &[f32]) -> Vec<f32> {
        (first..).zip(rows).map(|(row, s)| s * self.means[self.class(row)]).collect()
    }

    fn class(&self, row: usize) -> usize {
        self.of.get(row).map_or(0, |&class| class as usize)
    }
}

/// Cholesky's factor of the lower triangle, in place, panel by panel (Golub, Van Loan: *Matrix Computations*, 4.2); whether the matrix is positive definite.
pub(super) fn cholesky(a: &mut [f32], n: usize) -> bool {
    let backend = Backend::best();
    for first in (0..n).step_by(PANEL) {
        let last = (first + PANEL).min(n);
        let (panel, below) = a[first * n..].split_at_mut((last - first) * n);
        for i in first..last {
            let (done, row) = panel.split_at_mut((i - first) * n);
            let row = &mut row[..n];
            backend.run(Columns { row, done, n, columns: first..i });
            let square = row[i] - sum_of_squares(&row[..i]);
            // Not a number either.
            if !(square > 0.0 && square.is_finite()) {
                return false;
            }
            row[i] = square.sqrt();
        }
        let panel = &*panel;
        below.par_chunks_mut(n).for_each(|row| backend.run(Columns { row, done: panel, n, columns: first..last }));
    }
    true
}

/// The elements of a row in the columns of a panel, given the panel's own rows.
struct Columns<'a> {
    row: &'a mut [f32],
    done: &'a [f32],
    n: usize,
    columns: std::ops::Range<usize>,
}

impl Body for Columns<'_> {
    #[inline(always)]
    fn run(self) {
        let first = self.columns.start;
        for j in self.columns {
            let other = &self.done[(j - first) * self.n..][..self.n];
            self.row[j] = (self.row[j] - dot(&self.row[..j], &other[..j])) / other[j];
        }
    }
}

#[inline(always)]
pub(super) fn dot(a: &[f32], b: &[f32]) -> f32 {
    let ((a, a_rest), (b, b_rest)) = (a.as_chunks::<32>(), b.as_chunks::<32>());
    let mut sums = [0f32; 32];
    for (a, b) in a.iter().zip(b) {
        for i in 0..32 {
            sums[i] += a[i] * b[i];
        }
    }
    let rest: f32 = a_rest.iter().zip(b_rest).map(|(a, b)| a * b).sum();
    sums.iter().sum::<f32>() + rest
}

fn sum_of_squares(a: &[f32]) -> f32 {
    a.iter().map(|&x| x as f64 * x as f64).sum::<f64>() as f32
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::quantize::testing::uniform;

    /// Moments of `n` inputs that share a part.
    fn moments(n: usize) -> Vec<f32> {
        let mut uniform = uniform(1);
        let mut random = move || uniform() - 0.5;
        let samples: Vec<Vec<f32>> = (0..2 * n)
            .map(|_| {
                let shared = random();
                (0..n).map(|i| (1.0 + i as f32 / 10.0) * (random() + 2.0 * shared)).collect()
            })
            .collect();
        let product = |i: usize, j: usize| samples.iter().map(|s| s[i] * s[j]).sum::<f32>() / samples.len() as f32;
        (0..n * n).map(|k| product(k / n, k % n)).collect()
    }

    #[test]
    fn factors_multiply_to_the_moments() {
        for n in [1, 5, 48, 49, 131] {
            let moments = moments(n);
            let f = Feedback::new(&moments, n);
            let mean = (0..n).map(|i| moments[i * (n + 1)]).sum::<f32>() / n as f32;
            let l = |i: usize, j: usize| {
                if i == j {
                    1.0
                } else if j < i {
                    f.row(i)[j]
                } else {
                    0.0
                }
            };
            for i in 0..n {
                for j in 0..=i {
                    let product: f32 = (0..=j).map(|k| l(i, k) * f.weights[k] * l(j, k)).sum();
                    let mut expected = moments[f.order[i] as usize * n + f.order[j] as usize] / mean;
                    if i == j {
                        expected += DAMPING;
                    }
                    assert!((product - expected).abs() < 2e-4 * (1.0 + expected.abs()), "{n} {i} {j}: {product} {expected}");
                }
            }
        }
    }

    #[test]
    fn moments_that_are_not_positive_are_damped() {
        let f = Feedback::new(&[1.0, 2.0, 2.0, 1.0], 2);
        assert!(f.weights.iter().all(|&w| w > 0.0), "{f:?}");
        // An input that is always zero.
        let f = Feedback::new(&[0.0, 0.0, 0.0, 4.0], 2);
        assert_eq!(f.order, [0, 1]);
        assert!(f.weights.iter().all(|&w| w > 0.0));
    }
}
