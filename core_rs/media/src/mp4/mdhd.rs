//! Media header. Lives in `mdia`. ISO/IEC 14496-12 8.4.2.

use crate::Result;
use crate::reader::Reader;

/// What is used of it.
#[derive(Clone, Debug, Default, Eq, PartialEq)]
pub(super) struct Mdhd {
    /// Ticks a second; 0 is an error only where the track is to be carried.
    pub(super) timescale: u32,
    /// ISO 639-2/T, `und` where the file does not say.
    pub(super) language: String,
}

impl Mdhd {
    pub(super) fn parse(mut r: Reader<'_>) -> Result<Self> {
        let (version, _) = r.full_box()?;
        r.skip(if version == 1 { 16 } else { 8 })?; // creation_time, modification_time
        let timescale = r.u32()?;
        r.skip(if version == 1 { 8 } else { 4 })?; // duration
        Ok(Self { timescale, language: language(r.u16()?) })
    }
}

/// Three letters of five bits, each above 0x60. Anything else (QuickTime's Macintosh language numbers) says nothing here.
fn language(packed: u16) -> String {
    let letters = [10, 5, 0].map(|shift| 0x60 + (packed >> shift & 0x1f) as u8);
    if letters.iter().all(u8::is_ascii_lowercase) { letters.map(char::from).iter().collect() } else { "und".to_owned() }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn timescale_and_language() {
        let v0 = [&[0; 12][..], &[0, 1, 0x5f, 0x90, 0, 0, 0, 0, 0x15, 0xc7, 0, 0]].concat();
        let mdhd = Mdhd::parse(Reader::new(&v0, 0)).unwrap();
        assert_eq!((mdhd.timescale, mdhd.language.as_str()), (90_000, "eng"));
        assert!(Mdhd::parse(Reader::new(&v0[..21], 0)).is_err());
        assert_eq!(["und", "und", "und"], [0, 0x7fff, 0x55c4].map(language).as_slice());
    }
}
