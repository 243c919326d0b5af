//! The log that nobody can change unseen: what of its hashing Python sees. Hashes lie one behind the other, 32 bytes each.

use std::sync::{Mutex, MutexGuard, PoisonError};

use pyo3::exceptions::PyValueError;
use pyo3::prelude::*;
use pyo3::pybacked::PyBackedBytes;
use pyo3::types::PyBytes;

use pystream_attendance::{Hash, Part, SALT};

use crate::errors::{malformed_evidence, not_proven};

/// The events of whole lines of an evidence file, each as the log has it.
///
/// # Errors
/// `MalformedEvidence`, with the number of the line.
#[pyfunction]
pub(crate) fn canonical_events<'py>(py: Python<'py>, lines: &[u8]) -> PyResult<Vec<Bound<'py, PyBytes>>> {
    let events = py.detach(|| pystream_attendance::canonical_events(lines)).map_err(malformed_evidence)?;
    Ok(events.iter().map(|event| PyBytes::new(py, event)).collect())
}

/// The leaves of events behind their salts, of which there are 16 bytes for each.
///
/// # Errors
/// `ValueError` where there are not as many salts as events.
#[pyfunction]
#[allow(clippy::needless_pass_by_value, reason = "as pyo3 hands over a list")]
pub(crate) fn leaf_hashes<'py>(
    py: Python<'py>,
    salts: &[u8],
    events: Vec<PyBackedBytes>,
) -> PyResult<Bound<'py, PyBytes>> {
    let (salts, rest) = salts.as_chunks::<SALT>();
    if !rest.is_empty() || salts.len() != events.len() {
        return Err(PyValueError::new_err("each event has a salt of 16 bytes"));
    }
    let hash = |(salt, event): (&[u8; SALT], &PyBackedBytes)| pystream_attendance::leaf_hash(salt, event);
    let leaves: Vec<Hash> = py.detach(|| salts.iter().zip(&events).map(hash).collect());
    Ok(as_bytes(py, &leaves))
}

/// The end of a log, to go on from.
#[pyclass(frozen, module = "pystream._core")]
#[derive(Default)]
pub(crate) struct Frontier(Mutex<pystream_attendance::Frontier>);

#[pymethods]
impl Frontier {
    #[new]
    fn new() -> Self {
        Self::default()
    }

    /// How many leaves there are.
    #[getter]
    fn size(&self) -> u64 {
        lock(&self.0).size()
    }

    /// Adds leaves.
    fn append(&self, py: Python<'_>, leaves: &[u8]) -> PyResult<()> {
        let leaves = hashes(leaves)?;
        py.detach(|| {
            let mut frontier = lock(&self.0);
            leaves.iter().for_each(|leaf| frontier.push(*leaf));
        });
        Ok(())
    }

    /// The root of all leaves.
    fn root<'py>(&self, py: Python<'py>) -> Bound<'py, PyBytes> {
        PyBytes::new(py, &lock(&self.0).root())
    }

    /// All of it as bytes.
    fn store<'py>(&self, py: Python<'py>) -> Bound<'py, PyBytes> {
        PyBytes::new(py, &lock(&self.0).store())
    }

    /// What was stored.
    ///
    /// # Errors
    /// `ValueError` for any other bytes.
    #[staticmethod]
    fn load(state: &[u8]) -> PyResult<Self> {
        let loaded = pystream_attendance::Frontier::load(state);
        loaded
            .map(|frontier| Self(Mutex::new(frontier)))
            .ok_or_else(|| PyValueError::new_err("this is no end of a log"))
    }
}

/// All leaves of a log, to make proofs of.
#[pyclass(frozen, module = "pystream._core")]
#[derive(Default)]
pub(crate) struct LeafHashes(Mutex<pystream_attendance::LeafHashes>);

#[pymethods]
impl LeafHashes {
    #[new]
    fn new() -> Self {
        Self::default()
    }

    /// How many leaves there are.
    #[getter]
    fn size(&self) -> u64 {
        lock(&self.0).size()
    }

    /// Adds leaves.
    fn append(&self, py: Python<'_>, leaves: &[u8]) -> PyResult<()> {
        let leaves = hashes(leaves)?;
        py.detach(|| {
            let mut all = lock(&self.0);
            leaves.iter().for_each(|leaf| all.push(*leaf));
        });
        Ok(())
    }

