//! Caps on what a file may ask for, and why each has its value.
//!
//! Every table is already capped by the bytes present ([`crate::reader::Reader::table`]). These caps stand for what no
//! byte of the file pays for. Boxes are read by a fixed tree, not by recursion, so there is no depth to cap.

/// Bytes of `moov`, which is held as a whole while it is read. Three days of film at 60 frames a second with sound take 400 MB.
pub(crate) const MOOV_BYTES: u64 = 1 << 29;

/// Bytes of one `moof`, likewise. One fragment of a day at 60 frames a second takes 83 MB.
pub(crate) const MOOF_BYTES: u64 = 1 << 27;

/// Tracks of a movie: fifty times what the largest multi-language titles hold. Fragments look their tracks up by a search over them.
pub(crate) const TRACKS: usize = 1 << 10;

/// Sample entries of one track that may be told apart. Each run of samples names one, and each keeps its box.
pub(crate) const SAMPLE_ENTRIES: usize = 1 << 8;

/// Samples of one track: two months at 60 frames a second. Keeps a column below the 2^32 words that its blocks can address.
pub(crate) const SAMPLES: u64 = 1 << 28;

/// Bytes of a movie's samples together, in sizes of its file. Encoders give each sample bytes of its own; a file may lend the same ones
/// to a few tracks or repeat a picture, but one of 360 kB must not ask for a segment of 4 GB.
pub(crate) const OVERLAP: u64 = 8;

/// Changes from one sample entry to another in a track. `stsc` and `tfhd` may change at every chunk; each change is a
/// discontinuity for a player, so a film with more is no film.
pub(crate) const CONFIG_RUNS: usize = 1 << 16;

/// Largest time, in ticks, and largest distance of two: sums of a few of them stay inside 64 bits. Real clocks (seconds since
/// 1970 in units of 100 ns) stay below 2^54.
pub(crate) const TICKS: i64 = 1 << 60;

/// Largest multiple of a media time scale that an edit list may ask for: a tick of 7 ns, and still half a minute in the 32-bit
/// sample durations of a fragment.
pub(crate) const TIMESCALE: u32 = 1 << 27;

/// How far a decoding time may fall behind the preceding one, seconds, and still be held. Fragment times that were rounded overlap by
/// ticks; a recorder whose clock was set back is another matter, and would stretch the whole track.
pub(crate) const FALL_SECONDS: i64 = 10;

/// Warnings kept; a file of errors must not grow a list as long as itself.
pub(crate) const WARNINGS: usize = 64;

/// Bytes that [`crate::codec::avc::picture_kind`] wants to see at most before it gives up on finding a slice: access unit
/// delimiter, parameter sets and SEI come before the first one, and captions or camera metadata in SEI may be long.
pub(crate) const PICTURE_PREFIX: usize = 1 << 20;

/// Sync samples in a row that turn out to be no key frames, before it is given up to look at each: a quarter of an hour at 60
/// frames a second, in all of which no segment could begin. Each costs a read of the source.
pub(crate) const FALSE_KEYS: usize = 1 << 16;

/// Frames without any channel that are looked for at the beginning of a track of sound. Encoders write one.
pub(crate) const VOID_FRAMES: usize = 4;

/// The largest frame of AAC that is read to see whether it is silent, bytes. Side information of 48 channels fits in well.
pub(crate) const QUIET_FRAME: u32 = 1 << 10;
