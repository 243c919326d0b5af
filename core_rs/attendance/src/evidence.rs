//! Evidence in columns, as small as it goes, and in the order in which it is folded.
//!
//! A day of ten thousand viewers is six million segments. Each is 32 bytes here: names are numbers, and what counts nowhere
//! (playlists, keys, segments that are not primary) is left out.

use std::collections::HashMap;

use crate::event::{Beacon, Check, Event, Segment, Selection, Viewing};
use crate::lines::{self, Malformed};
use crate::spans::Growing;

/// Events in any order, repeated or not.
#[derive(Clone, Debug, Default)]
pub struct Evidence {
    sessions: Names<[Box<str>; 3]>,
    renditions: Names<Box<str>>,
    columns: Columns,
}

#[derive(Clone, Debug, Default)]
pub(crate) struct Columns {
    pub(crate) segments: Vec<Delivered>,
    pub(crate) beacons: Vec<Told>,
    pub(crate) checks: Vec<Shown>,
    pub(crate) downloads: Vec<(u32, i64)>,
    /// The outages of all streams, and those of one.
    pub(crate) outages: Vec<(i64, i64, Option<Box<str>>)>,
    pub(crate) restores: Growing,
    pub(crate) clocks: Vec<i64>,
}

/// A primary segment. Its fields stand in the order of the fold; names are numbers in the order of their text.
#[derive(Clone, Copy, Debug, PartialEq, Eq, PartialOrd, Ord)]
pub(crate) struct Delivered {
    pub(crate) viewer: u32,
    pub(crate) t: i64,
    pub(crate) session: u32,
    pub(crate) m0: i64,
    /// d, which orders as m1 does.
    pub(crate) length: u32,
    pub(crate) rendition: u32,
}

#[derive(Clone, Copy, Debug, PartialEq, PartialOrd)]
pub(crate) struct Told {
    pub(crate) viewer: u32,
    pub(crate) session: u32,
    pub(crate) t: i64,
    pub(crate) beacon: Beacon,
}

#[derive(Clone, Copy, Debug, PartialEq, Eq, PartialOrd, Ord)]
pub(crate) struct Shown {
    pub(crate) viewer: u32,
    pub(crate) session: u32,
    pub(crate) t: i64,
    pub(crate) answered: bool,
}

impl Evidence {
    /// Reads whole lines of an evidence file; the last one need not end.
    ///
    /// # Errors
    /// The first line that is malformed, counted from 1 in `text`. What came before it is kept.
    pub fn read(&mut self, text: &[u8]) -> Result<(), Malformed> {
        lines::read(text, |event| self.push(&event))
    }

    /// Reads those of whole lines that are selected, and says how many these are.
    ///
    /// # Errors
    /// The first line that is malformed, counted from 1 in `text`.
    pub fn select(&mut self, text: &[u8], selection: &Selection) -> Result<u64, Malformed> {
        let mut taken = 0;
        lines::read(text, |event| {
            if selection.takes(&event) {
                taken += 1;
                self.push(&event);
            }
        })?;
        Ok(taken)
    }

    /// Takes one event.
    pub fn push(&mut self, event: &Event<'_>) {
        let columns = &mut self.columns;
        match event {
            Event::Segment(_, Segment { primary: false, .. }) | Event::Uncounted(..) => {}
            Event::Segment(viewing, segment) => columns.segments.push(Delivered {
                viewer: 0,
                t: viewing.t,
                session: self.sessions.number(viewing),
                m0: segment.m0,
                // Not above LONGEST_SEGMENT.
                length: (segment.m1 - segment.m0) as u32,
                rendition: self.renditions.number(&*segment.rendition),
            }),
            Event::Beacon(viewing, beacon) => {
                let session = self.sessions.number(viewing);
                columns.beacons.push(Told { viewer: 0, session, t: viewing.t, beacon: *beacon });
            }
            Event::Check(viewing, Check { answered }) => {
                let session = self.sessions.number(viewing);
                columns.checks.push(Shown { viewer: 0, session, t: viewing.t, answered: answered.is_some() });
            }
            Event::Download(viewing) => columns.downloads.push((self.sessions.number(viewing), viewing.t)),
            Event::Outage(from, to, stream) => {
                columns.outages.push((*from, *to, stream.as_deref().map(Box::from)));
            }
            Event::Restore(from, to) => columns.restores.add(*from, *to),
            Event::Clock(t, _) => columns.clocks.push(*t),
        }
    }

    /// Adds what another one has.
    pub fn append(&mut self, mut other: Self) {
        let sessions = self.sessions.numbers_of(other.sessions);
        let renditions = self.renditions.numbers_of(other.renditions);
        other.columns.renumber(&sessions, |_| 0, &renditions);
        let Columns { segments, beacons, checks, downloads, outages, restores, clocks } = &mut self.columns;
        segments.append(&mut other.columns.segments);
        beacons.append(&mut other.columns.beacons);
        checks.append(&mut other.columns.checks);
        downloads.append(&mut other.columns.downloads);
        outages.append(&mut other.columns.outages);
        other.columns.restores.iter().for_each(|(from, to)| restores.add(from, to));
        clocks.append(&mut other.columns.clocks);
    }

