//! The coarsest price at which a loss stays within a limit.

use crate::Result;

/// How often that is tried.
const TRIES: usize = 7;
/// A loss of this share of the limit is near enough.
const NEAR: f64 = 0.8;
/// What is aimed at, as a share of the limit.
const AIM: f64 = 0.93;
/// Prices nearer than this to each other are the same.
const CLOSE: f64 = 1.1;

/// Finds the largest price λ at which `loss(λ)` is no more than `limit`, nearly; `None` if it is more at every price that was tried, zero being the last.
///
/// Losses are proportional to λ, about, and rise with it, but for noise. `loss` is called up to eight times, first with `first`; what it was last called with need not be what is found.
///
/// # Errors
/// Those of `loss`.
pub fn coarsest_within(limit: f64, first: f64, mut loss: impl FnMut(f64) -> Result<f64>) -> Result<Option<f64>> {
    let (mut within, mut beyond): (Option<f64>, Option<f64>) = (None, None);
    let mut price = first;
    for _ in 0..TRIES {
        let found = loss(price)?;
        if found <= limit {
            within = Some(within.map_or(price, |w| w.max(price)));
            if found >= NEAR * limit {
                break;
            }
        } else {
            beyond = Some(beyond.map_or(price, |b: f64| b.min(price)));
        }
        // Where it would be if losses were proportional; no nearer to what is known than the middle, where that is what it would come to again and again.
        let aimed = price * (AIM * limit / found.max(limit / 8.0)).clamp(0.125, 8.0);
        price = match (within, beyond) {
            (Some(w), Some(b)) if b <= w * CLOSE => break,
            (Some(w), Some(b)) => {
                if aimed > w * CLOSE.sqrt() && aimed < b / CLOSE.sqrt() {
                    aimed
                } else {
                    (w * b).sqrt()
                }
            }
            _ => aimed,
        };
    }
    if within.is_none() && loss(0.0)? <= limit {
        within = Some(0.0);
    }
    Ok(within)
}

#[cfg(test)]
mod tests {
    use super::*;

    fn find(limit: f64, loss: impl Fn(f64) -> f64) -> (Option<f64>, usize) {
        let mut calls = 0;
        let found = coarsest_within(limit, 0.01, |price| {
            calls += 1;
            Ok(loss(price))
        });
        (found.expect("no error"), calls)
    }

    #[test]
    fn proportional_losses_take_two_tries_or_three() {
        for scale in [0.3, 1.0, 7.0] {
            let (found, calls) = find(0.005, |price| scale * price);
            let loss = scale * found.expect("there is one");
            assert!((0.8 * 0.005..=0.005).contains(&loss) && calls <= 3, "{loss} {calls}");
        }
    }

    #[test]
    fn other_losses_take_some_more() {
        for (power, offset) in [(0.5, 0.0), (1.7, 0.0), (1.0, 0.003), (3.0, 0.001)] {
            let (found, calls) = find(0.005, |price| offset + (price / 0.01_f64).powf(power) * 0.02);
            let loss = offset + (found.expect("there is one") / 0.01).powf(power) * 0.02;
            assert!((0.7 * 0.005..=0.005).contains(&loss) && calls <= TRIES, "{power} {offset}: {loss} {calls}");
        }
    }

    #[test]
    fn noise_and_gains_are_no_trap() {
        let (found, _) = find(0.005, |price| price - 0.02 * (price * 1e5).sin().abs());
        assert!(found.is_some_and(|price| price > 0.005), "{found:?}");
    }

    #[test]
    fn only_the_finest_or_none() {
        assert_eq!(find(0.005, |price| if price > 0.0 { 1.0 } else { 0.004 }), (Some(0.0), TRIES + 1));
        assert_eq!(find(0.005, |_| 1.0), (None, TRIES + 1));
    }
}
