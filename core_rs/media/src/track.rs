//! What a demuxer hands to a muxer: tracks of samples on one presentation time line.
//!
//! Times are ticks of the track's [`Track::timescale`], counted from the presentation's zero: edit lists are already
//! applied, so that `pts / timescale` seconds of one track and of another are the same moment. Times before zero are
//! fine (AAC priming, pictures before an edit).

use std::hash::{Hash, Hasher};
use std::num::NonZeroU32;
use std::ops::Range;
use std::sync::Arc;

use crate::codec::aac::AacConfig;
use crate::codec::avc::{AvcConfig, PictureKind, picture_kind};
use crate::column::{BLOCK, Column};
use crate::digest::Digest;
use crate::seen::Seen;
use crate::{Error, ReadAt, Result, limits};

/// Bytes that are read at once where the beginnings of many samples are: small samples lie side by side.
const AHEAD: usize = 4096;

/// Samples whose bytes are compared before two tracks are taken for one.
const SPOT_CHECKS: usize = 1024;

/// Bytes of such a sample that are held at once, whatever size the file gives it.
const PIECE: u64 = 1 << 20;

/// One coded sample: an access unit of video, a frame of audio.
#[derive(Clone, Copy, Debug, Default, Eq, PartialEq)]
pub struct Sample {
    /// Byte offset in the source.
    pub offset: u64,
    /// Bytes.
    pub size: u32,
    /// Decoding time, ticks.
    pub dts: i64,
    /// Presentation time, ticks; never before the decoding time.
    pub pts: i64,
    /// A random access point by the file's own word.
    pub sync: bool,
}

/// How to decode a run of samples (one entry of `stsd`).
#[derive(Clone, Debug, Eq, Hash, PartialEq)]
pub enum Config {
    /// H.264 in an `avc1` or `avc3` sample entry.
    Avc(AvcConfig),
    /// AAC in an `mp4a` sample entry.
    Aac(AacConfig),
}

/// Picture or sound.
#[derive(Clone, Copy, Debug, Eq, Hash, PartialEq)]
pub enum Kind {
    /// Pictures.
    Video,
    /// Sound.
    Audio,
}

/// A track that can be carried.
#[derive(Clone, Debug)]
pub struct Track {
    /// `track_ID` (ISO/IEC 14496-12 8.3.2).
    pub id: u32,
    /// Picture or sound.
    pub kind: Kind,
    /// `track_enabled`. By the letter of 8.3.2.3 a disabled track is treated as if it were not there, but of tracks that are
    /// alternatives to each other, sound in several languages above all, writers enable the one to begin with. A packager
    /// that obeyed would lose the others, so they are carried, and this says which one a player should begin with.
    pub enabled: bool,
    /// ISO 639-2/T code, `und` where the file does not say.
    pub language: String,
    /// Ticks a second of every time in this track. May be a multiple of the media's own time scale, where
    /// an edit list needs a finer one.
    pub timescale: NonZeroU32,
    /// Decoder configurations that samples really use, in order of first use.
    pub configs: Vec<Config>,
    /// `(first sample, index into configs)`, in order; the first begins at sample 0.
    pub config_runs: Vec<(usize, usize)>,
    /// All samples of the track.
    pub samples: Samples,
    /// The samples to be carried, after edit lists, priming and whatever precedes the first key frame.
    pub shown: Range<usize>,
    /// Clockwise degrees a player should turn the picture by (`tkhd` matrix): 0, 90, 180 or 270.
    pub rotation: u16,
    /// The `tkhd` matrix as it stands in the file.
    pub matrix: [i32; 9],
    /// What was read of its samples.
    pub seen: Arc<Seen>,
}

/// The samples of a track, as packed columns.
#[derive(Clone, Debug, Default)]
pub struct Samples {
    /// Byte offsets in the source.
    pub offsets: Column,
    /// Bytes.
    pub sizes: Column,
    /// Decoding times, ticks.
    pub dts: Column,
    /// Presentation time minus decoding time, ticks; empty where it is 0 throughout.
    pub cts: Column,
    /// Which samples are random access points.
    pub sync: SyncSet,
    /// Ticks that the last sample lasts.
    pub last_duration: u32,
}

/// Which samples are random access points.
#[derive(Clone, Debug, Default)]
pub enum SyncSet {
    /// Every sample (no `stss`, as in audio).
    #[default]
    All,
    /// One bit a sample, lowest bit first.
    Some(Vec<u64>),
}

impl SyncSet {
    /// Whether sample `index` is one.
    #[inline]
    pub fn contains(&self, index: usize) -> bool {
        match self {
            Self::All => true,
            Self::Some(bits) => bits.get(index / 64).is_some_and(|word| word >> (index % 64) & 1 == 1),
        }
    }

