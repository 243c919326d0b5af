//! What a player has fetched and, as far as a server can tell, not played yet.
//!
//! # Theory
//!
//! Two questions are asked for each segment [m0, m1) of length d: does one queued segment share half of it or more, and how
//! far is the nearest one. Neither may cost a search through a queue of thousands.
//!
//! A segment that has half or more in common with a queued one is not queued, so no newcomer lies within a queued one. Where
//! a newcomer covers queued ones wholly, they answer no question any more: whatever they share with a segment, or are far
//! from it, the newcomer shares at least as much and is no farther, and it stays at least as long, since segments leave in
//! the order in which they came. So covered ones are forgotten, and what is left is ordered: by beginning is by end.
//!
//! Nearest are then the neighbours of the segment's place. What shares half of it has the segment's middle within or at its
//! edge, and those that have are neighbours of each other in that order. They are few: each of them has less than half of
//! itself in common with each that came before, so each is about twice as long as some earlier one on one of the two sides
//! of that middle, and none is longer than ten minutes.

use std::collections::{BTreeMap, VecDeque};

#[derive(Clone, Debug, Default, PartialEq, Eq)]
pub(crate) struct Queue {
    /// Until when each is queued, in order, and its media. Some of them are forgotten by `media`.
    leaving: VecDeque<(i64, i64, i64)>,
    /// Beginnings and ends of media, of which none covers another.
    media: BTreeMap<i64, i64>,
}

impl Queue {
    /// Drops what is queued until `now` at the latest.
    pub(crate) fn drop_until(&mut self, now: i64) {
        while let Some(&(until, m0, m1)) = self.leaving.front() {
            if until > now {
                break;
            }
            self.leaving.pop_front();
            // One with the same beginning may have covered it.
            if self.media.get(&m0) == Some(&m1) {
                self.media.remove(&m0);
            }
        }
    }

    pub(crate) fn clear(&mut self) {
        self.leaving.clear();
        self.media.clear();
    }

    /// Whether one queued segment has half of [m0, m1) or more.
    pub(crate) fn has_half(&self, m0: i64, m1: i64) -> bool {
        let half = (m1 - m0 + 1) / 2;
        // Beginnings up to the middle, from the last one back, as long as they reach the middle.
        let before = self.media.range(..=m1 - half).rev();
        let mut around = before.take_while(|&(_, &end)| end >= m0 + half);
        around.any(|(&begin, &end)| end.min(m1) - begin.max(m0) >= half)
    }

    /// Whether all of it is more than `gap` away from [m0, m1).
    pub(crate) fn is_away(&self, m0: i64, m1: i64, gap: i64) -> bool {
        let before = self.media.range(..=m0).next_back();
        let after = self.media.range(m0..).next();
        before.is_none_or(|(_, &end)| m0 - end > gap) && after.is_none_or(|(&begin, _)| begin - m1 > gap)
    }

    /// Queues a segment of which it does not have half, not before any that it has.
    pub(crate) fn push(&mut self, m0: i64, m1: i64, until: i64) {
        self.leaving.push_back((until, m0, m1));
        while let Some((&begin, &end)) = self.media.range(m0..).next() {
            if end > m1 {
                break;
            }
            self.media.remove(&begin);
        }
        self.media.insert(m0, m1);
    }

    /// What is queued, in order, as `push` was given it: a queue of these is the same one.
    pub(crate) fn queued(&self) -> impl ExactSizeIterator<Item = (i64, i64, i64)> {
        self.leaving.iter().map(|&(until, m0, m1)| (m0, m1, until))
    }
}

#[cfg(test)]
mod tests {
    use proptest::prelude::*;

    use super::*;

    /// The same without any thought.
    #[derive(Default)]
    struct List(Vec<(i64, i64, i64)>);

    impl List {
        fn has_half(&self, m0: i64, m1: i64) -> bool {
            self.0.iter().any(|&(begin, end, _)| 2 * (end.min(m1) - begin.max(m0)) >= m1 - m0)
        }

        fn is_away(&self, m0: i64, m1: i64, gap: i64) -> bool {
            self.0.iter().all(|&(begin, end, _)| (begin - m1).max(m0 - end) > gap)
        }
    }

    proptest! {
        #[test]
        fn as_a_list(steps in prop::collection::vec((0i64..3, 0i64..60, 1i64..30, 0i64..8, 0i64..9), 0..80)) {
            let (mut queue, mut list) = (Queue::default(), List::default());
            let (mut now, mut last) = (0, 0);
            for (wait, m0, length, gap, stay) in steps {
                now += wait;
                queue.drop_until(now);
                list.0.retain(|&(_, _, until)| until > now);
                let m1 = m0 + length;
                let half = list.has_half(m0, m1);
                prop_assert_eq!(queue.has_half(m0, m1), half);
                prop_assert_eq!(queue.is_away(m0, m1, gap), list.is_away(m0, m1, gap));
                if !half {
                    last = (now + stay).max(last);
                    queue.push(m0, m1, last);
                    list.0.push((m0, m1, last));
                }
            }
        }
    }
}
