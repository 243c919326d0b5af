//! Bytes being made, window by window.

use std::panic::{AssertUnwindSafe, catch_unwind};

use pystream_cipher::{Lane, encrypt, pad_pkcs7};

use crate::answer::{Failure, Producer, Recipe};

/// Does something for one body alone. A panic is a bug, which costs that body and no other viewer: it has said where on
/// standard error, and whatever it has left half done is not used again.
pub(crate) fn for_one<T>(act: impl FnOnce() -> Result<T, Failure>) -> Result<T, Failure> {
    catch_unwind(AssertUnwindSafe(act)).unwrap_or_else(|_| Err(Failure("the program has a bug: a panic".into())))
}

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
    pub(crate) fn new(producer: Box<dyn Producer>, lane: Option<Box<Lane>>, window: Vec<u8>) -> Self {
        Self { producer, lane, window, begin: 0, fresh: 0, exhausted: false, failure: None }
    }

    /// Of what a recipe begins.
    pub(crate) fn of(recipe: &dyn Recipe, window: Vec<u8>) -> Self {
        let (producer, lane) =
            for_one(|| Ok(recipe.begin())).unwrap_or_else(|failure| (Box::new(Never(failure)), None));
        Self::new(producer, lane, window)
    }

    /// The window, and where in the body it begins.
    pub(crate) fn made(&self) -> (u64, &[u8]) {
        (self.begin, &self.window[..self.fresh])
    }

    /// Whether the producer has said that it has no more.
    pub(crate) fn is_exhausted(&self) -> bool {
        self.exhausted
    }

    /// Whether all that was made belongs together.
    pub(crate) fn check(&self) -> Result<(), Failure> {
        for_one(|| self.producer.check())
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
        match for_one(|| self.producer.fill(&mut self.window)) {
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

/// What could not even begin.
struct Never(Failure);

impl Producer for Never {
    fn fill(&mut self, _: &mut [u8]) -> Result<usize, Failure> {
        Err(self.0.clone())
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
