//! The movie box. ISO/IEC 14496-12 8.2.1, 8.8.1.

use super::mvhd::Mvhd;
use super::trak::Trak;
use super::trex::Trex;
use crate::reader::Reader;
use crate::{Error, Result, limits};

/// What `moov` says.
#[derive(Clone, Debug, Default)]
pub(super) struct Moov<'a> {
    pub(super) mvhd: Mvhd,
    pub(super) traks: Vec<Trak<'a>>,
    /// Defaults of fragments; `None` where the movie has no `mvex` and thus no fragments.
    pub(super) trexs: Option<Vec<Trex>>,
}

impl<'a> Moov<'a> {
    pub(super) fn parse(mut r: Reader<'a>) -> Result<Self> {
        let start = r;
        let mut moov = Self::default();
        while let Some(child) = r.child()? {
            match &child.kind.0 {
                b"mvhd" => moov.mvhd = Mvhd::parse(child.body).map_err(|e| e.within("mvhd"))?,
                b"trak" => {
                    if moov.traks.len() == limits::TRACKS {
                        return Err(Error::limit(format!("more than {} tracks", limits::TRACKS)).at(start.offset()));
                    }
                    let trak = Trak::parse(child.body).map_err(|e| e.within("trak"))?;
                    if moov.traks.iter().any(|other| other.tkhd.id == trak.tkhd.id) {
                        let message = format!("two tracks with track_ID {}", trak.tkhd.id);
                        return Err(child.body.malformed(message).within("trak"));
                    }
                    moov.traks.push(trak);
                }
                b"mvex" => moov.mvex(child.body).map_err(|e| e.within("mvex"))?,
                b"cmov" => {
                    return Err(Error::unsupported("compressed movie header; write it anew uncompressed")
                        .at(start.offset())
                        .within("cmov"));
                }
                _ => {}
            }
        }
        Ok(moov)
    }

    fn mvex(&mut self, mut r: Reader<'a>) -> Result<()> {
        let mut trexs = Vec::new();
        while let Some(child) = r.child()? {
            match &child.kind.0 {
                b"trex" if trexs.len() < limits::TRACKS => {
                    trexs.push(Trex::parse(child.body).map_err(|e| e.within("trex"))?)
                }
                _ => {}
            }
        }
        self.trexs = Some(trexs);
        Ok(())
    }
}
