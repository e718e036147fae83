//! Every order of events for small loads, random ones for large loads; the checker keeps books of its own.

use super::*;
use proptest::prelude::*;
use std::collections::HashSet;

/// What is going on, as seen from outside.
#[derive(Clone, Debug, PartialEq, Eq, Hash)]
struct World {
    units: Vec<Unit>,
    limits: Limits,
    tensors: u32,
    reading: Vec<(u32, u32)>,
    /// Units that were read, with their slots.
    read: Vec<(u32, u32)>,
    copying: Vec<(u32, u32, u32)>,
    staged: Vec<(u32, u32)>,
    decoding: Vec<(u32, Place, u32)>,
    decoded: Vec<u32>,
    ready: Vec<u32>,
    read_next: u32,
    stopped: bool,
    finished: Option<Outcome>,
}

/// What may happen.
#[derive(Clone, Copy, Debug)]
enum Event {
    Read(u32, bool),
    Copy(u32, bool),
    Decode(u32, bool),
    Cancel,
}

impl World {
    fn new(units: Vec<Unit>, tensors: u32, limits: Limits) -> Self {
        Self {
            units,
            limits,
            tensors,
            reading: vec![],
            read: vec![],
            copying: vec![],
            staged: vec![],
            decoding: vec![],
            decoded: vec![],
            ready: vec![],
            read_next: 0,
            stopped: false,
            finished: None,
        }
    }

    fn slots(&self) -> Vec<u32> {
        let from = |place: &Place| if let Place::Slot(slot) = place { Some(*slot) } else { None };
        let held = self.reading.iter().chain(&self.read).map(|r| r.1).chain(self.copying.iter().map(|c| c.1));
        held.chain(self.decoding.iter().filter_map(|d| from(&d.1))).collect()
    }

    fn stages(&self) -> Vec<u32> {
        let from = |place: &Place| if let Place::Stage(stage) = place { Some(*stage) } else { None };
        let held = self.copying.iter().map(|c| c.2).chain(self.staged.iter().map(|s| s.1));
        held.chain(self.decoding.iter().filter_map(|d| from(&d.1))).collect()
    }

    fn act(&mut self, action: Action) {
        assert!(self.finished.is_none(), "{action:?} after the end");
        match action {
            Action::Read { unit, slot } => {
                assert!(!self.stopped && unit == self.read_next, "reads are in order");
                self.read_next += 1;
                self.reading.push((unit, slot));
                assert!(self.reading.len() <= self.limits.reads);
            }
            Action::Copy { unit, slot, stage } => {
                assert!(!self.stopped && self.limits.stages > 0);
                let at = self.read.iter().position(|&r| r == (unit, slot)).expect("a unit that was read");
                self.read.remove(at);
                self.copying.push((unit, slot, stage));
            }
            Action::Decode { unit, from, lane } => {
                assert!(!self.stopped);
                match from {
                    Place::Slot(slot) => {
                        assert_eq!(self.limits.stages, 0);
                        let at = self.read.iter().position(|&r| r == (unit, slot)).expect("a unit that was read");
                        self.read.remove(at);
                    }
                    Place::Stage(stage) => {
                        let at = self.staged.iter().position(|&s| s == (unit, stage)).expect("a unit that is staged");
                        self.staged.remove(at);
                    }
                }
                self.decoding.push((unit, from, lane));
            }
            Action::Ready { tensor } => {
                assert!(!self.stopped, "a tensor after the end");
                assert!(!self.ready.contains(&tensor), "twice");
                let mut of = (0..self.units.len() as u32).filter(|&u| self.units[u as usize].tensors.contains(&tensor));
                assert!(of.all(|u| self.decoded.contains(&u)), "tensor {tensor} is not all there");
                self.ready.push(tensor);
            }
            Action::Finished(outcome) => {
                assert!(self.reading.is_empty() && self.copying.is_empty() && self.decoding.is_empty(), "still in flight");
                match outcome {
                    Outcome::Complete => {
                        assert!(!self.stopped && self.ready.len() == self.tensors as usize);
                        assert_eq!(self.decoded.len(), self.units.len());
                        assert!(self.slots().is_empty() && self.stages().is_empty());
                    }
                    _ => assert!(self.stopped),
                }
                self.finished = Some(outcome);
            }
        }
        let distinct = |numbers: Vec<u32>, below: usize, what: &str| {
            assert!(numbers.iter().all(|&n| (n as usize) < below), "{what} that there is not");
            assert_eq!(numbers.iter().collect::<HashSet<_>>().len(), numbers.len(), "a {what} used twice");
        };
        distinct(self.slots(), self.limits.slots, "slot");
        distinct(self.stages(), self.limits.stages, "stage");
        distinct(self.decoding.iter().map(|d| d.2).collect(), self.limits.lanes, "lane");
    }

