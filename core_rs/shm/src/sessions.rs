//! Who may go on watching: the sessions of a node, opened and ended by one process and looked up by all.
//!
//! # Theory
//!
//! A session has a random id, which stands in a signed grant. Whoever shows the grant is looked up here at every
//! segment, playlist and key, without a lock; so a revocation holds from the instruction that writes it, in all workers.
//! One process, the writer, opens, ends and forgets. Only it holds the lock, against a second writer by mistake.
//!
//! A slot is six words. Sixteen slots are a bucket: the first words of their ids, side by side for the search, then
//! a row for each.
//!
//! ```text
//! id                                        the first half
//! row: state                                generation << 40 | standing << 32 | last seen
//!      id                                   the second half
//!      terms                                stream << 32 | expires
//!      spans                                idle << 32 | opened
//!      holder
//! ```
//!
//! The standing is 0 in a free slot, and the generation counts how often the slot was freed. Between an opening and the
//! next freeing, which is a *life*, only the state changes:
//!
//! ```text
//!           open, by the writer        end, by the writer, or by whoever finds it past or idle
//!    FREE ----------------------> OPEN ------------------------------------------------------> ended, with a reason
//!     ^   generation g             | last seen grows, by anybody's check                          |
//!     +----------------------------+--------------------------------------------------------------+
//!                 forget and sweep, by the writer: generation g + 1
//! ```
//!
//! **No id gets another's state.** The writer changes the other words of a slot only while it is FREE, and writes the
//! state last. A reader loads the state, then the other words, then the state again. If the slot was live at both
//! looks, in one generation, then all it read is of that life: the first look shows what was written before the opening,
//! and a word of a later life can be seen only with what was written before it, the freeing, which the second look
//! would show (each store releases, each load acquires). The generation has 24 bits: for it to come back, the slot must be
//! used 16.7 million times while the reader sleeps between two instructions.
//!
//! **An answer was true during the call.** A session that is found stood as the second look says, or as the swap left it
//! that put the clock's verdict in. A session never moves to another slot. So if a search of both buckets does not find
//! an id, there was a moment, between the first look and the last, when it was not there: had it been in one of the
//! slots all the time, that slot's turn would have shown it. One that is forgotten and opened again elsewhere during the
//! search was absent in between.
//!
//! **What is over stays over.** Whoever finds a session past its hard end or idle writes that into it, by a swap that
//! succeeds only if nobody has seen it since. So a clock that steps back, or is a second behind in another process,
//! brings nothing back: neither a check nor `end` leads out of an ended state, and `last seen` only grows. A clock that is
//! wrongly ahead does harm to those who are looked up meanwhile, and to nobody later.
//!
//! **Death.** A worker makes one swap a call at most, which is whole or not there. A writer killed in [`Sessions::open`]
//! before its last word leaves a slot that is FREE, as it was, and that the next opening writes over; killed after it,
//! a session that is whole. [`Sessions::end`] and [`Sessions::forget`] are one word each. The number of used slots is
//! derived: who takes the lock of a writer that died counts them again.
//!
//! # Where an id lies
//!
//! A keyed hash gives each id two buckets, and a session is opened in the emptier one. Nothing is ever moved, and there
//! is no third place: a search reads 32 ids at most, in four cache lines. Of 16 slots at most 12.25 are used in the
//! mean (a load of 0.77). In a simulation of a table that was kept full while two million sessions came and went, none
//! found its two buckets full; at 12.5 17 did. Such a one would get [`Error::Full`] before the last place is taken.

use std::fmt;
use std::iter;
use std::os::fd::{AsFd, BorrowedFd, OwnedFd};

use siphasher::sip::SipHasher13;

use crate::error::{Error, Result};
use crate::mapping::{HEADER, Kind, Mapping, Word, random, scale};

/// Sessions of a node: 8 MiB.
pub const DEFAULT_SESSIONS: usize = 1 << 17;

