//! Media segments: `styp`, `moof`, `mdat`.

use std::sync::Arc;

use super::init::init;
use super::{boxed, full_box, put};
use crate::rendition::Stream;
use crate::track::{Cursor, Kind, Track};
use crate::window::Windows;
use crate::{Error, Made, ReadAt, Result};

/// Sample flags (ISO/IEC 14496-12 8.8.3.1): depends on no other; depends on others and is no sync sample.
const SYNC: u32 = 0x0200_0000;
const NO_SYNC: u32 = 0x0101_0000;
/// A run of bytes at least this long is read straight into the output.
const LONG_RUN: u64 = 16 * 1024;
pub(super) const STYP: &[u8; 24] = b"\0\0\0\x18stypmsdh\0\0\0\0msdhcmfs";

/// The segments of one rendition.
#[derive(Debug)]
pub struct Layout {
    stream: Stream,
    /// What is added to decoding times, ticks: the presentation's zero on the output's clock, and the time by which the
    /// first picture is shown after it is decoded. So `tfdt` is when the first picture is shown, and composition offsets may
    /// be negative (CMAF 7.5.17): players take the decoding time for the begin, and would leave a hole before the picture.
    base: i64,
    reorder: i64,
    sizes: Vec<u64>,
}

/// Which fields differ from sample to sample, so that `trun` has to list them.
#[derive(Clone, Copy, Debug)]
struct Shape {
    samples: u32,
    bytes: u64,
    durations: bool,
    flags: bool,
    offsets: bool,
    /// A duration or composition offset does not fit its 32 bits.
    too_long: bool,
}

impl Shape {
    fn entry(self) -> usize {
        4 * (1 + usize::from(self.durations) + usize::from(self.flags) + usize::from(self.offsets))
    }

    /// Bytes of `moof`: `mfhd` 16, `tfhd` 24, `tfdt` 20, `trun` 20 or 24 and its entries, and three headers.
    fn moof(self) -> usize {
        8 + 16 + 8 + 24 + 20 + (if self.flags { 20 } else { 24 }) + self.samples as usize * self.entry()
    }
}

impl Layout {
    /// Lays out the segments of `stream`. `start_seconds` is where the presentation's zero lies on the output's clock.
    ///
    /// # Errors
    /// [`crate::ErrorKind::Limit`] for times below the clock's zero, a segment of 4 GiB, or a sample of 2^32 ticks.
    pub fn new(stream: Stream, start_seconds: u32) -> Result<Self> {
        let zero = i64::from(start_seconds) * i64::from(stream.track.timescale.get());
        Self::at(stream, zero)
    }

    /// Lays out sample `index` alone, at the clock's zero.
    ///
    /// # Errors
    /// As [`Self::new`].
    ///
    /// # Panics
    /// Where there is no such sample.
    pub(super) fn alone(source: Arc<dyn ReadAt>, track: Arc<Track>, index: usize) -> Result<Self> {
        let zero = -track.samples.get(index).pts;
        Self::at(Stream { source, track, bounds: vec![index, index + 1] }, zero)
    }

    /// `zero`: where the presentation's zero lies on the output's clock, ticks.
    fn at(stream: Stream, zero: i64) -> Result<Self> {
        let segments = stream.bounds.len().saturating_sub(1);
        stream.check(segments)?;
        let first = stream.bounds.first().filter(|&&first| first < stream.track.samples.len());
        let reorder = first.map_or(0, |&first| {
            let sample = stream.track.samples.get(first);
            sample.pts - sample.dts
        });
        let base = zero + reorder;
        let mut layout = Self { stream, base, reorder, sizes: Vec::with_capacity(segments) };
        for n in 0..segments {
            let range = layout.range(n);
            // Only of a segment that has samples something can be wrong.
            let at = || layout.stream.track.samples.get(range.start).offset;
            if range.start < range.end && layout.stream.track.samples.dts.get(range.start) + base < 0 {
                return Err(Error::limit("a sample lies before the clock's zero: start the output later").at(at()));
            }
            let shape = layout.shape(n);
            if shape.too_long {
                let message = format!("segment {n} has a sample of more ticks than a fragment can say");
                return Err(Error::limit(message).at(at()));
            }
            let header = if range.is_empty() { 0 } else { shape.moof() as u64 + 8 };
            let size = STYP.len() as u64 + header + shape.bytes;
            if size > u64::from(u32::MAX) {
                return Err(Error::limit(format!("segment {n} would have {size} bytes: 4 GiB is the most")).at(at()));
            }
            layout.sizes.push(size);
        }
        Ok(layout)
    }

