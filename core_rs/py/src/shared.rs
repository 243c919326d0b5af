//! What the processes of a node share.

use std::collections::HashMap;
use std::hash::BuildHasher;
use std::mem;
use std::net::AddrParseError;
use std::ops::Range;
use std::os::fd::{IntoRawFd, OwnedFd};
use std::sync::{Arc, Mutex, PoisonError};
use std::time::{SystemTime, UNIX_EPOCH};

use pyo3::exceptions::{PyOSError, PyValueError};
use pyo3::prelude::*;
use pyo3::types::PyBytes;
use pystream_delivery::{Delivered, Ledger, Row, monotonic_us};
use pystream_shm as shm;
use pystream_shm::Counts;

use crate::errors::TableFull;

fn fault(error: shm::Error) -> PyErr {
    match error {
        error @ shm::Error::System { .. } => PyOSError::new_err(error.to_string()),
        error @ shm::Error::Full { .. } => TableFull::new_err(error.to_string()),
        other => PyValueError::new_err(other.to_string()),
    }
}

/// The meter of a node: what was sent, by stream, hour and kind. What this process has delivered that has a tag is told
/// beside it.
#[pyclass(frozen, module = "pystream._core")]
pub(crate) struct Meter {
    inner: Arc<Booking>,
}

struct Booking {
    meter: shm::Meter,
    delivered: Mutex<Told>,
}

/// Records as `Meter.delivered` has them, and where they are, by their hashes.
#[derive(Default)]
struct Told {
    records: Vec<u8>,
    places: HashMap<u64, Range<usize>>,
    /// The same, of what was told last.
    before: Option<Box<Told>>,
}

impl Told {
    /// What is the same in all that it says is one event (`attendance-v1`), whatever came between: who asks for playlists and
    /// keys as fast as it can is on record with each once a millisecond.
    fn add(&mut self, t: i64, tag: &[u8]) {
        let at = self.records.len();
        self.records.extend_from_slice(&t.to_be_bytes());
        self.records.extend_from_slice(&(tag.len() as u16).to_be_bytes());
        self.records.extend_from_slice(tag);
        let record = &self.records[at..];
        if self.has(record) || self.before.as_ref().is_some_and(|before| before.has(record)) {
            self.records.truncate(at);
        } else {
            // Two that have one hash are two: of these, the one before may come again.
            self.places.insert(self.places.hasher().hash_one(record), at..self.records.len());
        }
    }

    fn has(&self, record: &[u8]) -> bool {
        self.places
            .get(&self.places.hasher().hash_one(record))
            .is_some_and(|place| self.records[place.clone()] == *record)
    }
}

impl Ledger for Booking {
    fn book(&self, row: Row, requests: u64, bytes: u64, aborted: u64) {
        let hour = SystemTime::now().duration_since(UNIX_EPOCH).map_or(0, |since| since.as_secs() / 3600);
        self.meter.add(row.stream, hour as u32, row.kind, Counts { requests, bytes, aborted });
    }

    fn delivered(&self, Delivered { tag, t }: Delivered) {
        self.delivered.lock().unwrap_or_else(PoisonError::into_inner).add(t, &tag);
    }
}

impl Meter {
    pub(crate) fn ledger(&self) -> Arc<dyn Ledger> {
        Arc::clone(&self.inner) as Arc<dyn Ledger>
    }
}

/// A row of the meter: stream, hour, kind, incarnation, and requests, bytes, aborted.
type Counted = (u32, u32, u8, u64, (u64, u64, u64));

#[pymethods]
impl Meter {
    /// The descriptor of a new meter of `rows` rows, a power of two, for all processes to inherit.
    ///
    /// # Errors
    /// `ValueError`, `OSError`.
    #[staticmethod]
    fn create(rows: usize) -> PyResult<i32> {
        Ok(shm::Meter::create(rows).map_err(fault)?.into_raw_fd())
    }

