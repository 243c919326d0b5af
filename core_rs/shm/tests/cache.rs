//! The segment cache against a naive one, and what its handles promise.

use std::collections::HashMap;
use std::fs::File;
use std::os::fd::AsFd;
use std::os::unix::fs::FileExt;

use proptest::prelude::*;
use proptest::sample::Index;
use pystream_shm::{BLOCK, Cache, CacheCounters, Entry, Error, Filling, Progress, WANTED_WITHIN_US};

const BLOCKS: usize = 8;

fn cache(blocks: usize, seats: usize) -> Vec<Cache> {
    let fd = Cache::create(blocks * BLOCK, seats).unwrap();
    (0..seats).map(|seat| Cache::attach(fd.try_clone().unwrap(), seat).unwrap()).collect()
}

fn key(name: u8) -> [u8; 16] {
    let mut key = [b'k'; 16];
    key[15] = name;
    key
}

fn make(cache: &Cache, name: u8, content: &[u8]) -> Option<Entry> {
    let mut filling = cache.create_entry(&key(name), content.len() as u64)?;
    filling.write(content).unwrap();
    Some(filling.finish().unwrap())
}

fn bytes(entry: &Entry) -> Vec<u8> {
    let mut bytes = Vec::new();
    while let piece @ [_, ..] = entry.lend(bytes.len() as u64, usize::MAX) {
        bytes.extend_from_slice(piece);
    }
    bytes
}

/// A cache as a list from the segment used longest ago to the one used last.
#[derive(Default)]
struct Model {
    items: Vec<Item>,
    counters: CacheCounters,
    made: usize,
}

#[derive(Clone, Debug)]
struct Item {
    /// Which making of which key.
    made: usize,
    name: u8,
    blocks: usize,
    progress: Progress,
    pins: usize,
}

impl Model {
    fn lookup(&mut self, name: u8) -> Option<usize> {
        let Some(at) = self.find(name) else {
            self.counters.misses += 1;
            return None;
        };
        self.counters.hits += 1;
        let mut item = self.items.remove(at);
        item.pins += 1;
        let made = item.made;
        self.items.push(item);
        Some(made)
    }

    fn create(&mut self, name: u8, blocks: usize) -> Option<usize> {
        if blocks == 0 || blocks > BLOCKS || self.find(name).is_some() {
            return None;
        }
        let mut free = BLOCKS - self.used();
        let mut left = Vec::new();
        let mut evictions = 0;
        for item in &self.items {
            if free < blocks && item.pins == 0 {
                free += item.blocks;
                evictions += u64::from(item.progress == Progress::Ready);
            } else {
                left.push(item.clone());
            }
        }
        if free < blocks {
            return None;
        }
        self.counters.evictions += evictions;
        self.made += 1;
        left.push(Item { made: self.made, name, blocks, progress: Progress::Filling, pins: 1 });
        self.items = left;
        Some(self.made)
    }

    fn abandon(&mut self, made: usize) {
        let at = self.items.iter().position(|item| item.made == made).unwrap();
        let mut item = self.items.remove(at);
        item.progress = Progress::Abandoned;
        self.items.insert(0, item);
    }

    fn item(&mut self, made: usize) -> &mut Item {
        self.items.iter_mut().find(|item| item.made == made).unwrap()
    }

    fn find(&self, name: u8) -> Option<usize> {
        self.items.iter().position(|item| item.name == name && item.progress != Progress::Abandoned)
    }

    fn used(&self) -> usize {
        self.items.iter().map(|item| item.blocks).sum()
    }
}

#[derive(Clone, Debug)]
enum Step {
    Lookup(usize, u8),
    Create(usize, u8, u64),
    Write(Index, u64),
    /// And before it what is left to be written, or not.
    Finish(Index, bool),
    DropEntry(Index),
    DropFilling(Index),
    Die(usize),
}

