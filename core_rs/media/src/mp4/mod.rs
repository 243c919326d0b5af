//! MP4, progressive and fragmented: ISO/IEC 14496-12 and -14, -15, and what QuickTime does differently.
//!
//! [`open`] reads `moov` as a whole and walks the tables of each track once, packing what they say into the columns of
//! [`Samples`](crate::track::Samples). Where `mvex` announces fragments, it goes on over the file's top level, from `moof` to
//! `moof`. Of the media data, the first frame or two of a track of sound are read, and where it is AAC-LC of 24 kHz or
//! less, the first sixteen: what nothing else tells is whether they are HE-AAC.
//!
//! One file a box, by its name. A box that is not named here is passed over.
//!
//! # What is believed
//!
//! A table is believed up to the bytes it has. Two claims come without bytes: the count of `stsz` with a constant size, and
//! that of a `trun` without fields. A sample takes at least a byte of the file, so all such claims together are
//! believed up to the size of the file. Samples may lie on top of each other, but all of them together only a few times over:
//! what is made of a file is as long as its samples.

mod builder;
mod ctts;
mod dref;
mod edits;
mod elst;
mod in_order;
mod mdhd;
mod moof;
mod moov;
mod mvhd;
mod relocate;
mod runs;
mod scan;
mod shown;
mod stbl;
mod stco;
mod stsc;
mod stsd;
mod stss;
mod stsz;
mod stts;
#[cfg(test)]
mod testing;
#[cfg(test)]
mod tests;
mod tfdt;
mod tfhd;
mod tkhd;
mod trak;
mod trex;
mod trun;
mod warning;

use std::borrow::Cow;
use std::ops::Range;
use std::sync::Arc;

pub use self::elst::Edit;
pub use self::relocate::{Part, relocate};
pub use self::warning::{Warning, WarningCode};

use self::builder::DescriptionRuns;
use self::builder::SamplesBuilder;
use self::edits::Timeline;
use self::in_order::present_in_order;
use self::moof::{Budget, Gaps, Outcome, Sink, Target};
use self::moov::Moov;
use self::scan::{Next, Scan, Top};
use self::shown::{Media, begin_together};
use self::stbl::SampleTables;
use self::stsd::Described;
use self::trak::{TO_STBL, Trak};
use self::warning::Warnings;
use crate::codec::aac::AacConfig;
use crate::codec::sbr::{self, Evidence};
use crate::reader::{FourCc, Reader};
use crate::source::ReadAt;
use crate::track::{Config, Kind, Sample, Samples, Track};
use crate::{Error, Result, limits};

/// What an MP4 file holds.
#[derive(Clone, Debug, Default)]
pub struct Movie {
    /// Tracks that can be carried, in the file's order. May be none.
    pub tracks: Vec<Track>,
    /// Tracks that cannot.
    pub skipped: Vec<Skipped>,
    /// What a caller should be told.
    pub warnings: Vec<Warning>,
    /// The movie has an `mvex`: its samples lie in fragments.
    pub fragmented: bool,
    /// A fragmented recording that was cut off; what is whole of it is here.
    pub truncated: bool,
    /// Fragments read.
    pub fragments: u64,
    /// Edit lists as they stand in the file.
    pub edits: Vec<EditList>,
    /// Ticks a second of edit durations (`mvhd`); 0 where the file says so.
    pub timescale: u32,
}

/// The edit list of a track.
#[derive(Clone, Debug, Eq, PartialEq)]
pub struct EditList {
    /// `track_ID`.
    pub track_id: u32,
    /// Ticks a second of media times (`mdhd`).
    pub timescale: u32,
    /// In presentation order.
    pub edits: Vec<Edit>,
}

/// A track that is left out.
#[derive(Clone, Debug, Eq, PartialEq)]
pub struct Skipped {
    /// `track_ID`.
    pub id: u32,
    /// `handler_type` (8.4.3), as in `vide`, `soun`, `text`.
    pub handler: String,
    /// The type of its sample entry, with the object type where that tells codecs apart (`mp4a.6b`); empty where there is none.
    pub codec: String,
    /// Why.
    pub reason: String,
}

