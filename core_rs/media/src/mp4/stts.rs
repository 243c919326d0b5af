//! Decoding time to sample. Lives in `stbl`. ISO/IEC 14496-12 8.6.1.2.

use super::runs::Runs;
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

    pub(super) fn deltas(&self) -> Runs<'a> {
        Runs::new(self.0)
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn stts() {
        let bytes = [0, 0, 0, 0, 0, 0, 0, 1, 0, 0, 0, 3, 0, 0, 4, 0];
        let deltas: Vec<u32> = Stts::parse(Reader::new(&bytes, 0)).unwrap().deltas().collect();
        assert_eq!(deltas, [1024; 3]);
        assert!(Stts::parse(Reader::new(&bytes[..15], 0)).is_err());
    }
}
