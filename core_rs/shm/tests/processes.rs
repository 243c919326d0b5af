//! Real processes that share a table, and are killed at random moments.
//!
//! A child is this same test program with a role in its environment. It gets the memfd as its standard input, and tells
//! how far it came by bytes on its standard error.

use std::io::{self, Read, Write};
use std::os::fd::{AsFd, BorrowedFd};
use std::os::unix::process::ExitStatusExt;
use std::process::{Child, Command, Stdio};

use pystream_shm::{BLOCK, Cache, Counts, Gcra, Meter, Progress, Reason, Row, Session, Sessions, Standing, Terms};

const ROLE: &str = "PYSTREAM_SHM_TEST_ROLE";
const SEED: &str = "PYSTREAM_SHM_TEST_SEED";
const SIGKILL: i32 = 9;

fn spawn(role: &str, seed: u64, table: BorrowedFd<'_>) -> Child {
    Command::new(std::env::current_exe().unwrap())
        .args(["--exact", "a_child_plays_its_role", "--nocapture"])
        .env(ROLE, role)
        .env(SEED, seed.to_string())
        .stdin(Stdio::from(table.try_clone_to_owned().unwrap()))
        .stdout(Stdio::null())
        .stderr(Stdio::piped())
        .spawn()
        .unwrap()
}

/// Waits until the child has told `steps` steps.
fn follow(child: &mut Child, steps: usize) {
    child.stderr.as_mut().unwrap().read_exact(&mut vec![0; steps]).unwrap();
}

/// Kills the child, and says how many more steps it had told.
fn kill(mut child: Child) -> u64 {
    child.kill().unwrap();
    let mut told = Vec::new();
    child.stderr.take().unwrap().read_to_end(&mut told).unwrap();
    let status = child.wait().unwrap();
    // It had not ended by itself, by a failed assertion.
    assert_eq!(status.signal(), Some(SIGKILL), "{}", String::from_utf8_lossy(&told));
    told.len() as u64
}

/// A generator of numbers that look random (xorshift).
struct Random(u64);

impl Random {
    fn below(&mut self, bound: u64) -> u64 {
        self.0 ^= self.0 << 13;
        self.0 ^= self.0 >> 7;
        self.0 ^= self.0 << 17;
        (self.0 >> 20) % bound
    }

    /// Passes a short time that is never the same.
    fn dawdle(&mut self) {
        (0..self.below(20_000)).for_each(|n| _ = std::hint::black_box(n));
    }
}

#[test]
fn a_child_plays_its_role() {
    let Ok(role) = std::env::var(ROLE) else { return };
    let seed: u64 = std::env::var(SEED).unwrap().parse().unwrap();
    let table = io::stdin().as_fd().try_clone_to_owned().unwrap();
    match role.as_str() {
        "checks" => check(&Gcra::attach(table, &[7; 16], None).unwrap()),
        "meters" => count(&Meter::attach(table).unwrap(), seed),
        // The seat is the last digit.
        "caches" => make_and_read(&Cache::attach(table, seed as usize % 10).unwrap(), seed),
        "admits" => admit(&Sessions::attach(table).unwrap(), seed),
        "asks" => ask(&Sessions::attach(table).unwrap()),
        role => panic!("nobody plays {role}"),
    }
}

fn tell_a_step() {
    io::stderr().write_all(b".").unwrap();
}

const CHECKS: u64 = 2_000;
const BURST: u64 = 1_500;

fn check(table: &Gcra) {
    for _ in 0..CHECKS {
        table.check(b"one key", 1_000_000, 1, BURST);
    }
}

#[test]
fn several_processes_have_one_limit_exactly() {
    let table = Gcra::attach(Gcra::create(1 << 12).unwrap(), &[7; 16], None).unwrap();
    let children: Vec<Child> = (0..3).map(|seed| spawn("checks", seed, table.as_fd())).collect();
    for mut child in children {
        assert!(child.wait().unwrap().success());
    }
    let counters = table.counters();
    assert_eq!((counters.admitted, counters.refused), (BURST, 3 * CHECKS - BURST));
    assert!(!table.peek(b"one key", 1_000_000, 1, BURST).allowed);
    assert_eq!(table.peek(b"one key", 1_000_000 + BURST, BURST, BURST).wait_us, 0);
}

/// Calls of `add` in a step.
const ADDS: u64 = 5;

fn count(meter: &Meter, seed: u64) {
    let mut random = Random(seed + 1);
    loop {
        for _ in 0..ADDS {
            meter.add(random.below(20) as u32, 500_000, 0, Counts { requests: 1, bytes: 1_000, aborted: 1 });
        }
        tell_a_step();
    }
}

