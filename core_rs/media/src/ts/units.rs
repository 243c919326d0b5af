//! Which units a segment has, when, and how large: everything but the bytes.

use std::ops::Range;
use std::sync::Arc;

use super::adts::{self, Adts};
use super::{PACKET, PAYLOAD};
use crate::rendition::Stream;
use crate::seen::{Growth, length_size};
use crate::track::{Config, Cursor, Sample};
use crate::{Error, Result};

/// Access unit delimiter, any slice type (ISO/IEC 14496-10 7.3.2.4).
pub(super) const DELIMITER: [u8; 6] = [0, 0, 0, 1, 0x09, 0xF0];
/// Adaptation field with a clock reference: its length, flags, six bytes of PCR.
pub(super) const CLOCK_FIELD: usize = 8;
/// How long before its decoding time a unit enters the decoder, 90 kHz ticks.
const LEAD: i64 = 63_000;
/// The longest step from one clock reference to the next (ISO/IEC 13818-1 2.7.2), and the step that fills longer ones.
const CLOCK_LONGEST: i64 = 9_000;
const CLOCK_STEP: i64 = 8_100;
/// A hole longer than this (half a minute) is a hole in the presentation, not a slow picture, and is not filled. Sound is
/// never so far apart, so it is only about pictures without sound beside them; slide shows and time lapses change sooner.
const HOLE: i64 = 2_700_000;
/// What fills holes may be this many packets of a rendition, a day and more of nothing in 197 MB. Where it would be more (a file of some
/// kilobytes can say that its pictures are shown for a year), only short holes are filled: a few packets a picture.
const FILLING: u64 = 1 << 20;
const SHORT_HOLE: i64 = 16 * CLOCK_STEP;
/// Holes that are kept to be told.
const HOLES: usize = 64;
/// Audio frames that begin within this time of the first share a PES, so that one carries the clock often enough.
const GROUP: i64 = 7_200;
/// The most bytes in them: PES_packet_length has 16 bits (ISO/IEC 13818-1 2.4.3.7).
const GROUP_BYTES: usize = 60_000;
/// The most frames in a PES.
pub(super) const GROUP_FRAMES: usize = 16;

/// Ticks of a track as ticks of the 90 kHz clock.
#[derive(Clone, Copy, Debug)]
struct Clock {
    timescale: i64,
    base: i64,
}

impl Clock {
    fn at(self, ticks: i64) -> i64 {
        let rounded = match ticks.checked_mul(90_000).and_then(|scaled| scaled.checked_add(self.timescale / 2)) {
            Some(scaled) => scaled.div_euclid(self.timescale),
            None => {
                (i128::from(ticks) * 90_000 + i128::from(self.timescale / 2)).div_euclid(self.timescale.into()) as i64
            }
        };
        self.base.wrapping_add(rounded)
    }
}

/// What a unit holds.
#[derive(Clone, Copy, Debug)]
pub(super) enum Content {
    /// One access unit.
    Picture { sample: Sample, pts: i64, dts: i64 },
    /// The frames in [`Units::frames`].
    Sound { pts: i64 },
    /// Nothing but the clock.
    Clock,
}

/// A unit: `payload` PES bytes in `packets` packets. `clock` is its clock reference, 90 kHz.
#[derive(Clone, Copy, Debug)]
pub(super) struct Unit {
    pub(super) content: Content,
    pub(super) clock: Option<i64>,
    pub(super) payload: usize,
    pub(super) packets: u32,
}

/// The segments of one rendition: sizes, counters, and all that a muxer needs to make any of them.
#[derive(Debug)]
pub struct Layout {
    pub(super) video: Option<Stream>,
    pub(super) audio: Option<Stream>,
    video_clock: Clock,
    audio_clock: Clock,
    /// Parameter sets in Annex B form, one entry a configuration of the video track.
    pub(super) parameter_sets: Vec<Vec<u8>>,
    /// One entry a configuration of the audio track; `None` for those that no segment needs.
    pub(super) adts: Vec<Option<Adts>>,
    growth: Option<Arc<Growth>>,
    starts: Vec<Start>,
    /// The longest hole that is filled.
    filled: i64,
    holes: Vec<(i64, i64)>,
}

