//! The boxes of a file at its top level, found by their headers. ISO/IEC 14496-12 4.2.
//!
//! One read shows a header and, for a fragment, what lies behind it: its `moof` and the header of the `mdat` after it. Media
//! data is never read.

use std::ops::Range;

use crate::Result;
use crate::reader::FourCc;
use crate::source::ReadAt;

/// Bytes asked for at once: a page, and more than the `moof` of most fragments.
const READ: u64 = 4096;

/// A box at the top level.
#[derive(Clone, Copy, Debug, Eq, PartialEq)]
pub(super) struct Top {
    pub(super) kind: FourCc,
    /// Where its header begins.
    pub(super) start: u64,
    /// Where its content begins.
    pub(super) body: u64,
    /// Where it ends, at most the end of the file.
    pub(super) end: u64,
    /// It says that it goes on past the end of the file.
    pub(super) overruns: bool,
}

/// What comes next at the top level.
#[derive(Clone, Copy, Debug, Eq, PartialEq)]
pub(super) enum Next {
    Box(Top),
    /// From here on there are no boxes.
    Garbage(u64),
    End,
}

/// Walks over the top level of a source.
pub(super) struct Scan<'s> {
    source: &'s dyn ReadAt,
    size: u64,
    at: u64,
    buffer: Vec<u8>,
    /// What of the source the front of `buffer` holds.
    held: Range<u64>,
}

impl<'s> Scan<'s> {
    pub(super) fn new(source: &'s dyn ReadAt) -> Self {
        Self { source, size: source.size(), at: 0, buffer: Vec::new(), held: 0..0 }
    }

    pub(super) fn next(&mut self) -> Result<Next> {
        let start = self.at;
        let left = self.size - start;
        if left == 0 {
            return Ok(Next::End);
        }
        if left < 8 {
            return Ok(Next::Garbage(start));
        }
        let bytes = self.bytes(start, start + left.min(16))?;
        let word = |at: usize| u32::from_be_bytes([bytes[at], bytes[at + 1], bytes[at + 2], bytes[at + 3]]);
        let kind = FourCc([bytes[4], bytes[5], bytes[6], bytes[7]]);
        let (header, size) = match word(0) {
            0 => (8, left),
            1 if left < 16 => return Ok(Next::Garbage(start)),
            1 => (16, u64::from(word(8)) << 32 | u64::from(word(12))),
            size => (8, u64::from(size)),
        };
        if size < header || kind == FourCc([0; 4]) {
            return Ok(Next::Garbage(start));
        }
        let overruns = size > left;
        let end = start + size.min(left);
        self.at = end;
        Ok(Next::Box(Top { kind, start, body: start + header, end, overruns }))
    }

    /// The bytes from `start` to `end`, which lie inside the source.
    pub(super) fn bytes(&mut self, start: u64, end: u64) -> Result<&[u8]> {
        let len = (end - start) as usize;
        if let Some(all) = self.source.as_slice() {
            return Ok(&all[start as usize..][..len]);
        }
        if start < self.held.start || end > self.held.end {
            let want = (end - start).max(READ).min(self.size - start);
            if self.buffer.len() < want as usize {
                self.buffer.resize(want as usize, 0);
            }
            self.held = 0..0;
            self.source.read_exact_at(start, &mut self.buffer[..want as usize])?;
            self.held = start..start + want;
        }
        Ok(&self.buffer[(start - self.held.start) as usize..][..len])
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    fn kinds(bytes: &[u8]) -> Vec<Next> {
        let mut scan = Scan::new(&bytes);
        let mut out = Vec::new();
        loop {
            let next = scan.next().unwrap();
            out.push(next);
            if !matches!(next, Next::Box(_)) {
                return out;
            }
        }
    }

    fn top(kind: &[u8; 4], start: u64, body: u64, end: u64, overruns: bool) -> Next {
        Next::Box(Top { kind: FourCc(*kind), start, body, end, overruns })
    }

    #[test]
    fn sizes() {
        assert_eq!(kinds(b""), [Next::End]);
        assert_eq!(kinds(b"\0\0\0\x08free"), [top(b"free", 0, 8, 8, false), Next::End]);
        assert_eq!(kinds(b"\0\0\0\0mdatxy"), [top(b"mdat", 0, 8, 10, false), Next::End]);
        assert_eq!(kinds(b"\0\0\0\x01mdat\0\0\0\0\0\0\0\x11x"), [top(b"mdat", 0, 16, 17, false), Next::End]);
        assert_eq!(kinds(b"\0\0\0\x0cmdatxy"), [top(b"mdat", 0, 8, 10, true), Next::End]);
        assert_eq!(kinds(b"\0\0\0\x08freexyz"), [top(b"free", 0, 8, 8, false), Next::Garbage(8)]);
    }

    #[test]
    fn what_is_no_box() {
        for bytes in [&b"\0\0\0\x07free"[..], b"\0\0\0\x01mdat\0\0\0\0\0\0\0\x0f", b"\0\0\0\x01mdat", &[0; 64]] {
            assert_eq!(kinds(bytes), [Next::Garbage(0)], "{bytes:?}");
        }
    }
}
