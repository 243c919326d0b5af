//! The meter: sums, a full table, and rows retired under the hands of workers.

use std::collections::HashMap;
use std::sync::atomic::{AtomicBool, Ordering};
use std::thread;

use proptest::prelude::*;
use pystream_shm::{Counts, DEFAULT_ROWS, MAX_COUNT, Meter, Overflow, Row};

const HOUR: u32 = 498_800;

fn meter(rows: usize) -> Meter {
    Meter::attach(Meter::create(rows).unwrap()).unwrap()
}

fn counts(requests: u64, bytes: u64, aborted: u64) -> Counts {
    Counts { requests, bytes, aborted }
}

type Sums = HashMap<(u32, u32, u8), Counts>;

fn sum(sums: &mut Sums, key: (u32, u32, u8), more: Counts) {
    let sum = sums.entry(key).or_default();
    sum.requests += more.requests;
    sum.bytes += more.bytes;
    sum.aborted += more.aborted;
}

/// The writer of a node: what it committed, by incarnation.
#[derive(Default)]
struct Writer(HashMap<u64, Row>);

impl Writer {
    fn commit(&mut self, meter: &Meter) -> Vec<Row> {
        let rows = meter.rows();
        for row in &rows {
            let before = self.0.insert(row.incarnation, *row);
            let grown = before.is_none_or(|before| {
                (before.stream, before.hour, before.kind) == (row.stream, row.hour, row.kind)
                    && before.counts.requests <= row.counts.requests
                    && before.counts.bytes <= row.counts.bytes
                    && before.counts.aborted <= row.counts.aborted
            });
            assert!(grown, "{before:?} became {row:?}");
        }
        rows
    }

    fn sums(&self) -> Sums {
        let mut sums = Sums::new();
        self.0.values().for_each(|row| sum(&mut sums, (row.stream, row.hour, row.kind), row.counts));
        sums
    }
}

proptest! {
    #![proptest_config(ProptestConfig { failure_persistence: None, ..ProptestConfig::default() })]

    /// Adds, commits and retirements in any order, also of rows that have changed or gone since.
    #[test]
    fn what_is_committed_is_what_was_added(steps in prop::collection::vec(steps(), 1..200)) {
        let (meter, mut writer, mut added, mut rows) = (meter(64), Writer::default(), Sums::new(), Vec::new());
        for step in steps {
            match step {
                Step::Add(stream, hour, kind, more) => {
                    meter.add(stream, HOUR + hour, kind, more);
                    sum(&mut added, (stream, HOUR + hour, kind), more);
                }
                Step::Commit => rows = writer.commit(&meter),
                Step::Retire(index) => {
                    if let Some(row) = rows.get(index) {
                        let current = meter.rows().contains(row);
                        prop_assert_eq!(meter.retire(row), current);
                        prop_assert!(!current || !meter.rows().contains(row));
                    }
                }
            }
        }
        writer.commit(&meter);
        added.retain(|_, sum| *sum != Counts::default());
        let mut sums = writer.sums();
        sums.retain(|_, sum| *sum != Counts::default());
        prop_assert_eq!(sums, added);
        prop_assert_eq!(meter.overflow(), Overflow::default());
    }
}

#[derive(Clone, Debug)]
enum Step {
    Add(u32, u32, u8, Counts),
    Commit,
    Retire(usize),
}

fn steps() -> impl Strategy<Value = Step> {
    let more = (0..3_u64, prop_oneof![0..5_000_u64, Just(MAX_COUNT / 3)], 0..2_u64);
    let add = (0..3_u32, 0..2_u32, 0..2_u8, more);
    prop_oneof![
        6 => add.prop_map(|(stream, hour, kind, (r, b, a))| Step::Add(stream, hour, kind, counts(r, b, a))),
        1 => Just(Step::Commit),
        2 => (0..8_usize).prop_map(Step::Retire),
    ]
}