    /// Number of segments.
    pub fn len(&self) -> usize {
        self.sizes.len()
    }

    /// Whether there is none.
    pub fn is_empty(&self) -> bool {
        self.sizes.is_empty()
    }

    /// Bytes of segment `n`.
    ///
    /// # Panics
    /// Where there is no such segment.
    pub fn size(&self, n: usize) -> u64 {
        self.sizes[n]
    }

    /// The media initialization section that segment `n` needs.
    ///
    /// # Panics
    /// Where there is no such segment.
    pub fn init(&self, n: usize) -> Vec<u8> {
        let track = &self.stream.track;
        init(track, track.config_at(self.stream.bounds[n]))
    }

    /// Heap bytes held, the track not counted.
    pub fn nbytes(&self) -> usize {
        self.sizes.capacity() * size_of::<u64>() + self.stream.bounds.capacity() * size_of::<usize>()
    }

    fn range(&self, n: usize) -> std::ops::Range<usize> {
        self.stream.bounds[n]..self.stream.bounds[n + 1]
    }

    fn shape(&self, n: usize) -> Shape {
        let samples = &self.stream.track.samples;
        let range = self.range(n);
        let mut shape = Shape {
            samples: range.len() as u32,
            bytes: 0,
            durations: false,
            flags: false,
            offsets: false,
            too_long: false,
        };
        if range.is_empty() {
            return shape;
        }
        let first = samples.get(range.start);
        let duration = samples.dts_end(range.start) - first.dts;
        let mut last = first.dts - duration;
        for (i, sample) in samples.iter(range.clone()).enumerate() {
            let offset = sample.pts - sample.dts - self.reorder;
            shape.bytes += u64::from(sample.size);
            shape.durations |= sample.dts - last != duration;
            shape.offsets |= offset != 0;
            shape.too_long |= u32::try_from(sample.dts - last).is_err() || i32::try_from(offset).is_err();
            shape.flags |= i > 0 && sample.sync != self.default_sync();
            last = sample.dts;
        }
        let last = samples.dts_end(range.end - 1) - last;
        shape.durations |= last != duration;
        shape.too_long |= u32::try_from(last).is_err();
        shape
    }

    /// What samples are by default: sound can be entered anywhere, pictures at the first of a segment.
    fn default_sync(&self) -> bool {
        self.stream.track.kind == Kind::Audio
    }

    fn header(&self, n: usize) -> Vec<u8> {
        let samples = &self.stream.track.samples;
        let (range, shape) = (self.range(n), self.shape(n));
        let mut out = Vec::with_capacity(STYP.len() + shape.moof() + 8);
        out.extend_from_slice(STYP);
        if range.is_empty() {
            return out;
        }
        let first = samples.get(range.start);
        let duration = samples.dts_end(range.start) - first.dts;
        let flags = |sync: bool| if sync { SYNC } else { NO_SYNC };
        boxed(&mut out, b"moof", |out| {
            full_box(out, b"mfhd", 0, 0, |out| put(out, n as u32 + 1));
            boxed(out, b"traf", |out| {
                // default-base-is-moof, default duration, default flags
                full_box(out, b"tfhd", 0, 0x02_0028, |out| {
                    put(out, 1);
                    put(out, duration as u32);
                    put(out, flags(self.default_sync()));
                });
                full_box(out, b"tfdt", 1, 0, |out| out.extend_from_slice(&(first.dts + self.base).to_be_bytes()));
                let present = 0x201
                    | if shape.durations { 0x100 } else { 0 }
                    | if shape.flags { 0x400 } else { 0x004 }
                    | if shape.offsets { 0x800 } else { 0 };
                full_box(out, b"trun", 1, present, |out| {
                    put(out, shape.samples);
                    put(out, shape.moof() as u32 + 8);
                    if !shape.flags {
                        put(out, flags(first.sync));
                    }
                    let mut iter = samples.iter(range.clone()).peekable();
                    while let Some(sample) = iter.next() {
                        if shape.durations {
                            let end = iter.peek().map_or_else(|| samples.dts_end(range.end - 1), |next| next.dts);
                            put(out, (end - sample.dts) as u32);
                        }
                        put(out, sample.size);
                        if shape.flags {
                            put(out, flags(sample.sync));
                        }
                        if shape.offsets {
                            put(out, (sample.pts - sample.dts - self.reorder) as u32);
                        }
                    }
                });
            });
        });
        put(&mut out, (shape.bytes + 8) as u32);
        out.extend_from_slice(b"mdat");
        out
    }
}

