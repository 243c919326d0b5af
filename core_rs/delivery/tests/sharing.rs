//! Segments that several viewers want, and bodies that lie in files.

mod common;

use std::fs::File;
use std::io::{Read, Write};
use std::net::TcpStream;
use std::os::fd::OwnedFd;
use std::os::unix::fs::FileExt;
use std::sync::atomic::{AtomicBool, AtomicU64, Ordering};
use std::sync::mpsc::{Receiver, Sender, channel};
use std::sync::{Arc, Mutex};
use std::time::{Duration, Instant};

use pystream_cipher::{Lane, padded_len};
use pystream_delivery::{
    Body, Delivery, End, Failure, Filled, Line, Order, Piece, Place, Producer, Recipe, Settings, Shared, Source,
};
use pystream_shm::{BLOCK, Cache};

use common::{PATIENCE, Sums, made, order, outcomes, pair, pattern};

const WINDOW: usize = 4096;

/// A segment of `length` bytes that counts its makings and the bytes made.
#[derive(Clone)]
struct Film {
    key: u8,
    length: u64,
    encrypted: bool,
    broken: Option<u64>,
    /// What it is made from was written to since it was opened.
    changed: Arc<AtomicBool>,
    /// Where there is one, a window is made for each message.
    gate: Option<Arc<Mutex<Receiver<()>>>>,
    /// Where that has to be waited for.
    place: Option<Place>,
    begun: Arc<AtomicU64>,
    made: Arc<AtomicU64>,
}

impl Film {
    fn new(key: u8, length: u64, encrypted: bool) -> Self {
        let (changed, begun, made) = Default::default();
        Self { key, length, encrypted, broken: None, changed, gate: None, place: None, begun, made }
    }

    fn gated(key: u8, length: u64) -> (Self, Sender<()>) {
        let (open, gate) = channel();
        (Self { gate: Some(Arc::new(Mutex::new(gate))), ..Self::new(key, length, true) }, open)
    }

    /// Of a store that is far away.
    fn far(key: u8, length: u64) -> (Self, Sender<()>) {
        let (film, open) = Self::gated(key, length);
        let place = Place { store: 1, source: 1, name: "film.mp4".into() };
        (Self { place: Some(place), ..film }, open)
    }

    fn bytes(&self) -> Vec<u8> {
        made(self.length, self.encrypted)
    }

    fn body(&self) -> Body {
        let size = if self.encrypted { padded_len(self.length as usize) as u64 } else { self.length };
        Body::Shared(Shared { key: [self.key; 16], size, recipe: Box::new(self.clone()) })
    }

    fn begun(&self) -> u64 {
        self.begun.load(Ordering::Relaxed)
    }
}

impl Recipe for Film {
    fn begin(&self) -> (Box<dyn Producer>, Option<Box<Lane>>) {
        self.begun.fetch_add(1, Ordering::Relaxed);
        let lane = self.encrypted.then(|| Box::new(Lane::new(&[5; 16], &[6; 16])));
        (Box::new(Reel { film: self.clone(), at: 0 }), lane)
    }

    fn source(&self) -> &str {
        "film.mp4"
    }
}

struct Reel {
    film: Film,
    at: u64,
}

impl Producer for Reel {
    fn fill(&mut self, window: &mut [u8]) -> Result<usize, Failure> {
        if let Some(gate) = &self.film.gate {
            gate.lock().unwrap().recv().unwrap();
        }
        if self.film.broken.is_some_and(|broken| self.at >= broken) {
            return Err(Failure("the source is gone".into()));
        }
        let filled = window.len().min((self.film.length - self.at) as usize);
        window[..filled].fill_with(|| {
            self.at += 1;
            pattern(self.at - 1)
        });
        self.film.made.fetch_add(filled as u64, Ordering::Relaxed);
        Ok(filled)
    }

    fn fill_now(&mut self, window: &mut [u8]) -> Result<Filled, Failure> {
        match &self.film.place {
            Some(place) => Ok(Filled::Later(place.clone())),
            None => self.fill(window).map(Filled::Bytes),
        }
    }

    fn check(&self) -> Result<(), Failure> {
        if self.film.changed.load(Ordering::Relaxed) { Err(changed()) } else { Ok(()) }
    }
}