/// What a segment begins with.
#[derive(Clone, Copy, Debug, Default)]
pub(super) struct Start {
    pub(super) packets: u64,
    /// Continuity counters of video and audio, not yet modulo 16.
    pub(super) counters: [u64; 2],
    /// The last clock reference before it.
    clock: Option<i64>,
}

impl Start {
    pub(super) fn last_clock(&self) -> Option<i64> {
        self.clock
    }
}

impl Layout {
    /// Lays out segments of a picture track, a sound track, or both, whose bounds have the same number of segments.
    /// `start_seconds` is where the presentation's zero lies on the output's clock.
    ///
    /// # Errors
    /// [`crate::ErrorKind::Unsupported`] for what ADTS cannot express; [`crate::ErrorKind::Limit`] for times below the
    /// clock's zero; what reading the source gives, where [`Self::scanned`] it has to be.
    pub fn new(streams: Vec<Stream>, start_seconds: u32) -> Result<Self> {
        let (mut video, mut audio) = (None, None);
        for stream in streams {
            let place = if stream.is_video() { &mut video } else { &mut audio };
            if place.replace(stream).is_some() {
                return Err(Error::unsupported("two tracks of one kind in one transport stream"));
            }
        }
        let segments =
            video.as_ref().or(audio.as_ref()).map_or(0, |stream: &Stream| stream.bounds.len().saturating_sub(1));
        for stream in video.iter().chain(&audio) {
            stream.check(segments)?;
        }
        let clock = |stream: &Option<Stream>| Clock {
            timescale: stream.as_ref().map_or(1, |stream| i64::from(stream.track.timescale.get())),
            base: i64::from(start_seconds) * 90_000,
        };
        let mut layout = Self {
            video_clock: clock(&video),
            audio_clock: clock(&audio),
            parameter_sets: Vec::new(),
            adts: Vec::new(),
            growth: video.as_ref().map_or(Ok(None), growth)?,
            starts: Vec::with_capacity(segments + 1),
            filled: HOLE,
            holes: Vec::new(),
            video,
            audio,
        };
        for stream in layout.video.iter().chain(&layout.audio) {
            for (config, used) in stream.track.configs.iter().zip(stream.configs_used()) {
                match config {
                    Config::Avc(avc) => {
                        let sets = avc.sps.iter().chain(&avc.pps).filter(|set| used && !set.is_empty());
                        let annex_b = sets.flat_map(|set| [&[0, 0, 0, 1], set.as_slice()].concat()).collect();
                        layout.parameter_sets.push(annex_b);
                    }
                    Config::Aac(aac) => layout.adts.push(used.then(|| Adts::new(aac)).transpose()?),
                }
            }
        }
        if layout.measure(segments)? > FILLING {
            layout.filled = SHORT_HOLE;
            layout.measure(segments)?;
        }
        Ok(layout)
    }

    /// Number of segments.
    pub fn len(&self) -> usize {
        self.starts.len() - 1
    }

    /// Whether there is none.
    pub fn is_empty(&self) -> bool {
        self.len() == 0
    }

    /// Bytes of segment `n`.
    ///
    /// # Panics
    /// Where there is no such segment.
    pub fn size(&self, n: usize) -> u64 {
        (self.starts[n + 1].packets - self.starts[n].packets) * PACKET as u64
    }

    /// Whether sizes could not be told from the index and every sample's NAL lengths had to be read.
    pub fn scanned(&self) -> bool {
        self.growth.is_some()
    }

    /// Where the clock jumps: begin and end of the first 64 holes that are too long to be filled, in ticks of 90 kHz from the
    /// presentation's zero. ISO/IEC 13818-1 2.7.2 wants a clock reference each 100 ms, and hours of nothing else help nobody.
    pub fn holes(&self) -> &[(i64, i64)] {
        &self.holes
    }

