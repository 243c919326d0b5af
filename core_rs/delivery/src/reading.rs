//! Who waits for sources that have not at hand what the next window is made from.
//!
//! # Theory
//!
//! What lies in the system's cache is read by the thread that sends; asked for the rest, a disk that has to seek, or a
//! network's store, would have that thread wait, and with it all viewers of the process. So whatever has to be waited for goes,
//! as a whole window, to a thread of its own, and comes back when the window's bytes are there.
//!
//! A source that does not answer keeps who asks in the kernel, at times so that nobody can end the wait. So nobody waits for a
//! window longer than `patience`: its answer breaks off then, and the thread is left alone. What does not answer is a
//! store, mostly, with all sources in it, and no others: each store has at most [`AT_ONCE`] threads, of which one source
//! takes at most [`OF_ONE`]. Those of a store that were not answered in time are not counted among them, up to [`STUCK`]; then, and
//! where all that a source may take were not, nothing more is asked there until one comes back.
//!
//! Patience counts from the asking, also of what stands in the queue and of what a thread has just begun: so does a player's,
//! which gives up after some ten seconds whatever the reason, and then nobody would want what was read for it. Where a store
//! is slow and not silent, little is lost by that: what has not begun is never read, and what has lies in the system's cache when
//! the player asks again. That a *thread* was not answered in time counts from when it began: it speaks against the store, and
//! a queue does not. So operators see which of both it is: windows that come too late while no thread is stuck are more than
//! the store can give.
//!
//! It is looked at four times a second. Who joins a segment that has waited for its source for a while is told together with
//! who asked first (`sharing.rs`), and who asks where nothing is asked any more at once: both sooner than after `patience`.
//!
//! What decides here is called by the one thread that sends, and asks no clock.

use std::collections::{HashMap, VecDeque};
use std::io;
use std::os::fd::{AsFd, BorrowedFd};
use std::sync::{Arc, Condvar, Mutex};
use std::time::{Duration, Instant};

use crate::answer::{Failure, Place};
use crate::making::Reel;
use crate::queue::{Queue, held};

/// Threads of a store that read, or are thought to.
const AT_ONCE: usize = 8;
/// Those of them, and of those that were not answered in time, that are at one source.
const OF_ONE: usize = 4;
/// Threads of a store that were not answered in time.
const STUCK: usize = 16;
/// For how long a thread without work is kept.
const IDLE: Duration = Duration::from_secs(10);

/// A window that a thread fills, known by its number.
pub(crate) type Ticket = u64;

/// Windows on their way; `T` is what each is for.
pub(crate) struct Reading<T> {
    patience: Duration,
    threads: Arc<Threads>,
    next: Ticket,
    wanted: HashMap<Ticket, Wanted<T>>,
    stores: HashMap<u64, Store>,
}

struct Wanted<T> {
    /// None where nobody wants it any more, but a thread is still at it.
    by: Option<T>,
    place: Place,
    asked: Instant,
    begun: Option<Instant>,
    /// Until it is begun.
    reel: Option<Reel>,
}

/// Of one store: what waits, by source, and whose turn it is; and what threads are at.
#[derive(Default)]
struct Store {
    waiting: VecDeque<(u64, VecDeque<Ticket>)>,
    begun: Vec<Ticket>,
}

/// What came of a window.
pub(crate) enum Back<T> {
    /// It is there, or could not be made.
    Made(T, Reel),
    /// It was waited for in vain.
    Late(T, Failure),
}

impl<T> Reading<T> {
    pub(crate) fn new(patience: Duration) -> io::Result<Self> {
        let threads = Arc::new(Threads { done: Queue::new()?, work: Mutex::default(), more: Condvar::new() });
        Ok(Self { patience, threads, next: 0, wanted: HashMap::new(), stores: HashMap::new() })
    }

