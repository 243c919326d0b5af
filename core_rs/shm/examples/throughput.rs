//! Prints what the shared tables cost.
//!
//! `taskset -c 0 cargo run --release -p pystream-shm --example throughput`
//!
//! Each figure is that of the fastest of many runs: other work on the machine can only slow a run. One process and one
//! thread, so nobody else wants the same cache line.

use std::hint::black_box;
use std::time::{Duration, Instant};

use pystream_shm::{BLOCK, Cache, Counts, DEFAULT_BYTES, DEFAULT_ROWS, DEFAULT_SESSIONS, Gcra, Meter, Sessions, Terms};

/// Calls in a run.
const CALLS: u64 = 100_000;

fn main() {
    let gcra = Gcra::attach(Gcra::create(DEFAULT_BYTES).unwrap(), b"sixteen letters.", None).unwrap();
    for keys in [1_000, 100_000] {
        let mut now = 1_000_000_000;
        report(&format!("GCRA check, {keys} keys"), |call| {
            now += 1;
            gcra.check(&(call % keys).to_le_bytes(), now, 50_000, 2_000_000).allowed
        });
    }
    println!("{:?}", gcra.counters());

    let meter = Meter::attach(Meter::create(DEFAULT_ROWS).unwrap()).unwrap();
    let counts = Counts { requests: 1, bytes: 1_500_000, aborted: 0 };
    for streams in [1, 1_000, 10_000] {
        report(&format!("meter add, {streams} streams"), |call| {
            meter.add((call % streams) as u32, 498_800, (call % 2) as u8, counts);
        });
    }
    report_seconds(&format!("meter snapshot of {} rows", meter.rows().len()), 1, || _ = black_box(meter.rows()));

    let sessions = Sessions::attach(Sessions::create(DEFAULT_SESSIONS).unwrap()).unwrap();
    let terms = Terms { stream: 7, expires: 2_000_000_000, idle_s: 0, holder: 1 };
    // In the order of a multiplication, so that the next one is never near.
    let session = |call: u64, of: u64| u128::from(call.wrapping_mul(0x9e37_79b1) % of).to_le_bytes();
    let mut opened = 0;
    for viewers in [1_000, 10_000, DEFAULT_SESSIONS as u64] {
        for number in opened..viewers {
            sessions.open(&u128::from(number).to_le_bytes(), terms, 1_900_000_000).unwrap();
        }
        opened = viewers;
        report(&format!("session check, {viewers} sessions"), |call| {
            sessions.check(&session(call, viewers), 7, 1_900_000_000)
        });
    }
    report("session check, unknown", |call| sessions.check(&session(call, 1 << 40), 8, 1_900_000_000));
    report("session end", |call| sessions.end(&session(call, opened), pystream_shm::Reason::Revoked));
    report_seconds("session sweep", 1, || _ = black_box(sessions.sweep(1_900_000_000)));

    const SEGMENT: usize = 1_500_000;
    let cache = Cache::attach(Cache::create(256 << 20, 8).unwrap(), 0).unwrap();
    let segments = (256 << 20) / SEGMENT.next_multiple_of(BLOCK) as u64;
    let content = vec![1; SEGMENT];
    let key = |number: u64| u128::from(number).to_le_bytes();
    let mut number = 0;
    let mut fill = || {
        number += 1;
        let mut filling = cache.create_entry(&key(number), SEGMENT as u64).unwrap();
        for window in content.chunks(128 << 10) {
            filling.write(window).unwrap();
        }
        drop(filling.finish().unwrap());
    };
    (0..segments).for_each(|_| fill());
    report_seconds("cache: a segment of 1.5 MB instead of the oldest, written", SEGMENT, &mut fill);
    let kept: Vec<_> = (number - 60..number).map(key).collect();
    report("cache lookup and drop, hit", |call| cache.lookup(&kept[call as usize % kept.len()]).is_some());
    report("cache lookup, miss", |call| cache.lookup(&key(u64::MAX - call)).is_some());
    report("cache wanted", |call| cache.wanted(&key(call % 1_000), 1_000_000_000));

    let entry = cache.lookup(&kept[0]).unwrap();
    let mut window = vec![0; 128 << 10];
    report_seconds("cache: a segment of 1.5 MB read in windows", SEGMENT, || {
        let mut at = 0;
        while at < SEGMENT {
            let piece = entry.lend(at as u64, window.len());
            window[..piece.len()].copy_from_slice(piece);
            at += black_box(&window[..piece.len()]).len();
        }
    });
    report_seconds("  the same by memcpy from private memory", SEGMENT, || {
        for piece in black_box(&content).chunks(window.len()) {
            window[..piece.len()].copy_from_slice(piece);
            black_box(&window);
        }
    });
}

fn report<T>(what: &str, mut call: impl FnMut(u64) -> T) {
    let seconds = fastest(|| {
        for number in 0..CALLS {
            black_box(call(number));
        }
    });
    println!("{what:<60} {:>10.1} ns", seconds / CALLS as f64 * 1e9);
}

fn report_seconds(what: &str, bytes: usize, work: impl FnMut()) {
    let seconds = fastest(work);
    let speed = if bytes > 1 { format!("{:>8.2} GB/s", bytes as f64 / seconds / 1e9) } else { String::new() };
    println!("{what:<60} {:>10.1} us {speed}", seconds * 1e6);
}

/// Seconds of the fastest run.
fn fastest(mut run: impl FnMut()) -> f64 {
    let (mut fastest, mut runs) = (f64::INFINITY, 0);
    let deadline = Instant::now() + Duration::from_millis(300);
    while runs < 5 || Instant::now() < deadline {
        let start = Instant::now();
        run();
        fastest = fastest.min(start.elapsed().as_secs_f64());
        runs += 1;
    }
    fastest
}
