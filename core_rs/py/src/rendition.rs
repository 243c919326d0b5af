//! A rendition's segments: how long they are, and the segments themselves.

use std::sync::Arc;

use pyo3::buffer::PyBuffer;
use pyo3::exceptions::{PyIndexError, PyValueError};
use pyo3::prelude::*;
use pyo3::types::PyBytes;
use pystream_cipher::{Kernel, Lane, padded_len};
use pystream_media::rendition::Stream;
use pystream_media::{Error, Made, fmp4, playlist, ts};

use crate::buffers::{Column, Output, Segment, zeros};
use crate::errors::{Fault, Result};
use crate::movie::Track;

/// Segments encrypted side by side: as many as keep this machine's AES units busy.
pub(crate) fn lanes() -> usize {
    Kernel::best().lanes()
}

/// Bytes of a lane's window: whole pages, and with those of the other lanes it fits an L2 cache.
pub(crate) const WINDOW: usize = 64 * 1024;

/// One rendition, laid out. Frozen: any thread may use it at any time.
#[pyclass(frozen, module = "pystream._core")]
pub(crate) struct Rendition {
    pub(crate) layout: Layout,
    /// Bytes of tracks that are no movie's own.
    unshared: usize,
    /// What messages call the inputs.
    pub(crate) input: Arc<str>,
}

#[derive(Clone)]
pub(crate) enum Layout {
    Ts(Arc<ts::Layout>),
    Fmp4(Arc<fmp4::Layout>),
}

impl Layout {
    pub(crate) fn len(&self) -> usize {
        match self {
            Self::Ts(layout) => layout.len(),
            Self::Fmp4(layout) => layout.len(),
        }
    }

    pub(crate) fn size(&self, n: usize) -> u64 {
        match self {
            Self::Ts(layout) => layout.size(n),
            Self::Fmp4(layout) => layout.size(n),
        }
    }

    pub(crate) fn muxer(&self, n: usize) -> Muxer {
        match self {
            Self::Ts(layout) => Muxer::Ts(Box::new(ts::Muxer::new(Arc::clone(layout), n))),
            Self::Fmp4(layout) => Muxer::Fmp4(Box::new(fmp4::Muxer::new(Arc::clone(layout), n))),
        }
    }
}

/// Encrypts one message under `secret`, padding included.
///
/// # Errors
/// `ValueError` where key or IV has not 16 bytes.
#[pyfunction]
pub(crate) fn encrypt<'py>(py: Python<'py>, message: &[u8], secret: KeyAndIv) -> PyResult<Bound<'py, PyBytes>> {
    let mut lane = lane(Some(secret))?;
    let mut bytes = message.to_vec();
    bytes.resize(padded_len(message.len()), 0);
    pystream_cipher::pad_pkcs7(&mut bytes, message.len());
    pystream_cipher::encrypt(lane.as_mut().map(|lane| (lane, bytes.as_mut_slice())));
    Ok(PyBytes::new(py, &bytes))
}

/// The lines of a media playlist from segment `first` on; see [`playlist::segment_lines`].
#[pyfunction]
pub(crate) fn segment_lines(
    py: Python<'_>,
    first: usize,
    durations: PyBuffer<i64>,
    base: String,
    suffix: String,
    before: Vec<(usize, String, bool)>,
    key: Option<(String, String, usize)>,
) -> PyResult<String> {
    let durations = durations.to_vec(py)?;
    Ok(py.detach(|| {
        let before = before.into_iter().map(|(segment, lines, keyed)| playlist::Before { segment, lines, keyed });
        let key = key.map(|(stem, end, every)| playlist::KeyLine { stem, end, every });
        playlist::segment_lines(first, &durations, &base, &suffix, &before.collect::<Vec<_>>(), key.as_ref())
    }))
}

/// A segment being made, whatever its format.
pub(crate) enum Muxer {
    Ts(Box<ts::Muxer>),
    Fmp4(Box<fmp4::Muxer>),
}

impl Muxer {
    pub(crate) fn fill(&mut self, out: &mut [u8]) -> std::result::Result<usize, Error> {
        match self {
            Self::Ts(muxer) => muxer.fill(out),
            Self::Fmp4(muxer) => muxer.fill(out),
        }
    }

    pub(crate) fn fill_now(&mut self, out: &mut [u8]) -> std::result::Result<Made, Error> {
        match self {
            Self::Ts(muxer) => muxer.fill_now(out),
            Self::Fmp4(muxer) => muxer.fill_now(out),
        }
    }

    pub(crate) fn rest(&mut self) {
        match self {
            Self::Ts(muxer) => muxer.rest(),
            Self::Fmp4(muxer) => muxer.rest(),
        }
    }

    pub(crate) fn check_unchanged(&self) -> std::result::Result<(), Error> {
        match self {
            Self::Ts(muxer) => muxer.check_unchanged(),
            Self::Fmp4(muxer) => muxer.check_unchanged(),
        }
    }
}