    /// Readable while windows are back.
    pub(crate) fn signal(&self) -> BorrowedFd<'_> {
        self.threads.done.as_fd()
    }

    /// Has a window made. Gives the reel back where nothing is asked for at present.
    pub(crate) fn ask(&mut self, by: T, place: Place, reel: Reel, now: Instant) -> Result<Ticket, (Reel, Failure)> {
        let (store, source) = (place.store, place.source);
        if self.is_silent(&place, now) {
            return Err((reel, Failure::silence(&place.name)));
        }
        let ticket = self.next;
        self.next += 1;
        let wanted = Wanted { by: Some(by), place, asked: now, begun: None, reel: Some(reel) };
        self.wanted.insert(ticket, wanted);
        let waiting = &mut self.stores.entry(store).or_default().waiting;
        match waiting.iter_mut().find(|(each, _)| *each == source) {
            Some((_, tickets)) => tickets.push_back(ticket),
            None => waiting.push_back((source, VecDeque::from([ticket]))),
        }
        self.begin(store, now);
        Ok(ticket)
    }

    /// Nobody wants that window any more. Gives back what no thread has.
    pub(crate) fn forget(&mut self, ticket: Ticket) -> Option<Reel> {
        let wanted = self.wanted.get_mut(&ticket)?;
        wanted.by = None;
        let reel = wanted.reel.take()?;
        self.drop_waiting(ticket);
        Some(reel)
    }

    /// What is back by now, and what has waited for too long.
    pub(crate) fn take(&mut self, now: Instant) -> Vec<Back<T>> {
        let mut back = Vec::new();
        for (ticket, reel) in self.threads.done.take() {
            let Some(Wanted { by, place, .. }) = self.wanted.remove(&ticket) else { continue };
            if let Some(store) = self.stores.get_mut(&place.store) {
                store.begun.retain(|&each| each != ticket);
            }
            back.extend(by.map(|by| Back::Made(by, reel)));
            self.begin(place.store, now);
        }
        back
    }

    /// Gives up what has waited for too long, and goes on with what waits behind that.
    pub(crate) fn tick(&mut self, now: Instant) -> Vec<Back<T>> {
        let patience = self.patience;
        let late = |wanted: &Wanted<T>| wanted.by.is_some() && now.saturating_duration_since(wanted.asked) >= patience;
        let late: Vec<Ticket> = self.wanted.iter().filter(|(_, wanted)| late(wanted)).map(|(&at, _)| at).collect();
        let mut back = Vec::new();
        for ticket in late {
            let Some(wanted) = self.wanted.get_mut(&ticket) else { continue };
            let failure = Failure::silence(&wanted.place.name);
            back.extend(wanted.by.take().map(|by| Back::Late(by, failure)));
            if wanted.begun.is_none() {
                self.drop_waiting(ticket);
            }
        }
        for store in self.stores.keys().copied().collect::<Vec<_>>() {
            self.begin(store, now);
        }
        self.stores.retain(|_, store| !store.begun.is_empty() || !store.waiting.is_empty());
        back
    }

    /// Windows that are waited for, and threads that were not answered in time.
    pub(crate) fn counts(&self, now: Instant) -> (u64, u64) {
        let stuck = self.stores.values().map(|store| self.stuck(store, now).count());
        (self.wanted.values().filter(|wanted| wanted.by.is_some()).count() as u64, stuck.sum::<usize>() as u64)
    }

    fn drop_waiting(&mut self, ticket: Ticket) {
        let Some(wanted) = self.wanted.remove(&ticket) else { return };
        let Some(store) = self.stores.get_mut(&wanted.place.store) else { return };
        for (_, tickets) in store.waiting.iter_mut().filter(|(source, _)| *source == wanted.place.source) {
            // In the order of their numbers.
            if let Ok(at) = tickets.binary_search(&ticket) {
                tickets.remove(at);
            }
        }
        store.waiting.retain(|(_, tickets)| !tickets.is_empty());
    }

    fn stuck<'a>(&'a self, store: &'a Store, now: Instant) -> impl Iterator<Item = &'a Wanted<T>> {
        let begun = store.begun.iter().filter_map(|ticket| self.wanted.get(ticket));
        begun.filter(move |wanted| wanted.begun.is_some_and(|at| now.saturating_duration_since(at) >= self.patience))
    }

    /// Whether nothing is asked there until a thread comes back.
    fn is_silent(&self, place: &Place, now: Instant) -> bool {
        let Some(store) = self.stores.get(&place.store) else { return false };
        let of_one = self.stuck(store, now).filter(|wanted| wanted.place.source == place.source).count();
        of_one >= OF_ONE || self.stuck(store, now).count() >= STUCK
    }

    /// Has as many threads read in a store as may, one source after the other.
    fn begin(&mut self, at: u64, now: Instant) {
        loop {
            let Some(store) = self.stores.get(&at) else { return };
            let stuck = self.stuck(store, now).count();
            if stuck >= STUCK || store.begun.len() - stuck >= AT_ONCE {
                return;
            }
            let of = |source| {
                let begun = store.begun.iter().filter_map(|ticket| self.wanted.get(ticket));
                begun.filter(|wanted| wanted.place.source == source).count()
            };
            let Some(turn) = store.waiting.iter().position(|(source, _)| of(*source) < OF_ONE) else { return };
            let Some(store) = self.stores.get_mut(&at) else { return };
            let Some((source, mut tickets)) = store.waiting.remove(turn) else { return };
            let Some(ticket) = tickets.pop_front() else { continue };
            if !tickets.is_empty() {
                store.waiting.push_back((source, tickets));
            }
            let Some(wanted) = self.wanted.get_mut(&ticket) else { continue };
            wanted.begun = Some(now);
            if let Some(reel) = wanted.reel.take() {
                store.begun.push(ticket);
                self.threads.run(ticket, reel);
            }
        }
    }
}