const KIND: Kind = Kind { table: "session table", name: c"pystream-sessions", magic: *b"ps sess\0", words };

/// Slots in a bucket: the first halves of their ids are two cache lines.
const SLOTS: usize = 16;
/// Of a slot, beside the first half of its id.
const ROW: usize = 5;
const BUCKET: usize = SLOTS * (1 + ROW);

const STATE: usize = 0;
const ID: usize = 1;
const TERMS: usize = 2;
const SPANS: usize = 3;
const HOLDER: usize = 4;

/// Four buckets have 49 sessions.
const FOUR_BUCKETS: usize = 49;

const GENERATION_SHIFT: u32 = 40;
const STANDING_SHIFT: u32 = 32;
const FREE: u8 = 0;
const OPEN: u8 = 1;

/// A cache line of the writer's, under the lock.
const USED_AT: usize = HEADER;
const OPENED_AT: usize = USED_AT + 1;
const REFUSED_AT: usize = USED_AT + 2;
/// No session has its hard end before this: until then a sweep finds none to forget. Lowered before a session is there,
/// raised when a sweep is done.
const EARLIEST_AT: usize = USED_AT + 3;
const BUCKETS_AT: usize = USED_AT + 8;

/// Why a session ended.
#[derive(Clone, Copy, Debug, Eq, PartialEq)]
#[repr(u8)]
pub enum Reason {
    /// Its hard end has come.
    Expired = 2,
    /// It was not asked for longer than its idle time.
    Idle = 3,
    /// Its access was revoked.
    Revoked = 4,
    /// Another device has taken its place.
    Kicked = 5,
    /// The viewer has left.
    Closed = 6,
    /// Its stream is no more to be watched.
    StreamClosed = 7,
}

impl Reason {
    /// The reason of a number, which is the one beside its name.
    pub fn of(code: u8) -> Option<Self> {
        use Reason::{Closed, Expired, Idle, Kicked, Revoked, StreamClosed};
        [Expired, Idle, Revoked, Kicked, Closed, StreamClosed].into_iter().find(|&reason| reason as u8 == code)
    }
}

/// How it stands with a session.
#[derive(Clone, Copy, Debug, Eq, PartialEq)]
pub enum Standing {
    /// There is none of this id and stream, or none any more.
    Unknown,
    /// It may go on.
    Open,
    /// It may not.
    Ended(Reason),
}

impl Standing {
    /// 0 for unknown, 1 for open, or the number of the reason.
    pub fn code(self) -> u8 {
        match self {
            Self::Unknown => FREE,
            Self::Open => OPEN,
            Self::Ended(reason) => reason as u8,
        }
    }

    fn of(code: u8) -> Self {
        match code {
            OPEN => Self::Open,
            code => Reason::of(code).map_or(Self::Unknown, Self::Ended),
        }
    }
}

/// What a session is opened with. All times are Unix seconds.
#[derive(Clone, Copy, Debug, Eq, PartialEq)]
pub struct Terms {
    /// The number of the stream.
    pub stream: u32,
    /// The hard end: from this second on it is over.
    pub expires: u32,
    /// Over, too, when it was not asked for during more than so many seconds; 0 for never.
    pub idle_s: u32,
    /// What let the viewer in: the caller's number of it.
    pub holder: u64,
}

/// A session as it was at one moment.
#[derive(Clone, Copy, Debug, Eq, PartialEq)]
pub struct Session {
    /// Its random id.
    pub id: [u8; 16],
    /// What it was opened with.
    pub terms: Terms,
    /// When it was opened.
    pub opened: u32,
    /// When it was last asked for.
    pub last_seen: u32,
    /// What was written of it: a session that nobody has asked for since its end may still stand as open.
    pub standing: Standing,
}

