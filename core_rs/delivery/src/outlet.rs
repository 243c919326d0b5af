//! The thread that sends all answers of a process.

use std::collections::{BTreeSet, HashMap};
use std::io;
use std::os::fd::{AsFd, BorrowedFd, OwnedFd};
use std::sync::Arc;
use std::sync::atomic::{AtomicBool, AtomicU64, Ordering};
use std::thread::JoinHandle;
use std::time::{Duration, Instant};

use pystream_cipher::Kernel;
use pystream_shm::Cache;
use rustix::buffer::spare_capacity;
use rustix::event::Timespec;
use rustix::event::epoll::{self, EventData, EventFlags};

use crate::answer::{End, Failure, Order, Outcome, Place};
use crate::making::{Reel, for_one, make_together};
use crate::queue::Queue;
use crate::reading::{Back, Reading};
use crate::sending::{Progress, Sending};
use crate::sharing::{Choice, Filled, Key, Sharing};

/// What a [`Delivery`] is told when it starts.
#[derive(Clone, Copy, Debug)]
pub struct Settings {
    /// Bytes of an answer's window, a multiple of 32: half of it where many answers are under way.
    pub window: usize,
    /// How long a peer may take nothing before its answer is given up.
    pub stall: Duration,
    /// Bytes a second that a peer has to take in the long run: who takes less is behind by as much more, until that is
    /// `stall`. 0: any byte will do.
    pub least_rate: u64,
    /// How long a source may take to answer before its answers are given up.
    pub patience: Duration,
}

/// Sums since the start.
#[derive(Debug, Default)]
pub struct Counters {
    /// Answers under way.
    pub answers: AtomicU64,
    /// Bytes in windows that wait for their sockets.
    pub waiting: AtomicU64,
    /// Counts on with each group of windows, and four times a second where there is none. While it stands still nobody gets
    /// anything: the thread hangs, or is gone.
    pub beats: AtomicU64,
    /// Segments of [`Body::Shared`](crate::Body::Shared) whose making was begun, be it for one answer or for many.
    pub makings: AtomicU64,
    /// Windows that wait for their sources.
    pub reading: AtomicU64,
    /// Threads that wait for sources which have not answered in time.
    pub stuck: AtomicU64,
}

/// One thread that makes and sends answers.
pub struct Delivery {
    shared: Arc<Shared>,
    thread: Option<JoinHandle<()>>,
}

pub(crate) struct Shared {
    commands: Queue<Command>,
    outcomes: Queue<Outcome>,
    stopped: AtomicBool,
    pub(crate) counters: Counters,
}

enum Command {
    Send(Order),
    Cancel(u64),
}

impl std::fmt::Debug for Delivery {
    fn fmt(&self, f: &mut std::fmt::Formatter<'_>) -> std::fmt::Result {
        f.debug_struct("Delivery").field("counters", &self.shared.counters).finish_non_exhaustive()
    }
}

impl Delivery {
    /// Starts the thread. Segments that several viewers want go through `cache`, at a seat of this process.
    ///
    /// # Errors
    /// The system's, where it has no descriptor, memory or thread left.
    pub fn start(settings: Settings, cache: Option<Cache>) -> io::Result<Self> {
        let shared = Arc::new(Shared {
            commands: Queue::new()?,
            outcomes: Queue::new()?,
            stopped: AtomicBool::new(false),
            counters: Counters::default(),
        });
        let outlet = Outlet::new(Arc::clone(&shared), settings, cache)?;
        let thread = std::thread::Builder::new().name("delivery".into()).spawn(move || outlet.run())?;
        Ok(Self { shared, thread: Some(thread) })
    }

    /// Sends an answer, as soon as its turn comes. Its outcome comes exactly once.
    pub fn send(&self, order: Order) {
        self.shared.commands.put([Command::Send(order)]);
    }

    /// Gives an answer up, if it is still under way.
    pub fn cancel(&self, id: u64) {
        self.shared.commands.put([Command::Cancel(id)]);
    }

