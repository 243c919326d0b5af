//! The index of the segment cache: which blocks belong to which segment.
//!
//! # Theory
//!
//! The memory is blocks of 64 KiB. Each block has a row of words. A segment is a chain of blocks; the row of the first,
//! its head, is the segment's entry, so there can be no fewer entries than blocks.
//!
//! ```text
//! FREE --create--> FILLING --finish--> READY --evict--> FREE
//!                     '-----abandon--> ABANDONED --first to be evicted--> FREE
//! ```
//!
//! **Truth and derivation.** The truth is `state`, and of a head that is not FREE also `key`, `len`, `used` and the links
//! of its chain; besides these `pins`. Everything else is derived: the hash chains, the list from the segment used last
//! to the one used longest ago, the free list. All are changed under the lock only, but for what is said below. Whoever
//! finds that the last holder did not end its work derives everything again ([`Index::repair`]), and a new cache is put
//! in order by the same code.
//!
//! **Death.** So it is enough that the truth is right after every single write. A segment comes to be by the write of
//! its state, when its key, length and chain stand; it ends by that write, and only then go its blocks to the free list.
//! A chain is a stretch of the free list as it was, so that no link is written to make one. The last link of a chain
//! means nothing: the length says where a chain ends.
//!
//! **Pins.** Every seat has a word per head, counted up under the lock by a lookup, or without it by who has it pinned
//! already, and counted down without it. A segment whose row of pins is not all 0 is not evicted: seen under the lock,
//! where nobody can pin it anew. A process that dies leaves its pins, and FILLING its segments with its seat in their
//! state; [`Index::reap`] takes back both.
//!
//! **Without the lock** the maker of a segment writes its blocks and then `filled`, and at last READY; readers that have
//! it pinned read `state`, then `filled`, then bytes below it. Blocks below `filled` are not written to until the
//! segment is freed, which pins prevent.

use std::hash::Hasher;
use std::os::fd::{AsFd, BorrowedFd, OwnedFd};

use siphasher::sip::SipHasher13;

use super::wanted::{self, Admission};
use super::{CacheCounters, Progress};
use crate::error::Result;
use crate::mapping::{HEADER, Kind, Mapping, PAGE, WORD, Word, random, scale};

/// Bytes of a block, the unit in which the cache's memory is given out.
pub const BLOCK: usize = 64 << 10;

/// How many processes may have a place in a cache.
pub const SEATS: usize = 1024;

const KIND: Kind = Kind { table: "segment cache", name: c"pystream-cache", magic: *b"ps cache", words };

// Words under the lock, one of each.
const CLOCK: usize = HEADER;
const NEWEST: usize = HEADER + 1;
const OLDEST: usize = HEADER + 2;
const FREE_FIRST: usize = HEADER + 3;
const FREE_COUNT: usize = HEADER + 4;
const HITS: usize = HEADER + 5;
const MISSES: usize = HEADER + 6;
const EVICTIONS: usize = HEADER + 7;
const ROWS_AT: usize = HEADER + 8;

// Words of a row.
const ROW: usize = 16;
const STATE: usize = 0;
const KEY: [usize; 2] = [1, 2];
const LEN: usize = 3;
/// What the cache's clock, which counts uses, said at the last use.
const USED: usize = 4;
/// The next block of the chain, or of the free list.
const NEXT_BLOCK: usize = 5;
const NEWER: usize = 6;
const OLDER: usize = 7;
/// The next head of the same bucket.
const NEXT_ALIKE: usize = 8;
/// The first head of the bucket whose number is the row's: there are as many buckets as rows.
const BUCKET: usize = 9;
/// A cache line further than the rest, since readers look at it while it grows.
const FILLED: usize = 10;
/// Counts on while the maker lives and is at it, whatever it began with.
const STIRRED: usize = 11;

// The low bits of a state. A FILLING state has the maker's seat above them, an ABANDONED one why, where that is known.
const FREE: u64 = 0;
const FILLING: u64 = 1;
const READY: u64 = 2;
const ABANDONED: u64 = 3;
const STATE_BITS: u32 = 2;
const STATE_MASK: u64 = (1 << STATE_BITS) - 1;
const UNANSWERED: u64 = ABANDONED | 1 << STATE_BITS;

/// Links are numbers of rows counted from 1.
const NONE: u64 = 0;

/// Slots of the admission filter for a block.
const ASKINGS: usize = wanted::WAYS;

/// A segment that was pinned for the caller.
pub(super) struct Pinned {
    pub(super) head: usize,
    pub(super) len: u64,
}

pub(super) struct Index {
    mapping: Mapping,
    layout: Layout,
    secret: (u64, u64),
}

