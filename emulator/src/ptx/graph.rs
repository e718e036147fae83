//! Where lanes that part at a branch meet again: the branch's immediate post-dominator in the graph of the kernel's instructions.

/// Successors of an instruction: at most `Some` of the next one, and jump targets; an instruction that may end lanes exits as well.
#[derive(Debug, Clone, Default)]
pub(super) struct Flow {
    pub(super) next: bool,
    pub(super) targets: Vec<u32>,
    pub(super) exits: bool,
}

/// For each instruction, the first one that every path from it passes, itself not counted; none if that is the end of the kernel, or if
/// no path from it ends.
///
/// Lanes that exit keep nobody waiting. So an edge that leads to an exit and nothing else counts only where there is no other way to the
/// end: what follows an early return is still where the lanes that stay meet.
pub(super) fn post_dominators(flows: &[Flow]) -> Vec<Option<u32>> {
    let end = flows.len();
    let mut successors: Vec<Vec<usize>> = flows.iter().enumerate().map(|(at, flow)| all_successors(at, flow, end)).collect();
    let mut dropped = Vec::new();
    for (at, next) in successors.iter_mut().enumerate().take(end) {
        if next.len() > 1 {
            let (leave, stay): (Vec<_>, Vec<_>) = next.iter().partition(|&&to| only_exits(to, flows));
            if !stay.is_empty() {
                dropped.extend(leave.into_iter().map(|to| (at, to)));
                *next = stay;
            }
        }
    }
    let order = loop {
        let predecessors = reversed(&successors, end);
        let order = postorder(end, &predecessors);
        let mut reached = vec![false; end + 1];
        order.iter().for_each(|&at| reached[at] = true);
        // A loop's own exit is below its other ones.
        match dropped.iter().rposition(|&(at, _)| !reached[at]) {
            Some(index) => {
                let (at, to) = dropped.remove(index);
                successors[at].push(to);
            }
            None => break order,
        }
    };
    let dominator = immediate_dominators(end, &order, &successors);
    dominator[..end].iter().map(|&meet| (meet < end).then_some(meet as u32)).collect()
}

fn all_successors(at: usize, flow: &Flow, end: usize) -> Vec<usize> {
    let next = flow.next.then_some((at + 1).min(end));
    next.into_iter().chain(flow.targets.iter().map(|&target| target as usize)).chain(flow.exits.then_some(end)).collect()
}

/// Whether lanes that get to `at` do nothing but exit.
fn only_exits(mut at: usize, flows: &[Flow]) -> bool {
    for _ in 0..flows.len() {
        match flows.get(at) {
            None | Some(Flow { next: false, exits: true, .. }) => return true,
            Some(Flow { next: false, targets, .. }) if targets.len() == 1 => at = targets[0] as usize,
            _ => return false,
        }
    }
    false
}

fn reversed(successors: &[Vec<usize>], end: usize) -> Vec<Vec<usize>> {
    let mut predecessors = vec![Vec::new(); end + 1];
    for (at, successors) in successors.iter().enumerate() {
        for &successor in successors {
            predecessors[successor].push(at);
        }
    }
    predecessors
}

/// Cooper, Harvey, Kennedy: "A Simple, Fast Dominance Algorithm", on the reversed graph. `usize::MAX` for what does not reach the end.
fn immediate_dominators(end: usize, order: &[usize], successors: &[Vec<usize>]) -> Vec<usize> {
    let mut rank = vec![usize::MAX; end + 1];
    for (position, &at) in order.iter().enumerate() {
        rank[at] = position;
    }
    let mut dominator = vec![usize::MAX; end + 1];
    dominator[end] = end;
    let mut changed = true;
    while changed {
        changed = false;
        for &at in order.iter().rev().filter(|&&at| at != end) {
            let known = successors[at].iter().copied().filter(|&successor| dominator[successor] != usize::MAX);
            let meet = known.reduce(|mut a, mut b| {
                while a != b {
                    while rank[a] < rank[b] {
                        a = dominator[a];
                    }
                    while rank[b] < rank[a] {
                        b = dominator[b];
                    }
                }
                a
            });
            if let Some(meet) = meet
                && dominator[at] != meet
            {
                (dominator[at], changed) = (meet, true);
            }
        }
    }
    dominator
}

/// Depth-first postorder of the reversed graph from `root`.
fn postorder(root: usize, predecessors: &[Vec<usize>]) -> Vec<usize> {
    let (mut order, mut seen) = (Vec::new(), vec![false; predecessors.len()]);
    let mut stack = vec![(root, 0)];
    seen[root] = true;
    while let Some((at, child)) = stack.pop() {
        match predecessors[at].get(child) {
            Some(&next) => {
                stack.push((at, child + 1));
                if !seen[next] {
                    seen[next] = true;
                    stack.push((next, 0));
                }
            }
            None => order.push(at),
        }
    }
    order
}

#[cfg(test)]
mod tests {
    use super::*;

    fn flow(next: bool, targets: &[u32], exits: bool) -> Flow {
        Flow { next, targets: targets.to_vec(), exits }
    }

    #[test]
    fn diamonds_meet_below() {
        // 0: branch 3; 1; 2: jump 4; 3; 4: exit
        let flows = [
            flow(true, &[3], false),
            flow(true, &[], false),
            flow(false, &[4], false),
            flow(true, &[], false),
            flow(false, &[], true),
        ];
        assert_eq!(post_dominators(&flows), [Some(4), Some(2), Some(4), Some(4), None]);
    }

    #[test]
    fn loops_meet_at_their_exit() {
        // 0; 1: branch 0; 2: exit
        let flows = [flow(true, &[], false), flow(true, &[0], false), flow(false, &[], true)];
        assert_eq!(post_dominators(&flows), [Some(1), Some(2), None]);
    }

    #[test]
    fn endless_loops_meet_nobody() {
        // 0: branch 2; 1: exit; 2: jump 2
        let flows = [flow(true, &[2], false), flow(false, &[], true), flow(false, &[2], false)];
        assert_eq!(post_dominators(&flows), [Some(1), None, None]);
    }

    #[test]
    fn lanes_that_stay_meet_after_an_early_return() {
        // 0: branch 3; 1: branch 4 (return); 2; 3; 4: exit
        let flows = [
            flow(true, &[3], false),
            flow(true, &[4], false),
            flow(true, &[], false),
            flow(true, &[], false),
            flow(false, &[], true),
        ];
        assert_eq!(post_dominators(&flows), [Some(3), Some(2), Some(3), Some(4), None]);
    }

    #[test]
    fn a_loop_that_only_ends_in_an_exit_is_met_inside() {
        // 0: branch 2; 1; 2: branch 4; 3: jump 0; 4: exit
        let flows = [
            flow(true, &[2], false),
            flow(true, &[], false),
            flow(true, &[4], false),
            flow(false, &[0], false),
            flow(false, &[], true),
        ];
        assert_eq!(post_dominators(&flows)[0], Some(2));
        assert_eq!(post_dominators(&flows)[2], Some(4));
    }
}
