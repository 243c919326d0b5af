//! Answers over real sockets.

mod common;

use std::io::{ErrorKind, Read, Write};
use std::mem::MaybeUninit;
use std::net::{TcpListener, TcpStream};
use std::os::unix::net::UnixStream;
use std::sync::atomic::{AtomicUsize, Ordering};
use std::sync::{Arc, Mutex};
use std::time::{Duration, Instant};

use pystream_cipher::Lane;
use pystream_delivery::{
    Body, Delivery, End, Failure, Ledger, Line, Order, Outcome, Piece, Producer, Received, Recipe, Settings, Shared,
    Source, Tag,
};
use rustix::event::{PollFd, PollFlags, Timespec, poll};
use rustix::net::sockopt::{set_socket_linger, set_socket_recv_buffer_size, set_socket_send_buffer_size};

use common::{
    Counting, PATIENCE, ROW, Sums, body, delivery, made, narrow_pair, order, outcomes, pair, pattern, settled,
};

#[test]
fn many_answers_at_once_arrive_whole() {
    let sums = Arc::new(Sums::default());
    let delivery = delivery(4096, 10_000);
    let mut expected_sum = 0;
    let mut readers = Vec::new();
    let mut lines = Vec::new();
    for id in 0..40u64 {
        let length = [0, 1, 15, 16, 4095, 4096, 4097, 100_000, 1_500_001][(id % 9) as usize];
        let lane = id % 2 == 0;
        let bytes = made(length, lane);
        let (mut client, line) = pair(&sums);
        delivery.send(order(id, &line, body(length, lane), bytes.len() as u64));
        lines.push(line);
        expected_sum += 4 + bytes.len() as u64;
        readers.push(std::thread::spawn(move || {
            let mut got = vec![0; 4 + bytes.len()];
            client.read_exact(&mut got).unwrap();
            assert_eq!(&got[..4], b"HEAD");
            assert!(got[4..] == bytes);
            client
        }));
    }
    let ends = outcomes(&delivery, 40);
    assert!(ends.iter().all(|outcome| outcome.end == End::Handed), "{ends:?}");
    assert_eq!(ends.iter().map(|outcome| outcome.id).collect::<Vec<_>>(), (0..40).collect::<Vec<_>>());
    let clients: Vec<TcpStream> = readers.into_iter().map(|reader| reader.join().unwrap()).collect();
    for line in &lines {
        settled(line);
    }
    assert_eq!(sums.all(), [40, expected_sum, 0]);
    assert_eq!(delivery.counters().answers.load(Ordering::Relaxed), 0);
    assert_eq!(delivery.counters().waiting.load(Ordering::Relaxed), 0);
    drop(clients);
}

/// What is left of their windows waits for their sockets, and goes before anything else.
#[test]
fn many_answers_whose_sockets_take_little_arrive_whole() {
    let sums = Arc::new(Sums::default());
    let delivery = delivery(65_536, 600_000);
    let mut readers = Vec::new();
    for id in 0..40u64 {
        let bytes = made(300_000 + id, id % 2 == 0);
        let (mut client, line) = narrow_pair(&sums);
        delivery.send(order(id, &line, body(300_000 + id, id % 2 == 0), bytes.len() as u64));
        readers.push(move || {
            let mut got = vec![0; 4 + bytes.len()];
            client.read_exact(&mut got).unwrap();
            assert!(got[4..] == bytes, "{id}");
            client
        });
    }
    // Each has some of a window left, and nobody has read anything yet.
    let start = Instant::now();
    while delivery.counters().waiting.load(Ordering::Relaxed) < 40 {
        assert!(start.elapsed() < Duration::from_secs(120));
        std::thread::yield_now();
    }
    let readers: Vec<_> = readers.into_iter().map(std::thread::spawn).collect();
    let clients: Vec<TcpStream> = readers.into_iter().map(|reader| reader.join().unwrap()).collect();
    assert!(outcomes(&delivery, 40).iter().all(|outcome| outcome.end == End::Handed));
    drop(clients);
}

/// Counts how often it rests.
struct Resting(Counting, Arc<AtomicUsize>);