    /// What may happen next.
    fn events(&self) -> Vec<Event> {
        let both = |make: fn(u32, bool) -> Event, unit: u32| [make(unit, true), make(unit, false)];
        let mut events: Vec<Event> = self.reading.iter().flat_map(|r| both(Event::Read, r.0)).collect();
        events.extend(self.copying.iter().flat_map(|c| both(Event::Copy, c.0)));
        events.extend(self.decoding.iter().flat_map(|d| both(Event::Decode, d.0)));
        if !self.stopped && self.finished.is_none() {
            events.push(Event::Cancel);
        }
        events
    }

    fn happen(&mut self, event: Event, machine: &mut Scheduler) {
        let stops = match event {
            Event::Read(unit, ok) => {
                let at = self.reading.iter().position(|r| r.0 == unit).unwrap();
                let read = self.reading.remove(at);
                self.read.extend(ok.then_some(read));
                machine.read_done(unit, ok);
                !ok
            }
            Event::Copy(unit, ok) => {
                let at = self.copying.iter().position(|c| c.0 == unit).unwrap();
                let (_, _, stage) = self.copying.remove(at);
                self.staged.extend(ok.then_some((unit, stage)));
                machine.copy_done(unit, ok);
                !ok
            }
            Event::Decode(unit, ok) => {
                let at = self.decoding.iter().position(|d| d.0 == unit).unwrap();
                self.decoding.remove(at);
                self.decoded.extend(ok.then_some(unit));
                machine.decode_done(unit, ok);
                !ok
            }
            Event::Cancel => {
                machine.cancel();
                true
            }
        };
        if stops {
            self.stopped = true;
        }
        if self.stopped {
            // What only waits is given up.
            self.read.clear();
            self.staged.clear();
        }
    }

    fn settle(&mut self, machine: &mut Scheduler) {
        while let Some(action) = machine.next() {
            self.act(action);
        }
        let in_flight = self.reading.len() + self.copying.len() + self.decoding.len();
        assert!(in_flight > 0 || self.finished.is_some(), "nothing moves: {self:?}");
    }
}

/// Goes through all orders of all events; returns how many states there are.
fn explore(units: &[&[u32]], tensors: u32, limits: Limits) -> usize {
    let units: Vec<Unit> = units.iter().map(|t| Unit { tensors: t.to_vec() }).collect();
    let mut machine = Scheduler::new(units.clone(), tensors, limits).unwrap();
    let mut world = World::new(units, tensors, limits);
    world.settle(&mut machine);
    let mut seen = HashSet::new();
    let mut open = vec![(world, machine)];
    let mut ends = HashSet::new();
    while let Some((world, machine)) = open.pop() {
        ends.extend(world.finished);
        for event in world.events() {
            let (mut world, mut machine) = (world.clone(), machine.clone());
            world.happen(event, &mut machine);
            world.settle(&mut machine);
            if seen.insert((world.clone(), machine.clone())) {
                open.push((world, machine));
            }
        }
    }
    assert!(ends.contains(&Outcome::Complete) && (tensors == 0 || ends.len() == 3 || seen.is_empty()), "{ends:?}");
    seen.len()
}

