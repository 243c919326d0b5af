//! A memfd as an array of atomic words and one lock. All unsafe code of the crate is here, but for the call of [`bytes`].
//!
//! # Layout
//!
//! ```text
//! page 0    the lock: a robust, process-shared pthread mutex; never seen as words
//! page 1 -  words: [magic, version, length of the file, dirty, shape x 4], then the table
//! ```
//!
//! # Rules
//!
//! * A mapped word is accessed whole and atomically as long as anybody may write to it. So there is no data race, no
//!   matter what another process does: the worst that a wrong table can hold is wrong numbers. Bytes of segments that are
//!   filled and pinned, to which nobody writes, are lent as they lie there.
//! * The file is sealed against shrinking before anyone maps it, so that a mapped word is there as long as the mapping.
//! * Pages that were handed to a socket without a copy stay what they were: memory is given to other content only by
//!   [`Mapping::renew`], which takes the pages out of the file. A peer on the same machine has them in its own queue
//!   until it reads, long after it has acknowledged them.
//! * The lock gives exclusion, not consistency. `dirty` stands while somebody is at work under the lock. Whoever takes
//!   the lock and finds it standing repairs the table first, be it that the holder was killed, that it panicked, or
//!   that the table is new. A repair that is cut short leaves it standing too.

use std::ffi::CStr;
use std::fs::File;
use std::hash::{BuildHasher, Hasher, RandomState};
use std::io;
use std::os::fd::{AsFd, AsRawFd, BorrowedFd, FromRawFd, OwnedFd};
use std::os::unix::fs::FileExt;
use std::ptr::{self, NonNull};
use std::sync::atomic::{AtomicU64, Ordering};

use crate::error::{Error, Result};

/// Words before the table.
pub(crate) const HEADER: usize = 8;

/// Bytes in a word.
pub(crate) const WORD: usize = 8;

/// Bytes of page 0. A multiple of the page size of x86-64; where pages are larger, only alignment for speed is lost.
pub(crate) const PAGE: usize = 4096;

/// Of all tables together. A change of any layout counts it up, so that an upgraded program does not misread.
const VERSION: u64 = 1;

const MAGIC_AT: usize = 0;
const VERSION_AT: usize = 1;
const LENGTH_AT: usize = 2;
const DIRTY_AT: usize = 3;
const SHAPE_AT: usize = 4;

/// What sort of table a memfd holds.
pub(crate) struct Kind {
    /// In error messages.
    pub(crate) table: &'static str,
    /// In /proc/PID/maps.
    pub(crate) name: &'static CStr,
    pub(crate) magic: [u8; WORD],
    /// How many words a table of a shape has, the header included; the reason if it cannot be.
    pub(crate) words: fn([u64; 4]) -> std::result::Result<usize, &'static str>,
}

impl Kind {
    fn size(&self, shape: [u64; 4]) -> Result<usize> {
        let words = (self.words)(shape).map_err(|reason| Error::Size { table: self.table, reason })?;
        Ok(PAGE + words * WORD)
    }

    fn foreign(&self, reason: &'static str) -> Error {
        Error::Foreign { table: self.table, reason }
    }
}

/// One 64-bit number that processes share.
///
/// A load sees what was written before the store that it reads (acquire, release); nothing here needs more.
#[repr(transparent)]
pub(crate) struct Word(AtomicU64);

impl Word {
    pub(crate) fn get(&self) -> u64 {
        pause::may_come();
        self.0.load(Ordering::Acquire)
    }

    pub(crate) fn set(&self, value: u64) {
        pause::may_come();
        death::may_come();
        self.0.store(value, Ordering::Release);
    }

    /// Writes `new` if the word still is `seen`; says what it is otherwise.
    pub(crate) fn swap_if(&self, seen: u64, new: u64) -> std::result::Result<(), u64> {
        pause::may_come();
        death::may_come();
        self.0.compare_exchange(seen, new, Ordering::AcqRel, Ordering::Acquire).map(|_| ())
    }

    pub(crate) fn add(&self, count: u64) {
        pause::may_come();
        death::may_come();
        self.0.fetch_add(count, Ordering::AcqRel);
    }

