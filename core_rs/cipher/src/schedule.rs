//! Which lanes run together, and how far.
//!
//! A kernel takes a group of w lanes for cost(w) a block. Lanes can be interrupted at any block, so this is preemptive
//! scheduling on w machines: no schedule that keeps groups of w ends before
//!
//! ```text
//! max(longest lane × cost(w), all blocks × cost(w) / w)
//! ```
//!
//! and taking the w lanes with most left, again and again, comes as near to it as the step is small (McNaughton's
//! bound; longest remaining first). So each step takes the w whose bound is least, and the w longest lanes. Nine equal
//! lanes on a kernel for eight take turns, and none is left to run alone at the end.
//!
//! Where all lanes fit, the group runs until its shortest lane ends. Where they take turns, a step is a fixed part of
//! what is left, so that there are few steps and the last ones are short.

use std::cmp::Reverse;

use arrayvec::ArrayVec;

use crate::BLOCK;
use crate::kernel::Kernel;
use crate::lane::Strand;

/// Strands that are scheduled together; further ones wait. A number that fits the stack.
const BATCH: usize = 64;

/// No turn is shorter than this: gathering the keys of a group costs about as much as 20 blocks.
const SHORTEST_TURN: usize = 128 * BLOCK;

/// Encrypts all of all strands.
pub(crate) fn run<'a>(kernel: Kernel, strands: impl Iterator<Item = Strand<'a>>) {
    let mut batch = ArrayVec::<Strand<'a>, BATCH>::new();
    for strand in strands {
        batch.push(strand);
        if batch.is_full() {
            run_batch(kernel, &mut batch);
            batch.clear();
        }
    }
    run_batch(kernel, &mut batch);
}

fn run_batch(kernel: Kernel, mut strands: &mut [Strand<'_>]) {
    loop {
        strands.sort_unstable_by_key(|strand| Reverse(strand.data.len()));
        let live = strands.partition_point(|strand| !strand.data.is_empty());
        strands = &mut strands[..live];
        if strands.is_empty() {
            return;
        }
        let left: ArrayVec<usize, BATCH> = strands.iter().map(|strand| strand.data.len()).collect();
        let (width, bytes) = step(kernel.costs(), &left);
        let group = &mut strands[..width];
        kernel.run(group, bytes);
        for strand in group {
            strand.advance(bytes);
        }
    }
}

/// How many of the lanes run next, and how far. `left` is what is left of each lane, the longest first, none empty.
fn step(costs: &[u16], left: &[usize]) -> (usize, usize) {
    let width = width(costs, left);
    let shortest = left[width - 1];
    let bytes = if width == left.len() { shortest } else { turn(left, width).min(shortest) };
    (width, bytes)
}

/// The group size whose bound is least; the larger of equals.
fn width(costs: &[u16], left: &[usize]) -> usize {
    let total: usize = left.iter().sum();
    let bound = |width: &usize| {
        let cost = f64::from(costs[width - 1]);
        (left[0] as f64 * cost).max(total as f64 * cost / *width as f64)
    };
    (1..=costs.len().min(left.len())).rev().min_by(|a, b| bound(a).total_cmp(&bound(b))).unwrap_or(1)
}

/// How far a group goes before the others get a turn: a whole number of 64-byte pieces, which wide kernels work on.
fn turn(left: &[usize], width: usize) -> usize {
    (left.iter().sum::<usize>() / (4 * width)).max(SHORTEST_TURN).next_multiple_of(4 * BLOCK)
}

#[cfg(test)]
mod tests {
    use super::*;

    const FLAT_UP_TO_SIX: [u16; 8] = [300, 300, 300, 300, 300, 300, 350, 400];

    #[test]
    fn equal_lanes_run_as_wide_as_the_kernel_is() {
        for live in 1..=8 {
            assert_eq!(step(&FLAT_UP_TO_SIX, &vec![1024; live]), (live, 1024));
        }
        assert_eq!(step(&FLAT_UP_TO_SIX, &[1_024_000; 33]).0, 8);
    }

    #[test]
    fn a_long_lane_is_not_slowed_by_more_company_than_its_units_serve() {
        // One lane twice as long as the seven others: it is the last to end, so it runs at full speed throughout.
        let mut left = [1_024_000; 8];
        left[0] *= 2;
        assert_eq!(step(&FLAT_UP_TO_SIX, &left).0, 6);
    }

    #[test]
    fn lanes_that_take_turns_end_together() {
        let start = 1_000_000_usize.next_multiple_of(BLOCK);
        for (lanes, bound) in [(9, 9 * start * 50), (17, 17 * start * 50), (33, 33 * start * 50)] {
            let mut left = vec![start; lanes];
            let (mut spent, mut steps) = (0, 0);
            while !left.is_empty() {
                let (width, bytes) = step(&FLAT_UP_TO_SIX, &left);
                left[..width].iter_mut().for_each(|lane| *lane -= bytes);
                left.sort_unstable_by_key(|&bytes| Reverse(bytes));
                left.retain(|&bytes| bytes > 0);
                spent += bytes * usize::from(FLAT_UP_TO_SIX[width - 1]);
                steps += 1;
            }
            assert!(spent < bound + bound / 50, "{lanes} lanes: {spent} against {bound}");
            assert!(steps < 100, "{lanes} lanes: {steps} steps");
        }
    }
}
