//! Evidence in, rows out: what of `attendance-v1` Python sees.

use std::collections::HashSet;
use std::mem;
use std::sync::{Mutex, MutexGuard, PoisonError};

use jiff::Timestamp;
use jiff::tz::TimeZone;
use pyo3::exceptions::PyValueError;
use pyo3::prelude::*;
use pyo3::types::PyDict;

use pystream_attendance::{Beacons, Grade, Mode, Offsets, Options, Row, Selection, Spans, iso};

use crate::errors::malformed_evidence;

/// Beyond all that is asked of a zone: look-aheads end in 2132.
const LAST_YEAR: i64 = 2140 * 31_556_952 - 1970 * 31_556_952;

/// Events in any order, repeated or not.
#[pyclass(frozen, module = "pystream._core")]
#[derive(Default)]
pub(crate) struct Evidence(Mutex<pystream_attendance::Evidence>);

#[pymethods]
impl Evidence {
    #[new]
    fn new() -> Self {
        Self::default()
    }

    /// Reads whole lines of an evidence file; the last one need not end.
    ///
    /// # Errors
    /// `MalformedEvidence`, with the number of the line.
    fn read(&self, py: Python<'_>, lines: &[u8]) -> PyResult<()> {
        py.detach(|| lock(&self.0).read(lines)).map_err(malformed_evidence)
    }

    /// Reads those of whole lines that a report is about, and says how many these are.
    ///
    /// # Errors
    /// `MalformedEvidence`, with the number of the line.
    fn select(
        &self,
        py: Python<'_>,
        lines: &[u8],
        key: Option<String>,
        streams: Option<HashSet<String>>,
        begin: i64,
        end: i64,
    ) -> PyResult<u64> {
        let selection = Selection { key, streams, from: begin, to: end };
        py.detach(|| lock(&self.0).select(lines, &selection)).map_err(malformed_evidence)
    }

    /// Moves all that another one holds into this one.
    fn append(&self, py: Python<'_>, other: &Self) {
        py.detach(|| {
            let other = mem::take(&mut *lock(&other.0));
            lock(&self.0).append(other);
        });
    }
}

/// What has been watched, by the evidence taken.
#[pyclass(frozen, module = "pystream._core")]
pub(crate) struct Ledger(Mutex<pystream_attendance::Ledger>);

#[pymethods]
impl Ledger {
    /// Times are ms. `zone` is a file of the time zone database.
    #[new]
    #[pyo3(signature = (*, live, target_duration, lookahead, bridge, zone, windows, breaks, live_only=None, verified=false,
        require_visible=false, credit_outage=false, union=false))]
    #[allow(clippy::too_many_arguments, clippy::fn_params_excessive_bools, reason = "named in Python")]
    fn new(
        live: bool,
        target_duration: i64,
        lookahead: i64,
        bridge: i64,
        zone: &[u8],
        windows: Vec<(i64, i64)>,
        breaks: Vec<(i64, i64)>,
        live_only: Option<i64>,
        verified: bool,
        require_visible: bool,
        credit_outage: bool,
        union: bool,
    ) -> PyResult<Self> {
        let wrong = |what: &str| Err(PyValueError::new_err(what.to_owned()));
        let durations = [target_duration, lookahead, bridge, live_only.unwrap_or(0)];
        if target_duration == 0 || durations.iter().any(|ms| !(0..pystream_attendance::LONGEST_OPTION).contains(ms)) {
            return wrong("a duration is out of range");
        }
        let mode = match (live, live_only) {
            (true, lag) => Mode::Live(lag),
            (false, None) => Mode::File,
            (false, Some(_)) => return wrong("only what is live has live_only"),
        };
        let beacons = match (verified, require_visible) {
            (false, false) => Beacons::Ignored,
            (true, false) => Beacons::Narrow,
            (true, true) => Beacons::NarrowToVisible,
            (false, true) => return wrong("require_visible needs verified"),
        };
        if windows.is_empty() && !breaks.is_empty() {
            return wrong("breaks need a window");
        }
        let programme = (!windows.is_empty()).then(|| Spans::union(windows).without(&Spans::union(breaks)));
        let zone = offsets(zone)?;
        let options =
            Options { mode, target_duration, lookahead, bridge, beacons, credit_outage, union, programme, zone };
        Ok(Self(Mutex::new(pystream_attendance::Ledger::new(options))))
    }

    /// Takes all events, which leave the evidence. Of a session none may lie before those taken earlier.
    ///
    /// # Errors
    /// `ValueError` if one does: nothing is taken then, and all has left.
    fn take(&self, py: Python<'_>, evidence: &Evidence) -> PyResult<()> {
        py.detach(|| {
            let sorted = mem::take(&mut *lock(&evidence.0)).sorted();
            lock(&self.0).take(&sorted)
        })
        .map_err(|late| PyValueError::new_err(late.to_string()))
    }

    /// The rows so far, by key, stream and day.
    fn rows<'py>(&self, py: Python<'py>) -> PyResult<Vec<Bound<'py, PyDict>>> {
        let rows = py.detach(|| lock(&self.0).rows());
        rows.into_iter().map(|row| as_dict(py, row)).collect()
    }

    /// The ledger as bytes: options, and what has been taken.
    fn store(&self, py: Python<'_>) -> Vec<u8> {
        py.detach(|| lock(&self.0).store())
    }

    /// The ledger that was stored.
    ///
    /// # Errors
    /// `ValueError` for any other bytes.
    #[staticmethod]
    fn load(py: Python<'_>, state: &[u8]) -> PyResult<Self> {
        let loaded = py.detach(|| pystream_attendance::Ledger::load(state));
        loaded.map(|ledger| Self(Mutex::new(ledger))).map_err(|corrupt| PyValueError::new_err(corrupt.to_string()))
    }
}