/// A key and an initialization vector, as Python hands them over.
pub(crate) type KeyAndIv = (Vec<u8>, Vec<u8>);

/// # Errors
/// `ValueError` where one of them has not 16 bytes.
pub(crate) fn lane(secret: Option<KeyAndIv>) -> PyResult<Option<Lane>> {
    let secret = secret.map(key_and_iv).transpose()?;
    Ok(secret.map(|(key, iv)| Lane::new(&key, &iv)))
}

/// # Errors
/// `ValueError` where one of them has not 16 bytes.
pub(crate) fn key_and_iv((key, iv): KeyAndIv) -> PyResult<([u8; 16], [u8; 16])> {
    match (key.try_into(), iv.try_into()) {
        (Ok(key), Ok(iv)) => Ok((key, iv)),
        _ => Err(PyValueError::new_err("an AES-128 key and its IV have 16 bytes each")),
    }
}

#[pymethods]
impl Rendition {
    /// `format` is `ts` or `fmp4`; `streams` is a list of `(track, bounds)`, where the column `bounds` names each segment's first sample
    /// and, last, the end; `start_seconds` is where the presentation's zero lies on the output's clock; `input` is what
    /// messages call the inputs.
    #[new]
    fn new(
        py: Python<'_>,
        format: &str,
        streams: Vec<(Py<Track>, PyBuffer<i64>)>,
        start_seconds: u32,
        input: String,
    ) -> PyResult<Self> {
        let input: Arc<str> = input.into();
        let unshared = streams.iter().map(|(track, _)| track.get().unshared).sum();
        let mut streams: Vec<Stream> = streams
            .into_iter()
            .map(|(track, bounds)| {
                let track = track.get();
                // What is below 0 is no sample's number, and beyond all of them.
                let bounds = bounds.to_vec(py)?.into_iter().map(|bound| usize::try_from(bound).unwrap_or(usize::MAX));
                let bounds = bounds.collect();
                Ok(Stream { source: Arc::clone(&track.source), track: Arc::clone(&track.inner), bounds })
            })
            .collect::<PyResult<_>>()?;
        let layout = py.detach(|| match format {
            "ts" => Ok(Some(Layout::Ts(Arc::new(ts::Layout::new(streams, start_seconds)?)))),
            "fmp4" if streams.len() == 1 => {
                Ok(Some(Layout::Fmp4(Arc::new(fmp4::Layout::new(streams.remove(0), start_seconds)?))))
            }
            _ => Ok(None),
        });
        let layout = layout.map_err(|error: Error| Fault::of(error, &input))?;
        let layout = layout.ok_or_else(|| PyValueError::new_err("format is ts, or fmp4 with one track"))?;
        Ok(Self { layout, unshared, input })
    }

    /// Number of segments.
    fn __len__(&self) -> usize {
        self.layout.len()
    }

    /// Whether every sample of the source had to be read to know the sizes.
    #[getter]
    fn scanned(&self) -> bool {
        matches!(&self.layout, Layout::Ts(layout) if layout.scanned())
    }

    /// Where the clock of a transport stream jumps: begin and end of each hole, in ticks of 90 kHz from the presentation's zero.
    #[getter]
    fn holes(&self) -> Vec<(i64, i64)> {
        match &self.layout {
            Layout::Ts(layout) => layout.holes().to_vec(),
            Layout::Fmp4(_) => Vec::new(),
        }
    }

    #[getter]
    fn nbytes(&self) -> usize {
        let layout = match &self.layout {
            Layout::Ts(layout) => size_of::<ts::Layout>() + layout.nbytes(),
            Layout::Fmp4(layout) => size_of::<fmp4::Layout>() + layout.nbytes(),
        };
        size_of::<Self>() + layout + self.unshared
    }

    /// Bytes of each segment, before encryption.
    fn sizes(&self, py: Python<'_>) -> PyResult<Column> {
        let mut sizes = zeros(self.layout.len(), "the sizes of segments")?;
        py.detach(|| (0..).zip(&mut sizes).for_each(|(n, size)| *size = self.layout.size(n) as i64));
        Ok(Column(sizes))
    }

