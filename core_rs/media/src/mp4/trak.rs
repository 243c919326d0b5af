//! A track of `moov`: `trak` and the boxes down to `stbl`. ISO/IEC 14496-12 8.3.1.

use super::dref;
use super::elst::{self, Edit};
use super::mdhd::Mdhd;
use super::stsd::{self, SampleEntry};
use super::tkhd::Tkhd;
use crate::Result;
use crate::reader::{FourCc, Reader};

/// The way from a `trak` to its sample tables, as an error's path says it.
pub(super) const TO_STBL: &str = "mdia/minf/stbl";

/// What a `trak` says, its sample tables not yet looked into.
#[derive(Clone, Debug, Default)]
pub(super) struct Trak<'a> {
    /// Where its content lies in the source.
    pub(super) offset: u64,
    pub(super) tkhd: Tkhd,
    pub(super) mdhd: Mdhd,
    pub(super) handler: FourCc,
    pub(super) edits: Vec<Edit>,
    /// Of each data reference, its type where it leads out of this file.
    drefs: Vec<Option<FourCc>>,
    pub(super) entries: Vec<SampleEntry<'a>>,
    pub(super) stbl: Option<Reader<'a>>,
}

impl<'a> Trak<'a> {
    pub(super) fn parse(mut r: Reader<'a>) -> Result<Self> {
        let start = r;
        let mut trak = Self { offset: r.offset(), ..Self::default() };
        let mut headers = 0;
        while let Some(child) = r.child()? {
            match &child.kind.0 {
                b"tkhd" => {
                    trak.tkhd = Tkhd::parse(child.body).map_err(|e| e.within("tkhd"))?;
                    headers |= 1;
                }
                b"edts" => trak.edts(child.body).map_err(|e| e.within("edts"))?,
                b"mdia" => {
                    headers |= trak.mdia(child.body).map_err(|e| e.within("mdia"))?;
                }
                _ => {}
            }
        }
        match headers {
            3 => Ok(trak),
            2 => Err(start.malformed("no tkhd")),
            _ => Err(start.malformed("no mdia with an mdhd")),
        }
    }

    fn edts(&mut self, mut r: Reader<'a>) -> Result<()> {
        while let Some(child) = r.child()? {
            if child.kind == FourCc(*b"elst") {
                self.edits = elst::parse(child.body).map_err(|e| e.within("elst"))?;
            }
        }
        Ok(())
    }

    fn mdia(&mut self, mut r: Reader<'a>) -> Result<u32> {
        let mut found = 0;
        while let Some(child) = r.child()? {
            match &child.kind.0 {
                b"mdhd" => {
                    self.mdhd = Mdhd::parse(child.body).map_err(|e| e.within("mdhd"))?;
                    found = 2;
                }
                b"hdlr" => {
                    // ISO/IEC 14496-12 8.4.3; QuickTime's component subtype lies in the same place.
                    let mut hdlr = child.body;
                    self.handler = hdlr.skip(8).and_then(|()| hdlr.fourcc()).map_err(|e| e.within("hdlr"))?;
                }
                b"minf" => self.minf(child.body).map_err(|e| e.within("minf"))?,
                _ => {}
            }
        }
        Ok(found)
    }

    fn minf(&mut self, mut r: Reader<'a>) -> Result<()> {
        while let Some(child) = r.child()? {
            match &child.kind.0 {
                b"dinf" => self.dinf(child.body).map_err(|e| e.within("dinf"))?,
                b"stbl" => {
                    self.stbl = Some(child.body);
                    self.stsd(child.body).map_err(|e| e.within("stbl"))?;
                }
                _ => {}
            }
        }
        Ok(())
    }

    fn dinf(&mut self, mut r: Reader<'a>) -> Result<()> {
        while let Some(child) = r.child()? {
            if child.kind == FourCc(*b"dref") {
                self.drefs = dref::parse(child.body).map_err(|e| e.within("dref"))?;
            }
        }
        Ok(())
    }

    fn stsd(&mut self, mut stbl: Reader<'a>) -> Result<()> {
        while let Some(child) = stbl.child()? {
            if child.kind == FourCc(*b"stsd") {
                self.entries = stsd::parse(child.body).map_err(|e| e.within("stsd"))?;
            }
        }
        Ok(())
    }

    /// The first sample entry that might be carried were its media not outside of this file, and the type of its data reference.
    /// Which entries samples use is not known before the tables are walked, whose places mean nothing here. An index
    /// that names no data reference is taken for this file, as everywhere.
    pub(super) fn outside(&self) -> Option<(&SampleEntry<'a>, FourCc)> {
        self.entries.iter().filter(|entry| entry.kind().is_some()).find_map(|entry| {
            let place = usize::from(entry.data_reference_index()?).checked_sub(1)?;
            Some((entry, (*self.drefs.get(place)?)?))
        })
    }
}
