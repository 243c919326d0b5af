//! Bounds arithmetic, all of it.
//!
//! A [`Reader`] walks over bytes that were read from the source and knows where they came from, so that each error says at
//! which byte of the file. Lengths and counts in a file are claims: they are believed up to the bytes that are really there.

use std::fmt;

use crate::{Error, Result};

/// A box or handler type, a codec or a brand.
#[derive(Clone, Copy, Default, Eq, PartialEq)]
pub struct FourCc(pub [u8; 4]);

impl fmt::Display for FourCc {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        for byte in self.0 {
            match byte {
                b' '..=b'~' => write!(f, "{}", char::from(byte))?,
                _ => write!(f, "\\x{byte:02x}")?,
            }
        }
        Ok(())
    }
}

impl fmt::Debug for FourCc {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        write!(f, "'{self}'")
    }
}

/// Reads big-endian numbers, tables and boxes from a part of the source.
#[derive(Clone, Copy, Debug)]
pub(crate) struct Reader<'a> {
    bytes: &'a [u8],
    /// Where the first of `bytes` lies in the source.
    offset: u64,
}

/// A box inside a container.
#[derive(Clone, Copy, Debug)]
pub(crate) struct Child<'a> {
    pub(crate) kind: FourCc,
    /// What follows the header.
    pub(crate) body: Reader<'a>,
    /// The whole box, header included.
    pub(crate) raw: &'a [u8],
}

impl<'a> Reader<'a> {
    pub(crate) fn new(bytes: &'a [u8], offset: u64) -> Self {
        Self { bytes, offset }
    }

    /// Where the next byte lies in the source.
    pub(crate) fn offset(&self) -> u64 {
        self.offset
    }

    pub(crate) fn remaining(&self) -> usize {
        self.bytes.len()
    }