/// What the table holds, and what happened since it was made.
#[derive(Clone, Copy, Debug, Default, Eq, PartialEq)]
pub struct SessionGauges {
    /// Sessions that stand as open; after a [`Sessions::sweep`] those that are.
    pub open: usize,
    /// Sessions that have ended and are remembered until their hard end.
    pub ended: usize,
    /// Sessions that were opened.
    pub opened: u64,
    /// Sessions that found no room. Any but 0 is an alarm: the table is too small.
    pub refused: u64,
}

/// A session table that processes share.
///
/// Its clock is the caller's: Unix seconds, of which those beyond the year 2106 are taken for its last one.
pub struct Sessions {
    mapping: Mapping,
    hasher: SipHasher13,
    buckets: usize,
    capacity: usize,
}

impl Sessions {
    /// Makes an empty table for `capacity` sessions, of 63 bytes each.
    ///
    /// # Errors
    ///
    /// [`Error::Size`] if that is none or more than 2^24, [`Error::System`] if the system gives no memory.
    pub fn create(capacity: usize) -> Result<OwnedFd> {
        Mapping::create(&KIND, [capacity as u64, random(), random(), 0])
    }

    /// Maps the table.
    ///
    /// # Errors
    ///
    /// [`Error::Foreign`] if the file is no such table.
    pub fn attach(fd: OwnedFd) -> Result<Self> {
        let mapping = Mapping::attach(&KIND, fd)?;
        let [capacity, key0, key1, _] = mapping.shape();
        let hasher = SipHasher13::new_with_keys(key0, key1);
        Ok(Self { mapping, hasher, buckets: buckets(capacity as usize), capacity: capacity as usize })
    }

    /// How it stands with a session of this stream at `now`, for any process.
    ///
    /// An open session is noted as seen, with one write a second at most. One that is past or idle is ended. The id of
    /// another stream's session is unknown, and not noted.
    pub fn check(&self, id: &[u8; 16], stream: u32, now: u64) -> Standing {
        let Some(found) = self.find(id).filter(|found| found.session.terms.stream == stream) else {
            return Standing::Unknown;
        };
        let (mut seen, now) = (found.state, seconds(now));
        loop {
            let judged = judge(seen, &found.session.terms, now);
            if judged == seen {
                return Standing::of(standing(seen));
            }
            match found.row[STATE].swap_if(seen, judged) {
                Ok(()) => return Standing::of(standing(judged)),
                // Seen or ended by another.
                Err(changed) if generation(changed) == generation(seen) => seen = changed,
                Err(_) => return Standing::Unknown,
            }
        }
    }

    /// The session of an id, for any process.
    pub fn get(&self, id: &[u8; 16]) -> Option<Session> {
        self.find(id).map(|found| found.session)
    }

    /// All sessions, ended ones too: what a writer after the death of another builds its own books from.
    pub fn entries(&self) -> Vec<Session> {
        self.found().map(|found| found.session).collect()
    }

    /// Opens a session. For the writer, as all that follows.
    ///
    /// # Errors
    ///
    /// [`Error::Full`] if there is no room, even when those past at `now` are forgotten, [`Error::Known`] if the table
    /// holds a session of that id, ended or not.
    pub fn open(&self, id: &[u8; 16], terms: Terms, now: u64) -> Result<()> {
        self.exclusive(|| {
            if self.find(id).is_some() {
                return Err(Error::Known);
            }
            let place = self.room(id).or_else(|| {
                (self.writer(EARLIEST_AT).get() <= now).then(|| self.reclaim(now))?;
                self.room(id)
            });
            let Some(place) = place else {
                self.writer(REFUSED_AT).add(1);
                return Err(Error::Full { sessions: self.capacity });
            };
            let (row, [first, second], now) = (self.row(place), halves(id), seconds(now));
            let earliest = self.writer(EARLIEST_AT);
            earliest.set(earliest.get().min(terms.expires.into()));
            self.first_half(place).set(first);
            row[ID].set(second);
            row[TERMS].set(pair(terms.stream, terms.expires));
            row[SPANS].set(pair(terms.idle_s, now));
            row[HOLDER].set(terms.holder);
            row[STATE].set(state(generation(row[STATE].get()), OPEN, now));
            self.writer(USED_AT).add(1);
            self.writer(OPENED_AT).add(1);
            Ok(())
        })
    }

