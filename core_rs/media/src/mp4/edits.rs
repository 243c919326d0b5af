//! From edit list to one straight time line. ISO/IEC 14496-12 8.6.5, 8.6.6.
//!
//! HLS has no edit lists, and players that read fMP4 ignore them. So the edits of a track are turned into a shift of its times,
//! a begin and an end. Leading empty edits delay the media, the first media edit says which media time comes then. What this
//! cannot express (repeats, jumps, slow motion) is shown as it lies in the media, with a warning.

use std::num::NonZeroU32;

use super::elst::Edit;
use crate::{Error, Result, limits};

/// How media times become presentation times.
#[derive(Clone, Copy, Debug, Eq, PartialEq)]
pub(super) struct Timeline {
    /// Ticks a second of presentation times: the media's time scale times [`Self::multiple`].
    pub(super) timescale: NonZeroU32,
    pub(super) multiple: u32,
    /// What is added to a media time (in presentation ticks).
    pub(super) shift: i64,
    /// Where the first media edit begins; `None` where there is no edit list, and everything is shown.
    pub(super) begin: Option<i64>,
    /// Where the last media edit ends; `None` for the end of the media.
    pub(super) end: Option<i64>,
    /// Presentation ticks in a tick of the movie, rounded up: edit durations are no more exact than that.
    pub(super) slack: i64,
    /// The edits jump about.
    pub(super) jumps: bool,
    /// The speed of the first edit that has another one than the media's, 16.16 fixed point.
    pub(super) rate: Option<i32>,
}

/// The media's own speed.
const NORMAL: i32 = 0x1_0000;

impl Timeline {
    /// `media` and `movie` are time scales. In a fragmented movie edit durations speak of the samples in `moov` at most, so
    /// their ends are not looked at (writers put 0 or whatever was there when recording began).
    pub(super) fn new(edits: &[Edit], media: u32, movie: u32, fragmented: bool) -> Result<Self> {
        let Some(media) = NonZeroU32::new(media) else {
            return Err(Error::malformed("time scale of the media is 0").within("mdhd").within("mdia"));
        };
        let rates = edits.iter().filter(|edit| edit.media_time.is_some()).map(|edit| edit.media_rate);
        let rate = rates.into_iter().find(|&rate| rate != NORMAL);
        let mut line =
            Self { timescale: media, multiple: 1, shift: 0, begin: None, end: None, slack: 0, jumps: false, rate };
        let leading = edits.iter().take_while(|edit| edit.media_time.is_none()).count();
        let (empty, rest) = edits.split_at(leading);
        if edits.is_empty() {
            return Ok(line);
        }
        // Durations alone count in the movie's ticks; where none matters, its time scale does not either.
        let timeless = empty.is_empty() && (fragmented || rest.iter().all(|edit| edit.segment_duration == 0));
        let Some(movie) = NonZeroU32::new(if timeless { 1 } else { movie }) else {
            return Err(wrong("edit list in ticks of a movie whose time scale is 0"));
        };
        let (media, movie) = (u128::from(media.get()), u128::from(movie.get()));

        let empty = empty.iter().map(|edit| u128::from(edit.segment_duration)).sum::<u128>();
        let parts = empty * media;
        // The least multiple that makes the delay a whole number of ticks; where that is too fine, the finest one allowed.
        let wanted = movie / gcd(parts, movie);
        let multiple = wanted.min(u128::from(limits::TIMESCALE) / media).max(1);
        line.multiple = multiple as u32;
        line.timescale = NonZeroU32::new((media * multiple) as u32).unwrap_or(line.timescale);
        line.slack = ticks((media * multiple).div_ceil(movie))?;
        let begin = ticks(rounded(parts * multiple, movie))?;
        let multiple = i128::from(line.multiple);

        let Some(first) = rest.first() else {
            // Empty edits alone delay a track of which they show nothing; taken as the delay of all of it.
            line.shift = begin;
            return Ok(line);
        };
        let media_time = i128::from(first.media_time.unwrap_or(0));
        line.shift = ticks_i128(i128::from(begin) - media_time * multiple)?;
        line.begin = Some(begin);

        // Media edits that go on where the last one ended are one edit. Durations are rounded, so within a movie tick.
        let mut expected = media_time;
        let mut end = Some(media_time);
        for edit in rest {
            let Some(start) = edit.media_time.map(i128::from) else {
                continue;
            };
            let tolerance = media.div_ceil(movie) as i128 + 1;
            line.jumps |= (start - expected).abs() > tolerance;
            let duration = rounded(u128::from(edit.segment_duration) * media, movie) as i128;
            expected = start + duration;
            end = end.filter(|_| edit.segment_duration > 0).map(|end| end.max(expected));
        }
        // An empty edit between media edits is a jump as well, one at the end is not.
        let inner = rest.iter().rposition(|edit| edit.media_time.is_some()).unwrap_or(0);
        line.jumps |= rest[..inner].iter().any(|edit| edit.media_time.is_none());
        if let Some(end) = end.filter(|_| !fragmented) {
            // An end beyond every possible time is none.
            line.end = ticks_i128(i128::from(begin) + (end - media_time) * multiple).ok();
        }
        Ok(line)
    }
}

