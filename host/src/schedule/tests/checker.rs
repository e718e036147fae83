//! What must be true of every action, from nothing but the case, the actions and the events so far. Slow and plain, so as to be
//! obviously right: it looks everything up by scanning.

use super::{Case, Event};
use crate::schedule::{Action, Outcome, Place, Progress};

#[derive(Clone, Copy, Debug, PartialEq, Eq, Hash)]
enum Phase {
    Idle,
    Reading,
    Read,
    Copying,
    Copied,
    Decoding,
    Decoded,
    Failed,
}

/// What was seen so far. The case is not part of it, since it never changes.
#[derive(Clone, PartialEq, Eq, Hash)]
pub(super) struct Checker {
    phases: Vec<Phase>,
    /// The unit in each slot, stage and lane.
    slots: Vec<Option<u32>>,
    stages: Vec<Option<u32>>,
    lanes: Vec<Option<u32>>,
    /// Units whose reads succeeded.
    read: usize,
    ready: Vec<bool>,
    stopped: Option<Outcome>,
    finished: bool,
}

/// What is wrong.
pub(super) type Verdict = Result<(), String>;

macro_rules! demand {
    ($condition:expr, $($text:tt)*) => { if !$condition { return Err(format!($($text)*)); } };
}

/// Puts `unit` into place `at`, which must exist and be empty.
fn occupy(places: &mut [Option<u32>], at: u32, unit: u32) -> Verdict {
    let place = places.get_mut(at as usize).ok_or(format!("place {at} does not exist"))?;
    demand!(place.is_none(), "place {at} of unit {unit} is used by {place:?}");
    *place = Some(unit);
    Ok(())
}

fn leave(places: &mut [Option<u32>], unit: u32) {
    places.iter_mut().filter(|p| **p == Some(unit)).for_each(|p| *p = None);
}

fn used(places: &[Option<u32>]) -> usize {
    places.iter().flatten().count()
}

impl Checker {
    pub(super) fn new(case: &Case) -> Self {
        Self {
            phases: vec![Phase::Idle; case.units.len()],
            slots: vec![None; case.limits.slots],
            stages: vec![None; case.limits.stages],
            lanes: vec![None; case.limits.lanes],
            read: 0,
            ready: vec![false; case.tensors as usize],
            stopped: None,
            finished: false,
        }
    }

    pub(super) fn finished(&self) -> bool {
        self.finished
    }

    pub(super) fn stopped(&self) -> bool {
        self.stopped.is_some()
    }

    pub(super) fn ready(&self) -> usize {
        self.ready.iter().filter(|&&r| r).count()
    }

    fn is(&self, unit: u32, phase: Phase) -> bool {
        self.phases.get(unit as usize) == Some(&phase)
    }

    fn first(&self, phase: Phase) -> Option<u32> {
        self.phases.iter().position(|&p| p == phase).map(|at| at as u32)
    }

    fn count(&self, phase: Phase) -> usize {
        self.phases.iter().filter(|&&p| p == phase).count()
    }

    /// What is in flight, as the events that end it well.
    pub(super) fn in_flight(&self) -> Vec<Event> {
        let event = |(unit, phase): (usize, &Phase)| match phase {
            Phase::Reading => Some(Event::Read(unit as u32, true)),
            Phase::Copying => Some(Event::Copied(unit as u32, true)),
            Phase::Decoding => Some(Event::Decoded(unit as u32, true)),
            _ => None,
        };
        self.phases.iter().enumerate().filter_map(event).collect()
    }

    fn complete(&self, case: &Case, tensor: u32) -> bool {
        let parts = case.units.iter().zip(&self.phases).filter(|(tensors, _)| tensors.contains(&tensor));
        parts.into_iter().all(|(_, &phase)| phase == Phase::Decoded)
    }

    /// The phase in which a unit waits for a lane.
    fn decodable(case: &Case) -> Phase {
        if case.limits.stages > 0 { Phase::Copied } else { Phase::Read }
    }