    /// What became of orders since it was last asked.
    pub fn outcomes(&self) -> Vec<Outcome> {
        self.shared.outcomes.take()
    }

    /// Readable while there are outcomes.
    pub fn signal(&self) -> BorrowedFd<'_> {
        self.shared.outcomes.as_fd()
    }

    /// Sums since the start.
    pub fn counters(&self) -> &Counters {
        &self.shared.counters
    }
}

impl Drop for Delivery {
    fn drop(&mut self) {
        self.shared.stopped.store(true, Ordering::Release);
        // An order that there is none of: it only wakes the thread.
        self.shared.commands.put([Command::Cancel(u64::MAX)]);
        if let Some(thread) = self.thread.take() {
            // A panic of the thread was reported by itself.
            let _ = thread.join();
        }
    }
}

/// How often answers are looked at that nothing has happened to.
const TICK: Duration = Duration::from_millis(250);

/// The thread's own state.
struct Outlet {
    shared: Arc<Shared>,
    settings: Settings,
    epoll: OwnedFd,
    lanes: usize,
    answers: HashMap<u64, Sending>,
    sharing: Sharing,
    reading: Reading<Turn>,
    /// In the order in which they get a window.
    ready: Vec<Turn>,
    /// Answers that wait for their next byte to be due.
    held: BTreeSet<(Instant, u64)>,
    next_tick: Instant,
    /// What has ended and is not yet told: whoever asks is woken once for several.
    ended: Vec<Outcome>,
    /// Windows to be used again.
    spare: Vec<Vec<u8>>,
}

/// Whose turn it is: an answer's whose socket may have room, or a segment's that is made into a cache.
#[derive(Clone, Copy)]
enum Turn {
    Answer(u64),
    Segment(Key),
}

/// What the descriptor of the command queue is known by in the kernel's list.
const COMMANDS: u64 = u64::MAX;
/// And that of windows which are back.
const WINDOWS: u64 = u64::MAX - 1;
/// Windows kept for answers to come.
const SPARE: usize = 64;
/// So many answers may keep from window to window what they have read: for more it would be as much as their windows.
const FEW: usize = 64;
/// So many answers are many: what they hold together counts for more than what a window less costs.
const MANY: usize = 256;

impl Outlet {
    fn new(shared: Arc<Shared>, settings: Settings, cache: Option<Cache>) -> io::Result<Self> {
        let epoll = epoll::create(epoll::CreateFlags::CLOEXEC)?;
        epoll::add(&epoll, shared.commands.as_fd(), EventData::new_u64(COMMANDS), EventFlags::IN)?;
        let reading = Reading::new(settings.patience)?;
        epoll::add(&epoll, reading.signal(), EventData::new_u64(WINDOWS), EventFlags::IN)?;
        Ok(Self {
            shared,
            settings,
            reading,
            epoll,
            lanes: Kernel::best().lanes(),
            answers: HashMap::new(),
            sharing: Sharing::new(cache, settings.patience)?,
            ready: Vec::new(),
            held: BTreeSet::new(),
            next_tick: Instant::now() + TICK,
            ended: Vec::new(),
            spare: Vec::new(),
        })
    }

    fn run(mut self) {
        let mut events = Vec::with_capacity(256);
        while !self.shared.stopped.load(Ordering::Acquire) {
            self.wait(&mut events);
            self.beat();
            self.accept();
            // Newcomers need not wait for the whole round.
            let mut round = std::mem::take(&mut self.ready);
            let mut from = 0;
            while from < round.len() {
                let group = &round[from..round.len().min(from + self.lanes)];
                from += group.len();
                self.serve(group);
                self.beat();
                self.tell();
                let before = self.ready.len();
                self.accept();
                round.splice(from..from, self.ready.drain(before..));
            }
            self.tick();
            self.tell();
            self.sharing.stir();
        }
    }