fn delivery(cache: Option<Cache>) -> Delivery {
    patient(cache, PATIENCE)
}

fn patient(cache: Option<Cache>, patience: Duration) -> Delivery {
    Delivery::start(Settings { window: WINDOW, stall: Duration::from_secs(30), patience, least_rate: 0 }, cache)
        .unwrap()
}

fn cache(blocks: usize, seats: usize) -> OwnedFd {
    Cache::create(blocks * BLOCK, seats).unwrap()
}

fn attach(fd: &OwnedFd, seat: usize) -> Cache {
    Cache::attach(fd.try_clone().unwrap(), seat).unwrap()
}

/// Asks for `film` on a connection of its own and reads all of it.
fn watch(delivery: &Delivery, id: u64, film: &Film, sums: &Arc<Sums>) -> Vec<u8> {
    let (mut client, line) = pair(sums);
    let length = film.bytes().len();
    delivery.send(order(id, &line, film.body(), length as u64));
    let mut got = vec![0; 4 + length];
    client.read_exact(&mut got).unwrap();
    assert_eq!(outcomes(delivery, 1)[0].end, End::Handed);
    got.split_off(4)
}

#[test]
fn who_asks_at_the_same_time_shares_a_making_with_and_without_a_cache() {
    let sums = Arc::new(Sums::default());
    let fd = cache(16, 1);
    // No cache; one with room; one without.
    for node in [None, Some(attach(&fd, 0)), Some(attach(&cache(1, 1), 0))] {
        for encrypted in [false, true] {
            let (film, open) = Film::gated(u8::from(encrypted), 700_000);
            let film = Film { encrypted, ..film };
            let bytes = film.bytes();
            let delivery = delivery(node.clone());
            let mut peers: Vec<_> = (0..20).map(|_| pair(&sums)).collect();
            for (id, (_, line)) in peers.iter().enumerate() {
                delivery.send(order(id as u64, line, film.body(), bytes.len() as u64));
            }
            // Enough for two makings, of which the first one is given up for the second.
            (0..2 * bytes.len() / WINDOW + 2).for_each(|_| open.send(()).unwrap());
            std::thread::scope(|scope| {
                for (client, _) in &mut peers {
                    let bytes = &bytes;
                    scope.spawn(move || {
                        let mut got = vec![0; 4 + bytes.len()];
                        client.read_exact(&mut got).unwrap();
                        assert!(got[4..] == *bytes);
                    });
                }
            });
            assert!(outcomes(&delivery, 20).iter().all(|outcome| outcome.end == End::Handed));
            assert_eq!(film.begun(), 2);
            assert_eq!(delivery.counters().makings.load(Ordering::Relaxed), film.begun());
        }
    }
}

#[test]
fn who_was_served_alone_reads_on_what_a_second_viewer_had_made() {
    let sums = Arc::new(Sums::default());
    let fd = cache(512, 1);
    let delivery = delivery(Some(attach(&fd, 0)));
    let film = Film::new(1, 24 << 20, false);
    let (mut client, line) = pair(&sums);
    // No socket takes all of it, and this peer does not read yet.
    delivery.send(order(1, &line, film.body(), film.length));
    let mut got = vec![0; 4 + film.length as usize];
    client.read_exact(&mut got[..4]).unwrap();
    let second = Film { begun: Arc::clone(&film.begun), ..Film::new(1, film.length, false) };
    assert!(watch(&delivery, 2, &second, &sums) == film.bytes());
    client.read_exact(&mut got[4..]).unwrap();
    assert!(got[4..] == film.bytes());
    assert_eq!(film.begun(), 2);
    assert!(film.made.load(Ordering::Relaxed) < film.length);
    assert_eq!(second.made.load(Ordering::Relaxed), film.length);
}

#[test]
fn what_a_second_viewer_asks_for_is_kept_for_a_third() {
    let sums = Arc::new(Sums::default());
    let fd = cache(16, 2);
    let (here, there) = (delivery(Some(attach(&fd, 0))), delivery(Some(attach(&fd, 1))));
    let film = Film::new(1, 300_000, true);
    for (viewer, (delivery, begun)) in [(&here, 1), (&there, 2), (&here, 2), (&there, 2)].into_iter().enumerate() {
        assert!(watch(delivery, 1, &film, &sums) == film.bytes());
        assert_eq!(film.begun(), begun, "viewer {viewer}");
    }
    assert_eq!(attach(&fd, 0).counters().bytes_used, 5 * BLOCK as u64);
}

