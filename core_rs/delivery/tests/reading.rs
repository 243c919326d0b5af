//! Sources that have to be waited for, and such as do not answer.

mod common;

use std::io::Read;
use std::net::TcpStream;
use std::sync::atomic::{AtomicBool, AtomicUsize, Ordering};
use std::sync::{Arc, Condvar, Mutex};
use std::thread;
use std::time::{Duration, Instant};

use pystream_delivery::{
    Body, Delivery, End, Failure, Filled, Line, Order, Outcome, Piece, Place, Producer, Recipe, Settings, Shared,
    Source,
};

use common::{PATIENCE, Sums, body, order, outcomes, pair, pattern};

const WINDOW: usize = 4096;
const LENGTH: u64 = 20_000;

/// What answers when it is told to.
#[derive(Default)]
struct Gate {
    is_open: Mutex<bool>,
    opened: Condvar,
    /// Who asked, ever; and who waits now.
    asked: AtomicUsize,
    waiting: AtomicUsize,
}

impl Gate {
    fn pass(&self) {
        assert_ne!(thread::current().name(), Some("delivery"), "the thread that sends waits for a source");
        self.asked.fetch_add(1, Ordering::Relaxed);
        self.waiting.fetch_add(1, Ordering::Relaxed);
        let is_open = self.is_open.lock().unwrap();
        drop(self.opened.wait_while(is_open, |is_open| !*is_open).unwrap());
        self.waiting.fetch_sub(1, Ordering::Relaxed);
    }

    fn set(&self, open: bool) {
        *self.is_open.lock().unwrap() = open;
        self.opened.notify_all();
    }

    fn asked(&self) -> usize {
        self.asked.load(Ordering::Relaxed)
    }

    fn waiting(&self) -> usize {
        self.waiting.load(Ordering::Relaxed)
    }
}

/// A source of a store far away. `near`: bytes at its beginning that are at hand.
#[derive(Clone)]
struct Far {
    gate: Arc<Gate>,
    store: u64,
    source: u64,
    near: u64,
    changed: Arc<AtomicBool>,
}

impl Far {
    fn new(gate: &Arc<Gate>, store: u64, source: u64) -> Self {
        Self { gate: Arc::clone(gate), store, source, near: 0, changed: Arc::default() }
    }

    fn place(&self) -> Place {
        Place { store: self.store, source: self.source, name: "film.mp4".into() }
    }

    fn file(&self) -> Body {
        Body::Pieces(Arc::new(self.clone()), Arc::new([Piece::Range(0..100), Piece::Range(100..LENGTH)]))
    }

    fn made(&self) -> Body {
        Body::Made(Box::new(Reel { far: self.clone(), at: 0 }), None)
    }

    fn shared(&self) -> Body {
        Body::Shared(Shared { key: [1; 16], size: LENGTH, recipe: Box::new(self.clone()) })
    }
}

impl Source for Far {
    fn read_exact_at(&self, offset: u64, buffer: &mut [u8]) -> Result<(), Failure> {
        self.gate.pass();
        (offset..).zip(buffer).for_each(|(at, byte)| *byte = pattern(at));
        Ok(())
    }

    fn read_now(&self, offset: u64, buffer: &mut [u8]) -> Result<Option<Place>, Failure> {
        if offset + buffer.len() as u64 > self.near {
            buffer.fill(0xEE);
            return Ok(Some(self.place()));
        }
        (offset..).zip(buffer).for_each(|(at, byte)| *byte = pattern(at));
        Ok(None)
    }

    fn is_remote(&self) -> Option<Place> {
        (self.near == 0).then(|| self.place())
    }

    fn check(&self) -> Result<(), Failure> {
        if self.near == 0 {
            self.gate.pass();
        }
        if self.changed.load(Ordering::Relaxed) { Err(Failure("changed".into())) } else { Ok(()) }
    }
}

impl Recipe for Far {
    fn begin(&self) -> (Box<dyn Producer>, Option<Box<pystream_cipher::Lane>>) {
        (Box::new(Reel { far: self.clone(), at: 0 }), None)
    }

    fn source(&self) -> &str {
        "film.mp4"
    }
}

struct Reel {
    far: Far,
    at: u64,
}

impl Producer for Reel {
    fn fill(&mut self, window: &mut [u8]) -> Result<usize, Failure> {
        let filled = window.len().min((LENGTH - self.at) as usize);
        self.far.read_exact_at(self.at, &mut window[..filled])?;
        self.at += filled as u64;
        Ok(filled)
    }

    fn fill_now(&mut self, _: &mut [u8]) -> Result<Filled, Failure> {
        Ok(Filled::Later(self.far.place()))
    }

    fn check(&self) -> Result<(), Failure> {
        self.far.check()
    }
}

