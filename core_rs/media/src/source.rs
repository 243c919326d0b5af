//! How this crate asks for bytes. Who opens files, and what a file is, is the caller's business.

use crate::{Error, Result};

/// Where an input lies, for whoever has threads wait for it: those of one store answer together, or not at all.
#[derive(Clone, Copy, Debug, Default, Eq, PartialEq)]
pub struct Place {
    /// The disk, or the network's file system.
    pub store: u64,
    /// The input among those of its store.
    pub input: u64,
}

/// What came of making bytes without waiting for an input.
#[derive(Clone, Copy, Debug, Eq, PartialEq)]
pub enum Made {
    /// So many bytes.
    Bytes(usize),
    /// None: the input that lies here has to be waited for.
    Later(Place),
}

/// Random access to an input whose size is known.
pub trait ReadAt: Send + Sync {
    /// Size in bytes.
    fn size(&self) -> u64;

    /// Fills `buf` with the bytes from `offset` on.
    ///
    /// # Errors
    /// [`crate::ErrorKind::Source`] where the bytes cannot be had, an input that shrank among them.
    fn read_exact_at(&self, offset: u64, buf: &mut [u8]) -> Result<()>;

    /// Fills `buf`, if the bytes are at hand, and says whether it did. Waits for nothing.
    ///
    /// # Errors
    /// As of [`Self::read_exact_at`].
    fn read_now(&self, offset: u64, buf: &mut [u8]) -> Result<bool> {
        self.read_exact_at(offset, buf).map(|()| true)
    }

    /// Whether whatever it is asked may take its time, [`Self::check_unchanged`] as well.
    fn is_remote(&self) -> bool {
        false
    }

    /// Where it lies.
    fn place(&self) -> Place {
        Place::default()
    }

    /// The whole input, where it lies in memory anyway: then nothing is copied.
    fn as_slice(&self) -> Option<&[u8]> {
        None
    }

    /// Asked when bytes were read that belong together: whether all of them are of one input, and not of two that were
    /// written one over the other meanwhile.
    ///
    /// # Errors
    /// [`crate::ErrorKind::Source`] where the input is no more what it was when it was opened.
    fn check_unchanged(&self) -> Result<()> {
        Ok(())
    }

    /// The `len` bytes from `offset` on will be read soon. Comes back before they are there, but may have to wait for what says
    /// where they lie, or for room in a disk's queue (readahead(2)): it is for who can wait.
    fn will_read(&self, _offset: u64, _len: u64) {}
}

impl<T: ReadAt + ?Sized> ReadAt for &T {
    fn size(&self) -> u64 {
        (**self).size()
    }

    fn read_exact_at(&self, offset: u64, buf: &mut [u8]) -> Result<()> {
        (**self).read_exact_at(offset, buf)
    }

    fn read_now(&self, offset: u64, buf: &mut [u8]) -> Result<bool> {
        (**self).read_now(offset, buf)
    }

    fn is_remote(&self) -> bool {
        (**self).is_remote()
    }

    fn place(&self) -> Place {
        (**self).place()
    }

    fn as_slice(&self) -> Option<&[u8]> {
        (**self).as_slice()
    }

    fn check_unchanged(&self) -> Result<()> {
        (**self).check_unchanged()
    }

    fn will_read(&self, offset: u64, len: u64) {
        (**self).will_read(offset, len);
    }
}

impl<T: ReadAt + ?Sized> ReadAt for std::sync::Arc<T> {
    fn size(&self) -> u64 {
        (**self).size()
    }

    fn read_exact_at(&self, offset: u64, buf: &mut [u8]) -> Result<()> {
        (**self).read_exact_at(offset, buf)
    }

    fn read_now(&self, offset: u64, buf: &mut [u8]) -> Result<bool> {
        (**self).read_now(offset, buf)
    }

    fn is_remote(&self) -> bool {
        (**self).is_remote()
    }

    fn place(&self) -> Place {
        (**self).place()
    }

    fn as_slice(&self) -> Option<&[u8]> {
        (**self).as_slice()
    }

    fn check_unchanged(&self) -> Result<()> {
        (**self).check_unchanged()
    }

    fn will_read(&self, offset: u64, len: u64) {
        (**self).will_read(offset, len);
    }
}

impl ReadAt for [u8] {
    fn size(&self) -> u64 {
        self.len() as u64
    }

    fn read_exact_at(&self, offset: u64, buf: &mut [u8]) -> Result<()> {
        let bytes = usize::try_from(offset)
            .ok()
            .and_then(|start| self.get(start..start.checked_add(buf.len())?))
            .ok_or_else(|| Error::source_failed("read past the end of the input", None).at(offset))?;
        buf.copy_from_slice(bytes);
        Ok(())
    }

    fn as_slice(&self) -> Option<&[u8]> {
        Some(self)
    }
}
