//! What was sent, per stream, hour and kind, counted by all workers.
//!
//! # Theory
//!
//! A row is a cache line, `[key, requests, bytes, aborted]`, and a key is `stream << 32 | hour << 8 | kind`. Hour 0 (of
//! 1970) is no time to be metered, so keys with hour 0 are free for states of the row:
//!
//! ```text
//!            claim, by any worker             retire, by the writer, under the lock
//!    FREE ----------------------------> key ----------------------------> RETIRING ---> FREE
//!    counters 0, open                   counters grow, then are sealed    counters become 0 and open
//! ```
//!
//! A counter is one word, `sealed << 63 | generation << 48 | value`. The generation counts how often the row was used;
//! the three counters of a row that is not RETIRING have the same.
//!
//! **No count is lost, and none goes to another key.** A worker reads the generation g of a row's first counter, then
//! its key, then adds by compare-and-swap only to an open counter of generation g. If the swap succeeds, the generation
//! was g from the first step to the last, because it only grows (15 bits: it comes back after 32,768 hours of one
//! worker sleeping between two instructions). During one generation a row has one key at most, so the count is that
//! key's. The counters become open at generation g + 1 only while the key is RETIRING, so a worker that reads g + 1
//! cannot read the key of generation g after it.
//!
//! **What is committed is all there was.** [`Meter::retire`] seals the three counters, for good: no swap succeeds
//! after. If their values are those that the caller has committed, the row is freed. If not, somebody added meanwhile;
//! the row stays, sealed, and the next [`Meter::rows`] shows the rest. A worker that finds a row sealed, even between two
//! counters of one `add`, puts what is left of its count into another row: a key may have several, and their sum is
//! right.
//!
//! **Death.** A worker makes one swap at a time, each of which leaves a valid table: it may be killed with a row claimed
//! and empty, or with its last requests counted and their bytes not. A writer killed while sealing leaves counters that
//! workers pass by and the next `retire` goes on with; killed at RETIRING, it leaves `dirty` standing, and the next to
//! retire finishes. Only one process is in `retire` at a time, under the lock.
//!
//! Adding is lock-free rather than wait-free: a swap fails only because another worker's succeeded.

use std::fmt;
use std::os::fd::{AsFd, BorrowedFd, OwnedFd};

use crate::error::Result;
use crate::mapping::{HEADER, Kind, Mapping, Word, random};

/// Rows of a node's meter: 4 MiB.
pub const DEFAULT_ROWS: usize = 1 << PLACE_BITS;

/// The most that a row can count in an hour: 281 TB, or 625 Gbit/s. Beyond that it is sealed, and the next one begins.
pub const MAX_COUNT: u64 = GENERATION_ONE - 1;

const KIND: Kind = Kind { table: "meter", name: c"pystream-meter", magic: *b"ps meter", words };

const ROW: usize = 8;
const KEY: usize = 0;
/// In the order in which they are read, added to and sealed.
const COUNTERS: std::ops::Range<usize> = 1..4;

const FREE: u64 = 0;
const RETIRING: u64 = 1;

const SEALED: u64 = 1 << 63;
const GENERATION_SHIFT: u32 = 48;
const GENERATION_BITS: u32 = 15;
const GENERATION_ONE: u64 = 1 << GENERATION_SHIFT;
const GENERATION_MASK: u64 = (1 << GENERATION_BITS) - 1;

const PLACE_BITS: u32 = 16;

/// How far from its home a key may lie. The window of an absent key is read whole, once a worker and hour.
const WINDOW: usize = 512;

const OVERFLOW_AT: usize = HEADER;
const LOST: usize = 0;
const ROWS_AT: usize = OVERFLOW_AT + ROW;

/// What was sent, or what is to be added to it.
#[derive(Clone, Copy, Debug, Default, Eq, PartialEq)]
pub struct Counts {
    /// Requests answered.
    pub requests: u64,
    /// Bytes that the peers have.
    pub bytes: u64,
    /// Requests whose peer went away, or was sent away, before the end.
    pub aborted: u64,
}

impl Counts {
    /// What was added to `was`. Counts only grow for one incarnation.
    fn since(self, was: Self) -> Self {
        Self {
            requests: self.requests - was.requests,
            bytes: self.bytes - was.bytes,
            aborted: self.aborted - was.aborted,
        }
    }

