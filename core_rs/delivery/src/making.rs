//! Bytes being made, window by window.

use std::panic::{AssertUnwindSafe, catch_unwind};

use pystream_cipher::{Lane, encrypt, pad_pkcs7};

use crate::answer::{Failure, Filled, Place, Producer, Recipe};

/// Does something for one body alone. A panic is a bug, which costs that body and no other viewer: it has said where on
/// standard error, and whatever it has left half done is not used again.
pub(crate) fn for_one<T>(act: impl FnOnce() -> Result<T, Failure>) -> Result<T, Failure> {
    catch_unwind(AssertUnwindSafe(act)).unwrap_or_else(|_| Err(Failure("the program has a bug: a panic".into())))
}

/// What makes a body, and the window that it fills next.
pub(crate) struct Reel {
    producer: Box<dyn Producer>,
    window: Vec<u8>,
    /// Where somebody has waited for it: what came of that, and whether all belongs together.
    waited: Option<Result<usize, Failure>>,
    checked: Option<Result<(), Failure>>,
}

impl Reel {
    pub(crate) fn new(producer: Box<dyn Producer>, window: Vec<u8>) -> Self {
        Self { producer, window, waited: None, checked: None }
    }

    /// Waits for whatever has to be waited for.
    pub(crate) fn fill(&mut self) {
        let Self { producer, window, .. } = self;
        let filled = for_one(|| producer.fill(window));
        self.checked = filled.is_ok().then(|| for_one(|| producer.check()));
        self.waited = Some(filled);
    }

    fn fill_now(&mut self, window: usize) -> Result<Filled, Failure> {
        self.checked = None;
        // One from a time when there were fewer, and each had more.
        self.window.shrink_to(window);
        self.window.resize(window, 0);
        let Self { producer, window, .. } = self;
        for_one(|| producer.fill_now(window))
    }

    pub(crate) fn fail(&mut self, failure: Failure) {
        self.waited = Some(Err(failure));
    }

    pub(crate) fn into_window(self) -> Vec<u8> {
        self.window
    }
}

/// A body on its way from its producer, of which one window is in memory.
pub(crate) struct Making {
    /// None while a thread waits for its source.
    reel: Option<Reel>,
    lane: Option<Box<Lane>>,
    /// Where in the body the window begins, and how much of it is made.
    begin: u64,
    fresh: usize,
    /// Bytes of a window at most.
    most: usize,
    exhausted: bool,
    failure: Option<Failure>,
    /// What the next window has to wait for.
    later: Option<Place>,
}

impl Making {
    pub(crate) fn new(producer: Box<dyn Producer>, lane: Option<Box<Lane>>, window: Vec<u8>) -> Self {
        let reel = Some(Reel::new(producer, window));
        Self { reel, lane, begin: 0, fresh: 0, most: usize::MAX, exhausted: false, failure: None, later: None }
    }

    /// Of a producer that leaves out what lies before `begin`, in windows of `most` bytes at most.
    pub(crate) fn part(producer: Box<dyn Producer>, window: Vec<u8>, begin: u64, most: usize) -> Self {
        Self { begin, most, ..Self::new(producer, None, window) }
    }

    /// Of what a recipe begins.
    pub(crate) fn of(recipe: &dyn Recipe, window: Vec<u8>) -> Self {
        let (producer, lane) =
            for_one(|| Ok(recipe.begin())).unwrap_or_else(|failure| (Box::new(Never(failure)), None));
        Self::new(producer, lane, window)
    }

    /// The window, and where in the body it begins.
    pub(crate) fn made(&self) -> (u64, &[u8]) {
        (self.begin, self.reel.as_ref().map_or(&[], |reel| &reel.window[..self.fresh]))
    }

    /// Whether the producer has said that it has no more.
    pub(crate) fn is_exhausted(&self) -> bool {
        self.exhausted
    }

    /// Whether all that was made belongs together.
    pub(crate) fn check(&self) -> Result<(), Failure> {
        let Some(reel) = &self.reel else { return Ok(()) };
        reel.checked.clone().unwrap_or_else(|| for_one(|| reel.producer.check()))
    }

    pub(crate) fn failure(&mut self) -> Option<Failure> {
        self.failure.take()
    }

    pub(crate) fn into_window(self) -> Vec<u8> {
        self.reel.map(Reel::into_window).unwrap_or_default()
    }

    /// Holds no more than its window until the next one is made, unless somebody is about to wait for that.
    pub(crate) fn rest(&mut self) {
        if self.later.is_none()
            && let Some(reel) = &mut self.reel
        {
            reel.producer.rest();
        }
    }

    /// Hands over the reel, where the next window has to wait for a source.
    pub(crate) fn lend(&mut self) -> Option<(Place, Reel)> {
        Some((self.later.take()?, self.reel.take()?))
    }

    /// Has the reel again: the next window is made.
    pub(crate) fn take_back(&mut self, reel: Reel) {
        self.reel = Some(reel);
    }

    fn fill(&mut self, window: usize) {
        let Some(reel) = &mut self.reel else { return };
        self.begin += self.fresh as u64;
        self.fresh = 0;
        let filled =
            reel.waited.take().map_or_else(|| reel.fill_now(window.min(self.most)), |waited| waited.map(Filled::Bytes));
        match filled {
            Ok(Filled::Bytes(filled)) => {
                self.exhausted = filled < reel.window.len();
                self.fresh = filled;
                if self.exhausted && self.lane.is_some() {
                    self.fresh = pad_pkcs7(&mut reel.window, filled);
                }
            }
            Ok(Filled::Later(place)) => self.later = Some(place),
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
        let Making { lane: Some(lane), reel: Some(reel), fresh, .. } = making else { return None };
        Some((&mut **lane, &mut reel.window[..*fresh]))
    }));
}