    fn nbytes(&self) -> usize {
        match self {
            Self::All => 0,
            Self::Some(bits) => bits.capacity() * size_of::<u64>(),
        }
    }
}

impl FromIterator<usize> for SyncSet {
    /// The set of the given samples.
    fn from_iter<I: IntoIterator<Item = usize>>(indexes: I) -> Self {
        let mut bits: Vec<u64> = Vec::new();
        for index in indexes {
            if bits.len() <= index / 64 {
                bits.resize(index / 64 + 1, 0);
            }
            bits[index / 64] |= 1 << (index % 64);
        }
        bits.shrink_to_fit();
        Self::Some(bits)
    }
}

impl Samples {
    /// Number of samples.
    pub fn len(&self) -> usize {
        self.sizes.len()
    }

    /// Whether there are none.
    pub fn is_empty(&self) -> bool {
        self.sizes.is_empty()
    }

    /// Heap bytes held.
    pub fn nbytes(&self) -> usize {
        self.columns_nbytes() + self.sync.nbytes()
    }

    fn columns_nbytes(&self) -> usize {
        [&self.offsets, &self.sizes, &self.dts, &self.cts].map(Column::nbytes).iter().sum()
    }

    /// Sample `index`.
    ///
    /// # Panics
    /// Where there is no such sample.
    pub fn get(&self, index: usize) -> Sample {
        let dts = self.dts.get(index);
        Sample {
            offset: self.offsets.get(index) as u64,
            size: self.sizes.get(index) as u32,
            dts,
            pts: dts + if self.cts.is_empty() { 0 } else { self.cts.get(index) },
            sync: self.sync.contains(index),
        }
    }

    /// Decoding time at which sample `index` ends: the next one's, or the last one's own plus its duration. Some muxers do
    /// not know how long the last sample lasts: then it lasts as long as the one before.
    ///
    /// # Panics
    /// Where there is no such sample.
    pub fn dts_end(&self, index: usize) -> i64 {
        let dts = self.dts.get(index);
        if index + 1 < self.len() {
            self.dts.get(index + 1)
        } else if self.last_duration == 0 && index > 0 {
            2 * dts - self.dts.get(index - 1)
        } else {
            dts + i64::from(self.last_duration)
        }
    }

    /// The samples of `range`, expanded a block at a time.
    ///
    /// # Panics
    /// Where the range runs past the end.
    pub fn iter(&self, range: Range<usize>) -> impl ExactSizeIterator<Item = Sample> + '_ {
        assert!(range.end <= self.len(), "sample range past its end");
        SampleIter { samples: self, cursor: Cursor::new(range) }
    }
}

/// A place in a track's samples that outlives the borrow of them. Expands a block at a time.
#[derive(Clone, Debug)]
pub struct Cursor {
    next: usize,
    end: usize,
    block: usize,
    /// Whether to expand the samples' places as well; who only measures has no use for them.
    places: bool,
    buffer: Box<Expanded>,
}

#[derive(Clone, Debug)]
struct Expanded {
    offsets: [i64; BLOCK],
    sizes: [i64; BLOCK],
    dts: [i64; BLOCK],
    cts: [i64; BLOCK],
}

impl Cursor {
    /// A cursor over `range`.
    pub fn new(range: Range<usize>) -> Self {
        Self::over(range, true)
    }

    /// A cursor whose samples have no offset.
    pub(crate) fn without_places(range: Range<usize>) -> Self {
        Self::over(range, false)
    }

    fn over(range: Range<usize>, places: bool) -> Self {
        let buffer = Expanded { offsets: [0; BLOCK], sizes: [0; BLOCK], dts: [0; BLOCK], cts: [0; BLOCK] };
        Self { next: range.start, end: range.end.max(range.start), block: usize::MAX, places, buffer: Box::new(buffer) }
    }

    /// Index of the sample that [`Self::next`] gives.
    pub fn index(&self) -> usize {
        self.next
    }

    /// The next sample of the range.
    ///
    /// # Panics
    /// Where the range runs past the end of `samples`.
    // A sample handed over in memory costs a store that the next load has to wait for.
    #[inline(always)]
    #[allow(clippy::inline_always)]
    pub fn next(&mut self, samples: &Samples) -> Option<Sample> {
        if self.next >= self.end {
            return None;
        }
        let (block, i) = (self.next / BLOCK, self.next % BLOCK);
        if block != self.block {
            self.load(samples, block);
        }
        let sample = Sample {
            offset: self.buffer.offsets[i] as u64,
            size: self.buffer.sizes[i] as u32,
            dts: self.buffer.dts[i],
            pts: self.buffer.dts[i] + self.buffer.cts[i],
            sync: samples.sync.contains(self.next),
        };
        self.next += 1;
        Some(sample)
    }

