//! A rendition: the tracks that go into one media playlist, and where its segments begin.

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
    /// Checks that the bounds are what a planner should have made.
    ///
    /// # Errors
    /// [`crate::ErrorKind::Malformed`] where they are not.
    pub(crate) fn check(&self, segments: usize) -> Result<()> {
        let rising = self.bounds.windows(2).all(|pair| pair[0] <= pair[1]);
        let inside = self.bounds.last().is_some_and(|&end| end <= self.track.samples.len());
        if self.bounds.len() != segments + 1 || !rising || !inside {
            return Err(Error::malformed(format!("segment bounds do not fit track {}", self.track.id)));
        }
        Ok(())
    }

    pub(crate) fn is_video(&self) -> bool {
        self.track.kind == Kind::Video
    }
}

/// Where zero of the presentation lies on the output's clock, in whole seconds: the same in every rendition and format,
/// and late enough that times before zero (priming, reordering) stay above it.
pub const START_SECONDS: u32 = 10;
