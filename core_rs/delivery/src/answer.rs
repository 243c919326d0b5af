//! An answer: what is asked of the thread, and what became of it.

use std::fmt;
use std::ops::Range;
use std::sync::Arc;

use pystream_cipher::Lane;

use crate::account::{Row, Tag};
use crate::line::{Line, Rest};

/// Why bytes could not be made: one sentence, for a log.
#[derive(Clone, Debug, Eq, PartialEq)]
pub struct Failure(pub String);

impl Failure {
    /// Of a source that was waited for in vain, be it that it does not answer at all or that it is too slow for all who ask.
    pub(crate) fn silence(source: &str) -> Self {
        Self(format!("{source}: the file system did not answer in time"))
    }
}

impl fmt::Display for Failure {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.write_str(&self.0)
    }
}

/// Where a source lies. Those of one store answer together, or not at all.
#[derive(Clone, Debug, Eq, PartialEq)]
pub struct Place {
    /// The disk, or the network's file system.
    pub store: u64,
    /// The source among those of its store.
    pub source: u64,
    /// What failures call it.
    pub name: Arc<str>,
}

/// What came of filling a window without waiting.
#[derive(Clone, Debug, Eq, PartialEq)]
pub enum Filled {
    /// So many bytes.
    Bytes(usize),
    /// None: the source that lies here has to be waited for. It is as if nothing had been asked for.
    Later(Place),
}

/// What makes the bytes of a body, window by window.
pub trait Producer: Send {
    /// Writes the next bytes to the start of `window` and returns how many; fewer than the window holds is the end,
    /// and there is no further call.
    ///
    /// # Errors
    /// [`Failure`] where there are none to be had; the answer breaks off.
    fn fill(&mut self, window: &mut [u8]) -> Result<usize, Failure>;

    /// As [`Self::fill`], but waits for nothing: it is called by the thread that sends for everybody. What comes to
    /// [`Filled::Later`] is filled by another one.
    ///
    /// # Errors
    /// As of [`Self::fill`].
    fn fill_now(&mut self, window: &mut [u8]) -> Result<Filled, Failure> {
        self.fill(window).map(Filled::Bytes)
    }

    /// Gives back what memory the next call can have again: there are many answers, and others have to be served first.
    fn rest(&mut self) {}

    /// Asked when the last bytes that are wanted are there, and before any of them goes out: whether all that was filled
    /// belongs together. Where the last window was filled without waiting, this must not wait either.
    ///
    /// # Errors
    /// [`Failure`] where what it is made from has changed meanwhile; the answer breaks off.
    fn check(&self) -> Result<(), Failure> {
        Ok(())
    }
}

/// What can begin the same making any number of times: each gives the same bytes.
pub trait Recipe: Send {
    /// A making from the first byte on, and what encrypts it.
    fn begin(&self) -> (Box<dyn Producer>, Option<Box<Lane>>);

    /// What failures call the source that it is made from.
    fn source(&self) -> &str;
}

/// A body that several answers may want at the same time.
pub struct Shared {
    /// Known by its key: no two bodies that differ in a byte may have the same.
    pub key: [u8; 16],
    /// Bytes of the whole body, padding included.
    pub size: u64,
    /// How it is made.
    pub recipe: Box<dyn Recipe>,
}

/// Something on a disk, or elsewhere, that bodies are cut from.
pub trait Source: Send + Sync {
    /// Fills `buffer` with the bytes from `offset` on.
    ///
    /// # Errors
    /// [`Failure`] where they are not to be had; the answer breaks off.
    fn read_exact_at(&self, offset: u64, buffer: &mut [u8]) -> Result<(), Failure>;

    /// As [`Self::read_exact_at`], but waits for nothing: says where the source lies if it has to be waited for.
    ///
    /// # Errors
    /// As of [`Self::read_exact_at`].
    fn read_now(&self, offset: u64, buffer: &mut [u8]) -> Result<Option<Place>, Failure> {
        self.read_exact_at(offset, buffer).map(|()| None)
    }

    /// Where it lies, if whatever it is asked may take its time, [`Self::check`] as well.
    fn is_remote(&self) -> Option<Place> {
        None
    }

    /// Asked when bytes were read, and before any of them goes out: whether they belong to what was read before.
    ///
    /// # Errors
    /// [`Failure`] where it has changed since it was opened; the answer breaks off.
    fn check(&self) -> Result<(), Failure>;
}

/// A part of a body.
#[derive(Clone, Debug, Eq, PartialEq)]
pub enum Piece {
    /// In memory.
    Bytes(Arc<[u8]>),
    /// Cut from the source.
    Range(Range<u64>),
}

impl Piece {
    /// Its bytes.
    pub fn len(&self) -> u64 {
        match self {
            Self::Bytes(bytes) => bytes.len() as u64,
            Self::Range(range) => range.end - range.start,
        }
    }

    /// Whether it has none.
    pub fn is_empty(&self) -> bool {
        self.len() == 0
    }
}

/// Where a body comes from.
pub enum Body {
    /// Made while it is sent, and encrypted on the way where there is a lane.
    Made(Box<dyn Producer>, Option<Box<Lane>>),
    /// Made once for all who ask for it at the same time, or read from the cache.
    Shared(Shared),
    /// Pieces, one after the other.
    Pieces(Arc<dyn Source>, Arc<[Piece]>),
    /// What [`Line::respond`] left of a response with this body; the order's head, range and row have no say in it.
    Rest(Rest, Arc<dyn AsRef<[u8]> + Send + Sync>),
}

/// An answer to be sent.
pub struct Order {
    /// What its outcome will be known by.
    pub id: u64,
    /// To whom. No two orders of one line may be under way.
    pub line: Arc<Line>,
    /// Sent before the body.
    pub head: Vec<u8>,
    /// Where the body comes from.
    pub body: Body,
    /// Bytes at the beginning of the body to leave out, and how many of what follows to send (RFC 9110 §14).
    pub skip: u64,
    /// See `skip`.
    pub length: u64,
    /// What it is booked under.
    pub row: Option<Row>,
    /// What names it where its delivery is to be told; without a row, it is not.
    pub tag: Option<Tag>,
    /// Bytes a second at most.
    pub rate: Option<u64>,
}

/// How an answer ended.
#[derive(Clone, Debug, Eq, PartialEq)]
pub enum End {
    /// The kernel has all of it.
    Handed,
    /// The peer went away.
    Gone,
    /// The peer stopped reading for longer than is allowed.
    Stalled,
    /// The body could not be made. The connection has to be reset.
    Failed(Failure),
    /// What it is made from did not answer in time. The connection has to be reset.
    Silent(Failure),
    /// Somebody asked for that.
    Cancelled,
}

/// What became of an order.
#[derive(Clone, Debug, Eq, PartialEq)]
pub struct Outcome {
    /// The order's.
    pub id: u64,
    /// How it ended.
    pub end: End,
}
