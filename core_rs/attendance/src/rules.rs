//! What a tenant sets: the options that the rules of attendance-v1 leave open.

use crate::calendar::{Calendar, Offsets};
use crate::spans::Spans;

/// How streams are watched. All options hold for every stream of the evidence.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Mode {
    /// As it happens. With a lag, a segment earns only if it is delivered at most so many ms after its media's end.
    Live(Option<i64>),
    /// A film: from where the viewer likes.
    File,
}

/// What beacons of a player are for.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Beacons {
    /// Nothing.
    Ignored,
    /// They narrow what is certified to what was playing.
    Narrow,
    /// And to what was playing in a page that could be seen.
    NarrowToVisible,
}

/// All options. Durations are ms, not below 0 and below [`crate::LONGEST_OPTION`].
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct Options {
    /// Live or file.
    pub mode: Mode,
    /// TD, above 0.
    pub target_duration: i64,
    /// C: how far a player buffers ahead.
    pub lookahead: i64,
    /// B: holes of credit that are closed.
    pub bridge: i64,
    /// Whether beacons count.
    pub beacons: Beacons,
    /// Whether outages with access on both sides are told as credit, in a field of its own.
    pub credit_outage: bool,
    /// Whether each key has rows over all its streams, too.
    pub union: bool,
    /// P: all windows, minus all breaks; none without windows.
    pub programme: Option<Spans>,
    /// The time zone.
    pub zone: Offsets,
}

/// Options, with what is worked out of them once.
#[derive(Clone, Debug)]
pub(crate) struct Rules {
    pub(crate) options: Options,
    pub(crate) calendar: Calendar,
}

impl Rules {
    pub(crate) fn new(options: Options) -> Self {
        let calendar = Calendar::new(&options.zone);
        Self { options, calendar }
    }

    pub(crate) fn is_file(&self) -> bool {
        self.options.mode == Mode::File
    }

    /// Whether an instant lies in the programme.
    pub(crate) fn is_programme(&self, instant: i64) -> bool {
        self.options.programme.as_ref().is_some_and(|programme| programme.holds(instant))
    }
}
