//! A warp: registers, and which lanes run where. Lanes that part at a branch run one group after the other, each up to the place where
//! all meet; groups that wait are kept on a stack.

use crate::isa::{NOWHERE, Registers};

/// Lanes that continue at `pc`, up to `meet`, where others wait for them.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub(super) struct Group {
    pub(super) pc: u32,
    pub(super) mask: u32,
    pub(super) meet: u32,
}

/// What a warp is doing.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub(super) enum State {
    Ready,
    /// Waits at the barrier of this number.
    Waiting(u32),
    Done,
}

/// A warp of the block that runs.
#[derive(Debug)]
pub(super) struct Warp {
    pub(super) registers: Registers,
    pub(super) state: State,
    /// Lanes that have not ended.
    pub(super) alive: u32,
    /// The lanes that run now.
    pub(super) current: Group,
    /// Lanes that run later: the last first.
    pub(super) waiting: Vec<Group>,
    /// Instructions executed.
    pub(super) spent: u64,
    /// Barriers among the warp's own lanes so far.
    pub(super) epoch: u32,
}

impl Warp {
    pub(super) fn new(registers: Registers) -> Self {
        let current = Group { pc: 0, mask: 0, meet: NOWHERE };
        Self { registers, state: State::Done, alive: 0, current, waiting: Vec::new(), spent: 0, epoch: 0 }
    }

    /// Starts over with these lanes.
    pub(super) fn start(&mut self, lanes: u32) {
        self.state = State::Ready;
        self.alive = lanes;
        self.current = Group { pc: 0, mask: lanes, meet: NOWHERE };
        self.waiting.clear();
        (self.spent, self.epoch) = (0, 0);
    }

    /// The current group's lanes go to different places, from which all get to `meet`. The first side runs first.
    pub(super) fn part(&mut self, sides: &[(u32, u32)], meet: u32) {
        let Group { mask, meet: outer, .. } = self.current;
        // With nowhere to meet, sides run to where the group would have. Where that is the same place, those waiting there wait already.
        let meet = if meet == NOWHERE { outer } else { meet };
        if meet != outer {
            self.waiting.push(Group { pc: meet, mask, meet: outer });
        }
        for &(pc, mask) in sides.iter().rev().filter(|&&(pc, mask)| mask != 0 && pc != meet) {
            self.waiting.push(Group { pc, mask, meet });
        }
        self.resume();
    }

    /// Continues with the group that waits last; none left ends the warp.
    #[inline(always)]
    pub(super) fn resume(&mut self) {
        loop {
            match self.waiting.pop() {
                Some(group) if group.mask == 0 => {}
                Some(group) => {
                    self.current = group;
                    return;
                }
                None => {
                    self.state = State::Done;
                    self.current.mask = 0;
                    return;
                }
            }
        }
    }

    /// Ends these lanes of the current group. The group that is left continues where it is.
    pub(super) fn retire(&mut self, lanes: u32) {
        self.alive &= !lanes;
        self.waiting.iter_mut().for_each(|group| group.mask &= !lanes);
        self.current.mask &= !lanes;
        if self.current.mask == 0 {
            self.resume();
        }
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    fn warp() -> Warp {
        let mut warp = Warp::new(Registers::new(0, 2));
        warp.start(u32::MAX);
        warp
    }

    #[test]
    fn sides_run_in_turn_and_meet() {
        let mut warp = warp();
        warp.part(&[(10, 0xff), (5, !0xff)], 20);
        assert_eq!(warp.current, Group { pc: 10, mask: 0xff, meet: 20 });
        warp.resume();
        assert_eq!(warp.current, Group { pc: 5, mask: !0xff, meet: 20 });
        warp.resume();
        assert_eq!(warp.current, Group { pc: 20, mask: u32::MAX, meet: NOWHERE });
    }

    #[test]
    fn a_loop_that_lanes_leave_one_by_one_keeps_the_stack_short() {
        let mut warp = warp();
        for lane in 0..31 {
            warp.part(&[(3, u32::MAX << (lane + 1)), (20, 1 << lane)], 20);
            assert_eq!((warp.current.mask, warp.waiting.len()), (u32::MAX << (lane + 1), 1));
        }
        warp.resume();
        assert_eq!(warp.current.mask, u32::MAX);
    }

    #[test]
    fn lanes_that_end_are_waited_for_no_more() {
        let mut warp = warp();
        warp.part(&[(10, 0xff), (5, !0xff)], 20);
        warp.retire(0xff);
        assert_eq!(warp.current.pc, 5);
        warp.resume();
        assert_eq!(warp.current, Group { pc: 20, mask: !0xff, meet: NOWHERE });
        warp.retire(!0xff);
        assert_eq!((warp.state, warp.alive), (State::Done, 0));
    }
}