    /// The media initialization section of segment `n`; empty for transport streams.
    fn init<'py>(&self, py: Python<'py>, n: usize) -> PyResult<Bound<'py, PyBytes>> {
        self.check(n)?;
        Ok(match &self.layout {
            Layout::Ts(_) => PyBytes::new(py, &[]),
            Layout::Fmp4(layout) => PyBytes::new(py, &layout.init(n)),
        })
    }

    /// Makes each of `(n, buffer, secret)` in its buffer, encrypted side by side; returns their lengths. Nobody else may touch
    /// the buffers meanwhile.
    fn segments_into(
        &self,
        py: Python<'_>,
        wanted: Vec<(usize, Bound<'_, PyAny>, Option<KeyAndIv>)>,
    ) -> PyResult<Vec<usize>> {
        let mut outputs = Vec::with_capacity(wanted.len());
        for (n, buffer, secret) in wanted {
            self.check(n)?;
            let lane = lane(secret)?;
            let output = Output::of(&buffer)?;
            let needed = self.length(n, lane.is_some());
            if output.len() < needed {
                return Err(PyValueError::new_err(format!(
                    "segment {n} has {needed} bytes, the buffer {}",
                    output.len()
                )));
            }
            outputs.push((n, lane, output, needed));
        }
        Output::check_apart(outputs.iter().map(|(_, _, output, _)| output))?;
        let lengths = outputs.iter().map(|(.., needed)| *needed).collect();
        let jobs =
            outputs.iter_mut().map(|(n, lane, output, needed)| (*n, lane.take(), &mut output.bytes()[..*needed]));
        let jobs = jobs.collect();
        py.detach(|| self.make(jobs))?;
        Ok(lengths)
    }

    /// Makes the segments of `(n, secret)` pairs, encrypted side by side.
    fn segments(&self, py: Python<'_>, wanted: Vec<(usize, Option<KeyAndIv>)>) -> PyResult<Vec<Segment>> {
        let mut lanes = Vec::with_capacity(wanted.len());
        for (n, secret) in wanted {
            self.check(n)?;
            lanes.push((n, lane(secret)?));
        }
        let made = py.detach(|| {
            let mut buffers = Vec::with_capacity(lanes.len());
            for (n, lane) in &lanes {
                buffers.push(zeros(self.length(*n, lane.is_some()), format_args!("segment {n}"))?);
            }
            let jobs = lanes.into_iter().zip(&mut buffers).map(|((n, lane), buffer)| (n, lane, buffer.as_mut_slice()));
            self.make(jobs.collect())?;
            PyResult::Ok(buffers)
        })?;
        Ok(made.into_iter().map(Segment).collect())
    }
}

impl Rendition {
    pub(crate) fn check(&self, n: usize) -> PyResult<()> {
        let len = self.layout.len();
        if n < len { Ok(()) } else { Err(PyIndexError::new_err(format!("segment {n} of {len}"))) }
    }

    pub(crate) fn length(&self, n: usize, encrypted: bool) -> usize {
        let size = self.layout.size(n) as usize;
        if encrypted { padded_len(size) } else { size }
    }

    /// Makes each `(n, lane, memory)` where it shall lie, in windows: what was muxed is encrypted while it is still in the cache.
    fn make(&self, wanted: Vec<(usize, Option<Lane>, &mut [u8])>) -> Result<()> {
        self.make_all(wanted).map_err(|error| Fault::of(error, &self.input))
    }

    fn make_all(&self, wanted: Vec<(usize, Option<Lane>, &mut [u8])>) -> std::result::Result<(), Error> {
        // Clear segments need no company; one after the other they stay in the cache.
        let lanes = if wanted.iter().any(|(_, lane, _)| lane.is_some()) { lanes() } else { 1 };
        let mut waiting = wanted.into_iter().map(|(n, lane, out)| InMemory {
            muxer: self.layout.muxer(n),
            clear: self.layout.size(n) as usize,
            lane,
            out,
            at: 0,
        });
        let mut making: Vec<InMemory<'_>> = waiting.by_ref().take(lanes).collect();
        while !making.is_empty() {
            let windows = making.iter_mut().map(InMemory::window).collect::<std::result::Result<Vec<_>, Error>>()?;
            pystream_cipher::encrypt(windows.into_iter().flatten());
            making.retain(|segment| segment.at < segment.out.len());
            making.extend(waiting.by_ref().take(lanes - making.len()));
        }
        Ok(())
    }
}

/// A segment that is made where it shall lie.
struct InMemory<'a> {
    muxer: Muxer,
    /// Bytes without padding.
    clear: usize,
    lane: Option<Lane>,
    out: &'a mut [u8],
    at: usize,
}

impl InMemory<'_> {
    /// Muxes the next window, and returns it where it has to be encrypted.
    fn window(&mut self) -> std::result::Result<Option<(&mut Lane, &mut [u8])>, Error> {
        let start = self.at;
        let end = self.clear.min(start + WINDOW);
        let filled = self.muxer.fill(&mut self.out[start..end])?;
        if start + filled != end {
            return Err(Error::malformed("a segment came out shorter than it was planned"));
        }
        self.at = if end < self.clear { end } else { self.out.len() };
        let Some(lane) = &mut self.lane else { return Ok(None) };
        if end == self.clear {
            pystream_cipher::pad_pkcs7(&mut self.out[start..], end - start);
        }
        Ok(Some((lane, &mut self.out[start..self.at])))
    }
}
