//! `attendance-v1`: that a password has watched a stream for so many seconds on a day, by evidence.
//!
//! # Theory
//!
//! A server knows which segments it has delivered to which playback session, and when. From that alone follows what can have
//! been watched, since media is played no faster than time passes: see `session.rs` ("capped playout"). Players may say more
//! (beacons), which only ever narrows it.
//!
//! [`Evidence`] holds events in any order, [`Evidence::sorted`] brings them into the order of the fold, and a [`Ledger`]
//! takes them: all at once, as a replay and a sealed report do, or piece by piece, as they happen. Between any two events it
//! can be stored ([`Ledger::store`]) and loaded. At any moment it gives the [`Row`]s of what it has taken. So there is one
//! function, and anybody can compute a report anew.
//!
//! So that nobody can change evidence later, each event is a leaf of a log that only grows: `canonical.rs` says how an event is
//! spelt there, `log.rs` what the log is.
//!
//! All times are whole milliseconds, all intervals half-open. The crate knows no file, no clock and no time zone but the
//! offsets that it is given.

#![forbid(unsafe_code)]

mod beacons;
mod books;
mod calendar;
mod canonical;
mod event;
mod evidence;
mod ledger;
mod limits;
mod lines;
mod log;
mod queue;
mod row;
mod rules;
mod session;
mod spans;
mod state;

pub use calendar::{Offsets, iso};
pub use canonical::canonical_events;
pub use event::{Beacon, Check, Event, Segment, Selection, State, Uncounted, Viewing};
pub use evidence::{Evidence, Sorted};
pub use ledger::{Late, Ledger};
pub use limits::{FIRST_INSTANT, LARGEST_INTEGER, LAST_INSTANT, LONGEST_OPTION, LONGEST_SEGMENT};
pub use lines::Malformed;
pub use log::{
    Frontier, Hash, LeafHashes, Part, SALT, Unproven, check_consistency, check_inclusion, consistency_parts,
    inclusion_parts, leaf_hash,
};
pub use row::{Grade, Row};
pub use rules::{Beacons, Mode, Options};
pub use spans::Spans;
pub use state::Corrupt;
