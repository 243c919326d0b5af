//! An opened input and its tracks.

use std::os::fd::RawFd;
use std::path::{Path, PathBuf};
use std::sync::Arc;

use pyo3::intern;
use pyo3::prelude::*;
use pyo3::pybacked::PyBackedBytes;
use pyo3::types::{PyBytes, PyList};
use pystream_media::codec::avc::PictureKind;
use pystream_media::column::BLOCK;
use pystream_media::track::{Config, Kind, Track as Tables};
use pystream_media::{ReadAt, fmp4, mp4};

use crate::buffers::{Column, Segment, zeros};
use crate::errors::{Fault, Result};
use crate::source::{BytesSource, FileSource, ObjectSource};

/// Track id, ticks a second of media times, and `(duration, media time or None, rate)` of each edit.
type EditList = (u32, u32, Vec<(u64, Option<i64>, f64)>);

/// An opened MP4: its tracks, and what is said of it. Frozen: any thread may use it at any time.
#[pyclass(frozen, module = "pystream._core")]
pub(crate) struct Movie {
    pub(crate) source: Arc<dyn ReadAt>,
    /// The descriptor of a source that is a local file.
    descriptor: Option<RawFd>,
    /// What messages call it.
    name: Arc<str>,
    inner: mp4::Movie,
    tracks: Vec<Arc<Tables>>,
}

/// Bytes of what an `Arc` holds itself, with its two counts.
fn arc_nbytes<T>(_: &Arc<T>) -> usize {
    2 * size_of::<usize>() + size_of::<T>()
}

impl Movie {
    fn open(py: Python<'_>, source: Arc<dyn ReadAt>, descriptor: Option<RawFd>, name: &str) -> Result<Self> {
        let name: Arc<str> = name.into();
        let mut inner = py.detach(|| mp4::open(&source)).map_err(|error| Fault::of(error, &name))?;
        let tracks = std::mem::take(&mut inner.tracks).into_iter().map(Arc::new).collect();
        Ok(Self { source, descriptor, name, inner, tracks })
    }
}

#[pymethods]
impl Movie {
    /// Opens a local file. `name` is what messages call the input.
    #[staticmethod]
    fn open_path(py: Python<'_>, path: PathBuf, name: &str) -> PyResult<Self> {
        let source = py.detach(|| FileSource::open(&path))?;
        let descriptor = source.descriptor();
        Ok(Self::open(py, Arc::new(source), Some(descriptor), name)?)
    }

    /// Takes over the descriptor of a local file that is open for reading. `name` is what messages call the input.
    #[staticmethod]
    fn open_descriptor(py: Python<'_>, descriptor: RawFd, name: &str) -> PyResult<Self> {
        let source = FileSource::take_over(crate::buffers::take_over(descriptor)?, Path::new(name))?;
        let descriptor = source.descriptor();
        Ok(Self::open(py, Arc::new(source), Some(descriptor), name)?)
    }

    /// Opens an MP4 that lies in memory.
    #[staticmethod]
    fn open_bytes(py: Python<'_>, data: PyBackedBytes, name: &str) -> PyResult<Self> {
        Ok(Self::open(py, Arc::new(BytesSource(data)), None, name)?)
    }

    /// Opens an object with `read_at(offset, n) -> bytes`, `size` bytes long.
    #[staticmethod]
    fn open_object(py: Python<'_>, object: Py<PyAny>, size: u64, name: &str) -> PyResult<Self> {
        Ok(Self::open(py, Arc::new(ObjectSource { object, size }), None, name)?)
    }

    /// The tracks that can be carried.
    #[getter]
    fn tracks(slf: Bound<'_, Self>) -> PyResult<Vec<Track>> {
        let movie = slf.get();
        Ok(movie
            .tracks
            .iter()
            .map(|track| Track {
                inner: Arc::clone(track),
                unshared: 0,
                source: Arc::clone(&movie.source),
                name: Arc::clone(&movie.name),
            })
            .collect())
    }

    /// Tracks that are left out: `(track id, kind, codec, reason)`.
    #[getter]
    fn skipped(&self) -> Vec<(u32, String, String, String)> {
        let skipped = self.inner.skipped.iter();
        skipped.map(|track| (track.id, track.handler.clone(), track.codec.clone(), track.reason.clone())).collect()
    }

    /// `(code, sentence)` of all that is not as it should be.
    #[getter]
    fn warnings(&self) -> Vec<(String, String)> {
        self.inner.warnings.iter().map(|warning| (warning.code.as_str().to_owned(), warning.to_string())).collect()
    }

    #[getter]
    fn fragmented(&self) -> bool {
        self.inner.fragmented
    }

    #[getter]
    fn truncated(&self) -> bool {
        self.inner.truncated
    }

    /// Ticks a second of edit durations.
    #[getter]
    fn timescale(&self) -> u32 {
        self.inner.timescale
    }