    /// Takes over the descriptor.
    ///
    /// # Errors
    /// `ValueError` where it is no meter's.
    #[new]
    fn new(fd: i32) -> PyResult<Self> {
        let fd: OwnedFd = crate::buffers::take_over(fd)?;
        Ok(Self {
            inner: Arc::new(Booking { meter: shm::Meter::attach(fd).map_err(fault)?, delivered: Mutex::default() }),
        })
    }

    /// All rows, with all that they counted since they began.
    fn rows(&self) -> Vec<Counted> {
        let told = |row: shm::Row| {
            let Counts { requests, bytes, aborted } = row.counts;
            (row.stream, row.hour, row.kind, row.incarnation, (requests, bytes, aborted))
        };
        self.inner.meter.rows().into_iter().map(told).collect()
    }

    /// Frees a row whose hour is over, if it still counts what it did when it was read; returns whether it does.
    fn retire(&self, row: Counted) -> bool {
        let (stream, hour, kind, incarnation, (requests, bytes, aborted)) = row;
        self.inner.meter.retire(&shm::Row {
            stream,
            hour,
            kind,
            incarnation,
            counts: Counts { requests, bytes, aborted },
        })
    }

    /// Calls that found no row: any but 0 is an alarm.
    fn lost(&self) -> u64 {
        self.inner.meter.overflow().lost_rows
    }

    /// What this process has delivered since the last call, of all that has a tag: records of the instant when the last byte
    /// was handed over, or of a download when it was begun (8 bytes, ms of `CLOCK_BOOTTIME`), the tag's length (2 bytes) and
    /// the tag, big-endian. Of those that are the same, there is one, and none if the last call had it.
    fn delivered<'py>(&self, py: Python<'py>) -> Bound<'py, PyBytes> {
        let mut told = self.inner.delivered.lock().unwrap_or_else(PoisonError::into_inner);
        let new = Told { before: None, ..mem::take(&mut *told) };
        let records = PyBytes::new(py, &new.records);
        told.before = Some(Box::new(new));
        records
    }
}

/// Reads a meter again and again, and tells what is new.
#[pyclass(frozen, module = "pystream._core")]
pub(crate) struct Reading {
    inner: Mutex<shm::Reading>,
}

#[pymethods]
impl Reading {
    #[new]
    fn new() -> Self {
        Self { inner: Mutex::default() }
    }

    /// What was counted since the last call, or since the meter was made: stream, kind, and requests, bytes, aborted. A stream and
    /// kind may come more than once.
    fn changes(&self, py: Python<'_>, meter: &Meter) -> Vec<(u32, u8, u64, u64, u64)> {
        let changes =
            py.detach(|| self.inner.lock().unwrap_or_else(PoisonError::into_inner).changes(&meter.inner.meter));
        let told = |row: shm::Row| {
            let Counts { requests, bytes, aborted } = row.counts;
            (row.stream, row.kind, requests, bytes, aborted)
        };
        changes.into_iter().map(told).collect()
    }
}

/// A rate limit table for all processes of a node. Its clock is the caller's, in microseconds.
#[pyclass(frozen, module = "pystream._core")]
pub(crate) struct Gcra {
    inner: shm::Gcra,
}

#[pymethods]
impl Gcra {
    /// The descriptor of a new table of about `size` bytes, for all processes to inherit.
    ///
    /// # Errors
    /// `ValueError`, `OSError`.
    #[staticmethod]
    fn create(size: usize) -> PyResult<i32> {
        Ok(shm::Gcra::create(size).map_err(fault)?.into_raw_fd())
    }

    /// Takes over the descriptor; `secret` is what all processes hash keys with.
    ///
    /// # Errors
    /// `ValueError` where it is no table's.
    #[new]
    fn new(fd: i32, secret: [u8; 16]) -> PyResult<Self> {
        let fd = crate::buffers::take_over(fd)?;
        Ok(Self { inner: shm::Gcra::attach(fd, &secret, None).map_err(fault)? })
    }

