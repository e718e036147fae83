//! Random orders of events, with and without faults, for cases too large to explore.

use super::checker::Checker;
use super::{Case, Event};
use crate::schedule::Limits;
use proptest::prelude::*;
use proptest::test_runner::TestCaseError;

fn cases() -> impl Strategy<Value = Case> {
    let limits = (1..24usize, 1..24usize, 0..8usize, 1..6usize);
    let units = prop::collection::vec(prop::collection::vec(0..60u32, 0..4), 0..400);
    (units, 60..64u32, limits).prop_map(|(units, tensors, (slots, reads, stages, lanes))| Case {
        units,
        tensors,
        limits: Limits { slots, reads, stages, lanes },
    })
}

/// Runs a case to its end. `choices` say which of what is in flight ends next, `fault` after how many events something goes wrong.
fn run(case: &Case, choices: &[u32], fault: Option<(usize, bool)>) -> Result<Checker, TestCaseError> {
    let (mut scheduler, mut checker) = (case.scheduler(), Checker::new(case));
    // Every unit ends at most three times, and one event may be a cancellation.
    for event in 0..=3 * case.units.len() + 1 {
        while let Some(action) = scheduler.next() {
            checker.action(case, action).map_err(TestCaseError::fail)?;
            checker.progress(scheduler.progress()).map_err(TestCaseError::fail)?;
        }
        checker.idle(case).map_err(TestCaseError::fail)?;
        if checker.finished() {
            return Ok(checker);
        }
        let in_flight = checker.in_flight();
        let chosen = in_flight[choices[event % choices.len()] as usize % in_flight.len()];
        let happens = match (fault, chosen) {
            (Some((at, true)), _) if at == event => Event::Cancel,
            (Some((at, false)), Event::Read(unit, _)) if at <= event => Event::Read(unit, false),
            (Some((at, false)), Event::Copied(unit, _)) if at <= event => Event::Copied(unit, false),
            (Some((at, false)), Event::Decoded(unit, _)) if at <= event => Event::Decoded(unit, false),
            _ => chosen,
        };
        happens.tell(&mut scheduler);
        checker.event(happens);
        checker.progress(scheduler.progress()).map_err(TestCaseError::fail)?;
    }
    Err(TestCaseError::fail("more events than units can have"))
}

proptest! {
    #![proptest_config(ProptestConfig { cases: 128, ..ProptestConfig::default() })]

    #[test]
    fn any_order_completes(case in cases(), choices in prop::collection::vec(any::<u32>(), 1..200)) {
        let checker = run(&case, &choices, None)?;
        prop_assert_eq!(checker.ready(), case.tensors as usize);
    }

    #[test]
    fn a_failure_ends_it(case in cases(), choices in prop::collection::vec(any::<u32>(), 1..200), at in 0..1200usize) {
        run(&case, &choices, Some((at, false)))?;
    }

    #[test]
    fn a_cancellation_ends_it(case in cases(), choices in prop::collection::vec(any::<u32>(), 1..200), at in 0..1200usize) {
        run(&case, &choices, Some((at, true)))?;
    }
}
