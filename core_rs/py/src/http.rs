//! What the HTTP parser asks of each request.

use pyo3::prelude::*;
use pyo3::types::PyString;

/// The path of a request that begins with `begin` and ends with `rest`, and in between has nothing but a path without
/// escapes, none of whose segments begins with a dot (RFC 3986 3.3); `None` for everything else. `most`: bytes between.
#[pyfunction]
pub(crate) fn plain_path<'py>(
    py: Python<'py>,
    data: &[u8],
    begin: &[u8],
    rest: &[u8],
    most: usize,
) -> Option<Bound<'py, PyString>> {
    let path = data.strip_suffix(rest)?.strip_prefix(begin)?;
    let text = str::from_utf8(path).ok()?;
    (path.len() <= most && is_plain(path)).then(|| PyString::new(py, text))
}

fn is_plain(path: &[u8]) -> bool {
    let mut before = 0;
    let all = path.iter().all(|&byte| {
        let may = match byte {
            b'/' | b'.' if before == b'/' => false,
            b'/' => true,
            byte => PCHARS[usize::from(byte)],
        };
        before = byte;
        may
    });
    all && path.starts_with(b"/") && path != b"/"
}

/// RFC 3986 3.3, without escapes.
const PCHARS: [bool; 256] = {
    let mut found = [false; 256];
    let mut at = 0;
    while at < 256 {
        let byte = at as u8;
        found[at] = byte.is_ascii_alphanumeric()
            || matches!(byte, b'-' | b'.' | b'_' | b'~' | b'!' | b'$' | b'&'..=b',' | b';' | b'=' | b':' | b'@');
        at += 1;
    }
    found
};