fn steps() -> impl Strategy<Value = Step> {
    let len = prop_oneof![0..4 * BLOCK as u64, (0..=9_u64).prop_map(|blocks| blocks * BLOCK as u64)];
    prop_oneof![
        4 => (0..2_usize, 0..8_u8).prop_map(|(seat, name)| Step::Lookup(seat, name)),
        4 => (0..2_usize, 0..8_u8, len).prop_map(|(seat, name, len)| Step::Create(seat, name, len)),
        3 => (any::<Index>(), 0..2 * BLOCK as u64).prop_map(|(index, len)| Step::Write(index, len)),
        4 => (any::<Index>(), prop::bool::weighted(0.8)).prop_map(|(index, whole)| Step::Finish(index, whole)),
        4 => any::<Index>().prop_map(Step::DropEntry),
        1 => any::<Index>().prop_map(Step::DropFilling),
        1 => (0..2_usize).prop_map(Step::Die),
    ]
}

/// What a process holds: its handles and the makings that they are of.
#[derive(Default)]
struct Held {
    entries: Vec<(usize, usize, Entry)>,
    fillings: Vec<(usize, usize, Filling)>,
}

proptest! {
    #![proptest_config(ProptestConfig { failure_persistence: None, ..ProptestConfig::with_cases(128) })]

    #[test]
    fn does_as_a_naive_cache_does(steps in prop::collection::vec(steps(), 1..120)) {
        let caches = cache(BLOCKS, 2);
        let (mut model, mut held, mut written) = (Model::default(), Held::default(), HashMap::new());
        for step in steps {
            match step {
                Step::Lookup(seat, name) => {
                    let (ours, expected) = (caches[seat].lookup(&key(name)), model.lookup(name));
                    prop_assert_eq!(ours.is_some(), expected.is_some());
                    held.entries.extend(ours.zip(expected).map(|(entry, made)| (seat, made, entry)));
                }
                Step::Create(seat, name, len) => {
                    let ours = caches[seat].create_entry(&key(name), len);
                    let expected = model.create(name, (len as usize).div_ceil(BLOCK));
                    prop_assert_eq!(ours.is_some(), expected.is_some());
                    if let Some((filling, made)) = ours.zip(expected) {
                        written.insert(made, Vec::new());
                        held.fillings.push((seat, made, filling));
                    }
                }
                Step::Write(index, len) if !held.fillings.is_empty() => {
                    let at = index.index(held.fillings.len());
                    let (_, made, filling) = &mut held.fillings[at];
                    let bytes = written.get_mut(made).unwrap();
                    let left = filling.entry().size() - bytes.len() as u64;
                    let new = vec![*made as u8 ^ bytes.len() as u8; len as usize];
                    match filling.write(&new) {
                        Ok(()) => bytes.extend(new),
                        Err(error) => prop_assert!(len > left && is_overrun(&error)),
                    }
                }
                Step::Finish(index, whole) if !held.fillings.is_empty() => {
                    let (seat, made, mut filling) = held.fillings.remove(index.index(held.fillings.len()));
                    let (size, bytes) = (filling.entry().size(), written.get_mut(&made).unwrap());
                    if whole {
                        let rest = vec![made as u8; size as usize - bytes.len()];
                        filling.write(&rest).unwrap();
                        bytes.extend(rest);
                    }
                    match filling.finish() {
                        Ok(entry) => {
                            model.item(made).progress = Progress::Ready;
                            held.entries.push((seat, made, entry));
                        }
                        Err(error) => {
                            prop_assert!(is_unfinished(&error, size));
                            prop_assert!(size > bytes.len() as u64);
                            model.abandon(made);
                            model.item(made).pins -= 1;
                        }
                    }
                }
                Step::DropEntry(index) if !held.entries.is_empty() => {
                    let (_, made, _) = held.entries.remove(index.index(held.entries.len()));
                    model.item(made).pins -= 1;
                }
                Step::DropFilling(index) if !held.fillings.is_empty() => {
                    let (_, made, _) = held.fillings.remove(index.index(held.fillings.len()));
                    model.abandon(made);
                    model.item(made).pins -= 1;
                }
                Step::Die(seat) => {
                    // In the order of the rows, which the model does not know: one at most.
                    if held.fillings.iter().filter(|(of, ..)| *of == seat).count() > 1 {
                        continue;
                    }
                    for (_, made, filling) in held.fillings.extract_if(.., |(of, ..)| *of == seat) {
                        model.abandon(made);
                        model.item(made).pins -= 1;
                        std::mem::forget(filling);
                    }
                    for (_, made, entry) in held.entries.extract_if(.., |(of, ..)| *of == seat) {
                        model.item(made).pins -= 1;
                        std::mem::forget(entry);
                    }
                    caches[1 - seat].reap(seat);
                    // It also frees what nobody can find or holds.
                    model.items.retain(|item| item.progress != Progress::Abandoned || item.pins > 0);
                }
                _ => {}
            }
            model.counters.bytes_used = (model.used() * BLOCK) as u64;
            prop_assert_eq!(caches[0].counters(), model.counters);
        }
        for (_, made, entry) in &held.entries {
            prop_assert_eq!(entry.progress(), model.item(*made).progress);
            prop_assert!(bytes(entry) == written[made], "making {} has other bytes", made);
        }
    }
}

