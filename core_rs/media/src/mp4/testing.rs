//! Writes small MP4 files for tests.

use crate::Result;
use crate::codec::avc::tests::RECORD;
use crate::codec::esds::tests::esds;
use crate::source::ReadAt;

/// A box.
pub(crate) fn bx(kind: &[u8; 4], body: &[u8]) -> Vec<u8> {
    let mut out = (body.len() as u32 + 8).to_be_bytes().to_vec();
    out.extend(kind);
    out.extend(body);
    out
}

/// A full box.
pub(crate) fn full(kind: &[u8; 4], version: u8, flags: u32, body: &[u8]) -> Vec<u8> {
    let mut out = (u32::from(version) << 24 | flags).to_be_bytes().to_vec();
    out.extend(body);
    bx(kind, &out)
}

/// 32-bit numbers one after the other.
pub(crate) fn words(values: &[u32]) -> Vec<u8> {
    values.iter().flat_map(|value| value.to_be_bytes()).collect()
}

/// A counted table of rows of 32-bit numbers.
pub(crate) fn rows<const N: usize>(rows: &[[u32; N]]) -> Vec<u8> {
    [words(&[rows.len() as u32]), words(rows.as_flattened())].concat()
}

/// 320 x 240 H.264.
pub(crate) fn avc_entry(kind: &[u8; 4]) -> Vec<u8> {
    let mut body = vec![0; 78];
    body[7] = 1;
    body[24..28].copy_from_slice(&[1, 64, 0, 240]);
    body.extend(bx(b"avcC", RECORD));
    bx(kind, &body)
}

/// 44.1 kHz stereo AAC-LC.
pub(crate) fn aac_entry() -> Vec<u8> {
    aac_entry_of(&[0x12, 0x10])
}

/// AAC with this `AudioSpecificConfig`.
pub(crate) fn aac_entry_of(asc: &[u8]) -> Vec<u8> {
    let mut body = vec![0; 28];
    body[7] = 1;
    body.extend(full(b"esds", 0, 0, &esds(0x40, asc)[4..]));
    bx(b"mp4a", &body)
}

/// A track to be written; tables as their boxes hold them.
#[derive(Clone, Debug)]
pub(crate) struct TestTrack {
    pub(crate) id: u32,
    pub(crate) handler: [u8; 4],
    pub(crate) timescale: u32,
    pub(crate) entries: Vec<Vec<u8>>,
    /// `(segment_duration, media_time)`.
    pub(crate) edits: Vec<(u32, i32)>,
    /// `(sample_count, sample_delta)`.
    pub(crate) stts: Vec<[u32; 2]>,
    pub(crate) ctts: Vec<[u32; 2]>,
    pub(crate) stsc: Vec<[u32; 3]>,
    pub(crate) sizes: Vec<u32>,
    /// Chunk offsets from the beginning of the media data.
    pub(crate) chunks: Vec<u32>,
    pub(crate) stss: Option<Vec<u32>>,
    /// Boxes of `stbl` put in place of those of the same type, or added.
    pub(crate) instead: Vec<Vec<u8>>,
}

impl TestTrack {
    /// `count` pictures of 10 bytes, 25 a second, 1000 ticks each, every fifth a key frame, in one chunk.
    pub(crate) fn video(count: u32) -> Self {
        Self {
            id: 1,
            handler: *b"vide",
            timescale: 25_000,
            entries: vec![avc_entry(b"avc1")],
            edits: Vec::new(),
            stts: vec![[count, 1000]],
            ctts: Vec::new(),
            stsc: vec![[1, count, 1]],
            sizes: vec![10; count as usize],
            chunks: vec![0],
            stss: Some((1..=count).step_by(5).collect()),
            instead: Vec::new(),
        }
    }

    /// `count` frames of sound of 4 bytes in one chunk.
    pub(crate) fn audio(count: u32) -> Self {
        Self {
            id: 2,
            handler: *b"soun",
            timescale: 44_100,
            entries: vec![aac_entry()],
            stts: vec![[count, 1024]],
            stsc: vec![[1, count, 1]],
            sizes: vec![4; count as usize],
            stss: None,
            ..Self::video(count)
        }
    }

