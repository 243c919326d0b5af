//! Bodies that are cut from a source, piece by piece.

use std::ops::Range;
use std::sync::Arc;

use crate::answer::{Failure, Filled, Piece, Place, Producer, Source};

/// Bytes `wanted` of a body in pieces. Each window is checked: it may be hours until the last one.
pub(crate) struct Pieces {
    pub(crate) source: Arc<dyn Source>,
    pub(crate) pieces: Arc<[Piece]>,
    pub(crate) wanted: Range<u64>,
}

impl Pieces {
    /// Has `read` fill what is not in memory, until it names a place; how much is there then.
    fn cut(
        &mut self,
        window: &mut [u8],
        read: impl Fn(&dyn Source, u64, &mut [u8]) -> Result<Option<Place>, Failure>,
    ) -> Result<Filled, Failure> {
        let Self { source, pieces, wanted } = self;
        let most = usize::try_from(wanted.end.saturating_sub(wanted.start)).unwrap_or(usize::MAX).min(window.len());
        let mut filled = 0;
        while let Some((piece, within)) = find(pieces, wanted.start + filled as u64).filter(|_| filled < most) {
            let room = &mut window[filled..most];
            let count = usize::try_from(piece.len() - within).unwrap_or(usize::MAX).min(room.len());
            let room = &mut room[..count];
            match piece {
                Piece::Bytes(bytes) => room.copy_from_slice(&bytes[within as usize..][..count]),
                Piece::Range(range) => {
                    if let Some(place) = read(&**source, range.start + within, room)? {
                        return Ok(Filled::Later(place));
                    }
                }
            }
            filled += count;
        }
        source.check()?;
        wanted.start += filled as u64;
        Ok(Filled::Bytes(filled))
    }
}

impl Producer for Pieces {
    fn fill(&mut self, window: &mut [u8]) -> Result<usize, Failure> {
        let read = |source: &dyn Source, offset, room: &mut [u8]| source.read_exact_at(offset, room).map(|()| None);
        match self.cut(window, read)? {
            Filled::Bytes(filled) => Ok(filled),
            Filled::Later(_) => Ok(0),
        }
    }

    fn fill_now(&mut self, window: &mut [u8]) -> Result<Filled, Failure> {
        match self.source.is_remote() {
            Some(place) => Ok(Filled::Later(place)),
            None => self.cut(window, |source, offset, room| source.read_now(offset, room)),
        }
    }
}

/// The piece that byte `at` lies in, and where in it.
fn find(pieces: &[Piece], mut at: u64) -> Option<(&Piece, u64)> {
    for piece in pieces {
        if at < piece.len() {
            return Some((piece, at));
        }
        at -= piece.len();
    }
    None
}
