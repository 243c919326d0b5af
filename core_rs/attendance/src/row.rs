//! Rows: what a viewer has watched in a cell, and how well it is known.

use std::collections::BTreeSet;

use crate::books::Books;
use crate::ledger::{Incidents, Ledger, Viewer};
use crate::rules::{Beacons, Rules};
use crate::spans::{Growing, Spans};

/// How long after an outage a viewer is back at the latest, for it to be bracketed by access.
const BACK: i64 = 60_000;

/// A row. Times are ms; `None` is null.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct Row {
    /// The key.
    pub key: Box<str>,
    /// The stream; none for all of the key's.
    pub stream: Option<Box<str>>,
    /// The day, counted from 1970-01-01; none for the programme.
    pub day: Option<i32>,
    /// Access.
    pub access: i64,
    /// Delivered media, each part once.
    pub media: i64,
    /// Access within the programme.
    pub window: Option<i64>,
    /// Media within the programme.
    pub window_media: Option<i64>,
    /// Playing, by the player's word.
    pub verified: Option<i64>,
    /// Playing in a hidden page.
    pub hidden: Option<i64>,
    /// What is certified.
    pub certifiable: i64,
    /// Two or more sessions at once.
    pub overlap: i64,
    /// How many sessions at once for longer than a reload takes.
    pub max_devices: usize,
    /// Outages between the first and the last credit.
    pub outage: i64,
    /// Those that access brackets, where that is asked for.
    pub outage_credit: i64,
    /// Media of films beyond the look-ahead.
    pub deep_buffer: i64,
    /// Presence checks.
    pub checks_shown: usize,
    /// Those that were answered.
    pub checks_answered: usize,
    /// What the evidence is.
    pub grade: Grade,
    /// Access as intervals.
    pub intervals: Vec<(i64, i64)>,
    /// What a reader should know, sorted.
    pub flags: BTreeSet<&'static str>,
}

/// What evidence there is, the weakest first.
#[derive(Clone, Copy, Debug, PartialEq, Eq, PartialOrd, Ord)]
pub enum Grade {
    /// The server's alone.
    Delivered,
    /// And a player's word.
    Player,
    /// And an answered check.
    PlayerAndChecks,
}

/// What a row is about: a civil day, or the programme.
struct Cell {
    day: Option<i32>,
    spans: Spans,
    /// What of it is certified: all, or its part of the programme.
    counted: Spans,
}

/// Who watched when: one viewer, or all of a key's in one cell.
#[derive(Default)]
struct Watched {
    access: Spans,
    sessions: Vec<Spans>,
    playing: Spans,
    hidden: Spans,
    outage: Spans,
    bracketed: Spans,
}

pub(crate) fn rows(ledger: &Ledger) -> Vec<Row> {
    let (rules, incidents) = (&ledger.rules, &ledger.incidents);
    let restores = Spans::union(incidents.restores.iter());
    let mut rows = Vec::new();
    for (key, streams) in &ledger.viewers {
        let mut of_key = Vec::new();
        for (stream, viewer) in streams {
            let (watched, books) = watched(rules, incidents, stream, viewer);
            let cells = cells(rules, &watched.access);
            let made = cells.iter().map(|cell| {
                let mut row = times(rules, cell, &watched);
                (row.key, row.stream) = (key.clone(), Some(stream.clone()));
                tell(rules, incidents, &restores, cell, &watched, &books, &mut row);
                row
            });
            let made: Vec<Row> = made.collect();
            rows.extend_from_slice(&made);
            of_key.push((watched, cells, made));
        }
        if rules.options.union {
            rows.extend(union(rules, &of_key));
        }
    }
    rows
}

/// The days with access, then the programme.
fn cells(rules: &Rules, access: &Spans) -> Vec<Cell> {
    let mut cells: Vec<Cell> = Vec::new();
    let programme = rules.options.programme.as_ref();
    for &(from, to) in access.as_slice() {
        for (day, start, end) in rules.calendar.days(from, to) {
            if cells.last().is_none_or(|last| last.day != Some(day)) {
                let spans = Spans::from((start, end));
                let counted = programme.map_or_else(|| spans.clone(), |programme| programme.intersect(&spans));
                cells.push(Cell { day: Some(day), spans, counted });
            }
        }
    }
    if let Some(programme) = programme.filter(|_| !access.is_empty()) {
        cells.push(Cell { day: None, spans: programme.clone(), counted: programme.clone() });
    }
    cells
}