impl Index {
    pub(super) fn create(blocks: usize, seats: usize) -> Result<OwnedFd> {
        Mapping::create(&KIND, [blocks as u64, seats as u64, random(), random()])
    }

    pub(super) fn attach(fd: OwnedFd) -> Result<Self> {
        let mapping = Mapping::attach(&KIND, fd)?;
        let [blocks, seats, secret @ ..] = mapping.shape();
        // `attach` checked that as much is mapped.
        let layout = Layout { blocks: blocks as usize, seats: seats as usize };
        Ok(Self { mapping, layout, secret: secret.into() })
    }

    pub(super) fn seats(&self) -> usize {
        self.layout.seats
    }

    pub(super) fn blocks(&self) -> usize {
        self.layout.blocks
    }

    pub(super) fn lookup(&self, key: [u64; 2], seat: usize) -> Option<Pinned> {
        self.exclusive(|| {
            let Some(head) = self.find(key) else {
                self.count(MISSES);
                return None;
            };
            self.count(HITS);
            self.pin(head, seat).add(1);
            self.row(head)[USED].set(self.tick());
            self.unlink(head);
            self.link_newest(head);
            Some(Pinned { head, len: self.row(head)[LEN].get() })
        })
    }

    pub(super) fn create_entry(&self, key: [u64; 2], len: u64, seat: usize) -> Option<Pinned> {
        let blocks = usize::try_from(len.div_ceil(BLOCK as u64)).ok()?;
        if !(1..=self.layout.blocks).contains(&blocks) {
            return None;
        }
        self.exclusive(|| {
            if self.find(key).is_some() {
                return None;
            }
            self.make_room(blocks)?;
            let free = &self.words()[FREE_FIRST];
            let head = place(free.get())?;
            let row = self.row(head);
            for (at, word) in KEY.into_iter().zip(key) {
                row[at].set(word);
            }
            row[LEN].set(len);
            row[FILLED].set(0);
            row[USED].set(self.tick());
            self.pin(head, seat).add(1);
            row[STATE].set(FILLING | (seat as u64) << STATE_BITS);
            let last = (1..blocks).fold(head, |block, _| self.next_block(block));
            free.set(self.row(last)[NEXT_BLOCK].get());
            self.words()[FREE_COUNT].set(self.words()[FREE_COUNT].get() - blocks as u64);
            self.link_alike(head);
            self.link_newest(head);
            Some(Pinned { head, len })
        })
    }

    /// By the maker, who has the segment pinned.
    pub(super) fn finish(&self, head: usize) {
        self.row(head)[STATE].set(READY);
    }

    /// By the maker, who has the segment pinned. A finished one stays. `unanswered`: who makes it next would not get
    /// further.
    pub(super) fn abandon(&self, head: usize, unanswered: bool) {
        if self.state(head) == FILLING {
            self.exclusive(|| self.give_up(head, if unanswered { UNANSWERED } else { ABANDONED }));
        }
    }

    pub(super) fn reap(&self, seat: usize) {
        assert!(seat < self.layout.seats, "the segment cache has no seat {seat}");
        self.exclusive(|| {
            for head in 0..self.layout.blocks {
                if self.row(head)[STATE].get() == FILLING | (seat as u64) << STATE_BITS {
                    self.give_up(head, ABANDONED);
                }
                if self.pin(head, seat).get() != 0 {
                    self.pin(head, seat).set(0);
                }
                if self.state(head) == ABANDONED && !self.is_pinned(head) {
                    self.free(head);
                }
            }
        });
    }

    pub(super) fn counters(&self) -> CacheCounters {
        self.exclusive(|| {
            let [hits, misses, evictions, free] =
                [HITS, MISSES, EVICTIONS, FREE_COUNT].map(|word| self.words()[word].get());
            CacheCounters { hits, misses, evictions, bytes_used: (self.layout.blocks as u64 - free) * BLOCK as u64 }
        })
    }

    pub(super) fn progress(&self, head: usize) -> Progress {
        let state = self.row(head)[STATE].get();
        match state & STATE_MASK {
            READY => Progress::Ready,
            FILLING => Progress::Filling,
            _ if state == UNANSWERED => Progress::Unanswered,
            _ => Progress::Abandoned,
        }
    }

    pub(super) fn filled(&self, head: usize) -> &Word {
        &self.row(head)[FILLED]
    }

    pub(super) fn stirred(&self, head: usize) -> &Word {
        &self.row(head)[STIRRED]
    }

    pub(super) fn pin(&self, head: usize, seat: usize) -> &Word {
        &self.pins(head)[seat]
    }

