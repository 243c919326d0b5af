//! Writes the packets of a segment, a window at a time.

use std::sync::Arc;

use super::units::{CLOCK_FIELD, Content, DELIMITER, Layout, Unit, Units, pes_header_len, reference};
use super::{PACKET, PAYLOAD, PID_AUDIO, PID_VIDEO, psi};
use crate::codec::avc::AvcConfig;
use crate::rendition::Stream;
use crate::track::{Config, Sample};
use crate::window::Windows;
use crate::{Error, Made, Place, Result};

/// A segment being made. Resumable: each call of [`Self::fill`] goes on where the last one stopped.
pub struct Muxer {
    layout: Arc<Layout>,
    segment: usize,
    units: Units,
    tables: u8,
    /// Continuity counters of video and audio.
    counters: [u8; 2],
    windows: [Option<Windows>; 2],
    /// How far reading ahead is of use, for each stream.
    limits: [u64; 2],
    pes: Pes,
    spill: [u8; PACKET],
    /// Bytes of `spill` that are already out.
    spilled: usize,
}

/// The PES packet being written.
#[derive(Clone, Default)]
struct Pes {
    stream: usize,
    clock: Option<i64>,
    random_access: bool,
    first: bool,
    /// Payload bytes not yet written.
    left: usize,
    /// Bytes that come before the body goes on: headers, parameter sets, start codes.
    head: Vec<u8>,
    head_at: usize,
    body: Body,
}

#[derive(Clone, Default)]
enum Body {
    #[default]
    Empty,
    /// An access unit: where it goes on and ends in the source, and bytes left of the NAL that was begun.
    Picture { at: u64, end: u64, nal: u64 },
    /// Frames of the units' group: which one, and bytes of it that are out.
    Sound { frame: usize, done: u32 },
}

impl Muxer {
    /// A muxer of segment `n`.
    ///
    /// # Panics
    /// Where there is no such segment.
    pub fn new(layout: Arc<Layout>, n: usize) -> Self {
        let start = layout.start(n);
        let units = Units::new(&layout, n, start.last_clock());
        let spans = [span(&layout.video, n), span(&layout.audio, n)];
        let together = match (&layout.video, &layout.audio) {
            (Some(video), Some(audio)) => Arc::ptr_eq(&video.source, &audio.source),
            _ => false,
        };
        let mut limits = spans.map(|(_, end)| end);
        // Streams that overlap are interleaved: a window serves both.
        if together && spans[0].0 < spans[1].1 && spans[1].0 < spans[0].1 {
            limits = [limits[0].max(limits[1]); 2];
        }
        let open = |stream: &Option<Stream>| stream.as_ref().map(|stream| Windows::new(Arc::clone(&stream.source)));
        let windows = [open(&layout.video), if together { None } else { open(&layout.audio) }];
        Self {
            segment: n,
            units,
            tables: 2,
            counters: start.counters.map(|counter| (counter % 16) as u8),
            windows,
            limits,
            pes: Pes::default(),
            spill: [0; PACKET],
            spilled: PACKET,
            layout,
        }
    }

    /// Writes the segment's next bytes; returns how many, which is fewer than `out` has room for only at the segment's end.
    ///
    /// # Errors
    /// [`crate::ErrorKind::Malformed`] for NAL lengths that do not fit their sample; what reading the source gives.
    pub fn fill(&mut self, out: &mut [u8]) -> Result<usize> {
        let mut at = self.unspill(out);
        at += self.packets(&mut out[at..])?;
        if at < out.len() && self.spilled == PACKET {
            let mut packet = [0; PACKET];
            if self.packets(&mut packet)? == PACKET {
                self.spill = packet;
                self.spilled = 0;
                at += self.unspill(&mut out[at..]);
            }
        }
        for (windows, limit) in self.windows.iter_mut().zip(self.limits) {
            if let Some(windows) = windows {
                windows.read_ahead(out.len(), limit);
            }
        }
        Ok(at)
    }

    /// As [`Self::fill`], but waits for no source. Where one has to be waited for, it is as if this had not been called.
    ///
    /// # Errors
    /// As of [`Self::fill`].
    pub fn fill_now(&mut self, out: &mut [u8]) -> Result<Made> {
        let mut windows = self.windows.iter_mut().flatten();
        if let Err(place) = windows.try_for_each(Windows::hurry) {
            self.relax();
            return Ok(Made::Later(place));
        }
        let before = (self.tables, self.counters, self.pes.clone(), self.spill, self.spilled);
        let mark = self.units.mark();
        let made = self.fill(out);
        let Some(place) = self.relax() else { return made.map(Made::Bytes) };
        (self.tables, self.counters, self.pes, self.spill, self.spilled) = before;
        self.units.rewind(mark);
        Ok(Made::Later(place))
    }

