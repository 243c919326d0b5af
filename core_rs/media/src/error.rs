//! What can go wrong, whose fault it is, and where.

use std::error::Error as StdError;
use std::fmt;

/// Shorthand used by every fallible function of this crate.
pub type Result<T> = std::result::Result<T, Error>;

/// Whose fault an error is.
#[derive(Clone, Copy, Debug, Eq, PartialEq)]
pub enum ErrorKind {
    /// The bytes contradict the standard or each other.
    Malformed,
    /// The bytes are right, but this crate does not carry what they hold.
    Unsupported,
    /// The bytes ask for more than the caps in `limits.rs` allow.
    Limit,
    /// The source could not be read. [`StdError::source`] tells why.
    Source,
}

/// An error with the byte offset and the box path where it was found.
pub struct Error(Box<Inner>);

struct Inner {
    kind: ErrorKind,
    message: String,
    offset: Option<u64>,
    path: String,
    cause: Option<Box<dyn StdError + Send + Sync>>,
}

impl Error {
    fn new(kind: ErrorKind, message: impl Into<String>) -> Self {
        Self(Box::new(Inner { kind, message: message.into(), offset: None, path: String::new(), cause: None }))
    }

    /// The input contradicts the standard or itself.
    pub fn malformed(message: impl Into<String>) -> Self {
        Self::new(ErrorKind::Malformed, message)
    }

    /// The input holds what this crate does not carry.
    pub fn unsupported(message: impl Into<String>) -> Self {
        Self::new(ErrorKind::Unsupported, message)
    }

    /// The input asks for more than a cap allows.
    pub fn limit(message: impl Into<String>) -> Self {
        Self::new(ErrorKind::Limit, message)
    }

    /// The source failed. `cause` keeps its type, so that a caller can have it back.
    pub fn source_failed(message: impl Into<String>, cause: Option<Box<dyn StdError + Send + Sync>>) -> Self {
        let mut error = Self::new(ErrorKind::Source, message);
        error.0.cause = cause;
        error
    }

    /// Says where. The innermost caller knows best, so a place once set stays.
    #[must_use]
    pub fn at(mut self, offset: u64) -> Self {
        self.0.offset.get_or_insert(offset);
        self
    }

    /// Says in which box; each enclosing box puts its own name in front.
    #[must_use]
    pub fn within(mut self, name: impl fmt::Display) -> Self {
        self.0.path = if self.0.path.is_empty() { name.to_string() } else { format!("{name}/{}", self.0.path) };
        self
    }

    /// Whose fault it is.
    pub fn kind(&self) -> ErrorKind {
        self.0.kind
    }

    /// Byte offset in the source.
    pub fn offset(&self) -> Option<u64> {
        self.0.offset
    }

    /// Boxes from the outermost to the one at fault, as in `moov/trak/mdia`. Empty outside any box.
    pub fn path(&self) -> &str {
        &self.0.path
    }

    /// Gives the source's own error back.
    pub fn into_cause(self) -> Option<Box<dyn StdError + Send + Sync>> {
        self.0.cause
    }
}

impl fmt::Display for Error {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.write_str(&self.0.message)?;
        match (self.0.path.is_empty(), self.0.offset) {
            (true, None) => Ok(()),
            (true, Some(offset)) => write!(f, " (at byte {offset})"),
            (false, None) => write!(f, " (in {})", self.0.path),
            (false, Some(offset)) => write!(f, " (in {} at byte {offset})", self.0.path),
        }
    }
}

impl fmt::Debug for Error {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        write!(f, "{:?}: {self}", self.0.kind)
    }
}

impl StdError for Error {
    fn source(&self) -> Option<&(dyn StdError + 'static)> {
        self.0.cause.as_deref().map(|cause| cause as _)
    }
}
