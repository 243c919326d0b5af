//! A picture by itself: a whole film of one sample, for players to draw it. Nothing is decoded here.

use std::sync::Arc;

use super::fragment::{Layout, Muxer, STYP};
use crate::track::Track;
use crate::{Error, ReadAt, Result};

/// Sample `index` of `track` as one file: `ftyp`, `moov`, `moof`, `mdat`. It is shown at 0 for as long as in the film. What
/// depends on other samples gives no picture, so `index` is a sync sample's.
///
/// # Errors
/// [`crate::ErrorKind::Limit`] for a sample that no fragment can hold, or the memory left; and what reading the source gives.
///
/// # Panics
/// Where there is no such sample.
pub fn frame(source: Arc<dyn ReadAt>, track: Arc<Track>, index: usize) -> Result<Vec<u8>> {
    let layout = Arc::new(Layout::alone(source, Arc::clone(&track), index)?);
    let mut file = layout.init(0);
    // `styp` may begin a segment and nothing else (ISO/IEC 14496-12 8.16.2); this file has begun with `ftyp`.
    let start = file.len() - STYP.len();
    let end =
        start + usize::try_from(layout.size(0)).map_err(|_| Error::limit("a sample too large for this machine"))?;
    let head = file.split_off(start);
    let short = |_| Error::limit(format!("no memory for a picture of {end} bytes")).at(track.samples.get(index).offset);
    file.try_reserve_exact(end - file.len()).map_err(short)?;
    file.resize(end, 0);
    let mut muxer = Muxer::new(layout, 0);
    if muxer.fill(&mut file[start..])? != end - start {
        return Err(Error::malformed("a sample came out shorter than its track says"));
    }
    muxer.check_unchanged()?;
    file[start..start + head.len()].copy_from_slice(&head);
    Ok(file)
}
