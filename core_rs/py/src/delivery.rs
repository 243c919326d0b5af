//! Connections, and the thread that answers on them.

use std::mem::MaybeUninit;
use std::os::fd::AsRawFd;
use std::path::PathBuf;
use std::sync::{Arc, Mutex};
use std::time::{Duration, SystemTime, UNIX_EPOCH};

use pyo3::exceptions::{PyRuntimeError, PyValueError};
use pyo3::prelude::*;
use pyo3::pybacked::PyBackedBytes;
use pyo3::types::PyBytes;
use pystream_cipher::Lane;
use pystream_delivery as delivery;
use pystream_delivery::{
    Body, End, Failure, Filled, Order, Piece, Place, Producer, Received, Recipe, Row, Shared, Source, Tag,
};
use pystream_media::{Error, Made, mp4};
use pystream_tls::{Certificate, Pem, TicketKeys};

use crate::errors::Fault;
use crate::rendition::{KeyAndIv, Layout, Muxer, Rendition, key_and_iv};
use crate::shared::{Cache, Meter};
use crate::source::FileSource;

/// A connection. It owns its socket, and closes it when nobody needs it any more.
#[pyclass(frozen, module = "pystream._core")]
pub(crate) struct Line {
    inner: Arc<delivery::Line>,
}

/// What a response left to be sent, and its body.
#[pyclass(frozen, module = "pystream._core")]
pub(crate) struct Rest(Mutex<Option<(delivery::Rest, PyBackedBytes)>>);

/// Bytes read from a socket at once.
const READ: usize = 16 * 1024;

#[pymethods]
impl Line {
    /// Takes over `fd`, a non-blocking stream socket. What is sent is booked in `meter`; with `tls` all of it is sealed.
    #[new]
    #[pyo3(signature = (fd, meter, tls = None))]
    fn new(fd: i32, meter: &Meter, tls: Option<&Tls>) -> PyResult<Self> {
        let socket = crate::buffers::take_over(fd)?;
        let tls = tls.map(|tls| pystream_tls::Connection::new(&tls.config));
        Ok(Self { inner: Arc::new(delivery::Line::new(socket, tls, meter.ledger())) })
    }

    fn fileno(&self) -> i32 {
        self.inner.number()
    }

    /// What the peer has sent: bytes of requests, `b""` where it has ended, `None` where there is nothing yet. `quiet`:
    /// an answer is under way.
    ///
    /// # Errors
    /// `OSError`.
    #[pyo3(signature = (quiet = false))]
    fn receive<'py>(&self, py: Python<'py>, quiet: bool) -> PyResult<Option<Bound<'py, PyBytes>>> {
        let mut buffer = [MaybeUninit::uninit(); READ];
        Ok(match self.inner.receive(&mut buffer, quiet)? {
            Received::Bytes(bytes) => Some(PyBytes::new(py, &bytes)),
            Received::Nothing => None,
            Received::End => Some(PyBytes::new(py, &[])),
        })
    }

    /// Whether the last `receive` may have left something, since it had no room for more.
    #[getter]
    fn full(&self) -> bool {
        self.inner.is_full()
    }

    /// Sends a whole response; returns what the socket does not take at once. `tag` names it where its delivery is to be
    /// told (`Meter.delivered`).
    ///
    /// # Errors
    /// `OSError`.
    #[pyo3(signature = (head, body, row, tag = None))]
    fn respond(
        &self,
        head: &[u8],
        body: &Bound<'_, PyBytes>,
        row: Option<(u32, u8)>,
        tag: Option<Vec<u8>>,
    ) -> PyResult<Option<Rest>> {
        let rest = self.inner.respond(head, body.as_bytes(), row.map(Self::row), whole(tag))?;
        // The body itself, which all who are slow share.
        Ok(rest.map(|rest| Rest(Mutex::new(Some((rest, body.clone().into()))))))
    }

    /// Whether the peer has closed the connection, at least its own half; requests may still be unread.
    fn is_gone(&self) -> bool {
        self.inner.is_gone()
    }

    /// Books what the peer has acknowledged by now; returns whether that is all.
    fn settle(&self) -> bool {
        self.inner.settle()
    }

    /// Tells the peer that nothing more will come.
    fn shut(&self) {
        self.inner.shut();
    }

    /// Books the end, and closes the socket. `reset`: the peer shall notice that something is missing.
    fn close(&self, reset: bool) {
        self.inner.close(reset);
    }
}

