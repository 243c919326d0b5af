//! The rate limit table against the governor crate, against GCRA in plain numbers, and against a flood.

use std::collections::HashMap;
use std::num::NonZeroU32;
use std::time::Duration;

use governor::clock::{Clock, FakeRelativeClock};
use governor::{Quota, RateLimiter};
use proptest::prelude::*;
use pystream_shm::{Gcra, MAX_BURST_US, Verdict};

const SECRET: [u8; 16] = *b"sixteen letters.";

fn table(bytes: usize) -> Gcra {
    Gcra::attach(Gcra::create(bytes).unwrap(), &SECRET, None).unwrap()
}

/// GCRA as its definition says, with numbers that do not wrap.
#[derive(Default)]
struct Model(HashMap<Vec<u8>, u64>);

impl Model {
    fn check(&mut self, key: &[u8], now: u64, emission: u64, burst: u64) -> Verdict {
        let tat = self.0.entry(key.to_vec()).or_default();
        let after = (*tat).max(now) + emission;
        if emission > burst {
            return Verdict { allowed: false, wait_us: u64::MAX };
        }
        if after > now + burst {
            return Verdict { allowed: false, wait_us: after - burst - now };
        }
        *tat = after;
        Verdict { allowed: true, wait_us: 0 }
    }
}

proptest! {
    #![proptest_config(ProptestConfig { failure_persistence: None, ..ProptestConfig::default() })]

    #[test]
    fn decides_as_governor(
        period_us in 1..2_000_000_u64,
        burst in 1..50_u32,
        steps in prop::collection::vec((0..3_000_000_u64, 1..4_u32), 1..100),
    ) {
        let clock = FakeRelativeClock::default();
        let quota = Quota::with_period(Duration::from_micros(period_us)).unwrap();
        let quota = quota.allow_burst(NonZeroU32::new(burst).unwrap());
        let theirs = RateLimiter::direct_with_clock(quota, clock.clone());
        let ours = table(4096);
        let mut now = 0;
        for (pause, cells) in steps {
            now += pause;
            clock.advance(Duration::from_micros(pause));
            let verdict = ours.check(b"key", now, period_us * u64::from(cells), period_us * u64::from(burst));
            let expected = match theirs.check_n(NonZeroU32::new(cells).unwrap()) {
                Err(_) => Verdict { allowed: false, wait_us: u64::MAX },
                Ok(Ok(())) => Verdict { allowed: true, wait_us: 0 },
                Ok(Err(not_until)) => {
                    let wait = not_until.wait_time_from(clock.now());
                    Verdict { allowed: false, wait_us: wait.as_micros() as u64 }
                }
            };
            prop_assert_eq!(verdict, expected, "at {}", now);
        }
    }

    /// Pauses around the turn of the 40 bits, around the hand's round, and around the largest burst.
    #[test]
    fn an_old_time_never_looks_like_the_future(
        sets in 1..40_usize,
        start in 0..1_u64 << 41,
        steps in prop::collection::vec((pauses(), 0..8_u8, bursts(), 0..=4_u64), 1..60),
    ) {
        let (ours, mut model) = (table(sets * 64), Model::default());
        let mut now = start;
        for (pause, key, burst, quarters) in steps {
            now += pause;
            let emission = burst * quarters / 4;
            prop_assert_eq!(ours.peek(&[key], now, emission, burst), ours.peek(&[key], now, emission, burst));
            let peeked = ours.peek(&[key], now, emission, burst);
            let expected = model.check(&[key], now, emission, burst);
            prop_assert_eq!(peeked, expected, "looking at {} after a pause of {}", now, pause);
            prop_assert_eq!(ours.check(&[key], now, emission, burst), expected);
        }
        // Eight keys fit into one set.
        prop_assert_eq!(ours.counters().displaced, 0);
    }
}

fn pauses() -> impl Strategy<Value = u64> {
    let near = |bits: u32| (0..1_u64 << 33).prop_map(move |more| (1_u64 << bits) - (1 << 32) + more);
    prop_oneof![0..1_000_u64, 0..60_000_000_u64, near(37), near(38), near(39), near(40), near(41), 0..1_u64 << 43]
}

fn bursts() -> impl Strategy<Value = u64> {
    prop_oneof![1..1_000_u64, 1..60_000_000_u64, MAX_BURST_US - 1_000..=MAX_BURST_US]
}