    /// Ends a session; whether it stood as open. The reason of one that has ended stays what it was.
    pub fn end(&self, id: &[u8; 16], reason: Reason) -> bool {
        self.exclusive(|| self.find(id).is_some_and(|found| end(found.row, reason)))
    }

    /// Ends all open sessions that `chosen` chooses; how many.
    pub fn end_all(&self, reason: Reason, chosen: impl Fn(&Session) -> bool) -> usize {
        self.exclusive(|| self.found().filter(|found| chosen(&found.session) && end(found.row, reason)).count())
    }

    /// Forgets a session, open or not; whether there was one.
    pub fn forget(&self, id: &[u8; 16]) -> bool {
        self.exclusive(|| self.find(id).map(|found| self.free(found.row)).is_some())
    }

    /// Forgets all sessions that are past their hard end, and ends those that are idle; how many were forgotten.
    pub fn sweep(&self, now: u64) -> usize {
        self.exclusive(|| {
            let forgotten = self.reclaim(now);
            for found in self.found() {
                let judged = judge(found.state, &found.session.terms, seconds(now));
                if standing(judged) != standing(found.state) {
                    // Whoever changed it meanwhile has seen it.
                    let _ = found.row[STATE].swap_if(found.state, judged);
                }
            }
            forgotten
        })
    }

    /// How many sessions the table was made for.
    pub fn capacity(&self) -> usize {
        self.capacity
    }

    /// How many sessions the table holds, ended ones too. After a writer's death it may be off until the next one writes.
    pub fn used(&self) -> usize {
        self.writer(USED_AT).get() as usize
    }

    /// What the table holds, counted one by one, and what happened since it was made.
    pub fn gauges(&self) -> SessionGauges {
        let (opened, refused) = (self.writer(OPENED_AT).get(), self.writer(REFUSED_AT).get());
        let mut gauges = SessionGauges { opened, refused, ..SessionGauges::default() };
        for place in self.places() {
            match standing(self.row(place)[STATE].get()) {
                FREE => (),
                OPEN => gauges.open += 1,
                _ => gauges.ended += 1,
            }
        }
        gauges
    }

    fn exclusive<T>(&self, work: impl FnOnce() -> T) -> T {
        let used = || self.places().filter(|&place| standing(self.row(place)[STATE].get()) != FREE).count();
        self.mapping.exclusive(|| self.writer(USED_AT).set(used() as u64), work)
    }

