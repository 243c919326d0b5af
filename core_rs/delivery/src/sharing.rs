//! Who makes a segment that several viewers want, and from where the others read it.
//!
//! # Theory
//!
//! What only one viewer wants goes from the window to the socket, and nobody keeps it. As soon as a second one asks
//! (within ten minutes, on any worker of the node) the segment is worth a place in the node's cache. Then its making belongs to
//! no viewer: it runs as fast as bytes can be made, and all, its first viewer among them, read from the cache what is
//! there. So a viewer who reads slowly delays nobody, and one who leaves leaves nothing undone.
//!
//! A viewer whom the thread had begun to serve alone changes over when a second one comes, after the window that it has:
//! from then on the segment is made once.
//!
//! Where the node's cache has no room, or there is none, answers of this process that want the same segment at the same time
//! share it in a cache of the process's own, which takes nothing that only one wants.
//!
//! A segment that another worker is making is looked at every millisecond, which costs three loads from memory, and less often
//! where it has not grown for a while. A maker that gives up or dies leaves the segment abandoned (the supervisor takes back
//! what a dead worker had); one that is stopped leaves it as it is, and after half a second a reader no longer waits for it.
//!
//! A maker that waits for its source says again and again that it lives ([`Filling::stir`]), and is waited for: whoever went to
//! the same source on his own would not be answered sooner, and would have a slow disk read the same once more. It gives up when
//! its source has kept it for too long (`reading.rs`) and says so, and then all who waited have waited in vain, in whatever worker.
//! Should it say for longer than that that it lives, and make nothing, it is waited for no more either.

use std::collections::HashMap;
use std::io;
use std::time::{Duration, Instant};

use pystream_shm::{Cache, Entry, Filling, Progress};
use rustix::time::{ClockId, clock_gettime};

use crate::answer::Shared;
use crate::making::{Making, Reel};

pub(crate) type Key = [u8; 16];

/// Bytes that a process shares among its own answers where the node's cache has no room. The system gives them when
/// they are first used.
const OWN: usize = 32 << 20;

/// How often a segment that another worker makes is looked at.
pub(crate) const LOOK: Duration = Duration::from_millis(1);

/// How often one that has not grown for `PATIENCE`, since its maker waits for its source.
const SELDOM: Duration = Duration::from_millis(10);

/// For how long a maker elsewhere may say nothing of itself.
const PATIENCE: Duration = Duration::from_millis(500);

/// What an answer is to be sent from.
pub(crate) enum Choice {
    /// A segment of a cache, whole or being made.
    Read(Entry),
    /// A making of its own.
    Alone,
}

/// A segment that this process makes into a cache.
pub(crate) struct Filled {
    making: Making,
    filling: Filling,
    /// Answers that have sent all that is there.
    waiting: Vec<u64>,
}

/// An answer that waits for a segment that another worker makes.
struct Foreign {
    id: u64,
    entry: Entry,
    seen: u64,
    since: Instant,
    /// When its maker last said that it lives, and what it said.
    alive: Instant,
    stirred: u64,
}

pub(crate) struct Sharing {
    node: Option<Cache>,
    own: Cache,
    fillings: HashMap<Key, Filled>,
    /// Answers that are made for one viewer alone.
    alone: HashMap<Key, Vec<u64>>,
    foreign: Vec<Foreign>,
    /// How long makers elsewhere are waited for that live and make nothing.
    longest: Duration,
}

impl Sharing {
    /// `patience`: how long a source is waited for, by makers elsewhere, too.
    pub(crate) fn new(node: Option<Cache>, patience: Duration) -> io::Result<Self> {
        let own = Cache::create(OWN, 1).and_then(|fd| Cache::attach(fd, 0)).map_err(io::Error::other)?;
        let (fillings, alone, foreign) = (HashMap::new(), HashMap::new(), Vec::new());
        Ok(Self { node, own, fillings, alone, foreign, longest: patience + PATIENCE })
    }

    /// What the answer `id` is to be sent from. `window` is for a making that has to begin; `orphaned`: the one that
    /// the answer had read from was abandoned.
    pub(crate) fn choose(&mut self, id: u64, shared: &Shared, window: &mut Vec<u8>, orphaned: bool) -> Choice {
        let key = &shared.key;
        let wanted = self.node.as_ref().is_some_and(|node| node.wanted(key, monotonic_us()));
        if let Some(entry) = self.caches().find_map(|cache| cache.lookup(key)) {
            return Choice::Read(entry);
        }
        let company = orphaned || self.alone.contains_key(key);
        let node = self.node.iter().filter(|_| wanted || company);
        let own = company.then_some(&self.own);
        for cache in node.chain(own) {
            if let Some(filling) = cache.create_entry(key, shared.size) {
                let entry = filling.entry();
                let making = Making::of(&*shared.recipe, std::mem::take(window));
                self.fillings.insert(*key, Filled { making, filling, waiting: Vec::new() });
                return Choice::Read(entry);
            }
            // Another worker was faster.
            if let Some(entry) = cache.lookup(key) {
                return Choice::Read(entry);
            }
        }
        self.alone.entry(*key).or_default().push(id);
        Choice::Alone
    }

