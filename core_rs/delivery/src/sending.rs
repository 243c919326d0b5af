//! One answer under way: what of it is loaded, and how it is sent.

use std::io::{self, IoSlice};
use std::os::fd::{AsFd, BorrowedFd};
use std::sync::Arc;
use std::time::{Duration, Instant};

use pystream_shm::{Entry, Progress as Filled};
use pystream_tls::sealed_len;

use crate::account::Tag;
use crate::answer::{Body, End, Failure, Order, Place, Shared};
use crate::line::{Line, Rest, share};
use crate::making::{Making, Reel};
use crate::pieces::Pieces;
use crate::reading::Ticket;

/// An order on its way.
///
/// At any time some bytes are loaded: of the head, and a part of the body. Only when all of them are in the kernel are
/// the next ones loaded. What lies in the cache is not loaded on a clear line: the kernel takes it
/// from there.
pub(crate) struct Sending {
    line: Arc<Line>,
    /// What is sent before the body, and how much of it is. `rest`: it goes over the wire as it is, and as many bytes of
    /// the response in it are not yet counted.
    head: Vec<u8>,
    head_at: usize,
    rest: Option<u64>,
    row: Option<crate::Row>,
    tag: Option<Tag>,
    rate: Option<u64>,
    content: Content,
    /// What to read from when the window is sent, since others want the same.
    joined: Option<Entry>,
    shared: Option<Shared>,
    /// Makings elsewhere that came to nothing.
    pub(crate) orphaned: u8,
    /// Of the body: the next byte to be loaded, and the end.
    at: u64,
    end: u64,
    /// The part of the content's memory that is loaded.
    from: usize,
    to: usize,
    /// For a making that is yet to begin.
    window: Vec<u8>,
    /// Bytes of TLS records that wait in the line; none on a clear one.
    sealed: usize,
    /// Bytes of the response in them that are not yet counted.
    sealed_plain: u64,
    begun: bool,
    failure: Option<Failure>,
    started: Instant,
    handed: u64,
    least_rate: u64,
    /// Until when the peer has taken what it should. What it takes moves this on as far as the least rate allows, but not
    /// beyond now: who was quick has saved nothing up.
    taken_until: Instant,
    pub(crate) watched: bool,
    /// What its next window is known by while a thread waits for it.
    pub(crate) reading: Option<Ticket>,
    /// It waits for more of a segment that somebody makes.
    pub(crate) starved: bool,
    /// As many bytes the outlet has counted as waiting.
    pub(crate) counted: u64,
}

enum Content {
    Made(Making),
    Cached(Entry),
    Bytes(Arc<dyn AsRef<[u8]> + Send + Sync>),
}

/// What an answer needs next.
pub(crate) enum Progress {
    /// Its next window.
    Ready,
    /// Its next window, but not before.
    Due(Instant),
    /// Room in its socket.
    Blocked,
    /// More of a segment that somebody makes.
    Starved,
    /// Another maker: the one that it had has given up.
    Orphaned,
    /// Nothing.
    Ended(End),
}

impl Sending {
    /// An answer, and the segment that it still has to be given (`read`, `make`), if it is one that may be shared.
    pub(crate) fn new(order: Order, window: Vec<u8>, least_rate: u64, now: Instant) -> Self {
        let Order { line, mut head, body, skip, length, row, tag, rate, .. } = order;
        let started = if rate.is_some() { line.begin_at(now) } else { now };
        let (mut at, mut end) = (skip, skip.saturating_add(length));
        let (mut shared, mut spare, mut rest) = (None, Vec::new(), None);
        let content = match body {
            Body::Made(producer, lane) => Content::Made(Making::new(producer, lane, window)),
            Body::Shared(segment) => {
                spare = window;
                shared = Some(segment);
                Content::Bytes(Arc::new([]))
            }
            Body::Pieces(source, pieces) => {
                let most = paced(rate, usize::try_from(length).unwrap_or(usize::MAX));
                let pieces = Pieces { source, pieces, wanted: at..end };
                Content::Made(Making::part(Box::new(pieces), window, at, most))
            }
            Body::Rest(Rest { wire, plain, at: from }, bytes) => {
                (at, end) = (from as u64, (*bytes).as_ref().len() as u64);
                (head, rest) = (wire, Some(plain));
                Content::Bytes(bytes)
            }
        };
        Self {
            line,
            head,
            head_at: 0,
            rest,
            row,
            tag,
            rate,
            content,
            joined: None,
            shared,
            orphaned: 0,
            at,
            end,
            from: 0,
            to: 0,
            window: spare,
            sealed: 0,
            sealed_plain: 0,
            // A rest belongs to a response that has begun.
            begun: rest.is_some(),
            failure: None,
            started,
            handed: 0,
            least_rate,
            taken_until: started,
            watched: false,
            reading: None,
            starved: false,
            counted: 0,
        }
    }

