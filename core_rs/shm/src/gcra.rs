//! One rate limit over all workers: the generic cell rate algorithm in a table of fixed size.
//!
//! # Theory
//!
//! GCRA (ITU-T I.371 Annex A, as virtual scheduling) keeps one time per key: the theoretical arrival time, TAT. A
//! request that costs `emission` moves it on: `TAT' = max(TAT, now) + emission`. It is allowed while `TAT'` is no more
//! than `burst` ahead of now. That is a bucket which holds `burst` microseconds and runs out at one a microsecond; a
//! limit of r requests a second has an emission of 1e6/r, and n at once a burst of n emissions.
//!
//! One slot is one word, so one compare-and-swap is a whole decision, and a killed worker leaves nothing half done:
//!
//! ```text
//! bit 63      40 39                          0
//!    |  tag     |  TAT in us, modulo 2^40    |        0 is an empty slot; a tag is never 0
//! ```
//!
//! Eight slots are one cache line and one set. A keyed hash chooses the set, and the tag in it. A key that is not there
//! takes the place of the slot with the lowest TAT, the one who used least: a flood of new keys displaces itself, not
//! the abuser. Two keys of one set with the same tag share a limit; the chance is 7 in 2^24 a key, and since the hash is
//! keyed nobody can look for such keys. Rarely, a key may come to have two slots (a sweep between the looks of two
//! workers); the later one is found no more and ages.
//!
//! # Forty bits
//!
//! TAT wraps after 12.7 days, so an idle slot would one day look like the future. A hand goes round the table in 2^38 us
//! (3 days), driven by the checks themselves, and empties what is past. Let `t` be the time at which the hand last
//! visited a set. What is in it since has a TAT above `t`, because the visit emptied the rest. A check sees the set at
//! most two rounds after `t`: the hand is never more than one round behind, since a longer pause empties the whole table.
//! So a TAT is less than 2^39 us in the past, and at most `MAX_BURST_US` (2^37) in the future; the sign of the 40-bit
//! difference tells which. A worker moves the hand on only after its sweep, hence no check goes by an unswept set, and a
//! worker that is killed while sweeping leaves the work to the next.

use std::fmt;
use std::os::fd::{AsFd, BorrowedFd, OwnedFd};

use siphasher::sip::SipHasher13;

use crate::error::Result;
use crate::mapping::{HEADER, Kind, Mapping, WORD, Word, scale};

/// Enough for 100,000 sources active at once without one displacing another.
pub const DEFAULT_BYTES: usize = 8 << 20;

/// The largest burst, a day and a half. Larger ones are taken for this.
pub const MAX_BURST_US: u64 = 1 << 37;

const KIND: Kind = Kind { table: "rate limit table", name: c"pystream-gcra", magic: *b"ps gcra2", words };

/// Slots in a set: a cache line.
const WAYS: usize = 8;

const TAT_BITS: u32 = 40;
const TAT_MASK: u64 = (1 << TAT_BITS) - 1;

/// The hand's round is 2^38 us.
const ROUND_BITS: u32 = 38;

/// The hand has a cache line of its own, which all processors may keep a copy of: it is rarely written.
const HAND_AT: usize = HEADER;
/// Beside it, since both are read with each check: see [`Gcra::lasts_until`].
const LASTING_AT: usize = HAND_AT + 1;
/// Each stripe of counters has a line, so that workers seldom wait for one another.
const STRIPES_AT: usize = HAND_AT + WAYS;
const STRIPES: usize = 16;
const SETS_AT: usize = STRIPES_AT + STRIPES * WAYS;

const ADMITTED: usize = 0;
const REFUSED: usize = 1;
const DISPLACED: usize = 2;

/// What the table says about a request.
#[derive(Clone, Copy, Debug, Eq, PartialEq)]
pub struct Verdict {
    /// Whether the request may go on.
    pub allowed: bool,
    /// If not, microseconds until the same request would be allowed, if no other comes; `u64::MAX` if it never will,
    /// because it costs more than the burst.
    pub wait_us: u64,
}

/// What happened since the table was made.
#[derive(Clone, Copy, Debug, Default, Eq, PartialEq)]
pub struct GcraCounters {
    /// Requests that were allowed.
    pub admitted: u64,
    /// Requests that were refused.
    pub refused: u64,
    /// Slots still in use that were given to another key. While this grows the table is too small: limits are looser
    /// than they say.
    pub displaced: u64,
}

/// A rate limit table that processes share.
///
/// Its clock is the caller's: microseconds of one clock that all processes share and that never steps back, such as
/// CLOCK_MONOTONIC.
pub struct Gcra {
    mapping: Mapping,
    current: SipHasher13,
    previous: Option<SipHasher13>,
    sets: usize,
}

