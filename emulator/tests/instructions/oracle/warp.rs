//! Across 32 lanes, all of which take part.

use super::parts;

/// Results of all lanes, with the second destination where there is one.
pub fn expected_of_warp(spelling: &str, inputs: &[[u64; 3]]) -> Vec<u64> {
    let (name, modifiers) = parts(spelling);
    let is = |modifier: &str| modifiers.contains(&modifier);
    let mask = if is("b64") { u64::MAX } else { 0xffff_ffff };
    let a: Vec<u64> = inputs.iter().map(|operands| operands[0] & mask).collect();
    let set: Vec<bool> = a.iter().map(|value| value & 1 != 0).collect();
    let ballot = |f: &dyn Fn(usize) -> bool| (0..32).filter(|&lane| f(lane)).map(|lane| 1 << lane).sum::<u64>();
    let with = |value: u64, predicate: bool| value | u64::from(predicate) << 32;
    match name {
        "vote" if is("ballot") => vec![ballot(&|lane| set[lane]); 32],
        "vote" => {
            let (some, all) = (set.contains(&true), !set.contains(&false));
            vec![
                u64::from(if is("all") {
                    all
                } else if is("any") {
                    some
                } else {
                    all || !some
                });
                32
            ]
        }
        "match" if is("any") => (0..32).map(|lane| ballot(&|other| a[other] == a[lane])).collect(),
        "match" => {
            let same = a.iter().all(|value| *value == a[0]);
            vec![with(if same { 0xffff_ffff } else { 0 }, same); 32]
        }
        "elect" => vec![with(0, true); 1].into_iter().chain(vec![0; 31]).collect(),
        "redux" => {
            let signed = |value: &u64| *value as i32;
            let total = match (modifiers[1], is("s32")) {
                ("add", _) => a.iter().sum::<u64>() & mask,
                ("min", false) => *a.iter().min().unwrap(),
                ("max", false) => *a.iter().max().unwrap(),
                ("min", true) => u64::from(a.iter().map(signed).min().unwrap() as u32),
                ("max", true) => u64::from(a.iter().map(signed).max().unwrap() as u32),
                ("and", _) => a.iter().fold(mask, |all, value| all & value),
                ("or", _) => a.iter().fold(0, |all, value| all | value),
                _ => a.iter().fold(0, |all, value| all ^ value),
            };
            vec![total; 32]
        }
        "shfl" => (0..32)
            .map(|lane| {
                let (distance, c) = ((inputs[lane][1] & 31) as i64, inputs[lane][2]);
                let (clamp, segment, lane) = ((c & 31) as i64, (c >> 8 & 31) as i64, lane as i64);
                // Lanes of a segment have the bits of `segment` in common; from it they read up to the bound, or keep what they have.
                let (first, bound) = (lane & segment, lane & segment | clamp & !segment);
                let (from, inside) = match modifiers[1] {
                    "up" => (lane - distance, lane - distance >= bound),
                    "down" => (lane + distance, lane + distance <= bound),
                    "bfly" => (lane ^ distance, lane ^ distance <= bound),
                    _ => (first | distance & !segment, (first | distance & !segment) <= bound),
                };
                with(a[if inside { from } else { lane } as usize], inside)
            })
            .collect(),
        _ => panic!("no oracle of {spelling}"),
    }
}