    /// The segment that it sends, where others may want the same one.
    pub(crate) fn shared(&self) -> Option<&Shared> {
        self.shared.as_ref()
    }

    /// Makes the segment for this answer alone.
    pub(crate) fn make(&mut self) {
        if let Some(shared) = &self.shared {
            let window = std::mem::take(&mut self.window);
            self.content = Content::Made(Making::of(&*shared.recipe, window));
        }
    }

    /// Reads the segment from here.
    pub(crate) fn read(&mut self, entry: Entry) {
        self.content = Content::Cached(entry);
    }

    /// Reads the segment from here when what is made is sent.
    pub(crate) fn join(&mut self, entry: Entry) {
        self.joined = Some(entry);
    }

    /// The segment that is read from, and the first byte of it that is still to be sent.
    pub(crate) fn reading(&self) -> Option<(&Entry, u64)> {
        match &self.content {
            Content::Cached(entry) => Some((entry, self.at)),
            _ => None,
        }
    }

    pub(crate) fn line(&self) -> &Arc<Line> {
        &self.line
    }

    pub(crate) fn taken_until(&self) -> Instant {
        self.taken_until
    }

    pub(crate) fn into_window(self) -> Vec<u8> {
        match self.content {
            Content::Made(making) => making.into_window(),
            _ => self.window,
        }
    }

    /// Bytes loaded.
    pub(crate) fn loaded(&self) -> usize {
        if self.sealed == 0 { self.head.len() - self.head_at + self.to - self.from } else { self.sealed }
    }

    fn is_empty(&self) -> bool {
        !self.begun || self.loaded() == 0
    }

    /// What is to be made by a thread that can wait, and where.
    pub(crate) fn lend(&mut self) -> Option<(Place, Reel)> {
        match &mut self.content {
            Content::Made(making) => making.lend(),
            _ => None,
        }
    }

    /// Holds no more than its window until the next one is made.
    pub(crate) fn rest(&mut self) {
        if let Content::Made(making) = &mut self.content {
            making.rest();
        }
    }

    /// Has back what was made. Waiting for it was no stall.
    pub(crate) fn take_back(&mut self, reel: Reel, now: Instant) {
        self.reading = None;
        self.taken_until = self.taken_until.max(now);
        if let Content::Made(making) = &mut self.content {
            making.take_back(reel);
        }
    }

    /// What has to make a window before there is anything to load.
    pub(crate) fn making(&mut self) -> Option<&mut Making> {
        let wanting = self.is_empty() && self.at < self.end && self.joined.is_none();
        match &mut self.content {
            Content::Made(making) if wanting && !making.is_exhausted() => Some(making),
            _ => None,
        }
    }

