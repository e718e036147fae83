//! The scheduler. Every event and every action costs at most the logarithm of the number of slots, plus one for each tensor of the unit:
//! the largest models have a million units.

use super::{Action, Impossible, Limits, Outcome, Place, Progress, Unit};
use std::collections::{BTreeSet, VecDeque};

/// Where a unit is. Only those in flight and those that wait hold anything.
#[derive(Clone, Copy, Debug, PartialEq, Eq, Hash)]
enum State {
    Waiting,
    Reading {
        slot: u32,
    },
    Read {
        slot: u32,
    },
    Copying {
        slot: u32,
        stage: u32,
    },
    Copied {
        stage: u32,
    },
    Decoding {
        from: Place,
        lane: u32,
    },
    Decoded,
    /// Failed, or given up after it was read.
    Dropped,
}

/// Numbers that are handed out, the lowest free one first: memory that was used a moment ago is used again.
#[derive(Clone, Debug, PartialEq, Eq, Hash)]
struct Pool {
    free: BTreeSet<u32>,
    size: usize,
}

impl Pool {
    fn new(size: u32) -> Self {
        Self { free: (0..size).collect(), size: size as usize }
    }

    fn take(&mut self) -> Option<u32> {
        self.free.pop_first()
    }

    fn give(&mut self, number: u32) {
        let fresh = self.free.insert(number);
        debug_assert!(fresh, "{number} was given back twice");
    }

    fn in_use(&self) -> usize {
        self.size - self.free.len()
    }
}

/// See the [module](super). A value of it is its whole state: equal ones go on equally.
#[derive(Clone, Debug, PartialEq, Eq, Hash)]
pub struct Scheduler {
    /// Of the units that are decoded, the tensors are forgotten.
    units: Vec<Unit>,
    states: Vec<State>,
    /// The first unit that is not being read yet.
    next: u32,
    /// Units that are not decoded yet, for each tensor.
    missing: Vec<u32>,
    slots: Pool,
    stages: Pool,
    lanes: Pool,
    /// Whether units are copied to stages.
    copies: bool,
    most_reads: usize,
    /// Units in their slots that wait for a stage.
    to_copy: BTreeSet<u32>,
    /// Units, in their slots or stages, that wait for a lane.
    to_decode: BTreeSet<u32>,
    /// Tensors that are complete and not reported yet.
    ready: VecDeque<u32>,
    reads: usize,
    /// Reads, copies and decodes.
    in_flight: usize,
    read: usize,
    decoded: usize,
    reported: usize,
    /// Why nothing new is started any more.
    stopped: Option<Outcome>,
    finished: bool,
}

impl Scheduler {
    /// A scheduler of `units`, in the order of priority, for tensors `0..tensors`. Tensors without a unit are ready at once.
    pub fn new(units: Vec<Unit>, tensors: u32, limits: Limits) -> Result<Self, Impossible> {
        for (what, limit) in [("slots", limits.slots), ("reads", limits.reads), ("lanes", limits.lanes)] {
            if limit == 0 {
                return Err(Impossible::Zero(what));
            }
        }
        let count = u32::try_from(units.len()).map_err(|_| Impossible::TooManyUnits(units.len()))?;
        let mut missing = vec![0u32; tensors as usize];
        for (unit, u) in units.iter().enumerate() {
            for &tensor in &u.tensors {
                *missing.get_mut(tensor as usize).ok_or(Impossible::NoSuchTensor { unit, tensor })? += 1;
            }
        }
        // No more of anything than there are units: a limit may be as good as none.
        let pool = |limit: usize| Pool::new(u32::try_from(limit).unwrap_or(u32::MAX).min(count));
        Ok(Self {
            states: vec![State::Waiting; units.len()],
            units,
            next: 0,
            ready: (0..tensors).filter(|&t| missing[t as usize] == 0).collect(),
            missing,
            slots: pool(limits.slots),
            stages: pool(limits.stages),
            lanes: pool(limits.lanes),
            copies: limits.stages > 0,
            most_reads: limits.reads,
            to_copy: BTreeSet::new(),
            to_decode: BTreeSet::new(),
            reads: 0,
            in_flight: 0,
            read: 0,
            decoded: 0,
            reported: 0,
            stopped: None,
            finished: false,
        })
    }

    /// The next thing to do, `None` until something has happened: to be called until then after every event.
    ///
    /// What is furthest goes first: tensors that are ready, then decodes, which give slots and stages back, then copies, then reads.
    #[allow(clippy::should_implement_trait)] // Iterators do not go on after `None`.
    pub fn next(&mut self) -> Option<Action> {
        if self.finished {
            return None;
        }
        if self.stopped.is_none() {
            let action = self.report().or_else(|| self.decode()).or_else(|| self.copy()).or_else(|| self.read());
            if action.is_some() {
                return action;
            }
        }
        if self.in_flight > 0 {
            return None;
        }
        // Nothing in flight and nothing to start: all units are decoded, or it was stopped.
        self.finished = true;
        Some(Action::Finished(self.stopped.unwrap_or(Outcome::Complete)))
    }

    fn report(&mut self) -> Option<Action> {
        let tensor = self.ready.pop_front()?;
        self.reported += 1;
        Some(Action::Ready { tensor })
    }