    /// Heap bytes held, the tracks not counted.
    pub fn nbytes(&self) -> usize {
        let bounds = self.video.iter().chain(&self.audio).map(|stream| stream.bounds.capacity() * size_of::<usize>());
        bounds.sum::<usize>()
            + self.starts.capacity() * size_of::<Start>()
            + self.parameter_sets.capacity() * size_of::<Vec<u8>>()
            + self.parameter_sets.iter().map(Vec::capacity).sum::<usize>()
            + self.adts.capacity() * size_of::<Option<Adts>>()
            + self.holes.capacity() * size_of::<(i64, i64)>()
    }

    pub(super) fn start(&self, n: usize) -> Start {
        self.starts[n]
    }

    /// Sizes and counters of all segments; returns how many packets fill holes.
    fn measure(&mut self, segments: usize) -> Result<u64> {
        let (mut start, mut filling) = (Start::default(), 0);
        self.holes.clear();
        self.starts.clear();
        self.starts.push(start);
        for n in 0..segments {
            let mut units = Units::measuring(self, n, start.clock);
            start.packets += 2;
            let mut last = start.clock;
            while let Some(unit) = units.next(self) {
                if let (Some(before), Some(now)) = (last, units.clock)
                    && now - before > self.filled
                    && self.holes.len() < HOLES
                {
                    let base = self.video_clock.base;
                    self.holes.push((before - base, now - base));
                }
                last = units.clock;
                start.packets += u64::from(unit.packets);
                match unit.content {
                    Content::Picture { dts, .. } if dts < LEAD => return Err(too_early(dts)),
                    Content::Picture { .. } => start.counters[0] += u64::from(unit.packets),
                    Content::Sound { pts } if pts < LEAD => return Err(too_early(pts)),
                    Content::Sound { .. } => {
                        start.counters[1] += u64::from(unit.packets);
                        units
                            .frames()
                            .iter()
                            .try_for_each(|frame| Adts::check(frame.size).map_err(|error| error.at(frame.offset)))?;
                    }
                    Content::Clock => filling += u64::from(unit.packets),
                }
            }
            start.clock = units.clock;
            self.starts.push(start);
        }
        Ok(filling)
    }

    /// When segment `n` begins, 90 kHz: the time of its first unit.
    fn begins(&self, n: usize) -> Option<i64> {
        let first = |stream: &Option<Stream>| {
            let stream = stream.as_ref()?;
            let (&first, &end) = (stream.bounds.get(n)?, stream.bounds.get(n + 1)?);
            (first < end).then(|| stream.track.samples.get(first))
        };
        let video = first(&self.video).map(|sample| self.dts(&sample));
        let audio = first(&self.audio).map(|sample| self.audio_clock.at(sample.pts));
        video.into_iter().chain(audio).min()
    }

    fn dts(&self, sample: &Sample) -> i64 {
        self.video_clock.at(sample.dts)
    }

    fn clock_is_video(&self) -> bool {
        self.video.is_some()
    }
}

/// The clock reference of a unit at `time`: what a decoder's clock shows when the unit arrives.
pub(super) fn reference(time: i64) -> i64 {
    time - LEAD
}

/// What samples grow by; `None` where their NAL lengths have four bytes, as start codes do.
fn growth(video: &Stream) -> Result<Option<Arc<Growth>>> {
    let mut needed = video.track.configs.iter().zip(video.configs_used()).filter(|&(_, used)| used);
    if needed.all(|(config, _)| length_size(config) == 4) {
        return Ok(None);
    }
    let covered = video.covered();
    let read = || Growth::read(&video.track, &video.source, covered.clone());
    video.track.seen.growth(&covered, read).map(Some)
}

fn too_early(time: i64) -> Error {
    Error::limit(format!(
        "a sample {:.3} s before the clock's zero: start the output later",
        (LEAD - time) as f64 / 90e3
    ))
}

/// Walks the units of one segment.
#[derive(Debug)]
pub(super) struct Units {
    video: Cursor,
    audio: Cursor,
    picture: Option<Picture>,
    /// The audio group that is next, or was handed out last.
    group: Group,
    /// The first frame after it.
    frame: Option<Sample>,
    parameter_sets: usize,
    pub(super) config: [usize; 2],
    /// The last clock reference.
    clock: Option<i64>,
    /// When the next segment begins.
    until: Option<i64>,
    any: bool,
    /// Whether all clock references that fill a hole are one unit, of as many packets.
    together: bool,
}