    /// Counts a request that costs `emission_us`, of which `burst_us` may be used up at once; returns 0 if it may go on, or
    /// else after how many microseconds it might.
    fn check(&self, key: &[u8], now_us: u64, emission_us: u64, burst_us: u64) -> u64 {
        let verdict = self.inner.check(key, now_us, emission_us, burst_us);
        wait(verdict)
    }

    /// What `check` would say, without counting the request.
    fn peek(&self, key: &[u8], now_us: u64, emission_us: u64, burst_us: u64) -> u64 {
        wait(self.inner.peek(key, now_us, emission_us, burst_us))
    }

    /// Takes back what a request has cost that need not have been counted.
    fn give_back(&self, key: &[u8], now_us: u64, emission_us: u64) {
        self.inner.give_back(key, now_us, emission_us);
    }

    /// Requests that were allowed, that were not, and keys still in use that others have displaced since the table was made:
    /// while these grow it is too small, and limits are looser than they say.
    fn counters(&self) -> (u64, u64, u64) {
        let shm::GcraCounters { admitted, refused, displaced } = self.inner.counters();
        (admitted, refused, displaced)
    }
}

fn wait(verdict: shm::Verdict) -> u64 {
    if verdict.allowed { 0 } else { verdict.wait_us.max(1) }
}

/// Requests at once and microseconds for one more, each (0, 0) where there is no bound.
type Budget = (u64, u64);

/// The limits of a node: who asks too often, and what follows. Its clock is the caller's, in microseconds.
#[pyclass(frozen, module = "pystream._core")]
pub(crate) struct Limiter {
    inner: shm::Limiter,
}

#[pymethods]
impl Limiter {
    /// Takes over the descriptor of a table of `Gcra.create` that is used for nothing else, whose keys are hashed with the first
    /// of the `secrets`, and were with the second before.
    ///
    /// `kinds`: by the number of a kind the budgets of a source, its network, a grant and a tenant. `offences`: refusals until a
    /// connection ends; `strikes`: those until the source is banned. `bans_us`: the shortest and the longest. `exempt`: networks,
    /// as address and bits.
    ///
    /// # Errors
    /// `ValueError` for a descriptor that is no table's, or an address that is none.
    #[new]
    #[pyo3(signature = (fd, secrets, *, kinds, offences, strikes, bans_us, exempt))]
    fn new(
        fd: i32,
        secrets: ([u8; 16], [u8; 16]),
        kinds: Vec<[Budget; 4]>,
        offences: Budget,
        strikes: Budget,
        bans_us: (u64, u64),
        exempt: Vec<(String, u8)>,
    ) -> PyResult<Self> {
        let fd = crate::buffers::take_over(fd)?;
        let table = shm::Gcra::attach(fd, &secrets.0, Some(&secrets.1)).map_err(fault)?;
        let exempt = exempt.iter().map(|(address, bits)| Ok(shm::Network::new(address.parse()?, *bits)));
        let exempt = exempt.collect::<Result<_, AddrParseError>>();
        let rules = shm::Rules {
            kinds: kinds.into_iter().map(kind).collect(),
            offences: budget(offences),
            strikes: budget(strikes),
            shortest_ban_us: bans_us.0,
            longest_ban_us: bans_us.1,
            exempt: exempt.map_err(|error| PyValueError::new_err(error.to_string()))?,
        };
        Ok(Self { inner: shm::Limiter::new(table, rules) })
    }

    /// Counts a request of a kind: 0 where it may go on, or else what follows, in its lowest three bits (`SOFT`, `HARD`, `BANNED`
    /// or `BEGAN`, which is a ban that began with it), and above them the microseconds until it might.
    ///
    /// Of what has no address, as of a Unix socket, nothing is counted. Without `now_us`, here and below, it is now by the clock
    /// that all processes share.
    #[pyo3(signature = (address, kind, now_us = None))]
    fn arrive(&self, address: &str, kind: usize, now_us: Option<u64>) -> u64 {
        address.parse().map_or(0, |from| told(self.inner.arrive(from, kind, or_now(now_us))))
    }

