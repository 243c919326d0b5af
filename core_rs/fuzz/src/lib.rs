//! What each fuzz target does with its bytes: any bytes give a value or a declared error.
//!
//! This file is compiled twice: here for libFuzzer, and by `core_rs/media/tests/corpus.rs`, which runs the kept corpus through
//! the same code without it.

use std::sync::Arc;

use pystream_media::rendition::Stream;
use pystream_media::track::{Config, Kind, Sample, Track};
use pystream_media::{Error, ErrorKind, ReadAt, Result, fmp4, mp4, ts};

/// A fragmented clip; its init segment is where made-up fragments belong.
const CLIP: &[u8] = include_bytes!("../../../tests/media/fragmented.mp4");

/// Changes of a track's configuration that bounds are made for.
const CHANGES: usize = 8;

/// Where the presentation's zero lies on the output's clock.
const START_SECONDS: u32 = 10;

/// Bytes that one input may make a muxer put out. A few samples an hour apart ask for much silence between them.
const OUTPUT: u64 = 1 << 20;

/// The box layer: the first byte says which box the others are the content of.
pub fn boxes(data: &[u8]) {
    let Some((&selector, content)) = data.split_first() else { return };
    let media = [7; 512];
    let moof = CLIP.windows(4).position(|window| window == b"moof").unwrap_or(CLIP.len()) - 4;
    let init = &CLIP[..moof];
    let file = match selector % 4 {
        0 => [&boxed(b"moov", content), boxed(b"mdat", &media).as_slice()].concat(),
        1 => [init, &boxed(b"moof", content), &boxed(b"mdat", &media)].concat(),
        2 => [init, content, &boxed(b"mdat", &media)].concat(),
        _ => [init, &boxed(b"moof", &boxed(b"traf", content)), &boxed(b"mdat", &media)].concat(),
    };
    if let Ok(movie) = open(&file) {
        assert!(movie.tracks.len() + movie.skipped.len() <= 1024);
    }
    relocate(&[&boxed(b"mdat", &media), file.as_slice()].concat());
}

/// Parts of the source in its order, and of the same length where nothing had to be written wider.
fn relocate(file: &[u8]) {
    let Ok(parts) = declared(mp4::relocate(&file)) else { return };
    let end = file.len() as u64;
    let ranges = parts.iter().filter_map(|part| match part {
        mp4::Part::Range(range) => Some(range.clone()),
        mp4::Part::Bytes(_) => None,
    });
    let last = ranges.fold(0, |before, range| {
        assert!(before <= range.start && range.start <= range.end && range.end <= end);
        range.end
    });
    assert!(last <= end);
}

fn boxed(name: &[u8; 4], content: &[u8]) -> Vec<u8> {
    [&(content.len() as u32 + 8).to_be_bytes(), name.as_slice(), content].concat()
}

/// A source that lends nothing, as a file does.
struct Copied(Vec<u8>);

impl ReadAt for Copied {
    fn size(&self) -> u64 {
        self.0.len() as u64
    }

    fn read_exact_at(&self, offset: u64, buf: &mut [u8]) -> Result<()> {
        self.0.as_slice().read_exact_at(offset, buf)
    }
}

/// A source that lies in memory.
struct Lent(Vec<u8>);

impl ReadAt for Lent {
    fn size(&self) -> u64 {
        self.0.len() as u64
    }

    fn read_exact_at(&self, offset: u64, buf: &mut [u8]) -> Result<()> {
        self.0.as_slice().read_exact_at(offset, buf)
    }

    fn as_slice(&self) -> Option<&[u8]> {
        Some(&self.0)
    }
}

fn open(file: &[u8]) -> Result<mp4::Movie> {
    declared(mp4::open(&file))
}

/// An error must say what is wrong; reads lie inside the source, so the source itself never fails.
fn declared<T>(result: Result<T>) -> Result<T> {
    if let Err(error) = &result {
        assert!(error.kind() != ErrorKind::Source && !error.to_string().is_empty(), "{error:?}");
    }
    result
}