impl Movie {
    /// Heap bytes held.
    pub fn nbytes(&self) -> usize {
        let tracks = self.tracks.capacity() * size_of::<Track>() + self.tracks.iter().map(Track::nbytes).sum::<usize>();
        let skipped = |s: &Skipped| s.handler.capacity() + s.codec.capacity() + s.reason.capacity();
        let skipped = self.skipped.capacity() * size_of::<Skipped>() + self.skipped.iter().map(skipped).sum::<usize>();
        let warnings = self.warnings.capacity() * size_of::<Warning>()
            + self.warnings.iter().map(|warning| warning.message.capacity()).sum::<usize>();
        let edits = self.edits.capacity() * size_of::<EditList>()
            + self.edits.iter().map(|list| list.edits.capacity() * size_of::<Edit>()).sum::<usize>();
        tracks + skipped + warnings + edits
    }
}

/// Reads the index of an MP4 file.
///
/// # Errors
/// Where the file is none, contradicts itself, asks for more than `limits.rs` allows, or cannot be read. That nothing in it can
/// be carried is no error here: [`Movie::skipped`] says why.
pub fn open(source: &dyn ReadAt) -> Result<Movie> {
    let size = source.size();
    let mut scan = Scan::new(source);
    let top = find_moov(&mut scan)?;
    let bytes = read_moov(source, &top)?;
    let moov = Moov::parse(Reader::new(&bytes, top.body)).map_err(|error| error.within("moov"))?;

    let mut opening = Opening {
        source,
        moov: &moov,
        size,
        movie: Movie::default(),
        warnings: Warnings::default(),
        tracks: Vec::new(),
    };
    let mut budget = Budget::of(size);
    opening.progressive(&mut budget).map_err(|error| error.within("moov"))?;
    if moov.trexs.is_some() {
        opening.movie.fragmented = true;
        opening.fragments(&mut scan, &bytes, &mut budget)?;
    }
    opening.finish().map_err(|error| error.within("moov"))
}

fn find_moov(scan: &mut Scan<'_>) -> Result<Top> {
    let mut last = None;
    loop {
        match scan.next()? {
            Next::Box(top) => match &top.kind.0 {
                b"moov" if top.overruns => {
                    return Err(Error::malformed("runs past the end of the file: the file was cut off")
                        .at(top.start)
                        .within("moov"));
                }
                b"moov" => return Ok(top),
                b"moof" => {
                    return Err(Error::malformed("a fragment before moov; put the init segment first")
                        .at(top.start)
                        .within("moof"));
                }
                _ => last = Some(top),
            },
            Next::Garbage(at) => {
                let what = match last {
                    Some(_) => "no box begins here, and there was no moov before: no MP4 file, or a damaged one",
                    None => "this is no MP4 file: its first bytes are no box",
                };
                return Err(Error::malformed(what).at(at));
            }
            Next::End => {
                return Err(match last {
                    Some(top) if top.start == 0 && top.overruns && !may_begin_a_file(top.kind) => {
                        Error::malformed("this is no MP4 file: its first bytes are no box that one begins with").at(0)
                    }
                    Some(top) if top.overruns => Error::malformed(
                        "runs past the end of the file, and there is no moov: no MP4 file, or one that was cut off",
                    )
                    .at(top.start)
                    .within(top.kind),
                    Some(_) => Error::malformed("no moov: the file has no index").at(0),
                    None => Error::malformed("the file is empty").at(0),
                });
            }
        }
    }
}

/// Whether a box of this type may come first (ISO/IEC 14496-12 table 1, and QuickTime's own).
fn may_begin_a_file(kind: FourCc) -> bool {
    const TYPES: [&[u8; 4]; 13] = [
        b"ftyp", b"styp", b"moov", b"moof", b"mdat", b"free", b"skip", b"wide", b"pnot", b"uuid", b"sidx", b"meta",
        b"pdin",
    ];
    TYPES.contains(&&kind.0)
}

