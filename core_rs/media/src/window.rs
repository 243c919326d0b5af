//! Reads the samples of a segment through a few windows that stay in the cache.
//!
//! Picture and sound of a file that interleaves them well lie side by side, so one window serves both; where they lie far
//! apart, each has a window of its own. A source that is in memory anyway is lent as it is.

use std::sync::Arc;

use crate::{Error, Place, ReadAt, Result};

/// Bytes in a window. Small beside an L2 cache, large beside the cost of a system call.
const WINDOW: u64 = 32 * 1024;
const PAGE: u64 = 4096;
const SLOTS: usize = 2;

/// A source, read through [`SLOTS`] windows.
pub(crate) struct Windows {
    source: Arc<dyn ReadAt>,
    slots: [Slot; SLOTS],
    latest: usize,
    /// Of what is read past the slots.
    passed: Ahead,
    /// Only what is at hand is read; `missed`: something was not.
    hasty: bool,
    missed: bool,
}

#[derive(Default)]
struct Slot {
    offset: u64,
    buffer: Vec<u8>,
    ahead: Ahead,
}

/// Where reading will go on, and up to where the source knows of it.
#[derive(Default)]
struct Ahead {
    at: u64,
    told: u64,
}

impl Ahead {
    /// Half of it is told at a time: each call costs one to the system.
    fn tell(&mut self, source: &dyn ReadAt, window: u64, limit: u64) {
        let from = if self.told < self.at || self.told > self.at + 2 * window { self.at } else { self.told };
        if self.at == 0 || from >= limit || from > self.at + window {
            return;
        }
        let end = limit.min(self.at + 2 * window);
        source.will_read(from, end - from);
        self.told = end;
    }
}

impl Slot {
    /// Where `offset` lies in the slot, if `min` bytes of it are there.
    fn find(&self, offset: u64, min: usize) -> Option<usize> {
        let at = usize::try_from(offset.checked_sub(self.offset)?).ok()?;
        (at.checked_add(min)? <= self.buffer.len()).then_some(at)
    }
}

impl Windows {
    pub(crate) fn new(source: Arc<dyn ReadAt>) -> Self {
        Self { source, slots: Default::default(), latest: 0, passed: Ahead::default(), hasty: false, missed: false }
    }

    /// From now on reads only what is at hand, and fails where something is not. An input of which nothing ever is says so
    /// at once.
    pub(crate) fn hurry(&mut self) -> std::result::Result<(), Place> {
        (self.hasty, self.missed) = (true, false);
        if self.source.is_remote() { Err(self.source.place()) } else { Ok(()) }
    }

    /// From now on waits again; returns the input that was not at hand.
    pub(crate) fn relax(&mut self) -> Option<Place> {
        self.hasty = false;
        std::mem::take(&mut self.missed).then(|| self.source.place())
    }

    /// Between `min` and `max` bytes from `offset` on. `limit` is where reading ahead stops being of use.
    pub(crate) fn lend(&mut self, offset: u64, min: usize, max: usize, limit: u64) -> Result<&[u8]> {
        if self.source.as_slice().is_some() {
            return self.lend_memory(offset, min, max);
        }
        let hit = [self.latest, 1 - self.latest]
            .into_iter()
            .find_map(|slot| self.slots[slot].find(offset, min).map(|at| (slot, at)));
        let (slot, at) = match hit {
            Some(hit) => hit,
            None => {
                let slot = self.refill(offset, min, limit)?;
                (slot, (offset - self.slots[slot].offset) as usize)
            }
        };
        self.latest = slot;
        let buffer = &self.slots[slot].buffer;
        Ok(&buffer[at..buffer.len().min(at + max)])
    }

    /// Bytes straight into `out`, past the windows.
    pub(crate) fn read(&mut self, offset: u64, out: &mut [u8]) -> Result<()> {
        self.passed.at = offset + out.len() as u64;
        read(&*self.source, self.hasty, &mut self.missed, offset, out)
    }

    /// Tells the source what will be read next where each of the windows, and what went past them, has come to: as much as
    /// twice `window`, which is what the one who asks gets at a time, up to `limit`. So a disk is at work while windows are
    /// sent, and not only while one is waited for.
    ///
    /// In a hurry nothing is told: of what is at hand there is no need, and of the rest the first one who waits does it.
    pub(crate) fn read_ahead(&mut self, window: usize, limit: u64) {
        if self.hasty {
            return;
        }
        let Self { source, slots, passed, .. } = self;
        for ahead in slots.iter_mut().map(|slot| &mut slot.ahead).chain([passed]) {
            ahead.tell(source, window as u64, limit);
        }
    }

    /// Gives its memory back. What of it is still wanted is read again.
    pub(crate) fn rest(&mut self) {
        for slot in &mut self.slots {
            slot.buffer = Vec::new();
        }
    }

    fn lend_memory(&self, offset: u64, min: usize, max: usize) -> Result<&[u8]> {
        let all = self.source.as_slice().unwrap_or_default();
        let start = usize::try_from(offset).ok().filter(|&start| start <= all.len()).unwrap_or(all.len());
        let bytes = &all[start..all.len().min(start.saturating_add(max))];
        if bytes.len() < min {
            return Err(ends_inside_a_sample(offset));
        }
        Ok(bytes)
    }

