//! How often rows of an embedding count in other texts than the one that was measured.
//!
//! Most of a vocabulary does not occur in a text of some ten thousand tokens, yet a fifth of another text is of it. How much, the text itself tells: by what of its
//! second half does not occur in the first, and of the last three quarters not in the first. (SmolLM2, news and Wikipedia, 32,768 tokens: 0.185, where it was 0.192;
//! 49,152: 0.159, 0.155. What occurred once, as Good and Turing have it, would be 0.108: words come in bursts.) Which rows these are the model tells, by how likely it holds them.

/// How often a row was looked up, and the sum of the mean squares of the gradients in an element of it.
#[derive(Clone, Copy, Debug, Default)]
pub(crate) struct Lookups {
    times: f32,
    squares: f32,
}

impl Lookups {
    pub(crate) fn add(&mut self, square: f32) {
        self.times += 1.0;
        self.squares += square;
    }

    fn is_seen(&self) -> bool {
        self.times > 0.0
    }
}

/// The share of another text's tokens that do not occur in this one, of a vocabulary of so many.
pub(crate) fn unseen(tokens: &[u32], vocabulary: usize) -> f32 {
    let after = |first: usize| -> f32 {
        let (known, others) = tokens.split_at(first);
        let mut seen = vec![false; vocabulary];
        known.iter().for_each(|&token| seen[token as usize] = true);
        let missing = others.iter().filter(|&&token| !seen[token as usize]).count();
        missing as f32 / others.len().max(1) as f32
    };
    let (quarter, half) = (after(tokens.len() / 4), after(tokens.len() / 2));
    // As from a quarter to the half, so from there to the whole.
    if quarter > 0.0 { half * (half / quarter).min(1.0) } else { 0.0 }
}

/// How much more often rows occur elsewhere than the model holds likely on average: those that were not seen, and those that were. `chances` are by row.
fn factors(lookups: &[Lookups], chances: &[f32], unseen: f32) -> [f32; 2] {
    let sum = |seen: bool| -> f64 {
        lookups.iter().zip(chances).filter(|(l, _)| l.is_seen() == seen).map(|(_, &chance)| chance as f64).sum()
    };
    let (new, old) = (sum(false), sum(true));
    if new <= 0.0 || old <= 0.0 || unseen <= 0.0 {
        return [1.0, 1.0];
    }
    let all = new + old;
    [(unseen as f64 * all / new) as f32, ((1.0 - unseen as f64) * all / old) as f32]
}

/// How likely rows are in a text, where there is no model to say it: those that did not occur as if they had once.
pub(crate) fn counted(lookups: &[Lookups]) -> Vec<f32> {
    let times = |l: &Lookups| l.times.max(1.0);
    let all: f32 = lookups.iter().map(times).sum();
    lookups.iter().map(|l| times(l) / all).collect()
}

/// Makes of how likely rows are on average in a text how likely they are in others.
pub(crate) fn elsewhere(chances: &mut [f32], lookups: &[Lookups], unseen: f32) {
    let [new, old] = factors(lookups, chances, unseen);
    chances.iter_mut().zip(lookups).for_each(|(chance, l)| *chance *= if l.is_seen() { old } else { new });
}

/// By row, how often it is looked up among the tokens of other texts, times the mean square of the gradient in an element of it.
///
/// `chances` are those of other texts. What occurs once in a text of `count` tokens is not the likeliest elsewhere: half of what is taken for a
/// frequency is how likely the model holds a token. What no text says of a row's gradient is that of those that occurred once.
pub(crate) fn expected(lookups: &[Lookups], chances: &[f32], count: f32, unseen: f32) -> Vec<f32> {
    /// Occurrences that what is known of all rows counts for.
    const PRIOR: f32 = 2.0;
    let sum = |of: &mut dyn Iterator<Item = &Lookups>| of.fold((0.0, 0.0), |(n, s), l| (n + l.times, s + l.squares));
    let (once, all) = (sum(&mut lookups.iter().filter(|l| l.times == 1.0)), sum(&mut lookups.iter()));
    let (times, squares) = if once.0 > 0.0 { once } else { all };
    let rare = squares / times.max(1.0);
    let frequency = |(l, &chance): (&Lookups, &f32)| match l.is_seen() {
        true => 0.5 * ((1.0 - unseen) * l.times / count + chance),
        false => chance,
    };
    let gradient = |l: &Lookups| (l.squares + PRIOR * rare) / (l.times + PRIOR);
    lookups.iter().zip(chances).map(|row| frequency(row) * gradient(row.0)).collect()
}