    /// Chooses what of the body comes next, where nothing is loaded, and seals it.
    pub(crate) fn load(&mut self, window: usize) {
        if !self.is_empty() {
            return;
        }
        if !std::mem::replace(&mut self.begun, true) {
            self.line.begin(self.row, self.tag.take());
        }
        if let Some(entry) = self.joined.take()
            && let Content::Made(making) = std::mem::replace(&mut self.content, Content::Cached(entry))
        {
            self.window = making.into_window();
        }
        (self.from, self.to) = (0, 0);
        let most = self.most(window);
        if most > 0
            && let Err(failure) = self.load_body(most)
        {
            self.failure = Some(failure);
            return;
        }
        self.at += (self.to - self.from) as u64;
        let parts = [&self.head[self.head_at..], chunk(&self.content, self.from, self.to)];
        self.sealed_plain = (parts[0].len() + parts[1].len()) as u64;
        match self.line.queue(parts) {
            Ok(true) => self.sealed = parts.iter().map(|part| sealed_len(part.len())).sum(),
            Ok(false) => {}
            Err(error) => drop(self.failure.get_or_insert(Failure(error.to_string()))),
        }
    }

    /// Bytes that may be loaded, or lent, at once.
    fn most(&self, window: usize) -> usize {
        let left = usize::try_from(self.end - self.at).unwrap_or(usize::MAX);
        paced(self.rate, window).min(left)
    }

    fn load_body(&mut self, most: usize) -> Result<(), Failure> {
        if self.line.is_clear() && matches!(self.content, Content::Cached(_)) {
            return Ok(());
        }
        match &mut self.content {
            Content::Made(making) => {
                if let Some(failure) = making.failure() {
                    return Err(failure);
                }
                let (begin, made) = making.made();
                let end = begin + made.len() as u64;
                // Of what lies before the range, nothing is sent.
                (self.from, self.to) = if end <= self.at {
                    (0, 0)
                } else {
                    ((self.at - begin) as usize, (end.min(self.end) - begin) as usize)
                };
                if making.is_exhausted() && end < self.end {
                    return Err(short(self.end - end));
                }
                if end >= self.end {
                    making.check()?;
                }
            }
            Content::Bytes(_) => (self.from, self.to) = (self.at as usize, self.at as usize + most),
            Content::Cached(entry) => {
                self.from = self.at as usize;
                self.to = self.from + entry.lend(self.at, most).len();
            }
        }
        Ok(())
    }

    /// What comes next, where the kernel can take it from the cache's memory: the descriptor, the offset in it, and how many
    /// bytes. Of a file that others may write to it takes nothing: the socket would get the file's own pages, and with them
    /// what is written there before the peer has read.
    fn lent(&self, window: usize) -> Option<(BorrowedFd<'_>, u64, usize)> {
        let Content::Cached(entry) = &self.content else { return None };
        if !self.line.is_clear() {
            return None;
        }
        let (offset, count) = entry.file_range(self.at)?;
        Some((entry.cache().as_fd(), offset, count.min(self.most(window.max(LENT)))))
    }

    /// Gives the socket what is loaded, and what is lent.
    pub(crate) fn send(&mut self, now: Instant, window: usize) -> Progress {
        if std::mem::take(&mut self.starved) {
            // Nor was that a stall.
            self.taken_until = self.taken_until.max(now);
        }
        if let Some(failure) = self.failure.take() {
            return Progress::Ended(End::Failed(failure));
        }
        let loaded = self.loaded();
        let mut moved = loaded > 0;
        if moved {
            let Ok((sent, whole)) = self.write(window) else { return Progress::Ended(End::Gone) };
            self.count(sent, now);
            if !whole {
                return Progress::Blocked;
            }
        }
        if let Some((file, offset, count)) = self.lent(window).filter(|&(.., count)| count > 0) {
            match self.line.send_file(file, offset, count) {
                Ok(Some(0)) => return Progress::Ended(End::Failed(short(self.end - self.at))),
                Ok(Some(sent)) => {
                    self.at += sent as u64;
                    self.line.handed(sent as u64, sent as u64);
                    self.count(sent, now);
                    moved = true;
                }
                Ok(None) => return Progress::Blocked,
                Err(_) => return Progress::Ended(End::Gone),
            }
        }
        self.next(now, moved)
    }

    fn count(&mut self, sent: usize, now: Instant) {
        self.handed += sent as u64;
        if sent > 0 {
            let paid = match self.least_rate {
                0 => now,
                rate => self.taken_until + Duration::from_secs_f64(sent as f64 / rate as f64),
            };
            self.taken_until = self.taken_until.max(paid.min(now));
        }
    }

