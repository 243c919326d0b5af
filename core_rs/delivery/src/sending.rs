//! One answer under way: its window, and how it gets filled and sent.

use std::io::{self, IoSlice};
use std::sync::Arc;
use std::time::{Duration, Instant};

use pystream_cipher::{Lane, encrypt, pad_pkcs7};

use crate::answer::{Body, End, Failure, Order};
use crate::line::{Line, share};

/// An order on its way.
///
/// At any time some bytes are loaded: of the head, and a part of the body. Only when all of them are in the kernel are
/// the next ones made.
pub(crate) struct Sending {
    order: Order,
    window: Vec<u8>,
    /// The part of the window, or of a body in memory, that is loaded.
    from: usize,
    to: usize,
    head_at: usize,
    /// What is loaded as TLS records, and how much of it is gone; empty on a clear line.
    sealed: Vec<u8>,
    sealed_at: usize,
    /// Bytes of the response in `sealed` that are not yet counted.
    sealed_plain: u64,
    /// Bytes just made, at the start of the window.
    fresh: usize,
    begun: bool,
    /// Whether the producer has said that it has no more.
    exhausted: bool,
    failure: Option<Failure>,
    started: Instant,
    handed: u64,
    last_progress: Instant,
    pub(crate) watched: bool,
    /// As many bytes the outlet has counted as waiting.
    pub(crate) counted: u64,
}

/// What an answer needs next.
pub(crate) enum Progress {
    /// Its next window.
    Ready,
    /// Its next window, but not before.
    Due(Instant),
    /// Room in its socket.
    Blocked,
    /// Nothing.
    Ended(End),
}

/// Fills a window of each answer that has nothing loaded, all of them encrypted together.
pub(crate) fn fill_together<'a>(answers: impl Iterator<Item = &'a mut Sending>, window: usize) {
    let mut empty: Vec<&mut Sending> = answers.filter(|answer| answer.is_empty()).collect();
    for answer in &mut empty {
        answer.fill(window);
    }
    encrypt(empty.iter_mut().filter_map(|answer| answer.fresh()));
    for answer in empty {
        answer.load(window);
    }
}

impl Sending {
    pub(crate) fn new(mut order: Order, window: Vec<u8>, now: Instant) -> Self {
        if let Body::Rest(wire) = &order.body {
            order.length = wire.bytes.len() as u64;
        }
        Self {
            order,
            window,
            from: 0,
            to: 0,
            head_at: 0,
            sealed: Vec::new(),
            sealed_at: 0,
            sealed_plain: 0,
            fresh: 0,
            begun: false,
            exhausted: false,
            failure: None,
            started: now,
            handed: 0,
            last_progress: now,
            watched: false,
            counted: 0,
        }
    }

    pub(crate) fn line(&self) -> &Arc<Line> {
        &self.order.line
    }

    pub(crate) fn last_progress(&self) -> Instant {
        self.last_progress
    }

    pub(crate) fn into_window(self) -> Vec<u8> {
        self.window
    }

    /// Bytes loaded.
    pub(crate) fn loaded(&self) -> usize {
        if self.sealed.is_empty() {
            self.order.head.len() - self.head_at + self.to - self.from
        } else {
            self.sealed.len() - self.sealed_at
        }
    }

    fn is_empty(&self) -> bool {
        !self.begun || self.loaded() == 0
    }

    /// Makes plaintext, if the body is one that is made.
    fn fill(&mut self, window: usize) {
        self.fresh = 0;
        let Body::Made(producer, lane) = &mut self.order.body else { return };
        if self.order.length == 0 || self.exhausted {
            return;
        }
        self.window.resize(window, 0);
        match producer.fill(&mut self.window) {
            Ok(filled) => {
                self.exhausted = filled < window;
                self.fresh = filled;
                if self.exhausted && lane.is_some() {
                    self.fresh = pad_pkcs7(&mut self.window, filled);
                }
            }
            Err(failure) => self.failure = Some(failure),
        }
    }

    fn fresh(&mut self) -> Option<(&mut Lane, &mut [u8])> {
        let Body::Made(_, Some(lane)) = &mut self.order.body else { return None };
        Some((lane, &mut self.window[..self.fresh]))
    }