    fn from_array([requests, bytes, aborted]: [u64; 3]) -> Self {
        Self { requests, bytes, aborted }
    }

    fn to_array(self) -> [u64; 3] {
        [self.requests, self.bytes, self.aborted]
    }
}

/// What one row counted so far.
#[derive(Clone, Copy, Debug, Eq, PartialEq)]
pub struct Row {
    /// The number of the stream.
    pub stream: u32,
    /// Hours since 1970, UTC.
    pub hour: u32,
    /// What was sent: the caller's code.
    pub kind: u8,
    /// Names this use of the row: no other row, no later use of this one and no other table has it. Below 2^63.
    ///
    /// Counts only grow for one incarnation, so who remembers the last counts by incarnation books each byte once.
    pub incarnation: u64,
    /// Everything since the row was claimed.
    pub counts: Counts,
}

/// What found no row.
#[derive(Clone, Copy, Debug, Default, Eq, PartialEq)]
pub struct Overflow {
    /// Calls of `add` that found the table full. Any but 0 is an alarm: these counts belong to nobody.
    pub lost_rows: u64,
    /// Their counts.
    pub counts: Counts,
}

/// A meter that processes share.
pub struct Meter {
    mapping: Mapping,
    rows: usize,
    table: u64,
}

impl Meter {
    /// Makes an empty meter.
    ///
    /// # Errors
    ///
    /// [`Error::Size`](crate::Error::Size) if `rows` is not a power of two up to [`DEFAULT_ROWS`],
    /// [`Error::System`](crate::Error::System) if the system gives no memory.
    pub fn create(rows: usize) -> Result<OwnedFd> {
        Mapping::create(&KIND, [rows as u64, random() >> 32, 0, 0])
    }

    /// Maps the meter.
    ///
    /// # Errors
    ///
    /// [`Error::Foreign`](crate::Error::Foreign) if the file is no meter.
    pub fn attach(fd: OwnedFd) -> Result<Self> {
        let mapping = Mapping::attach(&KIND, fd)?;
        let [rows, table, ..] = mapping.shape();
        Ok(Self { mapping, rows: rows as usize, table })
    }

    /// Adds to the row of a stream, an hour since 1970 and a kind.
    ///
    /// A worker that is killed here may have added the requests and not yet the bytes.
    pub fn add(&self, stream: u32, hour: u32, kind: u8, counts: Counts) {
        let mut left = counts.to_array();
        let Some(key) = key(stream, hour, kind).filter(|_| left.iter().all(|&count| count <= MAX_COUNT)) else {
            return self.lose(left);
        };
        loop {
            match self.find(key) {
                Found::Open { place, generation } => {
                    if self.book(place, generation, &mut left) {
                        return;
                    }
                }
                // If another worker was faster, perhaps it was for the same key: look again either way.
                Found::Free { place } => _ = self.row(place)[KEY].swap_if(FREE, key),
                Found::Full => return self.lose(left),
            }
        }
    }

    /// All rows in use, with all that they counted. A key may have several.
    ///
    /// Counts that are being added may be missing in part; they will be in the next.
    pub fn rows(&self) -> Vec<Row> {
        (0..self.rows).filter_map(|place| self.snapshot(place)).collect()
    }

    /// Frees a row whose hour is over and whose `counts` have been committed, as [`rows`](Self::rows) gave it.
    ///
    /// If more was counted since, the answer is false: the row takes no further counts, the next `rows` shows its last
    /// ones, and it can be retired when those are committed. What workers add to the key from now on goes to another row.
    pub fn retire(&self, row: &Row) -> bool {
        let repair = || (0..self.rows).for_each(|place| self.recycle(place));
        self.mapping.exclusive(repair, || {
            let Some((place, generation)) = self.place_of(row) else { return false };
            if self.seal(place, generation) != Some(row.counts.to_array()) {
                return false;
            }
            self.row(place)[KEY].set(RETIRING);
            self.recycle(place);
            true
        })
    }

    /// What found no row, because the table is full or the hour or a count is none.
    pub fn overflow(&self) -> Overflow {
        let row = &self.mapping.words()[OVERFLOW_AT..][..ROW];
        let counts = Counts::from_array(std::array::from_fn(|index| row[COUNTERS.start + index].get()));
        Overflow { lost_rows: row[LOST].get(), counts }
    }

