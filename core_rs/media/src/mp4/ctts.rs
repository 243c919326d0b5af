//! Composition time to sample. Lives in `stbl`. ISO/IEC 14496-12 8.6.1.3.

use super::runs::runs;
use crate::Result;
use crate::reader::Reader;

/// Presentation time minus decoding time of each sample, media ticks.
#[derive(Clone, Copy, Debug)]
pub(super) struct Ctts<'a>(&'a [[u8; 8]]);

impl<'a> Ctts<'a> {
    pub(super) fn parse(mut r: Reader<'a>) -> Result<Self> {
        r.full_box()?;
        Ok(Self(r.table()?))
    }

    /// `(count, offset)` of at most `limit` samples.
    ///
    /// Signed in both versions. Version 0 is unsigned by the clause, but QuickTime writes negative offsets into it, and an
    /// offset of 2^31 ticks or more is none; ffmpeg reads it the same way.
    pub(super) fn runs(&self, limit: u32) -> impl Iterator<Item = (u32, i32)> + use<'a> {
        runs(self.0, limit).map(|(count, value)| (count, value as i32))
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn both_versions_are_signed() {
        for version in [0, 1] {
            let bytes = [version, 0, 0, 0, 0, 0, 0, 2, 0, 0, 0, 1, 0, 0, 4, 0, 0, 0, 0, 2, 0xff, 0xff, 0xfe, 0];
            let ctts = Ctts::parse(Reader::new(&bytes, 0)).unwrap();
            assert_eq!(ctts.runs(9).collect::<Vec<_>>(), [(1, 1024), (2, -512)]);
        }
    }
}
