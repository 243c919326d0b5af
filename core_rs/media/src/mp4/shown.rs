//! Which samples of a track are to be carried.
//!
//! An edit list says which stretch of time is presented; what can be carried is a stretch of samples in decoding order
//! that begins where a decoder can. So pictures before an edit that begins on no key frame are carried (their times say that they
//! come before), pictures after its end that others refer to as well, and one frame of sound before the first that is
//! heard, since a decoder needs it to overlap with (ISO/IEC 14496-3 4.6.11.3.3).
//!
//! Frames that encoders begin with are left out by what they hold: one without any channel, since there is nothing to
//! decode; that one frame before the sound where it is silent, since silence is what a decoder begins with (else every file of such
//! an encoder would begin a frame early); and a silent one after which time runs on without sound, a hole that players
//! close by losing sync.

use std::ops::Range;

use super::edits::Timeline;
use super::warning::{WarningCode, Warnings};
use crate::codec::aac::AacConfig;
use crate::codec::aac_frame::{FrameContent, frame_content};
use crate::source::ReadAt;
use crate::track::{Kind, Samples, Track};
use crate::{Result, limits};

/// What is to be carried, or why nothing is.
pub(super) type Shown<T> = std::result::Result<T, String>;

/// A track's samples and what is known about them.
#[derive(Clone, Copy)]
pub(super) struct Media<'a> {
    pub(super) id: u32,
    pub(super) samples: &'a Samples,
    pub(super) line: &'a Timeline,
    /// Largest presentation time minus decoding time.
    pub(super) most_cts: i64,
}

impl Media<'_> {
    fn pts(&self, index: usize) -> i64 {
        self.samples.get(index).pts
    }

    fn ms(&self, ticks: i64) -> u64 {
        ms(ticks, self.line)
    }

    /// What of a track of pictures is to be carried, and whether pictures before the first key frame went.
    pub(super) fn video(&self, warnings: &mut Warnings) -> Shown<(Range<usize>, bool)> {
        let len = self.samples.len();
        let Some(first_sync) = (0..len).find(|&i| self.samples.sync.contains(i)) else {
            return Err("it has no key frame".to_owned());
        };
        let begin = self.line.begin.unwrap_or(i64::MIN);
        // No sample that is decoded later is presented by then.
        let decoded = self.samples.dts.lower_bound(begin.saturating_add(1));
        let start = (first_sync..decoded).rev().find(|&i| self.samples.sync.contains(i) && self.pts(i) <= begin);
        let start = start.unwrap_or(first_sync);
        let end = self.end(start);
        if end <= start {
            return Err("its key frames lie outside of what its edit list shows".to_owned());
        }
        let first_pts = self.pts(start);

        let left: Vec<i64> = (0..start).map(|i| self.pts(i)).filter(|&pts| pts >= begin).collect();
        if let Some(&earliest) = left.iter().min() {
            let ms = self.ms(first_pts - earliest);
            let message = format!("{} pictures ({ms} ms) before the first key frame are left out", left.len());
            warnings.push(WarningCode::BeforeKeyFrame, Some(self.id), left.len() as u64, ms, message);
        }
        let before: Vec<i64> =
            (start..decoded.clamp(start, end)).map(|i| self.pts(i)).filter(|&pts| pts < begin).collect();
        if let Some(&earliest) = before.iter().min() {
            let ms = self.ms(begin - earliest);
            let message = format!(
                "its edit begins on no key frame; {} pictures ({ms} ms) before it are shown as well",
                before.len()
            );
            warnings.push(WarningCode::EditStart, Some(self.id), before.len() as u64, ms, message);
        }
        self.warn_after(start..end, warnings);
        Ok((start..end, !left.is_empty()))
    }

    /// The same for sound.
    pub(super) fn audio(&self, aac: &AacConfig, source: &dyn ReadAt) -> Result<Shown<Range<usize>>> {
        let (mut start, mut heard) = (0, 0);
        if let Some(begin) = self.line.begin {
            let after = self.first_after(begin);
            // The frame in which the sound begins, and the one before it.
            start = after.saturating_sub(2);
            heard = after.saturating_sub(1);
        }
        let end = self.end(start);
        if end <= start || self.line.begin.is_some_and(|begin| self.presented_end(end - 1) <= begin) {
            return Ok(Err("its edit list shows nothing of it".to_owned()));
        }
        Ok(Ok(self.first_to_decode(start..end, heard, aac, source)?..end))
    }

    /// The first of `range` that a decoder has to see. From `heard` on its frames are presented.
    fn first_to_decode(
        &self,
        range: Range<usize>,
        heard: usize,
        aac: &AacConfig,
        source: &dyn ReadAt,
    ) -> Result<usize> {
        let mut frame = Vec::new();
        // A track of nothing else keeps its last frame.
        let last = range.end - 1;
        for index in range.clone().take(limits::VOID_FRAMES) {
            let sample = self.samples.get(index);
            if index == last || sample.size > limits::QUIET_FRAME {
                return Ok(index);
            }
            frame.resize(sample.size as usize, 0);
            source.read_exact_at(sample.offset, &mut frame)?;
            match frame_content(&frame) {
                FrameContent::Void => {}
                FrameContent::Silent if index < heard || self.leaves_a_hole(index, aac) => return Ok(index + 1),
                _ => return Ok(index),
            }
        }
        Ok(range.start + limits::VOID_FRAMES)
    }

    /// Whether half a frame or more of nothing follows sample `index`.
    fn leaves_a_hole(&self, index: usize, aac: &AacConfig) -> bool {
        let lasts = self.samples.dts_end(index) - self.samples.get(index).dts;
        let frame = i128::from(aac.frame_length) * i128::from(self.line.timescale.get());
        i128::from(lasts) * i128::from(aac.sample_rate) * 2 >= 3 * frame
    }

    /// The first sample presented after `time`. Sound is presented in decoding order.
    fn first_after(&self, time: i64) -> usize {
        let mut index = self.samples.dts.lower_bound(time.saturating_add(1));
        while index > 0 && self.pts(index - 1) > time {
            index -= 1;
        }
        index
    }

    /// When sample `index` ceases to be presented, for sound.
    fn presented_end(&self, index: usize) -> i64 {
        let sample = self.samples.get(index);
        self.samples.dts_end(index) + (sample.pts - sample.dts)
    }

    /// The end of the samples without those at the end that are presented at or after the edit's.
    fn end(&self, start: usize) -> usize {
        let len = self.samples.len();
        let Some(edit_end) = self.line.end else {
            return len;
        };
        let mut end = len;
        let mut latest = i64::MIN;
        while end > start && self.pts(end - 1) >= edit_end {
            end -= 1;
            latest = latest.max(self.pts(end));
        }
        if end > start && self.is_rounding(latest, edit_end) { len } else { end }
    }

    /// Whether an end that cuts off less than a tick of the movie, and thus is one that was rounded. `latest` is the
    /// presentation time of the last sample it would hide.
    fn is_rounding(&self, latest: i64, edit_end: i64) -> bool {
        latest.saturating_add(i64::from(self.samples.last_duration)).saturating_sub(edit_end) < self.line.slack
    }

    fn warn_after(&self, range: Range<usize>, warnings: &mut Warnings) {
        let Some(edit_end) = self.line.end else {
            return;
        };
        // Only samples decoded this late can be presented after the end.
        let late = self.samples.dts.lower_bound(edit_end.saturating_sub(self.most_cts));
        let after = (late.clamp(range.start, range.end)..range.end).map(|i| self.pts(i)).filter(|&pts| pts >= edit_end);
        let (after, latest) = after.fold((0, i64::MIN), |(count, latest), pts| (count + 1, pts.max(latest)));
        if after > 0 && !self.is_rounding(latest, edit_end) {
            let message =
                format!("{after} pictures after its edit's end are shown as well, since others refer to them");
            warnings.push(WarningCode::EditEnd, Some(self.id), after, 0, message);
        }
    }
}

