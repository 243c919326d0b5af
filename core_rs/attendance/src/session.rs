//! Capped playout: how much one playback session earns by the segments that were delivered to it.
//!
//! # Theory
//!
//! A player plays what it fetched, one segment after the other, in real time: a segment earns its length from when the last
//! one is over, or from now. It earns up to C ahead of now, since a player buffers no more than that; so whoever fetches an
//! hour at once earns C. A seek shows in a film by media that nothing queued is near: what was queued and not played yet is
//! taken back. On live, media is as old as it is: what came late fills the hole that it left.
//!
//! Of credit before `t`, nothing changes any more in a film; on live, only the hole before the last stretch may be filled.
//! What a segment has itself earned ("own credit", before filling and bridging) says which cells its media belongs to, so it
//! is kept only until `t` has passed it.

use std::collections::VecDeque;

use crate::beacons::Playing;
use crate::books::Books;
use crate::queue::Queue;
use crate::rules::{Mode, Rules};
use crate::spans::Spans;

/// Where a segment stands in the order of a session's segments. Those that are equal in all of it are one.
pub(crate) type Place = (i64, i64, i64, Box<str>);

#[derive(Clone, Debug, Default, PartialEq)]
pub(crate) struct Session {
    /// The last segment taken.
    pub(crate) last: Option<Place>,
    /// E: until when what has earned is played.
    pub(crate) end: i64,
    pub(crate) queue: Queue,
    /// Stretches of credit, ascending, not touching.
    pub(crate) credit: Vec<(i64, i64)>,
    /// Own credit that a seek may still cut, ascending.
    pub(crate) open: VecDeque<Earned>,
    pub(crate) playing: Playing,
}

/// A segment's own credit [from, to), the instant of its delivery and its media.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(crate) struct Earned {
    pub(crate) from: i64,
    pub(crate) to: i64,
    pub(crate) t: i64,
    pub(crate) media: (i64, i64),
}

impl Earned {
    /// Notes the media where it belongs: to its own credit or, without any, to its instant.
    pub(crate) fn settle(self, rules: &Rules, books: &mut Books) {
        let Self { from, to, t, media } = self;
        if from < to {
            books.media(rules, from, to, media);
        } else {
            books.media(rules, t, t + 1, media);
        }
    }
}

impl Session {
    /// Takes the next segment; the caller has seen to it that it is primary, and not before the last one.
    pub(crate) fn deliver(&mut self, rules: &Rules, books: &mut Books, t: i64, (m0, m1): (i64, i64)) {
        let options = &rules.options;
        let d = m1 - m0;
        self.queue.drop_until(t);
        while self.open.front().is_some_and(|earned| earned.to <= t) {
            self.open.pop_front().into_iter().for_each(|earned| earned.settle(rules, books));
        }
        let late = matches!(options.mode, Mode::Live(Some(lag)) if t - m1 > lag);
        if late || self.queue.has_half(m0, m1) {
            return Earned { from: t, to: t, t, media: (m0, m1) }.settle(rules, books);
        }
        if rules.is_file() && t < self.end && self.queue.is_away(m0, m1, options.target_duration) {
            self.seek(rules, books, t);
        }
        let from = t.max(self.end);
        let to = (from + d).min(t + options.lookahead).max(from);
        self.queue.push(m0, m1, to);
        if from < to {
            self.end = to;
            match self.credit.last_mut() {
                Some((_, end)) if *end == from => *end = to,
                _ => self.credit.push((from, to)),
            }
        }
        let lost = d - (to - from);
        let earned = Earned { from, to, t, media: (m0, m1) };
        if rules.is_file() {
            books.deep(rules, t, lost);
            // In the order of credit; what has none is settled already.
            if from < to { self.open.push_back(earned) } else { earned.settle(rules, books) }
        } else {
            earned.settle(rules, books);
            if lost > 0 {
                self.fill(3 * options.target_duration, lost);
            }
        }
    }

    fn seek(&mut self, rules: &Rules, books: &mut Books, t: i64) {
        self.credit.truncate(self.credit.partition_point(|&(from, _)| from < t));
        if let Some((_, to)) = self.credit.last_mut() {
            *to = t.min(*to);
        }
        for earned in self.open.drain(..) {
            Earned { to: earned.to.min(t), ..earned }.settle(rules, books);
        }
        self.queue.clear();
        self.end = t;
    }

    /// Fills the hole before the last stretch from its end, where it is not longer than `longest`.
    fn fill(&mut self, longest: i64, lost: i64) {
        let [.., before, last] = &mut self.credit[..] else { return };
        let hole = last.0 - before.1;
        if hole > longest {
            return;
        }
        last.0 -= lost.min(hole);
        if last.0 == before.1 {
            before.1 = last.1;
            self.credit.pop();
        }
    }

    /// The session's credit.
    pub(crate) fn credit(&self, rules: &Rules) -> Spans {
        Spans::bridged(self.credit.iter().copied(), rules.options.bridge)
    }
}
