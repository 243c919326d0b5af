//! Track header. Lives in `trak`. ISO/IEC 14496-12 8.3.2.

use crate::Result;
use crate::reader::Reader;

/// What is used of it.
#[derive(Clone, Copy, Debug, Default, Eq, PartialEq)]
pub(super) struct Tkhd {
    /// `track_enabled`, the lowest flag.
    pub(super) enabled: bool,
    pub(super) id: u32,
    pub(super) matrix: [i32; 9],
}

impl Tkhd {
    pub(super) fn parse(mut r: Reader<'_>) -> Result<Self> {
        let (version, flags) = r.full_box()?;
        let wide = version == 1;
        r.skip(if wide { 16 } else { 8 })?; // creation_time, modification_time
        let id = r.u32()?;
        r.skip(4 + if wide { 8 } else { 4 })?; // reserved, duration
        r.skip(16)?; // reserved, layer, alternate_group, volume, reserved
        let mut matrix = [0; 9];
        for value in &mut matrix {
            *value = r.i32()?;
        }
        Ok(Self { enabled: flags & 1 == 1, id, matrix })
    }

    /// Clockwise degrees; 0 for a matrix that turns by no right angle.
    pub(super) fn rotation(&self) -> u16 {
        let [a, b, _, c, d, ..] = self.matrix;
        match (a.signum(), b.signum(), c.signum(), d.signum()) {
            (0, 1, -1, 0) => 90,
            (-1, 0, 0, -1) => 180,
            (0, -1, 1, 0) => 270,
            _ => 0,
        }
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn flag_id_and_rotation() {
        for (turn, degrees) in [([1, 0, 0, 1], 0), ([0, 1, -1, 0], 90), ([-1, 0, 0, -1], 180), ([0, -1, 1, 0], 270)] {
            for (version, before, between) in [(0, 8, 8), (1, 16, 12)] {
                let mut bytes = vec![version, 0, 0, 7];
                bytes.extend(vec![0; before]);
                bytes.extend([0, 0, 0, 5]);
                bytes.extend(vec![0; between + 16]);
                for value in [turn[0], turn[1], 0, turn[2], turn[3], 0, 0, 0, 1] {
                    bytes.extend((value * 0x1_0000i32).to_be_bytes());
                }
                let tkhd = Tkhd::parse(Reader::new(&bytes, 0)).unwrap();
                assert_eq!((tkhd.id, tkhd.rotation()), (5, degrees));
                assert!(tkhd.enabled);
                assert!(Tkhd::parse(Reader::new(&bytes[..bytes.len() - 1], 0)).is_err());
                bytes[3] = 6;
                assert!(!Tkhd::parse(Reader::new(&bytes, 0)).unwrap().enabled);
            }
        }
    }
}
