//! Sockets, bodies and books for the tests.

#![allow(dead_code, unreachable_pub, reason = "no test needs all of it")]

use std::net::{TcpListener, TcpStream};
use std::sync::atomic::{AtomicU64, Ordering};
use std::sync::{Arc, Mutex};
use std::time::{Duration, Instant};

use pystream_cipher::{Lane, encrypt, pad_pkcs7, padded_len};
use pystream_delivery::{Body, Delivered, Delivery, Failure, Ledger, Line, Order, Outcome, Producer, Row, Settings};
use rustix::event::{PollFd, PollFlags, poll};

/// Longer than any test.
pub const PATIENCE: Duration = Duration::from_secs(600);

pub const ROW: Row = Row { stream: 7, kind: 2 };

#[derive(Default)]
pub struct Sums([AtomicU64; 3], Mutex<Vec<Delivered>>);

impl Ledger for Sums {
    fn book(&self, row: Row, requests: u64, bytes: u64, aborted: u64) {
        assert_eq!(row, ROW);
        for (sum, more) in self.0.iter().zip([requests, bytes, aborted]) {
            sum.fetch_add(more, Ordering::Relaxed);
        }
    }

    fn delivered(&self, delivered: Delivered) {
        self.1.lock().unwrap().push(delivered);
    }
}

impl Sums {
    pub fn all(&self) -> [u64; 3] {
        [0, 1, 2].map(|n| self.0[n].load(Ordering::Relaxed))
    }

    /// The tags of what was delivered.
    pub fn tags(&self) -> Vec<Vec<u8>> {
        self.1.lock().unwrap().iter().map(|delivered| delivered.tag.to_vec()).collect()
    }
}

/// Counts up, and may break off.
pub struct Counting {
    pub at: u64,
    pub end: u64,
    pub broken: Option<u64>,
}

impl Producer for Counting {
    fn fill(&mut self, window: &mut [u8]) -> Result<usize, Failure> {
        if self.broken.is_some_and(|broken| self.at >= broken) {
            return Err(Failure("the source is gone".into()));
        }
        let filled = window.len().min((self.end - self.at) as usize);
        for byte in &mut window[..filled] {
            *byte = pattern(self.at);
            self.at += 1;
        }
        Ok(filled)
    }
}

pub fn pattern(at: u64) -> u8 {
    (at * 31 + at / 251) as u8
}

pub fn made(length: u64, lane: bool) -> Vec<u8> {
    let mut bytes: Vec<u8> = (0..length).map(pattern).collect();
    if lane {
        bytes.resize(padded_len(length as usize), 0);
        pad_pkcs7(&mut bytes, length as usize);
        encrypt([(&mut Lane::new(&[5; 16], &[6; 16]), bytes.as_mut_slice())]);
    }
    bytes
}

pub fn body(length: u64, lane: bool) -> Body {
    let producer = Counting { at: 0, end: length, broken: None };
    Body::Made(Box::new(producer), lane.then(|| Box::new(Lane::new(&[5; 16], &[6; 16]))))
}

pub fn pair(ledger: &Arc<Sums>) -> (TcpStream, Arc<Line>) {
    let (client, server) = connected();
    (client, Arc::new(Line::new(server.into(), None, Arc::clone(ledger) as Arc<dyn Ledger>)))
}

/// The kernel takes little for it.
pub fn narrow_pair(ledger: &Arc<Sums>) -> (TcpStream, Arc<Line>) {
    let (client, server) = connected();
    rustix::net::sockopt::set_socket_recv_buffer_size(&client, 32_768).unwrap();
    rustix::net::sockopt::set_socket_send_buffer_size(&server, 32_768).unwrap();
    (client, Arc::new(Line::new(server.into(), None, Arc::clone(ledger) as Arc<dyn Ledger>)))
}

fn connected() -> (TcpStream, TcpStream) {
    let listener = TcpListener::bind("127.0.0.1:0").unwrap();
    let client = TcpStream::connect(listener.local_addr().unwrap()).unwrap();
    let (server, _) = listener.accept().unwrap();
    server.set_nonblocking(true).unwrap();
    (client, server)
}

pub fn delivery(window: usize, stall: u64) -> Delivery {
    Delivery::start(Settings { window, stall: Duration::from_millis(stall), patience: PATIENCE, least_rate: 0 }, None)
        .unwrap()
}

pub fn order(id: u64, line: &Arc<Line>, body: Body, length: u64) -> Order {
    Order {
        id,
        line: Arc::clone(line),
        head: b"HEAD".to_vec(),
        body,
        skip: 0,
        length,
        row: Some(ROW),
        tag: None,
        rate: None,
    }
}

pub fn outcomes(delivery: &Delivery, count: usize) -> Vec<Outcome> {
    let mut all = Vec::new();
    while all.len() < count {
        let signal = delivery.signal();
        poll(&mut [PollFd::new(&signal, PollFlags::IN)], None).unwrap();
        all.extend(delivery.outcomes());
    }
    all.sort_by_key(|outcome| outcome.id);
    all
}

pub fn settled(line: &Line) {
    // The peer's kernel acknowledges what its program has read within moments.
    let start = Instant::now();
    while !line.settle() {
        assert!(start.elapsed() < Duration::from_secs(10));
        std::thread::yield_now();
    }
}
