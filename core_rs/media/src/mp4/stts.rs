//! Decoding time to sample. Lives in `stbl`. ISO/IEC 14496-12 8.6.1.2.

use super::runs::runs;
use crate::Result;
use crate::reader::Reader;

/// How long each sample lasts, media ticks.
#[derive(Clone, Copy, Debug)]
pub(super) struct Stts<'a>(&'a [[u8; 8]]);

impl<'a> Stts<'a> {
    pub(super) fn parse(mut r: Reader<'a>) -> Result<Self> {
        r.full_box()?;
        Ok(Self(r.table()?))
    }

    /// `(count, delta)` of at most `limit` samples.
    pub(super) fn runs(&self, limit: u32) -> impl Iterator<Item = (u32, u32)> + use<'a> {
        runs(self.0, limit)
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn stts() {
        let bytes = [0, 0, 0, 0, 0, 0, 0, 1, 0, 0, 0, 3, 0, 0, 4, 0];
        let stts = Stts::parse(Reader::new(&bytes, 0)).unwrap();
        assert_eq!(stts.runs(9).collect::<Vec<_>>(), [(3, 1024)]);
        assert!(Stts::parse(Reader::new(&bytes[..15], 0)).is_err());
    }
}