    fn find(&self, id: &[u8; 16]) -> Option<Found<'_>> {
        let [first, _] = halves(id);
        for bucket in self.homes(id) {
            for (slot, half) in self.first_halves(bucket).iter().enumerate() {
                if half.get() == first
                    && let Some(found) = self.read(Place { bucket, slot })
                    && found.session.id == *id
                {
                    return Some(found);
                }
            }
        }
        None
    }

    /// What lies in a slot, if it did so for one moment: see the theory.
    fn read(&self, place: Place) -> Option<Found<'_>> {
        let row = self.row(place);
        let before = row[STATE].get();
        if standing(before) == FREE {
            return None;
        }
        let (first, second) = (self.first_half(place).get(), row[ID].get());
        let ([stream, expires], [idle_s, opened]) = (parts(row[TERMS].get()), parts(row[SPANS].get()));
        let terms = Terms { stream, expires, idle_s, holder: row[HOLDER].get() };
        let state = row[STATE].get();
        let session = Session {
            id: (u128::from(second) << 64 | u128::from(first)).to_le_bytes(),
            terms,
            opened,
            last_seen: state as u32,
            standing: Standing::of(standing(state)),
        };
        (generation(state) == generation(before)).then_some(Found { row, state, session })
    }

    /// A free slot of the id's emptier bucket. Under the lock.
    fn room(&self, id: &[u8; 16]) -> Option<Place> {
        if self.writer(USED_AT).get() >= self.capacity as u64 {
            return None;
        }
        let free = |bucket| {
            let places = (0..SLOTS).map(move |slot| Place { bucket, slot });
            places.filter(|&place| standing(self.row(place)[STATE].get()) == FREE)
        };
        let [one, other] = self.homes(id);
        let emptier = if free(other).count() > free(one).count() { other } else { one };
        free(emptier).next()
    }

    /// Forgets what is past. Under the lock.
    fn reclaim(&self, now: u64) -> usize {
        let (mut forgotten, mut earliest) = (0, u64::MAX);
        for found in self.found() {
            let expires = found.session.terms.expires;
            if expires <= seconds(now) {
                self.free(found.row);
                forgotten += 1;
            } else {
                earliest = earliest.min(expires.into());
            }
        }
        self.writer(EARLIEST_AT).set(earliest);
        forgotten
    }

    /// Under the lock: no other process frees the slot, and the swap of none that looked before succeeds after.
    fn free(&self, row: &[Word]) {
        row[STATE].set(state(generation(row[STATE].get()) + 1, FREE, 0));
        self.writer(USED_AT).subtract(1);
    }

    /// The two buckets of an id, which are one in a table of one.
    fn homes(&self, id: &[u8; 16]) -> [usize; 2] {
        let hash = self.hasher.hash(id);
        let one = scale(hash, self.buckets);
        let distance = 1 + scale(hash << 32, self.buckets.saturating_sub(1));
        [one, (one + distance) % self.buckets]
    }

    fn places(&self) -> impl Iterator<Item = Place> + use<> {
        let buckets = 0..self.buckets;
        buckets.flat_map(|bucket| iter::repeat(bucket).zip(0..SLOTS)).map(|(bucket, slot)| Place { bucket, slot })
    }

    fn found(&self) -> impl Iterator<Item = Found<'_>> {
        self.places().filter_map(|place| self.read(place))
    }

    fn first_half(&self, Place { bucket, slot }: Place) -> &Word {
        &self.first_halves(bucket)[slot]
    }

    fn first_halves(&self, bucket: usize) -> &[Word] {
        &self.mapping.words()[BUCKETS_AT + bucket * BUCKET..][..SLOTS]
    }

    fn row(&self, Place { bucket, slot }: Place) -> &[Word] {
        &self.mapping.words()[BUCKETS_AT + bucket * BUCKET + SLOTS + slot * ROW..][..ROW]
    }

    fn writer(&self, at: usize) -> &Word {
        &self.mapping.words()[at]
    }
}

impl AsFd for Sessions {
    fn as_fd(&self) -> BorrowedFd<'_> {
        self.mapping.as_fd()
    }
}

impl fmt::Debug for Sessions {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.debug_struct("Sessions").field("capacity", &self.capacity).finish_non_exhaustive()
    }
}

#[derive(Clone, Copy)]
struct Place {
    bucket: usize,
    slot: usize,
}

struct Found<'a> {
    row: &'a [Word],
    /// As the second look showed it.
    state: u64,
    session: Session,
}

/// The state that the clock makes of one.
fn judge(seen: u64, terms: &Terms, now: u32) -> u64 {
    let last_seen = seen as u32;
    let judged = |standing, last_seen| state(generation(seen), standing, last_seen);
    if standing(seen) != OPEN {
        seen
    } else if now >= terms.expires {
        judged(Reason::Expired as u8, last_seen)
    } else if terms.idle_s != 0 && now.saturating_sub(last_seen) > terms.idle_s {
        judged(Reason::Idle as u8, last_seen)
    } else {
        judged(OPEN, last_seen.max(now))
    }
}

