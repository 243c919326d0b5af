//! Chunk offsets: `stco` and `co64`. Live in `stbl`. ISO/IEC 14496-12 8.7.5.

use crate::Result;
use crate::reader::Reader;

/// Where each chunk begins in the source.
#[derive(Clone, Copy, Debug)]
pub(super) enum ChunkOffsets<'a> {
    Stco(&'a [[u8; 4]]),
    Co64(&'a [[u8; 8]]),
}

impl<'a> ChunkOffsets<'a> {
    pub(super) fn parse_stco(mut r: Reader<'a>) -> Result<Self> {
        r.full_box()?;
        Ok(Self::Stco(r.table()?))
    }

    pub(super) fn parse_co64(mut r: Reader<'a>) -> Result<Self> {
        r.full_box()?;
        Ok(Self::Co64(r.table()?))
    }

    /// Number of chunks.
    pub(super) fn count(&self) -> u32 {
        match self {
            Self::Stco(rows) => rows.len() as u32,
            Self::Co64(rows) => rows.len() as u32,
        }
    }

    /// Where chunk `index`, counted from 0, begins.
    #[inline]
    pub(super) fn get(&self, index: u32) -> u64 {
        match self {
            Self::Stco(rows) => u64::from(u32::from_be_bytes(rows[index as usize])),
            Self::Co64(rows) => u64::from_be_bytes(rows[index as usize]),
        }
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn both_widths() {
        let stco = ChunkOffsets::parse_stco(Reader::new(&[0, 0, 0, 0, 0, 0, 0, 1, 0xff, 0, 0, 1], 0)).unwrap();
        assert_eq!((stco.count(), stco.get(0)), (1, 0xff00_0001));
        let co64 = ChunkOffsets::parse_co64(Reader::new(&[0, 0, 0, 0, 0, 0, 0, 1, 1, 0, 0, 0, 0, 0, 0, 2], 0)).unwrap();
        assert_eq!((co64.count(), co64.get(0)), (1, 1 << 56 | 2));
        assert!(ChunkOffsets::parse_co64(Reader::new(&[0, 0, 0, 0, 0xff, 0xff, 0xff, 0xff, 0, 0], 0)).is_err());
    }
}