    pub(crate) fn subtract(&self, count: u64) {
        pause::may_come();
        death::may_come();
        self.0.fetch_sub(count, Ordering::AcqRel);
    }

    pub(crate) fn raise_to(&self, value: u64) {
        pause::may_come();
        death::may_come();
        self.0.fetch_max(value, Ordering::AcqRel);
    }
}

/// `count` bytes of words, from byte `at` on, as they lie there.
///
/// # Panics
///
/// If the words end before.
///
/// # Safety
///
/// As long as the bytes are lent, nobody writes to them.
pub(crate) unsafe fn bytes(words: &[Word], at: usize, count: usize) -> &[u8] {
    let all = words.as_ptr().cast::<u8>();
    assert!(at.checked_add(count).is_some_and(|end| end <= size_of_val(words)));
    // SAFETY: all of it lies in the words, which are plain numbers, and nobody writes there, as the caller says.
    unsafe { std::slice::from_raw_parts(all.add(at), count) }
}

/// A number that nobody outside can guess.
pub(crate) fn random() -> u64 {
    // The standard library seeds each of these from the system.
    RandomState::new().build_hasher().finish()
}

/// Which of `places` a hash chooses, by its high bits: the low ones are left to tell apart what shares a place.
pub(crate) fn scale(hash: u64, places: usize) -> usize {
    ((u128::from(hash) * places as u128) >> u64::BITS) as usize
}

/// A shared table in this process.
pub(crate) struct Mapping {
    start: NonNull<libc::c_void>,
    len: usize,
    file: File,
}

// SAFETY: the memory belongs to no thread, stays mapped until the drop, and is reached through atomics and the lock,
// both of which any thread may use.
unsafe impl Send for Mapping {}
// SAFETY: as above.
unsafe impl Sync for Mapping {}

impl Mapping {
    /// Makes a table of zeros, which is `dirty`.
    pub(crate) fn create(kind: &Kind, shape: [u64; 4]) -> Result<OwnedFd> {
        let len = kind.size(shape)?;
        let file = File::from(memfd(kind.name)?);
        file.set_len(len as u64).map_err(|source| Error::System { call: "ftruncate of a memfd", source })?;
        seal(&file)?;
        let mapping = Self::map(file, len)?;
        mapping.make_lock()?;
        let words = mapping.words();
        words[VERSION_AT].set(VERSION);
        words[LENGTH_AT].set(len as u64);
        words[DIRTY_AT].set(1);
        for (word, value) in words[SHAPE_AT..HEADER].iter().zip(shape) {
            word.set(value);
        }
        words[MAGIC_AT].set(u64::from_le_bytes(kind.magic));
        mapping.file.as_fd().try_clone_to_owned().map_err(|source| Error::System { call: "dup of a memfd", source })
    }

    /// Maps the table that [`create`](Self::create) made, here or in another process.
    pub(crate) fn attach(kind: &Kind, fd: OwnedFd) -> Result<Self> {
        let file = File::from(fd);
        let len = file.metadata().map_err(|source| Error::System { call: "fstat of a memfd", source })?.len();
        let len = usize::try_from(len).map_err(|_| kind.foreign("is larger than memory"))?;
        if !is_sealed(&file) {
            return Err(kind.foreign("is not a memfd sealed against shrinking"));
        }
        if len < PAGE + HEADER * WORD || !len.is_multiple_of(WORD) {
            return Err(kind.foreign("is too short"));
        }
        let mapping = Self::map(file, len)?;
        let words = mapping.words();
        if words[MAGIC_AT].get() != u64::from_le_bytes(kind.magic) {
            return Err(kind.foreign("is something else"));
        }
        if words[VERSION_AT].get() != VERSION {
            return Err(kind.foreign("was made by another version of pystream: restart the whole server"));
        }
        if words[LENGTH_AT].get() != len as u64 || kind.size(mapping.shape()).ok() != Some(len) {
            return Err(kind.foreign("has another length than its header says"));
        }
        Ok(mapping)
    }

    /// The numbers that the table was made with.
    pub(crate) fn shape(&self) -> [u64; 4] {
        std::array::from_fn(|index| self.words()[SHAPE_AT + index].get())
    }

