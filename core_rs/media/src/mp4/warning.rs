//! What a caller should be told although the movie can be carried.

use std::fmt;

use crate::limits;

/// What a warning is about. [`Self::as_str`] is stable, for scripts.
#[derive(Clone, Copy, Debug, Eq, Hash, PartialEq)]
#[non_exhaustive]
pub enum WarningCode {
    /// An edit begins on no key frame; pictures before it are shown.
    EditStart,
    /// Pictures after an edit's end are shown, since others need them.
    EditEnd,
    /// An edit list jumps about in the media; what lies between is shown.
    EditJump,
    /// An edit list plays the media at another speed; it is shown at its own.
    EditRate,
    /// Pictures before the first key frame are left out.
    BeforeKeyFrame,
    /// Sound beside left-out pictures is left out.
    AudioBeforeVideo,
    /// Tables of one track count its samples differently.
    SampleCount,
    /// Decoding times fall and were held.
    DecodeOrder,
    /// Samples have the decoding time of the one before them.
    RepeatedTime,
    /// Fragments leave time between them that no sample fills.
    FragmentGap,
    /// Composition offsets put frames of sound out of order and were evened out.
    AudioOrder,
    /// `stss` is there and lists nothing.
    EmptySyncTable,
    /// A fragmented recording was cut off.
    Truncated,
    /// Bytes that are no box follow the last one.
    TrailingBytes,
    /// A second `moov` says something else.
    SecondMoov,
}

impl WarningCode {
    /// A short name that stays.
    pub fn as_str(self) -> &'static str {
        match self {
            Self::EditStart => "edit-start",
            Self::EditEnd => "edit-end",
            Self::EditJump => "edit-jump",
            Self::EditRate => "edit-rate",
            Self::BeforeKeyFrame => "before-key-frame",
            Self::AudioBeforeVideo => "audio-before-video",
            Self::SampleCount => "sample-count",
            Self::DecodeOrder => "decode-order",
            Self::RepeatedTime => "repeated-time",
            Self::FragmentGap => "fragment-gap",
            Self::AudioOrder => "audio-order",
            Self::EmptySyncTable => "empty-sync-table",
            Self::Truncated => "truncated",
            Self::TrailingBytes => "trailing-bytes",
            Self::SecondMoov => "second-moov",
        }
    }
}

/// Something a caller should be told.
#[derive(Clone, Debug, Eq, PartialEq)]
pub struct Warning {
    /// What it is about.
    pub code: WarningCode,
    /// `track_ID`; `None` where it concerns the file.
    pub track: Option<u32>,
    /// Samples affected.
    pub samples: u64,
    /// Milliseconds affected, rounded; 0 where that says nothing.
    pub ms: u64,
    /// A sentence.
    pub message: String,
}

impl fmt::Display for Warning {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        if let Some(track) = self.track {
            write!(f, "track {track}: ")?;
        }
        f.write_str(&self.message)
    }
}

/// Collects warnings up to [`limits::WARNINGS`].
#[derive(Debug, Default)]
pub(super) struct Warnings(pub(super) Vec<Warning>);

impl Warnings {
    pub(super) fn push(&mut self, code: WarningCode, track: Option<u32>, samples: u64, ms: u64, message: String) {
        if self.0.len() < limits::WARNINGS {
            self.0.push(Warning { code, track, samples, ms, message });
        }
    }
}
