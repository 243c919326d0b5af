//! Bytes being made, window by window.

use pystream_cipher::{Lane, encrypt, pad_pkcs7};

use crate::answer::{Failure, Producer};

/// A body on its way from its producer, of which one window is in memory.
pub(crate) struct Making {
    producer: Box<dyn Producer>,
    lane: Option<Box<Lane>>,
    window: Vec<u8>,
    /// Where in the body the window begins, and how much of it is made.
    begin: u64,
    fresh: usize,
    exhausted: bool,
    failure: Option<Failure>,
}

impl Making {
    pub(crate) fn new((producer, lane): (Box<dyn Producer>, Option<Box<Lane>>), window: Vec<u8>) -> Self {
        Self { producer, lane, window, begin: 0, fresh: 0, exhausted: false, failure: None }
    }

    /// The window, and where in the body it begins.
    pub(crate) fn made(&self) -> (u64, &[u8]) {
        (self.begin, &self.window[..self.fresh])
    }

    /// Whether the producer has said that it has no more.
    pub(crate) fn is_exhausted(&self) -> bool {
        self.exhausted
    }

    pub(crate) fn failure(&mut self) -> Option<Failure> {
        self.failure.take()
    }

    pub(crate) fn into_window(self) -> Vec<u8> {
        self.window
    }

    fn fill(&mut self, window: usize) {
        self.begin += self.fresh as u64;
        self.fresh = 0;
        // One from a time when there were fewer, and each had more.
        self.window.shrink_to(window);
        self.window.resize(window, 0);
        match self.producer.fill(&mut self.window) {
            Ok(filled) => {
                self.exhausted = filled < window;
                self.fresh = filled;
                if self.exhausted && self.lane.is_some() {
                    self.fresh = pad_pkcs7(&mut self.window, filled);
                }
            }
            Err(failure) => self.failure = Some(failure),
        }
    }
}

/// Makes the next window of each, all of them encrypted together.
pub(crate) fn make_together<'a>(makings: impl Iterator<Item = &'a mut Making>, window: usize) {
    let mut makings: Vec<&mut Making> = makings.collect();
    for making in &mut makings {
        making.fill(window);
    }
    encrypt(makings.into_iter().filter_map(|making| {
        let Making { lane, window, fresh, .. } = making;
        lane.as_deref_mut().map(|lane| (lane, &mut window[..*fresh]))
    }));
}