/// Under the lock, so that it is one life.
fn end(row: &[Word], reason: Reason) -> bool {
    let mut seen = row[STATE].get();
    while standing(seen) == OPEN {
        match row[STATE].swap_if(seen, state(generation(seen), reason as u8, seen as u32)) {
            Ok(()) => return true,
            Err(changed) => seen = changed,
        }
    }
    false
}

fn state(generation: u64, standing: u8, last_seen: u32) -> u64 {
    generation << GENERATION_SHIFT | u64::from(standing) << STANDING_SHIFT | u64::from(last_seen)
}

fn generation(state: u64) -> u64 {
    state >> GENERATION_SHIFT
}

fn standing(state: u64) -> u8 {
    (state >> STANDING_SHIFT) as u8
}

fn seconds(now: u64) -> u32 {
    u32::try_from(now).unwrap_or(u32::MAX)
}

fn pair(high: u32, low: u32) -> u64 {
    u64::from(high) << 32 | u64::from(low)
}

fn parts(word: u64) -> [u32; 2] {
    [(word >> 32) as u32, word as u32]
}

fn halves(id: &[u8; 16]) -> [u64; 2] {
    let id = u128::from_le_bytes(*id);
    [id as u64, (id >> 64) as u64]
}

fn buckets(capacity: usize) -> usize {
    (capacity * 4).div_ceil(FOUR_BUCKETS)
}

fn words([capacity, ..]: [u64; 4]) -> std::result::Result<usize, &'static str> {
    match capacity {
        1..=0x100_0000 => Ok(BUCKETS_AT + buckets(capacity as usize) * BUCKET),
        _ => Err("needs room for 1 to 16,777,216 sessions"),
    }
}

#[cfg(test)]
mod tests {
    use std::cell::Cell;
    use std::collections::HashSet;
    use std::rc::Rc;
    use std::sync::Arc;

    use super::*;
    use crate::mapping::{death, pause};

    const NOW: u64 = 1_800_000_000;

    fn table(capacity: usize) -> Arc<Sessions> {
        Arc::new(Sessions::attach(Sessions::create(capacity).unwrap()).unwrap())
    }

    fn id(first: u64, second: u64) -> [u8; 16] {
        (u128::from(second) << 64 | u128::from(first)).to_le_bytes()
    }

    fn until(seconds: u64, holder: u64) -> Terms {
        Terms { stream: 7, expires: (NOW + seconds) as u32, idle_s: 600, holder }
    }

    #[test]
    fn a_writer_killed_anywhere_leaves_each_session_whole_or_not_there() {
        let (stays, ends, goes, past, new) = (id(1, 1), id(1, 2), id(3, 1), id(4, 4), id(5, 5));
        let mut writes = 0;
        loop {
            let table = table(4);
            for (holder, id) in [stays, ends, goes].iter().enumerate() {
                table.open(id, until(100, holder as u64), NOW).unwrap();
            }
            table.open(&past, until(10, 3), NOW).unwrap();
            let dying = Arc::clone(&table);
            let lived = death::after(writes, move || {
                assert!(dying.end(&ends, Reason::Revoked));
                assert!(dying.forget(&goes));
                // The second finds room only after a sweep, in a slot that was used.
                dying.open(&new, until(100, 4), NOW + 10).unwrap();
                dying.open(&goes, until(50, 5), NOW + 10).unwrap();
            });
            let entries = table.entries();
            let of = |id: &[u8; 16]| entries.iter().find(|entry| entry.id == *id);
            assert_eq!(entries.iter().map(|entry| entry.id).collect::<HashSet<_>>().len(), entries.len());
            assert_eq!(of(&stays).unwrap().terms, until(100, 0), "after {writes} writes");
            assert_eq!(of(&ends).unwrap().terms, until(100, 1));
            assert!(of(&goes).is_none_or(|entry| [until(100, 2), until(50, 5)].contains(&entry.terms)));
            assert!(of(&past).is_none_or(|entry| entry.terms == until(10, 3)));
            assert!(of(&new).is_none_or(|entry| entry.terms == until(100, 4) && entry.standing == Standing::Open));
            // The successor has room for as many as the table should.
            table.sweep(NOW + 20);
            assert_eq!(table.used(), table.entries().len(), "after {writes} writes");
            for more in 0..4 - table.used() as u64 {
                table.open(&id(9, more), until(100, 9), NOW + 20).unwrap();
            }
            assert!(matches!(table.open(&id(10, 10), until(100, 9), NOW + 20), Err(Error::Full { sessions: 4 })));
            if lived {
                break;
            }
            writes += 1;
        }
        assert!(writes > 30, "the writer ended, forgot, swept and opened, in {writes} writes");
    }

