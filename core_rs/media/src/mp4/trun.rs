//! Track fragment run. Lives in `traf`. ISO/IEC 14496-12 8.8.8.

use super::trex::Trex;
use crate::Result;
use crate::reader::Reader;

/// A run of samples that lie one after the other.
#[derive(Clone, Copy, Debug)]
pub(super) struct Trun<'a> {
    pub(super) data_offset: Option<i32>,
    pub(super) count: u32,
    first_flags: Option<u32>,
    present: u32,
    /// Rows of as many numbers as there are fields, in the order of the constants below.
    rows: &'a [[u8; 4]],
    defaults: Trex,
}

/// A sample of a run.
#[derive(Clone, Copy, Debug, Eq, PartialEq)]
pub(super) struct RunSample {
    pub(super) duration: u32,
    pub(super) size: u32,
    pub(super) flags: u32,
    /// Signed in both versions, as in `ctts`.
    pub(super) cts: i32,
}

const DURATION: u32 = 0x100;
const SIZE: u32 = 0x200;
const FLAGS: u32 = 0x400;
const CTS: u32 = 0x800;
const FIELDS: u32 = DURATION | SIZE | FLAGS | CTS;

impl<'a> Trun<'a> {
    pub(super) fn parse(mut r: Reader<'a>, defaults: Trex) -> Result<Self> {
        let (_, present) = r.full_box()?;
        let here = r;
        let count = r.u32()?;
        let data_offset = if present & 1 != 0 { Some(r.i32()?) } else { None };
        let first_flags = if present & 4 != 0 { Some(r.u32()?) } else { None };
        let row = 4 * u64::from((present & FIELDS).count_ones());
        let bytes = u64::from(count) * row;
        if bytes > r.remaining() as u64 {
            return Err(here.malformed(format!("{count} samples of {row} bytes in {} bytes", r.remaining())));
        }
        let rows = r.take(bytes as usize)?.as_chunks().0;
        Ok(Self { data_offset, count, first_flags, present, rows, defaults })
    }

    /// Whether every sample is of one size by default: then [`Self::count`] is a claim that no row pays for.
    pub(super) fn is_constant(&self) -> bool {
        self.present & FIELDS == 0
    }

    /// Bytes of all samples together. At most 2^64: a count and a size of 32 bits each.
    pub(super) fn data_len(&self) -> u64 {
        if self.present & SIZE == 0 {
            return u64::from(self.count) * u64::from(self.defaults.size);
        }
        let fields = (self.present & FIELDS).count_ones() as usize;
        let size = (self.present & DURATION).count_ones() as usize;
        self.rows.iter().skip(size).step_by(fields).map(|&size| u64::from(u32::from_be_bytes(size))).sum()
    }

    pub(super) fn samples(&self) -> impl Iterator<Item = RunSample> + use<'a> {
        let Self { present, rows, defaults, first_flags, count, .. } = *self;
        let mut rows = rows.iter();
        // `parse` made sure that there is a row for each sample.
        let mut field = move |bit: u32, default: u32| {
            if present & bit == 0 { default } else { rows.next().map_or(default, |&word| u32::from_be_bytes(word)) }
        };
        (0..count).map(move |i| {
            let (duration, size) = (field(DURATION, defaults.duration), field(SIZE, defaults.size));
            let flags = field(FLAGS, defaults.flags);
            // first_sample_flags stands for the flags of the first sample only (8.8.8.1).
            let flags = first_flags.filter(|_| i == 0).unwrap_or(flags);
            RunSample { duration, size, flags, cts: field(CTS, 0) as i32 }
        })
    }
}

impl RunSample {
    /// A random access point: no sample_is_non_sync_sample, and sample_depends_on does not say that it needs others
    /// (8.8.3.1). Writers that leave the first bit alone often set the second field.
    pub(super) fn sync(&self) -> bool {
        self.flags & 0x1_0000 == 0 && self.flags >> 24 & 3 != 1
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    const DEFAULTS: Trex = Trex { track_id: 1, description: 1, duration: 512, size: 9, flags: 0x1_0000 };

    #[test]
    fn fields_come_from_rows_or_defaults() {
        let bytes = [
            &[1, 0, 0x0a, 5, 0, 0, 0, 2, 0, 0, 0, 100, 2, 0, 0, 0][..],
            &[0, 0, 0, 7, 0xff, 0xff, 0xff, 0xff],
            &[0, 0, 0, 8, 0, 0, 0, 1],
        ]
        .concat();
        let trun = Trun::parse(Reader::new(&bytes, 0), DEFAULTS).unwrap();
        let samples: Vec<_> = trun.samples().collect();
        assert_eq!(samples[0], RunSample { duration: 512, size: 7, flags: 0x0200_0000, cts: -1 });
        assert_eq!(samples[1], RunSample { duration: 512, size: 8, flags: 0x1_0000, cts: 1 });
        assert_eq!([samples[0].sync(), samples[1].sync()], [true, false]);
        assert_eq!((trun.data_offset, trun.data_len(), trun.is_constant()), (Some(100), 15, false));
        assert!(Trun::parse(Reader::new(&bytes[..31], 0), DEFAULTS).is_err());
    }

    #[test]
    fn sizes_are_found_between_other_fields() {
        let bytes = [&[0, 0, 3, 0, 0, 0, 0, 2][..], &[0, 0, 4, 0, 0, 0, 0, 7], &[0, 0, 4, 0, 0, 0, 0, 8]].concat();
        let trun = Trun::parse(Reader::new(&bytes, 0), DEFAULTS).unwrap();
        assert_eq!((trun.data_len(), trun.samples().map(|sample| sample.duration).sum::<u32>()), (15, 2048));
    }

    #[test]
    fn a_run_without_rows_takes_no_memory() {
        let trun = Trun::parse(Reader::new(&[0, 0, 0, 0, 0xff, 0xff, 0xff, 0xff], 0), DEFAULTS).unwrap();
        assert_eq!((trun.data_len(), trun.is_constant()), (9 * 0xffff_ffff, true));
    }

    #[test]
    fn depends_on_others_is_no_sync_sample() {
        let sync = |flags| RunSample { duration: 0, size: 0, flags, cts: 0 }.sync();
        assert_eq!([sync(0), sync(0x0200_0000), sync(0x0100_0000), sync(0x1_0000)], [true, true, false, false]);
    }
}
