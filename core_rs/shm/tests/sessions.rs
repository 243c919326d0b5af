//! The session table: against a map, full, and under readers.

use std::collections::HashMap;
use std::sync::atomic::{AtomicU64, Ordering};
use std::thread;

use proptest::prelude::*;
use pystream_shm::{DEFAULT_SESSIONS, Error, Reason, Session, SessionGauges, Sessions, Standing, Terms};

const NOW: u64 = 1_800_000_000;
const REASONS: [Reason; 6] =
    [Reason::Expired, Reason::Idle, Reason::Revoked, Reason::Kicked, Reason::Closed, Reason::StreamClosed];

fn table(capacity: usize) -> Sessions {
    Sessions::attach(Sessions::create(capacity).unwrap()).unwrap()
}

fn id(number: u64) -> [u8; 16] {
    u128::from(number).to_le_bytes()
}

fn terms(stream: u32, expires: u64, idle_s: u32) -> Terms {
    Terms { stream, expires: expires as u32, idle_s, holder: 1 }
}

/// What the table is meant to be, with whole sessions and one process.
struct Model {
    sessions: HashMap<[u8; 16], Session>,
    capacity: usize,
    opened: u64,
    refused: u64,
}

impl Model {
    fn open(&mut self, id: [u8; 16], terms: Terms, now: u64) -> &'static str {
        if self.sessions.contains_key(&id) {
            return "known";
        }
        if self.sessions.len() == self.capacity {
            self.reclaim(now);
        }
        if self.sessions.len() == self.capacity {
            self.refused += 1;
            return "full";
        }
        let now = now as u32;
        let session = Session { id, terms, opened: now, last_seen: now, standing: Standing::Open };
        self.sessions.insert(id, session);
        self.opened += 1;
        "opened"
    }

    fn check(&mut self, id: [u8; 16], stream: u32, now: u64) -> Standing {
        match self.sessions.get_mut(&id) {
            Some(session) if session.terms.stream == stream => {
                judge(session, now);
                if session.standing == Standing::Open {
                    session.last_seen = session.last_seen.max(now as u32);
                }
                session.standing
            }
            _ => Standing::Unknown,
        }
    }

    fn end_all(&mut self, reason: Reason, chosen: impl Fn(&Session) -> bool) -> usize {
        let open = self.sessions.values_mut().filter(|session| session.standing == Standing::Open && chosen(session));
        open.map(|session| session.standing = Standing::Ended(reason)).count()
    }

    fn sweep(&mut self, now: u64) -> usize {
        let forgotten = self.reclaim(now);
        self.sessions.values_mut().for_each(|session| judge(session, now));
        forgotten
    }

    fn reclaim(&mut self, now: u64) -> usize {
        let before = self.sessions.len();
        self.sessions.retain(|_, session| u64::from(session.terms.expires) > now);
        before - self.sessions.len()
    }

    fn gauges(&self) -> SessionGauges {
        let open = self.sessions.values().filter(|session| session.standing == Standing::Open).count();
        SessionGauges { open, ended: self.sessions.len() - open, opened: self.opened, refused: self.refused }
    }
}

fn judge(session: &mut Session, now: u64) {
    let idle_s = u64::from(session.terms.idle_s);
    if session.standing != Standing::Open {
    } else if now >= session.terms.expires.into() {
        session.standing = Standing::Ended(Reason::Expired);
    } else if idle_s != 0 && now > u64::from(session.last_seen) + idle_s {
        session.standing = Standing::Ended(Reason::Idle);
    }
}

#[derive(Clone, Debug)]
enum Step {
    Open(u64, Terms),
    Check(u64, u32),
    End(u64, Reason),
    EndHolder(u64, Reason),
    Forget(u64),
    Sweep,
}