#[test]
fn killed_workers_lose_no_count_that_was_made() {
    const LIVES: u64 = 40;
    let meter = Meter::attach(Meter::create(64).unwrap()).unwrap();
    let (mut random, mut committed, mut steps) = (Random(1), std::collections::HashMap::new(), 0);
    let mut write = || {
        for row in meter.rows() {
            committed.insert(row.incarnation, row);
            // The writer retires all the time, so that rows change under the workers.
            meter.retire(&row);
        }
        committed.values().fold(Counts::default(), |sum, Row { counts, .. }| Counts {
            requests: sum.requests + counts.requests,
            bytes: sum.bytes + counts.bytes,
            aborted: sum.aborted + counts.aborted,
        })
    };
    let mut other = spawn("meters", 1_000, meter.as_fd());
    for life in 0..LIVES {
        let mut child = spawn("meters", life, meter.as_fd());
        for _ in 0..1 + random.below(4) {
            follow(&mut child, 1);
            follow(&mut other, 1);
            steps += 2;
            write();
        }
        random.dawdle();
        steps += kill(child);
    }
    steps += kill(other);
    let total = write();
    assert_eq!(meter.overflow().lost_rows, 0);
    // Each life may have made a part of a step that it did not tell, and a part of its last call.
    let lives = LIVES + 1;
    let made = steps * ADDS..=(steps + lives) * ADDS;
    assert!(made.contains(&total.requests), "{total:?} of {made:?}");
    assert!((total.requests - lives..=total.requests).contains(&(total.bytes / 1_000)), "{total:?}");
    assert_eq!(total.bytes % 1_000, 0);
    assert!((total.bytes / 1_000 - lives..=total.bytes / 1_000).contains(&total.aborted), "{total:?}");
}

const KEYS: u64 = 12;

fn size(name: u64) -> u64 {
    1 + name * 17_771
}

fn byte(name: u64, at: u64) -> u8 {
    (name * 89 + at / 4_000) as u8
}

fn expect(entry: &pystream_shm::Entry, name: u64, random: &mut Random) {
    assert_eq!(entry.size(), size(name));
    let (progress, filled) = (entry.progress(), entry.filled());
    assert!(progress != Progress::Ready || filled == size(name));
    let at = random.below(size(name));
    let window = entry.lend(at, 3_000);
    let there = filled.saturating_sub(at).min(BLOCK as u64 - at % BLOCK as u64);
    assert!(window.len() as u64 >= there.min(3_000));
    for (at, &found) in (at..).zip(window) {
        assert_eq!(found, byte(name, at), "byte {at} of segment {name}");
    }
}

fn make_and_read(cache: &Cache, seed: u64) {
    let mut random = Random(seed + 1);
    let mut held = std::collections::VecDeque::new();
    loop {
        let name = random.below(KEYS);
        let key = [name as u8; 16];
        if let Some(entry) = cache.lookup(&key) {
            held.push_back((name, entry));
        } else if let Some(mut filling) = cache.create_entry(&key, size(name)) {
            let content: Vec<u8> = (0..size(name)).map(|at| byte(name, at)).collect();
            let stop = if random.below(5) == 0 { random.below(size(name)) } else { size(name) };
            for piece in content[..stop as usize].chunks(30_000) {
                filling.write(piece).unwrap();
            }
            _ = filling.finish();
        }
        held.iter().for_each(|(name, entry)| expect(entry, *name, &mut random));
        // Few enough that others find room.
        if held.len() > 2 {
            held.pop_front();
        }
        tell_a_step();
    }
}

#[test]
fn killed_workers_leave_the_cache_to_the_others() {
    const LIVES: u64 = 40;
    let blocks = 16;
    let fd = Cache::create(blocks * BLOCK, 4).unwrap();
    let cache = Cache::attach(fd.try_clone().unwrap(), 0).unwrap();
    let mut random = Random(2);
    let mut children: Vec<Child> = (1..4).map(|seat| spawn("caches", seat, fd.as_fd())).collect();
    for life in 1..=LIVES {
        let index = random.below(3) as usize;
        follow(&mut children[index], 1 + random.below(6) as usize);
        random.dawdle();
        kill(children.remove(index));
        // The seat went with the child; the three are in the order of their seats.
        let seat = index + 1;
        cache.reap(seat);
        children.insert(index, spawn("caches", life * 10 + seat as u64, fd.as_fd()));
        for name in 0..KEYS {
            cache.lookup(&[name as u8; 16]).iter().for_each(|entry| expect(entry, name, &mut random));
        }
    }
    for (index, child) in children.into_iter().enumerate() {
        kill(child);
        cache.reap(index + 1);
    }
    for name in 0..KEYS {
        if let Some(entry) = cache.lookup(&[name as u8; 16]) {
            assert_eq!(entry.progress(), Progress::Ready);
            expect(&entry, name, &mut random);
        }
    }
    let counters = cache.counters();
    assert!(counters.hits > 0 && counters.misses > 0 && counters.evictions > 0, "{counters:?}");
    assert!(cache.create_entry(&[99; 16], (blocks * BLOCK) as u64).is_some(), "every block can be had again");
}

