//! TLS 1.2 and 1.3 for a server (RFC 5246, RFC 8446), as a state machine that knows no socket, file or clock.
//!
//! A [`Config`] holds the certificates and is shared by all connections; a [`Connection`] is fed with the bytes of
//! the peer, hands out the bytes for the peer, and seals windows of application data.
//!
//! # Theory
//!
//! **Sealing.** The job that made a window seals it at once, while it lies in the cache, as records of 16 KiB, the
//! longest that the standards allow (RFC 8446 §5.1). AES-GCM reads the window and writes the records, with no copy
//! between. They wait in the connection ([`Connection::queue`]) until the caller has a place for them
//! ([`Connection::write_to`]), or are appended to his vector ([`Connection::seal`]). Control records (alerts, key
//! updates, tickets) that wait are put in front, so that whatever is sent is sent in order.
//!
//! **Resumption without memory.** A session lives in its ticket (RFC 5077, RFC 8446 §4.6.1), sealed with a key that
//! every worker derives from one secret and the time ([`TicketKeys`]). So any worker resumes the session of any
//! other, also after its own death, and no table grows with the number of viewers. Early data is never accepted: it
//! can be replayed (RFC 8446 §8).
//!
//! **Reload.** A new certificate is a new [`Config`] with the same [`TicketKeys`]. A connection keeps the one that it
//! was made with, and sessions can be resumed under the new one.
//!
//! rustls, AWS-LC and ring do the cryptography; this crate chooses what they may do.

#![forbid(unsafe_code)]

mod certificate;
mod config;
mod connection;
mod error;
mod resolver;
mod sealing;
mod tickets;

pub use certificate::{Certificate, Pem};
pub use config::Config;
pub use connection::{Connection, Received, Session, sealed_len};
pub use error::{Error, ErrorKind, Result};
pub use tickets::{PERIOD_SECONDS, TicketKeys};