    /// Takes note of an action, if it is allowed.
    pub(super) fn action(&mut self, case: &Case, action: Action) -> Verdict {
        demand!(!self.finished, "{action:?} after the end");
        let starts = !matches!(action, Action::Finished(_));
        demand!(!(starts && self.stopped.is_some()), "{action:?} after it was stopped");
        match action {
            Action::Read { unit, slot } => {
                demand!(self.first(Phase::Idle) == Some(unit), "reads out of order");
                demand!(self.count(Phase::Reading) < case.limits.reads, "too many reads");
                occupy(&mut self.slots, slot, unit)?;
                self.phases[unit as usize] = Phase::Reading;
            }
            Action::Copy { unit, slot, stage } => {
                demand!(case.limits.stages > 0, "a copy without stages");
                demand!(self.first(Phase::Read) == Some(unit), "not the first unit that waits to be copied");
                demand!(self.slots.get(slot as usize) == Some(&Some(unit)), "not the unit's slot");
                occupy(&mut self.stages, stage, unit)?;
                self.phases[unit as usize] = Phase::Copying;
            }
            Action::Decode { unit, from, lane } => {
                demand!(self.first(Self::decodable(case)) == Some(unit), "not the first unit that waits to be decoded");
                let holder = match from {
                    Place::Slot(slot) => self.slots.get(slot as usize),
                    Place::Stage(stage) => self.stages.get(stage as usize),
                };
                demand!(holder == Some(&Some(unit)), "not where the unit is");
                occupy(&mut self.lanes, lane, unit)?;
                self.phases[unit as usize] = Phase::Decoding;
            }
            Action::Ready { tensor } => {
                demand!(self.ready.get(tensor as usize) == Some(&false), "no such tensor, or ready twice");
                demand!(self.complete(case, tensor), "ready before its units are decoded");
                self.ready[tensor as usize] = true;
            }
            Action::Finished(outcome) => {
                demand!(self.in_flight().is_empty(), "the end with work in flight");
                demand!(outcome == self.stopped.unwrap_or(Outcome::Complete), "it did not end so");
                if outcome == Outcome::Complete {
                    demand!(self.phases.iter().all(|&p| p == Phase::Decoded), "complete without all units");
                    demand!(self.ready.iter().all(|&r| r), "complete without all tensors");
                }
                self.finished = true;
            }
        }
        Ok(())
    }

    /// Takes note of an event, which must be possible.
    pub(super) fn event(&mut self, event: Event) {
        let (unit, ok, then) = match event {
            Event::Read(unit, ok) => {
                assert!(self.is(unit, Phase::Reading));
                self.read += usize::from(ok);
                (unit, ok, Phase::Read)
            }
            Event::Copied(unit, ok) => {
                assert!(self.is(unit, Phase::Copying));
                leave(&mut self.slots, unit);
                (unit, ok, Phase::Copied)
            }
            Event::Decoded(unit, ok) => {
                assert!(self.is(unit, Phase::Decoding));
                for places in [&mut self.slots, &mut self.stages, &mut self.lanes] {
                    leave(places, unit);
                }
                (unit, ok, Phase::Decoded)
            }
            Event::Cancel => return self.stop(Outcome::Cancelled),
        };
        self.phases[unit as usize] = if ok { then } else { Phase::Failed };
        if !ok {
            self.stop(Outcome::Failed);
        }
        self.give_up();
    }

    fn stop(&mut self, why: Outcome) {
        if !self.finished && self.stopped.is_none() {
            self.stopped = Some(why);
        }
        self.give_up();
    }

    /// Once it was stopped, nobody but what is in flight may hold anything.
    fn give_up(&mut self) {
        if self.stopped.is_none() {
            return;
        }
        for unit in 0..self.phases.len() {
            if !matches!(self.phases[unit], Phase::Reading | Phase::Copying | Phase::Decoding) {
                leave(&mut self.slots, unit as u32);
                leave(&mut self.stages, unit as u32);
            }
        }
    }

    /// The scheduler's own account must be this one.
    pub(super) fn progress(&self, said: Progress) -> Verdict {
        let seen = Progress {
            units: self.phases.len(),
            units_read: self.read,
            units_decoded: self.count(Phase::Decoded),
            tensors: self.ready.len(),
            tensors_ready: self.ready(),
            reads: self.count(Phase::Reading),
            slots_in_use: used(&self.slots),
            stages_in_use: used(&self.stages),
            lanes_in_use: used(&self.lanes),
        };
        demand!(said == seen, "it says {said:?}, and it is {seen:?}");
        let nothing = used(&self.slots) + used(&self.stages) + used(&self.lanes) == 0;
        demand!(!self.finished || nothing, "finished, and something is not given back");
        Ok(())
    }

    /// The scheduler says that there is nothing to do: then nothing that could go on may wait.
    pub(super) fn idle(&self, case: &Case) -> Verdict {
        if self.finished {
            return Ok(());
        }
        demand!(!self.in_flight().is_empty(), "stuck: nothing in flight, and not finished");
        if self.stopped.is_some() {
            return Ok(());
        }
        let free = |places: &[Option<u32>]| places.contains(&None);
        let may_read = self.count(Phase::Reading) < case.limits.reads && free(&self.slots);
        demand!(!(may_read && self.first(Phase::Idle).is_some()), "a unit could be read");
        let may_copy = case.limits.stages > 0 && free(&self.stages);
        demand!(!(may_copy && self.first(Phase::Read).is_some()), "a unit could be copied");
        demand!(!(free(&self.lanes) && self.first(Self::decodable(case)).is_some()), "a unit could be decoded");
        let late = (0..case.tensors).find(|&t| !self.ready[t as usize] && self.complete(case, t));
        demand!(late.is_none(), "tensor {late:?} is complete and not reported");
        Ok(())
    }
}