/// A writer opens a session in each round, ends that of so many rounds ago, and forgets an older one.
const ENDED: u64 = 6;
const FORGOTTEN: u64 = 12;
const NOON: u64 = 1_800_000_000;

fn name(seed: u64, round: u64) -> [u8; 16] {
    (u128::from(seed) << 64 | u128::from(round)).to_le_bytes()
}

/// All else of a session follows from its id.
fn terms(id: [u8; 16]) -> Terms {
    let number = u128::from_le_bytes(id);
    let (seed, round) = ((number >> 64) as u64, number as u64);
    Terms {
        stream: (seed + round) as u32,
        expires: NOON as u32 + 1_000,
        idle_s: round as u32,
        holder: seed << 32 | round,
    }
}

fn reason(id: [u8; 16]) -> Reason {
    [Reason::Revoked, Reason::Kicked, Reason::Closed][id[0] as usize % 3]
}

fn expect_whole(session: &Session) {
    assert_eq!(session.terms, terms(session.id), "{session:?}");
    assert_eq!(session.opened, NOON as u32);
    assert!([Standing::Open, Standing::Ended(reason(session.id))].contains(&session.standing), "{session:?}");
}

fn admit(table: &Sessions, seed: u64) {
    // No idle time is 0: the first rounds' would never end.
    for round in 1_000.. {
        table.open(&name(seed, round), terms(name(seed, round)), NOON).unwrap();
        let ended = name(seed, round - ENDED);
        assert_eq!(table.end(&ended, reason(ended)), round >= 1_000 + ENDED);
        assert_eq!(table.forget(&name(seed, round - FORGOTTEN)), round >= 1_000 + FORGOTTEN);
        tell_a_step();
    }
}

fn ask(table: &Sessions) {
    for second in 0.. {
        for session in table.entries() {
            expect_whole(&session);
            let standing = table.check(&session.id, session.terms.stream, NOON + second % 500);
            let ended = Standing::Ended(reason(session.id));
            let ways: &[Standing] = if session.standing == ended {
                &[ended, Standing::Unknown]
            } else {
                &[Standing::Open, ended, Standing::Unknown]
            };
            assert!(ways.contains(&standing), "{standing:?} after {session:?}");
        }
        tell_a_step();
    }
}

#[test]
fn killed_writers_leave_each_session_whole_to_their_successors() {
    const LIVES: u64 = 40;
    let table = Sessions::attach(Sessions::create(40).unwrap()).unwrap();
    let (mut random, mut reader) = (Random(3), spawn("asks", 0, table.as_fd()));
    for life in 1..=LIVES {
        let mut writer = spawn("admits", life, table.as_fd());
        let mut rounds = 1 + random.below(30);
        follow(&mut writer, rounds as usize);
        follow(&mut reader, 1);
        random.dawdle();
        rounds += kill(writer);
        // Readers die, too.
        if life % 4 == 0 {
            kill(std::mem::replace(&mut reader, spawn("asks", 0, table.as_fd())));
        }
        let entries = table.entries();
        entries.iter().for_each(expect_whole);
        // What was told is there. Of the round that was not, a first part of its three writes.
        let standing = |rounds_ago| {
            let id = name(life, 1_000 + rounds - rounds_ago);
            entries.iter().find(|session| session.id == id).map_or(Standing::Unknown, |session| session.standing)
        };
        let made: Vec<bool> = [
            Some(standing(0) == Standing::Open),
            (rounds >= ENDED).then(|| matches!(standing(ENDED), Standing::Ended(_))),
            (rounds >= FORGOTTEN).then(|| standing(FORGOTTEN) == Standing::Unknown),
        ]
        .into_iter()
        .flatten()
        .collect();
        assert!(made.is_sorted_by(|earlier, later| earlier >= later), "{made:?} of a round");
        for rounds_ago in 1..=rounds {
            let is = standing(rounds_ago);
            // The round that was cut may have ended the sixth and forgotten the twelfth.
            let right = match is {
                Standing::Open => rounds_ago <= ENDED,
                Standing::Ended(_) => (ENDED..=FORGOTTEN).contains(&rounds_ago),
                Standing::Unknown => rounds_ago >= FORGOTTEN,
            };
            assert!(right, "{is:?} {rounds_ago} of {rounds} rounds ago");
        }
        // The successor's books begin with what it finds; here it clears them.
        entries.iter().for_each(|session| assert!(table.forget(&session.id)));
        assert_eq!((table.used(), table.entries()), (0, vec![]));
    }
    kill(reader);
}
