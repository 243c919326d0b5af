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
        let Some(longest) = strands.first() else { return };
        let longest = longest.data.len();
        let total = strands.iter().map(|strand| strand.data.len()).sum();
        let width = width(kernel.costs(), live, longest, total);
        let shortest = strands[width - 1].data.len();
        let bytes = if width == live { shortest } else { turn(total, width).min(shortest) };
        let group = &mut strands[..width];
        kernel.run(group, bytes);
        for strand in group {
            strand.advance(bytes);
        }
    }
}

/// The group size whose bound is least; the larger of equals.
fn width(costs: &[u16], live: usize, longest: usize, total: usize) -> usize {
    let bound = |width: &usize| {
        let cost = costs[width - 1] as f64;
        (longest as f64 * cost).max(total as f64 * cost / *width as f64)
    };
    (1..=costs.len().min(live)).rev().min_by(|a, b| bound(a).total_cmp(&bound(b))).unwrap_or(1)
}

/// How far a group goes before the others get a turn: a whole number of 64-byte pieces, which wide kernels work on.
fn turn(total: usize, width: usize) -> usize {
    (total / (4 * width)).max(SHORTEST_TURN).next_multiple_of(4 * BLOCK)
}

#[cfg(test)]
mod tests {
    use super::*;

    const FLAT_UP_TO_SIX: [u16; 8] = [300, 300, 300, 300, 300, 300, 350, 400];

    #[test]
    fn equal_lanes_run_as_wide_as_the_kernel_is() {
        for live in 1..=8 {
            assert_eq!(width(&FLAT_UP_TO_SIX, live, 1024, 1024 * live), live);
        }
        assert_eq!(width(&FLAT_UP_TO_SIX, 33, 1024, 1024 * 33), 8);
    }

    #[test]
    fn a_long_lane_is_not_slowed_by_more_company_than_its_units_serve() {
        // One lane twice as long as the seven others: it is the last to end, so it runs at full speed throughout.
        assert_eq!(width(&FLAT_UP_TO_SIX, 8, 2048, 9 * 1024), 6);
    }

    #[test]
    fn lanes_that_take_turns_end_together() {
        let mut left = [1_000_000_usize / 64 * 64; 9];
        let mut spent = 0;
        while left.iter().any(|&bytes| bytes > 0) {
            left.sort_unstable_by_key(|&bytes| Reverse(bytes));
            let live = left.partition_point(|&bytes| bytes > 0);
            let total = left.iter().sum();
            let group = width(&FLAT_UP_TO_SIX, live, left[0], total);
            let shortest = left[group - 1];
            let bytes = if group == live { shortest } else { turn(total, group).min(shortest) };
            left[..group].iter_mut().for_each(|lane| *lane -= bytes);
            spent += bytes * usize::from(FLAT_UP_TO_SIX[group - 1]);
        }
        let bound = 9 * (1_000_000 / 64 * 64) * 50;
        assert!(spent < bound + bound / 50, "{spent} against {bound}");
    }
}
