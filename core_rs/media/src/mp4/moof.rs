//! A movie fragment. ISO/IEC 14496-12 8.8.4 to 8.8.8.
//!
//! A fragment is read in two steps. First every run finds its place, so that a fragment whose data the file does not hold is
//! known before any of its samples is taken; then the samples are packed.

use super::builder::{DescriptionRuns, note_description};
use super::builder::{SamplesBuilder, Stated};
use super::tfdt;
use super::tfhd::{Base, Tfhd};
use super::trex::Trex;
use super::trun::Trun;
use crate::reader::Reader;
use crate::track::Kind;
use crate::{Error, Result, limits};

/// A track that fragments add to.
#[derive(Debug)]
pub(super) struct Target {
    pub(super) trex: Trex,
    /// `None` for a track that is not carried: its data still moves the place of what follows.
    pub(super) sink: Option<Sink>,
}

/// Where a carried track's samples go.
#[derive(Debug)]
pub(super) struct Sink {
    pub(super) kind: Kind,
    pub(super) builder: SamplesBuilder,
    pub(super) runs: DescriptionRuns,
    /// Media ticks after the last sample.
    pub(super) end: u64,
    /// What the last sample lasts.
    pub(super) last_duration: u32,
    pub(super) gaps: Gaps,
}

/// Where fragments leave more time between them than samples explain.
#[derive(Clone, Copy, Debug, Default, Eq, PartialEq)]
pub(super) struct Gaps {
    pub(super) count: u64,
    /// Media ticks in all of them, at most 2^64.
    pub(super) ticks: u64,
    /// Media ticks at which the first one begins.
    pub(super) first: u64,
}

impl Gaps {
    fn note(&mut self, begin: u64, end: u64) {
        if self.count == 0 {
            self.first = begin;
        }
        self.count += 1;
        self.ticks = self.ticks.saturating_add(end - begin);
    }
}

/// What the file may still claim: see [`super::open`].
#[derive(Debug)]
pub(super) struct Budget {
    /// Samples without a row for each.
    samples: u64,
    /// Bytes of samples, wherever they lie.
    bytes: u64,
}

impl Budget {
    pub(super) fn of(source_size: u64) -> Self {
        Self { samples: source_size, bytes: source_size.saturating_mul(limits::OVERLAP) }
    }

    pub(super) fn take(&mut self, samples: u64) -> Result<()> {
        self.samples = self.samples.checked_sub(samples).ok_or_else(|| {
            Error::malformed(format!("{samples} more samples are claimed than a file of this size can hold"))
        })?;
        Ok(())
    }

    pub(super) fn take_bytes(&mut self, bytes: u64) -> Result<()> {
        self.bytes = self.bytes.checked_sub(bytes).ok_or_else(|| {
            Error::limit(format!(
                "with these {bytes} bytes, samples are more than {} times as large as the file: they lie on top of each other",
                limits::OVERLAP
            ))
        })?;
        Ok(())
    }
}

/// What became of a fragment.
#[derive(Debug)]
pub(super) enum Outcome {
    /// Its samples were packed.
    Taken,
    /// Its data runs past the end of the file; nothing was packed. The error is for a fragment that is not the last.
    Overruns(Error),
}

struct Run<'a> {
    target: usize,
    description: u32,
    /// Given by `tfdt`, in the first run of a `traf`.
    decode_time: Option<u64>,
    start: u64,
    len: u64,
    trun: Trun<'a>,
}

/// Reads the content of a `moof` box that begins at `moof`.
pub(super) fn read(
    mut r: Reader<'_>,
    moof: u64,
    source_size: u64,
    targets: &mut [Target],
    budget: &mut Budget,
) -> Result<Outcome> {
    let mut runs = Vec::new();
    // The default base of the next traf: the moof, then where the preceding one's data ended (8.8.7.1).
    let mut previous = moof;
    while let Some(child) = r.child()? {
        if &child.kind.0 == b"traf" {
            previous = traf(child.body, moof, previous, targets, &mut runs).map_err(|error| error.within("traf"))?;
        }
    }
    for run in &runs {
        let end = run.start.checked_add(run.len);
        if end.is_none_or(|end| end > source_size) {
            let message = format!(
                "the {} samples at {} run past the end of the file, which has {source_size} bytes",
                run.trun.count, run.start
            );
            return Ok(Outcome::Overruns(Error::malformed(message).at(moof)));
        }
    }
    for run in &runs {
        take(run, targets, budget).map_err(|error| error.at(moof).within("trun").within("traf"))?;
    }
    Ok(Outcome::Taken)
}