    #[test]
    fn a_reader_never_sees_another_s_state_in_a_slot_that_changes_hands() {
        use Reason::{Expired, Kicked};
        // The second id shares a half with the first, or nothing.
        let old = id(1, 1);
        for new in [id(1, 2), id(2, 1), id(2, 2)] {
            for (asked, holder, answers) in [
                (old, 1, [Standing::Unknown, Standing::Open].as_slice()),
                (new, 2, &[Standing::Unknown, Standing::Ended(Expired), Standing::Ended(Kicked)]),
            ] {
                each_interleaving(|steps, writes| {
                    let table = table(1);
                    table.open(&old, until(100, 1), NOW).unwrap();
                    let change = move |writer: &Sessions| {
                        writer.forget(&old);
                        writer.open(&new, until(0, 2), NOW).unwrap();
                        writer.end(&new, Kicked);
                    };
                    let (meanwhile, lived) = dying(&table, writes, change);
                    let (standing, paused) = pause::after(steps, meanwhile, || table.check(&asked, 7, NOW + 1));
                    assert!(answers.contains(&standing), "{standing:?} after {steps} steps and {writes} writes");
                    let found = table.get(&asked);
                    assert!(found.is_none_or(|found| found.id == asked && found.terms.holder == holder));
                    (paused, lived.get())
                });
            }
        }
    }

    #[test]
    fn an_end_is_never_undone_by_a_check_that_came_too_late() {
        each_interleaving(|steps, writes| {
            let table = table(1);
            table.open(&id(1, 1), until(100, 1), NOW).unwrap();
            let (meanwhile, lived) = dying(&table, writes, |writer| _ = writer.end(&id(1, 1), Reason::Kicked));
            let (standing, paused) = pause::after(steps, meanwhile, || table.check(&id(1, 1), 7, NOW + 1));
            assert!([Standing::Open, Standing::Ended(Reason::Kicked)].contains(&standing));
            // The lock's mark, and the end.
            if paused && writes >= 2 {
                let later = table.check(&id(1, 1), 7, NOW + 2);
                assert_eq!(later, Standing::Ended(Reason::Kicked), "after {steps} steps and {writes} writes");
            }
            (paused, lived.get())
        });
    }

    #[test]
    fn of_two_who_have_seen_a_session_the_later_one_counts() {
        for (one, other) in [(NOW + 1, NOW + 2), (NOW + 2, NOW + 1)] {
            for steps in 0.. {
                let table = table(1);
                table.open(&id(1, 1), until(100, 1), NOW).unwrap();
                let worker = Arc::clone(&table);
                let meanwhile = move || assert_eq!(worker.check(&id(1, 1), 7, other), Standing::Open);
                let (standing, paused) = pause::after(steps, meanwhile, || table.check(&id(1, 1), 7, one));
                assert_eq!(standing, Standing::Open);
                if !paused {
                    break;
                }
                assert_eq!(table.get(&id(1, 1)).unwrap().last_seen, NOW as u32 + 2, "after {steps} steps");
            }
        }
    }