/// What is told when all of it has arrived.
fn whole(tag: Option<Vec<u8>>) -> Option<Tag> {
    tag.map(|tag| Tag::Whole(tag.into()))
}

impl Line {
    fn row((stream, kind): (u32, u8)) -> Row {
        Row { stream, kind }
    }
}

/// Certificates and rules for connections.
#[pyclass(frozen, module = "pystream._core")]
pub(crate) struct Tls {
    config: pystream_tls::Config,
}

#[pymethods]
impl Tls {
    /// `certificates` is a list of `(certificate's path, its bytes, key's path, its bytes)`, all PEM; `ticket_secret` are 32
    /// bytes that all workers of a node share, so that each resumes the others' sessions.
    ///
    /// # Errors
    /// `ValueError`, which says which file is wrong, and how.
    #[new]
    fn new(certificates: Vec<(String, Vec<u8>, String, Vec<u8>)>, ticket_secret: [u8; 32]) -> PyResult<Self> {
        let clock = || SystemTime::now().duration_since(UNIX_EPOCH).map_or(0, |since| since.as_secs());
        let pairs: Vec<Certificate<'_>> = certificates
            .iter()
            .map(|(chain_name, chain, key_name, key)| Certificate {
                chain: Pem { name: chain_name, bytes: chain },
                key: Pem { name: key_name, bytes: key },
            })
            .collect();
        let config = pystream_tls::Config::new(&pairs, TicketKeys::new(&ticket_secret, clock))
            .map_err(|error| PyValueError::new_err(error.to_string()))?;
        Ok(Self { config })
    }
}

/// The thread that makes and sends answers. Orders are known by numbers that the caller chooses.
#[pyclass(frozen, module = "pystream._core")]
pub(crate) struct Delivery {
    inner: delivery::Delivery,
}

/// What of a body is to be sent: bytes to skip, bytes to send.
type Range = (u64, u64);

#[pymethods]
impl Delivery {
    /// `window` is in bytes; `cache` is where segments go that several viewers want; `patience_ms` is how long sources may
    /// take to answer: players wait some ten seconds for bytes. Who takes nothing for `stall_ms`, or falls behind
    /// `least_rate` bytes a second by as much, has stalled.
    #[new]
    #[pyo3(signature = (window, stall_ms, cache = None, patience_ms = 8000, least_rate = 0))]
    fn new(window: usize, stall_ms: u64, cache: Option<&Cache>, patience_ms: u64, least_rate: u64) -> PyResult<Self> {
        if window == 0 || !window.is_multiple_of(32) {
            return Err(PyValueError::new_err("a window is a positive multiple of 32 bytes"));
        }
        let [stall, patience] = [stall_ms, patience_ms].map(Duration::from_millis);
        let settings = delivery::Settings { window, stall, patience, least_rate };
        Ok(Self { inner: delivery::Delivery::start(settings, cache.map(|cache| cache.inner.clone()))? })
    }

    /// Readable while there are outcomes.
    fn fileno(&self) -> i32 {
        self.inner.signal().as_raw_fd()
    }