#[test]
fn a_range_of_a_cached_segment_is_the_whole_cut() {
    let sums = Arc::new(Sums::default());
    let delivery = delivery(Some(attach(&cache(16, 1), 0)));
    let film = Film::new(1, 300_001, true);
    let bytes = film.bytes();
    for (from, to) in [(0, 1), (4095, 4097), (BLOCK - 1, BLOCK + 1), (100, 300_000), (300_000, bytes.len())] {
        let (mut client, line) = pair(&sums);
        delivery.send(Order { skip: from as u64, ..order(1, &line, film.body(), (to - from) as u64) });
        let mut got = vec![0; 4 + to - from];
        client.read_exact(&mut got).unwrap();
        assert!(got[4..] == bytes[from..to], "{from}..{to}");
        assert_eq!(outcomes(&delivery, 1)[0].end, End::Handed);
    }
    assert_eq!(film.begun(), 2);
}

#[test]
fn a_viewer_of_another_worker_reads_what_is_there_while_the_rest_is_made() {
    let sums = Arc::new(Sums::default());
    let fd = cache(16, 2);
    let (here, there) = (delivery(Some(attach(&fd, 0))), delivery(Some(attach(&fd, 1))));
    let (film, open) = Film::gated(1, 100_000);
    let other = Film::new(1, 100_000, true);
    attach(&fd, 0).wanted(&[1; 16], 0);
    let (bytes, mut peers) = (film.bytes(), [pair(&sums), pair(&sums)]);
    attach(&fd, 0).wanted(&[1; 16], monotonic_us());
    here.send(order(1, &peers[0].1, film.body(), bytes.len() as u64));
    open.send(()).unwrap();
    let mut got = [0; 4 + WINDOW];
    peers[0].0.read_exact(&mut got).unwrap();
    there.send(order(1, &peers[1].1, other.body(), bytes.len() as u64));
    peers[1].0.read_exact(&mut got).unwrap();
    assert!(got[4..] == bytes[..WINDOW]);
    (0..100_000 / WINDOW + 1).for_each(|_| open.send(()).unwrap());
    for (client, _) in &mut peers {
        let mut rest = vec![0; bytes.len() - WINDOW];
        client.read_exact(&mut rest).unwrap();
        assert!(rest == bytes[WINDOW..]);
    }
    assert_eq!((film.begun(), other.begun()), (1, 0));
}

fn until(holds: impl Fn() -> bool) {
    let start = Instant::now();
    while !holds() {
        assert!(start.elapsed() < Duration::from_secs(20));
        std::thread::yield_now();
    }
}

fn monotonic_us() -> u64 {
    let now = rustix::time::clock_gettime(rustix::time::ClockId::Monotonic);
    now.tv_sec as u64 * 1_000_000 + now.tv_nsec as u64 / 1000
}

#[test]
fn who_read_from_a_maker_that_gave_up_goes_on_where_it_stood() {
    let sums = Arc::new(Sums::default());
    let fd = cache(16, 2);
    let delivery = delivery(Some(attach(&fd, 0)));
    let film = Film::new(1, 300_000, true);
    let bytes = film.bytes();
    let mut filling = attach(&fd, 1).create_entry(&[1; 16], bytes.len() as u64).unwrap();
    filling.write(&bytes[..100_000]).unwrap();
    let mut peers: Vec<_> = (0..5).map(|_| pair(&sums)).collect();
    for (id, (client, line)) in peers.iter_mut().enumerate() {
        delivery.send(order(id as u64, line, film.body(), bytes.len() as u64));
        let mut got = vec![0; 4 + 100_000];
        client.read_exact(&mut got).unwrap();
        assert!(got[4..] == bytes[..100_000]);
    }
    assert_eq!(film.begun(), 0);
    drop(filling);
    for (client, _) in &mut peers {
        let mut rest = vec![0; bytes.len() - 100_000];
        client.read_exact(&mut rest).unwrap();
        assert!(rest == bytes[100_000..]);
    }
    // One of them made it, for all.
    assert_eq!(film.begun(), 1);
}

