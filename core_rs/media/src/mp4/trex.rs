//! Track extends defaults. Lives in `mvex`. ISO/IEC 14496-12 8.8.3.

use crate::Result;
use crate::reader::Reader;

/// What holds for a fragment's samples unless the fragment says otherwise.
#[derive(Clone, Copy, Debug, Eq, PartialEq)]
pub(super) struct Trex {
    pub(super) track_id: u32,
    /// Index into `stsd`, counted from 1.
    pub(super) description: u32,
    pub(super) duration: u32,
    pub(super) size: u32,
    pub(super) flags: u32,
}

/// What holds where `mvex` forgot the track: the first sample entry.
impl Default for Trex {
    fn default() -> Self {
        Self { track_id: 0, description: 1, duration: 0, size: 0, flags: 0 }
    }
}

impl Trex {
    pub(super) fn parse(mut r: Reader<'_>) -> Result<Self> {
        r.full_box()?;
        Ok(Self { track_id: r.u32()?, description: r.u32()?, duration: r.u32()?, size: r.u32()?, flags: r.u32()? })
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn trex() {
        let bytes = [0, 0, 0, 0, 0, 0, 0, 1, 0, 0, 0, 2, 0, 0, 0, 3, 0, 0, 0, 4, 0, 1, 0, 0];
        let expected = Trex { track_id: 1, description: 2, duration: 3, size: 4, flags: 0x1_0000 };
        assert_eq!(Trex::parse(Reader::new(&bytes, 0)).unwrap(), expected);
        assert!(Trex::parse(Reader::new(&bytes[..23], 0)).is_err());
    }
}
