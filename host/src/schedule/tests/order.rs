//! Orders, limits, and calls that make no sense.

use super::{Case, Event};
use crate::schedule::{Action, Impossible, Limits, Outcome, Place, Scheduler, Unit};

const GPU: Limits = Limits { slots: 4, reads: 3, stages: 2, lanes: 2 };

fn one_tensor_each(units: u32, limits: Limits) -> Case {
    Case { units: (0..units).map(|u| vec![u]).collect(), tensors: units, limits }
}

/// All actions of a load in which whatever was started first ends first.
fn in_order(case: &Case) -> Vec<Action> {
    let mut scheduler = case.scheduler();
    let mut in_flight = std::collections::VecDeque::new();
    let mut actions = Vec::new();
    loop {
        while let Some(action) = scheduler.next() {
            match action {
                Action::Read { unit, .. } => in_flight.push_back(Event::Read(unit, true)),
                Action::Copy { unit, .. } => in_flight.push_back(Event::Copied(unit, true)),
                Action::Decode { unit, .. } => in_flight.push_back(Event::Decoded(unit, true)),
                Action::Ready { .. } | Action::Finished(_) => {}
            }
            actions.push(action);
        }
        let Some(event) = in_flight.pop_front() else { return actions };
        event.tell(&mut scheduler);
    }
}

#[test]
fn reads_copies_decodes_and_tensors_come_in_order() {
    for stages in [0, 1, 2] {
        let case = one_tensor_each(100, Limits { stages, ..GPU });
        let actions = in_order(&case);
        let all: Vec<u32> = (0..100).collect();
        let units = |f: &dyn Fn(&Action) -> Option<u32>| actions.iter().filter_map(f).collect::<Vec<_>>();
        assert_eq!(units(&|a| if let Action::Read { unit, .. } = a { Some(*unit) } else { None }), all);
        assert_eq!(units(&|a| if let Action::Decode { unit, .. } = a { Some(*unit) } else { None }), all);
        assert_eq!(units(&|a| if let Action::Ready { tensor } = a { Some(*tensor) } else { None }), all);
        let copies = units(&|a| if let Action::Copy { unit, .. } = a { Some(*unit) } else { None });
        assert_eq!(copies, if stages > 0 { all } else { vec![] });
        assert_eq!(actions.last(), Some(&Action::Finished(Outcome::Complete)));
    }
}

/// The first tensor does not wait for the reads of others.
#[test]
fn the_first_tensor_is_ready_before_later_units_are_read() {
    let actions = in_order(&one_tensor_each(100, GPU));
    let at = |wanted: &dyn Fn(&Action) -> bool| actions.iter().position(wanted).expect("it happens");
    let ready = at(&|a| *a == Action::Ready { tensor: 0 });
    let read = at(&|a| matches!(a, Action::Read { unit: 8, .. }));
    assert!(ready < read, "tensor 0 is ready at {ready}, unit 8 is read at {read}");
}

#[test]
fn the_lower_of_two_units_read_is_decoded_first() {
    let mut scheduler = one_tensor_each(3, Limits { slots: 3, reads: 3, stages: 0, lanes: 1 }).scheduler();
    while scheduler.next().is_some() {}
    for unit in [2, 1, 0] {
        scheduler.read_done(unit, true);
    }
    for unit in 0..3 {
        assert_eq!(scheduler.next(), Some(Action::Decode { unit, from: Place::Slot(unit), lane: 0 }));
        assert_eq!(scheduler.next(), None);
        scheduler.decode_done(unit, true);
        assert_eq!(scheduler.next(), Some(Action::Ready { tensor: unit }));
    }
    assert_eq!(scheduler.next(), Some(Action::Finished(Outcome::Complete)));
    assert_eq!(scheduler.next(), None);
}

#[test]
fn tensors_without_units_are_ready_at_once() {
    let case = Case { units: vec![vec![1]], tensors: 3, limits: GPU };
    let mut scheduler = case.scheduler();
    assert_eq!(scheduler.next(), Some(Action::Ready { tensor: 0 }));
    assert_eq!(scheduler.next(), Some(Action::Ready { tensor: 2 }));
    assert_eq!(scheduler.next(), Some(Action::Read { unit: 0, slot: 0 }));
}

#[test]
fn what_stops_it_first_counts() {
    let mut scheduler = one_tensor_each(3, GPU).scheduler();
    while scheduler.next().is_some() {}
    scheduler.cancel();
    scheduler.read_done(0, false);
    scheduler.read_done(1, true);
    assert_eq!(scheduler.next(), None);
    scheduler.read_done(2, true);
    assert_eq!(scheduler.next(), Some(Action::Finished(Outcome::Cancelled)));
}

#[test]
fn what_cannot_be_scheduled_is_refused() {
    let new = |units: Vec<Unit>, limits| Scheduler::new(units, 1, limits).map(|_| ());
    for (what, limits) in
        [("slots", Limits { slots: 0, ..GPU }), ("reads", Limits { reads: 0, ..GPU }), ("lanes", Limits { lanes: 0, ..GPU })]
    {
        assert_eq!(new(vec![], limits), Err(Impossible::Zero(what)));
    }
    let stray = vec![Unit { tensors: vec![0] }, Unit { tensors: vec![0, 1] }];
    let refused = new(stray, GPU).expect_err("there is no tensor 1");
    assert_eq!(refused, Impossible::NoSuchTensor { unit: 1, tensor: 1 });
    assert_eq!(refused.to_string(), "unit 1 holds parts of tensor 1, which does not exist");
}

/// Events of units that are not there, or not in that state.
fn nonsense(f: impl Fn(&mut Scheduler)) {
    let mut scheduler = one_tensor_each(5, GPU).scheduler();
    while scheduler.next().is_some() {}
    scheduler.read_done(0, true);
    let before = scheduler.clone();
    let told = std::panic::catch_unwind(std::panic::AssertUnwindSafe(|| f(&mut scheduler)));
    assert_eq!(told.is_err(), cfg!(debug_assertions), "debug builds find the driver's mistake");
    assert!(scheduler == before, "it must change nothing");
}

#[test]
fn reports_of_what_is_not_going_on_change_nothing() {
    nonsense(|s| s.read_done(0, true));
    nonsense(|s| s.read_done(4, false));
    nonsense(|s| s.read_done(5, true));
    nonsense(|s| s.copy_done(0, false));
    nonsense(|s| s.decode_done(1, true));
    nonsense(|s| s.decode_done(u32::MAX, false));
}

/// The largest models have a million units: no event may cost more for that.
#[test]
fn a_million_units() {
    let limits = Limits { slots: usize::MAX, reads: 64, stages: 16, lanes: 4 };
    let actions = in_order(&Case { units: (0..1_000_000).map(|u| vec![u / 1000]).collect(), tensors: 1000, limits });
    assert_eq!(actions.len(), 3_000_000 + 1000 + 1);
}
