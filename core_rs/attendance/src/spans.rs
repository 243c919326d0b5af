//! Sets of instants, or of media time: half-open intervals of whole milliseconds.

use std::collections::BTreeMap;

/// A set as its intervals: ascending, none empty, no two touching. Made once, then only looked at.
#[derive(Clone, Debug, Default, PartialEq, Eq)]
pub struct Spans(Vec<(i64, i64)>);

impl Spans {
    /// The union of any intervals; empty ones count for nothing.
    pub fn union(intervals: impl IntoIterator<Item = (i64, i64)>) -> Self {
        let mut sorted: Vec<_> = intervals.into_iter().filter(|(from, to)| from < to).collect();
        sorted.sort_unstable();
        Self::bridged(sorted, 0)
    }

    /// Intervals in order of their beginnings, with holes of up to `longest` closed.
    pub(crate) fn bridged(ascending: impl IntoIterator<Item = (i64, i64)>, longest: i64) -> Self {
        let mut spans: Vec<(i64, i64)> = Vec::new();
        for (from, to) in ascending.into_iter().filter(|(from, to)| from < to) {
            match spans.last_mut() {
                Some((_, end)) if from - *end <= longest => *end = to.max(*end),
                _ => spans.push((from, to)),
            }
        }
        Self(spans)
    }

    /// What is in both.
    #[must_use]
    pub fn intersect(&self, other: &Self) -> Self {
        let (few, many) = if self.0.len() < other.0.len() { (self, other) } else { (other, self) };
        let pieces = few.0.iter().flat_map(|&(from, to)| many.within(from, to));
        Self(pieces.collect())
    }

    /// What is in this one alone.
    #[must_use]
    pub fn without(&self, other: &Self) -> Self {
        let mut left = Vec::with_capacity(self.0.len());
        for &(from, to) in &self.0 {
            let mut reached = from;
            for (begin, end) in other.within(from, to) {
                left.push((reached, begin));
                reached = end;
            }
            left.push((reached, to));
        }
        left.retain(|(from, to)| from < to);
        Self(left)
    }

    /// The intervals that lie in [from, to), cut to it.
    pub(crate) fn within(&self, from: i64, to: i64) -> impl Iterator<Item = (i64, i64)> {
        let first = self.0.partition_point(|&(_, end)| end <= from);
        let rest = self.0[first..].iter().take_while(move |&&(begin, _)| begin < to);
        rest.map(move |&(begin, end)| (begin.max(from), end.min(to)))
    }

    pub(crate) fn meets(&self, from: i64, to: i64) -> bool {
        self.within(from, to).next().is_some_and(|(begin, end)| begin < end)
    }

    pub(crate) fn holds(&self, instant: i64) -> bool {
        self.meets(instant, instant + 1)
    }

    /// How much it is, in ms.
    pub fn length(&self) -> i64 {
        self.0.iter().map(|(from, to)| to - from).sum()
    }

    /// Its intervals.
    pub fn as_slice(&self) -> &[(i64, i64)] {
        &self.0
    }

    pub(crate) fn is_empty(&self) -> bool {
        self.0.is_empty()
    }

    /// From its first instant to its last: its hull.
    pub(crate) fn hull(&self) -> Option<(i64, i64)> {
        Some((self.0.first()?.0, self.0.last()?.1))
    }
}

impl From<(i64, i64)> for Spans {
    fn from(one: (i64, i64)) -> Self {
        Self::union([one])
    }
}

/// A set that grows, and knows how much it is. Adding takes logarithmic time, whatever the order.
#[derive(Clone, Debug, Default, PartialEq, Eq)]
pub(crate) struct Growing {
    /// Beginnings, and their ends; no two touch.
    spans: BTreeMap<i64, i64>,
    length: i64,
}

impl Growing {
    pub(crate) fn add(&mut self, from: i64, to: i64) {
        let (mut from, mut to) = (from, to);
        while let Some((&begin, &end)) = self.spans.range(..=to).next_back() {
            if end < from {
                break;
            }
            if begin <= from && to <= end {
                return;
            }
            self.spans.remove(&begin);
            self.length -= end - begin;
            (from, to) = (from.min(begin), to.max(end));
        }
        self.spans.insert(from, to);
        self.length += to - from;
    }

    pub(crate) fn length(&self) -> i64 {
        self.length
    }

    pub(crate) fn iter(&self) -> impl ExactSizeIterator<Item = (i64, i64)> {
        self.spans.iter().map(|(&from, &to)| (from, to))
    }
}

#[cfg(test)]
mod tests {
    use proptest::prelude::*;

    use super::*;

    fn members(spans: &[(i64, i64)]) -> Vec<i64> {
        (0..40).filter(|x| spans.iter().any(|(from, to)| from <= x && x < to)).collect()
    }

    fn tidy(spans: &[(i64, i64)]) -> bool {
        spans.iter().all(|(from, to)| from < to) && spans.windows(2).all(|pair| pair[0].1 < pair[1].0)
    }

    prop_compose! {
        fn intervals()(list in prop::collection::vec((0i64..40, 0i64..6), 0..9)) -> Vec<(i64, i64)> {
            list.into_iter().map(|(from, length)| (from, (from + length).min(40))).collect()
        }
    }

    proptest! {
        #[test]
        fn as_sets_of_numbers(a in intervals(), b in intervals()) {
            let (in_a, in_b) = (members(&a), members(&b));
            let (a, b) = (Spans::union(a), Spans::union(b));
            for (made, wanted) in [
                (a.clone(), in_a.clone()),
                (Spans::union(a.as_slice().iter().chain(b.as_slice()).copied()),
                    (0..40).filter(|x| in_a.contains(x) || in_b.contains(x)).collect()),
                (a.intersect(&b), in_a.iter().copied().filter(|x| in_b.contains(x)).collect()),
                (a.without(&b), in_a.iter().copied().filter(|x| !in_b.contains(x)).collect()),
            ] {
                prop_assert!(tidy(made.as_slice()), "{made:?}");
                prop_assert_eq!(members(made.as_slice()), wanted.clone());
                prop_assert_eq!(made.length(), wanted.len() as i64);
                for x in 0..40 {
                    prop_assert_eq!(made.holds(x), wanted.contains(&x));
                }
            }
        }

        #[test]
        fn a_growing_set_is_the_union(list in intervals()) {
            let mut growing = Growing::default();
            for &(from, to) in list.iter().filter(|(from, to)| from < to) {
                growing.add(from, to);
            }
            let union = Spans::union(list);
            prop_assert_eq!(growing.iter().collect::<Vec<_>>(), union.as_slice());
            prop_assert_eq!(growing.length(), union.length());
        }
    }
}
