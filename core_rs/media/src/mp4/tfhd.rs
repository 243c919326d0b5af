//! Track fragment header. Lives in `traf`. ISO/IEC 14496-12 8.8.7.

use super::trex::Trex;
use crate::Result;
use crate::reader::Reader;

/// From where data offsets of a fragment count.
#[derive(Clone, Copy, Debug, Eq, PartialEq)]
pub(super) enum Base {
    /// Written out.
    Offset(u64),
    /// The first byte of the `moof`.
    Moof,
    /// The `moof` for the first `traf`, the end of the preceding one's data for any other.
    Previous,
}

/// The fragment's track and what holds for its samples unless a run says otherwise.
#[derive(Clone, Copy, Debug, Eq, PartialEq)]
pub(super) struct Tfhd {
    pub(super) track_id: u32,
    pub(super) base: Base,
    description: Option<u32>,
    duration: Option<u32>,
    size: Option<u32>,
    flags: Option<u32>,
}

impl Tfhd {
    pub(super) fn parse(mut r: Reader<'_>) -> Result<Self> {
        let (_, present) = r.full_box()?;
        let track_id = r.u32()?;
        let base = match (present & 1 != 0, present & 0x2_0000 != 0) {
            (true, _) => Base::Offset(r.u64()?),
            (false, true) => Base::Moof,
            (false, false) => Base::Previous,
        };
        let mut field = |bit: u32| if present & bit != 0 { r.u32().map(Some) } else { Ok(None) };
        Ok(Self {
            track_id,
            base,
            description: field(0x2)?,
            duration: field(0x8)?,
            size: field(0x10)?,
            flags: field(0x20)?,
        })
    }

    /// What holds for the samples: this box before `trex`.
    pub(super) fn defaults(&self, trex: &Trex) -> Trex {
        Trex {
            track_id: self.track_id,
            description: self.description.unwrap_or(trex.description),
            duration: self.duration.unwrap_or(trex.duration),
            size: self.size.unwrap_or(trex.size),
            flags: self.flags.unwrap_or(trex.flags),
        }
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn fields_and_defaults() {
        let trex = Trex { track_id: 1, description: 1, duration: 512, size: 9, flags: 7 };
        let all = [
            &[0, 0, 0, 0x3b, 0, 0, 0, 1][..],
            &[0, 0, 0, 1, 0, 0, 0, 0],
            &[0, 0, 0, 2, 0, 0, 0, 3, 0, 0, 0, 4, 0, 0, 0, 5],
        ]
        .concat();
        let tfhd = Tfhd::parse(Reader::new(&all, 0)).unwrap();
        assert_eq!(tfhd.base, Base::Offset(1 << 32));
        assert_eq!(tfhd.defaults(&trex), Trex { track_id: 1, description: 2, duration: 3, size: 4, flags: 5 });
        let none = Tfhd::parse(Reader::new(&[0, 2, 0, 0, 0, 0, 0, 1], 0)).unwrap();
        assert_eq!((none.base, none.defaults(&trex)), (Base::Moof, trex));
        assert_eq!(Tfhd::parse(Reader::new(&[0, 0, 0, 0, 0, 0, 0, 1], 0)).unwrap().base, Base::Previous);
        assert!(Tfhd::parse(Reader::new(&all[..31], 0)).is_err());
    }
}
