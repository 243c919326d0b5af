//! Inputs: a file, bytes, or a Python object with `size` and `read_at(offset, n)`.

use std::fs::{File, Metadata};
use std::io::IoSliceMut;
use std::num::NonZeroU64;
use std::os::fd::{AsRawFd, OwnedFd, RawFd};
use std::os::unix::fs::{FileExt, MetadataExt};
use std::path::{Path, PathBuf};

use pyo3::buffer::PyBuffer;
use pyo3::exceptions::PyValueError;
use pyo3::prelude::*;
use pyo3::pybacked::PyBackedBytes;
use pystream_delivery as delivery;
use pystream_delivery::{Failure, Source};
use pystream_media::{Error, Place, ReadAt, Result};
use rustix::fs::{Advice, fadvise, fstatfs};
use rustix::io::{Errno, ReadWriteFlags, preadv2};

use crate::errors::{numbered_os_error, os_error};

// errno(3); the same numbers on every Linux.
const EISDIR: i32 = 21;
const ESPIPE: i32 = 29;

/// A local file, read with `pread`: a file that shrinks is an error, where a map of it would be a SIGBUS.
pub(crate) struct FileSource {
    /// Here as long as this is.
    file: Option<File>,
    storage: Storage,
    state: State,
    place: Place,
    path: PathBuf,
}

/// How to get from a file what takes no time.
#[derive(Clone, Copy, Eq, PartialEq)]
enum Storage {
    /// It lies in memory.
    Memory,
    /// The kernel gives what is in its cache, and says of the rest that one would have to wait (preadv2(2), RWF_NOWAIT); what
    /// it knows of the file itself it has in memory.
    Disk,
    /// Not at all: network file systems and FUSE, which may have to ask elsewhere for anything, and overlays.
    Remote,
}

impl Storage {
    fn of(file: &File) -> Self {
        // statfs(2): TMPFS_MAGIC, RAMFS_MAGIC.
        let memory = fstatfs(file).is_ok_and(|found| matches!(found.f_type as u32, 0x0102_1994 | 0x8584_58F6));
        let asked = || preadv2(file, &mut [IoSliceMut::new(&mut [0])], 0, ReadWriteFlags::NOWAIT);
        match memory {
            true => Self::Memory,
            false if matches!(asked(), Ok(_) | Err(Errno::AGAIN)) => Self::Disk,
            false => Self::Remote,
        }
    }
}

/// What of a file changes with its bytes: size, and seconds and nanoseconds of its last change.
#[derive(Clone, Copy, Eq, PartialEq)]
struct State(u64, i64, i64);

impl State {
    fn of(found: &Metadata) -> Self {
        Self(found.len(), found.mtime(), found.mtime_nsec())
    }
}

/// A local file that could not be read.
#[derive(Debug)]
pub(crate) struct ReadFailed {
    pub(crate) error: std::io::Error,
    pub(crate) path: PathBuf,
}

impl std::fmt::Display for ReadFailed {
    fn fmt(&self, f: &mut std::fmt::Formatter<'_>) -> std::fmt::Result {
        write!(f, "{}: {}", self.path.display(), self.error)
    }
}

impl std::error::Error for ReadFailed {}

impl FileSource {
    /// # Errors
    /// `OSError` with its number and the path; `ValueError` for a path that has a NUL in it, as from Python's `open`.
    pub(crate) fn open(path: &Path) -> PyResult<Self> {
        if path.as_os_str().as_encoded_bytes().contains(&0) {
            return Err(PyValueError::new_err("embedded null byte"));
        }
        let failed = |error| os_error(&error, path);
        // Looked at before it is opened: opening a pipe would wait for its other end.
        check_kind(&std::fs::metadata(path).map_err(failed)?, path)?;
        Self::of(File::open(path).map_err(failed)?, path)
    }

    /// A file that somebody has opened for reading. `path` is what errors call it.
    ///
    /// # Errors
    /// `OSError` with its number and the path.
    pub(crate) fn take_over(descriptor: OwnedFd, path: &Path) -> PyResult<Self> {
        let file = File::from(descriptor);
        check_kind(&file.metadata().map_err(|error| os_error(&error, path))?, path)?;
        Self::of(file, path)
    }

    fn of(file: File, path: &Path) -> PyResult<Self> {
        let found = file.metadata().map_err(|error| os_error(&error, path))?;
        let (state, place) = (State::of(&found), Place { store: found.dev(), input: found.ino() });
        Ok(Self { storage: Storage::of(&file), file: Some(file), state, place, path: path.to_owned() })
    }

    /// Open as long as this is.
    pub(crate) fn descriptor(&self) -> RawFd {
        self.file().as_raw_fd()
    }

    fn file(&self) -> &File {
        self.file.as_ref().unwrap_or_else(|| unreachable!())
    }
}

impl Drop for FileSource {
    fn drop(&mut self) {
        if self.storage == Storage::Remote
            && let Some(file) = self.file.take()
        {
            delivery::let_go(self.place.store, Box::new(file));
        }
    }
}

impl ReadAt for FileSource {
    fn size(&self) -> u64 {
        self.state.0
    }