    /// Goes back to where [`Self::index`] was `index`.
    pub(crate) fn rewind(&mut self, index: usize) {
        self.next = index;
    }

    /// Takes the last [`Self::next`] back.
    pub(crate) fn unread(&mut self) {
        self.next -= 1;
    }

    #[inline(never)]
    fn load(&mut self, samples: &Samples, block: usize) {
        if self.places {
            samples.offsets.expand_block(block, &mut self.buffer.offsets);
        }
        samples.sizes.expand_block(block, &mut self.buffer.sizes);
        samples.dts.expand_block(block, &mut self.buffer.dts);
        if !samples.cts.is_empty() {
            samples.cts.expand_block(block, &mut self.buffer.cts);
        }
        self.block = block;
    }
}

/// What was read of the source last, which may well hold what is wanted next.
#[derive(Default)]
struct Near {
    start: u64,
    bytes: Vec<u8>,
    /// How much to read at least.
    ahead: usize,
}

impl Near {
    /// The `len` bytes at `offset`, which lie inside the source.
    fn read(&mut self, source: &dyn ReadAt, offset: u64, len: usize) -> Result<&[u8]> {
        let held = offset.checked_sub(self.start).is_some_and(|at| at + len as u64 <= self.bytes.len() as u64);
        if !held {
            let left = source.size().saturating_sub(offset);
            self.bytes.resize(len.max(left.min(self.ahead as u64) as usize), 0);
            self.start = offset;
            if let Err(error) = source.read_exact_at(offset, &mut self.bytes) {
                self.bytes.clear();
                return Err(error);
            }
        }
        Ok(&self.bytes[(offset - self.start) as usize..][..len])
    }
}

struct SampleIter<'a> {
    samples: &'a Samples,
    cursor: Cursor,
}

impl Iterator for SampleIter<'_> {
    type Item = Sample;

    #[inline]
    fn next(&mut self) -> Option<Sample> {
        self.cursor.next(self.samples)
    }

    fn size_hint(&self) -> (usize, Option<usize>) {
        let left = self.cursor.end - self.cursor.next;
        (left, Some(left))
    }
}

impl ExactSizeIterator for SampleIter<'_> {}

impl Track {
    /// What each of the samples begins with, by its own NAL units. Reads as little of the source as tells, and that once; what
    /// lies close together is read together.
    ///
    /// # Errors
    /// What reading the source gives.
    ///
    /// # Panics
    /// Where there is no such sample.
    pub fn picture_kinds(&self, source: &dyn ReadAt, indexes: &[usize]) -> Result<Vec<PictureKind>> {
        let mut near = Near::default();
        let at = |index: usize| self.samples.offsets.get(index) as u64;
        let kinds = indexes.iter().zip(1..).map(|(&index, next)| {
            let close = indexes.get(next).is_some_and(|&next| at(next).abs_diff(at(index)) < AHEAD as u64);
            near.ahead = if close { AHEAD } else { 0 };
            self.picture_kind(&mut near, source, index)
        });
        kinds.collect()
    }

    fn picture_kind(&self, near: &mut Near, source: &dyn ReadAt, index: usize) -> Result<PictureKind> {
        self.seen.kind(index, self.samples.len(), || self.read_picture_kind(near, source, index))
    }

    fn read_picture_kind(&self, near: &mut Near, source: &dyn ReadAt, index: usize) -> Result<PictureKind> {
        let Config::Avc(avc) = self.config_at(index) else { return Ok(PictureKind::Idr) };
        let sample = self.samples.get(index);
        let size = sample.size as usize;
        let mut wanted = 64;
        loop {
            let prefix = near.read(source, sample.offset, wanted.min(size))?;
            match picture_kind(prefix, avc.nal_length_size) {
                PictureKind::NeedMore(_) if wanted >= size => return Ok(PictureKind::Other),
                PictureKind::NeedMore(bytes) => wanted = bytes.max(wanted * 4),
                kind => return Ok(kind),
            }
        }
    }