    /// Segment `n` of a rendition, made while it is sent. All that have the same `key`, 16 bytes, are the same bytes, and
    /// may be made once for several orders; without one this order has a making of its own. `tag` names it where its
    /// delivery is to be told (`Meter.delivered`).
    ///
    /// # Errors
    /// `IndexError`; `ValueError` where `secret` or `key` has not the right length.
    #[expect(clippy::too_many_arguments, reason = "one call a request; a class would be made for each")]
    #[pyo3(signature = (id, line, head, rendition, n, secret, range, row, key = None, tag = None))]
    fn segment(
        &self,
        id: u64,
        line: &Line,
        head: Vec<u8>,
        rendition: &Rendition,
        n: usize,
        secret: Option<KeyAndIv>,
        range: Range,
        row: Option<(u32, u8)>,
        key: Option<[u8; 16]>,
        tag: Option<Vec<u8>>,
    ) -> PyResult<()> {
        rendition.check(n)?;
        let secret = secret.map(key_and_iv).transpose()?;
        let take = Take { layout: rendition.layout.clone(), n, secret, input: Arc::clone(&rendition.input) };
        let body = match key {
            None => {
                let (producer, lane) = take.begin();
                Body::Made(producer, lane)
            }
            Some(key) => {
                let size = rendition.length(n, take.secret.is_some()) as u64;
                Body::Shared(Shared { key, size, recipe: Box::new(take) })
            }
        };
        self.order(id, line, head, body, range, row, whole(tag), None);
        Ok(())
    }

    /// A film as a file. `tag` names it where it is to be told that it was begun (`Meter.delivered`).
    #[expect(clippy::too_many_arguments, reason = "one call a request; a class would be made for each")]
    #[pyo3(signature = (id, line, head, download, range, row, rate, tag = None))]
    fn download(
        &self,
        id: u64,
        line: &Line,
        head: Vec<u8>,
        download: &Download,
        range: Range,
        row: Option<(u32, u8)>,
        rate: Option<u64>,
        tag: Option<Vec<u8>>,
    ) {
        let tag = tag.map(|tag| Tag::Begun(tag.into()));
        let source = Arc::clone(&download.source) as Arc<dyn Source>;
        self.order(id, line, head, Body::Pieces(source, Arc::clone(&download.pieces)), range, row, tag, rate);
    }

    /// What [`Line::respond`] left.
    ///
    /// # Errors
    /// `RuntimeError` where it was sent before.
    fn rest(&self, id: u64, line: &Line, rest: &Rest) -> PyResult<()> {
        let rest = rest.0.lock().ok().and_then(|mut rest| rest.take());
        let (rest, body) = rest.ok_or_else(|| PyRuntimeError::new_err("the rest of this response was sent before"))?;
        self.order(id, line, Vec::new(), Body::Rest(rest, Arc::new(body)), (0, 0), None, None, None);
        Ok(())
    }

    /// Gives an answer up, if it is still under way.
    fn cancel(&self, id: u64) {
        self.inner.cancel(id);
    }

    /// `(id, end, reason)` of each order that has ended since the last call; `end` is one of `handed`, `gone`, `stalled`,
    /// `failed`, `silent` (a source has not answered in time), `cancelled`.
    fn outcomes(&self) -> Vec<(u64, &'static str, Option<String>)> {
        let told = |outcome: delivery::Outcome| match outcome.end {
            End::Handed => (outcome.id, "handed", None),
            End::Gone => (outcome.id, "gone", None),
            End::Stalled => (outcome.id, "stalled", None),
            End::Failed(Failure(reason)) => (outcome.id, "failed", Some(reason)),
            End::Silent(Failure(reason)) => (outcome.id, "silent", Some(reason)),
            End::Cancelled => (outcome.id, "cancelled", None),
        };
        self.inner.outcomes().into_iter().map(told).collect()
    }

    /// Answers under way, and bytes in their windows.
    fn counters(&self) -> (u64, u64) {
        use std::sync::atomic::Ordering::Relaxed;
        let counters = self.inner.counters();
        (counters.answers.load(Relaxed), counters.waiting.load(Relaxed))
    }

    /// Windows that wait for their sources, and threads that wait for such as have not answered in time.
    fn reading(&self) -> (u64, u64) {
        use std::sync::atomic::Ordering::Relaxed;
        let counters = self.inner.counters();
        (counters.reading.load(Relaxed), counters.stuck.load(Relaxed))
    }

