//! What a Gabor bank of floats could shrink to, and what the filters of the format leave of that: the numbers in `docs/performance.md`.

#![allow(missing_docs)]

mod support;

use rayon::prelude::*;
use std::collections::HashMap;
use support::structured::{GABOR, gabor_at};
use wcodec::Dtype;
use wcodec_device::filter::{Map, Near, Predictor, Ring, SIDE, Transform, forward_line, guess, zigzag};

const FILTERS: usize = GABOR[0];
const CHANNELS: usize = GABOR[1];
const HEIGHT: usize = GABOR[2];
const WIDTH: usize = GABOR[3];
/// Numbers of a filter.
const FILTER: usize = CHANNELS * HEIGHT * WIDTH;

/// The bank in a type of floats.
struct Bank {
    dtype: Dtype,
    /// Numbers as they are after rounding.
    values: Vec<f64>,
    /// The same in the integers that filters work on, in the order of values.
    mapped: Vec<i32>,
}

/// A number rounded to the type, and mapped.
fn rounded(dtype: Dtype, x: f64) -> (f64, i32) {
    match dtype {
        Dtype::F32 => (x as f32 as f64, Map::Float.apply(Ring::new(32), (x as f32).to_bits() as i32)),
        Dtype::F16 => {
            let x = half::f16::from_f64(x);
            (x.to_f64(), Map::Float.apply(Ring::new(16), i32::from(x.to_bits() as i16)))
        }
        _ => {
            let x = half::bf16::from_f64(x);
            (x.to_f64(), Map::Float.apply(Ring::new(16), i32::from(x.to_bits() as i16)))
        }
    }
}

impl Bank {
    fn new(dtype: Dtype) -> Self {
        let of = |i: usize| rounded(dtype, gabor_at(0.3, i / WIDTH, i % WIDTH));
        let (values, mapped) = (0..FILTERS * FILTER).map(of).unzip();
        Self { dtype, values, mapped }
    }

    fn bits(&self) -> u32 {
        self.dtype.bits().unwrap()
    }

    fn ring(&self) -> Ring {
        Ring::new(self.bits())
    }

    /// The distance from number `i` to the next in its type.
    fn unit(&self, i: usize) -> f64 {
        let (mantissa, least) = match self.dtype {
            Dtype::F32 => (23, -126),
            Dtype::F16 => (10, -14),
            _ => (7, -126),
        };
        let exponent = self.values[i].abs().max(f64::MIN_POSITIVE).log2().floor().max(f64::from(least));
        (exponent - f64::from(mantissa)).exp2()
    }
}

/// Bits of a residual, about.
fn price(residual: i32) -> f64 {
    (1.0 + f64::from(zigzag(residual) as u32)).log2()
}

/// Bits that a residual has without leading zeros.
fn length(residual: i32) -> u32 {
    32 - (zigzag(residual) as u32).leading_zeros()
}

fn entropy<'a>(counts: impl Iterator<Item = &'a u64> + Clone) -> f64 {
    let total = counts.clone().sum::<u64>() as f64;
    counts.filter(|n| **n > 0).map(|&n| -(n as f64) * (n as f64 / total).log2()).sum()
}

/// Bits of each of the residuals `at` these places, by entropies for which nobody pays: of their lengths, given how long those around them are, and
/// of the highest bit below the first. The rest are bits as they are. Finer contexts than the format has.
fn coded(residuals: &[i32], at: &[usize]) -> f64 {
    let (mut lengths, mut seconds) = (HashMap::<u32, HashMap<u32, u64>>::new(), HashMap::<u32, [u64; 2]>::new());
    let mut bits = 0.0;
    for &i in at {
        let (row, column) = (i / WIDTH, i % WIDTH);
        let near = |there: bool, back: usize| if there { length(residuals[i - back]) } else { 0 };
        let (left, top) = (near(column > 0, 1), near(row > 0, WIDTH));
        let corners = near(column > 0 && row > 0, WIDTH + 1) + near(row > 0 && column + 1 < WIDTH, WIDTH - 1);
        let own = length(residuals[i]);
        *lengths.entry(2 * left + 2 * top + corners).or_default().entry(own).or_default() += 1;
        if let Some(below) = own.checked_sub(2) {
            seconds.entry(own).or_default()[(zigzag(residuals[i]) as u32 >> below & 1) as usize] += 1;
            bits += f64::from(below);
        }
    }
    bits += lengths.values().map(|counts| entropy(counts.values())).sum::<f64>();
    bits += seconds.values().map(|counts| entropy(counts.iter())).sum::<f64>();
    bits / at.len() as f64
}