#[test]
fn a_maker_that_is_stopped_is_not_waited_for() {
    let sums = Arc::new(Sums::default());
    let fd = cache(16, 2);
    let delivery = delivery(Some(attach(&fd, 0)));
    let film = Film::new(1, 300_000, true);
    let mut filling = attach(&fd, 1).create_entry(&[1; 16], film.bytes().len() as u64).unwrap();
    filling.write(&film.bytes()[..50_000]).unwrap();
    assert!(watch(&delivery, 1, &film, &sums) == film.bytes());
    assert_eq!(film.begun(), 1);
}

/// `here` makes `film` for two viewers, and `there` another one waits for it, when this returns.
fn waiting_elsewhere(here: &Delivery, there: &Delivery, film: &Film, sums: &Arc<Sums>) -> [(TcpStream, Arc<Line>); 3] {
    let mut peers = [pair(sums), pair(sums), pair(sums)];
    let begun = film.begun();
    for (id, (_, line)) in (0..).zip(&peers[..2]) {
        here.send(order(id, line, film.body(), film.bytes().len() as u64));
    }
    until(|| film.begun() == begun + 2);
    there.send(order(2, &peers[2].1, film.body(), film.bytes().len() as u64));
    peers[2].0.read_exact(&mut [0; 4]).unwrap();
    peers
}

#[test]
fn a_maker_that_waits_for_its_source_is_waited_for() {
    let sums = Arc::new(Sums::default());
    let fd = cache(16, 3);
    let (here, there) = (delivery(Some(attach(&fd, 0))), delivery(Some(attach(&fd, 1))));
    let (film, open) = Film::far(1, 100_000);
    let mut peers = waiting_elsewhere(&here, &there, &film, &sums);
    // By the time that one is given up who says nothing of itself.
    let other = Film::new(2, 10_000, true);
    let stopped = attach(&fd, 2).create_entry(&[2; 16], other.bytes().len() as u64).unwrap();
    assert!(watch(&there, 3, &other, &sums) == other.bytes());
    drop(stopped);
    assert_eq!((other.begun(), film.begun()), (1, 2));
    // For the one whom nobody had joined yet, too.
    (0..2 * (film.length as usize / WINDOW + 1)).for_each(|_| open.send(()).unwrap());
    for ((client, _), head) in peers.iter_mut().zip([4, 4, 0]) {
        let mut got = vec![0; head + film.bytes().len()];
        client.read_exact(&mut got).unwrap();
        assert!(got[head..] == film.bytes());
    }
    assert_eq!(film.begun(), 2);
}

#[test]
fn a_source_that_does_not_answer_one_worker_has_kept_the_viewers_of_all_waiting() {
    let sums = Arc::new(Sums::default());
    let fd = cache(16, 2);
    // The other one would wait for longer.
    let patience = [1, 5].map(Duration::from_secs);
    let (here, there) = (patient(Some(attach(&fd, 0)), patience[0]), patient(Some(attach(&fd, 1)), patience[1]));
    let (film, open) = Film::far(1, 100_000);
    let _peers = waiting_elsewhere(&here, &there, &film, &sums);
    let silent = End::Silent(Failure("film.mp4: the file system did not answer in time".into()));
    assert!(outcomes(&here, 2).iter().all(|outcome| outcome.end == silent));
    assert_eq!(outcomes(&there, 1)[0].end, silent);
    assert_eq!(film.begun(), 2);
    drop(open);
}

#[test]
fn a_maker_that_is_dead_or_never_gets_on_is_not_waited_for() {
    let sums = Arc::new(Sums::default());
    let fd = cache(16, 2);
    for (patience, dies) in [(PATIENCE, true), (Duration::from_millis(100), false)] {
        let delivery = patient(Some(attach(&fd, 0)), patience);
        let film = Film::new(1 + u8::from(dies), 300_000, true);
        let filling = attach(&fd, 1).create_entry(&[film.key; 16], film.bytes().len() as u64).unwrap();
        let (mut client, line) = pair(&sums);
        delivery.send(order(1, &line, film.body(), film.bytes().len() as u64));
        client.read_exact(&mut [0; 4]).unwrap();
        if dies {
            attach(&fd, 0).reap(1);
        }
        until(|| {
            filling.stir();
            film.begun() == 1
        });
        let mut got = vec![0; film.bytes().len()];
        client.read_exact(&mut got).unwrap();
        assert!(got == film.bytes());
        std::mem::forget(filling);
    }
}