    fn relax(&mut self) -> Option<Place> {
        let windows = self.windows.iter_mut().flatten();
        windows.filter_map(Windows::relax).last()
    }

    /// Gives back what memory the next call can have again: it may be long until then.
    pub fn rest(&mut self) {
        self.windows.iter_mut().flatten().for_each(Windows::rest);
    }

    /// Whether all that was written is of one input.
    ///
    /// # Errors
    /// [`crate::ErrorKind::Source`] where an input has changed since it was opened.
    pub fn check_unchanged(&self) -> Result<()> {
        let mut streams = self.layout.video.iter().chain(&self.layout.audio);
        streams.try_for_each(|stream| stream.source.check_unchanged())
    }

    fn unspill(&mut self, out: &mut [u8]) -> usize {
        let rest = &self.spill[self.spilled..];
        let len = rest.len().min(out.len());
        out[..len].copy_from_slice(&rest[..len]);
        self.spilled += len;
        len
    }

    /// Fills `out` with as many whole packets as fit and are left.
    fn packets(&mut self, out: &mut [u8]) -> Result<usize> {
        let mut at = 0;
        while let Some(room) = out.get_mut(at..).filter(|room| room.len() >= PACKET) {
            if self.pes.left == 0 {
                let (packet, _) = room.split_first_chunk_mut().unwrap_or_else(|| unreachable!());
                match self.begin(packet)? {
                    Begun::Packet => at += PACKET,
                    Begun::Pes => {}
                    Begun::End => break,
                }
                continue;
            }
            let whole = self.whole_packets(room)?;
            if whole > 0 {
                at += whole;
                continue;
            }
            let (packet, _) = room.split_first_chunk_mut().unwrap_or_else(|| unreachable!());
            self.packet(packet)?;
            at += PACKET;
        }
        Ok(at)
    }

    /// Begins the next unit. Tables and clocks are one packet, written at once.
    fn begin(&mut self, packet: &mut [u8; PACKET]) -> Result<Begun> {
        if self.tables > 0 {
            let (video, audio) = (self.layout.video.is_some(), self.layout.audio.is_some());
            *packet = if self.tables == 2 { psi::pat() } else { psi::pmt(video, audio) };
            // One of each a segment: their counter is the segment's number.
            packet[3] |= (self.segment % 16) as u8;
            self.tables -= 1;
            return Ok(Begun::Packet);
        }
        let Some(unit) = self.units.next(&self.layout) else { return Ok(Begun::End) };
        if let Content::Clock = unit.content {
            // Adaptation field only: the counter stands still (ISO/IEC 13818-1 2.4.3.3).
            let stream = usize::from(self.layout.video.is_none());
            let counter = self.counters[stream].wrapping_sub(1) & 15;
            packet.fill(0xFF);
            packet[..6].copy_from_slice(&[0x47, pid(stream).0, pid(stream).1, 0x20 | counter, 183, 0x10]);
            packet[6..12].copy_from_slice(&clock_reference(unit.clock.unwrap_or_default()));
            return Ok(Begun::Packet);
        }
        self.begin_pes(unit)?;
        Ok(Begun::Pes)
    }

    fn begin_pes(&mut self, unit: Unit) -> Result<()> {
        let pes = &mut self.pes;
        pes.clock = unit.clock;
        pes.first = true;
        pes.left = unit.payload;
        pes.head.clear();
        pes.head_at = 0;
        match unit.content {
            Content::Picture { sample, pts, dts } => {
                pes.stream = 0;
                pes.random_access = sample.sync;
                // Zero: the length is unbounded, which is for video only (ISO/IEC 13818-1 2.4.3.7).
                pes_header(&mut pes.head, 0xE0, 0, pts, dts);
                pes.head.extend_from_slice(&DELIMITER);
                if sample.sync {
                    let sets = self.layout.parameter_sets.get(self.units.config[0]);
                    pes.head.extend_from_slice(sets.map_or(&[], Vec::as_slice));
                }
                let end = sample.offset + u64::from(sample.size);
                pes.body = Body::Picture { at: sample.offset, end, nal: 0 };
            }
            Content::Sound { pts } => {
                pes.stream = 1;
                pes.random_access = false;
                pes_header(&mut pes.head, 0xC0, unit.payload - 6, pts, pts);
                pes.body = Body::Sound { frame: 0, done: 0 };
                self.begin_frame(0)?;
            }
            Content::Clock => pes.body = Body::Empty,
        }
        Ok(())
    }

    fn begin_frame(&mut self, frame: usize) -> Result<()> {
        let Some(sample) = self.units.frames().get(frame) else { return Ok(()) };
        // The layout has a header for each configuration that a segment's samples need.
        let adts = self.layout.adts[self.units.config[1]].unwrap_or_else(|| unreachable!());
        let header = adts.header(sample.size);
        self.pes.head.extend_from_slice(&header);
        Ok(())
    }

