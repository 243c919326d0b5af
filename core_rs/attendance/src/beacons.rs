//! What a session's beacons say was playing, and was hidden.
//!
//! Of each `sn` the least beacon counts, and of those, in order of `t` and `sn`, none whose `sn` is not above all before.
//! In order of (`t`, `sn`, all else) the second rule is both: another beacon of a counted `sn` is not above it.

use crate::event::{Beacon, State};
use crate::rules::{Beacons, Rules};
use crate::spans::Spans;

/// How long a beacon stands for without another one.
const ALONE: i64 = 10_000;
/// How far off the next one may be at most: beyond, this one stands for itself alone.
const LIMIT: i64 = 25_000;
/// The same of a hidden page, whose timers browsers run once a minute.
const LIMIT_HIDDEN: i64 = 75_000;
/// Holes in playing up to here are none.
const BRIDGE: i64 = 2_000;

#[derive(Clone, Debug, Default, PartialEq)]
pub(crate) struct Playing {
    /// The last beacon taken, counted or not: none may come before it.
    pub(crate) last: Option<(i64, Beacon)>,
    /// The last one that counts. Its `sn` is the highest.
    pub(crate) counted: Option<(i64, Beacon)>,
    /// What was playing in a page that could be seen, ascending.
    pub(crate) seen: Vec<(i64, i64)>,
    /// And in one that could not.
    pub(crate) hidden: Vec<(i64, i64)>,
}

impl Playing {
    /// Takes the next beacon, in order of (`t`, `sn`, all else).
    pub(crate) fn take(&mut self, t: i64, beacon: Beacon) {
        self.last = Some((t, beacon));
        if let Some((before, last)) = self.counted {
            if beacon.sn <= last.sn {
                return;
            }
            let (_, to) = stands_for(before, last, Some((t, beacon.playhead)));
            let list = if last.hidden { &mut self.hidden } else { &mut self.seen };
            if before < to {
                list.push((before, to));
            }
        }
        self.counted = Some((t, beacon));
    }

    /// Playing and hidden, before they are cut to the session's credit.
    pub(crate) fn spans(&self, rules: &Rules) -> (Spans, Spans) {
        let last = self.counted.map(|(t, beacon)| (beacon.hidden, stands_for(t, beacon, None)));
        let of = |list: &[(i64, i64)], hidden| {
            let last = last.filter(|&(is_hidden, _)| is_hidden == hidden).map(|(_, span)| span);
            list.iter().copied().chain(last).collect::<Vec<_>>()
        };
        let hidden = of(&self.hidden, true);
        let mut playing = of(&self.seen, false);
        if rules.options.beacons != Beacons::NarrowToVisible {
            playing.extend(&hidden);
            playing.sort_unstable();
        }
        (Spans::bridged(playing, BRIDGE), Spans::union(hidden))
    }
}

/// What a beacon says was playing, by the instant and the playhead of the next one.
fn stands_for(t: i64, beacon: Beacon, next: Option<(i64, i64)>) -> (i64, i64) {
    if beacon.state != State::Playing {
        return (t, t);
    }
    let Some((then, playhead)) = next else { return (t, t + ALONE) };
    let played = ((playhead - beacon.playhead) as f64 / beacon.rate).max(0.0).round_ties_even() as i64;
    let limit = if beacon.hidden { LIMIT_HIDDEN } else { LIMIT };
    let most = if then - t > limit { ALONE } else { then - t };
    (t, t + most.min(played))
}