/// The demuxer: everything that a movie has, looked at.
pub fn demux(data: &[u8]) {
    relocate(data);
    let copied = mp4::open(&Copied(data.to_vec()));
    let movie = match (open(data), copied) {
        (Ok(movie), Ok(copied)) => {
            assert_eq!(movie.tracks.len(), copied.tracks.len());
            movie
        }
        (Err(error), Err(copied)) => {
            assert_eq!(error.to_string(), copied.to_string());
            return;
        }
        (lent, copied) => panic!("lent {:?}, copied {:?}", lent.err(), copied.err()),
    };
    // Packed columns and configurations: a small multiple of the file.
    assert!(movie.nbytes() <= 16 * data.len() + (1 << 16), "{} bytes of {}", movie.nbytes(), data.len());
    for track in &movie.tracks {
        check_track(track, data);
    }
}

fn check_track(track: &Track, file: &[u8]) {
    let samples = &track.samples;
    let len = samples.len();
    assert!(!track.shown.is_empty() && track.shown.end <= len);
    assert_eq!(track.config_runs[0].0, 0);
    let mut last = i64::MIN;
    for (index, sample) in samples.iter(0..len).enumerate() {
        assert!(sample.size > 0 && sample.offset + u64::from(sample.size) <= file.len() as u64);
        assert!(last <= sample.dts && (track.kind == Kind::Video || sample.pts == sample.dts), "sample {index}");
        assert!(sample.pts >= sample.dts && samples.dts_end(index) >= sample.dts);
        if index % 61 == 0 {
            assert_eq!(samples.get(index), sample);
        }
        last = sample.dts;
    }
    assert!(track.kind == Kind::Audio || samples.sync.contains(track.shown.start));
    for index in (track.shown.start..len).filter(|&index| samples.sync.contains(index)).take(8) {
        let _ = track.config_at(index);
        assert!(track.picture_kinds(&file, &[index]).is_ok());
    }
    let _ = track.end_pts(track.shown.clone());
    assert_eq!(track.outline(), track.clone().outline());
    assert!(track.content(&file).is_ok_and(|content| track.content(&file).is_ok_and(|again| again == content)));
}

/// The muxers: the last bytes say how, the others are the file.
pub fn mux(data: &[u8]) {
    let Some((file, plan)) = data.split_last_chunk::<16>() else { return };
    let Ok(movie) = open(file) else { return };
    let source: Arc<dyn ReadAt> =
        if plan[0] & 1 == 0 { Arc::new(Lent(file.to_vec())) } else { Arc::new(Copied(file.to_vec())) };
    let mut random = Random(plan[8..].iter().fold(0, |seed, &byte| seed << 8 | u64::from(byte)));
    let tracks: Vec<Arc<Track>> = movie.tracks.into_iter().map(Arc::new).collect();
    let segments = 1 + usize::from(plan[1] % 6);
    let mut stream = |track: &Arc<Track>| Stream {
        source: Arc::clone(&source),
        track: Arc::clone(track),
        bounds: bounds(track, segments, plan, &mut random),
    };
    let streams: Vec<Stream> = tracks.iter().map(&mut stream).collect();
    let of = |kind: Kind| streams.iter().find(|stream| stream.track.kind == kind).cloned();
    let muxed: Vec<Stream> = match plan[2] % 3 {
        0 => of(Kind::Video).into_iter().chain(of(Kind::Audio)).collect(),
        1 => of(Kind::Video).into_iter().collect(),
        _ => of(Kind::Audio).into_iter().collect(),
    };
    if !muxed.is_empty() {
        transport(muxed, &mut random);
    }
    for stream in streams.into_iter().take(2) {
        fragments(stream, &mut random);
    }
}

/// Bounds as a planner makes them (the shown samples, from sync sample to sync sample), or any that never fall. Both have one wherever
/// the configuration changes, without which no layout takes them.
fn bounds(track: &Track, segments: usize, plan: &[u8; 16], random: &mut Random) -> Vec<usize> {
    let any = plan[3] & 1 == 1;
    let range = if any { 0..track.samples.len() } else { track.shown.clone() };
    let mut bounds: Vec<usize> = (0..=segments).map(|_| range.start + random.below(range.len() + 1)).collect();
    bounds.sort_unstable();
    if !any {
        (bounds[0], bounds[segments]) = (range.start, range.end);
        for bound in &mut bounds[1..segments] {
            *bound = (*bound..range.end).find(|&index| track.samples.sync.contains(index)).unwrap_or(range.end);
        }
    }
    let covered = bounds[0]..bounds[segments];
    let changes = track.config_runs.iter().map(|&(first, _)| first);
    bounds.extend(changes.filter(|first| covered.contains(first)).take(CHANGES));
    bounds.sort_unstable();
    // Tracks that are muxed together have as many segments each.
    bounds.resize(segments + 1 + CHANGES, covered.end);
    bounds
}

