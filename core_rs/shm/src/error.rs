//! What can go wrong when memory is shared, and whose fault it is.

use std::{fmt, io};

/// The result of making, attaching or filling something shared.
pub type Result<T> = std::result::Result<T, Error>;

/// Why a table could not be made or attached, or a segment not be filled.
#[derive(Debug)]
pub enum Error {
    /// The system refused a call: out of memory, of file descriptors, or of rights.
    System {
        /// The refused call.
        call: &'static str,
        /// The system's reason.
        source: io::Error,
    },
    /// The caller asked for a size that the table cannot have.
    Size {
        /// What was to be made or attached.
        table: &'static str,
        /// What it asks for.
        reason: &'static str,
    },
    /// The file handed over is not this table.
    Foreign {
        /// What was to be attached.
        table: &'static str,
        /// What is wrong with the file.
        reason: &'static str,
    },
    /// A segment got more bytes than it was announced with.
    Overrun {
        /// The announced length.
        len: u64,
    },
    /// A segment was finished before all its bytes were there.
    Unfinished {
        /// Bytes that were written.
        filled: u64,
        /// The announced length.
        len: u64,
    },
    /// A session found no room.
    Full {
        /// How many sessions the table was made for.
        sessions: usize,
    },
    /// A session's id is that of another that the table still holds.
    Known,
}

impl fmt::Display for Error {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        match self {
            Self::System { call, source } => write!(f, "the system refused {call}: {source}"),
            Self::Size { table, reason } => write!(f, "the {table} {reason}"),
            Self::Foreign { table, reason } => write!(f, "the file handed over as {table} {reason}"),
            Self::Overrun { len } => write!(f, "a segment announced with {len} bytes was given more"),
            Self::Unfinished { filled, len } => {
                write!(f, "a segment announced with {len} bytes was finished after {filled}")
            }
            Self::Full { sessions } => {
                write!(f, "the session table is full: it was made for {sessions} sessions, make it for more")
            }
            Self::Known => write!(f, "the session table holds a session of this id already: each has its own"),
        }
    }
}

impl std::error::Error for Error {
    fn source(&self) -> Option<&(dyn std::error::Error + 'static)> {
        match self {
            Self::System { source, .. } => Some(source),
            _ => None,
        }
    }
}
