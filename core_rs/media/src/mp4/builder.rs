//! Packs the samples of a track while its tables are walked.

use std::ops::Range;

use super::edits::Timeline;
use super::stsz::SampleSizes;
use crate::column::{Column, ColumnBuilder};
use crate::track::{Samples, SyncSet};
use crate::{Error, Result, limits};

/// `(first sample, index into stsd counted from 1)`, a row for each change.
pub(super) type DescriptionRuns = Vec<(usize, u32)>;

/// Notes that samples from `first` on use `description`.
pub(super) fn note_description(runs: &mut DescriptionRuns, first: usize, description: u32) -> Result<()> {
    let full = runs.len() == limits::CONFIG_RUNS;
    match runs.last_mut() {
        Some(last) if last.1 == description => {}
        Some(last) if last.0 == first => last.1 = description,
        _ if full => {
            return Err(Error::limit(format!("more than {} changes of the sample entry", limits::CONFIG_RUNS)));
        }
        _ => runs.push((first, description)),
    }
    Ok(())
}

/// A sample as a fragment states it, times in ticks of the media.
#[derive(Clone, Copy, Debug)]
pub(super) struct Stated {
    pub(super) offset: u64,
    pub(super) size: u32,
    pub(super) dts: u64,
    pub(super) cts: i32,
    pub(super) sync: bool,
}

/// Packs samples: a column at a time from tables, one by one from fragments.
#[derive(Debug)]
pub(super) struct SamplesBuilder {
    offsets: ColumnBuilder,
    sizes: ColumnBuilder,
    dts: ColumnBuilder,
    /// Begun at the first offset that is not 0.
    cts: Option<ColumnBuilder>,
    /// Begun at the first sample that is no sync sample.
    sync: Option<Vec<u64>>,
    multiple: i64,
    shift: i64,
    source_size: u64,
    least_cts: i64,
    most_cts: i64,
    last_dts: i64,
    most_fall: i64,
    /// Samples of no bytes.
    empty: usize,
    /// Samples whose decoding time would have fallen.
    pub(super) held: u64,
    /// Samples that last no time, those that were held not counted, and whether the last one does.
    timeless: u64,
    ends_timeless: bool,
}

impl SamplesBuilder {
    pub(super) fn new(line: &Timeline, source_size: u64) -> Self {
        Self {
            offsets: ColumnBuilder::default(),
            sizes: ColumnBuilder::default(),
            dts: ColumnBuilder::default(),
            cts: None,
            sync: None,
            multiple: i64::from(line.multiple),
            shift: line.shift,
            source_size,
            least_cts: 0,
            most_cts: 0,
            last_dts: -limits::TICKS,
            most_fall: i64::from(line.timescale.get()) * limits::FALL_SECONDS,
            empty: 0,
            held: 0,
            timeless: 0,
            ends_timeless: false,
        }
    }

    /// Samples that have the decoding time of the one before them, though they do not fall behind it.
    pub(super) fn repeated(&self) -> u64 {
        // Nothing comes at the time of the last one.
        self.timeless - u64::from(self.ends_timeless)
    }

    /// Samples placed so far.
    pub(super) fn len(&self) -> usize {
        self.sizes.len()
    }

    /// Says how large the next `count` samples are, the first of `sizes`; returns the bytes of all of them.
    pub(super) fn size(&mut self, count: u32, sizes: &SampleSizes<'_>) -> u64 {
        let (empty, mut bytes) = (&mut self.empty, 0);
        self.sizes.push_slices(count as usize, |first, out| {
            sizes.read(first, out);
            *empty += out.iter().filter(|&&size| size == 0).count();
            // 2^32 samples of 2^32 bytes at most.
            bytes += out.iter().map(|&size| size as u64).sum::<u64>();
        });
        bytes
    }

    /// Places the samples of a chunk one after the other.
    #[inline]
    pub(super) fn place(&mut self, mut at: u64, sizes: &SampleSizes<'_>, range: Range<u32>) -> Result<()> {
        let start = at;
        for index in range.clone() {
            self.offsets.push(at as i64);
            at = at.saturating_add(u64::from(sizes.get(index)));
        }
        if at <= self.source_size { Ok(()) } else { self.find_outside(start, sizes, range) }
    }

    /// Finds the sample of a chunk at `at` that lies outside of the source, if one does: those of no bytes do not.
    #[cold]
    fn find_outside(&self, mut at: u64, sizes: &SampleSizes<'_>, range: Range<u32>) -> Result<()> {
        for index in range {
            let size = sizes.get(index);
            self.inside(at, size)
                .map_err(|error| Error::malformed(format!("sample {}: {error}", u64::from(index) + 1)))?;
            at = at.saturating_add(u64::from(size));
        }
        Ok(())
    }

