//! The one place where an error of the Rust crates turns into a Python exception.

use std::path::Path;
use std::sync::Arc;

use pyo3::PyErr;
use pyo3::exceptions::PyOSError;
use pystream_attendance::{Malformed, Unproven};
use pystream_media::{Error, ErrorKind};

use crate::source::ReadFailed;

// Defined once, in pystream/errors.py, so that tracebacks, docs and `except` clauses agree.
pyo3::import_exception!(pystream.errors, LimitExceeded);
pyo3::import_exception!(pystream.errors, MalformedEvidence);
pyo3::import_exception!(pystream.errors, MalformedMedia);
pyo3::import_exception!(pystream.errors, NotProven);
pyo3::import_exception!(pystream.errors, SourceError);
pyo3::import_exception!(pystream.errors, TableFull);
pyo3::import_exception!(pystream.errors, UnsupportedMedia);

/// An error, and what the input it lies in is called. Neither `Error` nor `PyErr` belongs to this crate.
pub(crate) struct Fault(Error, Arc<str>);

impl Fault {
    /// Says which input is at fault.
    pub(crate) fn of(error: Error, input: &Arc<str>) -> Self {
        Self(error, Arc::clone(input))
    }
}

pub(crate) type Result<T> = std::result::Result<T, Fault>;

impl From<Fault> for PyErr {
    fn from(Fault(error, input): Fault) -> Self {
        let args = (format!("{input}: {error}"), error.offset(), error.path().to_owned());
        // No wildcard arm: a new kind must choose its exception here.
        match error.kind() {
            ErrorKind::Malformed => MalformedMedia::new_err(args),
            ErrorKind::Unsupported => UnsupportedMedia::new_err(args),
            ErrorKind::Limit => LimitExceeded::new_err(args),
            ErrorKind::Source => source_error(error, args),
        }
    }
}

/// An `OSError` that knows its number, and so its class, and the file that it is about.
pub(crate) fn os_error(error: &std::io::Error, path: &Path) -> PyErr {
    let text = error.to_string();
    match error.raw_os_error() {
        Some(code) => numbered_os_error(code, text.split(" (os error").next().unwrap_or_default(), path),
        None => PyOSError::new_err(format!("{}: {text}", path.display())),
    }
}

/// The `OSError` of a number, whose text may say more than the system does.
pub(crate) fn numbered_os_error(code: i32, text: &str, path: &Path) -> PyErr {
    PyOSError::new_err((code, text.to_owned(), path.as_os_str().to_owned()))
}

/// A line of evidence that is not as specified, and which one.
pub(crate) fn malformed_evidence(Malformed { line, field, what }: Malformed) -> PyErr {
    MalformedEvidence::new_err((line, format!("{field} {what}").trim_start().to_owned()))
}

/// What does not follow from a proof.
pub(crate) fn not_proven(unproven: Unproven) -> PyErr {
    NotProven::new_err(unproven.to_string())
}

/// A source's own exception keeps its type; an error of the operating system becomes the `OSError` that it is.
fn source_error(error: Error, args: (String, Option<u64>, String)) -> PyErr {
    let Some(cause) = error.into_cause() else { return SourceError::new_err(args) };
    match cause.downcast::<PyErr>() {
        Ok(raised) => *raised,
        Err(cause) => match cause.downcast::<ReadFailed>() {
            Ok(failed) => os_error(&failed.error, &failed.path),
            Err(_) => SourceError::new_err(args),
        },
    }
}