/// The picture that is next.
#[derive(Clone, Copy, Debug)]
struct Picture {
    sample: Sample,
    /// Decoding time, 90 kHz.
    dts: i64,
    /// How much longer its start codes are than its NAL lengths.
    grown: u32,
}

#[derive(Clone, Copy, Debug, Default)]
struct Group {
    frames: [Sample; GROUP_FRAMES],
    count: usize,
    bytes: usize,
    /// When the first begins, 90 kHz.
    pts: i64,
    /// Handed out already.
    spent: bool,
}

/// Where a walk was: all of it that changes.
pub(super) struct Mark {
    samples: [usize; 2],
    picture: Option<Picture>,
    group: Group,
    frame: Option<Sample>,
    clock: Option<i64>,
    any: bool,
}

impl Units {
    pub(super) fn mark(&self) -> Mark {
        let &Self { ref video, ref audio, picture, group, frame, clock, any, .. } = self;
        Mark { samples: [video.index(), audio.index()], picture, group, frame, clock, any }
    }

    pub(super) fn rewind(&mut self, mark: Mark) {
        self.video.rewind(mark.samples[0]);
        self.audio.rewind(mark.samples[1]);
        (self.picture, self.group, self.frame) = (mark.picture, mark.group, mark.frame);
        (self.clock, self.any) = (mark.clock, mark.any);
    }

    /// The units to be made. `clock` is the last clock reference before segment `n`.
    pub(super) fn new(layout: &Layout, n: usize, clock: Option<i64>) -> Self {
        Self::over(layout, n, clock, Cursor::new, false)
    }

    /// The same units to be counted: however long the holes are, their number is one of samples.
    fn measuring(layout: &Layout, n: usize, clock: Option<i64>) -> Self {
        Self::over(layout, n, clock, Cursor::without_places, true)
    }

    fn over(layout: &Layout, n: usize, clock: Option<i64>, cursor: fn(Range<usize>) -> Cursor, together: bool) -> Self {
        let range =
            |stream: &Option<Stream>| stream.as_ref().map_or(0..0, |stream| stream.bounds[n]..stream.bounds[n + 1]);
        let config = |stream: &Option<Stream>| {
            stream.as_ref().map_or(0, |stream| stream.track.config_index_at(stream.bounds[n]))
        };
        let config = [config(&layout.video), config(&layout.audio)];
        let mut units = Self {
            video: cursor(range(&layout.video)),
            audio: cursor(range(&layout.audio)),
            picture: None,
            group: Group { spent: true, ..Group::default() },
            frame: None,
            parameter_sets: layout.parameter_sets.get(config[0]).map_or(0, Vec::len),
            config,
            clock,
            until: layout.begins(n + 1),
            any: false,
            together,
        };
        units.frame = units.next_frame(layout);
        units
    }

    /// The frames of the [`Content::Sound`] handed out last.
    pub(super) fn frames(&self) -> &[Sample] {
        &self.group.frames[..self.group.count]
    }

    /// The next unit.
    pub(super) fn next(&mut self, layout: &Layout) -> Option<Unit> {
        if self.picture.is_none() {
            self.picture = self.next_picture(layout);
        }
        if self.group.spent {
            self.gather(layout);
        }
        let picture = self.picture.map(|picture| picture.dts);
        let sound = (!self.group.spent).then_some(self.group.pts);
        let first = picture.into_iter().chain(sound).min();
        let is_picture = picture.is_some() && picture == first;
        let carries_clock = is_picture == layout.clock_is_video();
        let begins = !self.any;
        self.any = true;
        let carrier = if layout.clock_is_video() { picture.or(self.until) } else { sound.or(self.until) };
        let opening = if begins && !carries_clock { first } else { None };
        let filling = self.due(first, carrier, layout.filled);
        if let Some((clock, packets)) = filling.or_else(|| Some((self.opening(opening?, picture)?, 1))) {
            self.clock = Some(clock);
            return Some(Unit { content: Content::Clock, clock: Some(clock), payload: 0, packets });
        }
        let time = first?;
        let clock = carries_clock.then_some(time);
        self.clock = clock.or(self.clock);
        let (content, payload) = if is_picture {
            let Picture { sample, grown, .. } = self.picture.take()?;
            let pts = layout.video_clock.at(sample.pts);
            let sets = if sample.sync { self.parameter_sets } else { 0 };
            let head = pes_header_len(pts != time) + DELIMITER.len() + sets;
            (Content::Picture { sample, pts, dts: time }, head + sample.size as usize + grown as usize)
        } else {
            self.group.spent = true;
            (Content::Sound { pts: time }, pes_header_len(false) + self.group.bytes)
        };
        let room = PAYLOAD - if clock.is_some() { CLOCK_FIELD } else { 0 };
        let packets = 1 + payload.saturating_sub(room).div_ceil(PAYLOAD) as u32;
        Some(Unit { content, clock, payload, packets })
    }