    /// Gives the next `count` samples decoding times from `from` on, `delta` apart.
    pub(super) fn time(&mut self, count: u32, from: u64, delta: u32) -> Result<()> {
        if count == 0 {
            return Ok(());
        }
        let last = u64::from(count - 1) * u64::from(delta);
        let first = self.ticks(from)?;
        self.last_dts = self.ticks(from.saturating_add(last))?;
        self.ends_timeless = delta == 0;
        self.timeless += if delta == 0 { u64::from(count) } else { 0 };
        let step = i64::from(delta) * self.multiple;
        self.dts.push_line(first, step, count as usize);
        Ok(())
    }

    /// Gives the next `count` samples this composition offset.
    pub(super) fn compose(&mut self, count: u32, cts: i32) {
        // At most 2^31 times limits::TIMESCALE: far inside 64 bits.
        let cts = i64::from(cts) * self.multiple;
        self.least_cts = self.least_cts.min(cts);
        self.most_cts = self.most_cts.max(cts);
        self.cts.get_or_insert_default().push_line(cts, 0, count as usize);
    }

    /// Says which of the samples so far are sync samples; [`Stss::bits`](super::stss::Stss::bits) of just so many.
    pub(super) fn mark(&mut self, bits: Vec<u64>) {
        self.sync = Some(bits);
    }

    /// Appends a sample.
    pub(super) fn push(&mut self, sample: Stated) -> Result<()> {
        let len = self.len();
        self.inside(sample.offset, sample.size)?;
        let mut dts = self.ticks(sample.dts)?;
        let mut cts = i64::from(sample.cts) * self.multiple;
        if dts < self.last_dts {
            // Decoding order is file order; the presentation time is what must stay.
            if self.last_dts - dts > self.most_fall {
                return Err(Error::malformed(format!(
                    "its decoding time of {} ticks lies more than {} s before the preceding sample's",
                    sample.dts,
                    limits::FALL_SECONDS
                )));
            }
            cts -= self.last_dts - dts;
            dts = self.last_dts;
            self.held += 1;
        } else if dts == self.last_dts {
            self.timeless += 1;
        }
        self.last_dts = dts;
        if cts != 0 && self.cts.is_none() {
            self.compose(len as u32, 0);
        }
        if let Some(column) = &mut self.cts {
            column.push(cts);
            self.least_cts = self.least_cts.min(cts);
            self.most_cts = self.most_cts.max(cts);
        }
        if !sample.sync && self.sync.is_none() {
            let mut bits = vec![u64::MAX; len / 64];
            if !len.is_multiple_of(64) {
                bits.push((1 << (len % 64)) - 1);
            }
            self.sync = Some(bits);
        }
        if let Some(bits) = &mut self.sync {
            if len.is_multiple_of(64) {
                bits.push(0);
            }
            if sample.sync {
                bits[len / 64] |= 1 << (len % 64);
            }
        }
        self.offsets.push(sample.offset as i64);
        self.sizes.push(i64::from(sample.size));
        self.dts.push(dts);
        self.empty += usize::from(sample.size == 0);
        Ok(())
    }

    fn inside(&self, offset: u64, size: u32) -> Result<()> {
        let end = offset.checked_add(u64::from(size));
        if size > 0 && end.is_none_or(|end| end > self.source_size) {
            return Err(Error::malformed(format!(
                "its {size} bytes at {offset} run past the end of the file, which has {} bytes",
                self.source_size
            )));
        }
        Ok(())
    }

    /// A media time on the presentation's time line.
    fn ticks(&self, time: u64) -> Result<i64> {
        let ticks = i64::try_from(time).ok().and_then(|time| time.checked_mul(self.multiple)?.checked_add(self.shift));
        ticks
            .filter(|ticks| ticks.abs() <= limits::TICKS)
            .ok_or_else(|| Error::malformed(format!("a decoding time of {time} ticks is more than any clock counts")))
    }

    /// The columns, and the largest composition offset. `last_duration` in ticks of the media.
    ///
    /// Where composition offsets are negative, decoding times move earlier by the largest of them (what `cslg` calls
    /// compositionToDTSShift, 8.6.1.4), so that no sample is presented before it is decoded. Samples of no bytes have nothing to
    /// decode and are taken out; `runs` of sample entries move with the others.
    pub(super) fn finish(self, last_duration: u32, runs: &mut DescriptionRuns) -> (Samples, i64) {
        let mut dts = self.dts.finish();
        let mut cts = self.cts.map(ColumnBuilder::finish).unwrap_or_default();
        let early = -self.least_cts;
        if early > 0 {
            dts = moved(&dts, -early);
            cts = moved(&cts, early);
        }
        let mut sync = self.sync;
        if let Some(bits) = &mut sync {
            bits.shrink_to_fit();
        }
        let mut samples = Samples {
            offsets: self.offsets.finish(),
            sizes: self.sizes.finish(),
            dts,
            cts,
            sync: sync.map_or(SyncSet::All, SyncSet::Some),
            last_duration: (i64::from(last_duration) * self.multiple).try_into().unwrap_or(u32::MAX),
        };
        if self.empty > 0 {
            samples = without_empty(&samples, runs);
        }
        (samples, self.most_cts + early)
    }
}