#[test]
fn every_order_of_every_event() {
    let loads: [(&[&[u32]], u32); 6] = [
        (&[&[0]], 1),
        (&[&[0], &[0]], 2),
        (&[&[0], &[1], &[2]], 3),
        (&[&[0, 1], &[1], &[1, 2]], 3),
        (&[&[0], &[0, 1], &[1], &[2]], 3),
        (&[&[2], &[1], &[0, 3], &[3]], 4),
    ];
    let mut states = 0;
    for (units, tensors) in loads {
        for slots in 1..=3 {
            for stages in 0..=2 {
                for lanes in 1..=2 {
                    for reads in [1, slots] {
                        states += explore(units, tensors, Limits { slots, reads, stages, lanes });
                    }
                }
            }
        }
    }
    println!("{states} states");
    assert!(states > 50_000);
}

#[test]
fn nothing_to_load_and_nothing_to_load_with() {
    let limits = Limits { slots: 1, reads: 1, stages: 0, lanes: 1 };
    let mut machine = Scheduler::new(vec![], 2, limits).unwrap();
    let actions: Vec<_> = std::iter::from_fn(|| machine.next()).collect();
    assert_eq!(actions, [Action::Ready { tensor: 0 }, Action::Ready { tensor: 1 }, Action::Finished(Outcome::Complete)]);
    for broken in [Limits { slots: 0, ..limits }, Limits { reads: 0, ..limits }, Limits { lanes: 0, ..limits }] {
        assert_eq!(Scheduler::new(vec![], 0, broken), Err(Impossible));
    }
    assert_eq!(Scheduler::new(vec![Unit { tensors: vec![3] }], 3, limits), Err(Impossible));
}

/// Undisturbed, tensors become ready in the order in which they are wanted.
#[test]
fn the_first_tensor_is_ready_first() {
    let units: Vec<Unit> = (0..50).map(|u| Unit { tensors: vec![u / 2] }).collect();
    let limits = Limits { slots: 4, reads: 3, stages: 2, lanes: 2 };
    let mut machine = Scheduler::new(units.clone(), 25, limits).unwrap();
    let mut world = World::new(units, 25, limits);
    world.settle(&mut machine);
    while world.finished.is_none() {
        // The oldest of what is in flight is done next, decodes first.
        let event = world.decoding.first().map(|d| Event::Decode(d.0, true));
        let event = event.or(world.copying.first().map(|c| Event::Copy(c.0, true)));
        let event = event.or(world.reading.first().map(|r| Event::Read(r.0, true))).unwrap();
        world.happen(event, &mut machine);
        world.settle(&mut machine);
    }
    assert!(world.ready.is_sorted());
}

proptest! {
    #![proptest_config(ProptestConfig::with_cases(200))]
    #[test]
    fn large_loads_with_faults(
        sizes in prop::collection::vec(0u32..4, 1..200),
        slots in 1usize..12, reads in 1usize..12, stages in 0usize..5, lanes in 1usize..5,
        picks in prop::collection::vec(0usize..1 << 20, 1200),
        fault in 0usize..4000,
    ) {
        // Tensors of some units each, that begin and end in the middle of units.
        let mut units = vec![Unit { tensors: vec![] }];
        for (tensor, &n) in sizes.iter().enumerate() {
            for _ in 0..n {
                let last = units.last_mut().unwrap();
                if last.tensors.last() != Some(&(tensor as u32)) {
                    last.tensors.push(tensor as u32);
                }
                units.push(Unit { tensors: vec![tensor as u32] });
            }
        }
        let tensors = sizes.len() as u32;
        let limits = Limits { slots, reads, stages, lanes };
        let mut machine = Scheduler::new(units.clone(), tensors, limits).unwrap();
        let mut world = World::new(units.clone(), tensors, limits);
        world.settle(&mut machine);
        let mut steps = 0;
        while world.finished.is_none() {
            let events: Vec<Event> = world.events().into_iter().filter(|e| match e {
                Event::Read(_, ok) | Event::Copy(_, ok) | Event::Decode(_, ok) => *ok != (steps == fault),
                Event::Cancel => steps == fault + 1,
            }).collect();
            let pick = picks[steps % picks.len()] % events.len().max(1);
            if let Some(&event) = events.get(pick) {
                world.happen(event, &mut machine);
                world.settle(&mut machine);
            }
            steps += 1;
            prop_assert!(steps < 10 * units.len() + 5000, "does not end");
        }
    }
}