    /// Puts it in the order of the fold.
    #[must_use]
    pub fn sorted(self) -> Sorted {
        let Self { sessions, renditions, mut columns } = self;
        let (names, numbers) = sessions.sorted();
        let mut viewers: Vec<Viewer> = Vec::new();
        let mut viewer_of = Vec::with_capacity(names.len());
        for (index, [key, stream, session]) in (0..).zip(names) {
            match viewers.last_mut() {
                Some(last) if last.key == key && last.stream == stream => last.sessions.push(session),
                _ => viewers.push(Viewer { key, stream, first: index, sessions: vec![session] }),
            }
            viewer_of.push(viewers.len() as u32 - 1);
        }
        let (renditions, rendition_numbers) = renditions.sorted();
        columns.renumber(&numbers, |session| viewer_of[session as usize], &rendition_numbers);
        columns.segments.sort_unstable();
        columns.segments.dedup();
        columns.beacons.sort_unstable_by(|a, b| a.partial_cmp(b).expect("a rate is a number"));
        columns.checks.sort_unstable();
        columns.downloads.iter_mut().for_each(|(session, _)| *session = viewer_of[*session as usize]);
        columns.downloads.sort_unstable();
        Sorted { viewers, renditions, columns }
    }
}

impl Columns {
    fn renumber(&mut self, sessions: &[u32], viewer_of: impl Fn(u32) -> u32, renditions: &[u32]) {
        let named = |session: &mut u32, viewer: &mut u32| {
            *session = sessions[*session as usize];
            *viewer = viewer_of(*session);
        };
        for segment in &mut self.segments {
            named(&mut segment.session, &mut segment.viewer);
            segment.rendition = renditions[segment.rendition as usize];
        }
        self.beacons.iter_mut().for_each(|told| named(&mut told.session, &mut told.viewer));
        self.checks.iter_mut().for_each(|shown| named(&mut shown.session, &mut shown.viewer));
        self.downloads.iter_mut().for_each(|(session, _)| *session = sessions[*session as usize]);
    }
}

/// Events in the order of the fold: by viewer, then in time.
#[derive(Clone, Debug)]
pub struct Sorted {
    pub(crate) viewers: Vec<Viewer>,
    pub(crate) renditions: Vec<Box<str>>,
    pub(crate) columns: Columns,
}

/// A key on a stream, and its sessions, which are numbered from `first`.
#[derive(Clone, Debug)]
pub(crate) struct Viewer {
    pub(crate) key: Box<str>,
    pub(crate) stream: Box<str>,
    pub(crate) first: u32,
    pub(crate) sessions: Vec<Box<str>>,
}

/// Numbers for names, from 0, in order of their first appearance.
#[derive(Clone, Debug)]
struct Names<T> {
    numbers: HashMap<Box<[u8]>, u32>,
    names: Vec<T>,
    /// The name that is looked up: no memory is allocated for one that is known.
    scratch: Vec<u8>,
}

impl<T> Default for Names<T> {
    fn default() -> Self {
        Self { numbers: HashMap::new(), names: Vec::new(), scratch: Vec::new() }
    }
}

/// What a name is known by, and what it is kept as.
trait Name<T> {
    fn spell(&self, bytes: &mut Vec<u8>);
    fn keep(&self) -> T;
}

impl<T: Ord> Names<T> {
    fn number(&mut self, name: &(impl Name<T> + ?Sized)) -> u32 {
        self.scratch.clear();
        name.spell(&mut self.scratch);
        if let Some(&number) = self.numbers.get(self.scratch.as_slice()) {
            return number;
        }
        let number = u32::try_from(self.names.len()).expect("memory ends before");
        self.numbers.insert(self.scratch.as_slice().into(), number);
        self.names.push(name.keep());
        number
    }

    /// By the numbers of another one, those here.
    fn numbers_of(&mut self, other: Self) -> Vec<u32>
    where
        T: Name<T>,
    {
        other.names.iter().map(|name| self.number(name)).collect()
    }

    /// The names in order, and by their numbers so far, their places in it.
    fn sorted(self) -> (Vec<T>, Vec<u32>) {
        let mut named: Vec<(T, u32)> = self.names.into_iter().zip(0..).collect();
        named.sort_unstable();
        let mut places = vec![0; named.len()];
        for (place, &(_, number)) in (0..).zip(&named) {
            places[number as usize] = place;
        }
        (named.into_iter().map(|(name, _)| name).collect(), places)
    }
}

fn spell(texts: [&str; 3], bytes: &mut Vec<u8>) {
    // What UTF-8 does not have keeps them apart.
    for text in texts {
        bytes.extend_from_slice(text.as_bytes());
        bytes.push(0xff);
    }
}

impl Name<[Box<str>; 3]> for Viewing<'_> {
    fn spell(&self, bytes: &mut Vec<u8>) {
        spell([&self.key, &self.stream, &self.session], bytes);
    }

    fn keep(&self) -> [Box<str>; 3] {
        [&self.key, &self.stream, &self.session].map(|text| Box::from(&**text))
    }
}

impl Name<Self> for [Box<str>; 3] {
    fn spell(&self, bytes: &mut Vec<u8>) {
        spell([&self[0], &self[1], &self[2]], bytes);
    }

    fn keep(&self) -> Self {
        self.clone()
    }
}

impl Name<Box<str>> for str {
    fn spell(&self, bytes: &mut Vec<u8>) {
        bytes.extend_from_slice(self.as_bytes());
    }

    fn keep(&self) -> Box<str> {
        self.into()
    }
}

impl Name<Self> for Box<str> {
    fn spell(&self, bytes: &mut Vec<u8>) {
        (**self).spell(bytes);
    }

    fn keep(&self) -> Self {
        self.clone()
    }
}
