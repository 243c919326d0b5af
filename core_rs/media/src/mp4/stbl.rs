//! The sample tables of a track, walked once. ISO/IEC 14496-12 8.5.1.
//!
//! `stsz` counts the samples, `stsc` and `stco` place them, `stts`, `ctts` and `stss` say when and what. No table is expanded:
//! each is walked run by run, straight into the packed column that it fills.

use super::builder::{DescriptionRuns, SamplesBuilder, note_description};
use super::ctts::Ctts;
use super::moof::Budget;
use super::stco::ChunkOffsets;
use super::stsc::Stsc;
use super::stss::Stss;
use super::stsz::SampleSizes;
use super::stts::Stts;
use crate::reader::Reader;
use crate::track::Kind;
use crate::{Error, Result};

/// The tables, rows still in place.
#[derive(Clone, Debug, Default)]
pub(super) struct SampleTables<'a> {
    /// With where its content lies in the source.
    stts: Option<(Stts<'a>, u64)>,
    ctts: Option<Ctts<'a>>,
    stsc: Option<(Stsc<'a>, u64)>,
    sizes: Option<SampleSizes<'a>>,
    chunks: Option<ChunkOffsets<'a>>,
    stss: Option<Stss<'a>>,
}

/// What a walk says beyond the columns.
#[derive(Clone, Copy, Debug, Default, Eq, PartialEq)]
pub(super) struct Walked {
    /// Media ticks after the last sample.
    pub(super) end: u64,
    /// What the last sample lasts, media ticks.
    pub(super) last_duration: u32,
    /// Samples by `stsz`, by the chunks, and by `stts`, where they differ.
    pub(super) differing: Option<[u64; 3]>,
    /// `stss` is there and empty.
    pub(super) empty_stss: bool,
}

impl<'a> SampleTables<'a> {
    pub(super) fn parse(mut r: Reader<'a>, source_size: u64) -> Result<Self> {
        let mut tables = Self::default();
        while let Some(child) = r.child()? {
            let here = child.body.offset();
            let parsed = match &child.kind.0 {
                b"stts" => Stts::parse(child.body).map(|table| tables.stts = Some((table, here))),
                b"ctts" => Ctts::parse(child.body).map(|table| tables.ctts = Some(table)),
                b"stsc" => Stsc::parse(child.body).map(|table| tables.stsc = Some((table, here))),
                b"stsz" => SampleSizes::parse_stsz(child.body, source_size).map(|table| tables.sizes = Some(table)),
                b"stz2" => SampleSizes::parse_stz2(child.body).map(|table| tables.sizes = Some(table)),
                b"stco" => ChunkOffsets::parse_stco(child.body).map(|table| tables.chunks = Some(table)),
                b"co64" => ChunkOffsets::parse_co64(child.body).map(|table| tables.chunks = Some(table)),
                b"stss" => Stss::parse(child.body).map(|table| tables.stss = Some(table)),
                _ => Ok(()),
            };
            parsed.map_err(|error| error.within(child.kind))?;
        }
        Ok(tables)
    }

    /// Samples by `stsz`.
    pub(super) fn count(&self) -> u32 {
        self.sizes.map_or(0, |sizes| sizes.count())
    }

    /// Packs the samples. Where a table ends early, its last value goes on (`stts`) or 0 does (`ctts`), as in ffmpeg.
    pub(super) fn walk(
        &self,
        kind: Kind,
        to: &mut SamplesBuilder,
        runs: &mut DescriptionRuns,
        budget: &mut Budget,
    ) -> Result<Walked> {
        let Some(sizes) = self.sizes.filter(|sizes| sizes.count() > 0) else {
            return Ok(Walked::default());
        };
        let missing = |name: &str| Error::malformed(format!("{} samples, but no {name}", sizes.count()));
        let (stsc, stsc_at) = self.stsc.ok_or_else(|| missing("stsc"))?;
        let chunks = self.chunks.ok_or_else(|| missing("stco or co64"))?;
        let (stts, stts_at) = self.stts.ok_or_else(|| missing("stts"))?;

        let count = sizes.count();
        let mut placed = 0;
        for run in stsc.runs(chunks.count()).filter(|run| run.samples_per_chunk > 0) {
            if placed == count {
                break;
            }
            note_description(runs, placed as usize, run.description)
                .map_err(|error| error.at(stsc_at).within("stsc"))?;
            for chunk in run.first..run.end {
                let end = placed + run.samples_per_chunk.min(count - placed);
                to.place(chunks.get(chunk), &sizes, placed..end)?;
                placed = end;
            }
        }

        let bytes = to.size(placed, &sizes);
        budget.take_bytes(bytes).map_err(|error| error.at(sizes.offset()).within(sizes.name()))?;

        let (mut timed, mut dts, mut last_duration) = (0, 0, 0);
        let mut time = |count: u32, delta: u32| {
            to.time(count, dts, delta).map_err(|error| error.at(stts_at).within("stts"))?;
            // 2^32 samples of 2^32 ticks at most.
            dts += u64::from(count) * u64::from(delta);
            Ok(())
        };
        for (count, delta) in stts.runs(placed) {
            time(count, delta)?;
            timed += count;
            last_duration = delta;
        }
        time(placed - timed, last_duration)?;

        if let Some(ctts) = self.ctts {
            let mut composed = 0;
            for (count, offset) in ctts.runs(placed) {
                to.compose(count, offset);
                composed += count;
            }
            to.compose(placed - composed, 0);
        }

        // Every frame of sound is a random access point, whatever a table says.
        let stss = self.stss.filter(|_| kind == Kind::Video && placed > 0);
        if let Some(stss) = stss {
            let mut bits = stss.bits(placed);
            if stss.is_empty() {
                // Decoding must begin somewhere; that it begins at the beginning is the least that can be meant.
                bits[0] = 1;
            }
            to.mark(bits);
        }
        let differs = placed != count || timed != placed;
        Ok(Walked {
            end: dts,
            last_duration,
            differing: differs.then_some([count, placed, timed].map(u64::from)),
            empty_stss: stss.is_some_and(|stss| stss.is_empty()),
        })
    }
}