    /// Which of the sync samples among `range` are key frames by their own NAL units too, IDR pictures or recovery points: one bit
    /// a sample, the range's first in the lowest bit of the first byte. Reads a little of each that was not read before.
    ///
    /// # Errors
    /// [`crate::ErrorKind::Unsupported`] where more than [`limits::FALSE_KEYS`] in a row are none; what reading the source gives.
    ///
    /// # Panics
    /// Where the range runs past the end.
    pub fn check_keys(&self, source: &dyn ReadAt, range: Range<usize>) -> Result<Vec<u8>> {
        let mut bits = vec![0; range.len().div_ceil(8)];
        let (mut near, mut none) = (Near { ahead: AHEAD, ..Near::default() }, 0);
        for index in range.clone().filter(|&index| self.samples.sync.contains(index)) {
            if self.picture_kind(&mut near, source, index)? != PictureKind::Other {
                let n = index - range.start;
                bits[n / 8] |= 1 << (n % 8);
                none = 0;
                continue;
            }
            none += 1;
            if none > limits::FALSE_KEYS {
                return Err(Error::unsupported(format!(
                    "track {}: {none} samples in a row are called key frames and are none",
                    self.id
                ))
                .at(self.samples.get(index).offset));
            }
        }
        Ok(bits)
    }

    /// The same track with other random access points: where the file's own word is wrong. The columns are shared.
    #[must_use]
    pub fn with_keys(&self, keys: impl IntoIterator<Item = usize>) -> Self {
        let mut track = self.clone();
        track.samples.sync = keys.into_iter().collect();
        track
    }

    /// A digest that tracks have in common where their columns and configurations are the same. Reads nothing of the source, and
    /// means nothing to another process.
    pub fn outline(&self) -> u128 {
        let mut digest = Digest::new();
        self.kind.hash(&mut digest);
        (&self.language, self.timescale, &self.shown, &self.config_runs).hash(&mut digest);
        self.configs.hash(&mut digest);
        self.samples.len().hash(&mut digest);
        for sample in self.samples.iter(0..self.samples.len()) {
            (sample.size, sample.pts).hash(&mut digest);
        }
        digest.end()
    }

    /// A digest that tracks with the same [`Self::outline`] have in common where up to [`SPOT_CHECKS`] samples, spread over the
    /// track, have the same bytes: then they hold the same samples.
    ///
    /// # Errors
    /// What reading the source gives.
    pub fn content(&self, source: &dyn ReadAt) -> Result<u128> {
        let (mut digest, mut bytes) = (Digest::new(), Vec::new());
        for index in (0..self.samples.len()).step_by((self.samples.len() / SPOT_CHECKS).max(1)) {
            let Sample { mut offset, size, .. } = self.samples.get(index);
            let end = offset + u64::from(size);
            while offset < end {
                bytes.resize((end - offset).min(PIECE) as usize, 0);
                source.read_exact_at(offset, &mut bytes)?;
                digest.write(&bytes);
                offset += bytes.len() as u64;
            }
        }
        Ok(digest.end())
    }

    /// When the last of `range` stops being shown, ticks; 0 where the range is empty.
    pub fn end_pts(&self, range: Range<usize>) -> i64 {
        // Pictures are shown out of order, but no farther out than the 16 that a decoder can hold back (H.264 A.3.1).
        let from = range.start.max(range.end.saturating_sub(17));
        let ends = (from..range.end).map(|i| {
            let sample = self.samples.get(i);
            sample.pts + (self.samples.dts_end(i) - sample.dts)
        });
        ends.max().unwrap_or(0)
    }

    /// Heap bytes held.
    pub fn nbytes(&self) -> usize {
        self.nbytes_unshared() + self.samples.columns_nbytes() + size_of::<Seen>() + self.seen.nbytes()
    }

    /// Heap bytes that a clone holds for itself: all but the columns and what was read of the samples.
    pub fn nbytes_unshared(&self) -> usize {
        let configs = self.configs.iter().map(|config| match config {
            Config::Avc(avc) => avc.nbytes(),
            Config::Aac(aac) => aac.nbytes(),
        });
        self.language.capacity()
            + self.configs.capacity() * size_of::<Config>()
            + configs.sum::<usize>()
            + self.config_runs.capacity() * size_of::<(usize, usize)>()
            + self.samples.sync.nbytes()
    }

    /// The configuration that decodes sample `index`.
    ///
    /// # Panics
    /// Where the track has no configuration, which no demuxer returns.
    pub fn config_at(&self, index: usize) -> &Config {
        &self.configs[self.config_index_at(index)]
    }

    /// Which of [`Self::configs`] decodes sample `index`.
    ///
    /// # Panics
    /// Where the track has no configuration, which no demuxer returns.
    pub fn config_index_at(&self, index: usize) -> usize {
        let run = self.config_runs.partition_point(|&(first, _)| first <= index) - 1;
        self.config_runs[run].1
    }
}