    /// The clock reference that has to come before a unit at `time`, if any has to, and of how many it is the last. `carrier` is
    /// when the next one comes anyway: none may be put in that is later than it. A hole of more than `longest` stays.
    fn due(&self, time: Option<i64>, carrier: Option<i64>, longest: i64) -> Option<(i64, u32)> {
        let until = time.into_iter().chain(carrier).min()?;
        let last = self.clock?;
        let hole = until - last;
        if hole <= CLOCK_LONGEST || hole > longest {
            return None;
        }
        // A step each, until what is left needs no more.
        let steps = if self.together { (hole - CLOCK_LONGEST + CLOCK_STEP - 1) / CLOCK_STEP } else { 1 };
        Some((last + steps * CLOCK_STEP, steps as u32))
    }

    /// The clock reference for a decoder that begins with a unit at `time`, which does not carry it; `picture` is the next
    /// one that does. Sound that begins a segment may be earlier than the last picture of the one before: then the
    /// least step after that has to do, and it does, since clocks run ahead of what they are for.
    fn opening(&self, time: i64, picture: Option<i64>) -> Option<i64> {
        let clock = self.clock.map_or(time, |last| time.max(last + 1));
        let in_time = clock == time || picture.is_none_or(|picture| clock < picture) && reference(clock) <= time;
        in_time.then_some(clock)
    }

    fn next_picture(&mut self, layout: &Layout) -> Option<Picture> {
        let samples = &layout.video.as_ref()?.track.samples;
        loop {
            let index = self.video.index();
            let sample = self.video.next(samples)?;
            // An empty sample repeats the picture before it; there is no access unit to carry.
            if sample.size > 0 {
                let grown = layout.growth.as_ref().map_or(0, |growth| growth.at(index));
                return Some(Picture { sample, dts: layout.dts(&sample), grown });
            }
        }
    }

    fn next_frame(&mut self, layout: &Layout) -> Option<Sample> {
        let samples = &layout.audio.as_ref()?.track.samples;
        loop {
            let sample = self.audio.next(samples)?;
            if sample.size > 0 {
                return Some(sample);
            }
        }
    }

    /// Gathers the next audio group: frames that follow each other without a gap, since only the first has a time stamp.
    fn gather(&mut self, layout: &Layout) {
        let (Some(first), Some(stream)) = (self.frame, layout.audio.as_ref()) else { return };
        let Config::Aac(aac) = &stream.track.configs[self.config[1]] else { return };
        self.group.count = 0;
        self.group.bytes = 0;
        self.group.pts = layout.audio_clock.at(first.pts);
        self.group.spent = false;
        let timescale = layout.audio_clock.timescale;
        let (rate, length) = (i64::from(aac.sample_rate), i64::from(aac.frame_length) * timescale);
        // A decoder counts on from the first frame; more than half a millisecond beside that is a gap.
        let tolerance = (timescale / 2000 + 1) * rate;
        let longest = GROUP * timescale / 90_000;
        while let Some(frame) = self.frame {
            let count = self.group.count;
            // No product overflows: a group is short, a time scale has 32 bits, and so has a rate.
            let after = frame.pts - first.pts;
            let fits = after < longest && (after * rate - count as i64 * length).abs() <= tolerance;
            let full = count == GROUP_FRAMES || self.group.bytes + frame.size as usize > GROUP_BYTES;
            if count > 0 && (full || !fits) {
                break;
            }
            self.group.frames[count] = frame;
            self.group.count += 1;
            self.group.bytes += adts::HEADER + frame.size as usize;
            self.frame = self.next_frame(layout);
        }
    }
}