    /// Packets that hold nothing but the middle of one NAL: the greater part of a film.
    fn whole_packets(&mut self, out: &mut [u8]) -> Result<usize> {
        let pes = &mut self.pes;
        let Body::Picture { at, nal, .. } = &mut pes.body else { return Ok(0) };
        let here = usize::try_from(*nal).unwrap_or(usize::MAX).min(pes.left) / PAYLOAD;
        let count = here.min(out.len() / PACKET);
        if pes.first || count == 0 || pes.head_at < pes.head.len() {
            return Ok(0);
        }
        let windows = self.windows[0].as_mut().unwrap_or_else(|| unreachable!());
        let bytes = windows.lend(*at, PAYLOAD, count * PAYLOAD, self.limits[0])?;
        let mut counter = self.counters[0];
        let (from, _) = bytes.as_chunks::<PAYLOAD>();
        let (to, _) = out.as_chunks_mut::<PACKET>();
        for (payload, packet) in from.iter().zip(to) {
            let header = [0x47, pid(0).0, pid(0).1, 0x10 | counter & 15];
            packet[..4].copy_from_slice(&header);
            packet[4..].copy_from_slice(payload);
            counter = counter.wrapping_add(1);
        }
        self.counters[0] = counter & 15;
        *at += (from.len() * PAYLOAD) as u64;
        *nal -= (from.len() * PAYLOAD) as u64;
        pes.left -= from.len() * PAYLOAD;
        Ok(from.len() * PACKET)
    }

    /// One packet of the PES at hand.
    fn packet(&mut self, packet: &mut [u8; PACKET]) -> Result<()> {
        let pes = &mut self.pes;
        let (high, low) = pid(pes.stream);
        let counter = &mut self.counters[pes.stream];
        let start = if pes.first { 0x40 } else { 0 };
        packet[..4].copy_from_slice(&[0x47, high | start, low, 0x10 | *counter]);
        *counter = (*counter + 1) & 15;
        let clock = pes.clock.filter(|_| pes.first);
        let field = if clock.is_some() { CLOCK_FIELD } else { 0 };
        let payload = pes.left.min(PAYLOAD - field);
        // The adaptation field takes what the payload leaves (ISO/IEC 13818-1 2.4.3.5).
        let field = PAYLOAD - payload;
        if field > 0 {
            packet[3] |= 0x20;
            packet[4] = (field - 1) as u8;
            packet[5..4 + field].fill(0xFF);
            if field > 1 {
                packet[5] = if pes.first && pes.random_access { 0x40 } else { 0 };
            }
            if let Some(clock) = clock {
                packet[5] |= 0x10;
                packet[6..12].copy_from_slice(&clock_reference(clock));
            }
        }
        pes.first = false;
        pes.left -= payload;
        self.pull(&mut packet[PACKET - payload..])
    }

    /// Fills `out` with the PES packet's next bytes.
    fn pull(&mut self, mut out: &mut [u8]) -> Result<()> {
        while !out.is_empty() {
            let head = &self.pes.head[self.pes.head_at..];
            if !head.is_empty() {
                let len = head.len().min(out.len());
                out[..len].copy_from_slice(&head[..len]);
                self.pes.head_at += len;
                out = &mut out[len..];
                continue;
            }
            let len = match self.pes.body {
                Body::Picture { nal: 0, .. } => {
                    self.begin_nal()?;
                    0
                }
                Body::Picture { ref mut at, ref mut nal, .. } => {
                    let len = out.len().min(usize::try_from(*nal).unwrap_or(usize::MAX));
                    let windows = self.windows[0].as_mut().unwrap_or_else(|| unreachable!());
                    let bytes = windows.lend(*at, len, len, self.limits[0])?;
                    out[..len].copy_from_slice(bytes);
                    *at += len as u64;
                    *nal -= len as u64;
                    len
                }
                Body::Sound { frame, done } => self.pull_frame(out, frame, done)?,
                Body::Empty => return Err(Error::malformed("a unit that is longer than was planned")),
            };
            out = &mut out[len..];
        }
        Ok(())
    }

    fn pull_frame(&mut self, out: &mut [u8], frame: usize, done: u32) -> Result<usize> {
        let Some(&sample) = self.units.frames().get(frame) else {
            return Err(Error::malformed("an audio group that is longer than was planned"));
        };
        let len = out.len().min((sample.size - done) as usize);
        // The audio stream shares the video's windows where both come from one source.
        let [video, audio] = &mut self.windows;
        let windows = audio.as_mut().or(video.as_mut()).unwrap_or_else(|| unreachable!());
        out[..len].copy_from_slice(windows.lend(sample.offset + u64::from(done), len, len, self.limits[1])?);
        let done = done + len as u32;
        self.pes.body = Body::Sound { frame, done };
        if done == sample.size {
            self.pes.head.clear();
            self.pes.head_at = 0;
            self.pes.body = Body::Sound { frame: frame + 1, done: 0 };
            self.begin_frame(frame + 1)?;
        }
        Ok(len)
    }