    fn beat(&self) {
        self.shared.counters.beats.fetch_add(1, Ordering::Relaxed);
    }

    fn tell(&mut self) {
        if !self.ended.is_empty() {
            self.shared.outcomes.put(self.ended.drain(..));
        }
    }

    /// Until a socket is writable, an order is there, or the time has come for something.
    fn wait(&mut self, events: &mut Vec<epoll::Event>) {
        let now = Instant::now();
        let mut next = self.held.first().map_or(self.next_tick, |(due, _)| self.next_tick.min(*due));
        if let Some(look) = self.sharing.next_look(now) {
            next = next.min(look);
        }
        let pause = if self.ready.is_empty() { next.saturating_duration_since(now) } else { Duration::ZERO };
        let pause = Timespec { tv_sec: pause.as_secs() as i64, tv_nsec: i64::from(pause.subsec_nanos()) };
        events.clear();
        match epoll::wait(&self.epoll, spare_capacity(events), Some(&pause)) {
            Ok(_) | Err(rustix::io::Errno::INTR) => {}
            Err(error) => unreachable!("epoll_wait: {error}"),
        }
        let writable = events.iter().map(|event| event.data.u64()).filter(|&id| id < WINDOWS);
        self.ready.extend(writable.map(Turn::Answer));
        let now = Instant::now();
        while let Some(&(due, id)) = self.held.first().filter(|(due, _)| *due <= now) {
            self.held.remove(&(due, id));
            self.ready.push(Turn::Answer(id));
        }
        self.look(now);
        let back = self.reading.take(now);
        self.take_back(back, now);
    }

    /// Sees to answers that wait for what another worker makes.
    fn look(&mut self, now: Instant) {
        let (more, tired) = self.sharing.look(now);
        for id in tired {
            self.make_alone(id);
        }
        self.ready.extend(more.into_iter().map(Turn::Answer));
    }

    fn accept(&mut self) {
        for command in self.shared.commands.take() {
            match command {
                Command::Send(order) => {
                    let id = order.id;
                    let window = self.spare.pop().unwrap_or_default();
                    let now = Instant::now();
                    let answer = Sending::new(order, window, self.settings.least_rate, now);
                    let due = answer.started();
                    self.answers.insert(id, answer);
                    self.shared.counters.answers.fetch_add(1, Ordering::Relaxed);
                    self.choose(id, false);
                    if due > now {
                        self.held.insert((due, id));
                    } else {
                        self.ready.push(Turn::Answer(id));
                    }
                }
                Command::Cancel(id) => self.end(id, End::Cancelled),
            }
        }
    }

    /// Finds out from where an answer is sent whose segment others may want, too.
    fn choose(&mut self, id: u64, orphaned: bool) {
        let Some(answer) = self.answers.get_mut(&id) else { return };
        let Some(shared) = answer.shared() else { return };
        let key = shared.key;
        let was_making = self.sharing.is_making(&key);
        let mut window = self.spare.pop().unwrap_or_default();
        match self.sharing.choose(id, shared, &mut window, orphaned) {
            Choice::Alone => {
                self.shared.counters.makings.fetch_add(1, Ordering::Relaxed);
                answer.make();
            }
            Choice::Read(entry) => {
                answer.read(entry.clone());
                for other in self.sharing.joining(&key) {
                    if let Some(other) = self.answers.get_mut(&other) {
                        other.join(entry.clone());
                    }
                }
            }
        }
        if !was_making && self.sharing.is_making(&key) {
            self.shared.counters.makings.fetch_add(1, Ordering::Relaxed);
            self.ready.push(Turn::Segment(key));
        }
        self.keep(window);
    }

    /// No longer waits for others.
    fn make_alone(&mut self, id: u64) {
        let Some(answer) = self.answers.get_mut(&id) else { return };
        self.shared.counters.makings.fetch_add(1, Ordering::Relaxed);
        answer.make();
        self.ready.push(Turn::Answer(id));
    }