impl<T> Drop for Reading<T> {
    /// Threads that wait for a source end when it has answered, or with the process.
    fn drop(&mut self) {
        let mut work = held(&self.threads.work);
        work.stopped = true;
        work.waiting.clear();
        drop(work);
        self.threads.more.notify_all();
    }
}

/// Threads that fill windows, as many as there is work for.
struct Threads {
    done: Queue<(Ticket, Reel)>,
    work: Mutex<Work>,
    more: Condvar,
}

#[derive(Default)]
struct Work {
    waiting: VecDeque<(Ticket, Reel)>,
    idle: usize,
    stopped: bool,
}

impl Threads {
    fn run(self: &Arc<Self>, ticket: Ticket, reel: Reel) {
        let mut work = held(&self.work);
        work.waiting.push_back((ticket, reel));
        if work.waiting.len() <= work.idle {
            return self.more.notify_one();
        }
        drop(work);
        let this = Arc::clone(self);
        let started = std::thread::Builder::new().name("reading".into()).spawn(move || this.work());
        if started.is_err()
            && let Some((ticket, mut reel)) = held(&self.work).waiting.pop_back()
        {
            reel.fail(Failure("the system has no thread left to read with".into()));
            self.done.put([(ticket, reel)]);
        }
    }

    fn work(&self) {
        while let Some((ticket, mut reel)) = self.next() {
            reel.fill();
            self.done.put([(ticket, reel)]);
        }
    }

    /// None where there was nothing to do for a while.
    fn next(&self) -> Option<(Ticket, Reel)> {
        let mut work = held(&self.work);
        work.idle += 1;
        let nothing = |work: &mut Work| work.waiting.is_empty() && !work.stopped;
        let waited = self.more.wait_timeout_while(work, IDLE, nothing);
        work = waited.unwrap_or_else(std::sync::PoisonError::into_inner).0;
        work.idle -= 1;
        work.waiting.pop_front()
    }
}

#[cfg(test)]
mod tests {
    use std::sync::atomic::{AtomicUsize, Ordering};

    use super::*;
    use crate::answer::Producer;

    /// Does not answer until it is open.
    #[derive(Default)]
    struct Gate {
        is_open: Mutex<bool>,
        opened: Condvar,
        asked: AtomicUsize,
    }

    impl Producer for Arc<Gate> {
        fn fill(&mut self, window: &mut [u8]) -> Result<usize, Failure> {
            self.asked.fetch_add(1, Ordering::Relaxed);
            let is_open = held(&self.is_open);
            drop(self.opened.wait_while(is_open, |is_open| !*is_open).unwrap());
            Ok(window.len())
        }
    }

    impl Gate {
        fn begun(&self, count: usize) {
            until(|| self.asked.load(Ordering::Relaxed) >= count);
            assert_eq!(self.asked.load(Ordering::Relaxed), count);
        }

        fn open(&self) {
            *held(&self.is_open) = true;
            self.opened.notify_all();
        }
    }