impl Producer for Resting {
    fn fill(&mut self, window: &mut [u8]) -> Result<usize, Failure> {
        self.0.fill(window)
    }

    fn rest(&mut self) {
        self.1.fetch_add(1, Ordering::Relaxed);
    }
}

/// What makes bodies holds memory of its own, which a few may keep from window to window.
#[test]
fn where_more_than_a_few_are_under_way_their_makings_hold_nothing_between_windows() {
    const FEW: u64 = 64;
    const LENGTH: u64 = 1_000_000;
    let sums = Arc::new(Sums::default());
    let delivery = delivery(8192, 60_000);
    let rests = Arc::new(AtomicUsize::new(0));
    let mut clients = Vec::new();
    for id in 0..=FEW {
        assert_eq!(rests.load(Ordering::Relaxed), 0, "{id} are under way");
        let (client, server) = UnixStream::pair().unwrap();
        server.set_nonblocking(true).unwrap();
        let line = Arc::new(Line::new(server.into(), None, Arc::clone(&sums) as Arc<dyn Ledger>));
        let producer = Resting(Counting { at: 0, end: LENGTH, broken: None }, Arc::clone(&rests));
        delivery.send(order(id, &line, Body::Made(Box::new(producer), None), LENGTH));
        clients.push(client);
        // Until its socket is full: the last one's window is waiting, not on its way.
        while delivery.counters().answers.load(Ordering::Relaxed) <= id {
            std::thread::yield_now();
        }
    }
    let mut got = Vec::new();
    clients.pop().unwrap().read_to_end(&mut got).unwrap_or_default();
    assert!(got == [&b"HEAD"[..], &made(LENGTH, false)].concat());
    assert!(rests.load(Ordering::Relaxed) > 0);
}

#[test]
fn a_range_is_the_whole_cut() {
    let sums = Arc::new(Sums::default());
    let delivery = delivery(4096, 10_000);
    for lane in [false, true] {
        let bytes = made(30_001, lane);
        for (id, (from, to)) in
            [(0, 1), (4095, 4097), (4096, 8192), (12_000, 30_001), (30_000, bytes.len())].into_iter().enumerate()
        {
            if to <= from {
                continue;
            }
            let (mut client, line) = pair(&sums);
            let order = order(id as u64, &line, body(30_001, lane), (to - from) as u64);
            delivery.send(Order { skip: from as u64, ..order });
            let mut got = vec![0; 4 + to - from];
            client.read_exact(&mut got).unwrap();
            assert!(got[4..] == bytes[from..to], "{from}..{to}");
            assert_eq!(outcomes(&delivery, 1)[0].end, End::Handed);
        }
    }
}

#[test]
fn a_body_that_breaks_off_is_no_whole_answer() {
    let sums = Arc::new(Sums::default());
    let delivery = delivery(4096, 10_000);
    let (mut client, line) = pair(&sums);
    let broken = Counting { at: 0, end: 100_000, broken: Some(40_000) };
    delivery.send(order(1, &line, Body::Made(Box::new(broken), None), 100_000));
    assert_eq!(outcomes(&delivery, 1)[0].end, End::Failed(Failure("the source is gone".into())));
    line.close(true);
    let mut got = Vec::new();
    let error = client.read_to_end(&mut got).unwrap_err();
    assert_eq!(error.kind(), ErrorKind::ConnectionReset);
    assert_eq!(sums.all()[2], 1);
}

/// A bug, wherever it is met.
struct Bug;

impl Producer for Bug {
    fn fill(&mut self, _: &mut [u8]) -> Result<usize, Failure> {
        panic!("a bug while a window is filled")
    }
}

impl Recipe for Bug {
    fn begin(&self) -> (Box<dyn Producer>, Option<Box<Lane>>) {
        panic!("a bug before the first window")
    }

    fn source(&self) -> &str {
        "film.mp4"
    }
}

impl Source for Bug {
    fn read_exact_at(&self, _: u64, _: &mut [u8]) -> Result<(), Failure> {
        panic!("a bug while a file is read")
    }

    fn check(&self) -> Result<(), Failure> {
        Ok(())
    }
}

