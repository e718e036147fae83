//! The price of a size, from the sizes that other prices came to.

/// A price that was tried: its binary logarithm, and the bits that the archive had.
#[derive(Clone, Copy, Debug)]
struct Tried {
    price: f64,
    bits: f64,
}

/// A search for the λ at which an archive has a size. Sizes fall as λ rises, but not evenly, and in steps where a model is small.
#[derive(Clone, Debug)]
pub(crate) struct Search {
    /// Bits that are aimed at.
    aim: f64,
    elements: f64,
    /// The nearest on either side of the aim.
    smaller: Option<Tried>,
    larger: Option<Tried>,
    before: Option<Tried>,
    /// Bits less for twice the λ.
    slope: f64,
}

impl Search {
    /// For `aim` bits of an archive with so many quantized weights.
    pub(crate) fn new(aim: f64, elements: f64) -> Self {
        let elements = elements.max(1.0);
        // A bit a weight is a factor of four, until two tries say otherwise.
        Self { aim, elements, smaller: None, larger: None, before: None, slope: 0.5 * elements }
    }

    /// Forgets what was tried, but for how sizes fall: from here on they are others, by little. What to begin with, where `lambda` came to `bits`: the aim itself,
    /// and not the edge of what is near enough, so that once is mostly enough.
    pub(crate) fn restart(&mut self, lambda: f32, bits: f64) -> f32 {
        *self = Self { smaller: None, larger: None, before: None, ..*self };
        self.clone().next(lambda, bits)
    }

    /// What to try after `lambda` came to `bits`.
    pub(crate) fn next(&mut self, lambda: f32, bits: f64) -> f32 {
        let here = Tried { price: (lambda as f64).log2(), bits };
        let side = if bits < self.aim { &mut self.smaller } else { &mut self.larger };
        // Within the two nearest, yet farther from the aim than the one on its side: sizes are not even there, and the same place would come again.
        let uneven = side.is_some_and(|s| (s.bits - self.aim).abs() <= (bits - self.aim).abs());
        if !uneven {
            *side = Some(here);
        }
        if let Some(before) = self.before.replace(here) {
            let found = (before.bits - bits) / (here.price - before.price);
            if found.is_finite() {
                self.slope = found.clamp(0.05 * self.elements, self.elements);
            }
        }
        let next = match (self.smaller, self.larger) {
            (Some(s), Some(l)) if uneven => {
                // Half way to the other side.
                let other = if bits < self.aim { l } else { s };
                0.5 * (here.price + other.price)
            }
            (Some(s), Some(l)) if s.bits < l.bits => {
                l.price + (s.price - l.price) * ((l.bits - self.aim) / (l.bits - s.bits)).clamp(0.1, 0.9)
            }
            _ => here.price + ((bits - self.aim) / self.slope).clamp(-6.0, 6.0),
        };
        next.exp2() as f32
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    /// Tries until an archive of a million weights is within a per mille of the aim.
    fn tries(bits: impl Fn(f64) -> f64) -> usize {
        let (aim, mut lambda) = (4e6, 1f32);
        let mut search = Search::new(aim, 1e6);
        (1..20)
            .find(|_| {
                let got = bits((lambda as f64).log2());
                lambda = search.next(lambda, got);
                (got / aim - 1.0).abs() < 1e-3
            })
            .unwrap_or(20)
    }

    #[test]
    fn even_and_uneven_sizes_are_found() {
        // As theory has it; a third of the slope, as of integers of few bits; a bend.
        assert_eq!(tries(|octaves| 1e6 * (5.0 - 0.5 * octaves)), 2);
        assert!(tries(|octaves| 1e6 * (5.0 - 0.15 * octaves)) <= 3);
        assert!(tries(|octaves| 1e6 * (2.0 + 4.0 / (1.0 + (0.4 * octaves - 1.0).exp()))) <= 6);
    }

    /// Sizes that are all a tenth smaller from there on, and as steep: two tries are enough, the first of them at what was the aim.
    #[test]
    fn what_follows_begins_at_the_aim() {
        let bits = |octaves: f64| 1e6 * (5.0 - 0.3 * octaves);
        let mut search = Search::new(4e6, 1e6);
        let mut lambda = search.next(1.0, bits(0.0));
        lambda = search.next(lambda, bits((lambda as f64).log2()));
        let edge = 0.98 * lambda;
        let begin = search.restart(edge, bits((edge as f64).log2()));
        assert!((bits((begin as f64).log2()) / 4e6 - 1.0).abs() < 1e-5, "{begin}");
        let smaller = |lambda: f32| 0.9 * bits((lambda as f64).log2());
        let next = search.next(begin, smaller(begin));
        assert!((smaller(next) / 4e6 - 1.0).abs() < 0.02, "{next}");
    }

    #[test]
    fn what_is_not_monotone_comes_not_twice() {
        // A larger price, and more bits for it.
        let mut search = Search::new(4e6, 1e6);
        let mut lambda = search.next(1.0, 5e6);
        let smaller = lambda;
        lambda = search.next(lambda, 3.9e6);
        let between = lambda;
        lambda = search.next(lambda, 3.8e6);
        assert!(lambda != between && lambda < between && lambda < smaller, "{lambda} {between} {smaller}");
        let again = search.next(lambda, 3.7e6);
        assert!(again < lambda && again > 1.0, "{again} {lambda}");
    }

    #[test]
    fn steps_are_no_trap() {
        let step = |octaves: f64| 1e6 * (5.0 - 0.5 * octaves).clamp(2.0, 8.0);
        let mut search = Search::new(4e6, 1e6);
        let mut lambda = 1f32;
        for _ in 0..8 {
            // Nothing between 4.2 and 3.9 bits.
            let bits = step((lambda as f64).log2());
            let bits = if (3.9e6..4.2e6).contains(&bits) { 3.9e6 } else { bits };
            lambda = search.next(lambda, bits);
            assert!(lambda.is_finite() && lambda > 0.0);
        }
        assert!((1.0..3.0).contains(&(lambda as f64).log2()), "{lambda}");
    }
}