    fn refill(&mut self, offset: u64, min: usize, limit: u64) -> Result<usize> {
        // The window that goes on where the other one is still needed is replaced: the one not used last, unless the
        // latest ends where this read begins and so is used up.
        let latest = &self.slots[self.latest];
        let used_up = latest.offset + latest.buffer.len() as u64;
        let goes_on = offset >= latest.offset && offset <= used_up;
        let slot = if goes_on { self.latest } else { 1 - self.latest };
        // Whole pages: the kernel copies fastest where source and destination are aligned alike.
        let size = self.source.size();
        if offset.checked_add(min as u64).is_none_or(|end| end > size) {
            return Err(ends_inside_a_sample(offset));
        }
        let start = offset & !(PAGE - 1);
        let end = offset + (min as u64).max(limit.saturating_sub(offset).min(WINDOW));
        let end = end.next_multiple_of(PAGE).min(size);
        let Slot { offset: place, buffer, ahead } = &mut self.slots[slot];
        // No more room than is asked for: a server holds a thousand of these.
        buffer.reserve_exact(((end - start) as usize).saturating_sub(buffer.len()));
        buffer.resize((end - start) as usize, 0);
        *place = start;
        ahead.at = end;
        if let Err(error) = read(&*self.source, self.hasty, &mut self.missed, start, buffer) {
            buffer.clear();
            return Err(error);
        }
        Ok(slot)
    }
}

/// # Errors
/// The source's; and, in a hurry, that the bytes are not at hand, which is kept in `missed`.
fn read(source: &dyn ReadAt, hasty: bool, missed: &mut bool, offset: u64, out: &mut [u8]) -> Result<()> {
    if !hasty {
        return source.read_exact_at(offset, out);
    }
    if source.read_now(offset, out)? {
        return Ok(());
    }
    *missed = true;
    Err(Error::source_failed("the bytes are not at hand", None).at(offset))
}

fn ends_inside_a_sample(offset: u64) -> Error {
    Error::source_failed("the input ends inside a sample: did it change?", None).at(offset)
}

#[cfg(test)]
mod tests {
    use std::sync::Mutex;

    use super::*;

    /// Holds bytes, but does not lend them; keeps what it is told.
    struct Remote(Vec<u8>, Mutex<Vec<(u64, u64)>>);

    impl ReadAt for Remote {
        fn size(&self) -> u64 {
            self.0.len() as u64
        }

        fn read_exact_at(&self, offset: u64, buf: &mut [u8]) -> Result<()> {
            self.0.as_slice().read_exact_at(offset, buf)
        }

        fn will_read(&self, offset: u64, len: u64) {
            self.1.lock().unwrap().push((offset, offset + len));
        }
    }

    /// Picture and sound far apart, and pictures so large that they are read past the slots.
    #[test]
    fn a_source_is_told_what_comes_before_it_is_read_and_each_part_once() {
        const OUT: u64 = 128 * 1024;
        const LIMIT: u64 = 3 << 20;
        for past in [false, true] {
            let source = Arc::new(Remote(vec![0; 4 << 20], Mutex::default()));
            let mut windows = Windows::new(Arc::clone(&source) as Arc<dyn ReadAt>);
            let (mut at, mut told) = (8192, 8192);
            while at < LIMIT {
                for _ in 0..8 {
                    match past {
                        true => windows.read(at, &mut [0; 16 * 1024]).unwrap(),
                        false => drop(windows.lend(at, 16 * 1024, 16 * 1024, LIMIT).unwrap().to_vec()),
                    }
                    at += 16 * 1024;
                }
                windows.read_ahead(OUT as usize, LIMIT);
                for (from, end) in source.1.lock().unwrap().drain(..) {
                    assert!(from == told || told == 8192, "{from} {told}");
                    told = end;
                }
                // The next windows, and no more.
                assert!(told >= (at + OUT).min(LIMIT) && told <= LIMIT && told < at + 3 * OUT, "{at} {told}");
            }
        }
    }

    #[test]
    fn who_must_not_wait_tells_a_source_nothing() {
        let source = Arc::new(Remote(vec![0; 1 << 20], Mutex::default()));
        let mut windows = Windows::new(Arc::clone(&source) as Arc<dyn ReadAt>);
        for hasty in [true, false] {
            if hasty {
                windows.hurry().unwrap();
            }
            windows.lend(8192, 16 * 1024, 16 * 1024, 1 << 20).unwrap();
            windows.read_ahead(128 * 1024, 1 << 20);
            assert_eq!(source.1.lock().unwrap().is_empty(), hasty);
            windows.relax();
        }
    }

    #[test]
    fn lends_what_the_source_holds() {
        let bytes: Vec<u8> = (0..300_000u32).map(|i| (i * 7 % 251) as u8).collect();
        let mut windows = Windows::new(Arc::new(Remote(bytes.clone(), Mutex::default())));
        let mut state = 12345u64;
        for _ in 0..2000 {
            state = state.wrapping_mul(6364136223846793005).wrapping_add(1);
            let offset = (state >> 33) % 299_800;
            let min = (state >> 20) as usize % 200;
            let lent = windows.lend(offset, min, 1000, 250_000).unwrap();
            assert!(lent.len() >= min && lent.len() <= 1000.max(min));
            assert_eq!(lent, &bytes[offset as usize..offset as usize + lent.len()]);
            if state >> 60 == 0 {
                windows.rest();
                assert!(windows.slots.iter().all(|slot| slot.buffer.capacity() == 0));
            }
        }
        assert!(windows.lend(299_900, 101, 101, u64::MAX).is_err());
        assert!(windows.lend(u64::MAX, 1, 1, u64::MAX).is_err());
    }
}
