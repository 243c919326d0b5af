//! What the processes of a node share: the GCRA table, the meter, the session table and the segment cache, each of a fixed
//! size in a memfd.
//!
//! # Theory
//!
//! A worker can be killed at any instruction, and the others must go on as if it had never been there. So nothing here
//! is a Rust value shared by processes: a table is an array of 64-bit words, read and written one at a time by atomic
//! instructions, and each file says why every prefix of its writes leaves a table that the others can use. Only bytes of
//! segments, which never change once they are there, are lent as they lie.
//!
//! * [`Gcra`] and [`Meter`] need no lock: a decision is one compare-and-swap of one word.
//! * [`Sessions`] is written by one process, and read by all without a lock.
//! * [`Cache`] has an index under a lock that outlives its holder. Few words are the truth, the rest is derived from
//!   them, and whoever finds that a holder died derives it again.
//!
//! A table is made once (`create`, which gives the memfd) and attached by each process (`attach`). The memfd is sealed
//! against resizing, so that no process can take the memory away from under another.
//!
//! The crate knows neither HTTP nor Python, and reads no clock: time is an argument.

#![deny(unsafe_op_in_unsafe_fn)]

mod cache;
mod error;
mod gcra;
mod limiter;
mod mapping;
mod meter;
mod sessions;

pub use cache::{BLOCK, Cache, CacheCounters, Entry, Filling, Progress, SEATS, WANTED_WITHIN_US};
pub use error::{Error, Result};
pub use gcra::{DEFAULT_BYTES, Gcra, GcraCounters, MAX_BURST_US, Verdict};
pub use limiter::{Budget, Kind, LONGEST_BAN_US, Limiter, Network, Rules, Ruling};
pub use meter::{Counts, DEFAULT_ROWS, MAX_COUNT, Meter, Overflow, Reading, Row};
pub use sessions::{DEFAULT_SESSIONS, Reason, Session, SessionGauges, Sessions, Standing, Terms};