    /// Adds what is left, and takes off what could be added; whether that was all.
    fn book(&self, place: usize, generation: u64, left: &mut [u64; 3]) -> bool {
        for (counter, left) in COUNTERS.zip(left) {
            let counter = &self.row(place)[counter];
            let mut seen = counter.get();
            while *left != 0 {
                if seen & SEALED != 0 || self::generation(seen) != generation {
                    return false;
                }
                if value(seen) + *left > MAX_COUNT {
                    self.seal(place, generation);
                    return false;
                }
                match counter.swap_if(seen, seen + *left) {
                    Ok(()) => *left = 0,
                    Err(now) => seen = now,
                }
            }
        }
        true
    }

    /// Seals the counters of a row, and says their last values; `None` if the row is used for another generation.
    fn seal(&self, place: usize, generation: u64) -> Option<[u64; 3]> {
        let mut values = [0; 3];
        for (counter, last) in COUNTERS.zip(&mut values) {
            let counter = &self.row(place)[counter];
            let mut seen = counter.get();
            loop {
                if self::generation(seen) != generation {
                    return None;
                }
                if seen & SEALED != 0 {
                    break;
                }
                match counter.swap_if(seen, seen | SEALED) {
                    Ok(()) => break,
                    Err(now) => seen = now,
                }
            }
            *last = value(seen);
        }
        Some(values)
    }

    /// Frees a row that is RETIRING, from wherever the last attempt got to. Under the lock.
    fn recycle(&self, place: usize) {
        let row = self.row(place);
        if row[KEY].get() != RETIRING {
            return;
        }
        for counter in COUNTERS {
            // Nobody else writes to a sealed counter, and nobody to an open one of a row without a key.
            let seen = row[counter].get();
            if seen & SEALED != 0 {
                row[counter].set(((self::generation(seen) + 1) & GENERATION_MASK) << GENERATION_SHIFT);
            }
        }
        row[KEY].set(FREE);
    }

    fn find(&self, key: u64) -> Found {
        let (home, mut free) = (scatter(key), None);
        for step in 0..WINDOW.min(self.rows) {
            let place = (home + step) & (self.rows - 1);
            let row = self.row(place);
            // Before the key: see the theory.
            let first = row[COUNTERS.start].get();
            let taken = row[KEY].get();
            if taken == key && first & SEALED == 0 {
                return Found::Open { place, generation: generation(first) };
            }
            if taken == FREE && free.is_none() {
                free = Some(place);
            }
        }
        free.map_or(Found::Full, |place| Found::Free { place })
    }

    fn snapshot(&self, place: usize) -> Option<Row> {
        let row = self.row(place);
        let generation = generation(row[COUNTERS.start].get());
        let key = row[KEY].get();
        if key == FREE || key == RETIRING {
            return None;
        }
        let mut counts = [0; 3];
        for (counter, count) in COUNTERS.zip(&mut counts) {
            let seen = row[counter].get();
            // Otherwise the row was retired meanwhile.
            (self::generation(seen) == generation).then_some(())?;
            *count = value(seen);
        }
        let incarnation = (self.table << PLACE_BITS | place as u64) << GENERATION_BITS | generation;
        let (stream, hour, kind) = ((key >> 32) as u32, (key >> 8) as u32 & HOUR_MASK, key as u8);
        Some(Row { stream, hour, kind, incarnation, counts: Counts::from_array(counts) })
    }

    /// Where a row of a snapshot lies, and its generation; `None` if it is no row of this table, or not any more.
    fn place_of(&self, row: &Row) -> Option<(usize, u64)> {
        let generation = row.incarnation & GENERATION_MASK;
        let place = (row.incarnation >> GENERATION_BITS) as usize & (DEFAULT_ROWS - 1);
        let now = self.snapshot(place & (self.rows - 1))?;
        (now.incarnation == row.incarnation && (now.stream, now.hour, now.kind) == (row.stream, row.hour, row.kind))
            .then_some((place, generation))
    }

    fn lose(&self, left: [u64; 3]) {
        let row = &self.mapping.words()[OVERFLOW_AT..][..ROW];
        row[LOST].add(1);
        for (counter, left) in COUNTERS.zip(left) {
            row[counter].add(left);
        }
    }

    fn row(&self, place: usize) -> &[Word] {
        &self.mapping.words()[ROWS_AT + place * ROW..][..ROW]
    }
}