fn watched(rules: &Rules, incidents: &Incidents, stream: &str, viewer: &Viewer) -> (Watched, Books) {
    let mut books = viewer.books.clone();
    let mut of = Watched::default();
    let (mut playing, mut hidden) = (Vec::new(), Vec::new());
    for session in &viewer.sessions {
        session.open.iter().for_each(|earned| earned.settle(rules, &mut books));
        let credit = session.credit(rules);
        if rules.options.beacons != Beacons::Ignored {
            let (played, unseen) = session.playing.spans(rules);
            playing.extend_from_slice(played.intersect(&credit).as_slice());
            hidden.extend_from_slice(unseen.intersect(&credit).as_slice());
        }
        of.sessions.push(credit);
    }
    of.access = union_of(&of.sessions);
    of.playing = Spans::union(playing);
    of.hidden = Spans::union(hidden);
    if let Some(hull) = of.access.hull() {
        let own = incidents.stream_outages.get(stream).into_iter().flat_map(Growing::iter);
        let outages = Spans::union(incidents.outages.iter().chain(own));
        of.outage = outages.intersect(&hull.into());
        if rules.options.credit_outage {
            let before = 2 * rules.options.target_duration;
            let bracketed = outages
                .as_slice()
                .iter()
                .copied()
                .filter(|&(from, to)| of.access.meets(from - before, from) && of.access.meets(to, to + BACK));
            of.bracketed = Spans::union(bracketed);
        }
    }
    (of, books)
}

fn union_of<'a>(sets: impl IntoIterator<Item = &'a Spans>) -> Spans {
    Spans::union(sets.into_iter().flat_map(Spans::as_slice).copied())
}

/// What is told by who watched when alone; the rest is left at nothing.
fn times(rules: &Rules, cell: &Cell, watched: &Watched) -> Row {
    let access = watched.access.intersect(&cell.spans);
    let (overlap, max_devices) = devices(rules.options.lookahead, cell, &watched.sessions);
    let is_narrowed = rules.options.beacons != Beacons::Ignored;
    let has_programme = rules.options.programme.is_some();
    let counted = watched.access.intersect(&cell.counted).length();
    Row {
        key: Box::default(),
        stream: None,
        day: cell.day,
        access: access.length(),
        media: 0,
        window: has_programme.then_some(counted),
        window_media: has_programme.then_some(0),
        verified: is_narrowed.then(|| watched.playing.intersect(&cell.spans).length()),
        hidden: is_narrowed.then(|| watched.hidden.intersect(&cell.spans).length()),
        // At most what is counted; and of that, what was playing.
        certifiable: if is_narrowed { counted.min(watched.playing.intersect(&cell.counted).length()) } else { counted },
        overlap,
        max_devices,
        outage: watched.outage.intersect(&cell.spans).length(),
        outage_credit: watched.bracketed.without(&watched.access).intersect(&cell.spans).length(),
        deep_buffer: 0,
        checks_shown: 0,
        checks_answered: 0,
        grade: Grade::Delivered,
        intervals: access.as_slice().to_vec(),
        flags: if max_devices > 1 { BTreeSet::from(["overlap"]) } else { BTreeSet::new() },
    }
}

/// How long two or more sessions were credited at once, and how many were for longer than `reload`.
fn devices(reload: i64, cell: &Cell, sessions: &[Spans]) -> (i64, usize) {
    let mut changes: Vec<(i64, i64)> = Vec::new();
    for session in sessions {
        for &(from, to) in session.intersect(&cell.spans).as_slice() {
            changes.extend([(from, 1), (to, -1)]);
        }
    }
    changes.sort_unstable();
    // How many at once, from each instant at which that changes.
    let mut levels: Vec<(i64, i64)> = Vec::new();
    let mut level = 0;
    for (at, step) in changes {
        level += step;
        match levels.last_mut() {
            Some(last) if last.0 == at => last.1 = level,
            _ => levels.push((at, level)),
        }
    }
    let at_least = |k: i64| {
        let pieces = levels.windows(2).filter(move |pair| pair[0].1 >= k).map(|pair| (pair[0].0, pair[1].0));
        Spans::bridged(pieces, 0)
    };
    let lasting = |k: i64| at_least(k).as_slice().iter().any(|(from, to)| to - from > reload);
    // The more there are, the shorter it lasts.
    let (mut most, mut beyond) = (1, levels.iter().map(|&(_, level)| level).max().unwrap_or(0) + 1);
    while beyond - most > 1 {
        let middle = (most + beyond) / 2;
        if lasting(middle) { most = middle } else { beyond = middle }
    }
    (at_least(2).length(), most as usize)
}