    fn caches(&self) -> impl Iterator<Item = &Cache> {
        self.node.iter().chain([&self.own])
    }

    /// Whether this process is making the segment.
    pub(crate) fn is_making(&self, key: &Key) -> bool {
        self.fillings.contains_key(key)
    }

    /// Answers that may change over to a segment that others read.
    pub(crate) fn joining(&mut self, key: &Key) -> Vec<u64> {
        self.alone.remove(key).unwrap_or_default()
    }

    /// The answer has ended.
    pub(crate) fn forget(&mut self, id: u64, key: &Key) {
        if let Some(alone) = self.alone.get_mut(key) {
            alone.retain(|&each| each != id);
            if alone.is_empty() {
                self.alone.remove(key);
            }
        }
        self.foreign.retain(|each| each.id != id);
    }

    /// The answer has sent all of `entry` that is there.
    pub(crate) fn wait(&mut self, id: u64, key: &Key, entry: &Entry, at: u64, now: Instant) {
        match self.fillings.get_mut(key) {
            Some(filled) => filled.waiting.push(id),
            None => {
                let stirred = entry.stirred();
                self.foreign.push(Foreign { id, entry: entry.clone(), seen: at, since: now, alive: now, stirred });
            }
        }
    }

    /// When segments of other workers have to be looked at next.
    pub(crate) fn next_look(&self, now: Instant) -> Option<Instant> {
        let latest = self.foreign.iter().map(|each| each.since).max()?;
        Some(now + if now.saturating_duration_since(latest) > PATIENCE { SELDOM } else { LOOK })
    }

    /// Says of all segments that are made here that their maker lives.
    pub(crate) fn stir(&self) {
        self.fillings.values().for_each(|filled| filled.filling.stir());
    }

    /// Answers for which there is more by now, and answers that no longer wait for what comes from elsewhere.
    pub(crate) fn look(&mut self, now: Instant) -> (Vec<u64>, Vec<u64>) {
        let (mut more, mut tired) = (Vec::new(), Vec::new());
        self.foreign.retain_mut(|Foreign { id, entry, seen, since, alive, stirred }| {
            if entry.progress() != Progress::Filling || entry.filled() > *seen {
                more.push(*id);
                return false;
            }
            if std::mem::replace(stirred, entry.stirred()) != *stirred {
                *alive = now;
            }
            let waits = |since, most| now.saturating_duration_since(since) <= most;
            let waits = waits(*alive, PATIENCE) && waits(*since, self.longest);
            tired.extend((!waits).then_some(*id));
            waits
        });
        (more, tired)
    }

    pub(crate) fn take(&mut self, key: &Key) -> Option<Filled> {
        self.fillings.remove(key)
    }

    /// Puts away what a thread is making.
    pub(crate) fn lend(&mut self, key: Key, filled: Filled) {
        self.fillings.insert(key, filled);
    }

    /// Has back what it made.
    pub(crate) fn take_back(&mut self, key: &Key, reel: Reel) {
        if let Some(filled) = self.fillings.get_mut(key) {
            filled.making.take_back(reel);
        }
    }

    /// Abandons what cannot be made at present, since its source does not answer; the answers that waited for it.
    pub(crate) fn give_up(&mut self, key: &Key) -> Vec<u64> {
        let Some(Filled { filling, waiting, .. }) = self.fillings.remove(key) else { return Vec::new() };
        filling.unanswered();
        waiting
    }

    /// Puts away what was just made; the answers that waited for it, and the window, if it was the last one. A making that
    /// failed is abandoned, and each of its readers comes to its own end.
    pub(crate) fn put(&mut self, key: Key, mut filled: Filled) -> (Vec<u64>, Option<Vec<u8>>) {
        let waiting = std::mem::take(&mut filled.waiting);
        // At each window: who wants a part of the segment may have all of it then.
        let failed = filled.making.failure().is_some()
            || filled.making.check().is_err()
            || filled.filling.write(filled.making.made().1).is_err();
        if !failed && !filled.making.is_exhausted() {
            self.fillings.insert(key, filled);
            return (waiting, None);
        }
        if !failed {
            // Shorter than it was announced: abandoned, too.
            drop(filled.filling.finish());
        }
        (waiting, Some(filled.making.into_window()))
    }
}

impl Filled {
    pub(crate) fn making(&mut self) -> &mut Making {
        &mut self.making
    }
}

/// Microseconds of the clock that all processes of a machine share (`CLOCK_MONOTONIC`).
pub fn monotonic_us() -> u64 {
    let now = clock_gettime(ClockId::Monotonic);
    now.tv_sec as u64 * 1_000_000 + now.tv_nsec as u64 / 1000
}
