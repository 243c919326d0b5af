//! The fold: events in, in order of time, and at any moment the rows of what has been taken.
//!
//! What it keeps of a viewer does not grow with the number of segments, but with the number of holes in what was watched.

use std::collections::{BTreeMap, BTreeSet};

use crate::books::Books;
use crate::evidence::{Delivered, Shown, Sorted, Told};
use crate::row::{self, Row};
use crate::rules::{Options, Rules};
use crate::session::Session;
use crate::spans::Growing;

/// What has been watched, by the events taken so far.
#[derive(Clone, Debug)]
pub struct Ledger {
    pub(crate) rules: Rules,
    /// By key and stream.
    pub(crate) viewers: BTreeMap<Box<str>, BTreeMap<Box<str>, Viewer>>,
    pub(crate) incidents: Incidents,
}

/// What befell the server.
#[derive(Clone, Debug, Default, PartialEq)]
pub(crate) struct Incidents {
    /// The outages of all streams.
    pub(crate) outages: Growing,
    pub(crate) stream_outages: BTreeMap<Box<str>, Growing>,
    pub(crate) restores: Growing,
    pub(crate) clocks: BTreeSet<i64>,
}

/// One key on one stream.
#[derive(Clone, Debug, Default, PartialEq)]
pub(crate) struct Viewer {
    /// By name, where they stand in the list.
    pub(crate) places: BTreeMap<Box<str>, usize>,
    pub(crate) sessions: Vec<Session>,
    /// When the last segment was taken.
    pub(crate) last: i64,
    pub(crate) books: Books,
}

/// Events that come before others of their session which have been taken. The ledger is as it was.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub struct Late;

impl std::fmt::Display for Late {
    fn fmt(&self, f: &mut std::fmt::Formatter<'_>) -> std::fmt::Result {
        f.write_str("an event lies before others that have been taken")
    }
}

impl std::error::Error for Late {}

impl Ledger {
    /// An empty one.
    pub fn new(options: Options) -> Self {
        Self { rules: Rules::new(options), viewers: BTreeMap::new(), incidents: Incidents::default() }
    }

    /// Its options.
    pub fn options(&self) -> &Options {
        &self.rules.options
    }

    /// Takes events. Segments and beacons may not lie before those taken; of one instant they have an order, too: that of
    /// their fields.
    ///
    /// # Errors
    /// [`Late`].
    pub fn take(&mut self, events: &Sorted) -> Result<(), Late> {
        let runs = || (0..).zip(&events.viewers).map(|(number, named)| Run::new(number, named, events));
        if runs().any(|run| self.viewer(&run).is_some_and(|viewer| run.is_late(viewer))) {
            return Err(Late);
        }
        for run in runs() {
            let streams = self.viewers.entry(run.named.key.clone()).or_default();
            run.fold(&self.rules, streams.entry(run.named.stream.clone()).or_default());
        }
        let Incidents { outages, stream_outages, restores, clocks } = &mut self.incidents;
        for (from, to, stream) in &events.columns.outages {
            let list = match stream {
                Some(stream) => stream_outages.entry(stream.clone()).or_default(),
                None => &mut *outages,
            };
            list.add(*from, *to);
        }
        events.columns.restores.iter().for_each(|(from, to)| restores.add(from, to));
        clocks.extend(&events.columns.clocks);
        Ok(())
    }

    fn viewer(&self, run: &Run<'_>) -> Option<&Viewer> {
        self.viewers.get(&run.named.key)?.get(&run.named.stream)
    }

    /// The rows, by key, stream and day.
    pub fn rows(&self) -> Vec<Row> {
        row::rows(self)
    }
}

impl Viewer {
    fn session(&mut self, name: &str) -> usize {
        if let Some(&place) = self.places.get(name) {
            return place;
        }
        self.places.insert(name.into(), self.sessions.len());
        self.sessions.push(Session::default());
        self.sessions.len() - 1
    }
}

/// One viewer's events.
struct Run<'a> {
    named: &'a crate::evidence::Viewer,
    renditions: &'a [Box<str>],
    segments: &'a [Delivered],
    beacons: &'a [Told],
    checks: &'a [Shown],
    downloads: &'a [(u32, i64)],
}

impl<'a> Run<'a> {
    fn new(number: u32, named: &'a crate::evidence::Viewer, events: &'a Sorted) -> Self {
        let columns = &events.columns;
        Self {
            named,
            renditions: &events.renditions,
            segments: of(&columns.segments, number, |segment| segment.viewer),
            beacons: of(&columns.beacons, number, |told| told.viewer),
            checks: of(&columns.checks, number, |shown| shown.viewer),
            downloads: of(&columns.downloads, number, |&(viewer, _)| viewer),
        }
    }

    fn is_late(&self, viewer: &Viewer) -> bool {
        let known = |number: u32| {
            let name = &self.named.sessions[(number - self.named.first) as usize];
            viewer.places.get(name).map(|&place| &viewer.sessions[place])
        };
        let early = self.segments.iter().take_while(|segment| segment.t <= viewer.last);
        let mut segments = early.map(|segment| {
            let last = known(segment.session).and_then(|session| session.last.as_ref());
            let (m1, rendition) = (segment.m1(), &self.renditions[segment.rendition as usize]);
            segment.t < viewer.last
                || last.is_some_and(|(t, l0, l1, name)| (segment.t, segment.m0, m1, rendition) < (*t, *l0, *l1, name))
        });
        let mut beacons = self.beacons.iter().map(|told| {
            let last = known(told.session).and_then(|session| session.playing.last);
            last.is_some_and(|last| (told.t, told.beacon) < last)
        });
        segments.any(|late| late) || beacons.any(|late| late)
    }

    fn fold(&self, rules: &Rules, viewer: &mut Viewer) {
        let places: Vec<usize> = self.named.sessions.iter().map(|name| viewer.session(name)).collect();
        let place = |number: u32| places[(number - self.named.first) as usize];
        let Viewer { sessions, last, books, .. } = viewer;
        for delivered in self.segments {
            let &Delivered { t, m0, .. } = delivered;
            let m1 = delivered.m1();
            let session = &mut sessions[place(delivered.session)];
            let rendition = &self.renditions[delivered.rendition as usize];
            // The same event in two pieces of evidence is one.
            let same =
                |(lt, l0, l1, name): &(i64, i64, i64, Box<str>)| (*lt, *l0, *l1) == (t, m0, m1) && name == rendition;
            if session.last.as_ref().is_some_and(same) {
                continue;
            }
            match &mut session.last {
                Some(place) if place.3 == *rendition => (place.0, place.1, place.2) = (t, m0, m1),
                other => *other = Some((t, m0, m1, rendition.clone())),
            }
            *last = t;
            books.fetch(rules, t, m0, m1);
            session.deliver(rules, books, t, (m0, m1));
        }
        for told in self.beacons {
            sessions[place(told.session)].playing.take(told.t, told.beacon);
            books.beacon(rules, told.t);
        }
        for shown in self.checks {
            books.check(shown.t, place(shown.session), shown.answered);
        }
        for &(_, t) in self.downloads {
            books.download(rules, t);
        }
    }
}

impl Delivered {
    fn m1(&self) -> i64 {
        self.m0 + i64::from(self.length)
    }
}

/// The part of a sorted column that is one viewer's.
fn of<T>(column: &[T], viewer: u32, viewer_of: impl Fn(&T) -> u32) -> &[T] {
    let first = column.partition_point(|item| viewer_of(item) < viewer);
    let count = column[first..].partition_point(|item| viewer_of(item) == viewer);
    &column[first..first + count]
}