fn steps() -> impl Strategy<Value = Step> {
    let ids = 0..20_u64;
    let reason = prop::sample::select(REASONS.to_vec());
    let terms = (0..2_u32, 0..200_u64, prop_oneof![Just(0_u32), 1..40_u32], 0..3_u64);
    let terms =
        terms.prop_map(|(stream, end, idle_s, holder)| Terms { stream, expires: (NOW + end) as u32, idle_s, holder });
    prop_oneof![
        8 => (ids.clone(), terms).prop_map(|(id, terms)| Step::Open(id, terms)),
        8 => (ids.clone(), 0..2_u32).prop_map(|(id, stream)| Step::Check(id, stream)),
        2 => (ids.clone(), reason.clone()).prop_map(|(id, reason)| Step::End(id, reason)),
        1 => (0..3_u64, reason).prop_map(|(holder, reason)| Step::EndHolder(holder, reason)),
        2 => ids.prop_map(Step::Forget),
        1 => Just(Step::Sweep),
    ]
}

proptest! {
    #![proptest_config(ProptestConfig { failure_persistence: None, ..ProptestConfig::default() })]

    /// In any order, and with a clock that steps back.
    #[test]
    fn does_what_a_map_of_whole_sessions_does(
        // As many buckets as an id has: only the capacity is a bound.
        capacity in 1..=24_usize,
        steps in prop::collection::vec((steps(), -20..30_i64), 1..150),
    ) {
        let ours = table(capacity);
        let mut model = Model { sessions: HashMap::new(), capacity, opened: 0, refused: 0 };
        let mut now = NOW;
        for (step, pause) in steps {
            now = now.saturating_add_signed(pause);
            match step.clone() {
                Step::Open(number, terms) => {
                    let answer = match ours.open(&id(number), terms, now) {
                        Ok(()) => "opened",
                        Err(Error::Full { sessions }) if sessions == capacity => "full",
                        Err(Error::Known) => "known",
                        Err(other) => return Err(TestCaseError::fail(other.to_string())),
                    };
                    prop_assert_eq!(answer, model.open(id(number), terms, now));
                }
                Step::Check(number, stream) => {
                    let expected = model.check(id(number), stream, now);
                    prop_assert_eq!(ours.check(&id(number), stream, now), expected);
                }
                Step::End(number, reason) => {
                    let expected = model.end_all(reason, |session| session.id == id(number)) == 1;
                    prop_assert_eq!(ours.end(&id(number), reason), expected);
                }
                Step::EndHolder(holder, reason) => {
                    let chosen = |session: &Session| session.terms.holder == holder;
                    prop_assert_eq!(ours.end_all(reason, chosen), model.end_all(reason, chosen));
                }
                Step::Forget(number) => {
                    prop_assert_eq!(ours.forget(&id(number)), model.sessions.remove(&id(number)).is_some());
                }
                Step::Sweep => prop_assert_eq!(ours.sweep(now), model.sweep(now)),
            }
            let found: HashMap<_, _> = ours.entries().into_iter().map(|session| (session.id, session)).collect();
            prop_assert_eq!(&found, &model.sessions, "after {:?} at {}", step, now);
            prop_assert_eq!(ours.gauges(), model.gauges());
            prop_assert_eq!(ours.used(), found.len());
            for number in 0..20 {
                prop_assert_eq!(ours.get(&id(number)), found.get(&id(number)).copied());
            }
        }
    }
}

#[test]
fn a_paused_film_plays_on_and_a_left_one_is_over() {
    let table = table(8);
    table.open(&id(1), terms(5, NOW + 7_200, 3_600), NOW).unwrap();
    assert_eq!(table.check(&id(1), 5, NOW + 600), Standing::Open);
    // Idle for exactly as long as it may be: seconds are cut, so it may be a little less.
    assert_eq!(table.check(&id(1), 5, NOW + 600 + 3_600), Standing::Open);
    assert_eq!(table.get(&id(1)).unwrap().last_seen, NOW as u32 + 4_200);
    assert_eq!(table.check(&id(1), 5, NOW + 7_199), Standing::Open);
    assert_eq!(table.check(&id(1), 5, NOW + 7_200), Standing::Ended(Reason::Expired));
    assert_eq!(table.check(&id(1), 5, NOW + 100), Standing::Ended(Reason::Expired), "the clock stepped back");

    table.open(&id(2), terms(5, NOW + 7_200, 60), NOW).unwrap();
    assert_eq!(table.check(&id(2), 5, NOW + 61), Standing::Ended(Reason::Idle));
    assert_eq!(table.check(&id(2), 5, NOW + 60), Standing::Ended(Reason::Idle), "another worker's clock is behind");
}