fn delivery(patience: Duration) -> Delivery {
    // Whoever waits for a source has not stalled.
    Delivery::start(Settings { window: WINDOW, stall: Duration::from_millis(300), patience, least_rate: 0 }, None)
        .unwrap()
}

fn until(holds: impl Fn() -> bool) {
    let start = Instant::now();
    while !holds() {
        assert!(start.elapsed() < Duration::from_secs(20));
        thread::yield_now();
    }
}

/// Everybody gets a film that is in memory, at once.
fn flows(delivery: &Delivery, sums: &Arc<Sums>) {
    let (mut client, line) = pair(sums);
    delivery.send(order(1000, &line, body(500_000, true), 500_016));
    client.read_exact(&mut vec![0; 4 + 500_016]).unwrap();
    assert_eq!(outcomes(delivery, 1), [Outcome { id: 1000, end: End::Handed }]);
}

fn is_whole(client: &mut TcpStream) {
    let mut got = vec![0; 4 + LENGTH as usize];
    client.read_exact(&mut got).unwrap();
    assert!(got[4..].iter().zip(0..).all(|(&byte, at)| byte == pattern(at)));
}

#[test]
fn who_waits_for_a_source_keeps_nobody_else_waiting() {
    let (sums, gate) = (Arc::new(Sums::default()), Arc::new(Gate::default()));
    let delivery = delivery(PATIENCE);
    let far = Far::new(&gate, 1, 1);
    for bodies in [Far::file, Far::made] {
        gate.set(false);
        let mut peers: Vec<_> = (0..20).map(|_| pair(&sums)).collect();
        for (id, (_, line)) in (0..).zip(&peers) {
            delivery.send(order(id, line, bodies(&far), LENGTH));
        }
        until(|| gate.waiting() == 4);
        let before = delivery.counters().beats.load(Ordering::Relaxed);
        flows(&delivery, &sums);
        // Two looks at those who stall.
        until(|| delivery.counters().beats.load(Ordering::Relaxed) >= before + 10);
        until(|| delivery.counters().reading.load(Ordering::Relaxed) == 20);
        assert_eq!(gate.waiting(), 4);
        gate.set(true);
        peers.iter_mut().for_each(|(client, _)| is_whole(client));
        assert!(outcomes(&delivery, 20).iter().all(|outcome| outcome.end == End::Handed));
    }
}

#[test]
fn what_is_at_hand_is_sent_by_the_thread_that_sends() {
    let (sums, gate) = (Arc::new(Sums::default()), Arc::new(Gate::default()));
    let delivery = delivery(PATIENCE);
    for (near, reads) in [(LENGTH, 0), (10_000, 3)] {
        gate.set(true);
        let far = Far { near, ..Far::new(&gate, 1, 1) };
        let before = gate.asked();
        let (mut client, line) = pair(&sums);
        delivery.send(order(1, &line, far.file(), LENGTH));
        is_whole(&mut client);
        assert_eq!(outcomes(&delivery, 1)[0].end, End::Handed);
        assert_eq!(gate.asked() - before, reads, "{near}");
    }
}

/// What is at hand until it is not.
struct Receding(Far, AtomicBool);

impl Source for Receding {
    fn read_exact_at(&self, offset: u64, buffer: &mut [u8]) -> Result<(), Failure> {
        self.0.read_exact_at(offset, buffer)
    }

    fn read_now(&self, offset: u64, buffer: &mut [u8]) -> Result<Option<Place>, Failure> {
        let near = if self.1.load(Ordering::Relaxed) { 0 } else { u64::MAX };
        Far { near, ..self.0.clone() }.read_now(offset, buffer)
    }

    fn check(&self) -> Result<(), Failure> {
        Ok(())
    }
}

#[test]
fn what_was_sent_is_not_counted_while_a_source_is_waited_for() {
    let (sums, gate) = (Arc::new(Sums::default()), Arc::new(Gate::default()));
    let delivery = delivery(PATIENCE);
    let (client, line) = pair(&sums);
    // More than any socket takes.
    let length = 64 << 20;
    let source = Arc::new(Receding(Far::new(&gate, 1, 1), AtomicBool::new(false)));
    let body = Body::Pieces(Arc::clone(&source) as Arc<dyn Source>, Arc::new([Piece::Range(0..length)]));
    delivery.send(order(1, &line, body, length));
    let waiting = || delivery.counters().waiting.load(Ordering::Relaxed);
    until(|| waiting() > 0);
    source.1.store(true, Ordering::Relaxed);
    let mut reader = client.try_clone().unwrap();
    let reading = thread::spawn(move || drop(std::io::copy(&mut reader, &mut std::io::sink())));
    until(|| gate.waiting() == 1);
    assert_eq!(waiting(), 0);
    delivery.cancel(1);
    outcomes(&delivery, 1);
    gate.set(true);
    client.shutdown(std::net::Shutdown::Both).unwrap();
    reading.join().unwrap();
}

