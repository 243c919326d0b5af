//! Segments that several viewers want, shared by all workers and bounded in bytes.
//!
//! One process makes a segment ([`Cache::create`], [`Filling`]), and all read it, already while it is being made
//! ([`Cache::lookup`], [`Entry`]). Whoever holds either has it pinned: its blocks are given to no other segment. Bytes
//! that are there never change.
//!
//! `index.rs` has the theory of the index and of death, `wanted.rs` that of admission.

mod index;
#[cfg(test)]
mod tests;
mod wanted;

use std::fmt;
use std::os::fd::{AsFd, BorrowedFd, OwnedFd};
use std::sync::Arc;

use self::index::{Index, Pinned};
use crate::error::{Error, Result};
use crate::mapping::{WORD, bytes};

pub use self::index::{BLOCK, SEATS};
pub use self::wanted::WANTED_WITHIN_US;

/// What happened since the cache was made, and what it holds.
#[derive(Clone, Copy, Debug, Default, Eq, PartialEq)]
pub struct CacheCounters {
    /// Lookups that found a segment, whole or being made.
    pub hits: u64,
    /// Lookups that did not.
    pub misses: u64,
    /// Whole segments that made room for others.
    pub evictions: u64,
    /// Bytes of all blocks in use.
    pub bytes_used: u64,
}

/// How far a segment has come.
#[derive(Clone, Copy, Debug, Eq, PartialEq)]
pub enum Progress {
    /// Somebody is making it.
    Filling,
    /// It is whole.
    Ready,
    /// It will not be finished: its maker gave up or died. What is filled can still be read.
    Abandoned,
    /// As `Abandoned`, since what it is made from does not answer: who makes it anew would wait for that, too.
    Unanswered,
}

/// A segment cache that processes share.
///
/// A handle belongs to one seat. Each process has its own seat, since that is how its pins are told from others' when it
/// dies.
#[derive(Clone)]
pub struct Cache {
    index: Arc<Index>,
    seat: usize,
}

impl Cache {
    /// Makes an empty cache with room for `bytes`, rounded down to blocks, and for `seats` processes.
    ///
    /// # Errors
    ///
    /// [`Error::Size`] if there is no room for a block or a seat, or too much, [`Error::System`] if the system gives no
    /// memory.
    pub fn create(bytes: usize, seats: usize) -> Result<OwnedFd> {
        Index::create(bytes / BLOCK, seats)
    }

    /// Maps the cache for the process that has `seat`, counted from 0.
    ///
    /// # Errors
    ///
    /// [`Error::Foreign`] if the file is no cache, [`Error::Size`] if it has no such seat.
    pub fn attach(fd: OwnedFd, seat: usize) -> Result<Self> {
        let index = Arc::new(Index::attach(fd)?);
        if seat >= index.seats() {
            return Err(Error::Size { table: "segment cache", reason: "has fewer seats" });
        }
        Ok(Self { index, seat })
    }

    /// The segment of this key, pinned, as the one used last.
    pub fn lookup(&self, key: &[u8; 16]) -> Option<Entry> {
        let pinned = self.index.lookup(key_words(key), self.seat)?;
        Some(Entry::new(self.clone(), pinned))
    }

    /// Begins a segment of `len` bytes, and evicts what was used longest ago to make room.
    ///
    /// `None` if the key is there (another process was faster: look it up) or if there is no room: `len` is 0, or too
    /// much is pinned.
    pub fn create_entry(&self, key: &[u8; 16], len: u64) -> Option<Filling> {
        let pinned = self.index.create_entry(key_words(key), len, self.seat)?;
        let filling = Filling { entry: Entry::new(self.clone(), pinned), filled: 0 };
        // Without fresh pages nothing may be written: dropped, it is abandoned.
        self.index.renew(&filling.entry.blocks).ok()?;
        Some(filling)
    }

    /// Whether the key was asked for before, within [`WANTED_WITHIN_US`]; this call counts as asking.
    ///
    /// `now_us` is from a clock that all processes share. Segments that are not wanted should not be cached: what only
    /// one viewer watches would push out what many do.
    pub fn wanted(&self, key: &[u8; 16], now_us: u64) -> bool {
        self.index.admission().wanted(key, now_us)
    }

    /// Lets go of everything that the process of a seat had pinned, and abandons what it was making.
    ///
    /// The process must be gone (waited for): the blocks that it might write to are given to others.
    ///
    /// # Panics
    ///
    /// If there is no such seat.
    pub fn reap(&self, seat: usize) {
        self.index.reap(seat);
    }

    /// How many processes have a place here.
    pub fn seats(&self) -> usize {
        self.index.seats()
    }

    /// For how many bytes there is room.
    pub fn size(&self) -> usize {
        self.index.blocks() * BLOCK
    }

    /// What happened since the cache was made, and what it holds.
    pub fn counters(&self) -> CacheCounters {
        self.index.counters()
    }
}

impl AsFd for Cache {
    fn as_fd(&self) -> BorrowedFd<'_> {
        self.index.as_fd()
    }
}

impl fmt::Debug for Cache {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.debug_struct("Cache").field("seat", &self.seat).finish_non_exhaustive()
    }
}

/// A segment that stays where it is as long as this value lives.
pub struct Entry {
    cache: Cache,
    head: usize,
    len: u64,
    blocks: Box<[u32]>,
}