    /// One window for each of a group.
    fn serve(&mut self, group: &[Turn]) {
        let (window, are_few) = (self.window(), self.answers.len() <= FEW);
        // Taken out, so that all of them can be worked on at once.
        let mut answers: Vec<(u64, Sending)> = Vec::new();
        let mut segments: Vec<(Key, Filled)> = Vec::new();
        for turn in group {
            match turn {
                Turn::Answer(id) => answers.extend(self.answers.remove(id).map(|answer| (*id, answer))),
                Turn::Segment(key) => segments.extend(self.sharing.take(key).map(|filled| (*key, filled))),
            }
        }
        let for_one = answers.iter_mut().filter_map(|(_, answer)| answer.making());
        make_together(segments.iter_mut().map(|(_, filled)| filled.making()).chain(for_one), window);
        if !are_few {
            answers.iter_mut().for_each(|(_, answer)| answer.rest());
        }
        let now = Instant::now();
        for (key, mut filled) in segments {
            match filled.making().lend() {
                None => self.put(key, filled),
                Some((place, reel)) => {
                    self.sharing.lend(key, filled);
                    self.read(Turn::Segment(key), place, reel, now);
                }
            }
        }
        for (id, mut answer) in answers {
            match answer.lend() {
                None => self.send(id, answer, now),
                Some((place, reel)) => {
                    self.answers.insert(id, answer);
                    self.read(Turn::Answer(id), place, reel, now);
                }
            }
        }
    }

    /// Has somebody else wait for a source.
    fn read(&mut self, turn: Turn, place: Place, reel: Reel, now: Instant) {
        match self.reading.ask(turn, place, reel, now) {
            Err((reel, failure)) => {
                self.keep(reel.into_window());
                self.give_up(turn, &failure);
            }
            Ok(ticket) => {
                if let Turn::Answer(id) = turn
                    && let Some(answer) = self.answers.get_mut(&id)
                {
                    answer.reading = Some(ticket);
                }
            }
        }
    }

    /// Goes on with those whose sources have answered, and gives up the others.
    fn take_back(&mut self, back: Vec<Back<Turn>>, now: Instant) {
        for back in back {
            match back {
                Back::Late(turn, failure) => self.give_up(turn, &failure),
                Back::Made(turn, reel) => {
                    match &turn {
                        Turn::Segment(key) => self.sharing.take_back(key, reel),
                        Turn::Answer(id) => {
                            if let Some(answer) = self.answers.get_mut(id) {
                                answer.take_back(reel, now);
                            }
                        }
                    }
                    self.ready.push(turn);
                }
            }
        }
    }

    /// The source does not answer: whoever waits for it has waited long enough.
    fn give_up(&mut self, turn: Turn, failure: &Failure) {
        match turn {
            Turn::Answer(id) => self.end(id, End::Silent(failure.clone())),
            Turn::Segment(key) => {
                for id in self.sharing.give_up(&key) {
                    self.end(id, End::Silent(failure.clone()));
                }
            }
        }
    }

    /// Puts away what was made of a segment, for all who wait for it.
    fn put(&mut self, key: Key, filled: Filled) {
        let (waiting, window) = self.sharing.put(key, filled);
        self.ready.extend(waiting.into_iter().map(Turn::Answer));
        match window {
            None => self.ready.push(Turn::Segment(key)),
            Some(window) => self.keep(window),
        }
    }

    fn window(&self) -> usize {
        if self.answers.len() > MANY { self.settings.window / 2 } else { self.settings.window }
    }