#[test]
fn a_range_of_what_has_to_be_waited_for_is_the_whole_cut() {
    let (sums, gate) = (Arc::new(Sums::default()), Arc::new(Gate::default()));
    gate.set(true);
    let delivery = delivery(PATIENCE);
    for bodies in [Far::file, Far::made, Far::shared] {
        for (from, to) in [(0, 1), (99, 101), (4095, 4097), (4096, 8192), (19_999, LENGTH)] {
            let (mut client, line) = pair(&sums);
            let whole = order(1, &line, bodies(&Far::new(&gate, 1, 1)), to - from);
            delivery.send(Order { skip: from, ..whole });
            let mut got = vec![0; 4 + (to - from) as usize];
            client.read_exact(&mut got).unwrap();
            assert!(got[4..].iter().zip(from..).all(|(&byte, at)| byte == pattern(at)), "{from}..{to}");
            assert_eq!(outcomes(&delivery, 1)[0].end, End::Handed);
        }
    }
}

#[test]
fn a_store_has_few_threads_and_another_one_has_its_own() {
    let (sums, gate) = (Arc::new(Sums::default()), Arc::new(Gate::default()));
    let delivery = delivery(PATIENCE);
    let mut peers: Vec<_> = (0..60).map(|_| pair(&sums)).collect();
    for (id, (_, line)) in (0..).zip(&peers) {
        delivery.send(order(id, line, Far::new(&gate, 1, id % 6).made(), LENGTH));
    }
    until(|| gate.waiting() == 8);
    let (mut client, line) = pair(&sums);
    let other = Arc::new(Gate::default());
    other.set(true);
    delivery.send(order(99, &line, Far::new(&other, 2, 1).made(), LENGTH));
    is_whole(&mut client);
    assert_eq!(outcomes(&delivery, 1)[0].id, 99);
    assert_eq!(gate.asked(), 8);
    gate.set(true);
    peers.iter_mut().for_each(|(client, _)| is_whole(client));
    outcomes(&delivery, 60);
}

#[test]
fn what_nobody_wants_any_more_is_not_read() {
    let (sums, gate) = (Arc::new(Sums::default()), Arc::new(Gate::default()));
    let delivery = delivery(PATIENCE);
    let far = Far::new(&gate, 1, 1);
    let peers: Vec<_> = (0..20).map(|_| pair(&sums)).collect();
    for (id, (_, line)) in (0..).zip(&peers) {
        delivery.send(order(id, line, far.made(), LENGTH));
    }
    until(|| gate.waiting() == 4);
    (0..20).for_each(|id| delivery.cancel(id));
    assert!(outcomes(&delivery, 20).iter().all(|outcome| outcome.end == End::Cancelled));
    until(|| delivery.counters().reading.load(Ordering::Relaxed) == 0);
    gate.set(true);
    until(|| gate.waiting() == 0);
    let before = gate.asked();
    // One window, and whether it belongs to the source, of each that was begun.
    assert!(before <= 8, "{before}");
    let (mut client, line) = pair(&sums);
    delivery.send(order(1, &line, far.made(), LENGTH));
    is_whole(&mut client);
    outcomes(&delivery, 1);
}

#[test]
fn who_waits_in_vain_is_told_and_a_source_that_is_back_is_read() {
    let (sums, gate) = (Arc::new(Sums::default()), Arc::new(Gate::default()));
    for bodies in [Far::file, Far::made, Far::shared] {
        gate.set(false);
        let delivery = delivery(Duration::from_millis(100));
        let far = Far::new(&gate, 1, 1);
        let before = gate.asked();
        let send = || -> Vec<(TcpStream, Arc<Line>)> {
            let peers: Vec<_> = (0..20).map(|_| pair(&sums)).collect();
            for (id, (_, line)) in (0..).zip(&peers) {
                delivery.send(order(id, line, bodies(&far), LENGTH));
            }
            peers
        };
        let in_vain = || {
            let _peers = send();
            for Outcome { end, .. } in outcomes(&delivery, 20) {
                assert_eq!(end, End::Silent(Failure("film.mp4: the file system did not answer in time".into())));
            }
        };
        in_vain();
        let asked = gate.asked() - before;
        assert!(asked <= 4, "{asked}");
        until(|| delivery.counters().stuck.load(Ordering::Relaxed) == asked as u64);
        flows(&delivery, &sums);
        // With as many stuck as may be, nothing more is asked.
        in_vain();
        in_vain();
        assert!(gate.asked() - before <= 4);
        gate.set(true);
        until(|| delivery.counters().stuck.load(Ordering::Relaxed) == 0);
        send().iter_mut().for_each(|(client, _)| is_whole(client));
        assert!(outcomes(&delivery, 20).iter().all(|outcome| outcome.end == End::Handed));
    }
}