    fn trak(&self, data: u32) -> Vec<u8> {
        let mut tables = vec![
            full(b"stsd", 0, 0, &[words(&[self.entries.len() as u32]), self.entries.concat()].concat()),
            full(b"stts", 0, 0, &rows(&self.stts)),
            full(b"stsc", 0, 0, &rows(&self.stsc)),
            full(b"stsz", 0, 0, &[words(&[0, self.sizes.len() as u32]), words(&self.sizes)].concat()),
            full(b"stco", 0, 0, &rows(&self.chunks.iter().map(|chunk| [chunk + data]).collect::<Vec<_>>())),
        ];
        if !self.ctts.is_empty() {
            tables.push(full(b"ctts", 0, 0, &rows(&self.ctts)));
        }
        if let Some(stss) = &self.stss {
            tables.push(full(b"stss", 0, 0, &rows(&stss.iter().map(|&number| [number]).collect::<Vec<_>>())));
        }
        for other in &self.instead {
            tables.retain(|table| table[4..8] != other[4..8]);
            tables.push(other.clone());
        }
        let hdlr = [&[0; 4][..], &self.handler, &[0; 13]].concat();
        let edts = match self.edits.as_slice() {
            [] => Vec::new(),
            edits => {
                let edits: Vec<[u32; 3]> = edits.iter().map(|&(d, t)| [d, t as u32, 0x1_0000]).collect();
                bx(b"edts", &full(b"elst", 0, 0, &rows(&edits)))
            }
        };
        let mdia = [
            full(b"mdhd", 0, 0, &words(&[0, 0, self.timescale, 0, 0x15c7_0000])),
            full(b"hdlr", 0, 0, &hdlr),
            bx(b"minf", &bx(b"stbl", &tables.concat())),
        ];
        let mut tkhd = words(&[0, 0, self.id, 0, 0, 0, 0, 0, 0]);
        tkhd.extend(words(&[0x1_0000, 0, 0, 0, 0x1_0000, 0, 0, 0, 0x4000_0000, 0, 0]));
        bx(b"trak", &[full(b"tkhd", 0, 7, &tkhd), edts, bx(b"mdia", &mdia.concat())].concat())
    }
}

/// A `moov` of a movie with 1000 ticks a second, whose chunk offsets count from `data`.
pub(crate) fn moov(tracks: &[TestTrack], more: &[u8], data: u32) -> Vec<u8> {
    let traks: Vec<u8> = tracks.iter().flat_map(|track| track.trak(data)).collect();
    bx(b"moov", &[full(b"mvhd", 0, 0, &words(&[0, 0, 1000, 0])), traks, more.to_vec()].concat())
}

/// A progressive file: `ftyp`, `mdat` of `len` bytes, `moov`.
pub(crate) fn progressive(tracks: &[TestTrack], len: usize) -> Vec<u8> {
    let ftyp = bx(b"ftyp", b"isom\0\0\0\0");
    let data = ftyp.len() as u32 + 8;
    [ftyp, bx(b"mdat", &vec![7; len]), moov(tracks, &[], data)].concat()
}

/// The init segment of a fragmented file with these tracks; `trex` as in the box, without version and flags.
pub(crate) fn init(tracks: &[TestTrack], trex: &[[u32; 5]]) -> Vec<u8> {
    let trex: Vec<u8> = trex.iter().flat_map(|trex| full(b"trex", 0, 0, &words(trex))).collect();
    let empty: Vec<TestTrack> = tracks.iter().map(|track| track.clone().without_samples()).collect();
    [bx(b"ftyp", b"iso5\0\0\0\0"), moov(&empty, &bx(b"mvex", &trex), 0)].concat()
}

impl TestTrack {
    fn without_samples(self) -> Self {
        let empty = (Vec::new(), Vec::new(), Vec::new(), Vec::new());
        let (stts, stsc, sizes, chunks) = empty;
        Self { stts, stsc, sizes, chunks, ctts: Vec::new(), stss: None, ..self }
    }
}

/// A source that counts how much is read of it, and lends nothing.
pub(crate) struct Counting {
    pub(crate) bytes: Vec<u8>,
    pub(crate) reads: std::sync::atomic::AtomicUsize,
}

impl Counting {
    pub(crate) fn new(bytes: Vec<u8>) -> Self {
        Self { bytes, reads: std::sync::atomic::AtomicUsize::new(0) }
    }
}

impl ReadAt for Counting {
    fn size(&self) -> u64 {
        self.bytes.len() as u64
    }

    fn read_exact_at(&self, offset: u64, buf: &mut [u8]) -> Result<()> {
        self.reads.fetch_add(1, std::sync::atomic::Ordering::Relaxed);
        self.bytes[..].read_exact_at(offset, buf)
    }
}