fn gcd(a: u128, b: u128) -> u128 {
    if b == 0 { a } else { gcd(b, a % b) }
}

fn rounded(numerator: u128, denominator: u128) -> u128 {
    (numerator + denominator / 2) / denominator
}

fn ticks(value: u128) -> Result<i64> {
    ticks_i128(i128::try_from(value).unwrap_or(i128::MAX))
}

fn ticks_i128(value: i128) -> Result<i64> {
    i64::try_from(value)
        .ok()
        .filter(|value| value.abs() <= limits::TICKS / 2)
        .ok_or_else(|| wrong("edit list moves the media by more than any clock counts"))
}

fn wrong(message: &str) -> Error {
    Error::malformed(message).within("elst").within("edts")
}

#[cfg(test)]
mod tests {
    use super::*;

    fn empty(segment_duration: u64) -> Edit {
        Edit { segment_duration, media_time: None, media_rate: 0x1_0000 }
    }

    fn media(media_time: i64, segment_duration: u64) -> Edit {
        Edit { segment_duration, media_time: Some(media_time), media_rate: 0x1_0000 }
    }

    fn line(edits: &[Edit], media: u32) -> Timeline {
        Timeline::new(edits, media, 1000, false).unwrap()
    }

    #[test]
    fn no_edits_move_nothing() {
        let line = line(&[], 48_000);
        assert_eq!((line.multiple, line.shift, line.begin, line.end), (1, 0, None, None));
    }

    #[test]
    fn media_time_comes_at_zero() {
        let line = line(&[media(1024, 2000)], 48_000);
        assert_eq!((line.shift, line.begin, line.end, line.jumps), (-1024, Some(0), Some(96_000), false));
    }

    #[test]
    fn empty_edits_delay_exactly() {
        let whole = line(&[empty(500), media(0, 0)], 12_800);
        assert_eq!((whole.multiple, whole.shift, whole.begin, whole.end), (1, 6_400, Some(6_400), None));
        // 83 ms are 1062.4 ticks of 12,800: five times as fine gives 5,312.
        let finer = line(&[empty(40), empty(43), media(512, 0)], 12_800);
        assert_eq!((finer.multiple, finer.timescale.get(), finer.shift), (5, 64_000, 5_312 - 5 * 512));
        // No multiple up to the cap makes 1/1,000,003 s whole; it is rounded to the finest allowed.
        let capped = Timeline::new(&[empty(1), media(0, 0)], 90_000, 1_000_003, false).unwrap();
        assert_eq!(capped.timescale.get(), 90_000 * (limits::TIMESCALE / 90_000));
        assert_eq!(capped.begin, Some(134));
    }

    #[test]
    fn edits_that_go_on_are_one() {
        let on = line(&[media(0, 1000), media(48_000, 500)], 48_000);
        assert_eq!((on.end, on.jumps), (Some(72_000), false));
        let rounded = line(&[media(0, 1001), media(48_000, 500)], 48_000);
        assert!(!rounded.jumps);
    }

    #[test]
    fn jumps_are_seen() {
        let skip = line(&[media(0, 1000), media(96_000, 1000)], 48_000);
        assert_eq!((skip.end, skip.jumps), (Some(144_000), true));
        assert!(line(&[media(0, 1000), media(0, 1000)], 48_000).jumps);
        assert!(line(&[media(0, 1000), empty(10), media(48_000, 1000)], 48_000).jumps);
        assert!(!line(&[media(0, 1000), empty(10)], 48_000).jumps);
    }

    #[test]
    fn other_speeds_are_seen() {
        for rate in [0, 0x8000, 0x2_0000, -0x1_0000] {
            assert_eq!(line(&[Edit { media_rate: rate, ..media(0, 1000) }], 48_000).rate, Some(rate));
        }
        // An empty edit plays nothing, so its speed is none.
        assert_eq!(line(&[Edit { media_rate: 0, ..empty(9) }, media(0, 1000)], 48_000).rate, None);
    }

    #[test]
    fn fragments_have_no_end() {
        assert_eq!(Timeline::new(&[media(0, 5)], 48_000, 1000, true).unwrap().end, None);
    }

    #[test]
    fn huge_values() {
        assert!(Timeline::new(&[empty(u64::MAX), media(0, 0)], u32::MAX, 1, false).is_err());
        assert!(Timeline::new(&[media(i64::MAX, 0)], 1, 1, false).is_err());
        assert_eq!(line(&[media(0, u64::MAX)], 48_000).end, None);
        assert!(Timeline::new(&[], 0, 1000, false).is_err());
        assert!(Timeline::new(&[media(0, 9)], 1, 0, false).is_err());
        assert!(Timeline::new(&[empty(9), media(0, 0)], 1, 0, true).is_err());
        assert_eq!(Timeline::new(&[media(7, 9)], 1, 0, true).unwrap().shift, -7);
        assert!(Timeline::new(&[], 1, 0, false).is_ok());
        let _ = Timeline::new(&vec![empty(u64::MAX); 1000], 1, u32::MAX, false);
    }
}