fn is_overrun(error: &Error) -> bool {
    matches!(error, Error::Overrun { .. })
}

fn is_unfinished(error: &Error, size: u64) -> bool {
    matches!(error, Error::Unfinished { len, .. } if *len == size)
}

#[test]
fn what_was_used_longest_ago_makes_room() {
    let caches = cache(3, 2);
    for name in 1..=3 {
        drop(make(&caches[0], name, &[name; BLOCK]).unwrap());
    }
    drop(caches[1].lookup(&key(1)).unwrap());
    drop(make(&caches[0], 4, &[4; BLOCK]).unwrap());
    let there = [1, 2, 3, 4].map(|name| caches[0].lookup(&key(name)).is_some());
    assert_eq!(there, [true, false, true, true]);
    assert_eq!(caches[0].counters().evictions, 1);
}

#[test]
fn what_is_being_made_can_be_read_as_far_as_it_is() {
    let caches = cache(4, 2);
    let mut filling = caches[0].create_entry(&key(1), 100_000).unwrap();
    let reader = caches[1].lookup(&key(1)).unwrap();
    assert_eq!((reader.progress(), reader.filled(), reader.size()), (Progress::Filling, 0, 100_000));
    assert_eq!(reader.lend(0, 10), b"");
    assert_eq!(reader.file_range(0), None);
    filling.write(&[1; 70_001]).unwrap();
    assert_eq!((reader.filled(), bytes(&reader).len()), (70_001, 70_001));
    assert_eq!(reader.lend(69_990, 3), [1; 3]);
    assert_eq!(reader.lend(70_000, 10), [1]);
    assert_eq!(reader.lend(70_001, 10), b"");
    assert_eq!(reader.lend(u64::MAX, 10), b"");
    filling.write(&[2; 29_999]).unwrap();
    drop(filling.finish().unwrap());
    assert_eq!(reader.progress(), Progress::Ready);
    assert_eq!(bytes(&reader), [&[1; 70_001][..], &[2; 29_999]].concat());
}

#[test]
fn a_maker_that_gives_up_leaves_what_it_made_to_its_readers_only() {
    let caches = cache(4, 2);
    let mut filling = caches[0].create_entry(&key(1), 100).unwrap();
    filling.write(b"half").unwrap();
    let reader = caches[1].lookup(&key(1)).unwrap();
    assert_eq!(filling.finish().unwrap_err().to_string(), "a segment announced with 100 bytes was finished after 4");
    assert_eq!((reader.progress(), bytes(&reader)), (Progress::Abandoned, b"half".to_vec()));
    assert!(caches[1].lookup(&key(1)).is_none());
    let second = make(&caches[1], 1, b"whole").unwrap();
    assert_eq!((bytes(&reader), bytes(&second)), (b"half".to_vec(), b"whole".to_vec()));
}

#[test]
fn a_maker_says_that_it_lives_and_why_it_gave_up() {
    let caches = cache(1, 2);
    for unanswered in [true, false] {
        let filling = caches[0].create_entry(&key(1), 100).unwrap();
        let reader = caches[1].lookup(&key(1)).unwrap();
        let before = reader.stirred();
        assert_eq!(reader.stirred(), before);
        filling.stir();
        assert_ne!(reader.stirred(), before);
        if unanswered {
            filling.unanswered()
        } else {
            drop(filling)
        }
        assert_eq!(reader.progress(), if unanswered { Progress::Unanswered } else { Progress::Abandoned });
        assert!(caches[1].lookup(&key(1)).is_none());
    }
}