/// What the format's predictors leave, transformed or not, the best for each sub-block of 8 × 8: more choice than the format gives, told for nothing.
fn by_format(bank: &Bank) -> Vec<i32> {
    let (ring, values) = (bank.ring(), &bank.mapped);
    let near = |i: usize| Near::of(values, WIDTH, i / WIDTH, i % WIDTH);
    let mut out = vec![0; values.len()];
    for top in (0..values.len() / WIDTH).step_by(SIDE) {
        for left in (0..WIDTH).step_by(SIDE) {
            let (rows, columns) = (SIDE.min(values.len() / WIDTH - top), SIDE.min(WIDTH - left));
            let places: Vec<usize> = (0..rows).flat_map(|r| (0..columns).map(move |c| (top + r) * WIDTH + left + c)).collect();
            let mut best = (f64::INFINITY, Vec::new());
            for predictor in Predictor::FROM_NEIGHBOURS {
                let plain: Vec<i32> = places.iter().map(|&i| ring.sub(values[i], guess(ring, predictor, near(i)))).collect();
                let mut ways = vec![plain.clone()];
                if plain.len() == SIDE * SIDE {
                    ways.extend([Transform::Cosine, Transform::Sine].map(|kind| transformed(ring, kind, &plain)));
                }
                for way in ways {
                    let bits = way.iter().map(|&x| price(x)).sum();
                    if bits < best.0 {
                        best = (bits, way);
                    }
                }
            }
            places.iter().zip(best.1).for_each(|(&i, x)| out[i] = x);
        }
    }
    out
}

/// A sub-block transformed, rows, then columns.
fn transformed(ring: Ring, kind: Transform, block: &[i32]) -> Vec<i32> {
    let rows: Vec<[i32; SIDE]> = block.as_chunks().0.iter().map(|&row| forward_line(ring, kind, row)).collect();
    let column = |c: usize| forward_line(ring, kind, std::array::from_fn(|r| rows[r][c]));
    let columns: Vec<[i32; SIDE]> = (0..SIDE).map(column).collect();
    (0..SIDE * SIDE).map(|i| columns[i % SIDE][i / SIDE]).collect()
}

/// Solves `a x = b`, `a` being symmetric, by elimination with pivots.
fn solve(mut a: Vec<Vec<f64>>, mut b: Vec<f64>) -> Vec<f64> {
    let n = b.len();
    (0..n).for_each(|i| a[i][i] *= 1.0 + 1e-12);
    for i in 0..n {
        let pivot = (i..n).max_by(|&x, &y| a[x][i].abs().total_cmp(&a[y][i].abs())).unwrap();
        a.swap(i, pivot);
        b.swap(i, pivot);
        for k in i + 1..n {
            let times = if a[i][i] == 0.0 { 0.0 } else { a[k][i] / a[i][i] };
            let from = a[i].clone();
            a[k].iter_mut().zip(&from).skip(i).for_each(|(x, y)| *x -= times * y);
            b[k] -= times * b[i];
        }
    }
    let mut x = vec![0.0; n];
    for i in (0..n).rev() {
        let known: f64 = (i + 1..n).map(|j| a[i][j] * x[j]).sum();
        x[i] = if a[i][i] == 0.0 { 0.0 } else { (b[i] - known) / a[i][i] };
    }
    x
}

/// What a predictor takes for numbers.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
enum Of {
    /// Integers in the order of values, as the format does.
    Mapped,
    /// Values, the prediction rounded to the type.
    Values,
}

/// The `order` nearest of the numbers that come before: rows up and columns to the right.
fn nearest(order: usize) -> Vec<(isize, isize)> {
    let mut all: Vec<_> =
        (-4..=0).flat_map(|y: isize| (-4..=4).map(move |x: isize| (y, x))).filter(|&(y, x)| y < 0 || x < 0).collect();
    all.sort_by_key(|&(y, x)| (y * y + x * x, -y, x));
    all.truncate(order);
    all
}

/// Bits of a residual of the linear predictor from `order` neighbours that suits each filter best; only numbers count that have all neighbours.
fn by_line(bank: &Bank, of: Of, order: usize) -> f64 {
    let before = nearest(order);
    let reach = before.iter().map(|(y, x)| y.abs().max(x.abs())).max().unwrap() as usize;
    let within = |i: &usize| i / WIDTH % HEIGHT >= reach && (reach..WIDTH - reach).contains(&(i % WIDTH));
    let fitted: Vec<Vec<(usize, i32)>> = (0..FILTERS)
        .into_par_iter()
        .map(|filter| {
            let places: Vec<usize> = (filter * FILTER..(filter + 1) * FILTER).filter(within).collect();
            fit(bank, of, &places, &before)
        })
        .collect();
    let mut residuals = vec![0; bank.mapped.len()];
    fitted.iter().flatten().for_each(|&(i, x)| residuals[i] = x);
    let places: Vec<usize> = fitted.iter().flatten().map(|(i, _)| *i).collect();
    coded(&residuals, &places)
}