#[test]
fn a_session_of_another_stream_is_neither_told_nor_noted() {
    let table = table(8);
    table.open(&id(1), terms(5, NOW + 100, 60), NOW).unwrap();
    assert_eq!(table.check(&id(1), 6, NOW + 10), Standing::Unknown);
    assert_eq!(table.check(&id(1), 6, NOW + 99), Standing::Unknown);
    assert_eq!(table.get(&id(1)).unwrap().last_seen, NOW as u32);
    assert_eq!(table.get(&id(1)).unwrap().standing, Standing::Open);
}

#[test]
fn a_full_table_makes_room_of_what_is_past_or_says_so() {
    let table = table(10);
    for number in 0..10 {
        table.open(&id(number), terms(1, NOW + 10 + number, 0), NOW).unwrap();
    }
    table.end(&id(9), Reason::Closed);
    let refused = table.open(&id(99), terms(1, NOW + 100, 0), NOW + 9).unwrap_err();
    assert_eq!(
        refused.to_string(),
        "the session table is full: it was made for 10 sessions, make it for more",
        "an ended session is remembered"
    );
    table.open(&id(99), terms(1, NOW + 100, 0), NOW + 10).unwrap();
    assert_eq!(table.get(&id(0)), None);
    assert_eq!(table.gauges(), SessionGauges { open: 9, ended: 1, opened: 11, refused: 1 });
    assert!(table.forget(&id(9)));
    table.open(&id(100), terms(1, NOW + 100, 0), NOW + 10).unwrap();
    let known = table.open(&id(100), terms(1, NOW + 100, 0), NOW + 10).unwrap_err();
    assert_eq!(known.to_string(), "the session table holds a session of this id already: each has its own");
}

#[test]
fn the_whole_table_can_be_used_while_sessions_come_and_go() {
    let table = table(DEFAULT_SESSIONS);
    let mut numbers: Vec<u64> = (0..DEFAULT_SESSIONS as u64).collect();
    for &number in &numbers {
        table.open(&id(number), terms(number as u32, NOW + 100, 0), NOW).unwrap();
    }
    let mut random = 1_u64;
    for new in 0..20_000 {
        random = random.wrapping_mul(6_364_136_223_846_793_005).wrapping_add(1_442_695_040_888_963_407);
        let index = (random >> 33) as usize % numbers.len();
        let new = DEFAULT_SESSIONS as u64 + new;
        assert!(table.forget(&id(std::mem::replace(&mut numbers[index], new))));
        table.open(&id(new), terms(new as u32, NOW + 100, 0), NOW).unwrap();
    }
    assert_eq!(table.used(), DEFAULT_SESSIONS);
    for number in numbers {
        assert_eq!(table.check(&id(number), number as u32, NOW), Standing::Open);
    }
    assert!(matches!(table.open(&id(u64::MAX), terms(0, NOW, 0), NOW), Err(Error::Full { .. })));
}

#[test]
fn the_default_table_has_no_more_than_8_mib() {
    let fd = Sessions::create(DEFAULT_SESSIONS).unwrap();
    assert!(std::fs::File::from(fd).metadata().unwrap().len() <= 8 << 20);
}

/// A session's life follows from its number, so that a reader knows what can be true of it.
#[derive(Clone, Copy)]
enum Life {
    /// Opened and forgotten.
    Short,
    /// Opened, ended and forgotten.
    Revoked,
    /// Opened when it was past.
    Late,
}

impl Life {
    fn of(number: u64) -> Self {
        [Self::Short, Self::Revoked, Self::Late][number as usize % 3]
    }

