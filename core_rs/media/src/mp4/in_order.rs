//! Sound is presented in the order in which it is decoded.
//!
//! A frame of sound never waits for a later one, so composition offsets say nothing that decoding times could not say. Some
//! writers delay a whole track by them and forget frames (or write the first one only): two frames then have one time.

use std::cmp::Reverse;
use std::collections::BTreeMap;

use crate::column::Column;
use crate::track::Samples;

/// Gives a track of sound presentation times as decoding times, and no composition offsets.
///
/// Where presentation times do not rise, the most common offset counts for all. Returns how many frames had another one.
pub(super) fn present_in_order(samples: &mut Samples) -> u64 {
    if samples.cts.is_empty() {
        return 0;
    }
    let count = samples.len();
    let rises = samples.iter(0..count).zip(samples.iter(0..count).skip(1)).all(|(a, b)| a.pts < b.pts);
    let mut others = 0;
    if rises {
        samples.dts = samples.iter(0..count).map(|sample| sample.pts).collect();
    } else {
        let mut offsets: BTreeMap<i64, u64> = BTreeMap::new();
        for sample in samples.iter(0..count) {
            *offsets.entry(sample.pts - sample.dts).or_default() += 1;
        }
        let common = offsets.into_iter().max_by_key(|&(offset, frames)| (frames, Reverse(offset)));
        let (offset, frames) = common.unwrap_or_default();
        others = count as u64 - frames;
        samples.dts = samples.iter(0..count).map(|sample| sample.dts + offset).collect();
    }
    samples.cts = Column::default();
    others
}

#[cfg(test)]
mod tests {
    use super::*;

    /// Frames at 0, 10, 20... with these offsets: their times afterwards, and how many had another offset.
    fn times(offsets: &[i64]) -> (Vec<i64>, u64) {
        let count = offsets.len() as i64;
        let mut samples = Samples {
            offsets: (0..count).collect(),
            sizes: (0..count).collect(),
            dts: (0..count).map(|i| i * 10).collect(),
            cts: offsets.iter().copied().collect(),
            ..Samples::default()
        };
        let others = present_in_order(&mut samples);
        assert!(samples.iter(0..samples.len()).all(|sample| sample.pts == sample.dts));
        (samples.iter(0..samples.len()).map(|sample| sample.pts).collect(), others)
    }

    #[test]
    fn offsets_go_into_decoding_times() {
        assert_eq!(times(&[]), (vec![], 0));
        assert_eq!(times(&[5, 5, 5]), (vec![5, 15, 25], 0));
        assert_eq!(times(&[9, 0, 3]), (vec![9, 10, 23], 0));
    }

    #[test]
    fn where_times_do_not_rise_the_most_common_offset_counts() {
        assert_eq!(times(&[10, 0, 0]), (vec![0, 10, 20], 1));
        assert_eq!(times(&[7, 7, 7, 99, 0]), (vec![7, 17, 27, 37, 47], 2));
        // As common as another: the lesser.
        assert_eq!(times(&[30, 0]), (vec![0, 10], 1));
    }
}