#[test]
fn what_was_written_over_while_it_was_waited_for_is_no_whole_answer() {
    let (sums, gate) = (Arc::new(Sums::default()), Arc::new(Gate::default()));
    gate.set(true);
    let delivery = delivery(PATIENCE);
    for bodies in [Far::file, Far::made, Far::shared] {
        let far = Far::new(&gate, 1, 1);
        far.changed.store(true, Ordering::Relaxed);
        let (_client, line) = pair(&sums);
        delivery.send(order(1, &line, bodies(&far), LENGTH));
        assert_eq!(outcomes(&delivery, 1)[0].end, End::Failed(Failure("changed".into())));
    }
}

#[test]
fn whether_it_was_written_over_is_asked_by_who_waits_for_it() {
    let sums = Arc::new(Sums::default());
    let delivery = delivery(PATIENCE);
    for bodies in [Far::file, Far::made] {
        let gate = Arc::new(Gate::default());
        let far = Far::new(&gate, 1, 1);
        let (mut client, line) = pair(&sums);
        // In one window: when the last one is sent, nobody asks again.
        delivery.send(order(1, &line, bodies(&far), 100));
        until(|| gate.waiting() == 1);
        far.changed.store(true, Ordering::Relaxed);
        gate.set(true);
        assert_eq!(outcomes(&delivery, 1)[0].end, End::Failed(Failure("changed".into())));
        far.changed.store(false, Ordering::Relaxed);
        let before = gate.asked();
        delivery.send(order(2, &line, bodies(&far), 100));
        client.read_exact(&mut [0; 104]).unwrap();
        assert_eq!(outcomes(&delivery, 1)[0].end, End::Handed);
        // For its bytes, and for that, however often it was looked at afterwards.
        assert_eq!(gate.asked() - before, 2);
    }
}

#[test]
fn waiting_for_a_source_is_no_stall() {
    let sums = Arc::new(Sums::default());
    let delivery = delivery(PATIENCE);
    // A shared one is made once for all.
    let kinds: [fn(&Far) -> Body; 3] = [Far::file, Far::made, Far::shared];
    for (bodies, asking) in kinds.into_iter().zip([3, 3, 1]) {
        let gate = Arc::new(Gate::default());
        let far = Far::new(&gate, 1, 1);
        let mut peers: Vec<_> = (0..3).map(|_| pair(&sums)).collect();
        for (id, (_, line)) in (0..).zip(&peers) {
            delivery.send(order(id, line, bodies(&far), LENGTH));
        }
        until(|| gate.waiting() >= asking);
        // One that reads nothing, and is asked for later, is over.
        let (_stalled, line) = pair(&sums);
        delivery.send(order(9, &line, body(64 << 20, false), 64 << 20));
        assert_eq!(outcomes(&delivery, 1), [Outcome { id: 9, end: End::Stalled }]);
        gate.set(true);
        peers.iter_mut().for_each(|(client, _)| is_whole(client));
        assert!(outcomes(&delivery, 3).iter().all(|outcome| outcome.end == End::Handed));
    }
}

#[test]
fn a_panic_of_who_waits_ends_the_answer_that_it_came_from() {
    struct Bug(Place);
    impl Producer for Bug {
        fn fill(&mut self, _: &mut [u8]) -> Result<usize, Failure> {
            panic!("a bug while a source is waited for")
        }
        fn fill_now(&mut self, _: &mut [u8]) -> Result<Filled, Failure> {
            Ok(Filled::Later(self.0.clone()))
        }
    }
    let (sums, gate) = (Arc::new(Sums::default()), Arc::new(Gate::default()));
    let delivery = delivery(PATIENCE);
    for _ in 0..10 {
        let (_client, line) = pair(&sums);
        let place = Far::new(&gate, 1, 1).place();
        delivery.send(order(1, &line, Body::Made(Box::new(Bug(place)), None), LENGTH));
        let ends = outcomes(&delivery, 1);
        assert!(matches!(&ends[0].end, End::Failed(Failure(why)) if why.contains("bug")), "{ends:?}");
    }
}

#[test]
fn a_delivery_ends_while_its_source_does_not_answer() {
    let (sums, gate) = (Arc::new(Sums::default()), Arc::new(Gate::default()));
    let delivery = delivery(PATIENCE);
    let peers: Vec<_> = (0..20).map(|_| pair(&sums)).collect();
    for (id, (_, line)) in (0..).zip(&peers) {
        delivery.send(order(id, line, Far::new(&gate, 1, 1).made(), LENGTH));
    }
    until(|| gate.waiting() == 4);
    drop(delivery);
    gate.set(true);
    until(|| gate.waiting() == 0);
}