    /// Counts a request with a grant that is right, as `arrive` does.
    #[pyo3(signature = (address, grant, tenant, kind, now_us = None))]
    fn granted(&self, address: &str, grant: &[u8], tenant: u64, kind: usize, now_us: Option<u64>) -> u64 {
        address.parse().map_or(0, |from| told(self.inner.granted(from, grant, tenant, kind, or_now(now_us))))
    }

    /// Counts an attack of a source that has shaken hands, found out otherwise: `SOFT` the first time, with the microseconds for
    /// which it has no budget left, and then `BEGAN`.
    #[pyo3(signature = (address, now_us = None))]
    fn offend(&self, address: &str, now_us: Option<u64>) -> u64 {
        address.parse().map_or(0, |from| told(self.inner.offend(from, or_now(now_us))))
    }

    /// Microseconds for which an address is banned.
    #[pyo3(signature = (address, now_us = None))]
    fn banned(&self, address: &str, now_us: Option<u64>) -> u64 {
        address.parse().map_or(0, |from| self.inner.banned(from, or_now(now_us)))
    }

    /// Of a request that is over a budget.
    #[classattr]
    const SOFT: u64 = 1;
    /// Of one whose connection ends as well.
    #[classattr]
    const HARD: u64 = 2;
    /// Of one whose source is banned.
    #[classattr]
    const BANNED: u64 = 3;
    /// Of the one that was too many.
    #[classattr]
    const BEGAN: u64 = 4;
}

fn kind([source, network, grant, tenant]: [Budget; 4]) -> shm::Kind {
    shm::Kind { source: budget(source), network: budget(network), grant: budget(grant), tenant: budget(tenant) }
}

fn budget((at_once, emission_us): Budget) -> shm::Budget {
    shm::Budget { emission_us, burst_us: emission_us.saturating_mul(at_once) }
}

fn or_now(now_us: Option<u64>) -> u64 {
    now_us.unwrap_or_else(monotonic_us)
}

fn told(ruling: shm::Ruling) -> u64 {
    let (level, wait_us) = match ruling {
        shm::Ruling::Pass => return 0,
        shm::Ruling::Soft(wait_us) => (Limiter::SOFT, wait_us),
        shm::Ruling::Hard(wait_us) => (Limiter::HARD, wait_us),
        shm::Ruling::Banned { left_us, began: false } => (Limiter::BANNED, left_us),
        shm::Ruling::Banned { left_us, began: true } => (Limiter::BEGAN, left_us),
    };
    wait_us.min(u64::MAX >> 3) << 3 | level
}

/// The segment cache of a node, at one of its seats.
#[pyclass(frozen, module = "pystream._core")]
pub(crate) struct Cache {
    pub(crate) inner: shm::Cache,
}

#[pymethods]
impl Cache {
    /// The descriptor of a new cache of about `size` bytes with so many seats, one a process, for all processes to inherit.
    ///
    /// # Errors
    /// `ValueError`, `OSError`.
    #[staticmethod]
    fn create(size: usize, seats: usize) -> PyResult<i32> {
        Ok(shm::Cache::create(size, seats).map_err(fault)?.into_raw_fd())
    }

    /// Takes over the descriptor, at a seat that no other process has.
    ///
    /// # Errors
    /// `ValueError` where it is no cache's, or has no such seat.
    #[new]
    fn new(fd: i32, seat: usize) -> PyResult<Self> {
        let fd = crate::buffers::take_over(fd)?;
        Ok(Self { inner: shm::Cache::attach(fd, seat).map_err(fault)? })
    }

    /// How many processes have a place.
    #[getter]
    fn seats(&self) -> usize {
        self.inner.seats()
    }