/// Ticks as milliseconds, rounded.
fn ms(ticks: i64, line: &Timeline) -> u64 {
    let scale = i128::from(line.timescale.get());
    u64::try_from((i128::from(ticks) * 1000 + scale / 2) / scale).unwrap_or(0)
}

/// Leaves out the sound beside pictures that were left out, so that both begin together.
///
/// `late` says of each track whether its first pictures went.
pub(super) fn begin_together(tracks: &mut [Track], late: &[bool], warnings: &mut Warnings) {
    let first_picture = |track: &Track| {
        let pts = track.samples.get(track.shown.start).pts;
        (i128::from(pts), i128::from(track.timescale.get()))
    };
    let pictures = tracks.iter().zip(late).filter(|(track, _)| track.kind == Kind::Video);
    // Another video track that begins in time keeps the sound.
    let Some((pts, scale)) = pictures
        .clone()
        .map(|(track, _)| first_picture(track))
        .reduce(|a, b| if a.0 * b.1 <= b.0 * a.1 { a } else { b })
        .filter(|_| pictures.clone().all(|(_, &late)| late))
    else {
        return;
    };
    for track in tracks.iter_mut().filter(|track| track.kind == Kind::Audio) {
        let own = i128::from(track.timescale.get());
        let samples = &track.samples;
        let over = |index: usize| {
            let sample = samples.get(index);
            i128::from(samples.dts_end(index) + (sample.pts - sample.dts)) * scale <= pts * own
        };
        // Dropping everything would be worse than beginning early.
        let Some(start) = track.shown.clone().find(|&index| !over(index)) else {
            continue;
        };
        let count = start - track.shown.start;
        if count > 0 {
            let ticks = samples.get(start).pts - samples.get(track.shown.start).pts;
            let ms = u64::try_from(i128::from(ticks) * 1000 / own).unwrap_or(0);
            let message = format!("{count} frames ({ms} ms) of sound before the first picture are left out");
            warnings.push(WarningCode::AudioBeforeVideo, Some(track.id), count as u64, ms, message);
            track.shown.start = start;
        }
    }
}