#[test]
fn a_panic_ends_the_answer_that_it_came_from_and_no_other() {
    let sums = Arc::new(Sums::default());
    let delivery = delivery(4096, 10_000);
    let (mut client, other) = pair(&sums);
    delivery.send(order(9, &other, body(20_000_000, true), 20_000_016));
    let bodies = [
        Body::Made(Box::new(Bug), None),
        Body::Shared(Shared { key: [1; 16], size: 5000, recipe: Box::new(Bug) }),
        Body::Pieces(Arc::new(Bug), Arc::new([Piece::Range(0..5000)])),
    ];
    for (id, body) in (0..).zip(bodies) {
        let (_client, line) = pair(&sums);
        delivery.send(order(id, &line, body, 5000));
        let ends = outcomes(&delivery, 1);
        assert!(matches!(&ends[0].end, End::Failed(Failure(why)) if why.contains("bug")), "{ends:?}");
    }
    let before = delivery.counters().beats.load(Ordering::Relaxed);
    client.read_exact(&mut vec![0; 4 + 20_000_016]).unwrap();
    assert_eq!(outcomes(&delivery, 1), [Outcome { id: 9, end: End::Handed }]);
    assert!(delivery.counters().beats.load(Ordering::Relaxed) > before);
}

#[test]
fn a_thread_that_has_nothing_to_do_shows_that_it_lives() {
    let delivery = delivery(4096, 10_000);
    let beats = || delivery.counters().beats.load(Ordering::Relaxed);
    let before = beats();
    let start = Instant::now();
    while beats() < before + 3 {
        assert!(start.elapsed() < Duration::from_secs(10));
        std::thread::yield_now();
    }
}

#[test]
fn a_body_shorter_than_its_length_fails() {
    let sums = Arc::new(Sums::default());
    let delivery = delivery(4096, 10_000);
    let (_client, line) = pair(&sums);
    delivery.send(order(1, &line, body(5000, false), 5001));
    assert!(matches!(outcomes(&delivery, 1)[0].end, End::Failed(_)));
}

#[test]
fn a_peer_that_reads_nothing_holds_one_window_and_is_given_up() {
    let sums = Arc::new(Sums::default());
    let delivery = delivery(4096, 100);
    let (mut client, line) = pair(&sums);
    delivery.send(order(1, &line, body(1 << 30, true), (1 << 30) + 16));
    assert_eq!(outcomes(&delivery, 1)[0].end, End::Stalled);
    let [_, before, _] = sums.all();
    line.close(true);
    let [requests, acknowledged, aborted] = sums.all();
    assert_eq!((requests, aborted), (1, 1));
    assert!(before <= acknowledged);
    // What it acknowledged is what its kernel took, not what ours had for it.
    let mut got = Vec::new();
    assert_eq!(client.read_to_end(&mut got).unwrap_err().kind(), ErrorKind::ConnectionReset);
    assert!(!got.is_empty() && got.len() as u64 <= acknowledged, "{} {acknowledged}", got.len());
}

#[test]
fn a_peer_that_goes_away_ends_its_answer() {
    let sums = Arc::new(Sums::default());
    let delivery = delivery(4096, 10_000);
    let (client, line) = pair(&sums);
    delivery.send(order(1, &line, body(1 << 30, false), 1 << 30));
    drop(client);
    assert_eq!(outcomes(&delivery, 1)[0].end, End::Gone);
}

#[test]
fn an_answer_can_be_cancelled() {
    let sums = Arc::new(Sums::default());
    let delivery = delivery(4096, 10_000);
    let (_client, line) = pair(&sums);
    delivery.send(order(1, &line, body(1 << 30, false), 1 << 30));
    delivery.cancel(1);
    delivery.cancel(2);
    assert_eq!(outcomes(&delivery, 1), [Outcome { id: 1, end: End::Cancelled }]);
}

#[test]
fn a_rate_is_kept() {
    let sums = Arc::new(Sums::default());
    let delivery = delivery(4096, 50);
    let (mut client, line) = pair(&sums);
    let start = Instant::now();
    delivery.send(Order { rate: Some(100_000), ..order(1, &line, body(40_960, false), 40_960) });
    client.read_exact(&mut vec![0; 4 + 40_960]).unwrap();
    // All but the last window is paid for, and waiting for its time was not taken for a stall.
    assert!(start.elapsed() >= Duration::from_millis(360), "{:?}", start.elapsed());
    assert_eq!(outcomes(&delivery, 1)[0].end, End::Handed);
}

