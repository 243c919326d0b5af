//! Many segments into files: what `pystream package` spends its time with.

use std::cell::Cell;
use std::fs::{File, OpenOptions};
use std::io::Write;
use std::path::PathBuf;
use std::sync::Arc;
use std::sync::atomic::{AtomicBool, AtomicU64, AtomicUsize, Ordering};

use pyo3::exceptions::{PyIndexError, PyKeyboardInterrupt, PyValueError};
use pyo3::prelude::*;

use pystream_cipher::{Job, Lane, Stop, Windows, pump};

use crate::errors::{Fault, os_error};
use crate::rendition::{KeyAndIv, Layout, Muxer, Rendition, WINDOW, lanes};

/// Segments to be written, each to a file of its own. Several threads may [`Self::run`] it at once: they share the list.
#[pyclass(frozen, module = "pystream._core")]
pub(crate) struct Work {
    files: Vec<Target>,
    threads: usize,
    next: AtomicUsize,
    bytes: AtomicU64,
    stopped: AtomicBool,
}

struct Target {
    layout: Layout,
    input: Arc<str>,
    segment: usize,
    path: PathBuf,
    secret: Option<([u8; 16], [u8; 16])>,
}

#[pymethods]
impl Work {
    /// `files` is a list of `(rendition, segment, path, (key, iv) or None)`; none of them may exist yet. `threads` is how
    /// many will run.
    #[new]
    fn new(files: Vec<(Py<Rendition>, usize, PathBuf, Option<KeyAndIv>)>, threads: usize) -> PyResult<Self> {
        let target = |(rendition, segment, path, secret): (Py<Rendition>, usize, PathBuf, Option<KeyAndIv>)| {
            let Rendition { layout, input, .. } = rendition.get();
            if segment >= layout.len() {
                return Err(PyIndexError::new_err(format!("segment {segment} of {}", layout.len())));
            }
            let secret = secret.map(|(key, iv)| PyResult::Ok((fixed(&key)?, fixed(&iv)?))).transpose()?;
            PyResult::Ok(Target { layout: layout.clone(), input: Arc::clone(input), segment, path, secret })
        };
        let files = files.into_iter().map(target).collect::<PyResult<_>>()?;
        Ok(Self { files, threads: threads.max(1), next: 0.into(), bytes: 0.into(), stopped: false.into() })
    }

    /// Writes segments until none is left. An error, or [`Self::stop`], ends it in all threads.
    ///
    /// # Errors
    /// `MediaError` and `SourceError` for the input, `OSError` for the output, `KeyboardInterrupt` where it was stopped.
    fn run(&self, py: Python<'_>) -> PyResult<()> {
        let outcome = py.detach(|| {
            // Clear segments need no company; one window is the less cache to fill.
            let lanes = if self.files.iter().any(|file| file.secret.is_some()) { lanes() } else { 1 };
            let mut windows = Windows::new(lanes, WINDOW);
            let active = Cell::new(0);
            // A pump ends when it has its share of what is left; what others have not taken by then is anybody's.
            while self.left() > 0 {
                pump(&mut windows, || self.take(&active), || self.stopped.load(Ordering::Relaxed))?;
            }
            Ok(())
        });
        outcome.map_err(|stop| {
            self.stopped.store(true, Ordering::Relaxed);
            match stop {
                Stop::Cancelled => PyKeyboardInterrupt::new_err("stopped"),
                Stop::Failed { error: Failure::Media(fault), .. } => fault.into(),
                Stop::Failed { error: Failure::Output(error, path), .. } => os_error(&error, &path),
            }
        })
    }

    /// Makes every [`Self::run`] end soon.
    fn stop(&self) {
        self.stopped.store(true, Ordering::Relaxed);
    }

    /// Bytes written so far.
    #[getter]
    fn written(&self) -> u64 {
        self.bytes.load(Ordering::Relaxed)
    }
}

fn fixed(bytes: &[u8]) -> PyResult<[u8; 16]> {
    bytes.try_into().map_err(|_| PyValueError::new_err("an AES-128 key and its IV have 16 bytes each"))
}

impl Work {
    fn left(&self) -> usize {
        self.files.len().saturating_sub(self.next.load(Ordering::Relaxed))
    }

    /// The next segment, if this thread, which has `active` ones, may take another: towards the end segments are shared out
    /// evenly, since a thread that fills all its lanes would leave the others idle.
    fn take<'a>(&'a self, active: &'a Cell<usize>) -> Option<Result<(Writing<'a>, Option<Lane>), Failure>> {
        if active.get() >= (active.get() + self.left()).div_ceil(self.threads) {
            return None;
        }
        let target = self.files.get(self.next.fetch_add(1, Ordering::Relaxed))?;
        let lane = target.secret.as_ref().map(|(key, iv)| Lane::new(key, iv));
        let job = match OpenOptions::new().write(true).create_new(true).open(&target.path) {
            Ok(file) => {
                active.set(active.get() + 1);
                let muxer = target.layout.muxer(target.segment);
                Ok((Writing { work: self, active, target, muxer, file, clear: 0 }, lane))
            }
            Err(error) => Err(Failure::Output(error, target.path.clone())),
        };
        Some(job)
    }
}

enum Failure {
    Media(Fault),
    Output(std::io::Error, PathBuf),
}

/// A segment on its way into its file.
struct Writing<'a> {
    work: &'a Work,
    /// How many segments the thread has in its lanes.
    active: &'a Cell<usize>,
    target: &'a Target,
    muxer: Muxer,
    file: File,
    /// Bytes muxed so far.
    clear: u64,
}

impl Job for Writing<'_> {
    type Error = Failure;

    fn fill(&mut self, window: &mut [u8]) -> Result<usize, Failure> {
        let filled = self.muxer.fill(window).map_err(|error| Failure::Media(Fault::of(error, &self.target.input)))?;
        self.clear += filled as u64;
        Ok(filled)
    }

    fn drain(&mut self, bytes: &[u8]) -> Result<(), Failure> {
        self.file.write_all(bytes).map_err(|error| Failure::Output(error, self.target.path.clone()))?;
        self.work.bytes.fetch_add(bytes.len() as u64, Ordering::Relaxed);
        Ok(())
    }

    fn finish(self) -> Result<(), Failure> {
        self.active.set(self.active.get() - 1);
        if self.clear == self.target.layout.size(self.target.segment) {
            return Ok(());
        }
        let message = format!("segment {} came out with {} bytes, not as planned", self.target.segment, self.clear);
        Err(Failure::Media(Fault::of(pystream_media::Error::malformed(message), &self.target.input)))
    }
}