    /// The root of the first `size` leaves.
    ///
    /// # Errors
    /// `ValueError` where there are fewer.
    fn root<'py>(&self, py: Python<'py>, size: u64) -> PyResult<Bound<'py, PyBytes>> {
        let root = py.detach(|| lock(&self.0).root(size));
        root.map(|root| PyBytes::new(py, &root)).ok_or_else(fewer)
    }

    /// That leaves are among the first `size`: their places are ascending.
    ///
    /// # Errors
    /// `ValueError` for other places, and where there are fewer leaves.
    #[allow(clippy::needless_pass_by_value, reason = "as pyo3 hands over a list")]
    fn inclusion<'py>(&self, py: Python<'py>, size: u64, places: Vec<u64>) -> PyResult<Bound<'py, PyBytes>> {
        let proof = py.detach(|| lock(&self.0).inclusion(size, &places));
        proof.map(|proof| as_bytes(py, &proof)).ok_or_else(fewer)
    }

    /// That the first `new` leaves begin with the first `old`.
    ///
    /// # Errors
    /// `ValueError` where `old` is above `new`, and where there are fewer leaves.
    fn consistency<'py>(&self, py: Python<'py>, old: u64, new: u64) -> PyResult<Bound<'py, PyBytes>> {
        let proof = py.detach(|| lock(&self.0).consistency(old, new));
        proof.map(|proof| as_bytes(py, &proof)).ok_or_else(fewer)
    }
}

/// Over which parts of a log a proof has a root, that leaves at ascending places are among its first `size`.
///
/// # Errors
/// `ValueError` for other places.
#[pyfunction]
#[allow(clippy::needless_pass_by_value, reason = "as pyo3 hands over a list")]
pub(crate) fn inclusion_parts(size: u64, places: Vec<u64>) -> PyResult<Vec<Part>> {
    pystream_attendance::inclusion_parts(size, &places).ok_or_else(fewer)
}

/// The same, that the first `new` leaves of a log begin with the first `old`.
///
/// # Errors
/// `ValueError` where `old` is above `new`.
#[pyfunction]
pub(crate) fn consistency_parts(old: u64, new: u64) -> PyResult<Vec<Part>> {
    pystream_attendance::consistency_parts(old, new).ok_or_else(fewer)
}

/// Whether leaves, by their ascending places, are in a log of that size and root.
///
/// # Errors
/// `NotProven` unless the proof leads there. `ValueError` where these are no hashes, or not as many as places.
#[pyfunction]
#[allow(clippy::needless_pass_by_value, reason = "as pyo3 hands over a list")]
pub(crate) fn check_inclusion(
    py: Python<'_>,
    size: u64,
    root: &[u8],
    places: Vec<u64>,
    leaves: &[u8],
    proof: &[u8],
) -> PyResult<()> {
    let (root, leaves, proof) = (hash(root)?, hashes(leaves)?, hashes(proof)?);
    if leaves.len() != places.len() {
        return Err(PyValueError::new_err("each leaf has a place"));
    }
    let leaves: Vec<(u64, Hash)> = places.into_iter().zip(leaves.iter().copied()).collect();
    py.detach(|| pystream_attendance::check_inclusion((size, root), &leaves, proof)).map_err(not_proven)
}

/// Whether a log of the size and root `new` begins with one of the size and root `old`.
///
/// # Errors
/// `NotProven` unless the proof shows it. `ValueError` where these are no hashes.
#[pyfunction]
pub(crate) fn check_consistency(
    py: Python<'_>,
    old: (u64, PyBackedBytes),
    new: (u64, PyBackedBytes),
    proof: &[u8],
) -> PyResult<()> {
    let (old, new, proof) = ((old.0, hash(&old.1)?), (new.0, hash(&new.1)?), hashes(proof)?);
    py.detach(|| pystream_attendance::check_consistency(old, new, proof)).map_err(not_proven)
}

fn hashes(bytes: &[u8]) -> PyResult<&[Hash]> {
    let (hashes, rest) = bytes.as_chunks();
    if rest.is_empty() { Ok(hashes) } else { Err(PyValueError::new_err("a hash has 32 bytes")) }
}

fn hash(bytes: &[u8]) -> PyResult<&Hash> {
    bytes.try_into().map_err(|_| PyValueError::new_err("a hash has 32 bytes"))
}

fn as_bytes<'py>(py: Python<'py>, hashes: &[Hash]) -> Bound<'py, PyBytes> {
    PyBytes::new(py, hashes.as_flattened())
}

fn fewer() -> PyErr {
    PyValueError::new_err("these are no places of this log, or not in order")
}

/// Leaves are only ever added: what a panic has left behind is a log still.
fn lock<T>(mutex: &Mutex<T>) -> MutexGuard<'_, T> {
    mutex.lock().unwrap_or_else(PoisonError::into_inner)
}
