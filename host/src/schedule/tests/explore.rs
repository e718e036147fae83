//! Every order of events, for small cases: each read, copy and decode ends well or fails, at any time, and a cancellation may come at any
//! time, also between two calls of `next`. States that were met before, by another way, are not explored again.
//!
//! Since every step moves a unit on, reports something, or stops the load, there are no cycles: that no state is stuck means that every
//! way ends.

use super::checker::Checker;
use super::{Case, Event};
use crate::schedule::{Action, Limits, Scheduler};
use std::collections::HashSet;
use std::hash::{DefaultHasher, Hash, Hasher};

#[derive(Clone, PartialEq, Eq, Hash)]
struct Point {
    scheduler: Scheduler,
    checker: Checker,
    /// `next` has said that there is nothing to do since the last event.
    idle: bool,
}

#[derive(Debug)]
#[allow(dead_code)] // Printed when something is wrong.
enum Step {
    Next(Option<Action>),
    Event(Event),
}

struct Explorer<'a> {
    case: &'a Case,
    met: HashSet<[u64; 2]>,
    path: Vec<Step>,
    steps: u64,
    ends: u64,
}

impl Explorer<'_> {
    /// Two hashes, 128 bits: that two of a million states share them is out of the question.
    fn is_new(&mut self, point: &Point) -> bool {
        let hash = |salt: u64| {
            let mut hasher = DefaultHasher::new();
            (salt, point).hash(&mut hasher);
            hasher.finish()
        };
        self.met.insert([hash(1), hash(2)])
    }

    fn step(&mut self, from: &Point, event: Option<Event>) {
        let mut to = from.clone();
        let verdict = match event {
            Some(event) => {
                self.path.push(Step::Event(event));
                event.tell(&mut to.scheduler);
                to.checker.event(event);
                to.idle = false;
                Ok(())
            }
            None => {
                let action = to.scheduler.next();
                self.path.push(Step::Next(action));
                to.idle = action.is_none();
                match action {
                    Some(action) => to.checker.action(self.case, action),
                    None => to.checker.idle(self.case),
                }
            }
        };
        let verdict = verdict.and_then(|()| to.checker.progress(to.scheduler.progress()));
        if let Err(wrong) = verdict {
            panic!("{wrong}\n{:?}\n{:#?}", self.case, self.path);
        }
        self.steps += 1;
        if self.is_new(&to) {
            self.from(&to);
        }
        self.path.pop();
    }

    fn from(&mut self, point: &Point) {
        if !point.idle {
            self.step(point, None);
        } else if point.checker.finished() {
            self.ends += 1;
        }
        for event in point.checker.in_flight() {
            self.step(point, Some(event));
            let failed = match event {
                Event::Read(unit, _) => Event::Read(unit, false),
                Event::Copied(unit, _) => Event::Copied(unit, false),
                Event::Decoded(unit, _) => Event::Decoded(unit, false),
                Event::Cancel => Event::Cancel,
            };
            self.step(point, Some(failed));
        }
        // One that comes after it was stopped must change nothing.
        self.step_cancel(point);
    }

    fn step_cancel(&mut self, point: &Point) {
        if point.checker.stopped() || point.checker.finished() {
            let mut same = point.clone();
            same.scheduler.cancel();
            assert!(same == *point, "a cancellation after the end changes something\n{:?}\n{:#?}", self.case, self.path);
        } else {
            self.step(point, Some(Event::Cancel));
        }
    }
}

/// States, steps, and different ends.
fn explore(case: &Case) -> (u64, u64, u64) {
    let start = Point { scheduler: case.scheduler(), checker: Checker::new(case), idle: false };
    let mut explorer = Explorer { case, met: HashSet::new(), path: Vec::new(), steps: 0, ends: 0 };
    explorer.is_new(&start);
    explorer.from(&start);
    assert!(explorer.ends > 0, "{case:?} never ends");
    (explorer.met.len() as u64, explorer.steps, explorer.ends)
}

/// Ways in which `n` units can hold tensors: the tensors of each, and how many there are.
fn layouts(n: u32) -> Vec<(Vec<Vec<u32>>, u32)> {
    vec![
        // One each.
        ((0..n).map(|u| vec![u]).collect(), n),
        // One across all units, and one without any unit.
        ((0..n).map(|_| vec![1]).collect(), 2),
        // Tensors that end in the unit in which the next begins; one without a unit in between.
        ((0..n).map(|u| if u == 0 { vec![0, 2] } else { vec![u + 1, u + 2] }).collect(), n + 2),
        // Units with several tensors, units with none, a tensor in the first unit and the last.
        ((0..n).map(|u| if u % 2 == 0 { vec![0, 2 * u + 1, 2 * u + 2] } else { vec![] }).collect(), 2 * n + 1),
    ]
}

fn explore_all(units: std::ops::RangeInclusive<u32>, slots: usize) -> (u64, u64, u64) {
    let (mut cases, mut states, mut steps) = (0, 0, 0);
    for n in units {
        for (units, tensors) in layouts(n) {
            for stages in 0..=2 {
                for lanes in 1..=2 {
                    for reads in 1..=slots {
                        let limits = Limits { slots, reads, stages, lanes };
                        let (met, taken, _) = explore(&Case { units: units.clone(), tensors, limits });
                        (cases, states, steps) = (cases + 1, states + met, steps + taken);
                    }
                }
            }
        }
    }
    println!("{cases} cases with {slots} slots: {states} states, {steps} steps");
    (cases, states, steps)
}

#[test]
fn every_order_of_events_with_one_slot() {
    let (cases, states, _) = explore_all(0..=4, 1);
    assert!(cases == 120 && states > 1000, "{cases} cases, {states} states");
}

#[test]
fn every_order_of_events_with_two_slots() {
    let (cases, states, _) = explore_all(0..=4, 2);
    assert!(cases == 240 && states > 10_000, "{cases} cases, {states} states");
}

#[test]
fn every_order_of_events_with_three_slots() {
    let (cases, states, _) = explore_all(0..=4, 3);
    assert!(cases == 360 && states > 10_000, "{cases} cases, {states} states");
}
