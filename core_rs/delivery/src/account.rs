//! What a connection's peer has acknowledged, response by response.

use std::collections::VecDeque;

/// What a response is booked under: a stream, and the kind of thing that was asked for.
#[derive(Clone, Copy, Debug, Eq, PartialEq)]
pub struct Row {
    /// The stream's number.
    pub stream: u32,
    /// Playlist, segment, key, download: a number that the ledger understands.
    pub kind: u8,
}

/// Where acknowledged bytes are booked. Called from several threads.
pub trait Ledger: Send + Sync {
    /// Adds to a row's sums.
    fn book(&self, row: Row, requests: u64, bytes: u64, aborted: u64);
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
    /// A response begins.
    pub(crate) fn begin(&mut self, row: Row, ledger: &dyn Ledger) {
        ledger.book(row, 1, 0, 0);
        self.open.push_back(Entry { row, begin: self.handed, wire: 0, plain: 0, booked: 0, whole: false });
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
        if let Some(entry) = self.open.back_mut() {
            entry.whole = true;
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
            }
            if !entry.whole || wire < entry.wire {
                break;
            }
            self.open.pop_front();
        }
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

#[cfg(test)]
mod tests {
    use std::sync::Mutex;

    use super::*;

    #[derive(Default)]
    struct Sums(Mutex<Vec<(u64, u64, u64)>>);

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
    }

    impl Sums {
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
        account.begin(row(0), &sums);
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
        account.begin(row(0), &sums);
        account.handed(50, 50);
        account.whole();
        account.begin(row(1), &sums);
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
        account.begin(row(0), &sums);
        account.handed(1022, 1000);
        account.settle(511, &sums);
        assert_eq!(sums.of(0), (1, 500, 0));
        account.whole();
        account.settle(0, &sums);
        assert_eq!(sums.of(0), (1, 1000, 0));
    }

    #[test]
    fn a_response_that_breaks_off_before_its_end_is_aborted_though_all_of_it_arrived() {
        let sums = Sums::default();
        let mut account = Account::default();
        account.begin(row(0), &sums);
        account.handed(10, 10);
        account.close(0, &sums);
        assert_eq!(sums.of(0), (1, 10, 1));
    }
}
