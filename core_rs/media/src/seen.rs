//! What was read of a track's samples, kept so that it is read once.

use std::ops::Range;
use std::sync::{Arc, Mutex, MutexGuard, PoisonError};

use crate::codec::avc::PictureKind;
use crate::column::{Column, ColumnBuilder};
use crate::track::{Config, Track};
use crate::window::Windows;
use crate::{ReadAt, Result};

/// What reading has shown so far. A track's clones share it: they have the same samples.
#[derive(Debug, Default)]
pub struct Seen {
    kinds: Mutex<Kinds>,
    growth: Mutex<Option<Arc<Growth>>>,
}

impl Seen {
    /// What sample `index` of `len` begins with, by `read` where nobody has looked yet.
    pub(crate) fn kind(
        &self,
        index: usize,
        len: usize,
        read: impl FnOnce() -> Result<PictureKind>,
    ) -> Result<PictureKind> {
        if let Some(kind) = held(&self.kinds).get(index) {
            return Ok(kind);
        }
        // Nothing is held while the source is read, which may take as long as it likes.
        let kind = read()?;
        held(&self.kinds).set(index, len, kind);
        Ok(kind)
    }

    /// The growth of the samples of `range`.
    pub(crate) fn growth(&self, range: &Range<usize>, read: impl FnOnce() -> Result<Growth>) -> Result<Arc<Growth>> {
        if let Some(growth) = held(&self.growth).as_ref().filter(|growth| growth.covers(range)) {
            return Ok(Arc::clone(growth));
        }
        let growth = Arc::new(read()?);
        *held(&self.growth) = Some(Arc::clone(&growth));
        Ok(growth)
    }

    /// Heap bytes held.
    pub(crate) fn nbytes(&self) -> usize {
        let growth = held(&self.growth).as_ref().map_or(0, |growth| size_of::<Growth>() + growth.column.nbytes());
        held(&self.kinds).0.capacity() * size_of::<u64>() + growth
    }
}

/// Two bits a sample: however many key frames a file claims, what is known of them takes no more than that. Begun at the first
/// look.
#[derive(Debug, Default)]
struct Kinds(Vec<u64>);

/// Samples in a word.
const KINDS: usize = 32;

impl Kinds {
    fn get(&self, index: usize) -> Option<PictureKind> {
        match self.0.get(index / KINDS)? >> (2 * (index % KINDS)) & 3 {
            1 => Some(PictureKind::Idr),
            2 => Some(PictureKind::RecoveryPoint),
            3 => Some(PictureKind::Other),
            _ => None,
        }
    }

    fn set(&mut self, index: usize, len: usize, kind: PictureKind) {
        if self.0.is_empty() {
            self.0 = vec![0; len.div_ceil(KINDS)];
        }
        let bits = match kind {
            PictureKind::Idr => 1,
            PictureKind::RecoveryPoint => 2,
            PictureKind::Other | PictureKind::NeedMore(_) => 3,
        };
        self.0[index / KINDS] |= bits << (2 * (index % KINDS));
    }
}

/// A panic elsewhere leaves nothing half done in what is only ever added to.
fn held<T>(mutex: &Mutex<T>) -> MutexGuard<'_, T> {
    mutex.lock().unwrap_or_else(PoisonError::into_inner)
}

/// What samples grow by when their NAL lengths become start codes of 4 bytes.
#[derive(Debug)]
pub(crate) struct Growth {
    /// The first sample that was read.
    first: usize,
    column: Column,
}

impl Growth {
    /// Reads the NAL lengths of the samples of `range`.
    pub(crate) fn read(track: &Track, source: &Arc<dyn ReadAt>, range: Range<usize>) -> Result<Self> {
        let mut windows = Windows::new(Arc::clone(source));
        let mut column = ColumnBuilder::default();
        for (index, sample) in range.clone().zip(track.samples.iter(range.clone())) {
            let size = length_size(track.config_at(index));
            let (mut at, end, mut nals) = (sample.offset, sample.offset + u64::from(sample.size), 0);
            while size < 4 && at + size as u64 <= end {
                let length =
                    windows.lend(at, size, size, end)?.iter().fold(0u64, |length, &byte| length << 8 | u64::from(byte));
                at += size as u64 + length;
                nals += 1;
            }
            column.push(nals * (4 - size as i64));
        }
        Ok(Self { first: range.start, column: column.finish() })
    }

    fn covers(&self, range: &Range<usize>) -> bool {
        self.first <= range.start && range.end <= self.first + self.column.len()
    }

    /// Bytes by which sample `index`, which has to be one of those that were read, grows.
    pub(crate) fn at(&self, index: usize) -> u32 {
        self.column.get(index - self.first) as u32
    }
}

/// Bytes of a NAL length under a configuration.
pub(crate) fn length_size(config: &Config) -> usize {
    match config {
        Config::Avc(avc) => usize::from(avc.nal_length_size),
        Config::Aac(_) => 4,
    }
}
