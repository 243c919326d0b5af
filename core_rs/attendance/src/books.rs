//! What is summed up cell by cell while events are taken, so that no event has to be kept.
//!
//! A cell is a civil day, or the programme. What lies in a day and in the programme is asked for, too.

use std::collections::{BTreeMap, VecDeque};

use crate::rules::Rules;
use crate::spans::Growing;

/// Media that is delivered at once: more than C and this in a minute is a bulk fetch.
const BULK: i64 = 240_000;
const MINUTE: i64 = 60_000;

/// Something for each day, and for the programme.
#[derive(Clone, Debug, Default, PartialEq, Eq)]
pub(crate) struct Tally<T> {
    pub(crate) days: BTreeMap<i32, T>,
    pub(crate) programme: T,
}

impl<T: Default> Tally<T> {
    fn change(&mut self, rules: &Rules, t: i64, change: impl Fn(&mut T)) {
        change(self.days.entry(rules.calendar.day(t)).or_default());
        if rules.is_programme(t) {
            change(&mut self.programme);
        }
    }

    pub(crate) fn of(&self, day: Option<i32>) -> Option<&T> {
        day.map_or(Some(&self.programme), |day| self.days.get(&day))
    }
}

/// A viewer's books: one key on one stream.
#[derive(Clone, Debug, Default, PartialEq, Eq)]
pub(crate) struct Books {
    /// Media of the segments that belong to a cell.
    pub(crate) media: Tally<Growing>,
    /// The same of a day's part of the programme.
    pub(crate) programme_media: BTreeMap<i32, Growing>,
    /// What films were buffered beyond the look-ahead.
    pub(crate) deep: Tally<i64>,
    pub(crate) bulk: Tally<bool>,
    pub(crate) beacons: Tally<bool>,
    pub(crate) downloads: Tally<bool>,
    /// By instant and session, whether it was answered.
    pub(crate) checks: BTreeMap<(i64, usize), bool>,
    pub(crate) fetched: Fetched,
}

impl Books {
    /// Media of a segment that belongs to the cells of [from, to).
    pub(crate) fn media(&mut self, rules: &Rules, from: i64, to: i64, (m0, m1): (i64, i64)) {
        let programme = rules.options.programme.as_ref().filter(|programme| programme.meets(from, to));
        for (day, start, end) in rules.calendar.days(from, to) {
            self.media.days.entry(day).or_default().add(m0, m1);
            if programme.is_some_and(|programme| programme.meets(from.max(start), to.min(end))) {
                self.programme_media.entry(day).or_default().add(m0, m1);
            }
        }
        if programme.is_some() {
            self.media.programme.add(m0, m1);
        }
    }

    pub(crate) fn deep(&mut self, rules: &Rules, t: i64, lost: i64) {
        if lost > 0 {
            self.deep.change(rules, t, |sum| *sum += lost);
        }
    }

    /// Any primary segment of the viewer, in order of `t`.
    pub(crate) fn fetch(&mut self, rules: &Rules, t: i64, m0: i64, m1: i64) {
        if self.fetched.within_a_minute(t, m0, m1) > rules.options.lookahead + BULK {
            self.bulk.change(rules, t, |bulk| *bulk = true);
        }
    }

    pub(crate) fn beacon(&mut self, rules: &Rules, t: i64) {
        self.beacons.change(rules, t, |any| *any = true);
    }

    pub(crate) fn download(&mut self, rules: &Rules, t: i64) {
        self.downloads.change(rules, t, |any| *any = true);
    }

    pub(crate) fn check(&mut self, t: i64, session: usize, answered: bool) {
        *self.checks.entry((t, session)).or_default() |= answered;
    }
}

/// U: how much media has been delivered to a viewer, however often, up to an instant.
#[derive(Clone, Debug, Default, PartialEq, Eq)]
pub(crate) struct Fetched {
    pub(crate) media: Growing,
    /// U a minute before the last instant.
    pub(crate) before: i64,
    /// The instants since, each with its U.
    pub(crate) since: VecDeque<(i64, i64)>,
}

impl Fetched {
    /// Adds a segment; U(t) - U(t - 60 s), as far as the segments of this instant are taken.
    fn within_a_minute(&mut self, t: i64, m0: i64, m1: i64) -> i64 {
        self.media.add(m0, m1);
        let sum = self.media.length();
        match self.since.back_mut() {
            Some((last, of_last)) if *last == t => *of_last = sum,
            _ => self.since.push_back((t, sum)),
        }
        while let Some(&(first, of_first)) = self.since.front() {
            if first > t - MINUTE {
                break;
            }
            self.before = of_first;
            self.since.pop_front();
        }
        sum - self.before
    }
}