    #[test]
    fn a_sweep_ends_no_session_that_is_seen_meanwhile() {
        for steps in 0.. {
            let table = table(1);
            table.open(&id(1, 1), until(1_000, 1), NOW).unwrap();
            let (worker, answer) = (Arc::clone(&table), Rc::new(Cell::new(Standing::Unknown)));
            let told = Rc::clone(&answer);
            // A clock that is a second behind.
            let meanwhile = move || told.set(worker.check(&id(1, 1), 7, NOW + 600));
            let (_, paused) = pause::after(steps, meanwhile, || table.sweep(NOW + 601));
            if !paused {
                assert_eq!(table.get(&id(1, 1)).unwrap().standing, Standing::Ended(Reason::Idle));
                break;
            }
            assert_eq!(table.get(&id(1, 1)).unwrap().standing, answer.get(), "after {steps} steps");
        }
    }

    /// A writer that dies after so many writes, to be let loose once; and whether it came to its end.
    fn dying<Work: FnOnce(&Sessions) + Send + 'static>(
        table: &Arc<Sessions>,
        writes: u64,
        work: Work,
    ) -> (impl FnOnce() + use<Work>, Rc<Cell<bool>>) {
        let (writer, lived) = (Arc::clone(table), Rc::new(Cell::new(false)));
        let told = Rc::clone(&lived);
        (move || told.set(death::after(writes, move || work(&writer))), lived)
    }

    /// Goes through all moments of a reader, and at each through all deaths of a writer.
    fn each_interleaving(mut play: impl FnMut(u64, u64) -> (bool, bool)) {
        for steps in 0.. {
            for writes in 0.. {
                let (paused, lived) = play(steps, writes);
                if !paused {
                    assert!(steps > 8, "the reader made {steps} steps");
                    return;
                }
                if lived {
                    break;
                }
            }
        }
    }

    #[test]
    fn ids_of_any_kind_spread_over_the_buckets() {
        const KINDS: [fn(u64) -> [u8; 16]; 4] =
            [|n| id(n, 0), |n| id(0, n), |n| id(n << 40, n >> 8), |n| id(n.wrapping_mul(0x9e37_79b9_7f4a_7c15), n)];
        let table = table(4_900);
        assert_eq!(table.buckets, 400);
        for kind in KINDS {
            let mut loads = vec![0; table.buckets];
            for n in 0..4_900 {
                let [one, other] = table.homes(&kind(n));
                assert_ne!(one, other);
                let emptier = if loads[other] < loads[one] { other } else { one };
                loads[emptier] += 1;
            }
            assert!(loads.iter().all(|load| (4..=SLOTS).contains(load)), "{loads:?}");
        }
    }

    #[test]
    fn the_largest_numbers_come_back() {
        let table = table(1);
        let terms = Terms { stream: u32::MAX, expires: u32::MAX, idle_s: u32::MAX, holder: u64::MAX };
        table.open(&[0xff; 16], terms, u64::MAX - 1).unwrap();
        let session = table.get(&[0xff; 16]).unwrap();
        assert_eq!((session.terms, session.opened, session.last_seen), (terms, u32::MAX, u32::MAX));
        // 2106 has come.
        assert_eq!(table.check(&[0xff; 16], u32::MAX, u64::MAX), Standing::Ended(Reason::Expired));
    }

    #[test]
    fn the_generation_comes_round() {
        let table = table(1);
        let place = Place { bucket: 0, slot: 0 };
        table.row(place)[STATE].set(state((1 << 24) - 1, FREE, 0));
        for round in 0..2 {
            table.open(&id(1, round), until(100, 1), NOW).unwrap();
            assert_eq!(table.check(&id(1, round), 7, NOW), Standing::Open);
            assert!(table.forget(&id(1, round)));
        }
        assert_eq!(generation(table.row(place)[STATE].get()), 1);
    }
}