/// Reads a meter again and again, and tells what is new.
///
/// A row that was retired is missed by nobody: that happens an hour after it has counted for the last time.
#[derive(Debug, Default)]
pub struct Reading {
    /// By place: the incarnation of the row that was there, and what it had counted.
    before: Vec<(u64, Counts)>,
}

impl Reading {
    /// Rows that have counted since the last call, with what they have counted since.
    pub fn changes(&mut self, meter: &Meter) -> Vec<Row> {
        self.before.resize(meter.rows, (0, Counts::default()));
        let mut changes = Vec::new();
        for (place, before) in self.before.iter_mut().enumerate() {
            let Some(row) = meter.snapshot(place) else { continue };
            let (incarnation, was) = *before;
            let was = if incarnation == row.incarnation { was } else { Counts::default() };
            if row.counts != was {
                *before = (row.incarnation, row.counts);
                changes.push(Row { counts: row.counts.since(was), ..row });
            }
        }
        changes
    }
}

impl AsFd for Meter {
    fn as_fd(&self) -> BorrowedFd<'_> {
        self.mapping.as_fd()
    }
}

impl fmt::Debug for Meter {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.debug_struct("Meter").field("rows", &self.rows).finish_non_exhaustive()
    }
}

enum Found {
    /// The key's row.
    Open { place: usize, generation: u64 },
    /// The key has none; this one is free.
    Free { place: usize },
    /// The key has none, and there is none.
    Full,
}

const HOUR_MASK: u32 = 0xff_ffff;

/// `None` if the hour is none: 0, or beyond the year 3883.
fn key(stream: u32, hour: u32, kind: u8) -> Option<u64> {
    let key = u64::from(stream) << 32 | u64::from(hour) << 8 | u64::from(kind);
    (1..=HOUR_MASK).contains(&hour).then_some(key)
}

/// Spreads keys that differ by little. Streams are numbered by the operator, so nobody aims at a row.
fn scatter(key: u64) -> usize {
    // A finaliser: both multipliers are odd, so that it is a bijection.
    let mixed = (key ^ key >> 32).wrapping_mul(0x9e37_79b9_7f4a_7c15);
    let mixed = (mixed ^ mixed >> 29).wrapping_mul(0xbf58_476d_1ce4_e5b9);
    (mixed >> 32) as usize
}

fn generation(counter: u64) -> u64 {
    counter >> GENERATION_SHIFT & GENERATION_MASK
}

fn value(counter: u64) -> u64 {
    counter & MAX_COUNT
}

fn words([rows, table, ..]: [u64; 4]) -> std::result::Result<usize, &'static str> {
    if !rows.is_power_of_two() || rows > DEFAULT_ROWS as u64 {
        return Err("needs a number of rows that is a power of two, at most 65,536");
    }
    if table >> 32 != 0 {
        return Err("has a number that it cannot have");
    }
    Ok(ROWS_AT + rows as usize * ROW)
}

#[cfg(test)]
mod tests {
    use std::collections::HashMap;
    use std::sync::{Arc, Mutex};

    use super::*;
    use crate::mapping::death;

    const ONE: Counts = Counts { requests: 1, bytes: 1000, aborted: 1 };

    /// What a store would hold: the last counts of each incarnation.
    type Committed = Arc<Mutex<HashMap<u64, Row>>>;

    #[test]
    fn a_worker_killed_anywhere_counts_at_most_in_part_and_leaves_a_good_table() {
        let mut writes = 0;
        loop {
            let meter = Arc::new(Meter::attach(Meter::create(8).unwrap()).unwrap());
            let dying = Arc::clone(&meter);
            let lived = death::after(writes, move || dying.add(1, 500_000, 2, ONE));
            let before = total(meter.rows());
            let expected = [0, 0, 1, 2, 3].map(|n: u64| [n.min(1), n.saturating_sub(1).min(1), n / 3])[writes as usize];
            assert_eq!([before.requests, before.bytes / 1000, before.aborted], expected, "after {writes} writes");
            meter.add(1, 500_000, 2, ONE);
            let after = total(meter.rows());
            assert_eq!((after.requests, after.bytes), (before.requests + 1, before.bytes + 1000));
            assert_eq!(meter.rows().len(), 1);
            if lived {
                break;
            }
            writes += 1;
        }
        assert_eq!(writes, 4, "the claim and three counters");
    }