    /// Reads the next NAL's length and puts a start code in its place.
    fn begin_nal(&mut self) -> Result<()> {
        let Body::Picture { at, end, .. } = self.pes.body else { return Ok(()) };
        let size = self.avc().map_or(4, |avc| u64::from(avc.nal_length_size));
        let limit = self.limits[0];
        let windows = self.windows[0].as_mut().unwrap_or_else(|| unreachable!());
        if at == end {
            return Err(Error::malformed("a picture that is longer than was planned").at(at));
        }
        if at + size > end {
            // Too few for another length. As many zeros keep the size that was planned, and may follow a NAL unit
            // (trailing_zero_8bits, ISO/IEC 14496-10 B.1).
            self.pes.head.clear();
            self.pes.head.resize((end - at) as usize, 0);
            self.pes.head_at = 0;
            self.pes.body = Body::Picture { at: end, end, nal: 0 };
            return Ok(());
        }
        let with_type = (size + 1).min(end - at) as usize;
        let bytes = windows.lend(at, with_type, with_type, limit)?;
        let (length, nal_type) = bytes.split_at(size as usize);
        let length = length.iter().fold(0u64, |length, &byte| length << 8 | u64::from(byte));
        if length > end - at - size {
            return Err(Error::malformed(format!("a NAL unit of {length} bytes runs past its sample")).at(at));
        }
        let delimiter = nal_type.first().is_some_and(|byte| byte & 31 == 9) && length <= 8;
        let head = &mut self.pes.head;
        head.clear();
        self.pes.head_at = 0;
        if delimiter || length == 0 {
            head.resize(4 + length as usize, 0);
        } else {
            head.extend_from_slice(&[0, 0, 0, 1]);
        }
        let (skipped, nal) = if delimiter { (size + length, 0) } else { (size, length) };
        self.pes.body = Body::Picture { at: at + skipped, end, nal };
        Ok(())
    }

    fn avc(&self) -> Option<&AvcConfig> {
        match self.layout.video.as_ref()?.track.configs.get(self.units.config[0])? {
            Config::Avc(avc) => Some(avc),
            Config::Aac(_) => None,
        }
    }
}

enum Begun {
    Packet,
    Pes,
    End,
}

/// First byte and end of the segment's samples in the source.
fn span(stream: &Option<Stream>, n: usize) -> (u64, u64) {
    let Some(stream) = stream else { return (u64::MAX, 0) };
    let samples = stream.track.samples.iter(stream.bounds[n]..stream.bounds[n + 1]);
    samples.fold((u64::MAX, 0), |(first, end), Sample { offset, size, .. }| {
        (first.min(offset), end.max(offset.saturating_add(size.into())))
    })
}

fn pid(stream: usize) -> (u8, u8) {
    let pid = if stream == 0 { PID_VIDEO } else { PID_AUDIO };
    ((pid >> 8) as u8, pid as u8)
}

/// The six bytes of a PCR whose unit has the time `time` (ISO/IEC 13818-1 2.4.3.5); its 27 MHz extension is 0.
fn clock_reference(time: i64) -> [u8; 6] {
    let base = (reference(time) & 0x1_FFFF_FFFF) as u64;
    let [.., a, b, c, d, e, f] = (base << 15 | 0x3F << 9).to_be_bytes();
    [a, b, c, d, e, f]
}

/// A PES header (ISO/IEC 13818-1 2.4.3.6); DTS only where it differs from PTS.
fn pes_header(out: &mut Vec<u8>, stream_id: u8, length: usize, pts: i64, dts: i64) {
    let with_dts = pts != dts;
    let flags = if with_dts { 0xC0 } else { 0x80 };
    let rest = (pes_header_len(with_dts) - 9) as u8;
    out.extend_from_slice(&[0, 0, 1, stream_id, (length >> 8) as u8, length as u8, 0x84, flags, rest]);
    out.extend_from_slice(&stamp(if with_dts { 3 } else { 2 }, pts));
    if with_dts {
        out.extend_from_slice(&stamp(1, dts));
    }
}

/// A 33-bit time stamp with its marker bits.
fn stamp(prefix: u8, time: i64) -> [u8; 5] {
    let time = (time & 0x1_FFFF_FFFF) as u64;
    [
        prefix << 4 | (time >> 29) as u8 & 0x0E | 1,
        (time >> 22) as u8,
        (time >> 14) as u8 | 1,
        (time >> 7) as u8,
        (time << 1) as u8 | 1,
    ]
}
