//! Jobs through windows: fill, encrypt, drain, while the bytes are in the L2 cache.
//!
//! Each of up to `lanes` jobs has a window. A round fills all windows, encrypts them together, and drains them. A job
//! that ends leaves its window to the next job, so lanes stay full until jobs run out, and memory depends neither on
//! the length of a job nor on their number.
//!
//! The pump does no I/O: a [`Job`] reads or makes its bytes in `fill`, and writes or sends them in `drain`.

use std::fmt;

use crate::{BLOCK, Lane, encrypt, pad_pkcs7};

/// A cache line, the piece in which wide kernels load.
const LINE: usize = 64;

/// Between two windows. Windows whose distance is a power of two would share the few places that a cache has for one
/// address modulo 4096; on a Xeon, 12 lanes of VAES-256 lost a third of their speed.
const STAGGER: usize = 17 * LINE;

/// One message on its way through the pump.
pub trait Job {
    /// What can go wrong in the job.
    type Error;

    /// Writes the next plaintext to the start of `window` and returns how much.
    ///
    /// The window is filled up unless the message ends: an answer below `window.len()` is its end, and there is no
    /// further call. What the window held before is of no meaning.
    ///
    /// # Errors
    ///
    /// Any error stops the pump.
    fn fill(&mut self, window: &mut [u8]) -> Result<usize, Self::Error>;

    /// Takes the next finished bytes, never none. Padding is among them at the end of an encrypted message.
    ///
    /// # Errors
    ///
    /// Any error stops the pump.
    fn drain(&mut self, bytes: &[u8]) -> Result<(), Self::Error>;

    /// The message was drained to its end. A job that is dropped without this did not get so far.
    ///
    /// # Errors
    ///
    /// Any error stops the pump.
    fn finish(self) -> Result<(), Self::Error>;
}

/// Why a pump stopped before all jobs were done.
#[derive(Debug, Eq, PartialEq)]
pub enum Stop<E> {
    /// The caller's check said so.
    Cancelled,
    /// A job failed, or could not be made.
    Failed {
        /// Which: jobs are counted from 0 in the order in which the pump asked for them.
        job: usize,
        /// What the job said.
        error: E,
    },
}

impl<E: fmt::Display> fmt::Display for Stop<E> {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        match self {
            Self::Cancelled => f.write_str("cancelled"),
            Self::Failed { job, error } => write!(f, "job {job}: {error}"),
        }
    }
}

impl<E: std::error::Error + 'static> std::error::Error for Stop<E> {
    fn source(&self) -> Option<&(dyn std::error::Error + 'static)> {
        match self {
            Self::Cancelled => None,
            Self::Failed { error, .. } => Some(error),
        }
    }
}

/// The memory of a pump's windows, to be used again for the next run.
#[derive(Debug)]
pub struct Windows {
    memory: Vec<u8>,
    start: usize,
    lanes: usize,
    len: usize,
}

impl Windows {
    /// `lanes` windows of `len` bytes each, rounded up to a multiple of 64.
    ///
    /// [`Kernel::lanes`](crate::Kernel::lanes) says how many lanes are worth having. All windows together should fit
    /// the L2 cache, along with what the jobs themselves touch.
    ///
    /// # Panics
    ///
    /// If either is 0.
    pub fn new(lanes: usize, len: usize) -> Self {
        assert!(lanes > 0 && len > 0, "a pump needs at least one window of at least one byte");
        let len = len.next_multiple_of(LINE);
        let memory = vec![0; lanes * (len + STAGGER) + LINE];
        let start = memory.as_ptr().align_offset(LINE);
        Self { memory, start, lanes, len }
    }

    /// How many windows there are.
    pub fn lanes(&self) -> usize {
        self.lanes
    }

    /// The length of each.
    pub fn window_len(&self) -> usize {
        self.len
    }

    fn iter_mut(&mut self) -> impl Iterator<Item = &mut [u8]> {
        let len = self.len;
        self.memory[self.start..].chunks_exact_mut(len + STAGGER).map(move |window| &mut window[..len])
    }
}

/// Runs jobs until there are no more.
///
/// `next` gives a job and the lane that encrypts it, or no lane for a message that stays clear. `cancelled` is asked
/// before each round. After an error or a cancellation the unfinished jobs are dropped.
///
/// Memory is allocated once, at the start, for as many jobs as there are windows.
///
/// # Errors
///
/// [`Stop::Failed`] with the first error of any job, or of `next` itself; [`Stop::Cancelled`].
///
/// # Panics
///
/// If a job claims to have filled more than its window.
pub fn pump<J: Job>(
    windows: &mut Windows,
    mut next: impl FnMut() -> Option<Result<(J, Option<Lane>), J::Error>>,
    mut cancelled: impl FnMut() -> bool,
) -> Result<(), Stop<J::Error>> {
    let mut active: Vec<Active<J>> = Vec::with_capacity(windows.lanes);
    let mut taken = 0;
    let mut more = true;
    loop {
        if cancelled() {
            return Err(Stop::Cancelled);
        }
        while more && active.len() < windows.lanes {
            match next() {
                Some(Ok((job, lane))) => active.push(Active { number: taken, job, lane, ready: 0, ended: false }),
                Some(Err(error)) => return Err(Stop::Failed { job: taken, error }),
                None => more = false,
            }
            taken += 1;
        }
        if active.is_empty() {
            return Ok(());
        }
        for (active, window) in active.iter_mut().zip(windows.iter_mut()) {
            active.fill(window)?;
        }
        encrypt(active.iter_mut().zip(windows.iter_mut()).filter_map(|(active, window)| {
            let ready = active.ready;
            active.lane.as_mut().map(|lane| (lane, &mut window[..ready]))
        }));
        for (active, window) in active.iter_mut().zip(windows.iter_mut()) {
            active.drain(&window[..active.ready])?;
        }
        // A window keeps nothing from round to round, so it does not matter which job has which.
        for n in (0..active.len()).rev() {
            if active[n].ended {
                let Active { number, job, .. } = active.swap_remove(n);
                job.finish().map_err(|error| Stop::Failed { job: number, error })?;
            }
        }
    }
}

struct Active<J> {
    number: usize,
    job: J,
    lane: Option<Lane>,
    /// Bytes of the window that this round drains.
    ready: usize,
    ended: bool,
}

impl<J: Job> Active<J> {
    fn fill(&mut self, window: &mut [u8]) -> Result<(), Stop<J::Error>> {
        const { assert!(LINE.is_multiple_of(BLOCK)) };
        let filled = self.job.fill(window).map_err(|error| self.failed(error))?;
        assert!(filled <= window.len(), "job {} filled {filled} bytes of {}", self.number, window.len());
        self.ended = filled < window.len();
        // Where the end leaves a byte free, the window being whole blocks leaves room for the padding.
        self.ready = if self.ended && self.lane.is_some() { pad_pkcs7(window, filled) } else { filled };
        Ok(())
    }

    fn drain(&mut self, bytes: &[u8]) -> Result<(), Stop<J::Error>> {
        if bytes.is_empty() {
            return Ok(());
        }
        self.job.drain(bytes).map_err(|error| self.failed(error))
    }

    fn failed(&self, error: J::Error) -> Stop<J::Error> {
        Stop::Failed { job: self.number, error }
    }
}