    /// Header and table.
    pub(crate) fn words(&self) -> &[Word] {
        // SAFETY: the mapping is `len` bytes long, at least two pages of it, and its file cannot shrink. It starts at a
        // page, so words are aligned; `Word` is a u64 that may be changed by others, and any bits are one. Nothing else
        // is made of this part of the memory: the lock lies before it.
        unsafe { std::slice::from_raw_parts(self.start.cast::<Word>().as_ptr().add(PAGE / WORD), self.len()) }
    }

    /// Does `work` while no other process is at work, after `repair` if the last one did not end its work.
    ///
    /// Neither may call this again: it would wait for itself.
    ///
    /// # Panics
    ///
    /// If the lock is none: a process wrote wildly into page 0.
    pub(crate) fn exclusive<T>(&self, repair: impl FnOnce(), work: impl FnOnce() -> T) -> T {
        let held = self.lock();
        let dirty = &self.words()[DIRTY_AT];
        if dirty.get() != 0 {
            repair();
        }
        dirty.set(1);
        let answer = work();
        dirty.set(0);
        drop(held);
        answer
    }

    fn lock(&self) -> Held<'_> {
        // SAFETY: `create` made a mutex there, which lives as long as the memory, and nothing else writes to it.
        let code = unsafe { libc::pthread_mutex_lock(self.mutex()) };
        if code == libc::EOWNERDEAD {
            // This only says that the lock can go on being used; `dirty` tells that the table needs repair.
            // SAFETY: this thread holds the mutex, as the code says.
            let code = unsafe { libc::pthread_mutex_consistent(self.mutex()) };
            assert_eq!(code, 0, "a shared lock of a dead process cannot be taken over");
        } else {
            assert_eq!(code, 0, "a shared lock is damaged: error {code}");
        }
        Held(self)
    }

    fn mutex(&self) -> *mut libc::pthread_mutex_t {
        self.start.as_ptr().cast()
    }

    fn make_lock(&self) -> Result<()> {
        const { assert!(size_of::<libc::pthread_mutex_t>() <= PAGE) };
        let mut attributes = std::mem::MaybeUninit::uninit();
        let attributes = attributes.as_mut_ptr();
        // SAFETY: the attributes are initialised by the first call and used by the others; the mutex's memory is
        // mapped, zero, aligned to a page, and nobody else has it yet.
        let code = unsafe {
            [
                libc::pthread_mutexattr_init(attributes),
                libc::pthread_mutexattr_setpshared(attributes, libc::PTHREAD_PROCESS_SHARED),
                libc::pthread_mutexattr_setrobust(attributes, libc::PTHREAD_MUTEX_ROBUST),
                libc::pthread_mutex_init(self.mutex(), attributes),
                libc::pthread_mutexattr_destroy(attributes),
            ]
        };
        match code.into_iter().find(|&code| code != 0) {
            None => Ok(()),
            Some(code) => Err(Error::System { call: "pthread_mutex_init", source: io::Error::from_raw_os_error(code) }),
        }
    }

    fn map(file: File, len: usize) -> Result<Self> {
        // SAFETY: a new mapping at a place of the system's choice touches no memory of the program.
        let start = unsafe {
            libc::mmap(ptr::null_mut(), len, libc::PROT_READ | libc::PROT_WRITE, libc::MAP_SHARED, file.as_raw_fd(), 0)
        };
        let mapping = match NonNull::new(start) {
            Some(start) if start.as_ptr() != libc::MAP_FAILED => Self { start, len, file },
            _ => return Err(refused("mmap of a memfd")),
        };
        // A part of a huge page is cleared in place where it should be taken out. Kernels without huge pages refuse.
        // SAFETY: advice on a mapping of our own, which changes none of its content.
        unsafe { libc::madvise(mapping.start.as_ptr(), len, libc::MADV_NOHUGEPAGE) };
        Ok(mapping)
    }

    /// Writes bytes into the file. They are seen in the mapping, but are no part of this process's memory as those are
    /// that it writes there itself.
    pub(crate) fn write(&self, offset: u64, bytes: &[u8]) -> Result<()> {
        self.file.write_all_at(bytes, offset).map_err(|_| refused("pwrite"))
    }

    /// Gives a part of the file fresh pages of zeros; whoever was lent the old ones keeps them as they are. Both numbers
    /// are whole pages.
    pub(crate) fn renew(&self, offset: u64, len: usize) -> Result<()> {
        let (mode, fd) = (libc::FALLOC_FL_PUNCH_HOLE | libc::FALLOC_FL_KEEP_SIZE, self.file.as_raw_fd());
        // SAFETY: the call takes numbers. What it frees stays mapped, and reads as zeros.
        match unsafe { libc::fallocate(fd, mode, offset as libc::off_t, len as libc::off_t) } {
            0 => Ok(()),
            _ => Err(refused("punching a hole into a memfd")),
        }
    }

    fn len(&self) -> usize {
        (self.len - PAGE) / WORD
    }
}

