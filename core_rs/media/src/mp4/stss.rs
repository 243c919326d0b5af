//! Sync samples. Lives in `stbl`. ISO/IEC 14496-12 8.6.2.

use crate::Result;
use crate::reader::Reader;

/// Numbers of the random access points, counted from 1.
#[derive(Clone, Copy, Debug)]
pub(super) struct Stss<'a>(&'a [[u8; 4]]);

impl<'a> Stss<'a> {
    pub(super) fn parse(mut r: Reader<'a>) -> Result<Self> {
        r.full_box()?;
        Ok(Self(r.table()?))
    }

    pub(super) fn is_empty(&self) -> bool {
        self.0.is_empty()
    }

    /// One bit a sample for `count` samples, lowest first. Numbers are not trusted to rise; one beyond the last sample says nothing.
    pub(super) fn bits(&self, count: u32) -> Vec<u64> {
        let mut bits = vec![0u64; (count as usize).div_ceil(64)];
        for row in self.0 {
            let number = u32::from_be_bytes(*row);
            if (1..=count).contains(&number) {
                let index = number as usize - 1;
                bits[index / 64] |= 1 << (index % 64);
            }
        }
        bits
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn numbers_count_from_one() {
        let bytes = [0, 0, 0, 0, 0, 0, 0, 4, 0, 0, 0, 1, 0, 0, 0, 0, 0, 0, 0, 70, 0, 0, 0, 71];
        let stss = Stss::parse(Reader::new(&bytes, 0)).unwrap();
        assert_eq!(stss.bits(70), [1, 1 << 5]);
        assert!(!stss.is_empty());
        assert!(Stss::parse(Reader::new(&bytes[..23], 0)).is_err());
    }
}