#[cfg(test)]
mod tests {
    use super::*;

    fn lookups() -> Vec<Lookups> {
        let mut lookups = vec![Lookups::default(); 5];
        (0..90).for_each(|_| lookups[0].add(0.1));
        (0..8).for_each(|_| lookups[1].add(0.5));
        lookups[2].add(4.0);
        lookups[3].add(2.0);
        lookups
    }

    #[test]
    fn counted_rows_are_one_in_all_elsewhere() {
        let mut all = lookups();
        all.resize(500, Lookups::default());
        let mut chances = counted(&all);
        assert!((chances.iter().sum::<f32>() - 1.0).abs() < 1e-5 && chances[0] > 80.0 * chances[4]);
        elsewhere(&mut chances, &all, 0.25);
        let unseen: f32 = chances[4..].iter().sum();
        assert!((unseen - 0.25).abs() < 1e-5 && (chances.iter().sum::<f32>() - 1.0).abs() < 1e-5, "{unseen}");
    }

    #[test]
    fn rows_that_did_not_occur_are_expected_as_the_model_does() {
        let found = expected(&lookups(), &[0.9, 0.08, 0.001, 0.001, 0.018], 100.0, 0.0);
        // What occurs often is what was counted, in its order of magnitude: two that rare rows lend it, with their larger gradients, are a good half more.
        assert!((found[0] / (0.9 * 0.1) - 1.0).abs() < 0.7, "{found:?}");
        // What did not occur: what the model expects, with the gradients of what occurred once.
        assert!((found[4] / (0.018 * 3.0) - 1.0).abs() < 1e-5, "{found:?}");
        // What occurred once, by half and half.
        assert!((found[2] / (0.5 * (0.01 + 0.001) * (4.0 + 2.0 * 3.0) / 3.0) - 1.0).abs() < 1e-5, "{found:?}");
        assert!(found[2] > found[3]);
        // A text without rare rows.
        let common = expected(&lookups()[..2], &[0.5, 0.5], 98.0, 0.0);
        assert!(common.iter().all(|v| v.is_finite() && *v > 0.0), "{common:?}");
        assert_eq!(expected(&[Lookups::default()], &[0.1], 1.0, 0.0), [0.0]);
    }

    #[test]
    fn what_was_not_seen_has_its_share_elsewhere() {
        let mut chances = [0.9, 0.05, 0.02, 0.02, 0.01];
        elsewhere(&mut chances, &lookups(), 0.2);
        assert!((chances[4] - 0.2).abs() < 1e-6 && (chances.iter().sum::<f32>() - 1.0).abs() < 1e-6, "{chances:?}");
        assert!((chances[0] / chances[1] - 18.0).abs() < 1e-3);
        // All rows were seen, or none can be told apart: as they were.
        let mut all = [0.5, 0.5];
        elsewhere(&mut all, &lookups()[..2], 0.2);
        assert_eq!(all, [0.5, 0.5]);
    }

    /// Tokens of a Zipf distribution: what another such text has that this one lacks.
    #[test]
    fn a_text_tells_what_it_lacks() {
        let vocabulary = 20_000;
        let weights: Vec<f64> = (0..vocabulary).map(|i| 1.0 / (i + 3) as f64).collect();
        let total: f64 = weights.iter().sum();
        let mut numbers = crate::random::SplitMix64(5);
        let mut draw = || {
            let mut left = (numbers.next() >> 11) as f64 / (1u64 << 53) as f64 * total;
            (0..vocabulary as u32).find(|&i| {
                left -= weights[i as usize];
                left < 0.0
            })
        };
        let mut text = |n: usize| (0..n).map(|_| draw().unwrap_or(0)).collect::<Vec<u32>>();
        let (own, other) = (text(8192), text(8192));
        let mut seen = vec![false; vocabulary];
        own.iter().for_each(|&t| seen[t as usize] = true);
        let truth = other.iter().filter(|&&t| !seen[t as usize]).count() as f32 / other.len() as f32;
        let told = unseen(&own, vocabulary);
        assert!((told / truth - 1.0).abs() < 0.2 && truth > 0.1, "{told} {truth}");
        assert_eq!(unseen(&[1; 512], 2), 0.0);
        assert_eq!(unseen(&[], 2), 0.0);
    }
}