#[test]
fn a_source_that_breaks_off_ends_every_answer() {
    let sums = Arc::new(Sums::default());
    let delivery = delivery(Some(attach(&cache(16, 1), 0)));
    let film = Film { broken: Some(40_000), ..Film::new(1, 300_000, true) };
    let peers: Vec<_> = (0..5).map(|_| pair(&sums)).collect();
    for (id, (_, line)) in peers.iter().enumerate() {
        delivery.send(order(id as u64, line, film.body(), film.bytes().len() as u64));
    }
    for outcome in outcomes(&delivery, 5) {
        assert_eq!(outcome.end, End::Failed(Failure("the source is gone".into())));
    }
}

#[test]
fn a_slow_reader_keeps_what_it_was_sent_when_its_segment_is_gone() {
    let sums = Arc::new(Sums::default());
    // One segment fills the cache.
    let fd = cache(2, 1);
    let delivery = delivery(Some(attach(&fd, 0)));
    let film = Film::new(1, 2 * BLOCK as u64, false);
    let bytes = film.bytes();
    for id in 0..2 {
        watch(&delivery, id, &film, &sums);
    }
    // The peer's kernel has all of it before the peer reads a byte: pages, not copies.
    let (mut client, line) = pair(&sums);
    delivery.send(order(3, &line, film.body(), bytes.len() as u64));
    assert_eq!(outcomes(&delivery, 1)[0].end, End::Handed);
    assert_eq!(film.begun(), 2);
    let mut other = attach(&fd, 0).create_entry(&[9; 16], bytes.len() as u64).expect("the first one makes room");
    other.write(&vec![0xee; bytes.len()]).unwrap();
    let mut got = vec![0; 4 + bytes.len()];
    client.read_exact(&mut got).unwrap();
    assert!(got[4..] == bytes);
}

#[test]
fn viewers_who_read_nothing_hold_a_window_each_and_of_a_cached_segment_none() {
    let sums = Arc::new(Sums::default());
    let length = 16 << 20;
    for cached in [false, true] {
        let fd = cache(length as usize / BLOCK, 1);
        let delivery = delivery(cached.then(|| attach(&fd, 0)));
        let film = Film::new(1, length, false);
        if cached {
            let mut filling = attach(&fd, 0).create_entry(&[1; 16], length).unwrap();
            filling.write(&film.bytes()).unwrap();
            filling.finish().unwrap();
        }
        let peers: Vec<_> = (0..50).map(|_| pair(&sums)).collect();
        for (client, _) in &peers {
            rustix::net::sockopt::set_socket_recv_buffer_size(client, 64 << 10).unwrap();
        }
        for (id, (_, line)) in peers.iter().enumerate() {
            // Each its own segment, or all the same.
            let film = Film { key: if cached { 1 } else { 10 + id as u8 }, ..film.clone() };
            delivery.send(order(id as u64, line, film.body(), length));
        }
        let start = Instant::now();
        let waiting = |delivery: &Delivery| delivery.counters().waiting.load(Ordering::Relaxed);
        let expected = if cached { 0 } else { 50 };
        // The books are opened again for the second round.
        let before = if cached { 50 } else { 0 };
        while sums.all()[0] < before + 50 || waiting(&delivery) < expected {
            assert!(start.elapsed() < Duration::from_secs(120), "{}", waiting(&delivery));
            std::thread::yield_now();
        }
        assert!(waiting(&delivery) <= expected * WINDOW as u64, "{}", waiting(&delivery));
        assert_eq!(delivery.counters().answers.load(Ordering::Relaxed), 50);
        drop(peers);
    }
}

/// A file, and whether it is what it was when it was opened.
struct Disk(File, AtomicBool);

impl Source for Disk {
    fn read_exact_at(&self, offset: u64, buffer: &mut [u8]) -> Result<(), Failure> {
        self.0.read_exact_at(buffer, offset).map_err(|error| Failure(error.to_string()))
    }

    fn check(&self) -> Result<(), Failure> {
        if self.1.load(Ordering::Relaxed) { Err(changed()) } else { Ok(()) }
    }
}

