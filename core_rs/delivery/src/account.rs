//! What a connection's peer has acknowledged, response by response.

use std::collections::VecDeque;

use rustix::time::{ClockId, clock_gettime};

/// What a response is booked under: a stream, and the kind of thing that was asked for.
#[derive(Clone, Copy, Debug, Eq, PartialEq)]
pub struct Row {
    /// The stream's number.
    pub stream: u32,
    /// Playlist, segment, key, download: a number that the ledger understands.
    pub kind: u8,
}

/// What names a response whose delivery is to be told, and when that is told.
#[derive(Clone, Debug, Eq, PartialEq)]
pub enum Tag {
    /// Once the peer has acknowledged the last byte.
    Whole(Box<[u8]>),
    /// Once the peer has acknowledged any: of what is of use by its parts, and may go on for hours.
    Begun(Box<[u8]>),
}

/// What has been delivered: `tag` names it. Of a whole one `t` is when its last byte went to the kernel, of another one when
/// its beginning was found to be acknowledged, in ms of the clock that counts on while the machine sleeps
/// (`CLOCK_BOOTTIME`).
#[derive(Clone, Debug, Eq, PartialEq)]
pub struct Delivered {
    /// What the caller has named it.
    pub tag: Box<[u8]>,
    /// See above.
    pub t: i64,
}

/// Where acknowledged bytes are booked. Called from several threads.
pub trait Ledger: Send + Sync {
    /// Adds to a row's sums.
    fn book(&self, row: Row, requests: u64, bytes: u64, aborted: u64);

    /// Takes a response that has a tag, when that says so; once.
    fn delivered(&self, delivered: Delivered);
}

/// The responses of one connection that are not yet acknowledged to their last byte.
///
/// Positions are bytes handed to the kernel since the connection began. With TLS they are bytes of records, while what
/// is booked are bytes of the response: of a response that breaks off, the share that its records have.
#[derive(Debug, Default)]
pub(crate) struct Account {
    handed: u64,
    open: VecDeque<Entry>,
}

#[derive(Debug)]
struct Entry {
    row: Row,
    /// Where the response begins.
    begin: u64,
    /// Bytes handed over so far, as they are on the wire and as they are in the response.
    wire: u64,
    plain: u64,
    booked: u64,
    whole: bool,
    tag: Option<Tag>,
    /// When it was whole, of one that has a tag.
    t: i64,
}

impl Entry {
    fn acknowledged(&self, wire: u64) -> u64 {
        if wire >= self.wire {
            self.plain
        } else {
            (u128::from(wire) * u128::from(self.plain) / u128::from(self.wire)) as u64
        }
    }
}

impl Account {
    /// A response begins. `tag` names it where its delivery is to be told.
    pub(crate) fn begin(&mut self, row: Row, tag: Option<Tag>, ledger: &dyn Ledger) {
        ledger.book(row, 1, 0, 0);
        let begin = self.handed;
        self.open.push_back(Entry { row, begin, wire: 0, plain: 0, booked: 0, whole: false, tag, t: 0 });
    }

    /// Bytes of the latest response, or of nothing that is booked, went to the kernel.
    pub(crate) fn handed(&mut self, wire: u64, plain: u64) {
        self.handed += wire;
        if let Some(entry) = self.open.back_mut().filter(|entry| !entry.whole) {
            entry.wire += wire;
            entry.plain += plain;
        }
    }

    /// The latest response is in the kernel to its end.
    pub(crate) fn whole(&mut self) {
        if let Some(entry) = self.open.back_mut().filter(|entry| !entry.whole) {
            entry.whole = true;
            if entry.tag.is_some() {
                entry.t = boottime();
            }
        }
    }

    /// Books what is acknowledged when `unacknowledged` bytes are not; returns whether all is.
    pub(crate) fn settle(&mut self, unacknowledged: u64, ledger: &dyn Ledger) -> bool {
        let acknowledged = self.handed.saturating_sub(unacknowledged);
        while let Some(entry) = self.open.front_mut() {
            let wire = acknowledged.saturating_sub(entry.begin).min(entry.wire);
            let plain = entry.acknowledged(wire).max(entry.booked);
            if plain > entry.booked {
                ledger.book(entry.row, 0, plain - entry.booked, 0);
                entry.booked = plain;
                if let Some(Tag::Begun(tag)) = entry.tag.take_if(|tag| matches!(tag, Tag::Begun(_))) {
                    ledger.delivered(Delivered { tag, t: boottime() });
                }
            }
            if !entry.whole || wire < entry.wire {
                break;
            }
            if let Some(Entry { tag: Some(Tag::Whole(tag)), t, .. }) = self.open.pop_front() {
                ledger.delivered(Delivered { tag, t });
            }
        }
        self.open.is_empty()
    }

    /// Whether nothing waits to be booked.
    pub(crate) fn is_settled(&self) -> bool {
        self.open.is_empty()
    }

    /// The connection ends, with `unacknowledged` bytes that will never be.
    pub(crate) fn close(&mut self, unacknowledged: u64, ledger: &dyn Ledger) {
        self.settle(unacknowledged, ledger);
        for entry in self.open.drain(..) {
            ledger.book(entry.row, 0, 0, 1);
        }
    }
}

fn boottime() -> i64 {
    let now = clock_gettime(ClockId::Boottime);
    now.tv_sec * 1000 + now.tv_nsec / 1_000_000
}

#[cfg(test)]
mod tests {
    use std::sync::Mutex;

