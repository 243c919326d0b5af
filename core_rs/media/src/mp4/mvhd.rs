//! Movie header. Lives in `moov`. ISO/IEC 14496-12 8.2.2.

use crate::Result;
use crate::reader::Reader;

/// What is used of it.
#[derive(Clone, Copy, Debug, Default, Eq, PartialEq)]
pub(super) struct Mvhd {
    /// Ticks a second of edit durations; 0 is left for [`super::edits`] to judge, since it may never be needed.
    pub(super) timescale: u32,
}

impl Mvhd {
    pub(super) fn parse(mut r: Reader<'_>) -> Result<Self> {
        let (version, _) = r.full_box()?;
        r.skip(if version == 1 { 16 } else { 8 })?; // creation_time, modification_time
        Ok(Self { timescale: r.u32()? })
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn both_versions() {
        let v0 = [&[0; 12][..], &[0, 0, 3, 0xe8, 0xff, 0xff, 0xff, 0xff]].concat();
        assert_eq!(Mvhd::parse(Reader::new(&v0, 0)).unwrap(), Mvhd { timescale: 1000 });
        let v1 = [&[1, 0, 0, 0][..], &[0; 16], &[0, 0, 3, 0xe8, 0, 0, 0, 0, 0, 0, 0, 9]].concat();
        assert_eq!(Mvhd::parse(Reader::new(&v1, 0)).unwrap(), Mvhd { timescale: 1000 });
        assert!(Mvhd::parse(Reader::new(&v1[..23], 0)).is_err());
    }
}