#[test]
fn pace_is_a_limit_with_costs() {
    // 60 s of media ahead, at twice real time: six-second segments at once, then one in three seconds.
    let (ours, key) = (table(4096), b"grant");
    let check = |now| ours.check(key, now, 6_000_000 / 2, 60_000_000 / 2);
    for _ in 0..10 {
        assert!(check(0).allowed);
    }
    assert_eq!(check(0), Verdict { allowed: false, wait_us: 3_000_000 });
    assert_eq!(check(2_999_999), Verdict { allowed: false, wait_us: 1 });
    assert!(check(3_000_000).allowed);
    assert!(!check(3_000_000).allowed);
    assert_eq!((ours.counters().admitted, ours.counters().refused), (11, 3));
}

#[test]
fn what_costs_more_than_the_burst_never_goes_and_a_look_costs_nothing() {
    let ours = table(4096);
    assert_eq!(ours.check(b"key", 5, 101, 100), Verdict { allowed: false, wait_us: u64::MAX });
    for _ in 0..3 {
        assert!(ours.peek(b"key", 5, 100, 100).allowed);
    }
    assert!(ours.check(b"key", 5, 100, 100).allowed);
    assert_eq!(ours.peek(b"key", 5, 100, 100), Verdict { allowed: false, wait_us: 100 });
    // A burst beyond the largest is the largest.
    assert!(ours.check(b"other", 5, MAX_BURST_US, u64::MAX).allowed);
    assert_eq!(ours.check(b"other", 5, 1, u64::MAX), Verdict { allowed: false, wait_us: 1 });
}

#[test]
fn what_is_given_back_was_never_used() {
    let table = table(4096);
    let check = |now| table.check(b"key", now, 10, 30).wait_us;
    assert_eq!([0, 0, 0, 0].map(check), [0, 0, 0, 10]);
    table.give_back(b"key", 0, 10);
    assert_eq!([0, 0].map(check), [0, 10]);
    // Nothing is owed to a key: what has run out by itself is no credit, and who is not there stays away.
    for key in [b"key".as_slice(), b"another"] {
        table.give_back(key, 1000, 10);
    }
    assert_eq!([1000, 1000, 1000, 1000].map(check), [0, 0, 0, 10]);
    assert_eq!(table.counters().admitted, 7);
}

#[test]
fn a_flood_of_new_keys_displaces_itself_and_not_the_abuser() {
    // A table of 1/8 the size, and 1/8 of 200,000 new sources a second for ten seconds; the limit is 20 a second,
    // burst 40. The ideal is 40 + 20 * 10 of 10,000.
    let ours = table(1 << 20);
    let (emission, burst) = (1_000_000 / 20, 40 * 1_000_000 / 20);
    let (mut passed, mut newcomer) = (0, 0_u64);
    for millisecond in 0..10_000 {
        let now = 1_000_000_000 + millisecond * 1_000;
        for _ in 0..25 {
            newcomer += 1;
            assert!(ours.check(&newcomer.to_le_bytes(), now, emission, burst).allowed);
        }
        passed += u32::from(ours.check(b"the abuser", now, emission, burst).allowed);
    }
    assert!((239..=241).contains(&passed), "{passed} of 10,000 passed");
}

#[test]
fn a_table_that_is_too_small_says_so() {
    let ours = table(64);
    for key in 0..9_u8 {
        assert_eq!(ours.counters().displaced, 0);
        assert!(ours.check(&[key], 1_000, 10, 100).allowed);
    }
    assert_eq!(ours.counters().displaced, 1);
    // Nine live keys shared eight slots. Later all are past, and a tenth displaces nobody.
    assert!(ours.check(b"tenth", 2_000, 10, 100).allowed);
    assert_eq!(ours.counters().displaced, 1);
}

#[test]
fn a_debt_outlives_a_change_of_the_secret() {
    let fd = Gcra::create(1 << 16).unwrap();
    let attach = |current, previous| Gcra::attach(fd.try_clone().unwrap(), current, previous).unwrap();
    assert!(attach(&SECRET, None).check(b"key", 0, 100, 100).allowed);
    let rotated = attach(b"sixteen others..", Some(&SECRET));
    assert_eq!(rotated.peek(b"key", 40, 100, 100).wait_us, 60);
    assert_eq!(rotated.check(b"key", 40, 100, 100).wait_us, 60);
    assert!(rotated.check(b"key", 100, 100, 100).allowed);
    assert_eq!(attach(b"sixteen others..", None).check(b"key", 100, 100, 100).wait_us, 100);
    assert!(attach(b"neither of them.", None).check(b"key", 100, 100, 100).allowed, "another secret, another place");
}

#[test]
fn debug_output_holds_no_secret() {
    assert_eq!(format!("{:?}", table(4096)), "Gcra { sets: 64, .. }");
}