    fn read_now(&self, offset: u64, buf: &mut [u8]) -> Result<bool> {
        match self.storage {
            Storage::Remote => Ok(false),
            Storage::Memory => ReadAt::read_exact_at(self, offset, buf).map(|()| true),
            // What it does not give for whatever reason is read by somebody who can wait, and who is told why not.
            Storage::Disk => {
                let count = buf.len();
                let read = preadv2(self.file(), &mut [IoSliceMut::new(buf)], offset, ReadWriteFlags::NOWAIT);
                Ok(read.is_ok_and(|read| read == count))
            }
        }
    }

    fn is_remote(&self) -> bool {
        self.storage == Storage::Remote
    }

    fn place(&self) -> Place {
        self.place
    }

    /// By its time: the kernel sets that before the first byte is written (a file that is mapped, when it is first written to).
    fn check_unchanged(&self) -> Result<()> {
        match self.file().metadata() {
            Ok(found) if State::of(&found) == self.state => Ok(()),
            Ok(_) => Err(Error::source_failed("the file was written to since it was opened", None)),
            Err(error) => Err(Error::source_failed(error.to_string(), None)),
        }
    }

    fn will_read(&self, offset: u64, len: u64) {
        // What cannot be read ahead is read when it is needed.
        let _ = fadvise(self.file(), offset, NonZeroU64::new(len), Advice::WillNeed);
    }

    fn read_exact_at(&self, offset: u64, buf: &mut [u8]) -> Result<()> {
        self.file().read_exact_at(buf, offset).map_err(|error| match error.kind() {
            std::io::ErrorKind::UnexpectedEof => shrank(offset),
            _ => {
                let failed = ReadFailed { error, path: self.path.clone() };
                Error::source_failed(failed.error.to_string(), Some(Box::new(failed))).at(offset)
            }
        })
    }
}

impl Source for FileSource {
    fn read_exact_at(&self, offset: u64, buffer: &mut [u8]) -> std::result::Result<(), Failure> {
        ReadAt::read_exact_at(self, offset, buffer).map_err(|error| self.failed(&error))
    }

    fn read_now(&self, offset: u64, buffer: &mut [u8]) -> std::result::Result<Option<delivery::Place>, Failure> {
        let there = ReadAt::read_now(self, offset, buffer).map_err(|error| self.failed(&error))?;
        Ok((!there).then(|| self.named_place()))
    }

    fn is_remote(&self) -> Option<delivery::Place> {
        ReadAt::is_remote(self).then(|| self.named_place())
    }

    fn check(&self) -> std::result::Result<(), Failure> {
        self.check_unchanged().map_err(|error| self.failed(&error))
    }
}

impl FileSource {
    fn failed(&self, error: &Error) -> Failure {
        Failure(format!("{}: {error}", self.path.display()))
    }

    fn named_place(&self) -> delivery::Place {
        let Place { store, input } = self.place;
        delivery::Place { store, source: input, name: self.path.to_string_lossy().into() }
    }
}

/// # Errors
/// `OSError` for what cannot be read at any place.
fn check_kind(found: &Metadata, path: &Path) -> PyResult<()> {
    let kind = found.file_type();
    if kind.is_dir() {
        return Err(numbered_os_error(EISDIR, "Is a directory", path));
    }
    if !kind.is_file() {
        return Err(numbered_os_error(ESPIPE, "no regular file; an MP4 has to be read at any place", path));
    }
    Ok(())
}

fn shrank(offset: u64) -> Error {
    Error::source_failed("the input ends before it should: it shrank while it was read", None).at(offset)
}

/// Python's own bytes, lent.
pub(crate) struct BytesSource(pub(crate) PyBackedBytes);

impl ReadAt for BytesSource {
    fn size(&self) -> u64 {
        self.0.len() as u64
    }

    fn read_exact_at(&self, offset: u64, buf: &mut [u8]) -> Result<()> {
        self.0[..].read_exact_at(offset, buf)
    }

    fn as_slice(&self) -> Option<&[u8]> {
        Some(&self.0)
    }
}

/// An object with `read_at(offset, n)`, called with the interpreter held.
pub(crate) struct ObjectSource {
    pub(crate) object: Py<PyAny>,
    pub(crate) size: u64,
}

impl ReadAt for ObjectSource {
    fn size(&self) -> u64 {
        self.size
    }

    fn read_exact_at(&self, offset: u64, buf: &mut [u8]) -> Result<()> {
        Python::attach(|py| {
            let failed = |error: PyErr| Error::source_failed(error.to_string(), Some(Box::new(error))).at(offset);
            let answer = self.object.bind(py).call_method1("read_at", (offset, buf.len())).map_err(failed)?;
            let bytes = PyBuffer::<u8>::get(&answer).map_err(failed)?;
            if bytes.item_count() != buf.len() {
                let message = format!("read_at gave {} bytes where {} were asked for", bytes.item_count(), buf.len());
                return Err(Error::source_failed(message, None).at(offset));
            }
            bytes.copy_to_slice(py, buf).map_err(failed)
        })
    }
}