impl Gcra {
    /// Makes an empty table of about `bytes`.
    ///
    /// # Errors
    ///
    /// [`Error::Size`](crate::Error::Size) if that is less than a cache line, [`Error::System`](crate::Error::System)
    /// if the system gives no memory.
    pub fn create(bytes: usize) -> Result<OwnedFd> {
        Mapping::create(&KIND, [(bytes / (WAYS * WORD)) as u64, 0, 0, 0])
    }

    /// Maps the table. `current` is the secret that all processes hash keys with; the table stores no key.
    ///
    /// To change the secret, attach the table again with the new one as `current` and the old one as `previous`: a key
    /// takes its TAT along. After the longest burst in use nothing depends on `previous` any more. While some processes
    /// have changed and others not, a key's limit is looser, at most by as much again.
    ///
    /// # Errors
    ///
    /// [`Error::Foreign`](crate::Error::Foreign) if the file is no such table.
    pub fn attach(fd: OwnedFd, current: &[u8; 16], previous: Option<&[u8; 16]>) -> Result<Self> {
        let mapping = Mapping::attach(&KIND, fd)?;
        let [sets, ..] = mapping.shape();
        let (current, previous) = (SipHasher13::new_with_key(current), previous.map(SipHasher13::new_with_key));
        // `attach` checked that as many sets are mapped.
        Ok(Self { mapping, current, previous, sets: sets as usize })
    }

    /// Decides on a request and counts it: `emission_us` is what it costs, `burst_us` what may be used up at once.
    pub fn check(&self, key: &[u8], now_us: u64, emission_us: u64, burst_us: u64) -> Verdict {
        self.sweep(now_us);
        let place = self.place(&self.current, key);
        let counters = self.stripe(place.set % STRIPES);
        loop {
            let found = self.find(place, now_us);
            let ahead = found.ahead.unwrap_or_else(|| self.inherited(key, now_us));
            let verdict = judge(ahead, emission_us, burst_us);
            if !verdict.allowed {
                counters[REFUSED].add(1);
                return verdict;
            }
            if found.slot.swap_if(found.seen, slot(place.tag, now_us + ahead + emission_us)).is_ok() {
                counters[ADMITTED].add(1);
                if found.displaces {
                    counters[DISPLACED].add(1);
                }
                return verdict;
            }
        }
    }

    /// What [`check`](Self::check) would say, without counting the request.
    pub fn peek(&self, key: &[u8], now_us: u64, emission_us: u64, burst_us: u64) -> Verdict {
        self.sweep(now_us);
        let found = self.find(self.place(&self.current, key), now_us);
        judge(found.ahead.unwrap_or_else(|| self.inherited(key, now_us)), emission_us, burst_us)
    }

    /// Takes back what a request has cost that need not have been counted. A key that has nothing to its account, or
    /// whose slot another one has by now, stays as it is.
    pub fn give_back(&self, key: &[u8], now_us: u64, emission_us: u64) {
        let place = self.place(&self.current, key);
        loop {
            let found = self.find(place, now_us);
            let Some(ahead) = found.ahead else { return };
            if found.slot.swap_if(found.seen, slot(place.tag, now_us + ahead.saturating_sub(emission_us))).is_ok() {
                return;
            }
        }
    }

    /// Notes that something in the table matters until then. All processes know it before anything that is counted by
    /// this one afterwards.
    pub fn lasts_until(&self, us: u64) {
        self.mapping.words()[LASTING_AT].raise_to(us);
    }

    /// The latest time that was ever noted by [`lasts_until`](Self::lasts_until), 0 where none was.
    pub fn lasting(&self) -> u64 {
        self.mapping.words()[LASTING_AT].get()
    }

    /// What happened since the table was made.
    pub fn counters(&self) -> GcraCounters {
        let sum = |counter: usize| (0..STRIPES).map(|stripe| self.stripe(stripe)[counter].get()).sum();
        GcraCounters { admitted: sum(ADMITTED), refused: sum(REFUSED), displaced: sum(DISPLACED) }
    }

    /// How far ahead of now a key's TAT is under the secret before this one.
    fn inherited(&self, key: &[u8], now: u64) -> u64 {
        self.previous.and_then(|hasher| self.find(self.place(&hasher, key), now).ahead).unwrap_or(0)
    }

    fn place(&self, hasher: &SipHasher13, key: &[u8]) -> Place {
        let hash = hasher.hash(key);
        Place { set: scale(hash, self.sets), tag: (hash & (u64::MAX >> TAT_BITS)).max(1) }
    }