    /// The edit lists as they stand in the file.
    #[getter]
    fn edits(&self) -> Vec<EditList> {
        let plain = |edit: &mp4::Edit| (edit.segment_duration, edit.media_time, f64::from(edit.media_rate) / 65536.0);
        let list = |list: &mp4::EditList| (list.track_id, list.timescale, list.edits.iter().map(plain).collect());
        self.inner.edits.iter().map(list).collect()
    }

    /// Bytes of the source.
    #[getter]
    fn size(&self) -> u64 {
        self.source.size()
    }

    /// The descriptor of a local file, which is open as long as this is; none of any other source.
    fn fileno(&self) -> Option<RawFd> {
        self.descriptor
    }

    /// Heap bytes held, those of a source in memory with them: what a cache of opened movies counts.
    #[getter]
    fn nbytes(&self) -> usize {
        let source = self.source.as_slice().map_or(0, <[u8]>::len);
        let tracks = self.tracks.iter().map(|track| size_of::<Arc<Tables>>() + arc_nbytes(track) + track.nbytes());
        size_of::<Self>() + source + self.inner.nbytes() + tracks.sum::<usize>()
    }
}

/// One track: what it is, and its samples as columns.
#[pyclass(frozen, module = "pystream._core")]
pub(crate) struct Track {
    pub(crate) inner: Arc<Tables>,
    /// Bytes held that the movie's own track does not hold.
    pub(crate) unshared: usize,
    pub(crate) source: Arc<dyn ReadAt>,
    /// What messages call the input.
    name: Arc<str>,
}

impl Track {
    fn column(
        &self,
        py: Python<'_>,
        first: usize,
        end: usize,
        fill: impl Fn(&mut [i64]) + Send + Sync,
    ) -> PyResult<Column> {
        if first > end || end > self.inner.samples.len() {
            return Err(pyo3::exceptions::PyIndexError::new_err("sample range out of range"));
        }
        let mut values = zeros(end - first, "a column of samples")?;
        py.detach(|| fill(&mut values));
        Ok(Column(values))
    }
}

#[pymethods]
impl Track {
    #[getter]
    fn id(&self) -> u32 {
        self.inner.id
    }

