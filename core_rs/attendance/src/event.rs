//! What an evidence file says, one event a line.

use std::borrow::Cow;
use std::collections::HashSet;

/// An event. Instants are ms since the epoch, UTC.
#[derive(Clone, Debug, PartialEq)]
pub enum Event<'a> {
    /// A segment that was delivered whole.
    Segment(Viewing<'a>, Segment<'a>),
    /// A player's own word.
    Beacon(Viewing<'a>, Beacon),
    /// A question whether somebody is there, and whether it was answered.
    Check(Viewing<'a>, Check),
    /// A download.
    Download(Viewing<'a>),
    /// A playlist or a key: nothing is earned by it.
    Uncounted(Viewing<'a>, Uncounted),
    /// The server, or one stream, was down in [from, to).
    Outage(i64, i64, Option<Cow<'a, str>>),
    /// Evidence of [from, to) may be missing.
    Restore(i64, i64),
    /// A clock was set at this instant, by so much.
    Clock(i64, i64),
}

/// What was fetched besides media.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Uncounted {
    /// A media playlist.
    Playlist,
    /// What segments are encrypted with.
    Key,
}

/// Which events a report is about. Those of no viewer are taken where they touch it.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct Selection {
    /// Of this key only.
    pub key: Option<String>,
    /// Of these streams only.
    pub streams: Option<HashSet<String>>,
    /// From this instant on...
    pub from: i64,
    /// ...and before this one.
    pub to: i64,
}

impl Selection {
    /// Whether an event is one of them.
    #[must_use]
    pub fn takes(&self, event: &Event<'_>) -> bool {
        let is_of = |stream: &str| self.streams.as_ref().is_none_or(|streams| streams.contains(stream));
        let is_in = |from: i64, to: i64| from < self.to && self.from < to;
        match event {
            Event::Segment(viewing, _)
            | Event::Beacon(viewing, _)
            | Event::Check(viewing, _)
            | Event::Download(viewing)
            | Event::Uncounted(viewing, _) => {
                self.key.as_deref().is_none_or(|key| key == viewing.key)
                    && is_of(&viewing.stream)
                    && is_in(viewing.t, viewing.t + 1)
            }
            Event::Outage(from, to, stream) => stream.as_deref().is_none_or(is_of) && is_in(*from, *to),
            Event::Restore(from, to) => is_in(*from, *to),
            Event::Clock(t, _) => is_in(*t, t + 1),
        }
    }
}

/// When, and in which playback session.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct Viewing<'a> {
    /// The instant.
    pub t: i64,
    /// The password, by its key.
    pub key: Cow<'a, str>,
    /// The stream.
    pub stream: Cow<'a, str>,
    /// The session of key and stream.
    pub session: Cow<'a, str>,
}

/// Media [m0, m1), up to [`crate::LONGEST_SEGMENT`] of it.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct Segment<'a> {
    /// Where its media begins.
    pub m0: i64,
    /// Where its media ends.
    pub m1: i64,
    /// The rendition that it is of.
    pub rendition: Cow<'a, str>,
    /// Whether that is the one that counts: the video, or audio where there is none.
    pub primary: bool,
}

/// What a player is doing. In order of their names, since ties among beacons go by it.
#[derive(Clone, Copy, Debug, PartialEq, Eq, PartialOrd, Ord)]
pub enum State {
    /// The media is over.
    Ended,
    /// Somebody has paused it.
    Paused,
    /// It plays.
    Playing,
    /// It goes elsewhere.
    Seeking,
    /// It waits for media.
    Stalled,
}

/// A beacon; its fields stand in the order in which ties are decided.
#[derive(Clone, Copy, Debug, PartialEq, PartialOrd)]
pub struct Beacon {
    /// Counts a session's beacons, from 0 or above.
    pub sn: i64,
    /// What the player does.
    pub state: State,
    /// Media time.
    pub playhead: i64,
    /// Its speed, 0.25 to 4.
    pub rate: f64,
    /// Whether the page was hidden.
    pub hidden: bool,
}

/// A presence check, shown at the instant of the event.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub struct Check {
    /// After how long somebody answered, in ms.
    pub answered: Option<i64>,
}