    /// For how many bytes there is room.
    #[getter]
    fn size(&self) -> usize {
        self.inner.size()
    }

    /// Lets go of all that the process of a seat held, which has to be gone: waited for.
    ///
    /// # Errors
    /// `ValueError` where there is no such seat.
    fn reap(&self, seat: usize) -> PyResult<()> {
        if seat >= self.inner.seats() {
            return Err(PyValueError::new_err(format!("the segment cache has {} seats", self.inner.seats())));
        }
        self.inner.reap(seat);
        Ok(())
    }

    /// Hits, misses, evictions since it was made, and bytes in use.
    fn counters(&self) -> (u64, u64, u64, u64) {
        let shm::CacheCounters { hits, misses, evictions, bytes_used } = self.inner.counters();
        (hits, misses, evictions, bytes_used)
    }
}

/// A session as it was at one moment.
#[pyclass(frozen, module = "pystream._core")]
pub(crate) struct Session {
    inner: shm::Session,
}

#[pymethods]
impl Session {
    #[getter]
    fn id(&self) -> [u8; 16] {
        self.inner.id
    }

    #[getter]
    fn stream(&self) -> u32 {
        self.inner.terms.stream
    }

    #[getter]
    fn expires(&self) -> u32 {
        self.inner.terms.expires
    }

    #[getter]
    fn idle_s(&self) -> u32 {
        self.inner.terms.idle_s
    }

    #[getter]
    fn holder(&self) -> u64 {
        self.inner.terms.holder
    }

    #[getter]
    fn opened(&self) -> u32 {
        self.inner.opened
    }

    #[getter]
    fn last_seen(&self) -> u32 {
        self.inner.last_seen
    }

    #[getter]
    fn standing(&self) -> u8 {
        self.inner.standing.code()
    }

    // The id stands in grants.
    fn __repr__(&self) -> String {
        let shm::Session { terms, standing, .. } = &self.inner;
        format!("<pystream session of stream {}: {standing:?}>", terms.stream)
    }
}

/// The session table of a node. Its clock is the caller's, in Unix seconds.
#[pyclass(frozen, module = "pystream._core")]
pub(crate) struct Sessions {
    inner: shm::Sessions,
}

#[pymethods]
impl Sessions {
    #[classattr]
    const UNKNOWN: u8 = 0;
    #[classattr]
    const OPEN: u8 = 1;
    #[classattr]
    const EXPIRED: u8 = shm::Reason::Expired as u8;
    #[classattr]
    const IDLE: u8 = shm::Reason::Idle as u8;
    #[classattr]
    const REVOKED: u8 = shm::Reason::Revoked as u8;
    #[classattr]
    const KICKED: u8 = shm::Reason::Kicked as u8;
    #[classattr]
    const CLOSED: u8 = shm::Reason::Closed as u8;
    #[classattr]
    const STREAM_CLOSED: u8 = shm::Reason::StreamClosed as u8;

    /// The descriptor of a new table for `capacity` sessions, for all processes to inherit.
    ///
    /// # Errors
    /// `ValueError`, `OSError`.
    #[staticmethod]
    fn create(capacity: usize) -> PyResult<i32> {
        Ok(shm::Sessions::create(capacity).map_err(fault)?.into_raw_fd())
    }

    /// Takes over the descriptor.
    ///
    /// # Errors
    /// `ValueError` where it is no session table's.
    #[new]
    fn new(fd: i32) -> PyResult<Self> {
        let fd = crate::buffers::take_over(fd)?;
        Ok(Self { inner: shm::Sessions::attach(fd).map_err(fault)? })
    }

    /// How it stands with a session of a stream at `now`.
    ///
    /// # Errors
    /// `ValueError` where the id has not 16 bytes.
    fn check(&self, id: &[u8], stream: u32, now: u64) -> PyResult<u8> {
        Ok(self.inner.check(session_id(id)?, stream, now).code())
    }