    use super::*;

    #[derive(Default)]
    struct Sums(Mutex<Vec<(u64, u64, u64)>>, Mutex<Vec<Delivered>>);

    impl Ledger for Sums {
        fn book(&self, row: Row, requests: u64, bytes: u64, aborted: u64) {
            let mut sums = self.0.lock().unwrap();
            let at = row.kind as usize;
            if sums.len() <= at {
                sums.resize(at + 1, (0, 0, 0));
            }
            let sum = &mut sums[at];
            *sum = (sum.0 + requests, sum.1 + bytes, sum.2 + aborted);
        }

        fn delivered(&self, delivered: Delivered) {
            self.1.lock().unwrap().push(delivered);
        }
    }

    impl Sums {
        fn tags(&self) -> Vec<u8> {
            self.1.lock().unwrap().iter().map(|delivered| delivered.tag[0]).collect()
        }

        fn of(&self, kind: usize) -> (u64, u64, u64) {
            self.0.lock().unwrap()[kind]
        }
    }

    fn row(kind: u8) -> Row {
        Row { stream: 1, kind }
    }

    #[test]
    fn acknowledged_bytes_are_booked_once() {
        let sums = Sums::default();
        let mut account = Account::default();
        account.begin(row(0), None, &sums);
        account.handed(100, 100);
        assert!(!account.settle(100, &sums));
        assert_eq!(sums.of(0), (1, 0, 0));
        account.settle(40, &sums);
        account.settle(40, &sums);
        assert_eq!(sums.of(0), (1, 60, 0));
        account.whole();
        assert!(account.settle(0, &sums));
        account.close(0, &sums);
        assert_eq!(sums.of(0), (1, 100, 0));
    }

    #[test]
    fn what_is_not_acknowledged_at_the_end_is_aborted() {
        let sums = Sums::default();
        let mut account = Account::default();
        account.begin(row(0), None, &sums);
        account.handed(50, 50);
        account.whole();
        account.begin(row(1), None, &sums);
        account.handed(1000, 1000);
        account.whole();
        account.close(970, &sums);
        assert_eq!(sums.of(0), (1, 50, 0));
        assert_eq!(sums.of(1), (1, 30, 1));
    }

    #[test]
    fn records_count_as_the_bytes_in_them() {
        let sums = Sums::default();
        let mut account = Account::default();
        // A handshake, which belongs to no response.
        account.handed(3000, 0);
        account.begin(row(0), None, &sums);
        account.handed(1022, 1000);
        account.settle(511, &sums);
        assert_eq!(sums.of(0), (1, 500, 0));
        account.whole();
        account.settle(0, &sums);
        assert_eq!(sums.of(0), (1, 1000, 0));
    }

    fn tagged(tag: u8) -> Option<Tag> {
        Some(Tag::Whole(Box::new([tag])))
    }

    #[test]
    fn what_has_a_tag_is_told_when_its_last_byte_is_acknowledged_and_once() {
        let sums = Sums::default();
        let mut account = Account::default();
        let before = boottime();
        account.begin(row(0), tagged(1), &sums);
        account.handed(100, 100);
        account.settle(0, &sums);
        // All of it that was handed over is acknowledged, and it is not whole.
        assert!(sums.tags().is_empty());
        account.whole();
        account.begin(row(0), None, &sums);
        account.handed(10, 10);
        account.whole();
        account.begin(row(0), tagged(2), &sums);
        account.handed(100, 100);
        account.whole();
        account.settle(111, &sums);
        assert!(sums.tags().is_empty());
        account.settle(110, &sums);
        assert_eq!(sums.tags(), [1]);
        account.settle(1, &sums);
        assert_eq!(sums.tags(), [1]);
        account.settle(0, &sums);
        account.close(0, &sums);
        assert_eq!(sums.tags(), [1, 2]);
        let told = sums.1.lock().unwrap();
        assert!(told.iter().all(|each| (before..=boottime()).contains(&each.t)));
    }

    #[test]
    fn what_is_not_acknowledged_at_the_end_is_never_told() {
        let sums = Sums::default();
        let mut account = Account::default();
        account.begin(row(0), tagged(1), &sums);
        account.handed(100, 100);
        account.whole();
        account.close(1, &sums);
        account.settle(0, &sums);
        assert!(sums.tags().is_empty());
        assert_eq!(sums.of(0), (1, 99, 1));
    }

    #[test]
    fn what_is_told_by_its_beginning_is_told_once_however_it_ends() {
        let sums = Sums::default();
        let mut account = Account::default();
        account.begin(row(0), Some(Tag::Begun(Box::new([1]))), &sums);
        account.handed(100, 100);
        account.settle(100, &sums);
        assert!(sums.tags().is_empty(), "nothing of it has arrived");
        account.settle(99, &sums);
        assert_eq!(sums.tags(), [1]);
        account.whole();
        account.begin(row(0), Some(Tag::Begun(Box::new([2]))), &sums);
        account.handed(100, 100);
        account.close(50, &sums);
        assert_eq!(sums.tags(), [1, 2]);
        assert_eq!(sums.of(0), (2, 150, 1));
    }

    #[test]
    fn a_response_that_breaks_off_before_its_end_is_aborted_though_all_of_it_arrived() {
        let sums = Sums::default();
        let mut account = Account::default();
        account.begin(row(0), None, &sums);
        account.handed(10, 10);
        account.close(0, &sums);
        assert_eq!(sums.of(0), (1, 10, 1));
    }
}