#[test]
fn a_rate_is_the_connections_however_many_answers_share_it() {
    let sums = Arc::new(Sums::default());
    let delivery = delivery(4096, 10_000);
    let (mut client, line) = pair(&sums);
    let start = Instant::now();
    for id in 0..10 {
        delivery.send(Order { rate: Some(100_000), ..order(id, &line, body(4092, false), 4092) });
        assert_eq!(outcomes(&delivery, 1)[0].end, End::Handed);
    }
    client.read_exact(&mut vec![0; 10 * 4096]).unwrap();
    // All but the last one is paid for.
    assert!(start.elapsed() >= Duration::from_millis(360), "{:?}", start.elapsed());
}

#[test]
fn a_response_that_does_not_fit_the_socket_is_finished_by_the_thread() {
    let sums = Arc::new(Sums::default());
    let delivery = delivery(4096, 10_000);
    let (mut client, line) = pair(&sums);
    let bytes: Vec<u8> = (0..20_000_000).map(pattern).collect();
    let bytes = Arc::new(bytes);
    let rest = line
        .respond(b"HEAD", &bytes, Some(ROW), Some(Tag::Whole(b"rest".as_slice().into())))
        .unwrap()
        .expect("no socket takes 20 MB");
    let body = Body::Rest(rest, Arc::clone(&bytes) as Arc<dyn AsRef<[u8]> + Send + Sync>);
    delivery.send(Order { head: Vec::new(), length: 0, ..order(1, &line, body, 0) });
    let mut got = vec![0; 4 + bytes.len()];
    client.read_exact(&mut got).unwrap();
    assert!(got[4..] == bytes[..]);
    assert_eq!(outcomes(&delivery, 1)[0].end, End::Handed);
    settled(&line);
    assert_eq!(sums.all(), [1, 4 + bytes.len() as u64, 0]);
    assert_eq!(sums.tags(), [b"rest"]);
    // The line goes on.
    assert_eq!(line.respond(b"again", b"", Some(ROW), None).unwrap(), None);
    client.read_exact(&mut [0; 5]).unwrap();
    line.close(false);
}

/// A response of 300,000 bytes that the kernel has taken whole, sent by the thread to a peer that has read nothing and whose
/// own kernel has room for a part of it.
fn handed_to_who_reads_nothing(sums: &Arc<Sums>) -> (TcpStream, Arc<Line>) {
    let delivery = delivery(4096, 10_000);
    let listener = TcpListener::bind("127.0.0.1:0").unwrap();
    set_socket_recv_buffer_size(&listener, 4096).unwrap();
    let server = TcpStream::connect(listener.local_addr().unwrap()).unwrap();
    let (client, _) = listener.accept().unwrap();
    set_socket_send_buffer_size(&server, 1 << 20).unwrap();
    server.set_nonblocking(true).unwrap();
    let line = Arc::new(Line::new(server.into(), None, Arc::clone(sums) as Arc<dyn Ledger>));
    delivery.send(Order {
        tag: Some(Tag::Whole(b"segment".as_slice().into())),
        ..order(1, &line, body(300_000, false), 300_000)
    });
    assert_eq!(outcomes(&delivery, 1)[0].end, End::Handed);
    assert!(!line.settle());
    assert!(sums.tags().is_empty());
    (client, line)
}

#[test]
fn a_delivery_is_told_when_the_peer_has_the_last_byte() {
    let sums = Arc::new(Sums::default());
    let (mut client, line) = handed_to_who_reads_nothing(&sums);
    client.read_exact(&mut vec![0; 300_004]).unwrap();
    settled(&line);
    assert_eq!(sums.tags(), [b"segment"]);
    line.close(false);
    assert_eq!(sums.tags(), [b"segment"]);
}