fn transport(streams: Vec<Stream>, random: &mut Random) {
    let Ok(layout) = declared(ts::Layout::new(streams.clone(), START_SECONDS)).map(Arc::new) else { return };
    assert!(layout.nbytes() > 0);
    for n in order(layout.len(), random) {
        let fill = |muxer: &mut ts::Muxer, out: &mut [u8]| muxer.fill(out);
        let new = || ts::Muxer::new(Arc::clone(&layout), n);
        let Some(segment) = twice(layout.size(n), new, fill, random) else { continue };
        assert!(segment.chunks(ts::PACKET).all(|packet| packet.len() == ts::PACKET && packet[0] == 0x47));
        for stream in &streams {
            let pid = if stream.track.kind == Kind::Video { 0x100 } else { 0x101 };
            assert!(elementary(&segment, pid) == units(stream, n), "what segment {n} carries is not what was read");
        }
    }
}

/// What the packets of one stream carry, without the headers of packets and PES (ISO/IEC 13818-1 2.4.3); of ADTS headers, the
/// length alone.
fn elementary(segment: &[u8], pid: u16) -> Vec<u8> {
    let mut stream = Vec::new();
    for packet in segment.chunks(ts::PACKET) {
        let adaptation = if packet[3] & 0x20 == 0 { 0 } else { 1 + usize::from(packet[4]) };
        if u16::from_be_bytes([packet[1] & 0x1F, packet[2]]) != pid || packet[3] & 0x10 == 0 {
            continue;
        }
        let payload = &packet[4 + adaptation..];
        let begins = packet[1] & 0x40 != 0;
        stream.extend_from_slice(if begins { &payload[9 + usize::from(payload[8])..] } else { payload });
    }
    let mut frame = 0;
    while pid == 0x101 && frame < stream.len() {
        let length = usize::from(stream[frame + 3] & 3) << 11 | usize::from(stream[frame + 4]) << 3;
        let length = length | usize::from(stream[frame + 5]) >> 5;
        stream[frame..frame + 7].copy_from_slice(&(length as u64).to_be_bytes()[1..]);
        frame += length;
    }
    stream
}

/// The same, naively, from what was read: Annex B with a delimiter and, at random access points, parameter sets; frames behind
/// the length of an ADTS frame.
fn units(stream: &Stream, n: usize) -> Vec<u8> {
    let range = stream.bounds[n]..stream.bounds[n + 1];
    let mut units = Vec::new();
    for (index, sample) in range.clone().zip(stream.track.samples.iter(range)) {
        let data = bytes(stream, &sample);
        let Config::Avc(avc) = &stream.track.configs[stream.track.config_index_at(index)] else {
            units.extend_from_slice(&(data.len() as u64 + 7).to_be_bytes()[1..]);
            units.extend_from_slice(&data);
            continue;
        };
        units.extend_from_slice(&[0, 0, 0, 1, 9, 0xF0]);
        for set in avc.sps.iter().chain(&avc.pps).filter(|set| sample.sync && !set.is_empty()) {
            units.extend_from_slice(&[&[0, 0, 0, 1], set.as_slice()].concat());
        }
        let mut rest = data.as_slice();
        while let Some((size, behind)) = rest.split_at_checked(avc.nal_length_size.into()) {
            let length = size.iter().fold(0, |length, &byte| length << 8 | usize::from(byte));
            let (nal, next) = behind.split_at(length);
            // A delimiter is there already; nothing has no start code.
            let absent = nal.first().is_none_or(|kind| kind & 31 == 9 && length <= 8);
            units.extend_from_slice(if absent { &[0; 4] } else { &[0, 0, 0, 1] });
            units.extend(nal.iter().map(|byte| if absent { 0 } else { *byte }));
            rest = next;
        }
        units.resize(units.len() + rest.len(), 0);
    }
    units
}