    fn until(mut holds: impl FnMut() -> bool) {
        let start = Instant::now();
        while !holds() {
            assert!(start.elapsed() < Duration::from_secs(20));
            std::thread::yield_now();
        }
    }

    const PATIENCE: Duration = Duration::from_secs(8);

    fn ask(reading: &mut Reading<u64>, gate: &Arc<Gate>, store: u64, of: u64, now: Instant) -> Vec<Option<Ticket>> {
        let place = |n| Place { store, source: n % of, name: "film.mp4".into() };
        let reel = || Reel::new(Box::new(Arc::clone(gate)), vec![0; 16]);
        (0..40).map(|n| reading.ask(n, place(n), reel(), now).ok()).collect()
    }

    /// All that comes back, of `count` windows.
    fn back(reading: &mut Reading<u64>, count: usize, now: Instant) -> Vec<u64> {
        let mut all = Vec::new();
        until(|| {
            all.extend(reading.take(now).into_iter().map(|back| match back {
                Back::Made(by, _) => by,
                Back::Late(..) => unreachable!(),
            }));
            all.len() >= count
        });
        all.sort_unstable();
        all
    }

    #[test]
    fn a_store_that_does_not_answer_has_as_many_threads_as_may_be_and_no_more() {
        let (gate, start) = (Arc::new(Gate::default()), Instant::now());
        let mut reading = Reading::new(PATIENCE).unwrap();
        let mut now = start;
        for begun in [AT_ONCE, STUCK] {
            assert!(ask(&mut reading, &gate, 1, 10, now).iter().all(Option::is_some));
            gate.begun(begun);
            assert_eq!(reading.counts(now), (40, (begun - AT_ONCE) as u64));
            now += PATIENCE - Duration::from_millis(1);
            assert!(reading.tick(now).is_empty());
            now += Duration::from_millis(1);
            let late = reading.tick(now);
            assert!(late.iter().all(|back| matches!(back, Back::Late(_, Failure(why)) if why.contains("film.mp4"))));
            assert_eq!((late.len(), reading.counts(now)), (40, (0, begun as u64)));
        }
        assert!(ask(&mut reading, &gate, 1, 10, now).iter().all(Option::is_none));
        gate.begun(STUCK);
        // Another store has nothing to do with it.
        let other = Arc::new(Gate::default());
        other.open();
        assert!(ask(&mut reading, &other, 2, 1, now).iter().all(Option::is_some));
        assert_eq!(back(&mut reading, 40, now), (0..40).collect::<Vec<_>>());
        gate.open();
        until(|| {
            assert!(reading.take(now).is_empty());
            reading.counts(now) == (0, 0)
        });
        assert!(ask(&mut reading, &gate, 1, 10, now).iter().all(Option::is_some));
        back(&mut reading, 40, now);
    }

    #[test]
    fn a_source_that_does_not_answer_has_half_of_its_stores_threads() {
        let (gate, now) = (Arc::new(Gate::default()), Instant::now());
        let mut reading = Reading::new(PATIENCE).unwrap();
        for later in [now, now + PATIENCE] {
            let asked = ask(&mut reading, &gate, 1, 1, later);
            assert!(asked.iter().all(|ticket| ticket.is_some() == (later == now)));
            gate.begun(OF_ONE);
        }
        // It says nothing of the others.
        assert!(ask(&mut reading, &gate, 1, 2, now + PATIENCE).iter().skip(1).step_by(2).all(Option::is_some));
        gate.begun(2 * OF_ONE);
        gate.open();
    }

    #[test]
    fn what_waits_goes_on_when_others_are_known_not_to_be_answered() {
        let (gate, start) = (Arc::new(Gate::default()), Instant::now());
        let mut reading = Reading::new(PATIENCE).unwrap();
        for (seconds, begun) in [(0, AT_ONCE), (5, AT_ONCE), (8, STUCK), (12, STUCK)] {
            let now = start + Duration::from_secs(seconds);
            reading.tick(now);
            gate.begun(if seconds == 0 { 0 } else { begun });
            assert!(ask(&mut reading, &gate, 1, 10, now).iter().all(Option::is_some));
            gate.begun(begun);
        }
        // Those are as many as may be.
        reading.tick(start + Duration::from_secs(16));
        gate.begun(STUCK);
        gate.open();
    }