fn read_moov<'s>(source: &'s dyn ReadAt, top: &Top) -> Result<Cow<'s, [u8]>> {
    let len = top.end - top.body;
    if len > limits::MOOV_BYTES {
        return Err(Error::limit(format!("{len} bytes; {} are allowed", limits::MOOV_BYTES))
            .at(top.start)
            .within("moov"));
    }
    if let Some(all) = source.as_slice() {
        return Ok(Cow::Borrowed(&all[top.body as usize..top.end as usize]));
    }
    let mut bytes = vec![0; len as usize];
    source.read_exact_at(top.body, &mut bytes)?;
    Ok(Cow::Owned(bytes))
}

/// A movie on its way.
struct Opening<'a> {
    source: &'a dyn ReadAt,
    moov: &'a Moov<'a>,
    size: u64,
    movie: Movie,
    warnings: Warnings,
    /// One for each `trak`; a line for those that may be carried.
    tracks: Vec<(Target, Option<Timeline>)>,
}

impl Opening<'_> {
    /// Walks the sample tables.
    fn progressive(&mut self, budget: &mut Budget) -> Result<()> {
        let fragmented = self.moov.trexs.is_some();
        for trak in &self.moov.traks {
            let id = trak.tkhd.id;
            let trex = self.moov.trexs.iter().flatten().find(|trex| trex.track_id == id);
            let mut target = Target { trex: trex.copied().unwrap_or_default(), sink: None };
            target.trex.track_id = id;
            let mut line = None;
            if let Some((entry, place)) = trak.outside() {
                let reason = format!("its media lies in another file (data reference of type {place})");
                self.skip(trak, entry.codec(), reason);
            } else if let Some(kind) = trak.entries.iter().find_map(|entry| entry.kind()) {
                let timeline = Timeline::new(&trak.edits, trak.mdhd.timescale, self.moov.mvhd.timescale, fragmented)
                    .map_err(|error| error.at(trak.offset).within("trak"))?;
                target.sink = Some(
                    self.walk(trak, kind, &timeline, budget)
                        .map_err(|error| error.at(trak.offset).within(TO_STBL).within("trak"))?,
                );
                line = Some(timeline);
            } else {
                let reason = trak.entries.first().map_or("it has no sample entry".to_owned(), |entry| entry.reason());
                self.skip(trak, trak.entries.first().map(|entry| entry.codec()).unwrap_or_default(), reason);
            }
            self.tracks.push((target, line));
        }
        Ok(())
    }

    fn walk(&mut self, trak: &Trak<'_>, kind: Kind, line: &Timeline, budget: &mut Budget) -> Result<Sink> {
        let mut builder = SamplesBuilder::new(line, self.size);
        let mut runs = DescriptionRuns::new();
        let Some(stbl) = trak.stbl else {
            return Err(Error::malformed("no stbl"));
        };
        let tables = SampleTables::parse(stbl, self.size)?;
        budget.take(u64::from(tables.count()))?;
        if u64::from(tables.count()) > limits::SAMPLES {
            return Err(
                Error::limit(format!("{} samples; {} are allowed", tables.count(), limits::SAMPLES)).at(stbl.offset())
            );
        }
        let walked = tables.walk(kind, &mut builder, &mut runs, budget).map_err(|error| error.at(stbl.offset()))?;
        let id = Some(trak.tkhd.id);
        if let Some([sized, placed, timed]) = walked.differing {
            let message = format!(
                "stsz counts {sized} samples, the chunks hold {placed}, stts times {timed}; {placed} are carried"
            );
            self.warnings.push(WarningCode::SampleCount, id, sized.abs_diff(placed), 0, message);
        }
        if walked.empty_stss {
            let message = "stss lists no sync sample; the first sample is taken for the only one".to_owned();
            self.warnings.push(WarningCode::EmptySyncTable, id, 0, 0, message);
        }
        let gaps = Gaps::default();
        Ok(Sink { kind, builder, runs, end: walked.end, last_duration: walked.last_duration, gaps })
    }

    /// Goes over the fragments behind `moov`.
    fn fragments(&mut self, scan: &mut Scan<'_>, moov: &[u8], budget: &mut Budget) -> Result<()> {
        let mut targets: Vec<Target> = Vec::with_capacity(self.tracks.len());
        let mut lines = Vec::with_capacity(self.tracks.len());
        for (target, line) in self.tracks.drain(..) {
            targets.push(target);
            lines.push(line);
        }
        let cut = self.fragments_into(scan, moov, &mut targets, budget)?;
        self.tracks = targets.into_iter().zip(lines).collect();
        if let Some(at) = cut {
            self.movie.truncated = true;
            let message = format!(
                "the recording was cut off at byte {at}; the {} whole fragments before are carried",
                self.movie.fragments
            );
            self.warnings.push(WarningCode::Truncated, None, 0, 0, message);
        }
        Ok(())
    }

    /// Returns where the recording was cut off, if it was.
    fn fragments_into(
        &mut self,
        scan: &mut Scan<'_>,
        moov: &[u8],
        targets: &mut [Target],
        budget: &mut Budget,
    ) -> Result<Option<u64>> {
        // A fragment whose data the file does not hold: the recording's end, or a lie, by what follows.
        let mut overrun: Option<(u64, Error)> = None;
        loop {
            let top = match scan.next()? {
                Next::Box(top) => top,
                Next::End => return Ok(overrun.map(|(at, _)| at)),
                Next::Garbage(at) => {
                    // Fewer bytes than a header has are the beginning of one.
                    let cut = overrun.map(|(at, _)| at).or((self.size - at < 8).then_some(at));
                    if cut.is_none() {
                        let message = format!("what follows from byte {at} on is no box and is left out");
                        self.warnings.push(WarningCode::TrailingBytes, None, 0, 0, message);
                    }
                    return Ok(cut);
                }
            };
            match &top.kind.0 {
                b"moof" | b"mdat" if top.overruns => return Ok(Some(overrun.map_or(top.start, |(at, _)| at))),
                b"moof" => {
                    if let Some((_, error)) = overrun {
                        return Err(error.within("moof"));
                    }
                    if top.end - top.body > limits::MOOF_BYTES {
                        let message = format!("{} bytes; {} are allowed", top.end - top.body, limits::MOOF_BYTES);
                        return Err(Error::limit(message).at(top.start).within("moof"));
                    }
                    let bytes = scan.bytes(top.body, top.end)?;
                    let read = moof::read(Reader::new(bytes, top.body), top.start, self.size, targets, budget);
                    match read.map_err(|error| error.within("moof"))? {
                        Outcome::Taken => self.movie.fragments += 1,
                        Outcome::Overruns(error) => overrun = Some((top.start, error)),
                    }
                }
                b"moov" => {
                    let same = top.end - top.body == moov.len() as u64 && scan.bytes(top.body, top.end)? == moov;
                    if !same {
                        let message =
                            format!("a second moov at byte {} says something else; the first one counts", top.start);
                        self.warnings.push(WarningCode::SecondMoov, None, 0, 0, message);
                    }
                }
                _ => {}
            }
        }
    }

    fn skip(&mut self, trak: &Trak<'_>, codec: String, reason: String) {
        self.movie.skipped.push(Skipped { id: trak.tkhd.id, handler: trak.handler.to_string(), codec, reason });
    }

    /// Whether the first frames of `run` carry replication that their configuration does not announce. Frames that lie side by side
    /// are one read.
    fn replicates(&self, samples: &Samples, run: Range<usize>, aac: &AacConfig) -> Result<bool> {
        let frames: Vec<Sample> = samples.iter(run.start..run.end.min(run.start + sbr::FRAMES)).collect();
        if aac.channels > sbr::CHANNELS || frames.iter().any(|frame| frame.size > sbr::LARGEST) {
            return Ok(false);
        }
        let mut evidence = Evidence::of(frames.len());
        let mut bytes = Vec::new();
        for together in frames.chunk_by(|a, b| a.offset + u64::from(a.size) == b.offset) {
            let start = together[0].offset;
            bytes.resize(together.iter().map(|frame| frame.size as usize).sum(), 0);
            self.source.read_exact_at(start, &mut bytes)?;
            for frame in together {
                if let Some(answer) = evidence.add(&bytes[(frame.offset - start) as usize..][..frame.size as usize]) {
                    return Ok(answer);
                }
            }
        }
        Ok(false)
    }

    fn warn_of_gaps(&mut self, trak: &Trak<'_>, gaps: Gaps) {
        let ms = |ticks: u64| {
            u64::try_from(u128::from(ticks) * 1000 / u128::from(trak.mdhd.timescale.max(1))).unwrap_or(u64::MAX)
        };
        let (all, first) = (ms(gaps.ticks), ms(gaps.first) as f64 / 1e3);
        let message = format!(
            "gaps between its fragments: {}, of {:.3} s together, the first at {first:.3} s of its media; what comes before a gap \
             lasts until its end. Was a fragment lost?",
            gaps.count,
            all as f64 / 1e3
        );
        self.warnings.push(WarningCode::FragmentGap, Some(trak.tkhd.id), 0, all, message);
    }

    /// Turns what was collected into tracks.
    fn finish(mut self) -> Result<Movie> {
        let mut late = Vec::new();
        for ((target, line), trak) in std::mem::take(&mut self.tracks).into_iter().zip(&self.moov.traks) {
            let (Some(sink), Some(line)) = (target.sink, line) else {
                continue;
            };
            let track = self.track(trak, sink, &line).map_err(|error| error.at(trak.offset).within("trak"))?;
            if let Some((track, is_late)) = track {
                self.movie.tracks.push(track);
                late.push(is_late);
            }
        }
        begin_together(&mut self.movie.tracks, &late, &mut self.warnings);
        self.movie.timescale = self.moov.mvhd.timescale;
        let list = |trak: &Trak<'_>| EditList {
            track_id: trak.tkhd.id,
            timescale: trak.mdhd.timescale,
            edits: trak.edits.clone(),
        };
        self.movie.edits = self.moov.traks.iter().filter(|trak| !trak.edits.is_empty()).map(list).collect();
        self.movie.warnings = self.warnings.0;
        self.movie.tracks.shrink_to_fit();
        self.movie.skipped.shrink_to_fit();
        self.movie.warnings.shrink_to_fit();
        Ok(self.movie)
    }

    fn track(&mut self, trak: &Trak<'_>, mut sink: Sink, line: &Timeline) -> Result<Option<(Track, bool)>> {
        let id = trak.tkhd.id;
        let codec = || trak.entries.first().map(|entry| entry.codec()).unwrap_or_default();
        let held = sink.builder.held;
        let repeated = sink.builder.repeated();
        let (mut samples, most_cts) = sink.builder.finish(sink.last_duration, &mut sink.runs);
        if samples.is_empty() {
            self.skip(trak, codec(), "it has no samples".to_owned());
            return Ok(None);
        }
        let (mut configs, config_runs) = match configs(trak, sink.kind, &sink.runs)? {
            Ok(found) => found,
            Err((codec, reason)) => {
                self.skip(trak, codec, reason);
                return Ok(None);
            }
        };
        let moved = if sink.kind == Kind::Audio { present_in_order(&mut samples) } else { 0 };
        for (place, config) in configs.iter_mut().enumerate() {
            if let Config::Aac(aac) = config
                && aac.may_replicate
                && self.replicates(&samples, first_run(&config_runs, place, samples.len()), aac)?
            {
                *config = Config::Aac(aac.clone().replicated());
            }
        }
        let media = Media { id, samples: &samples, line, most_cts };
        let shown = match &configs[0] {
            Config::Avc(_) => media.video(&mut self.warnings),
            Config::Aac(aac) => media.audio(aac, self.source)?.map(|shown| (shown, false)),
        };
        let (shown, late) = match shown {
            Ok(shown) => shown,
            Err(reason) => {
                self.skip(trak, codec(), reason);
                return Ok(None);
            }
        };
        if sink.gaps.count > 0 {
            self.warn_of_gaps(trak, sink.gaps);
        }
        if held > 0 {
            let message = format!("decoding times of {held} samples fall behind the preceding ones and were held");
            self.warnings.push(WarningCode::DecodeOrder, Some(id), held, 0, message);
        }
        if repeated > 0 {
            let message = format!(
                "{repeated} samples have the decoding time of the one before them, which then lasts no time: of such \
                 pictures players show the last one"
            );
            self.warnings.push(WarningCode::RepeatedTime, Some(id), repeated, 0, message);
        }
        if moved > 0 {
            let message =
                format!("composition offsets of {moved} frames of sound put them out of order and do not count");
            self.warnings.push(WarningCode::AudioOrder, Some(id), moved, 0, message);
        }
        if let Some(rate) = line.rate {
            let message = format!(
                "its edit list plays the media at {} times its speed, which HLS cannot express; the media is shown at its own",
                f64::from(rate) / 65536.0
            );
            self.warnings.push(WarningCode::EditRate, Some(id), 0, 0, message);
        }
        if line.jumps {
            let message = "its edit list jumps about in the media, which HLS cannot express; the media is shown from the first \
                           edit's begin to the last one's end, in its own order";
            self.warnings.push(WarningCode::EditJump, Some(id), 0, 0, message.to_owned());
        }
        let track = Track {
            id,
            kind: sink.kind,
            enabled: trak.tkhd.enabled,
            language: trak.mdhd.language.clone(),
            timescale: line.timescale,
            configs,
            config_runs,
            samples,
            shown,
            rotation: trak.tkhd.rotation(),
            matrix: trak.tkhd.matrix,
            seen: Arc::default(),
        };
        Ok(Some((track, late)))
    }
}