    #[test]
    fn a_writer_killed_anywhere_loses_nothing_and_books_nothing_twice() {
        let mut writes = 0;
        loop {
            let meter = Arc::new(Meter::attach(Meter::create(16).unwrap()).unwrap());
            let committed = Committed::default();
            (0..3).for_each(|kind| meter.add(1, 500_000, kind, ONE));
            let (dying, store) = (Arc::clone(&meter), Arc::clone(&committed));
            let lived = death::after(writes, move || {
                commit(&dying, &store);
                let rows = dying.rows();
                // Too late for the commit: this row cannot be freed yet.
                dying.add(1, 500_000, 1, ONE);
                rows.iter().for_each(|row| _ = dying.retire(row));
            });
            // The late call may have been cut: count by what the meter says of it.
            let late = total(meter.rows().into_iter().chain(gone(&meter, &committed))).requests - 3;
            assert!(late <= 1);
            // Another stream, which might take the rows that the writer left.
            (0..6).for_each(|kind| meter.add(2, 500_000, kind, ONE));
            while !meter.rows().is_empty() {
                commit(&meter, &committed);
                meter.rows().iter().for_each(|row| _ = meter.retire(row));
            }
            let of = |stream| {
                let rows: Vec<Row> = committed.lock().unwrap().values().copied().collect();
                total(rows.into_iter().filter(|row| row.stream == stream)).requests
            };
            assert_eq!((of(1), of(2)), (3 + late, 6), "after {writes} writes");
            // All rows are there again, at another generation.
            (0..16).for_each(|kind| meter.add(3, 500_000, kind, ONE));
            assert_eq!((meter.rows().len(), meter.overflow()), (16, Overflow::default()));
            if lived {
                break;
            }
            writes += 1;
        }
        assert!(writes > 20, "the writer sealed and recycled, in {writes} writes");
    }

    #[test]
    fn a_reading_tells_each_count_once_whatever_becomes_of_the_row() {
        let meter = Meter::attach(Meter::create(8).unwrap()).unwrap();
        let mut reading = Reading::default();
        let mut told =
            |meter: &Meter| reading.changes(meter).into_iter().map(|row| (row.stream, row.counts)).collect::<Vec<_>>();
        meter.add(1, 500_000, 2, ONE);
        assert_eq!(told(&meter), [(1, ONE)]);
        assert_eq!(told(&meter), []);
        meter.add(1, 500_000, 2, Counts { bytes: 5, ..Counts::default() });
        assert_eq!(told(&meter), [(1, Counts { bytes: 5, ..Counts::default() })]);
        // The same place, and as much as was counted there before.
        let before = meter.rows()[0];
        assert!(meter.retire(&before));
        meter.add(1, 500_000, 2, before.counts);
        assert_eq!(told(&meter), [(1, before.counts)]);
    }

    #[test]
    fn a_worker_that_slept_adds_nothing_to_the_row_s_next_key() {
        let meter = Meter::attach(Meter::create(1).unwrap()).unwrap();
        meter.add(1, 500_000, 0, ONE);
        let Found::Open { place, generation } = meter.find(key(1, 500_000, 0).unwrap()) else { panic!("no row") };
        assert!(meter.retire(&meter.rows()[0]));
        let mut left = ONE.to_array();
        assert!(!meter.book(place, generation, &mut left), "the row is free");
        meter.add(2, 500_000, 0, ONE);
        assert!(!meter.book(place, generation, &mut left), "the row is another's");
        assert_eq!((left, meter.rows()[0].counts), (ONE.to_array(), ONE));
    }

    /// Rows that were committed and are not in the meter any more.
    fn gone(meter: &Meter, committed: &Committed) -> Vec<Row> {
        let live: Vec<u64> = meter.rows().iter().map(|row| row.incarnation).collect();
        committed.lock().unwrap().values().filter(|row| !live.contains(&row.incarnation)).copied().collect()
    }

    fn commit(meter: &Meter, committed: &Committed) {
        committed.lock().unwrap().extend(meter.rows().into_iter().map(|row| (row.incarnation, row)));
    }

    fn total(rows: impl IntoIterator<Item = Row>) -> Counts {
        rows.into_iter().fold(Counts::default(), |sum, Row { counts, .. }| Counts {
            requests: sum.requests + counts.requests,
            bytes: sum.bytes + counts.bytes,
            aborted: sum.aborted + counts.aborted,
        })
    }
}