/// Finds the place of a track fragment's runs; returns where its data ends.
fn traf<'a>(mut r: Reader<'a>, moof: u64, previous: u64, targets: &[Target], runs: &mut Vec<Run<'a>>) -> Result<u64> {
    let start = r;
    let mut head: Option<(usize, Trex, u64)> = None;
    let mut decode_time = None;
    let mut next = previous;
    let first_run = runs.len();
    while let Some(child) = r.child()? {
        match &child.kind.0 {
            b"tfhd" => {
                let tfhd = Tfhd::parse(child.body).map_err(|error| error.within("tfhd"))?;
                let Some(target) = targets.iter().position(|target| target.trex.track_id == tfhd.track_id) else {
                    let message = format!("fragment of track {}, which moov does not have", tfhd.track_id);
                    return Err(child.body.malformed(message).within("tfhd"));
                };
                let base = match tfhd.base {
                    Base::Offset(offset) => offset,
                    Base::Moof => moof,
                    Base::Previous => previous,
                };
                next = base;
                head = Some((target, tfhd.defaults(&targets[target].trex), base));
            }
            b"tfdt" => decode_time = Some(tfdt::parse(child.body).map_err(|error| error.within("tfdt"))?),
            b"trun" => {
                let Some((target, defaults, base)) = head else {
                    return Err(child.body.malformed("trun before tfhd"));
                };
                let trun = Trun::parse(child.body, defaults).map_err(|error| error.within("trun"))?;
                let begin = match trun.data_offset {
                    Some(offset) => base.checked_add_signed(i64::from(offset)),
                    None => Some(next),
                };
                let Some(begin) = begin else {
                    return Err(child.body.malformed("data_offset points before the file").within("trun"));
                };
                // Past 2^64 is past the end of any file, and is found there.
                let len = trun.data_len();
                next = begin.saturating_add(len);
                runs.push(Run {
                    target,
                    description: defaults.description,
                    decode_time: None,
                    start: begin,
                    len,
                    trun,
                });
            }
            _ => {}
        }
    }
    if head.is_none() {
        return Err(start.malformed("no tfhd"));
    }
    if let Some(run) = runs.get_mut(first_run) {
        run.decode_time = decode_time;
    }
    Ok(next)
}

fn take(run: &Run<'_>, targets: &mut [Target], budget: &mut Budget) -> Result<()> {
    let Some(sink) = &mut targets[run.target].sink else {
        return Ok(());
    };
    let trun = &run.trun;
    if let Some(time) = run.decode_time {
        // Rounded times, and a recorder that dropped a picture, are a sample or two beside what the durations add up to.
        let explained = sink.end.saturating_add(2 * u64::from(sink.last_duration));
        if sink.builder.len() > 0 && time > explained {
            sink.gaps.note(sink.end, time);
        }
        sink.end = time;
    }
    if trun.is_constant() && run.len == 0 {
        // Time passes, and nothing is there.
        let duration = trun.samples().next().map_or(0, |sample| sample.duration);
        sink.end = later(sink.end, u64::from(duration) * u64::from(trun.count))?;
        return Ok(());
    }
    budget.take(u64::from(trun.count))?;
    budget.take_bytes(run.len)?;
    note_description(&mut sink.runs, sink.builder.len(), run.description)?;
    let mut at = run.start;
    for (i, sample) in trun.samples().enumerate() {
        let sync = sink.kind == Kind::Audio || sample.sync();
        let stated = Stated { offset: at, size: sample.size, dts: sink.end, cts: sample.cts, sync };
        sink.builder.push(stated).map_err(|error| Error::malformed(format!("sample {} of the run: {error}", i + 1)))?;
        at += u64::from(sample.size);
        sink.end = later(sink.end, u64::from(sample.duration))?;
        sink.last_duration = sample.duration;
    }
    Ok(())
}

fn later(time: u64, by: u64) -> Result<u64> {
    time.checked_add(by).ok_or_else(|| Error::malformed("decoding times pass 2^64 ticks"))
}
