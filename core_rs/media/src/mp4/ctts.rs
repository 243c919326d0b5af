//! Composition time to sample. Lives in `stbl`. ISO/IEC 14496-12 8.6.1.3.

use super::runs::Runs;
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

    /// Signed in both versions. Version 0 is unsigned by the clause, but QuickTime writes negative offsets into it, and an
    /// offset of 2^31 ticks or more is none; ffmpeg reads it the same way.
    pub(super) fn offsets(&self) -> impl Iterator<Item = i32> + use<'a> {
        Runs::new(self.0).map(|value| value as i32)
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn both_versions_are_signed() {
        for version in [0, 1] {
            let bytes = [version, 0, 0, 0, 0, 0, 0, 2, 0, 0, 0, 1, 0, 0, 4, 0, 0, 0, 0, 2, 0xff, 0xff, 0xfe, 0];
            let offsets: Vec<i32> = Ctts::parse(Reader::new(&bytes, 0)).unwrap().offsets().collect();
            assert_eq!(offsets, [1024, -512, -512]);
        }
    }
}