    /// The blocks of a segment that the caller has pinned.
    pub(super) fn chain(&self, head: usize, len: u64) -> Box<[u32]> {
        let mut block = head;
        // There are fewer than 2^32 blocks, as `words` says. The link of the last one is not followed.
        let rest = (1..(len as usize).div_ceil(BLOCK)).map(|_| {
            block = self.next_block(block);
            block as u32
        });
        std::iter::once(head as u32).chain(rest).collect()
    }

    /// Writes into a block, from its byte `at` on.
    pub(super) fn write(&self, block: u32, at: usize, bytes: &[u8]) -> Result<()> {
        self.mapping.write(self.block_in_file(block) + at as u64, bytes)
    }

    /// A block and all behind it.
    pub(super) fn blocks_from(&self, block: u32) -> &[Word] {
        &self.words()[self.layout.block(block as usize)..]
    }

    pub(super) fn block_in_file(&self, block: u32) -> u64 {
        (PAGE + self.layout.block(block as usize) * WORD) as u64
    }

    /// Gives the blocks of a chain fresh pages, so that what the kernel still sends of their old ones stays as it is.
    pub(super) fn renew(&self, chain: &[u32]) -> Result<()> {
        chain
            .chunk_by(|&block, &next| block.checked_add(1) == Some(next))
            .try_for_each(|run| self.mapping.renew(self.block_in_file(run[0]), run.len() * BLOCK))
    }

    pub(super) fn admission(&self) -> Admission<'_> {
        let slots = &self.words()[self.layout.askings()..][..self.layout.blocks * ASKINGS];
        Admission { slots, secret: self.secret }
    }

    fn exclusive<T>(&self, work: impl FnOnce() -> T) -> T {
        self.mapping.exclusive(|| self.repair(), work)
    }

    /// Derives everything from the truth.
    fn repair(&self) {
        let mut used: Vec<(u64, usize)> = Vec::new();
        let mut taken = vec![false; self.layout.blocks];
        for head in 0..self.layout.blocks {
            self.row(head)[BUCKET].set(NONE);
            if self.state(head) == FREE {
                continue;
            }
            let row = self.row(head);
            used.push((row[USED].get(), head));
            for &block in &self.chain(head, row[LEN].get()) {
                taken[block as usize] = true;
            }
        }
        used.sort_unstable();
        self.words()[NEWEST].set(NONE);
        self.words()[OLDEST].set(NONE);
        for &(_, head) in &used {
            if self.state(head) == ABANDONED {
                self.link_oldest(head);
            } else {
                self.link_newest(head);
                self.link_alike(head);
            }
        }
        let mut free = (NONE, 0);
        // Backwards, so that segments get blocks in the order of the file as long as possible.
        for block in (0..self.layout.blocks).rev().filter(|&block| !taken[block]) {
            self.row(block)[NEXT_BLOCK].set(free.0);
            free = (link(block), free.1 + 1);
        }
        self.words()[FREE_FIRST].set(free.0);
        self.words()[FREE_COUNT].set(free.1);
    }

    /// Evicts until so many blocks are free, or nothing if that cannot be.
    fn make_room(&self, blocks: usize) -> Option<()> {
        let mut free = self.words()[FREE_COUNT].get() as usize;
        let (mut oldest, mut victims) = (place(self.words()[OLDEST].get()), Vec::new());
        while free < blocks {
            let head = oldest?;
            oldest = place(self.row(head)[NEWER].get());
            if self.state(head) != FILLING && !self.is_pinned(head) {
                free += self.blocks_of(head);
                victims.push(head);
            }
        }
        for head in victims {
            if self.state(head) == READY {
                self.count(EVICTIONS);
            }
            self.free(head);
        }
        Some(())
    }

    /// Nobody finds the segment any more. Who has it pinned keeps it, and it is the next to go.
    fn give_up(&self, head: usize, state: u64) {
        self.row(head)[STATE].set(state);
        self.unlink_alike(head);
        self.unlink(head);
        self.link_oldest(head);
    }

    fn free(&self, head: usize) {
        let (row, blocks) = (self.row(head), self.blocks_of(head));
        let findable = self.state(head) != ABANDONED;
        row[STATE].set(FREE);
        if findable {
            self.unlink_alike(head);
        }
        self.unlink(head);
        let last = (1..blocks).fold(head, |block, _| self.next_block(block));
        let [first, count] = [FREE_FIRST, FREE_COUNT].map(|word| &self.words()[word]);
        self.row(last)[NEXT_BLOCK].set(first.get());
        first.set(link(head));
        count.set(count.get() + blocks as u64);
    }

    fn find(&self, key: [u64; 2]) -> Option<usize> {
        let mut head = place(self.bucket(key).get());
        while let Some(found) = head {
            if self.key(found) == key {
                break;
            }
            head = place(self.row(found)[NEXT_ALIKE].get());
        }
        head
    }

    fn link_alike(&self, head: usize) {
        let bucket = self.bucket(self.key(head));
        self.row(head)[NEXT_ALIKE].set(bucket.get());
        bucket.set(link(head));
    }

    fn unlink_alike(&self, head: usize) {
        let mut before = self.bucket(self.key(head));
        while before.get() != link(head) {
            let alike = place(before.get()).expect("a segment that can be found is in its bucket");
            before = &self.row(alike)[NEXT_ALIKE];
        }
        before.set(self.row(head)[NEXT_ALIKE].get());
    }

    fn link_newest(&self, head: usize) {
        self.link_at_end(head, [NEWEST, OLDEST], [NEWER, OLDER]);
    }

    fn link_oldest(&self, head: usize) {
        self.link_at_end(head, [OLDEST, NEWEST], [OLDER, NEWER]);
    }

    /// Puts a segment at one end of the list by use: `beyond` is the link in the direction of that end.
    fn link_at_end(&self, head: usize, [end, other_end]: [usize; 2], [beyond, back]: [usize; 2]) {
        let end = &self.words()[end];
        self.row(head)[beyond].set(NONE);
        self.row(head)[back].set(end.get());
        let neighbour = place(end.get());
        neighbour.map_or(&self.words()[other_end], |last| &self.row(last)[beyond]).set(link(head));
        end.set(link(head));
    }

    fn unlink(&self, head: usize) {
        let [newer, older] = [NEWER, OLDER].map(|way| self.row(head)[way].get());
        place(newer).map_or(&self.words()[NEWEST], |newer| &self.row(newer)[OLDER]).set(older);
        place(older).map_or(&self.words()[OLDEST], |older| &self.row(older)[NEWER]).set(newer);
    }

    fn is_pinned(&self, head: usize) -> bool {
        self.pins(head).iter().any(|pins| pins.get() != 0)
    }

    fn tick(&self) -> u64 {
        self.count(CLOCK);
        self.words()[CLOCK].get()
    }

    fn count(&self, word: usize) {
        self.words()[word].add(1);
    }

    fn state(&self, head: usize) -> u64 {
        self.row(head)[STATE].get() & STATE_MASK
    }

    fn key(&self, head: usize) -> [u64; 2] {
        KEY.map(|word| self.row(head)[word].get())
    }

    fn blocks_of(&self, head: usize) -> usize {
        (self.row(head)[LEN].get() as usize).div_ceil(BLOCK)
    }

    fn next_block(&self, block: usize) -> usize {
        place(self.row(block)[NEXT_BLOCK].get()).expect("a chain is as long as its segment")
    }

    fn bucket(&self, key: [u64; 2]) -> &Word {
        let mut hasher = SipHasher13::new_with_keys(self.secret.0, self.secret.1);
        key.into_iter().for_each(|word| hasher.write_u64(word));
        &self.row(scale(hasher.finish(), self.layout.blocks))[BUCKET]
    }

    fn row(&self, block: usize) -> &[Word] {
        &self.words()[ROWS_AT + block * ROW..][..ROW]
    }

    fn pins(&self, head: usize) -> &[Word] {
        &self.words()[self.layout.pins() + head * self.layout.seats..][..self.layout.seats]
    }

    fn words(&self) -> &[Word] {
        self.mapping.words()
    }
}