    fn decode(&mut self) -> Option<Action> {
        let &unit = self.to_decode.first()?;
        let from = match self.states[unit as usize] {
            State::Read { slot } => Place::Slot(slot),
            State::Copied { stage } => Place::Stage(stage),
            state => unreachable!("unit {unit} waits for a lane and is {state:?}"),
        };
        let lane = self.lanes.take()?;
        self.to_decode.pop_first();
        self.states[unit as usize] = State::Decoding { from, lane };
        self.in_flight += 1;
        Some(Action::Decode { unit, from, lane })
    }

    fn copy(&mut self) -> Option<Action> {
        let &unit = self.to_copy.first()?;
        let State::Read { slot } = self.states[unit as usize] else {
            unreachable!("unit {unit} waits for a stage and is not read")
        };
        let stage = self.stages.take()?;
        self.to_copy.pop_first();
        self.states[unit as usize] = State::Copying { slot, stage };
        self.in_flight += 1;
        Some(Action::Copy { unit, slot, stage })
    }

    fn read(&mut self) -> Option<Action> {
        if self.reads == self.most_reads || self.next as usize == self.units.len() {
            return None;
        }
        let slot = self.slots.take()?;
        let unit = self.next;
        self.next += 1;
        self.states[unit as usize] = State::Reading { slot };
        self.reads += 1;
        self.in_flight += 1;
        Some(Action::Read { unit, slot })
    }

    /// The unit is in its slot, or could not be read.
    ///
    /// A report, here and below, of what is not going on is a mistake of the driver's: checked by debug builds, ignored by others.
    pub fn read_done(&mut self, unit: u32, ok: bool) {
        let Some(State::Reading { slot }) = self.state(unit) else { return misreported(unit, "read") };
        self.reads -= 1;
        self.in_flight -= 1;
        self.read += usize::from(ok);
        if self.goes_on(ok) {
            self.states[unit as usize] = State::Read { slot };
            if self.copies { &mut self.to_copy } else { &mut self.to_decode }.insert(unit);
        } else {
            self.states[unit as usize] = State::Dropped;
            self.slots.give(slot);
        }
    }

    /// The unit is on the device, or could not be copied.
    pub fn copy_done(&mut self, unit: u32, ok: bool) {
        let Some(State::Copying { slot, stage }) = self.state(unit) else { return misreported(unit, "copied") };
        self.in_flight -= 1;
        self.slots.give(slot);
        if self.goes_on(ok) {
            self.states[unit as usize] = State::Copied { stage };
            self.to_decode.insert(unit);
        } else {
            self.states[unit as usize] = State::Dropped;
            self.stages.give(stage);
        }
    }

    /// The unit is decoded, or could not be.
    pub fn decode_done(&mut self, unit: u32, ok: bool) {
        let Some(State::Decoding { from, lane }) = self.state(unit) else { return misreported(unit, "decoded") };
        self.in_flight -= 1;
        self.lanes.give(lane);
        self.release(from);
        self.states[unit as usize] = if ok { State::Decoded } else { State::Dropped };
        self.decoded += usize::from(ok);
        if self.goes_on(ok) {
            for tensor in std::mem::take(&mut self.units[unit as usize].tensors) {
                let missing = &mut self.missing[tensor as usize];
                *missing -= 1;
                if *missing == 0 {
                    self.ready.push_back(tensor);
                }
            }
        }
    }

    /// Starts nothing new and reports no tensor any more. Ignored once it has been stopped or has finished.
    pub fn cancel(&mut self) {
        self.stop(Outcome::Cancelled);
    }

    pub fn progress(&self) -> Progress {
        Progress {
            units: self.units.len(),
            units_read: self.read,
            units_decoded: self.decoded,
            tensors: self.missing.len(),
            tensors_ready: self.reported,
            reads: self.reads,
            slots_in_use: self.slots.in_use(),
            stages_in_use: self.stages.in_use(),
            lanes_in_use: self.lanes.in_use(),
        }
    }

    fn state(&self, unit: u32) -> Option<State> {
        self.states.get(unit as usize).copied()
    }

    /// Whether the unit that something was done to is to go on.
    fn goes_on(&mut self, ok: bool) -> bool {
        if !ok {
            self.stop(Outcome::Failed);
        }
        self.stopped.is_none()
    }

    /// Gives up all units that wait. Those in flight give back what they hold when they are done.
    fn stop(&mut self, why: Outcome) {
        if self.finished || self.stopped.is_some() {
            return;
        }
        self.stopped = Some(why);
        self.ready.clear();
        for queue in [std::mem::take(&mut self.to_copy), std::mem::take(&mut self.to_decode)] {
            for unit in queue {
                match std::mem::replace(&mut self.states[unit as usize], State::Dropped) {
                    State::Read { slot } => self.slots.give(slot),
                    State::Copied { stage } => self.stages.give(stage),
                    state => unreachable!("unit {unit} waits and is {state:?}"),
                }
            }
        }
    }

    fn release(&mut self, place: Place) {
        match place {
            Place::Slot(slot) => self.slots.give(slot),
            Place::Stage(stage) => self.stages.give(stage),
        }
    }
}

fn misreported(unit: u32, what: &str) {
    debug_assert!(false, "unit {unit} is reported {what}, which was not going on");
}