    fn send(&mut self, id: u64, mut answer: Sending, now: Instant) {
        let window = self.window();
        let progress = for_one(|| {
            answer.load(window);
            Ok(answer.send(now, window))
        });
        let progress = progress.unwrap_or_else(|failure| Progress::Ended(End::Failed(failure)));
        let waiting = answer.loaded() as u64;
        let counters = &self.shared.counters;
        counters.waiting.fetch_add(waiting, Ordering::Relaxed);
        counters.waiting.fetch_sub(std::mem::replace(&mut answer.counted, waiting), Ordering::Relaxed);
        self.answers.insert(id, answer);
        match progress {
            Progress::Ready => self.ready.push(Turn::Answer(id)),
            Progress::Due(due) => drop(self.held.insert((due, id))),
            Progress::Blocked => self.watch(id),
            Progress::Starved => self.wait_for_more(id, now),
            Progress::Orphaned => self.take_over(id),
            Progress::Ended(end) => self.end(id, end),
        }
    }

    fn wait_for_more(&mut self, id: u64, now: Instant) {
        let Some(answer) = self.answers.get_mut(&id) else { return };
        answer.starved = true;
        if let (Some(shared), Some((entry, at))) = (answer.shared(), answer.reading()) {
            self.sharing.wait(id, &shared.key, entry, at, now);
        }
    }

    /// Who made the segment has given up. Once it is made anew for all who want it; if that comes to nothing as well,
    /// each answer finds out for itself why.
    fn take_over(&mut self, id: u64) {
        let Some(answer) = self.answers.get_mut(&id) else { return };
        answer.orphaned += 1;
        if answer.orphaned > 1 {
            return self.make_alone(id);
        }
        self.choose(id, true);
        self.ready.push(Turn::Answer(id));
    }

    fn keep(&mut self, window: Vec<u8>) {
        if self.spare.len() < SPARE && window.capacity() > 0 {
            self.spare.push(window);
        }
    }

    /// Has the kernel say when the socket is writable again, once.
    fn watch(&mut self, id: u64) {
        let Some(answer) = self.answers.get_mut(&id) else { return };
        let flags = EventFlags::OUT | EventFlags::ONESHOT;
        let data = EventData::new_u64(id);
        let epoll = &self.epoll;
        let told = answer.line().on_socket(|socket| match answer.watched {
            true => epoll::modify(epoll, socket, data, flags),
            false => epoll::add(epoll, socket, data, flags),
        });
        answer.watched = true;
        if told.is_err() {
            self.end(id, End::Gone);
        }
    }

    fn end(&mut self, id: u64, end: End) {
        let Some(answer) = self.answers.remove(&id) else { return };
        if answer.watched {
            let _ = answer.line().on_socket(|socket| epoll::delete(&self.epoll, socket));
        }
        self.held.retain(|&(_, held)| held != id);
        if let Some(reel) = answer.reading.and_then(|ticket| self.reading.forget(ticket)) {
            self.keep(reel.into_window());
        }
        self.shared.counters.answers.fetch_sub(1, Ordering::Relaxed);
        self.shared.counters.waiting.fetch_sub(answer.counted, Ordering::Relaxed);
        if end == End::Handed {
            answer.line().whole();
        }
        answer.settle_rate();
        if let Some(shared) = answer.shared() {
            self.sharing.forget(id, &shared.key);
        }
        self.keep(answer.into_window());
        self.ended.push(Outcome { id, end });
    }

    /// Gives up answers whose peers take nothing, or too little, or whose sources do not answer.
    fn tick(&mut self) {
        let now = Instant::now();
        if now < self.next_tick {
            return;
        }
        self.next_tick = now + TICK;
        let late = self.reading.tick(now);
        self.take_back(late, now);
        let (reading, stuck) = self.reading.counts(now);
        self.shared.counters.reading.store(reading, Ordering::Relaxed);
        self.shared.counters.stuck.store(stuck, Ordering::Relaxed);
        let stalled: Vec<u64> = self
            .answers
            .iter()
            .filter(|(_, answer)| answer.reading.is_none() && !answer.starved)
            .filter(|(_, answer)| now.saturating_duration_since(answer.taken_until()) > self.settings.stall)
            .map(|(&id, _)| id)
            .collect();
        for id in stalled {
            self.end(id, End::Stalled);
        }
    }
}
