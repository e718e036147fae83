//! The machine.

use super::{Action, Impossible, Limits, Outcome, Place, Unit};
use std::collections::{BTreeSet, VecDeque};

#[derive(Clone, Copy, Debug, PartialEq, Eq, Hash)]
enum State {
    Waiting,
    Reading { slot: u32 },
    Read { slot: u32 },
    Copying { slot: u32, stage: u32 },
    Staged { stage: u32 },
    Decoding { from: Place, lane: u32 },
    Done,
    /// Given up, or failed.
    Dropped,
}

/// How the load fares.
#[derive(Clone, Copy, Debug, PartialEq, Eq, Hash)]
enum Course {
    Running,
    Cancelled,
    Failed,
    Finished,
}

/// See the module. Ask [`next`](Self::next) until there is nothing, after every event.
#[derive(Clone, Debug, PartialEq, Eq, Hash)]
pub(crate) struct Scheduler {
    units: Vec<Unit>,
    states: Vec<State>,
    /// Units of each tensor that are not decoded yet.
    pending: Vec<u32>,
    course: Course,
    /// The first unit that nobody reads yet.
    next_read: u32,
    reading: usize,
    most_reads: usize,
    staged: bool,
    /// Free ones; the last is taken first, since its memory is the warmest.
    slots: Vec<u32>,
    stages: Vec<u32>,
    lanes: Vec<u32>,
    /// Units that were read, and units that are in stages.
    read: BTreeSet<u32>,
    copied: BTreeSet<u32>,
    ready: VecDeque<u32>,
    /// Reads, copies and decodes that are going on.
    in_flight: usize,
    done: usize,
}

impl Scheduler {
    /// A load of `units`, which hold parts of `tensors` tensors; those of which no unit has a part are ready at once.
    pub(crate) fn new(units: Vec<Unit>, tensors: u32, limits: Limits) -> Result<Self, Impossible> {
        if limits.slots == 0 || limits.reads == 0 || limits.lanes == 0 {
            return Err(Impossible);
        }
        let mut pending = vec![0u32; tensors as usize];
        for &tensor in units.iter().flat_map(|u| &u.tensors) {
            *pending.get_mut(tensor as usize).ok_or(Impossible)? += 1;
        }
        let free = |n: usize| (0..n as u32).rev().collect::<Vec<_>>();
        Ok(Self {
            states: vec![State::Waiting; units.len()],
            ready: (0..tensors).filter(|&t| pending[t as usize] == 0).collect(),
            units,
            pending,
            course: Course::Running,
            next_read: 0,
            reading: 0,
            most_reads: limits.reads,
            staged: limits.stages > 0,
            slots: free(limits.slots),
            stages: free(limits.stages),
            lanes: free(limits.lanes),
            read: BTreeSet::new(),
            copied: BTreeSet::new(),
            in_flight: 0,
            done: 0,
        })
    }

    /// What is to be done now; `None` until the next event.
    pub(crate) fn next(&mut self) -> Option<Action> {
        match self.course {
            Course::Running => self.advance(),
            Course::Finished => None,
            Course::Cancelled | Course::Failed if self.in_flight > 0 => None,
            Course::Cancelled => Some(self.finish(Outcome::Cancelled)),
            Course::Failed => Some(self.finish(Outcome::Failed)),
        }
    }

    fn advance(&mut self) -> Option<Action> {
        if let Some(tensor) = self.ready.pop_front() {
            return Some(Action::Ready { tensor });
        }
        if self.done == self.units.len() {
            return Some(self.finish(Outcome::Complete));
        }
        // What is nearest to being ready goes first.
        self.decode().or_else(|| self.copy()).or_else(|| self.start_read())
    }

    fn finish(&mut self, outcome: Outcome) -> Action {
        self.course = Course::Finished;
        Action::Finished(outcome)
    }

    fn decode(&mut self) -> Option<Action> {
        let waiting = if self.staged { &mut self.copied } else { &mut self.read };
        let (&unit, &lane) = (waiting.first()?, self.lanes.last()?);
        waiting.pop_first();
        self.lanes.pop();
        let from = match self.states[unit as usize] {
            State::Read { slot } => Place::Slot(slot),
            State::Staged { stage } => Place::Stage(stage),
            other => unreachable!("unit {unit} waits to be decoded as {other:?}"),
        };
        self.states[unit as usize] = State::Decoding { from, lane };
        self.in_flight += 1;
        Some(Action::Decode { unit, from, lane })
    }