fn changed() -> Failure {
    Failure("the source was written to".into())
}

fn disk(bytes: &[u8]) -> Arc<Disk> {
    let mut file = File::from(rustix::fs::memfd_create("film", rustix::fs::MemfdFlags::CLOEXEC).unwrap());
    file.write_all(bytes).unwrap();
    Arc::new(Disk(file, AtomicBool::new(false)))
}

#[test]
fn pieces_follow_one_another() {
    let sums = Arc::new(Sums::default());
    let delivery = delivery(None);
    let bytes: Vec<u8> = (0..100_000).map(pattern).collect();
    let pieces: Arc<[Piece]> = Arc::new([
        Piece::Range(50_000..50_010),
        Piece::Bytes(b"in between".as_slice().into()),
        Piece::Range(10..10),
        Piece::Bytes(vec![7; 20_000].into()),
        Piece::Range(0..100_000),
    ]);
    let whole = [&bytes[50_000..50_010], b"in between", &[7; 20_000], &bytes].concat();
    let disk = disk(&bytes);
    for (from, to) in [(0, whole.len()), (5, 15), (10, 20), (20_019, 20_021), (19_000, 90_000)] {
        let (mut client, line) = pair(&sums);
        let body = Body::Pieces(Arc::clone(&disk) as Arc<dyn Source>, Arc::clone(&pieces));
        delivery.send(Order { skip: from as u64, ..order(1, &line, body, (to - from) as u64) });
        let mut got = vec![0; 4 + to - from];
        client.read_exact(&mut got).unwrap();
        assert!(got[4..] == whole[from..to], "{from}..{to}");
        assert_eq!(outcomes(&delivery, 1)[0].end, End::Handed);
    }
}

#[test]
fn a_file_that_shrinks_is_no_whole_answer() {
    let sums = Arc::new(Sums::default());
    let delivery = delivery(None);
    let (_client, line) = pair(&sums);
    let body = Body::Pieces(disk(&[1; 5000]), Arc::new([Piece::Range(0..6000)]));
    delivery.send(order(1, &line, body, 6000));
    assert!(matches!(outcomes(&delivery, 1)[0].end, End::Failed(_)));
}

#[test]
fn what_was_written_over_is_no_whole_answer_even_where_its_end_is_in_memory() {
    let sums = Arc::new(Sums::default());
    let delivery = delivery(None);
    let disk = disk(&[1; 5000]);
    disk.1.store(true, Ordering::Relaxed);
    let bodies = [vec![Piece::Range(0..5000)], vec![Piece::Range(0..10), Piece::Bytes(vec![7; 4990].into())]];
    for pieces in bodies {
        let (_client, line) = pair(&sums);
        delivery.send(order(1, &line, Body::Pieces(Arc::clone(&disk) as Arc<dyn Source>, pieces.into()), 5000));
        assert_eq!(outcomes(&delivery, 1)[0].end, End::Failed(changed()));
    }
}

/// Whole windows too: the segment is then full before its maker knows that it is at the end.
#[test]
fn a_segment_whose_source_was_written_over_is_nobodys() {
    let sums = Arc::new(Sums::default());
    for length in [10_000, 2 * WINDOW as u64] {
        for encrypted in [false, true] {
            let fd = cache(16, 1);
            for node in [None, Some(attach(&fd, 0))] {
                let delivery = delivery(node);
                let film = Film::new(1, length, encrypted);
                film.changed.store(true, Ordering::Relaxed);
                // One alone; then two at a time; and one who wants a part.
                let parts = [vec![0], vec![0, 0], vec![100]];
                for skips in parts {
                    let peers: Vec<_> = skips.iter().map(|_| pair(&sums)).collect();
                    for (id, ((_, line), skip)) in (0..).zip(peers.iter().zip(&skips)) {
                        let length = film.bytes().len() as u64 - 2 * skip;
                        delivery.send(Order { skip: *skip, ..order(id, line, film.body(), length) });
                    }
                    let ends = outcomes(&delivery, peers.len());
                    assert!(ends.iter().all(|outcome| outcome.end == End::Failed(changed())), "{ends:?}");
                }
            }
            assert!(attach(&fd, 0).lookup(&[1; 16]).is_none());
        }
    }
}