fn without_empty(samples: &Samples, runs: &mut DescriptionRuns) -> Samples {
    let kept: Vec<usize> = (0..samples.len()).filter(|&i| samples.sizes.get(i) > 0).collect();
    let column = |column: &Column| kept.iter().filter(|&&i| i < column.len()).map(|&i| column.get(i)).collect();
    let sync = match &samples.sync {
        SyncSet::All => SyncSet::All,
        some => {
            let mut bits = vec![0u64; kept.len().div_ceil(64)];
            for (to, _) in kept.iter().enumerate().filter(|&(_, &from)| some.contains(from)) {
                bits[to / 64] |= 1 << (to % 64);
            }
            SyncSet::Some(bits)
        }
    };
    for (first, _) in runs.iter_mut() {
        *first = kept.partition_point(|&index| index < *first);
    }
    // Of runs that nothing is left of, the last one to begin at a sample is that sample's.
    let len = kept.len();
    runs.retain(|&(first, _)| first < len);
    runs.reverse();
    runs.dedup_by_key(|&mut (first, _)| first);
    runs.reverse();
    Samples {
        offsets: column(&samples.offsets),
        sizes: column(&samples.sizes),
        dts: column(&samples.dts),
        cts: column(&samples.cts),
        sync,
        last_duration: samples.last_duration,
    }
}

fn moved(column: &Column, by: i64) -> Column {
    (0..column.len()).map(|i| column.get(i) + by).collect()
}

#[cfg(test)]
mod tests {
    use super::*;

    fn build(samples: &[(u64, i32, bool)]) -> Result<Samples> {
        let line = Timeline::new(&[], 1000, 1000, false)?;
        let mut builder = SamplesBuilder::new(&line, 1000);
        for &(dts, cts, sync) in samples {
            builder.push(Stated { offset: 10, size: 5, dts, cts, sync })?;
        }
        Ok(builder.finish(7, &mut Vec::new()).0)
    }

    fn times(samples: &Samples) -> Vec<(i64, i64, bool)> {
        samples.iter(0..samples.len()).map(|s| (s.dts, s.pts, s.sync)).collect()
    }

    #[test]
    fn nothing_is_kept_for_what_is_the_same_throughout() {
        let samples = build(&[(0, 0, true), (7, 0, true)]).unwrap();
        assert!(samples.cts.is_empty() && matches!(samples.sync, SyncSet::All));
        assert_eq!((samples.dts_end(0), samples.dts_end(1)), (7, 14));
    }

    #[test]
    fn late_beginnings_are_filled_up() {
        let mut stated: Vec<_> = (0..70).map(|i| (i, 0, true)).collect();
        stated.push((70, 3, false));
        stated.push((71, 0, true));
        let samples = build(&stated).unwrap();
        assert_eq!(samples.get(69), crate::track::Sample { offset: 10, size: 5, dts: 69, pts: 69, sync: true });
        assert_eq!(times(&samples)[70..], [(70, 73, false), (71, 71, true)]);
        assert!((0..70).all(|i| samples.sync.contains(i)));
    }

    #[test]
    fn decoding_never_comes_after_presentation() {
        let samples = build(&[(0, 0, true), (10, -4, false), (20, 2, false)]).unwrap();
        assert_eq!(times(&samples), [(-4, 0, true), (6, 6, false), (16, 22, false)]);
    }

    #[test]
    fn falling_decoding_times_are_held_and_presentation_times_stay() {
        let samples = build(&[(10, 5, true), (8, 9, false)]).unwrap();
        assert_eq!(times(&samples), [(10, 15, true), (10, 17, false)]);
        assert!(build(&[(20_000, 0, true), (9_000, 0, true)]).is_err());
    }

    #[test]
    fn bounds() {
        assert!(build(&[(1 << 60, 0, true)]).is_ok());
        assert!(build(&[((1 << 60) + 1, 0, true)]).is_err());
        assert!(build(&[(u64::MAX, 0, true)]).is_err());
        let line = Timeline::new(&[], 1000, 1000, false).unwrap();
        let mut builder = SamplesBuilder::new(&line, 1000);
        let mut at = |offset, size| builder.push(Stated { offset, size, dts: 0, cts: 0, sync: true });
        assert!(at(990, 10).is_ok());
        assert!(at(990, 11).is_err());
        assert!(at(u64::MAX, 1).is_err());
        assert!(at(u64::MAX, 0).is_ok());
        assert_eq!((builder.len(), builder.finish(0, &mut Vec::new()).0.len()), (2, 1));
    }
}