    /// When its first byte is due.
    pub(crate) fn started(&self) -> Instant {
        self.started
    }

    /// Leaves to the line what it has sent ahead of its time.
    pub(crate) fn settle_rate(&self) {
        if let Some(rate) = self.rate {
            self.line.owe(self.paid(rate));
        }
    }

    fn paid(&self, rate: u64) -> Instant {
        self.started + Duration::from_secs_f64(self.handed as f64 / rate.max(1) as f64)
    }

    fn next(&mut self, now: Instant, moved: bool) -> Progress {
        if self.at == self.end {
            return Progress::Ended(End::Handed);
        }
        if let Content::Cached(entry) = &self.content {
            // Asked in this order: what is not `Filling` does not grow.
            let progress = entry.progress();
            if entry.filled() <= self.at {
                return match progress {
                    Filled::Filling => Progress::Starved,
                    Filled::Ready | Filled::Abandoned => Progress::Orphaned,
                    Filled::Unanswered => {
                        let source = self.shared.as_ref().map_or("", |shared| shared.recipe.source());
                        Progress::Ended(End::Silent(Failure::silence(source)))
                    }
                };
            }
        }
        match self.rate {
            Some(rate) if moved => {
                let due = self.paid(rate);
                // Waiting for its time is no stall.
                self.taken_until = self.taken_until.max(due);
                if due > now { Progress::Due(due) } else { Progress::Ready }
            }
            _ => Progress::Ready,
        }
    }

    /// Bytes that the socket took, and whether these were all that are loaded.
    fn write(&mut self, window: usize) -> io::Result<(usize, bool)> {
        if self.sealed > 0 {
            let (sent, whole) = self.line.write_sealed()?;
            // How many records there are is known, but not to the byte what control records have added.
            let left = if whole { 0 } else { self.sealed.saturating_sub(sent).max(1) };
            let plain = share(self.sealed_plain, sent, sent + left);
            self.sealed_plain -= plain;
            self.sealed = left;
            if whole {
                self.head_at = self.head.len();
                self.from = self.to;
            }
            self.line.handed(sent as u64, plain);
            return Ok((sent, whole));
        }
        // A head goes into the same packet as what is lent.
        let more = self.lent(window).is_some_and(|(.., count)| count > 0);
        let head = &self.head[self.head_at..];
        let body = chunk(&self.content, self.from, self.to);
        let sent = self.line.write(&[IoSlice::new(head), IoSlice::new(body)], more)?;
        let (of_head, left) = (sent.min(head.len()), head.len());
        let plain = match &mut self.rest {
            Some(rest) if left > 0 => {
                let plain = share(*rest, sent, left);
                *rest -= plain;
                plain
            }
            _ => sent as u64,
        };
        self.head_at += of_head;
        self.from += sent - of_head;
        self.line.handed(sent as u64, plain);
        Ok((sent, self.loaded() == 0))
    }
}

/// The most that the kernel is told at once to take from a file. It holds none of it in memory but what is on its way, and
/// makes fewer, fuller packets of it than of as much in small pieces.
const LENT: usize = 1024 * 1024;

/// The least that is loaded at once, however low a rate is.
const LEAST: usize = 4096;

/// Of `window` bytes as many as go at once: where there is a rate, those of a quarter of a second, so that they flow.
fn paced(rate: Option<u64>, window: usize) -> usize {
    rate.map_or(window, |rate| usize::try_from(rate / 4).unwrap_or(window).max(LEAST).min(window))
}

fn short(missing: u64) -> Failure {
    Failure(format!("the body ends {missing} bytes before its length"))
}

fn chunk(content: &Content, from: usize, to: usize) -> &[u8] {
    match content {
        Content::Made(making) => &making.made().1[from..to],
        Content::Bytes(bytes) => &(**bytes).as_ref()[from..to],
        Content::Cached(entry) => entry.lend(from as u64, to - from),
    }
}