/// What is left at these places by the predictor whose residuals take the fewest bits: least squares, again and again with weights that make squares
/// of logarithms.
fn fit(bank: &Bank, of: Of, places: &[usize], before: &[(isize, isize)]) -> Vec<(usize, i32)> {
    let number = |i: usize| if of == Of::Mapped { f64::from(bank.mapped[i]) } else { bank.values[i] };
    let inputs: Vec<Vec<f64>> = places
        .iter()
        .map(|&i| {
            let near = before.iter().map(|(y, x)| number(i.wrapping_add_signed(y * WIDTH as isize + x)));
            // Integers are above and below 0 in no symmetry.
            near.chain((of == Of::Mapped).then_some(1.0)).collect()
        })
        .collect();
    let units: Vec<f64> = places.iter().map(|&i| if of == Of::Mapped { 1.0 } else { bank.unit(i) }).collect();
    let n = inputs[0].len();
    let mut best = (f64::INFINITY, Vec::new());
    for first in [|u: &f64| 1.0 / (u * u), |_: &f64| 1.0] {
        let mut weights: Vec<f64> = units.iter().map(first).collect();
        for _ in 0..12 {
            let (mut a, mut b) = (vec![vec![0.0; n]; n], vec![0.0; n]);
            for ((x, &i), w) in inputs.iter().zip(places).zip(&weights) {
                for p in 0..n {
                    b[p] += w * x[p] * number(i);
                    (0..n).for_each(|q| a[p][q] += w * x[p] * x[q]);
                }
            }
            let factors = solve(a, b);
            let mut left = Vec::with_capacity(places.len());
            for (((x, &i), w), unit) in inputs.iter().zip(places).zip(&mut weights).zip(&units) {
                let guess: f64 = x.iter().zip(&factors).map(|(x, f)| x * f).sum();
                let off = (number(i) - guess) / unit;
                *w = 1.0 / (unit * unit * (off * off + 1.0));
                let guess = if of == Of::Mapped { guess.round() as i32 } else { rounded(bank.dtype, guess).1 };
                left.push((i, bank.ring().sub(bank.mapped[i], guess)));
            }
            let bits = left.iter().map(|(_, x)| price(*x)).sum();
            if bits < best.0 {
                best = (bits, left);
            }
        }
    }
    best.1
}

/// What somebody misses by who knows how the bank was made, but calculates with floats of 32 bits.
fn by_oracle(bank: &Bank) -> Vec<i32> {
    let of = |i: usize| {
        let (row, c) = (i / WIDTH, i % WIDTH);
        let (filter, channel) = ((row / HEIGHT / CHANNELS) as f32, (row / HEIGHT % CHANNELS) as f32);
        let (y, x) = ((row % HEIGHT) as f32 - 15.0, c as f32 - 15.0);
        let turn = filter * std::f32::consts::PI / 16.0;
        let wave = 5.0 + (filter / 16.0).floor() * 3.0;
        let (u, v) = (x * turn.cos() + y * turn.sin(), y * turn.cos() - x * turn.sin());
        let (sigma, phase) = (0.7 * wave, channel * 0.7);
        let guess =
            0.3 * (-(u * u + 0.5 * v * v) / (2.0 * sigma * sigma)).exp() * (std::f32::consts::TAU * u / wave + phase).cos();
        bank.ring().sub(bank.mapped[i], rounded(bank.dtype, f64::from(guess)).1)
    };
    (0..bank.mapped.len()).map(of).collect()
}

#[test]
fn what_is_missing_is_not_noise() {
    // Sizes in parts of the source: what a fifth less than the default profile's is.
    for (dtype, fifth) in [(Dtype::F32, 0.678), (Dtype::F16, 0.697), (Dtype::BF16, 0.552)] {
        let bank = Bank::new(dtype);
        let part = |bits: f64| bits / f64::from(bank.bits());
        let all: Vec<usize> = (0..bank.mapped.len()).collect();
        let residuals = by_format(&bank);
        let format = part(coded(&residuals, &all));
        let oracle = part(coded(&by_oracle(&bank), &all));
        println!("{dtype:?}: by format {format:.3}, by the oracle {oracle:.3}");
        // Where the wave changes its sign, the mapped integers jump.
        let positive = |i: usize| bank.values[i] > 0.0;
        let jumps = |i: &usize| {
            let around = [1, WIDTH, WIDTH + 1].map(|back| i.checked_sub(back).is_some_and(positive));
            around.iter().any(|&above| above != positive(*i))
        };
        let (there, elsewhere): (Vec<usize>, Vec<usize>) = all.iter().partition(|i| jumps(i));
        let mean = |at: &[usize]| at.iter().map(|&i| price(residuals[i])).sum::<f64>() / at.len() as f64;
        let share = there.len() as f64 / all.len() as f64;
        println!("  signs change at {share:.2}: {:.1} bits, elsewhere {:.1}", mean(&there), mean(&elsewhere));
        let orders = [2, 4, 10, 24];
        let [mapped, values] = [Of::Mapped, Of::Values].map(|of| {
            let sizes = orders.map(|order| part(by_line(&bank, of, order)));
            println!("  {of:?}: orders {orders:?} {sizes:.3?}");
            sizes
        });
        // The format's tools cannot get there, whoever chooses and whatever codes what they leave; nor, of F32, can any predictor of
        // mapped integers.
        assert!(format > fifth, "{dtype:?}: {format}");
        assert!(mapped[3] > fifth || dtype != Dtype::F32, "{mapped:?}");
        // Values say much more of each other: it is the map that hides it.
        assert!(values[2] < 0.9 * fifth && values[3] < 0.6 * mapped[3], "{dtype:?}: {values:?} {mapped:?}");
        assert!(oracle < 0.25, "{dtype:?}: {oracle}");
    }
}