    /// The key's slot, or the one that it would take.
    fn find(&self, place: Place, now: u64) -> Found<'_> {
        let mut lowest = (i64::MAX, 0, &self.set(place.set)[0]);
        for slot in self.set(place.set) {
            let seen = slot.get();
            if seen >> TAT_BITS == place.tag {
                return Found { slot, seen, ahead: Some(ahead(seen, now).max(0) as u64), displaces: false };
            }
            let ahead = if seen == 0 { i64::MIN } else { ahead(seen, now) };
            if ahead < lowest.0 {
                lowest = (ahead, seen, slot);
            }
        }
        let (ahead, seen, slot) = lowest;
        Found { slot, seen, ahead: None, displaces: ahead > 0 }
    }

    /// Moves the hand on to where it has to be at `now`, and empties what is past on its way.
    fn sweep(&self, now: u64) {
        let hand = &self.mapping.words()[HAND_AT];
        let from = hand.get();
        // Counted from 1, since 0 says that the hand never moved, hence that there is nothing to sweep.
        let to = ((u128::from(now) * self.sets as u128) >> ROUND_BITS) as u64 + 1;
        if to <= from {
            return;
        }
        if from != 0 {
            let paused = to - from >= self.sets as u64;
            for position in if paused { 0..self.sets as u64 } else { from..to } {
                for slot in self.set((position % self.sets as u64) as usize) {
                    let seen = slot.get();
                    if seen != 0 && (paused || ahead(seen, now) <= 0) {
                        // Whoever changed it meanwhile uses it.
                        let _ = slot.swap_if(seen, 0);
                    }
                }
            }
        }
        hand.raise_to(to);
    }

    fn set(&self, set: usize) -> &[Word] {
        &self.mapping.words()[SETS_AT + set * WAYS..][..WAYS]
    }

    fn stripe(&self, stripe: usize) -> &[Word] {
        &self.mapping.words()[STRIPES_AT + stripe * WAYS..][..WAYS]
    }
}

impl AsFd for Gcra {
    fn as_fd(&self) -> BorrowedFd<'_> {
        self.mapping.as_fd()
    }
}

impl fmt::Debug for Gcra {
    // The hashers hold the secrets.
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.debug_struct("Gcra").field("sets", &self.sets).finish_non_exhaustive()
    }
}

#[derive(Clone, Copy)]
struct Place {
    set: usize,
    tag: u64,
}

struct Found<'a> {
    slot: &'a Word,
    seen: u64,
    /// `None` if the slot is not the key's.
    ahead: Option<u64>,
    /// Whether the slot is another key's that still needs it.
    displaces: bool,
}

fn judge(ahead: u64, emission: u64, burst: u64) -> Verdict {
    let burst = burst.min(MAX_BURST_US);
    if emission > burst {
        return Verdict { allowed: false, wait_us: u64::MAX };
    }
    let wait_us = (ahead + emission).saturating_sub(burst);
    Verdict { allowed: wait_us == 0, wait_us }
}

fn slot(tag: u64, tat: u64) -> u64 {
    tag << TAT_BITS | tat & TAT_MASK
}

/// How far ahead of `now` a slot's TAT is; not above 0 if it is past.
fn ahead(slot: u64, now: u64) -> i64 {
    const UNUSED: u32 = u64::BITS - TAT_BITS;
    (slot.wrapping_sub(now) << UNUSED) as i64 >> UNUSED
}

fn words([sets, ..]: [u64; 4]) -> std::result::Result<usize, &'static str> {
    match sets {
        0 => Err("needs at least 64 bytes"),
        1..=0x4000_0000 => Ok(SETS_AT + sets as usize * WAYS),
        _ => Err("cannot be larger than 64 GiB"),
    }
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::mapping::death;

    #[test]
    fn a_worker_killed_anywhere_leaves_a_table_that_decides_right() {
        const BURST: u64 = 30_000_000;
        let wrap = 1 << TAT_BITS;
        let mut writes = 0;
        loop {
            let fd = Gcra::create(4 * 64).unwrap();
            let attach = || Gcra::attach(fd.try_clone().unwrap(), &[7; 16], None).unwrap();
            let table = attach();
            for key in 0..8_u8 {
                assert!(table.check(&[key], 1_000_000, BURST, BURST).allowed);
            }
            // Almost one turn later the slots look as if their keys were in debt for the future.
            let now = wrap - 1_000_000;
            let dying = attach();
            let lived = death::after(writes, move || dying.check(&[9], now, BURST, BURST));
            for key in 0..8_u8 {
                assert!(table.check(&[key], now + 1, BURST, BURST).allowed, "key {key} after {writes} writes");
            }
            // The dead one may have spent its budget or not, but not more.
            assert!(table.check(&[9], now + BURST, BURST, BURST).allowed);
            if lived {
                break;
            }
            writes += 1;
        }
        assert!(writes >= 10, "the check swept, in {writes} writes");
    }
}
