//! A rendition: the tracks that go into one media playlist, and where its segments begin.

use std::ops::Range;
use std::sync::Arc;

use crate::track::{Kind, Track};
use crate::{Error, ReadAt, Result};

/// A track and the source that holds its samples.
#[derive(Clone)]
pub struct Stream {
    /// Where the samples' bytes lie.
    pub source: Arc<dyn ReadAt>,
    /// The track.
    pub track: Arc<Track>,
    /// The first sample of each segment, and after the last segment its end: `segments + 1` indexes that never fall.
    pub bounds: Vec<usize>,
}

impl std::fmt::Debug for Stream {
    fn fmt(&self, f: &mut std::fmt::Formatter<'_>) -> std::fmt::Result {
        write!(f, "Stream(track {}, {} bounds)", self.track.id, self.bounds.len())
    }
}

impl Stream {
    /// Checks that the bounds are what a planner should have made. One segment has one decoder configuration: a player is
    /// told of another one by EXT-X-DISCONTINUITY and EXT-X-MAP, which stand between segments (RFC 8216 4.3.2.3, 4.3.2.5).
    ///
    /// # Errors
    /// [`crate::ErrorKind::Malformed`] where they are not.
    pub(crate) fn check(&self, segments: usize) -> Result<()> {
        let rising = self.bounds.windows(2).all(|pair| pair[0] <= pair[1]);
        let inside = self.bounds.last().is_some_and(|&end| end <= self.track.samples.len());
        if self.bounds.len() != segments + 1 || !rising || !inside {
            return Err(Error::malformed(format!("segment bounds do not fit track {}", self.track.id)));
        }
        let covered = self.covered();
        let changes = self.track.config_runs.iter().map(|&(first, _)| first);
        for first in changes.filter(|&first| covered.start < first && first < covered.end) {
            if self.bounds.binary_search(&first).is_err() {
                return Err(Error::malformed(format!(
                    "sample {first} of track {} begins a run of another decoder configuration, and no segment",
                    self.track.id
                )));
            }
        }
        Ok(())
    }

    /// The samples of all segments.
    pub(crate) fn covered(&self) -> Range<usize> {
        self.bounds.first().copied().unwrap_or(0)..self.bounds.last().copied().unwrap_or(0)
    }

    /// Which of the track's configurations the segments' samples need.
    pub(crate) fn configs_used(&self) -> Vec<bool> {
        let covered = self.covered();
        let mut used = vec![false; self.track.configs.len()];
        let runs = &self.track.config_runs;
        for (i, &(first, config)) in runs.iter().enumerate() {
            let end = runs.get(i + 1).map_or(self.track.samples.len(), |&(next, _)| next);
            used[config] |= first.max(covered.start) < end.min(covered.end);
        }
        used
    }

    pub(crate) fn is_video(&self) -> bool {
        self.track.kind == Kind::Video
    }
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::codec::aac::AacConfig;
    use crate::track::{Config, Samples, SyncSet};
    use crate::{ErrorKind, fmp4, ts};

    /// Ten frames of sound, one byte each: of `first` up to sample 4, of `second` up to 7, of `first` again.
    fn stream(first: &[u8], second: &[u8], bounds: &[usize]) -> Stream {
        let config = |asc: &[u8]| Config::Aac(AacConfig::parse(asc, b"entry").unwrap());
        let samples = Samples {
            offsets: (0..10).collect(),
            sizes: [1; 10].into_iter().collect(),
            dts: (0..10).map(|i| i * 1024).collect(),
            cts: [].into_iter().collect(),
            sync: SyncSet::All,
            last_duration: 1024,
        };
        let track = Track {
            id: 1,
            kind: Kind::Audio,
            enabled: true,
            language: "und".to_owned(),
            timescale: std::num::NonZeroU32::new(48_000).unwrap(),
            configs: vec![config(first), config(second)],
            config_runs: vec![(0, 0), (4, 1), (7, 0)],
            samples,
            shown: 0..10,
            rotation: 0,
            matrix: [0; 9],
            seen: Arc::default(),
        };
        Stream { source: Arc::new(&[0; 10][..]), track: Arc::new(track), bounds: bounds.to_vec() }
    }

    /// AAC-LC of 48 and 24 kHz, two channels.
    const AAC_48: &[u8] = &[0x11, 0x90];
    const AAC_24: &[u8] = &[0x13, 0x10];
    /// The same with frames of 960 samples, which ADTS has no way to say.
    const AAC_960: &[u8] = &[0x11, 0x94];

    #[test]
    fn another_configuration_begins_a_segment() {
        for bounds in [&[0, 4, 7, 10][..], &[0, 2, 4, 4, 7, 9, 10], &[4, 7], &[1, 3], &[0, 4], &[7, 10], &[5, 5]] {
            assert!(ts::Layout::new(vec![stream(AAC_48, AAC_24, bounds)], 10).is_ok(), "{bounds:?}");
            assert!(fmp4::Layout::new(stream(AAC_48, AAC_24, bounds), 10).is_ok(), "{bounds:?}");
        }
        for bounds in [&[0, 10][..], &[0, 4, 10], &[0, 7, 10], &[3, 5], &[0, 5, 7], &[6, 8, 10]] {
            let errors = [
                ts::Layout::new(vec![stream(AAC_48, AAC_24, bounds)], 10).unwrap_err(),
                fmp4::Layout::new(stream(AAC_48, AAC_24, bounds), 10).unwrap_err(),
            ];
            for error in errors {
                assert_eq!(error.kind(), ErrorKind::Malformed);
                assert!(error.to_string().contains("no segment"), "{error}");
            }
        }
    }

    #[test]
    fn what_no_segment_needs_is_not_looked_at() {
        let fits = |bounds: &[usize]| ts::Layout::new(vec![stream(AAC_48, AAC_960, bounds)], 10);
        for bounds in [&[0, 4][..], &[1, 3], &[7, 10], &[4, 4]] {
            assert!(fits(bounds).is_ok(), "{bounds:?}");
        }
        for bounds in [&[0, 4, 7, 10][..], &[4, 7], &[6, 7, 8]] {
            assert_eq!(fits(bounds).unwrap_err().kind(), ErrorKind::Unsupported);
        }
    }
}
