//! What threads share and leave for one another, and what the kernel tells about sockets.

use std::io;
use std::os::fd::{AsFd, BorrowedFd, OwnedFd};
use std::sync::{Mutex, MutexGuard, PoisonError};

use rustix::event::{EventfdFlags, eventfd};

/// A list that one thread fills and another empties, and a descriptor that is readable while there is something in it, or
/// was a moment ago.
pub(crate) struct Queue<T> {
    waiting: Mutex<Waiting<T>>,
    signal: OwnedFd,
}

struct Waiting<T> {
    items: Vec<T>,
    /// Signals that are given, or about to be, and were not taken.
    signals: u64,
}

impl<T> Queue<T> {
    pub(crate) fn new() -> io::Result<Self> {
        let signal = eventfd(0, EventfdFlags::NONBLOCK | EventfdFlags::CLOEXEC)?;
        Ok(Self { waiting: Mutex::new(Waiting { items: Vec::new(), signals: 0 }), signal })
    }

    pub(crate) fn put(&self, items: impl IntoIterator<Item = T>) {
        // Whoever is woken wants the lock, and may run before this thread does again: it is free by then.
        if self.add(items) {
            self.tell();
        }
    }

    /// Whether that is to be told.
    fn add(&self, items: impl IntoIterator<Item = T>) -> bool {
        let mut waiting = held(&self.waiting);
        let was_empty = waiting.items.is_empty();
        waiting.items.extend(items);
        let is_first = was_empty && !waiting.items.is_empty();
        waiting.signals += u64::from(is_first);
        is_first
    }

    fn tell(&self) {
        // A counter that is full is readable, too.
        let _ = rustix::io::write(&self.signal, &1u64.to_ne_bytes());
    }

    pub(crate) fn take(&self) -> Vec<T> {
        let mut waiting = held(&self.waiting);
        if waiting.signals > 0 {
            let mut given = [0; 8];
            // What has no signal yet is taken all the same, and the signal later.
            if rustix::io::read(&self.signal, &mut given).is_ok() {
                waiting.signals -= u64::from_ne_bytes(given);
            }
        }
        std::mem::take(&mut waiting.items)
    }
}

impl<T> AsFd for Queue<T> {
    fn as_fd(&self) -> BorrowedFd<'_> {
        self.signal.as_fd()
    }
}

/// Bytes that a socket's kernel holds and its peer has not acknowledged (tcp(7), `SIOCOUTQ`).
#[expect(unsafe_code)]
pub(crate) fn unacknowledged(socket: BorrowedFd<'_>) -> rustix::io::Result<u64> {
    const SIOCOUTQ: rustix::ioctl::Opcode = 0x5411;
    // SAFETY: the request takes a pointer to an int, which the kernel sets, and has no other effect.
    let bytes = unsafe { rustix::ioctl::ioctl(socket, rustix::ioctl::Getter::<SIOCOUTQ, i32>::new())? };
    Ok(bytes.max(0) as u64)
}

/// Nothing here leaves a lock's content half changed where it panics.
pub(crate) fn held<T>(mutex: &Mutex<T>) -> MutexGuard<'_, T> {
    mutex.lock().unwrap_or_else(PoisonError::into_inner)
}

#[cfg(test)]
mod tests {
    use std::thread;

    use rustix::event::{PollFd, PollFlags, Timespec, poll};

    use super::*;

    fn is_signalled<T>(queue: &Queue<T>, seconds: i64) -> bool {
        let mut one = [PollFd::new(queue, PollFlags::IN)];
        poll(&mut one, Some(&Timespec { tv_sec: seconds, tv_nsec: 0 })).unwrap() == 1
    }

    #[test]
    fn the_signal_stands_for_what_waits() {
        let queue = Queue::new().unwrap();
        queue.put([0; 0]);
        assert!(!is_signalled(&queue, 0));
        queue.put([1, 2]);
        queue.put([3]);
        assert!(is_signalled(&queue, 0));
        assert_eq!(queue.take(), [1, 2, 3]);
        assert!(!is_signalled(&queue, 0) && queue.take().is_empty());
    }

    /// What is taken between its arrival and its signal leaves none behind: who waits for signals would never sleep again.
    #[test]
    fn no_signal_is_left() {
        let queue = Queue::new().unwrap();
        assert!(queue.add([1]));
        assert_eq!(queue.take(), [1]);
        assert!(queue.add([2]) && !queue.add([3]));
        queue.tell();
        assert_eq!(queue.take(), [2, 3]);
        queue.tell();
        assert!(is_signalled(&queue, 0));
        assert!(queue.take().is_empty());
        assert!(!is_signalled(&queue, 0));
    }

    #[test]
    fn nothing_is_lost() {
        const EACH: usize = 50_000;
        let queue = Queue::new().unwrap();
        thread::scope(|scope| {
            for _ in 0..2 {
                scope.spawn(|| (0..EACH).for_each(|n| queue.put([n])));
            }
            let mut taken = 0;
            while taken < 2 * EACH {
                assert!(is_signalled(&queue, 60), "{taken} of {} were taken", 2 * EACH);
                taken += queue.take().len();
            }
        });
        assert!(queue.take().is_empty() && !is_signalled(&queue, 0));
    }
}