/// What is told by the books.
fn tell(
    rules: &Rules,
    incidents: &Incidents,
    restores: &Spans,
    cell: &Cell,
    watched: &Watched,
    books: &Books,
    row: &mut Row,
) {
    let is = |tally: Option<&bool>| tally.is_some_and(|&is| is);
    row.media = books.media.of(cell.day).map_or(0, Growing::length);
    let counted_media = match (row.window_media.is_some(), cell.day) {
        (true, Some(day)) => books.programme_media.get(&day).map_or(0, Growing::length),
        _ => row.media,
    };
    row.window_media = row.window_media.map(|_| counted_media);
    row.certifiable = row.certifiable.min(counted_media);
    row.deep_buffer = books.deep.of(cell.day).copied().unwrap_or(0);
    for &(from, to) in cell.spans.as_slice() {
        for (_, &answered) in books.checks.range((from, 0)..(to, 0)) {
            row.checks_shown += 1;
            row.checks_answered += usize::from(answered);
        }
    }
    if rules.options.beacons != Beacons::Ignored && is(books.beacons.of(cell.day)) {
        row.grade = if row.checks_answered > 0 { Grade::PlayerAndChecks } else { Grade::Player };
    }
    let hull = watched.access.intersect(&cell.spans).hull();
    let flags = [
        ("bulk_fetch", is(books.bulk.of(cell.day))),
        ("clock_step", hull.is_some_and(|(first, last)| incidents.clocks.range(first..last).next().is_some())),
        ("deep_buffer", row.deep_buffer > 0),
        ("downloaded", is(books.downloads.of(cell.day))),
        ("outage", row.outage > 0),
        ("restored", !restores.intersect(&cell.spans).is_empty()),
    ];
    row.flags.extend(flags.iter().filter(|(_, applies)| *applies).map(|(name, _)| name));
}

/// A key's rows over all of its streams: what goes on at once counts once.
fn union(rules: &Rules, streams: &[(Watched, Vec<Cell>, Vec<Row>)]) -> Vec<Row> {
    // Days in order, then the programme.
    let mut days: Vec<Option<i32>> = streams.iter().flat_map(|(_, cells, _)| cells).map(|cell| cell.day).collect();
    let order = |day: &Option<i32>| (day.is_none(), *day);
    days.sort_unstable_by_key(order);
    days.dedup();
    let united = days.into_iter().filter_map(|day| {
        let there = streams.iter().filter_map(|(watched, cells, rows)| {
            let place = cells.binary_search_by_key(&order(&day), |cell| order(&cell.day)).ok()?;
            Some((watched, &cells[place], &rows[place]))
        });
        let there: Vec<(&Watched, &Cell, &Row)> = there.collect();
        let (_, cell, first) = *there.first()?;
        let cut = |set: fn(&Watched) -> &Spans| {
            let cut: Vec<Spans> = there.iter().map(|(watched, ..)| set(watched).intersect(&cell.spans)).collect();
            union_of(&cut)
        };
        let sessions = there.iter().flat_map(|(watched, ..)| &watched.sessions);
        let together = Watched {
            access: cut(|watched| &watched.access),
            sessions: sessions.map(|session| session.intersect(&cell.spans)).collect(),
            playing: cut(|watched| &watched.playing),
            hidden: cut(|watched| &watched.hidden),
            outage: cut(|watched| &watched.outage),
            bracketed: cut(|watched| &watched.bracketed),
        };
        let mut row = times(rules, cell, &together);
        row.key = first.key.clone();
        let theirs = || there.iter().map(|(.., row)| *row);
        row.media = theirs().map(|row| row.media).sum();
        row.window_media = theirs().map(|row| row.window_media).sum();
        row.certifiable = row.certifiable.min(theirs().map(|row| row.certifiable).sum());
        row.deep_buffer = theirs().map(|row| row.deep_buffer).sum();
        row.checks_shown = theirs().map(|row| row.checks_shown).sum();
        row.checks_answered = theirs().map(|row| row.checks_answered).sum();
        row.grade = theirs().map(|row| row.grade).min()?;
        let others = theirs().flat_map(|row| row.flags.iter().copied()).filter(|flag| *flag != "overlap");
        row.flags.extend(others);
        Some(row)
    });
    united.collect()
}