impl AsFd for Mapping {
    fn as_fd(&self) -> BorrowedFd<'_> {
        self.file.as_fd()
    }
}

impl Drop for Mapping {
    fn drop(&mut self) {
        // SAFETY: `map` made the mapping with this length, and all that borrows from it borrows from `self`.
        unsafe { libc::munmap(self.start.as_ptr(), self.len) };
    }
}

/// The lock, held by this thread. It never leaves [`Mapping::exclusive`].
struct Held<'a>(&'a Mapping);

impl Drop for Held<'_> {
    fn drop(&mut self) {
        // SAFETY: this is the thread that took the mutex, since the value never leaves the function that took it.
        unsafe { libc::pthread_mutex_unlock(self.0.mutex()) };
    }
}

fn memfd(name: &CStr) -> Result<OwnedFd> {
    let make = |flags| {
        // SAFETY: the name ends with a zero byte.
        let fd = unsafe { libc::memfd_create(name.as_ptr(), flags) };
        // SAFETY: a number that is not negative is a new descriptor that nobody else owns.
        (fd >= 0).then(|| unsafe { OwnedFd::from_raw_fd(fd) })
    };
    let flags = libc::MFD_CLOEXEC | libc::MFD_ALLOW_SEALING;
    // Linux below 6.3 does not know the flag; a hardened one insists on it.
    make(flags | libc::MFD_NOEXEC_SEAL).or_else(|| make(flags)).ok_or_else(|| refused("memfd_create"))
}

fn seal(file: &File) -> Result<()> {
    let seals = libc::F_SEAL_SHRINK | libc::F_SEAL_GROW | libc::F_SEAL_SEAL;
    // SAFETY: the call takes a descriptor and a number.
    match unsafe { libc::fcntl(file.as_raw_fd(), libc::F_ADD_SEALS, seals) } {
        0 => Ok(()),
        _ => Err(refused("sealing a memfd")),
    }
}

fn is_sealed(file: &File) -> bool {
    // SAFETY: the call takes a descriptor.
    let seals = unsafe { libc::fcntl(file.as_raw_fd(), libc::F_GET_SEALS) };
    seals >= 0 && seals & libc::F_SEAL_SHRINK != 0
}

fn refused(call: &'static str) -> Error {
    Error::System { call, source: io::Error::last_os_error() }
}

/// Outside the unit tests nobody dies by plan.
#[cfg(not(test))]
mod death {
    pub(super) const fn may_come() {}
}

/// Death of a thread before any one of its writes to shared memory, for proofs that go through all of them but the bytes
/// of segments, which nothing depends on before their count is written.
///
/// The thread ends as by SIGKILL: no destructor runs, and the system marks a lock that it holds.
#[cfg(test)]
pub(crate) mod death {
    use std::cell::RefCell;
    use std::sync::mpsc::{Sender, channel};

    thread_local! {
        static PLAN: RefCell<Option<(u64, Sender<bool>)>> = const { RefCell::new(None) };
    }

    /// Runs `life` in a thread that may write `writes` words; whether it came to its end.
    pub(crate) fn after<T>(writes: u64, life: impl FnOnce() -> T + Send + 'static) -> bool {
        let (tell, end) = channel();
        // Nobody joins the thread: for the standard library a thread without a result is a bug.
        std::thread::spawn(move || {
            PLAN.set(Some((writes, tell)));
            life();
            if let Some((_, tell)) = PLAN.take() {
                tell.send(true).unwrap();
            }
        });
        end.recv().expect("a life ends by plan or lives on, it does not panic")
    }