    #[test]
    fn patience_counts_from_the_asking_and_speaks_against_a_store_from_the_beginning() {
        let start = Instant::now();
        let at = |seconds| start + Duration::from_secs(seconds);
        let gates = [Arc::new(Gate::default()), Arc::new(Gate::default())];
        let mut reading = Reading::new(PATIENCE).unwrap();
        let place = Place { store: 1, source: 1, name: "film.mp4".into() };
        let mut ask = |gate: &Arc<Gate>, by: u64, seconds| {
            let reel = Reel::new(Box::new(Arc::clone(gate)), vec![0; 16]);
            assert!(reading.ask(by, place.clone(), reel, at(seconds)).is_ok());
        };
        (0..OF_ONE as u64).for_each(|by| ask(&gates[0], by, 0));
        ask(&gates[1], 9, 2);
        gates[0].open();
        assert_eq!(back(&mut reading, OF_ONE, at(7)), (0..OF_ONE as u64).collect::<Vec<_>>());
        gates[1].begun(1);
        assert!(reading.tick(at(10) - Duration::from_millis(1)).is_empty());
        assert!(matches!(reading.tick(at(10))[..], [Back::Late(9, _)]));
        assert_eq!([14, 15].map(|seconds| reading.counts(at(seconds))), [(0, 0), (0, 1)]);
        gates[1].open();
    }

    #[test]
    fn what_no_thread_has_taken_is_not_read_when_the_delivery_has_ended() {
        let gates = [Arc::new(Gate::default()), Arc::new(Gate::default())];
        let reading = Reading::<u64>::new(PATIENCE).unwrap();
        let threads = Arc::clone(&reading.threads);
        let reel = |gate: &Arc<Gate>| Reel::new(Box::new(Arc::clone(gate)), vec![0; 16]);
        threads.run(0, reel(&gates[0]));
        gates[0].begun(1);
        // As where the thread that was started for it has not yet come so far.
        held(&threads.work).waiting.push_back((1, reel(&gates[1])));
        drop(reading);
        gates.iter().for_each(|gate| gate.open());
        until(|| Arc::strong_count(&threads) == 1);
        gates[1].begun(0);
    }

    #[test]
    fn sources_are_read_in_turn() {
        let (gate, now) = (Arc::new(Gate::default()), Instant::now());
        let mut reading = Reading::new(PATIENCE).unwrap();
        for source in 0..3 {
            let place = Place { store: 1, source, name: "film.mp4".into() };
            for n in 0..20 {
                let reel = Reel::new(Box::new(Arc::clone(&gate)), vec![0; 16]);
                assert!(reading.ask(20 * source + n, place.clone(), reel, now).is_ok());
            }
        }
        gate.open();
        until(|| {
            reading.take(now);
            reading.wanted.values().any(|wanted| wanted.place.source == 2 && wanted.begun.is_some())
        });
        // The last one does not wait until the others have all they want.
        let waiting: Vec<u64> = reading.stores[&1].waiting.iter().map(|(source, _)| *source).collect();
        assert!(waiting.contains(&0) && waiting.contains(&1), "{waiting:?}");
    }

    #[test]
    fn what_waits_behind_a_source_that_does_not_answer_is_read_in_turn() {
        let (gate, open, now) = (Arc::new(Gate::default()), Arc::new(Gate::default()), Instant::now());
        open.open();
        let mut reading = Reading::new(PATIENCE).unwrap();
        let tickets = ask(&mut reading, &gate, 1, 1, now);
        let place = Place { store: 1, source: 9, name: "other.mp4".into() };
        for n in 100..120 {
            assert!(reading.ask(n, place.clone(), Reel::new(Box::new(Arc::clone(&open)), vec![0; 16]), now).is_ok());
        }
        assert_eq!(back(&mut reading, 20, now), (100..120).collect::<Vec<_>>());
        // Who goes takes along what no thread has.
        let left = tickets.into_iter().flatten().filter_map(|ticket| reading.forget(ticket)).count();
        assert_eq!((left, reading.counts(now)), (40 - OF_ONE, (0, 0)));
        gate.open();
    }
}