    /// The session of an id.
    ///
    /// # Errors
    /// `ValueError` where the id has not 16 bytes.
    fn get(&self, id: &[u8]) -> PyResult<Option<Session>> {
        Ok(self.inner.get(session_id(id)?).map(|inner| Session { inner }))
    }

    /// All sessions, ended ones too.
    fn entries(&self, py: Python<'_>) -> Vec<Session> {
        py.detach(|| self.inner.entries()).into_iter().map(|inner| Session { inner }).collect()
    }

    /// Opens a session.
    ///
    /// # Errors
    /// `pystream.errors.TableFull`; `ValueError` where the id is known, or has not 16 bytes.
    #[pyo3(signature = (id, stream, now, *, expires, idle_s, holder))]
    #[expect(clippy::too_many_arguments, reason = "they have names where they are called")]
    fn open(
        &self,
        py: Python<'_>,
        id: &[u8],
        stream: u32,
        now: u64,
        expires: u64,
        idle_s: u32,
        holder: u64,
    ) -> PyResult<()> {
        let id = session_id(id)?;
        let terms = shm::Terms { stream, expires: u32::try_from(expires).unwrap_or(u32::MAX), idle_s, holder };
        py.detach(|| self.inner.open(id, terms, now)).map_err(fault)
    }

    /// Ends a session; returns whether it stood as open.
    ///
    /// # Errors
    /// `ValueError` where the id has not 16 bytes, or the reason is none.
    fn end(&self, py: Python<'_>, id: &[u8], reason: u8) -> PyResult<bool> {
        let (id, reason) = (session_id(id)?, reason_of(reason)?);
        Ok(py.detach(|| self.inner.end(id, reason)))
    }

    /// Ends all open sessions of a holder; returns how many.
    ///
    /// # Errors
    /// `ValueError` where the reason is none.
    fn end_holder(&self, py: Python<'_>, holder: u64, reason: u8) -> PyResult<usize> {
        let reason = reason_of(reason)?;
        Ok(py.detach(|| self.inner.end_all(reason, |session| session.terms.holder == holder)))
    }

    /// Ends all open sessions of a stream; returns how many.
    ///
    /// # Errors
    /// `ValueError` where the reason is none.
    fn end_stream(&self, py: Python<'_>, stream: u32, reason: u8) -> PyResult<usize> {
        let reason = reason_of(reason)?;
        Ok(py.detach(|| self.inner.end_all(reason, |session| session.terms.stream == stream)))
    }

    /// Forgets a session; returns whether there was one.
    ///
    /// # Errors
    /// `ValueError` where the id has not 16 bytes.
    fn forget(&self, py: Python<'_>, id: &[u8]) -> PyResult<bool> {
        let id = session_id(id)?;
        Ok(py.detach(|| self.inner.forget(id)))
    }

    /// Forgets what is past its hard end, and ends what is idle; returns how many were forgotten.
    fn sweep(&self, py: Python<'_>, now: u64) -> usize {
        py.detach(|| self.inner.sweep(now))
    }

    /// How many sessions the table was made for.
    #[getter]
    fn capacity(&self) -> usize {
        self.inner.capacity()
    }

    /// How many sessions it holds, ended ones too.
    fn __len__(&self) -> usize {
        self.inner.used()
    }

    /// Sessions open and ended, and since the table was made opened and refused for want of room.
    fn gauges(&self, py: Python<'_>) -> (usize, usize, u64, u64) {
        let shm::SessionGauges { open, ended, opened, refused } = py.detach(|| self.inner.gauges());
        (open, ended, opened, refused)
    }
}

fn session_id(id: &[u8]) -> PyResult<&[u8; 16]> {
    id.try_into().map_err(|_| PyValueError::new_err("a session's id has 16 bytes"))
}

fn reason_of(code: u8) -> PyResult<shm::Reason> {
    shm::Reason::of(code).ok_or_else(|| PyValueError::new_err(format!("{code} is no reason for a session to end")))
}
