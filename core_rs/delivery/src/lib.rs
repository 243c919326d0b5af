//! Answers to sockets: made in windows, encrypted side by side, sealed and sent while they are in the cache.
//!
//! # Theory
//!
//! A server that makes segments on request has two needs that pull apart. Encryption is fast only where several
//! segments are encrypted together (`pystream-cipher`); and memory is bounded only where no segment is ever held
//! whole, since viewers read slowly. So one thread drives all answers that are under way, in rounds. A round takes a
//! group of answers whose sockets have room, fills one window of each, encrypts the windows together, seals them where
//! the line has TLS, and sends them. What a socket does not take stays in its window until the socket is writable
//! again (`epoll`); an answer never has more than one window in memory.
//!
//! So the process holds for each connection, however slowly its peer reads, no more than one window, and a second one as
//! TLS records; where no more than a few are under way, what is read of their sources, too ([`Producer::rest`]); and the
//! kernel, where sockets have TCP_NOTSENT_LOWAT set, as many unsent bytes as that says. What is read from the cache is in
//! no window at all on a clear line: the kernel takes it from there. A body from memory is there once, whoever has yet to
//! read it.
//! Segments that several viewers want are made once (`sharing.rs`).
//!
//! The thread never runs Python. The interpreter hands over an [`Order`] and goes on; the outcome waits in
//! [`Delivery::outcomes`] and a descriptor becomes readable. Whoever asks first gets a window first: a new answer
//! joins between two groups.
//!
//! Nor does it wait for a source: what is not at hand is read by threads of their own (`reading.rs`), and the answers that
//! want it go on when it is there.
//!
//! A [`Line`] is a connection: its socket, its TLS state, and the account of what its peer has acknowledged. Bytes
//! count as sent when the peer's kernel has acknowledged them, not when ours has taken them.
//!
//! An answer whose bytes cannot be made to the end is not ended: the connection is reset, so that no viewer takes half
//! a segment for a whole one. Nor is one that would be half of a source and half of what was written over it meanwhile: before
//! its last bytes go out, the source is asked whether it is what it was ([`Producer::check`], [`Source::check`]). A panic ends the one answer that it came from; and that the thread itself goes on is seen from
//! its [`Counters::beats`].

#![deny(unsafe_code)]

mod account;
mod answer;
mod closing;
mod line;
mod making;
mod outlet;
mod pieces;
mod queue;
mod reading;
mod sending;
mod sharing;

pub use account::{Delivered, Ledger, Row, Tag};
pub use answer::{Body, End, Failure, Filled, Order, Outcome, Piece, Place, Producer, Recipe, Shared, Source};
pub use closing::let_go;
pub use line::{Line, Received, Rest};
pub use outlet::{Counters, Delivery, Settings};
pub use sharing::monotonic_us;