    pub(crate) fn rest(&self) -> &'a [u8] {
        self.bytes
    }

    /// An error about the bytes that come next.
    pub(crate) fn malformed(&self, message: impl Into<String>) -> Error {
        Error::malformed(message).at(self.offset)
    }

    pub(crate) fn take(&mut self, len: usize) -> Result<&'a [u8]> {
        let Some((taken, rest)) = self.bytes.split_at_checked(len) else {
            return Err(self.malformed(format!("{len} bytes wanted, but the box ends after {}", self.bytes.len())));
        };
        self.bytes = rest;
        self.offset += len as u64;
        Ok(taken)
    }

    /// A reader over the next `len` bytes.
    pub(crate) fn sub(&mut self, len: usize) -> Result<Reader<'a>> {
        let offset = self.offset;
        Ok(Reader { bytes: self.take(len)?, offset })
    }

    pub(crate) fn skip(&mut self, len: usize) -> Result<()> {
        self.take(len).map(drop)
    }

    pub(crate) fn array<const N: usize>(&mut self) -> Result<[u8; N]> {
        let taken = self.take(N)?;
        let mut array = [0; N];
        array.copy_from_slice(taken);
        Ok(array)
    }

    pub(crate) fn u8(&mut self) -> Result<u8> {
        Ok(self.array::<1>()?[0])
    }

    pub(crate) fn u16(&mut self) -> Result<u16> {
        self.array().map(u16::from_be_bytes)
    }

    pub(crate) fn u32(&mut self) -> Result<u32> {
        self.array().map(u32::from_be_bytes)
    }

    pub(crate) fn i32(&mut self) -> Result<i32> {
        self.array().map(i32::from_be_bytes)
    }

    pub(crate) fn u64(&mut self) -> Result<u64> {
        self.array().map(u64::from_be_bytes)
    }

    pub(crate) fn fourcc(&mut self) -> Result<FourCc> {
        self.array().map(FourCc)
    }

    /// Version and flags of a full box (ISO/IEC 14496-12 4.2).
    pub(crate) fn full_box(&mut self) -> Result<(u8, u32)> {
        let word = self.u32()?;
        Ok(((word >> 24) as u8, word & 0xff_ffff))
    }

    /// A counted table of rows of `N` bytes.
    ///
    /// The count is a claim by whoever wrote the file. It is believed only up to the bytes that are really there, so a
    /// 40-byte file cannot ask for 32 GiB. Rows stay where they are; nothing is allocated.
    pub(crate) fn table<const N: usize>(&mut self) -> Result<&'a [[u8; N]]> {
        let here = *self;
        let count = self.u32()? as usize;
        if count > self.bytes.len() / N {
            return Err(here.malformed(format!("{count} entries of {N} bytes in {} bytes", self.bytes.len())));
        }
        Ok(self.take(count * N)?.as_chunks().0)
    }

    /// The next box of a container; `None` at its end.
    ///
    /// QuickTime ends some containers with four zero bytes, and some writers pad with fewer than eight bytes of anything.
    pub(crate) fn child(&mut self) -> Result<Option<Child<'a>>> {
        let start = *self;
        if self.bytes.len() < 8 {
            return Ok(None);
        }
        let size = self.u32()?;
        let kind = self.fourcc()?;
        if size == 0 && kind == FourCc([0; 4]) {
            return Ok(None);
        }
        let wrong = |message: String| start.malformed(message).within(kind);
        let size = match size {
            0 => start.bytes.len() as u64,
            1 => self.u64().map_err(|error| error.within(kind))?,
            _ => u64::from(size),
        };
        let header = start.bytes.len() - self.bytes.len();
        let whole = usize::try_from(size).ok().filter(|&size| size <= start.bytes.len());
        let Some(whole) = whole else {
            return Err(wrong(format!(
                "box of {size} bytes runs past its parent, which has {} left",
                start.bytes.len()
            )));
        };
        if whole < header {
            return Err(wrong(format!("box of {size} bytes is smaller than its own header")));
        }
        let body = self.sub(whole - header)?;
        Ok(Some(Child { kind, body, raw: &start.bytes[..whole] }))
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn numbers_are_big_endian_and_bounded() {
        let mut r = Reader::new(&[1, 2, 3, 4, 5, 6, 7], 100);
        assert_eq!((r.u8().unwrap(), r.u16().unwrap(), r.u32().unwrap()), (1, 0x0203, 0x0405_0607));
        let error = r.u8().unwrap_err();
        assert_eq!((error.offset(), error.kind()), (Some(107), crate::ErrorKind::Malformed));
    }

    #[test]
    fn a_count_is_believed_up_to_the_bytes_present() {
        let mut r = Reader::new(&[0, 0, 0, 2, 1, 1, 2, 2, 9], 0);
        assert_eq!(r.table::<2>().unwrap(), [[1, 1], [2, 2]]);
        assert_eq!(r.rest(), [9]);
        assert!(Reader::new(&[0xff; 40], 0).table::<8>().is_err());
    }

    #[test]
    fn children_and_their_ends() {
        let one = |bytes: &'static [u8]| Reader::new(bytes, 0).child();
        assert!(one(b"").unwrap().is_none());
        assert!(one(b"\0\0\0\0").unwrap().is_none());
        assert!(one(b"\0\0\0\0\0\0\0\0more").unwrap().is_none());
        assert_eq!(one(b"\0\0\0\x09freeXY").unwrap().unwrap().body.rest(), b"X");
        assert_eq!(one(b"\0\0\0\0freeXY").unwrap().unwrap().body.rest(), b"XY");
        assert_eq!(one(b"\0\0\0\x01free\0\0\0\0\0\0\0\x11X").unwrap().unwrap().body.rest(), b"X");
        for bad in
            [&b"\0\0\0\x0bfreeXY"[..], b"\0\0\0\x07freeXY", b"\0\0\0\x01free\0\0\0\0\0\0\0\x0fX", b"\0\0\0\x01free\0\0"]
        {
            let error = Reader::new(bad, 0).child().unwrap_err();
            assert_eq!(error.path(), "free", "{bad:?}");
        }
    }
}