/// A segment being made. Resumable: each call of [`Self::fill`] goes on where the last one stopped.
pub struct Muxer {
    layout: Arc<Layout>,
    header: Vec<u8>,
    header_at: usize,
    samples: Cursor,
    /// The run of bytes being copied: place in the source and length.
    run: (u64, u64),
    windows: Windows,
    limit: u64,
}

impl Muxer {
    /// A muxer of segment `n`.
    ///
    /// # Panics
    /// Where there is no such segment.
    pub fn new(layout: Arc<Layout>, n: usize) -> Self {
        let track = &layout.stream.track;
        let ends = track.samples.iter(layout.range(n)).map(|sample| sample.offset + u64::from(sample.size));
        Self {
            header: layout.header(n),
            header_at: 0,
            samples: Cursor::new(layout.range(n)),
            run: (0, 0),
            windows: Windows::new(Arc::clone(&layout.stream.source)),
            limit: ends.max().unwrap_or(0),
            layout,
        }
    }

    /// Writes the segment's next bytes; returns how many, which is fewer than `out` has room for only at the segment's end.
    ///
    /// # Errors
    /// What reading the source gives.
    pub fn fill(&mut self, out: &mut [u8]) -> Result<usize> {
        let mut at = 0;
        let header = &self.header[self.header_at..];
        if !header.is_empty() {
            at = header.len().min(out.len());
            out[..at].copy_from_slice(&header[..at]);
            self.header_at += at;
        }
        while at < out.len() {
            if self.run.1 == 0 && !self.next_run((out.len() - at) as u64) {
                break;
            }
            let (offset, left) = self.run;
            let len = usize::try_from(left).unwrap_or(usize::MAX).min(out.len() - at);
            if left >= LONG_RUN {
                self.windows.read(offset, &mut out[at..at + len])?;
            } else {
                let bytes = self.windows.lend(offset, len, len, self.limit)?;
                out[at..at + len].copy_from_slice(bytes);
            }
            self.run = (offset + len as u64, left - len as u64);
            at += len;
        }
        self.windows.read_ahead(out.len(), self.limit);
        Ok(at)
    }

    /// As [`Self::fill`], but waits for no source. Where one has to be waited for, it is as if this had not been called.
    ///
    /// # Errors
    /// As of [`Self::fill`].
    pub fn fill_now(&mut self, out: &mut [u8]) -> Result<Made> {
        if let Err(place) = self.windows.hurry() {
            self.windows.relax();
            return Ok(Made::Later(place));
        }
        let before = (self.header_at, self.samples.index(), self.run);
        let made = self.fill(out);
        let Some(place) = self.windows.relax() else { return made.map(Made::Bytes) };
        let sample;
        (self.header_at, sample, self.run) = before;
        self.samples.rewind(sample);
        Ok(Made::Later(place))
    }

    /// Gives back what memory the next call can have again: it may be long until then.
    pub fn rest(&mut self) {
        self.windows.rest();
    }

    /// Whether all that was written is of one input.
    ///
    /// # Errors
    /// [`crate::ErrorKind::Source`] where the input has changed since it was opened.
    pub fn check_unchanged(&self) -> Result<()> {
        self.layout.stream.source.check_unchanged()
    }

    /// Joins samples that lie side by side, up to about `wanted` bytes.
    fn next_run(&mut self, wanted: u64) -> bool {
        let samples = &self.layout.stream.track.samples;
        let Some(first) = self.samples.next(samples) else { return false };
        self.run = (first.offset, u64::from(first.size));
        while self.run.1 < wanted {
            let Some(next) = self.samples.next(samples) else { break };
            if next.offset != self.run.0 + self.run.1 {
                self.samples.unread();
                break;
            }
            self.run.1 += u64::from(next.size);
        }
        true
    }
}