fn bytes(stream: &Stream, sample: &Sample) -> Vec<u8> {
    let mut data = vec![0; sample.size as usize];
    stream.source.read_exact_at(sample.offset, &mut data).unwrap_or_else(|error| panic!("{error}"));
    data
}

fn fragments(stream: Stream, random: &mut Random) {
    let (track, bounds) = (Arc::clone(&stream.track), stream.bounds.clone());
    let Ok(layout) = declared(fmp4::Layout::new(stream.clone(), START_SECONDS)).map(Arc::new) else { return };
    assert!(layout.nbytes() > 0);
    for n in order(layout.len(), random) {
        let fill = |muxer: &mut fmp4::Muxer, out: &mut [u8]| muxer.fill(out);
        let new = || fmp4::Muxer::new(Arc::clone(&layout), n);
        let Some(segment) = twice(layout.size(n), new, fill, random) else { continue };
        let range = bounds[n]..bounds[n + 1];
        if range.is_empty() {
            continue;
        }
        // What was written says the same as what was read.
        let whole = [layout.init(n), segment].concat();
        let again = mp4::open(&whole.as_slice());
        let again = again.unwrap_or_else(|error| panic!("segment {n} does not open: {error}"));
        let Some(written) = again.tracks.first() else {
            // A player has to begin at a key frame; arbitrary bounds need not.
            assert!(track.kind == Kind::Video && !track.samples.sync.contains(range.start), "{:?}", again.skipped);
            continue;
        };
        let zero = |sample: &Sample, first: i64| (sample.size, sample.pts - first, sample.sync);
        let first = |samples: &[Sample]| samples.iter().map(|sample| sample.pts).min().unwrap_or_default();
        let before: Vec<Sample> = track.samples.iter(range).collect();
        let after: Vec<Sample> = written.samples.iter(0..written.samples.len()).collect();
        assert_eq!(before.len(), after.len());
        for (a, b) in before.iter().zip(&after) {
            assert_eq!(zero(a, first(&before)), zero(b, first(&after)));
            assert!(bytes(&stream, a) == whole[b.offset as usize..][..b.size as usize]);
        }
    }
}

/// Segments in any order: none may depend on another having been made.
fn order(len: usize, random: &mut Random) -> Vec<usize> {
    let mut order: Vec<usize> = (0..len).collect();
    for i in (1..len).rev() {
        order.swap(i, random.below(i + 1));
    }
    order
}

/// Makes a segment in windows of odd sizes and once more in one: the same bytes, as many as planned. `None` where the source's
/// bytes do not allow it, which the layout does not see.
fn twice<M>(
    size: u64,
    new: impl Fn() -> M,
    fill: impl Fn(&mut M, &mut [u8]) -> std::result::Result<usize, Error>,
    random: &mut Random,
) -> Option<Vec<u8>> {
    if size > OUTPUT {
        return None;
    }
    // Room for more than was planned, so that more would show.
    let mut whole = vec![0; size as usize + 400];
    let filled = fill(&mut new(), &mut whole).ok()?;
    assert_eq!(filled as u64, size, "planned and produced");
    whole.truncate(filled);

    let mut muxer = new();
    let mut parts = vec![0; filled];
    let mut at = 0;
    while at < filled {
        let most = if random.below(2) == 0 { 300 } else { 40_000 };
        let end = filled.min(at + 1 + random.below(most));
        let part = fill(&mut muxer, &mut parts[at..end]).unwrap_or_else(|error| panic!("only in parts: {error}"));
        assert_eq!(part, end - at);
        at = end;
    }
    assert!(parts == whole, "windows change the bytes");
    assert_eq!(fill(&mut muxer, &mut [0; 400]).ok(), Some(0));
    Some(whole)
}

/// xorshift64*.
struct Random(u64);

impl Random {
    /// Below `limit`, which is not 0.
    fn below(&mut self, limit: usize) -> usize {
        self.0 |= 1;
        self.0 ^= self.0 >> 12;
        self.0 ^= self.0 << 25;
        self.0 ^= self.0 >> 27;
        (self.0.wrapping_mul(0x2545_f491_4f6c_dd1d) >> 33) as usize % limit
    }
}