/// What a panic has left behind is still whole enough to be looked at: it is no worse than what led to it.
fn lock<T>(mutex: &Mutex<T>) -> MutexGuard<'_, T> {
    mutex.lock().unwrap_or_else(PoisonError::into_inner)
}

fn offsets(file: &[u8]) -> PyResult<Offsets> {
    let wrong = |_| PyValueError::new_err("this is no time zone");
    let zone = TimeZone::tzif("", file).map_err(wrong)?;
    // Earlier than the civil day of any instant: what holds then holds up to the first change.
    let first = Timestamp::from_second(-86_400 * 8).map_err(wrong)?;
    let changes = zone.following(first).map(|change| (change.timestamp(), change.offset()));
    let all = std::iter::once((first, zone.to_offset(first))).chain(changes);
    let told = all.map(|(since, offset)| (since.as_millisecond(), i64::from(offset.seconds()) * 1000));
    Ok(told.take_while(|&(since, _)| since < LAST_YEAR * 1000).collect())
}

fn as_dict(py: Python<'_>, row: Row) -> PyResult<Bound<'_, PyDict>> {
    let dict = PyDict::new(py);
    dict.set_item("key", &*row.key)?;
    dict.set_item("stream", row.stream.as_deref())?;
    dict.set_item("day", row.day.map(iso))?;
    dict.set_item("access_ms", row.access)?;
    dict.set_item("media_ms", row.media)?;
    dict.set_item("window_ms", row.window)?;
    dict.set_item("window_media_ms", row.window_media)?;
    dict.set_item("verified_ms", row.verified)?;
    dict.set_item("hidden_ms", row.hidden)?;
    dict.set_item("certifiable_ms", row.certifiable)?;
    dict.set_item("overlap_ms", row.overlap)?;
    dict.set_item("max_devices", row.max_devices)?;
    dict.set_item("outage_ms", row.outage)?;
    dict.set_item("outage_credit_ms", row.outage_credit)?;
    dict.set_item("deep_buffer_ms", row.deep_buffer)?;
    dict.set_item("checks_shown", row.checks_shown)?;
    dict.set_item("checks_answered", row.checks_answered)?;
    let grade = match row.grade {
        Grade::Delivered => "delivered",
        Grade::Player => "player",
        Grade::PlayerAndChecks => "player+checks",
    };
    dict.set_item("evidence_grade", grade)?;
    dict.set_item("intervals", row.intervals)?;
    dict.set_item("flags", row.flags.into_iter().collect::<Vec<_>>())?;
    Ok(dict)
}