type Configs = (Vec<Config>, Vec<(usize, usize)>);

/// The configurations that samples use, equal ones once; or codec and reason of one that cannot be carried.
fn configs(
    trak: &Trak<'_>,
    wanted: Kind,
    runs: &DescriptionRuns,
) -> Result<std::result::Result<Configs, (String, String)>> {
    let mut configs: Vec<Config> = Vec::new();
    let mut config_runs: Vec<(usize, usize)> = Vec::new();
    // Where each sample entry went.
    let mut places = vec![None; trak.entries.len()];
    for &(first, description) in runs {
        let number = (description as usize).wrapping_sub(1);
        let Some(entry) = trak.entries.get(number) else {
            let message = format!("sample {} uses sample entry {description} of {}", first + 1, trak.entries.len());
            return Err(Error::malformed(message).within(TO_STBL));
        };
        let place = match places[number] {
            Some(place) => place,
            None => match entry.describe().map_err(|error| error.within("stsd").within(TO_STBL))? {
                Described::Config(config) => {
                    let place = configs.iter().position(|other| same_decoder(other, &config)).unwrap_or(configs.len());
                    if place == configs.len() {
                        configs.push(config);
                    }
                    places[number] = Some(place);
                    place
                }
                Described::Other { codec, reason } => return Ok(Err((codec, reason))),
            },
        };
        if config_runs.last().is_none_or(|&(_, last)| last != place) {
            config_runs.push((first, place));
        }
    }
    configs.shrink_to_fit();
    config_runs.shrink_to_fit();
    let mixed = configs.iter().any(|config| kind(config) != wanted);
    if mixed {
        return Ok(Err((String::new(), "its sample entries are of different kinds".to_owned())));
    }
    Ok(Ok((configs, config_runs)))
}

/// The samples of the first run of configuration `place`, of `len` samples in all.
fn first_run(config_runs: &[(usize, usize)], place: usize, len: usize) -> Range<usize> {
    let run = config_runs.iter().position(|&(_, config)| config == place).unwrap_or_default();
    config_runs[run].0..config_runs.get(run + 1).map_or(len, |&(first, _)| first)
}

fn kind(config: &Config) -> Kind {
    match config {
        Config::Avc(_) => Kind::Video,
        Config::Aac(_) => Kind::Audio,
    }
}

fn same_decoder(a: &Config, b: &Config) -> bool {
    match (a, b) {
        (Config::Avc(a), Config::Avc(b)) => a.same_decoder(b),
        (Config::Aac(a), Config::Aac(b)) => a.same_decoder(b),
        _ => false,
    }
}