#[test]
fn no_count_is_lost_while_rows_are_retired_under_the_workers() {
    // Four keys in eight rows, so that rows change their keys all the time. Less than one turn of the generations.
    const RETIRED: u32 = 500;
    let (meter, done, mut writer) = (meter(8), AtomicBool::new(false), Writer::default());
    let added: u64 = thread::scope(|scope| {
        let worker = || {
            let mut added = 0;
            while !done.load(Ordering::Relaxed) {
                meter.add(added as u32 % 4, HOUR, 0, counts(1, 1_000, 1));
                added += 1;
            }
            added
        };
        let workers = [scope.spawn(worker), scope.spawn(worker)];
        let mut retired = 0;
        while retired < RETIRED {
            for row in writer.commit(&meter) {
                retired += u32::from(meter.retire(&row));
            }
            thread::yield_now();
        }
        done.store(true, Ordering::Relaxed);
        workers.into_iter().map(|worker| worker.join().unwrap()).sum()
    });
    writer.commit(&meter);
    let mut total = meter.overflow().counts;
    for counts in writer.sums().into_values() {
        total.requests += counts.requests;
        total.bytes += counts.bytes;
        total.aborted += counts.aborted;
    }
    assert_eq!(total, counts(added, added * 1_000, added));
}

#[test]
fn a_full_table_is_counted_and_goes_on_with_what_it_has() {
    let meter = meter(8);
    for stream in 0..10 {
        meter.add(stream, HOUR, 1, counts(1, 10, 0));
    }
    assert_eq!(meter.rows().len(), 8);
    assert_eq!(meter.overflow(), Overflow { lost_rows: 2, counts: counts(2, 20, 0) });
    meter.add(3, HOUR, 1, counts(1, 10, 0));
    assert_eq!(meter.overflow().lost_rows, 2);
    let row = meter.rows()[0];
    assert!(meter.retire(&row));
    meter.add(9, HOUR, 1, counts(1, 10, 0));
    assert_eq!((meter.rows().len(), meter.overflow().lost_rows), (8, 2));
}

#[test]
fn the_whole_table_can_be_used_to_nine_tenths_at_least() {
    let (meter, streams) = (meter(DEFAULT_ROWS), DEFAULT_ROWS as u32 * 9 / 10 / 4);
    for stream in 0..streams {
        (0..4).for_each(|kind| meter.add(stream, HOUR, kind, counts(1, 0, 0)));
    }
    assert_eq!((meter.rows().len(), meter.overflow().lost_rows), (streams as usize * 4, 0));
}

#[test]
fn what_cannot_be_a_row_is_counted_as_lost() {
    let meter = meter(8);
    meter.add(1, 0, 1, counts(1, 10, 0));
    meter.add(1, 1 << 24, 1, counts(1, 10, 0));
    meter.add(1, HOUR, 1, counts(1, MAX_COUNT + 1, 0));
    assert_eq!(meter.rows(), []);
    assert_eq!(meter.overflow(), Overflow { lost_rows: 3, counts: counts(3, MAX_COUNT + 21, 0) });
}

#[test]
fn a_row_that_is_full_goes_on_in_another() {
    let meter = meter(8);
    for _ in 0..3 {
        meter.add(u32::MAX, (1 << 24) - 1, u8::MAX, counts(1, MAX_COUNT, 0));
    }
    let rows = meter.rows();
    assert_eq!(rows.len(), 3);
    assert!(rows.iter().all(|row| (row.stream, row.hour, row.kind) == (u32::MAX, (1 << 24) - 1, u8::MAX)));
    assert!(rows.iter().all(|row| row.counts.bytes == MAX_COUNT));
    assert_eq!(rows.iter().map(|row| row.counts.requests).sum::<u64>(), 3);
}

#[test]
fn a_row_in_use_is_sealed_and_then_freed_with_its_last_counts() {
    let meter = meter(8);
    meter.add(1, HOUR, 0, counts(1, 10, 0));
    let committed = meter.rows()[0];
    meter.add(1, HOUR, 0, counts(1, 10, 0));
    assert!(!meter.retire(&committed));
    // The sealed row keeps what was in it; more goes to another.
    meter.add(1, HOUR, 0, counts(5, 50, 5));
    let mut rows = meter.rows();
    rows.sort_by_key(|row| row.counts.requests);
    assert_eq!(rows.iter().map(|row| row.counts).collect::<Vec<_>>(), [counts(2, 20, 0), counts(5, 50, 5)]);
    assert!(meter.retire(&rows[0]));
    assert!(!meter.retire(&rows[0]), "it is gone");
    assert_eq!(meter.rows(), rows[1..]);
    assert!(rows.iter().all(|row| row.incarnation < 1 << 63));
}

#[test]
fn another_meter_s_row_is_not_retired() {
    let (ours, theirs) = (meter(8), meter(8));
    ours.add(1, HOUR, 0, counts(1, 10, 0));
    theirs.add(1, HOUR, 0, counts(1, 10, 0));
    assert!(!ours.retire(&theirs.rows()[0]));
    assert_ne!(ours.rows()[0].incarnation, theirs.rows()[0].incarnation);
}