#[test]
fn a_delivery_to_who_leaves_before_the_last_byte_is_never_told() {
    for reset in [false, true] {
        let sums = Arc::new(Sums::default());
        let (client, line) = handed_to_who_reads_nothing(&sums);
        if reset {
            set_socket_linger(&client, Some(Duration::ZERO)).unwrap();
        }
        drop(client);
        let start = Instant::now();
        while !line.is_gone() {
            assert!(start.elapsed() < Duration::from_secs(10));
            std::thread::yield_now();
        }
        line.settle();
        line.close(false);
        assert!(sums.tags().is_empty());
        assert_eq!(sums.all()[2], 1);
    }
}

#[test]
fn a_line_tells_requests_from_silence_and_from_the_end() {
    let sums = Arc::new(Sums::default());
    let (mut client, line) = pair(&sums);
    let received = || loop {
        let mut buffer = [MaybeUninit::uninit(); 1000];
        match line.receive(&mut buffer, false).unwrap() {
            Received::Nothing => std::thread::yield_now(),
            Received::Bytes(bytes) => return bytes.into_owned(),
            Received::End => return Vec::new(),
        }
    };
    assert_eq!(line.receive(&mut [MaybeUninit::uninit(); 1000], false).unwrap(), Received::Nothing);
    client.write_all(b"GET /").unwrap();
    assert_eq!(received(), b"GET /");
    drop(client);
    assert_eq!(received(), b"");
}

#[test]
fn orders_from_many_threads_all_end() {
    let sums = Arc::new(Sums::default());
    let delivery = Arc::new(delivery(4096, 10_000));
    let kept = Mutex::new(Vec::new());
    std::thread::scope(|scope| {
        for thread in 0..4u64 {
            let (delivery, sums, kept) = (&delivery, &sums, &kept);
            scope.spawn(move || {
                for n in 0..50 {
                    let (client, line) = pair(sums);
                    delivery.send(order(
                        thread * 1000 + n,
                        &line,
                        body(20_000, n % 2 == 0),
                        if n % 2 == 0 { 20_016 } else { 20_000 },
                    ));
                    kept.lock().unwrap().push((client, line));
                }
            });
        }
    });
    let ends = outcomes(&delivery, 200);
    assert_eq!(ends.len(), 200);
    assert!(ends.iter().all(|outcome| outcome.end == End::Handed));
}

/// Takes 4 KiB each time 20 ms go by, up to `most` times or until the answer has ended.
fn sip(least_rate: u64, most: usize) -> Option<End> {
    let settings = Settings { window: 4096, stall: Duration::from_millis(500), patience: PATIENCE, least_rate };
    let delivery = Delivery::start(settings, None).unwrap();
    let (mut client, server) = UnixStream::pair().unwrap();
    // Else it would take much at once, and then nothing for long.
    set_socket_send_buffer_size(&server, 4096).unwrap();
    server.set_nonblocking(true).unwrap();
    let line = Arc::new(Line::new(server.into(), None, Arc::new(Sums::default())));
    delivery.send(order(1, &line, body(20_000_000, false), 20_000_000));
    let tick = Timespec { tv_sec: 0, tv_nsec: 20_000_000 };
    for _ in 0..most {
        let signal = delivery.signal();
        if poll(&mut [PollFd::new(&signal, PollFlags::IN)], Some(&tick)).unwrap() > 0 {
            return delivery.outcomes().pop().map(|outcome| outcome.end);
        }
        client.read_exact(&mut [0; 4096]).unwrap();
    }
    None
}

#[test]
fn a_peer_takes_what_it_should_or_is_given_up() {
    // A fortieth of what it should, and any byte will do.
    assert_eq!(sip(8_000_000, 400), Some(End::Stalled));
    assert_eq!(sip(0, 100), None);
    assert_eq!(sip(10_000, 100), None);
}

#[test]
fn waiting_for_its_time_costs_a_peer_nothing() {
    let settings =
        Settings { window: 4096, stall: Duration::from_millis(150), patience: PATIENCE, least_rate: 10_000_000 };
    let delivery = Delivery::start(settings, None).unwrap();
    let (mut client, line) = pair(&Arc::new(Sums::default()));
    delivery.send(Order { rate: Some(50_000), ..order(1, &line, body(40_960, false), 40_960) });
    assert_eq!(outcomes(&delivery, 1)[0].end, End::Handed);
    client.read_exact(&mut vec![0; 4 + 40_960]).unwrap();
}