impl Entry {
    fn new(cache: Cache, Pinned { head, len }: Pinned) -> Self {
        let blocks = cache.index.chain(head, len);
        Self { cache, head, len, blocks }
    }

    /// The cache that it lies in.
    pub fn cache(&self) -> &Cache {
        &self.cache
    }

    /// How long the whole segment is.
    pub fn size(&self) -> u64 {
        self.len
    }

    /// How many bytes are there. Only grows.
    pub fn filled(&self) -> u64 {
        self.cache.index.filled(self.head).get()
    }

    /// Changes while its maker lives and is at it ([`Filling::stir`]), though nothing may be filled.
    pub fn stirred(&self) -> u64 {
        self.cache.index.stirred(self.head).get()
    }

    /// How far it has come. Ask before [`filled`](Self::filled): after anything but `Filling` nothing grows.
    pub fn progress(&self) -> Progress {
        self.cache.index.progress(self.head)
    }

    /// Bytes from `offset` on, as far as they are filled and in one piece; at most `most`.
    pub fn lend(&self, offset: u64, most: usize) -> &[u8] {
        let Some((_, there)) = self.file_range(offset) else { return &[] };
        let count = there.min(most);
        let words = self.cache.index.blocks_from(self.blocks[offset as usize / BLOCK]);
        // SAFETY: `self` pins the segment, so its blocks belong to nobody else, and its maker writes only behind what he
        // has said is filled.
        unsafe { bytes(words, offset as usize % BLOCK, count) }
    }

    /// Where the bytes from `offset` on lie in the memfd (the cache's `as_fd`), as far as they are filled and in one
    /// piece: their offset in the file, and how many. `None` where nothing is filled.
    ///
    /// For `sendfile` and its like. These give pages, not copies, to the socket, and a peer on the same machine may have
    /// them in its queue for minutes. The entry may go all the same: a block that gets other content gets other pages.
    pub fn file_range(&self, offset: u64) -> Option<(u64, usize)> {
        let there = self.filled().checked_sub(offset).filter(|&there| there != 0)?;
        let first = offset as usize / BLOCK;
        let run = self.blocks[first..].windows(2).take_while(|pair| pair[0].checked_add(1) == Some(pair[1])).count();
        let within = offset as usize % BLOCK;
        let piece = (run + 1) * BLOCK - within;
        let start = self.cache.index.block_in_file(self.blocks[first]) + within as u64;
        Some((start, usize::try_from(there).unwrap_or(usize::MAX).min(piece)))
    }
}

impl Clone for Entry {
    fn clone(&self) -> Self {
        // The pin of `self` keeps the entry, so that this needs no lock.
        self.cache.index.pin(self.head, self.cache.seat).add(1);
        Self { cache: self.cache.clone(), head: self.head, len: self.len, blocks: self.blocks.clone() }
    }
}

impl Drop for Entry {
    fn drop(&mut self) {
        self.cache.index.pin(self.head, self.cache.seat).subtract(1);
    }
}

impl fmt::Debug for Entry {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.debug_struct("Entry").field("len", &self.len).field("filled", &self.filled()).finish_non_exhaustive()
    }
}

/// A segment that this process is making. Dropped before [`finish`](Self::finish), it is abandoned.
#[derive(Debug)]
pub struct Filling {
    entry: Entry,
    filled: u64,
}

impl Filling {
    /// Writes the next bytes, which readers see at once.
    ///
    /// # Errors
    ///
    /// [`Error::Overrun`] if the segment was announced shorter, [`Error::System`] if there is no memory; nothing is filled
    /// then.
    pub fn write(&mut self, bytes: &[u8]) -> Result<()> {
        let Entry { cache, len, head, blocks } = &self.entry;
        if bytes.len() as u64 > len - self.filled {
            return Err(Error::Overrun { len: *len });
        }
        let mut at = self.filled as usize;
        let mut rest = bytes;
        while !rest.is_empty() {
            let (now, later) = rest.split_at(rest.len().min(BLOCK - at % BLOCK));
            cache.index.write(blocks[at / BLOCK], at % BLOCK, now)?;
            at += now.len();
            rest = later;
        }
        self.filled = at as u64;
        cache.index.filled(*head).set(self.filled);
        Ok(())
    }

    /// Tells readers that the maker lives and is at it, though it has nothing to write at present.
    pub fn stir(&self) {
        self.entry.cache.index.stirred(self.entry.head).add(1);
    }

    /// Abandons it, and tells readers that what it is made from does not answer.
    pub fn unanswered(self) {
        self.entry.cache.index.abandon(self.entry.head, true);
    }

    /// The segment as others see it, to read from.
    pub fn entry(&self) -> Entry {
        self.entry.clone()
    }

    /// Says that the segment is whole.
    ///
    /// # Errors
    ///
    /// [`Error::Unfinished`] if it is not; it is abandoned then.
    pub fn finish(self) -> Result<Entry> {
        let (filled, len) = (self.filled, self.entry.len);
        if filled != len {
            return Err(Error::Unfinished { filled, len });
        }
        self.entry.cache.index.finish(self.entry.head);
        Ok(self.entry())
    }
}

impl Drop for Filling {
    fn drop(&mut self) {
        self.entry.cache.index.abandon(self.entry.head, false);
    }
}

fn key_words(key: &[u8; 16]) -> [u64; 2] {
    let (words, _) = key.as_chunks::<WORD>();
    [u64::from_ne_bytes(words[0]), u64::from_ne_bytes(words[1])]
}