#[test]
fn more_than_announced_is_refused_and_nothing_of_it_written() {
    let caches = cache(1, 1);
    let mut filling = caches[0].create_entry(&key(1), 5).unwrap();
    filling.write(b"123").unwrap();
    assert_eq!(filling.write(b"456").unwrap_err().to_string(), "a segment announced with 5 bytes was given more");
    filling.write(b"45").unwrap();
    assert_eq!(bytes(&filling.finish().unwrap()), b"12345");
}

#[test]
fn a_dead_process_gives_back_its_pins_and_its_unfinished_segments() {
    let caches = cache(4, 3);
    drop(make(&caches[0], 1, &[1; 2 * BLOCK]).unwrap());
    std::mem::forget(caches[1].lookup(&key(1)).unwrap());
    let mut filling = caches[1].create_entry(&key(2), 2 * BLOCK as u64).unwrap();
    filling.write(b"so far").unwrap();
    std::mem::forget(filling);
    let reader = caches[0].lookup(&key(2)).unwrap();
    assert!(make(&caches[0], 3, &[3; BLOCK]).is_none(), "all is pinned");
    // The death of another changes nothing.
    caches[0].reap(2);
    assert!(make(&caches[0], 3, &[3; BLOCK]).is_none());
    caches[0].reap(1);
    assert_eq!((reader.progress(), bytes(&reader)), (Progress::Abandoned, b"so far".to_vec()));
    assert!(make(&caches[0], 3, &[3; 3 * BLOCK]).is_none(), "two blocks are still read");
    assert!(make(&caches[0], 3, &[3; 2 * BLOCK]).is_some());
    drop(reader);
    assert!(make(&caches[0], 4, &[4; 4 * BLOCK]).is_some());
}

#[test]
fn a_place_in_the_file_holds_the_bytes() {
    let caches = cache(4, 1);
    let content: Vec<u8> = (0..3 * BLOCK - 5).map(|at| (at / 251) as u8).collect();
    // So that the blocks of the next segment are not in one piece: it gets blocks 1, 0 and 2.
    drop(make(&caches[0], 1, &[1; 1]).unwrap());
    drop(make(&caches[0], 2, &[2; 1]).unwrap());
    let entry = make(&caches[0], 3, &content).unwrap();
    let (file, mut found, mut pieces) = (File::from(caches[0].as_fd().try_clone_to_owned().unwrap()), Vec::new(), 0);
    while let Some((at, len)) = entry.file_range(found.len() as u64) {
        let mut piece = vec![0; len];
        file.read_exact_at(&mut piece, at).unwrap();
        found.extend(piece);
        pieces += 1;
    }
    assert!(found == content, "{} bytes in {pieces} pieces", found.len());
    assert!(pieces > 1, "the segment was in one piece");
    let (at, len) = entry.file_range(10).unwrap();
    assert_eq!((at % 4096, len % BLOCK), (10, BLOCK - 10));
}

#[test]
fn only_what_is_asked_for_again_in_time_is_wanted() {
    let caches = cache(4, 2);
    let start = 5_000_000;
    assert!(!caches[0].wanted(&key(1), start));
    assert!(!caches[0].wanted(&key(2), start));
    // In any process, and each asking is remembered anew.
    assert!(caches[1].wanted(&key(1), start + WANTED_WITHIN_US));
    assert!(caches[0].wanted(&key(1), start + 2 * WANTED_WITHIN_US));
    assert!(!caches[0].wanted(&key(2), start + WANTED_WITHIN_US + 1_000_000));
    // A flood pushes out the oldest, so the last eight are still known, even if all fell into one set.
    for name in 0..=255 {
        caches[0].wanted(&key(name), start + 3 * WANTED_WITHIN_US + u64::from(name) * 1_000_000);
    }
    for name in 248..=255 {
        assert!(caches[0].wanted(&key(name), start + 4 * WANTED_WITHIN_US), "key {name}");
    }
}