/// Bytes of a PES header with PTS, or with PTS and DTS (ISO/IEC 13818-1 2.4.3.6).
pub(super) fn pes_header_len(with_dts: bool) -> usize {
    if with_dts { 19 } else { 14 }
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::codec::avc::{AvcConfig, tests::RECORD};
    use crate::reader::Reader;
    use crate::track::{Kind, Samples, SyncSet, Track};

    /// `count` key frames of a byte, each shown for `seconds`, ten to a segment.
    fn pictures(count: usize, seconds: i64) -> Layout {
        let avc = AvcConfig::parse(Reader::new(RECORD, 0), b"entry", false, (320, 240)).unwrap();
        let samples = Samples {
            offsets: (0..count as i64).collect(),
            sizes: std::iter::repeat_n(1, count).collect(),
            dts: (0..count as i64).map(|i| i * seconds * 1000).collect(),
            cts: [].into_iter().collect(),
            sync: SyncSet::All,
            last_duration: 1000,
        };
        let track = Track {
            id: 1,
            kind: Kind::Video,
            enabled: true,
            language: "und".to_owned(),
            timescale: std::num::NonZeroU32::new(1000).unwrap(),
            configs: vec![Config::Avc(avc)],
            config_runs: vec![(0, 0)],
            samples,
            shown: 0..count,
            rotation: 0,
            matrix: [0; 9],
            seen: Arc::default(),
        };
        let bounds = (0..=count).step_by(10).collect();
        Layout::new(vec![Stream { source: Arc::new(&[0; 1][..]), track: Arc::new(track), bounds }], 10).unwrap()
    }

    /// The longest step of the clock, and the packets, as they are made one by one.
    fn walked(layout: &Layout) -> (i64, u64) {
        let (mut longest, mut packets) = (0, 0);
        for n in 0..layout.len() {
            let mut last = layout.start(n).last_clock();
            let mut units = Units::new(layout, n, last);
            packets += 2;
            while let Some(unit) = units.next(layout) {
                packets += u64::from(unit.packets);
                if let Some(now) = unit.clock {
                    longest = longest.max(now - last.unwrap_or(now));
                    last = Some(now);
                }
            }
        }
        (longest, packets)
    }

    fn packets(layout: &Layout) -> u64 {
        (0..layout.len()).map(|n| layout.size(n)).sum::<u64>() / PACKET as u64
    }

    #[test]
    fn clocks_of_a_hole_are_counted_as_they_are_made() {
        for seconds in [1, 2, 29, 30, 31, 600] {
            let layout = pictures(100, seconds);
            let (longest, made) = walked(&layout);
            assert_eq!(packets(&layout), made, "{seconds}");
            assert_eq!(longest <= CLOCK_LONGEST, seconds <= 30, "{seconds}");
            assert_eq!(layout.holes().len(), if seconds <= 30 { 0 } else { HOLES }, "{seconds}");
            let holes = size_of_val(layout.holes());
            assert!((holes..=holes + 64).contains(&(layout.nbytes() - pictures(100, 1).nbytes())), "{seconds}");
        }
    }

    #[test]
    fn a_day_of_nothing_is_filled_and_a_year_is_not() {
        let day = pictures(3000, 29);
        assert!(day.holes().is_empty() && packets(&day) > 3000 * 29 * 10);
        // A packet for each picture, two of tables for each segment.
        let year = pictures(1_000_000, 30);
        assert_eq!((packets(&year), year.holes().len()), (1_200_000, HOLES));
        assert_eq!(year.holes()[0], (0, 2_700_000));
        // Two days of a picture a second keep their clock.
        let (longest, made) = walked(&pictures(172_800, 1));
        assert!(longest <= CLOCK_LONGEST && made > FILLING);
    }
}