    fn copy(&mut self) -> Option<Action> {
        if !self.staged {
            return None;
        }
        let (&unit, &stage) = (self.read.first()?, self.stages.last()?);
        let State::Read { slot } = self.states[unit as usize] else { unreachable!("unit {unit} is read") };
        self.read.pop_first();
        self.stages.pop();
        self.states[unit as usize] = State::Copying { slot, stage };
        self.in_flight += 1;
        Some(Action::Copy { unit, slot, stage })
    }

    fn start_read(&mut self) -> Option<Action> {
        if self.next_read as usize == self.units.len() || self.reading == self.most_reads {
            return None;
        }
        let slot = self.slots.pop()?;
        let unit = self.next_read;
        self.next_read += 1;
        self.reading += 1;
        self.states[unit as usize] = State::Reading { slot };
        self.in_flight += 1;
        Some(Action::Read { unit, slot })
    }

    /// A read is done, well or not.
    pub(crate) fn read_done(&mut self, unit: u32, ok: bool) {
        let Some(State::Reading { slot }) = self.state(unit) else { return self.unexpected(unit) };
        self.in_flight -= 1;
        self.reading -= 1;
        if self.goes_on(unit, ok) {
            self.states[unit as usize] = State::Read { slot };
            self.read.insert(unit);
        } else {
            self.slots.push(slot);
        }
    }

    /// A copy is done, well or not.
    pub(crate) fn copy_done(&mut self, unit: u32, ok: bool) {
        let Some(State::Copying { slot, stage }) = self.state(unit) else { return self.unexpected(unit) };
        self.in_flight -= 1;
        self.slots.push(slot);
        if self.goes_on(unit, ok) {
            self.states[unit as usize] = State::Staged { stage };
            self.copied.insert(unit);
        } else {
            self.stages.push(stage);
        }
    }

    /// A decode is done, well or not.
    pub(crate) fn decode_done(&mut self, unit: u32, ok: bool) {
        let Some(State::Decoding { from, lane }) = self.state(unit) else { return self.unexpected(unit) };
        self.in_flight -= 1;
        self.lanes.push(lane);
        match from {
            Place::Slot(slot) => self.slots.push(slot),
            Place::Stage(stage) => self.stages.push(stage),
        }
        if !self.goes_on(unit, ok) {
            return;
        }
        self.states[unit as usize] = State::Done;
        self.done += 1;
        for &tensor in &self.units[unit as usize].tensors {
            self.pending[tensor as usize] -= 1;
            if self.pending[tensor as usize] == 0 {
                self.ready.push_back(tensor);
            }
        }
    }

    /// Stops the load.
    pub(crate) fn cancel(&mut self) {
        if self.course == Course::Running {
            self.stop(Course::Cancelled);
        }
    }

    fn state(&self, unit: u32) -> Option<State> {
        self.states.get(unit as usize).copied()
    }

    /// Whether a unit whose step ended goes on; if not, it is dropped, and if that is a failure, so is the load.
    fn goes_on(&mut self, unit: u32, ok: bool) -> bool {
        if !ok && self.course == Course::Running {
            self.stop(Course::Failed);
        }
        let goes_on = self.course == Course::Running;
        if !goes_on {
            self.states[unit as usize] = State::Dropped;
        }
        goes_on
    }

    /// Starts nothing more, and takes back what units hold that wait for something.
    fn stop(&mut self, course: Course) {
        self.course = course;
        self.ready.clear();
        for unit in std::mem::take(&mut self.read) {
            if let State::Read { slot } = self.states[unit as usize] {
                self.slots.push(slot);
            }
            self.states[unit as usize] = State::Dropped;
        }
        for unit in std::mem::take(&mut self.copied) {
            if let State::Staged { stage } = self.states[unit as usize] {
                self.stages.push(stage);
            }
            self.states[unit as usize] = State::Dropped;
        }
    }

    /// An event that cannot be: a mistake of whoever drives the machine, which must not bring it down.
    fn unexpected(&self, unit: u32) {
        debug_assert!(false, "an event for unit {unit}, which is {:?}", self.state(unit));
    }
}