    pub(super) fn may_come() {
        let Some((left, tell)) = PLAN.take() else { return };
        if left != 0 {
            PLAN.set(Some((left - 1, tell)));
            return;
        }
        tell.send(false).unwrap();
        // SAFETY: this ends the thread and nothing else. What it owned stays where it is for ever.
        unsafe { libc::syscall(libc::SYS_exit, 0) };
    }
}

/// Outside the unit tests nobody pauses by plan.
#[cfg(not(test))]
mod pause {
    pub(super) const fn may_come() {}
}

/// Something that happens before any one of a thread's looks at shared memory or writes to it, for proofs that go through
/// all of them.
#[cfg(test)]
pub(crate) mod pause {
    use std::cell::RefCell;

    type Plan = (u64, Box<dyn FnOnce()>);

    thread_local! {
        static PLAN: RefCell<Option<Plan>> = const { RefCell::new(None) };
    }

    /// Does `work`, and `meanwhile` when it has made so many steps; whether there was another step.
    pub(crate) fn after<T>(steps: u64, meanwhile: impl FnOnce() + 'static, work: impl FnOnce() -> T) -> (T, bool) {
        PLAN.set(Some((steps, Box::new(meanwhile))));
        let answer = work();
        (answer, PLAN.take().is_none())
    }

    pub(super) fn may_come() {
        match PLAN.take() {
            None => (),
            Some((0, meanwhile)) => meanwhile(),
            Some((left, meanwhile)) => PLAN.set(Some((left - 1, meanwhile))),
        }
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    const KIND: Kind = Kind { table: "test table", name: c"test", magic: *b"ps test\0", words: |_| Ok(HEADER + 16) };

    #[test]
    fn what_is_written_is_lent() {
        let mapping = Mapping::attach(&KIND, Mapping::create(&KIND, [0; 4]).unwrap()).unwrap();
        let words = &mapping.words()[HEADER..];
        for at in [0, 1, 8, 13] {
            mapping.write((PAGE + HEADER * WORD + at) as u64, &[at as u8 + 1; 40]).unwrap();
            // SAFETY: nobody writes to them meanwhile.
            let lent = unsafe { bytes(words, at, 50) };
            assert_eq!(lent[..40], [at as u8 + 1; 40]);
            assert!(lent[40..].iter().all(|&byte| byte <= at as u8), "behind it nothing has changed");
        }
    }

    #[test]
    fn a_lock_outlives_its_holder_and_the_repair_of_the_next() {
        use std::sync::Arc;
        let mapping = Arc::new(Mapping::attach(&KIND, Mapping::create(&KIND, [0; 4]).unwrap()).unwrap());
        let repaired = |work: fn(&Word)| {
            let mut repaired = false;
            mapping.exclusive(|| repaired = true, || work(&mapping.words()[HEADER]));
            repaired
        };
        assert!(repaired(|_| ()), "a new table is put in order");
        assert!(!repaired(|_| ()), "an ended work leaves an ordered table");
        // The writes of a life: dirty, the word, dirty.
        for writes in 0..=3 {
            let shared = Arc::clone(&mapping);
            let lived = death::after(writes, move || {
                shared.exclusive(|| (), || shared.words()[HEADER].add(1));
            });
            assert_eq!(lived, writes == 3);
            assert_eq!(repaired(|_| ()), writes == 1 || writes == 2, "after {writes} writes");
            assert!(!repaired(|_| ()));
        }
        let panicked = std::panic::catch_unwind(std::panic::AssertUnwindSafe(|| {
            mapping.exclusive(|| (), || std::panic::resume_unwind(Box::new("a panic under the lock")));
        }));
        assert!(panicked.is_err());
        let shared = Arc::clone(&mapping);
        assert!(!death::after(0, move || shared.exclusive(|| shared.words()[HEADER].add(1), || ())));
        assert!(repaired(|_| ()), "a repair that was cut short is done again");
    }
}