    /// Counts on as long as the thread lives and does not hang, four times a second at least.
    fn beats(&self) -> u64 {
        self.inner.counters().beats.load(std::sync::atomic::Ordering::Relaxed)
    }

    /// How many makings of segments that have a key were begun.
    fn makings(&self) -> u64 {
        self.inner.counters().makings.load(std::sync::atomic::Ordering::Relaxed)
    }
}

impl Delivery {
    #[expect(clippy::too_many_arguments, reason = "the fields of an order, in their order")]
    fn order(
        &self,
        id: u64,
        line: &Line,
        head: Vec<u8>,
        body: Body,
        (skip, length): Range,
        row: Option<(u32, u8)>,
        tag: Option<Tag>,
        rate: Option<u64>,
    ) {
        let row = row.map(Line::row);
        self.inner.send(Order { id, line: Arc::clone(&line.inner), head, body, skip, length, row, tag, rate });
    }
}

/// What a segment is made from, as often as need be.
struct Take {
    layout: Layout,
    n: usize,
    secret: Option<([u8; 16], [u8; 16])>,
    input: Arc<str>,
}

impl Recipe for Take {
    fn begin(&self) -> (Box<dyn Producer>, Option<Box<Lane>>) {
        let making = Making { muxer: self.layout.muxer(self.n), input: Arc::clone(&self.input) };
        (Box::new(making), self.secret.map(|(key, iv)| Box::new(Lane::new(&key, &iv))))
    }

    fn source(&self) -> &str {
        &self.input
    }
}

/// A segment being made, for the thread that sends it.
struct Making {
    muxer: Muxer,
    input: Arc<str>,
}

impl Producer for Making {
    fn fill(&mut self, window: &mut [u8]) -> Result<usize, Failure> {
        self.muxer.fill(window).map_err(|error| self.failed(&error))
    }

    fn fill_now(&mut self, window: &mut [u8]) -> Result<Filled, Failure> {
        match self.muxer.fill_now(window).map_err(|error| self.failed(&error))? {
            Made::Bytes(filled) => Ok(Filled::Bytes(filled)),
            Made::Later(pystream_media::Place { store, input }) => {
                Ok(Filled::Later(Place { store, source: input, name: Arc::clone(&self.input) }))
            }
        }
    }

    fn rest(&mut self) {
        self.muxer.rest();
    }

    fn check(&self) -> Result<(), Failure> {
        self.muxer.check_unchanged().map_err(|error| self.failed(&error))
    }
}

impl Making {
    fn failed(&self, error: &Error) -> Failure {
        Failure(format!("{}: {error}", self.input))
    }
}

/// A film's own file as it is handed out: with `moov` before the media data, wherever it lies on the disk. Frozen: any
/// thread may use it at any time.
#[pyclass(frozen, module = "pystream._core")]
pub(crate) struct Download {
    source: Arc<FileSource>,
    pieces: Arc<[Piece]>,
}

#[pymethods]
impl Download {
    /// Opens a local file and plans. `name` is what messages call it.
    ///
    /// # Errors
    /// `OSError`, `MediaError`.
    #[new]
    fn new(py: Python<'_>, path: PathBuf, name: &str) -> PyResult<Self> {
        let source = py.detach(|| FileSource::open(&path))?;
        let parts = py.detach(|| mp4::relocate(&source)).map_err(|error| Fault::of(error, &name.into()))?;
        let piece = |part| match part {
            mp4::Part::Bytes(bytes) => Piece::Bytes(bytes.into()),
            mp4::Part::Range(range) => Piece::Range(range),
        };
        Ok(Self { source: Arc::new(source), pieces: parts.into_iter().map(piece).collect() })
    }

    /// Bytes of the file as it is handed out.
    #[getter]
    fn size(&self) -> u64 {
        self.pieces.iter().map(Piece::len).sum()
    }

    /// Bytes of memory held.
    #[getter]
    fn nbytes(&self) -> u64 {
        self.pieces.iter().filter(|piece| matches!(piece, Piece::Bytes(_))).map(Piece::len).sum()
    }
}