    /// Chooses what of the body comes next, and seals it.
    fn load(&mut self, window: usize) {
        let Order { body, skip, length, head, line, row, .. } = &mut self.order;
        if !std::mem::replace(&mut self.begun, true) && !matches!(body, Body::Rest(_)) {
            line.begin(*row);
        }
        let available = match body {
            Body::Made(..) => {
                self.from = 0;
                self.fresh
            }
            Body::Bytes(bytes) => (**bytes).as_ref().len() - self.to,
            Body::Rest(wire) => wire.bytes.len() - self.to,
        };
        let made = matches!(body, Body::Made(..));
        let start = if made { 0 } else { self.to };
        let skipped = usize::try_from(*skip).map_or(available, |skip| skip.min(available));
        *skip -= skipped as u64;
        let most = if made { available } else { window };
        let taken = (available - skipped).min(most).min(usize::try_from(*length).unwrap_or(usize::MAX));
        *length -= taken as u64;
        self.from = start + skipped;
        self.to = self.from + taken;
        let over = if made { self.exhausted } else { taken == available - skipped };
        if over && *length > 0 && self.failure.is_none() {
            self.failure = Some(Failure(format!("the body ends {length} bytes before its length")));
        }
        if matches!(body, Body::Rest(_)) {
            return;
        }
        self.sealed.clear();
        self.sealed_at = 0;
        let parts = [&head[self.head_at..], chunk(body, &self.window, self.from, self.to)];
        self.sealed_plain = (parts[0].len() + parts[1].len()) as u64;
        if self.sealed_plain > 0
            && let Err(error) = line.seal(parts, &mut self.sealed)
        {
            self.failure.get_or_insert(Failure(error.to_string()));
        }
    }

    /// Gives the socket what is loaded.
    pub(crate) fn send(&mut self, now: Instant) -> Progress {
        if let Some(failure) = self.failure.take() {
            return Progress::Ended(End::Failed(failure));
        }
        let loaded = self.loaded();
        if loaded > 0 {
            let Ok(sent) = self.write() else { return Progress::Ended(End::Gone) };
            self.handed += sent as u64;
            if sent > 0 {
                self.last_progress = now;
            }
            if sent < loaded {
                return Progress::Blocked;
            }
        }
        if self.order.length == 0 {
            return Progress::Ended(End::Handed);
        }
        match self.order.rate {
            Some(rate) => {
                let due = self.started + Duration::from_secs_f64(self.handed as f64 / rate.max(1) as f64);
                // Waiting for its time is no stall.
                self.last_progress = self.last_progress.max(due);
                if due > now { Progress::Due(due) } else { Progress::Ready }
            }
            None => Progress::Ready,
        }
    }

    fn write(&mut self) -> io::Result<usize> {
        let line = &self.order.line;
        if !self.sealed.is_empty() {
            let left = &self.sealed[self.sealed_at..];
            let sent = line.write(&[IoSlice::new(left)])?;
            let plain = share(self.sealed_plain, sent, left.len());
            self.sealed_plain -= plain;
            self.sealed_at += sent;
            if self.sealed_at == self.sealed.len() {
                self.sealed.clear();
                self.sealed_at = 0;
                self.head_at = self.order.head.len();
                self.from = self.to;
            }
            line.handed(sent as u64, plain);
            return Ok(sent);
        }
        let head = &self.order.head[self.head_at..];
        let chunk = chunk(&self.order.body, &self.window, self.from, self.to);
        let sent = line.write(&[IoSlice::new(head), IoSlice::new(chunk)])?;
        let of_head = sent.min(head.len());
        let plain = match &mut self.order.body {
            Body::Rest(wire) => {
                let plain = share(wire.plain, sent, self.to - self.from);
                wire.plain -= plain;
                plain
            }
            _ => sent as u64,
        };
        self.head_at += of_head;
        self.from += sent - of_head;
        line.handed(sent as u64, plain);
        Ok(sent)
    }
}

fn chunk<'a>(body: &'a Body, window: &'a [u8], from: usize, to: usize) -> &'a [u8] {
    match body {
        Body::Made(..) => &window[from..to],
        Body::Bytes(bytes) => &(**bytes).as_ref()[from..to],
        Body::Rest(wire) => &wire.bytes[from..to],
    }
}
