//! Death after every single write to the index.

use super::*;
use crate::mapping::death;

const BLOCKS: u64 = 6;

/// A life at seat 1 with all that changes the index, in a cache that holds three segments, one of them pinned by seat 0.
fn life(cache: &Cache) {
    drop(cache.lookup(&key(b'b')));
    // Evicts `a`.
    let filling = cache.create_entry(&key(b'd'), size(3)).unwrap();
    finish(filling, b'd');
    let mut given_up = cache.create_entry(&key(b'e'), size(1)).unwrap();
    given_up.write(&content(b'e', 10)).unwrap();
    let reader = given_up.entry();
    given_up.stir();
    given_up.unanswered();
    drop(reader);
    // Takes what was given up, and `b`.
    let filling = cache.create_entry(&key(b'f'), size(2)).unwrap();
    let held = cache.lookup(&key(b'd'));
    finish(filling, b'f');
    drop(held);
}

#[test]
fn a_worker_killed_anywhere_leaves_a_good_cache() {
    let mut writes = 0;
    loop {
        let (fd, cache, pinned) = inhabited();
        let dying = Cache::attach(fd, 1).unwrap();
        let lived = death::after(writes, move || life(&dying));
        // Before anyone knows of the death: what is found is right as far as it is filled.
        "abcdef".bytes().for_each(|name| _ = cache.lookup(&key(name)).map(|entry| check(&entry, name)));
        let unfinished: Vec<Entry> = "def"
            .bytes()
            .filter_map(|name| cache.lookup(&key(name)))
            .filter(|entry| entry.progress() == Progress::Filling)
            .collect();
        cache.reap(1);
        for entry in unfinished {
            assert_eq!(entry.progress(), Progress::Abandoned);
        }
        for name in "abcdef".bytes() {
            if let Some(entry) = cache.lookup(&key(name)) {
                assert_eq!(entry.progress(), Progress::Ready, "after {writes} writes");
                check(&entry, name);
            }
        }
        check(&pinned, b'c');
        // All but the pinned block can be had, and then all: nothing leaked.
        assert!(cache.create_entry(&key(b'x'), size(BLOCKS)).is_none());
        finish(cache.create_entry(&key(b'x'), size(BLOCKS - 1)).expect("room for all but one"), b'x');
        check(&pinned, b'c');
        drop(pinned);
        drop(cache.create_entry(&key(b'y'), size(BLOCKS)).expect("room for all"));
        assert_eq!(cache.counters().bytes_used, BLOCKS * BLOCK as u64);
        if lived {
            break;
        }
        writes += 1;
    }
    assert!(writes > 100, "the life was long enough, with {writes} writes");
}

#[test]
fn a_repair_or_a_reap_killed_anywhere_is_done_by_the_next() {
    let mut writes = 0;
    loop {
        let (fd, cache, pinned) = inhabited();
        let dying = Cache::attach(fd.try_clone().unwrap(), 1).unwrap();
        // Dies under the lock, in the middle of a new segment.
        assert!(!death::after(50, move || life(&dying)));
        let reaping = Cache::attach(fd, 2).unwrap();
        let lived = death::after(writes, move || reaping.reap(1));
        cache.reap(1);
        check(&pinned, b'c');
        drop(pinned);
        drop(cache.create_entry(&key(b'y'), size(BLOCKS)).expect("room for all"));
        if lived {
            break;
        }
        writes += 1;
    }
    assert!(writes > 20, "there was something to repair, in {writes} writes");
}

#[test]
fn a_repair_keeps_the_order_of_use() {
    let (fd, cache, pinned) = inhabited();
    drop(pinned);
    drop(cache.lookup(&key(b'a')));
    let dying = Cache::attach(fd, 1).unwrap();
    // Dies under the lock, with nothing done yet.
    assert!(!death::after(1, move || dying.counters()));
    // Two blocks are free, and `b` has the two that are needed beside them.
    drop(cache.create_entry(&key(b'x'), size(4)).unwrap());
    assert_eq!("abc".bytes().map(|name| cache.lookup(&key(name)).is_some()).collect::<Vec<_>>(), [true, false, true]);
}

/// A cache with `a`, `b` and `c` in four of its blocks; `c` is pinned.
fn inhabited() -> (OwnedFd, Cache, Entry) {
    let fd = Cache::create(size(BLOCKS) as usize, 3).unwrap();
    let cache = Cache::attach(fd.try_clone().unwrap(), 0).unwrap();
    for (name, blocks) in [(b'a', 1), (b'b', 2), (b'c', 1)] {
        finish(cache.create_entry(&key(name), size(blocks)).unwrap(), name);
    }
    let pinned = cache.lookup(&key(b'c')).unwrap();
    (fd, cache, pinned)
}

fn finish(mut filling: Filling, name: u8) {
    let content = content(name, filling.entry().size());
    let (first, second) = content.split_at(content.len() / 3);
    filling.write(first).unwrap();
    filling.write(second).unwrap();
    filling.finish().unwrap();
}

fn check(entry: &Entry, name: u8) {
    let filled = entry.filled();
    for at in (0..filled).step_by(BLOCK / 2) {
        let bytes = entry.lend(at, 9);
        assert_eq!(bytes.len() as u64, (filled - at).min(9));
        assert!(bytes.iter().all(|&byte| byte == tint(name, at / BLOCK as u64)), "{bytes:?} at {at}");
    }
}

/// Each block of each segment is filled with a number of its own.
fn content(name: u8, len: u64) -> Vec<u8> {
    let mut bytes = Vec::new();
    for block in 0..len.div_ceil(BLOCK as u64) {
        bytes.resize(len.min((block + 1) * BLOCK as u64) as usize, tint(name, block));
    }
    bytes
}

fn tint(name: u8, block: u64) -> u8 {
    (name << 3) | block as u8
}

fn key(name: u8) -> [u8; 16] {
    [name; 16]
}

fn size(blocks: u64) -> u64 {
    blocks * BLOCK as u64
}