    #[getter]
    fn kind(&self) -> &'static str {
        match self.inner.kind {
            Kind::Video => "video",
            Kind::Audio => "audio",
        }
    }

    #[getter]
    fn enabled(&self) -> bool {
        self.inner.enabled
    }

    #[getter]
    fn language(&self) -> &str {
        &self.inner.language
    }

    #[getter]
    fn timescale(&self) -> u32 {
        self.inner.timescale.get()
    }

    #[getter]
    fn rotation(&self) -> u16 {
        self.inner.rotation
    }

    #[getter]
    fn sample_count(&self) -> usize {
        self.inner.samples.len()
    }

    #[getter]
    fn nbytes(&self) -> usize {
        self.inner.nbytes()
    }

    /// The samples that are carried: first, end.
    #[getter]
    fn shown(&self) -> (usize, usize) {
        (self.inner.shown.start, self.inner.shown.end)
    }

    /// One `(codecs, width, height, sample_rate, channels)` for each decoder configuration.
    #[getter]
    fn configs(&self) -> Vec<(String, u16, u16, u32, u8)> {
        let describe = |config: &Config| match config {
            Config::Avc(avc) => (avc.codecs(), avc.width, avc.height, 0, 0),
            Config::Aac(aac) => (aac.codecs(), 0, 0, aac.output_rate, aac.output_channels()),
        };
        self.inner.configs.iter().map(describe).collect()
    }

    /// `(first sample, index into configs)` of each run.
    #[getter]
    fn config_runs(&self) -> Vec<(usize, usize)> {
        self.inner.config_runs.clone()
    }

    /// The same for tracks whose tables are the same, in this process. Reads nothing.
    fn outline<'py>(&self, py: Python<'py>) -> Bound<'py, PyBytes> {
        PyBytes::new(py, &py.detach(|| self.inner.outline()).to_be_bytes())
    }

    /// The same for tracks of one outline that hold the same samples. Reads a few of them.
    fn content<'py>(&self, py: Python<'py>) -> Result<Bound<'py, PyBytes>> {
        let digest = py.detach(|| self.inner.content(&self.source));
        Ok(PyBytes::new(py, &digest.map_err(|error| Fault::of(error, &self.name))?.to_be_bytes()))
    }

    fn __repr__(&self) -> String {
        let codecs: Vec<String> = self.configs().into_iter().map(|(codecs, ..)| codecs).collect();
        format!(
            "<pystream track {}: {}, {}, {} samples>",
            self.id(),
            self.kind(),
            codecs.join(" "),
            self.sample_count()
        )
    }

    /// Byte offsets, sizes, decoding or presentation times of samples `first..end`.
    fn offsets(&self, py: Python<'_>, first: usize, end: usize) -> PyResult<Column> {
        self.column(py, first, end, |out| self.inner.samples.offsets.expand(first, out))
    }

    fn sizes(&self, py: Python<'_>, first: usize, end: usize) -> PyResult<Column> {
        self.column(py, first, end, |out| self.inner.samples.sizes.expand(first, out))
    }

    fn dts(&self, py: Python<'_>, first: usize, end: usize) -> PyResult<Column> {
        self.column(py, first, end, |out| self.inner.samples.dts.expand(first, out))
    }

    fn pts(&self, py: Python<'_>, first: usize, end: usize) -> PyResult<Column> {
        let samples = &self.inner.samples;
        self.column(py, first, end, |out| {
            samples.dts.expand(first, out);
            if !samples.cts.is_empty() {
                let mut offsets = [0; 16 * BLOCK];
                for (at, part) in (first..).step_by(offsets.len()).zip(out.chunks_mut(16 * BLOCK)) {
                    samples.cts.expand(at, &mut offsets[..part.len()]);
                    part.iter_mut().zip(offsets).for_each(|(value, offset)| *value += offset);
                }
            }
        })
    }

    /// The random access points among samples `first..end`: their indexes and presentation times.
    fn keys(&self, py: Python<'_>, first: usize, end: usize) -> PyResult<(Column, Column)> {
        let samples = &self.inner.samples;
        let end = end.min(samples.len());
        py.detach(|| {
            let keys = (first..end).filter(|&index| samples.sync.contains(index));
            let count = keys.clone().count();
            let (mut indexes, mut times) = (zeros(count, "key frames")?, zeros(count, "key frames")?);
            for ((key, time), index) in indexes.iter_mut().zip(&mut times).zip(keys) {
                (*key, *time) = (index as i64, samples.get(index).pts);
            }
            Ok((Column(indexes), Column(times)))
        })
    }

    /// The same track with other random access points: for a file whose own word on them is wrong.
    fn with_keys(&self, indexes: Vec<usize>) -> PyResult<Self> {
        if indexes.iter().any(|&index| index >= self.inner.samples.len()) {
            return Err(pyo3::exceptions::PyIndexError::new_err("sample index out of range"));
        }
        let inner = Arc::new(self.inner.with_keys(indexes));
        let unshared = arc_nbytes(&inner) + inner.nbytes_unshared();
        Ok(Self { inner, unshared, source: Arc::clone(&self.source), name: Arc::clone(&self.name) })
    }

    /// When the last of the samples `first..end` stops being shown, ticks.
    fn end_pts(&self, py: Python<'_>, first: usize, end: usize) -> PyResult<i64> {
        let samples = &self.inner.samples;
        if first >= end || end > samples.len() {
            return Err(pyo3::exceptions::PyIndexError::new_err("sample range out of range"));
        }
        Ok(py.detach(|| self.inner.end_pts(first..end)))
    }

    /// Which of the random access points among samples `first..end` are key frames by their own NAL units: one bit a sample.
    fn check_keys<'py>(&self, py: Python<'py>, first: usize, end: usize) -> PyResult<Bound<'py, PyBytes>> {
        if first > end || end > self.inner.samples.len() {
            return Err(pyo3::exceptions::PyIndexError::new_err("sample range out of range"));
        }
        let bits = py.detach(|| self.inner.check_keys(&self.source, first..end));
        Ok(PyBytes::new(py, &bits.map_err(|error| Fault::of(error, &self.name))?))
    }

    /// What each of some samples begins with, by its own NAL units: `idr`, `recovery` or `other`. Reads a little of the source.
    fn picture_kinds<'py>(&self, py: Python<'py>, indexes: Vec<usize>) -> PyResult<Bound<'py, PyList>> {
        if indexes.iter().any(|&index| index >= self.inner.samples.len()) {
            return Err(pyo3::exceptions::PyIndexError::new_err("sample index out of range"));
        }
        let kinds = py.detach(|| self.inner.picture_kinds(&self.source, &indexes));
        let kinds = kinds.map_err(|error| Fault::of(error, &self.name))?;
        PyList::new(
            py,
            kinds.into_iter().map(|kind| match kind {
                PictureKind::Idr => intern!(py, "idr"),
                PictureKind::RecoveryPoint => intern!(py, "recovery"),
                PictureKind::Other | PictureKind::NeedMore(_) => intern!(py, "other"),
            }),
        )
    }

    /// Sample `index` by itself, as an fMP4 of nothing else. Raises `IndexError`, and what damaged or unreadable samples raise.
    fn frame(&self, py: Python<'_>, index: usize) -> PyResult<Segment> {
        if index >= self.inner.samples.len() {
            return Err(pyo3::exceptions::PyIndexError::new_err("sample index out of range"));
        }
        let made = py.detach(|| fmp4::frame(Arc::clone(&self.source), Arc::clone(&self.inner), index));
        Ok(Segment(made.map_err(|error| Fault::of(error, &self.name))?))
    }
}