impl AsFd for Index {
    fn as_fd(&self) -> BorrowedFd<'_> {
        self.mapping.as_fd()
    }
}

/// Where the parts lie, in words: rows, askings, pins, blocks.
struct Layout {
    blocks: usize,
    seats: usize,
}

impl Layout {
    fn askings(&self) -> usize {
        ROWS_AT + self.blocks * ROW
    }

    fn pins(&self) -> usize {
        self.askings() + self.blocks * ASKINGS
    }

    /// The blocks begin at a page, so that `sendfile` gives away whole pages.
    fn block(&self, block: usize) -> usize {
        (self.pins() + self.blocks * self.seats).next_multiple_of(PAGE / WORD) + block * (BLOCK / WORD)
    }
}

fn words([blocks, seats, ..]: [u64; 4]) -> std::result::Result<usize, &'static str> {
    if blocks == 0 {
        return Err("needs room for a block of 64 KiB");
    }
    if blocks > 1 << 28 {
        return Err("cannot be larger than 16 TiB");
    }
    if !(1..=SEATS as u64).contains(&seats) {
        return Err("needs 1 to 1024 seats");
    }
    let layout = Layout { blocks: blocks as usize, seats: seats as usize };
    Ok(layout.block(layout.blocks))
}

fn link(block: usize) -> u64 {
    block as u64 + 1
}

fn place(link: u64) -> Option<usize> {
    link.checked_sub(1).map(|block| block as usize)
}