    fn terms(number: u64) -> Terms {
        let expires = if matches!(Self::of(number), Self::Late) { NOW } else { NOW + 1_000 };
        Terms { stream: number as u32 / 2, expires: expires as u32, idle_s: 100 + number as u32, holder: !number }
    }

    /// What a reader can see, in the order in which it can.
    fn standings(self) -> &'static [Standing] {
        use Standing::{Ended, Open, Unknown};
        match self {
            Self::Short => &[Unknown, Open, Unknown],
            Self::Revoked => &[Unknown, Open, Ended(Reason::Revoked), Unknown],
            Self::Late => &[Unknown, Ended(Reason::Expired), Unknown],
        }
    }
}

#[test]
fn readers_see_each_session_go_its_way_while_slots_change_hands() {
    const SESSIONS: u64 = 4_000;
    /// Sessions are ended and forgotten so many later.
    const ENDED: u64 = 5;
    const FORGOTTEN: u64 = 10;
    let table = table(12);
    let begun = AtomicU64::new(0);
    let looked = [AtomicU64::new(0), AtomicU64::new(0)];
    let read = |reader: usize| {
        let (mut looks, mut seen) = (0, [0_u64; 3]);
        while begun.load(Ordering::Acquire) < SESSIONS {
            // One session until it is forgotten: what was true before must not come again.
            let number = begun.load(Ordering::Acquire) + reader as u64;
            let (life, mut past, mut before) = (Life::of(number), 0, 0);
            while before <= number + FORGOTTEN && before < SESSIONS {
                before = begun.load(Ordering::Acquire);
                let standing = table.check(&id(number), number as u32 / 2, NOW + looks % 50);
                let ahead = &life.standings()[past..];
                let step = ahead.iter().position(|&next| next == standing);
                past += step.unwrap_or_else(|| panic!("{standing:?} of session {number}, after {past} steps"));
                if before > number + FORGOTTEN {
                    assert_eq!(standing, Standing::Unknown, "session {number} was forgotten before {before}");
                } else if before > number + ENDED && matches!(life, Life::Revoked) {
                    assert_ne!(standing, Standing::Open, "session {number} was ended before {before}");
                }
                seen[past.min(2)] += 1;
                looks += 1;
                looked[reader].store(looks, Ordering::Release);
                if let Some(session) = table.get(&id(number)) {
                    assert_eq!(session.terms, Life::terms(number));
                    assert!(session.opened == NOW as u32 && (0..50).contains(&(session.last_seen - session.opened)));
                }
            }
        }
        seen
    };
    // However the threads take turns: at each of the first stages everybody looks.
    let let_them_look = |readers: &[thread::ScopedJoinHandle<_>]| {
        let before = [0, 1].map(|reader| looked[reader].load(Ordering::Acquire));
        for (reader, thread) in readers.iter().enumerate() {
            // Of two looks one began afterwards.
            while looked[reader].load(Ordering::Acquire) < before[reader] + 2 && !thread.is_finished() {
                thread::yield_now();
            }
        }
    };
    let seen = thread::scope(|scope| {
        let readers = [0, 1].map(|reader| scope.spawn(move || read(reader)));
        for number in 0..SESSIONS {
            table.open(&id(number), Life::terms(number), NOW).unwrap();
            if number >= ENDED && matches!(Life::of(number - ENDED), Life::Revoked) {
                assert!(table.end(&id(number - ENDED), Reason::Revoked));
            }
            if number >= FORGOTTEN {
                assert!(table.forget(&id(number - FORGOTTEN)));
            }
            begun.store(number + 1, Ordering::Release);
            if number < 100 {
                let_them_look(&readers);
            } else if number % 8 == 0 {
                thread::yield_now();
            }
        }
        readers.map(|reader| reader.join().unwrap())
    });
    assert!(seen.iter().all(|seen| seen.iter().all(|&count| count > 0)), "{seen:?}: they saw all stages");
    assert_eq!(table.used() as u64, FORGOTTEN);
}
