//! What threads share and leave for one another, and what the kernel tells about sockets.

use std::io;
use std::os::fd::{AsFd, BorrowedFd, OwnedFd};
use std::sync::{Mutex, MutexGuard, PoisonError};

use rustix::event::{EventfdFlags, eventfd};

/// A list that one thread fills and another empties, and a descriptor that is readable while there is something in it.
pub(crate) struct Queue<T> {
    waiting: Mutex<Vec<T>>,
    signal: OwnedFd,
}

impl<T> Queue<T> {
    pub(crate) fn new() -> io::Result<Self> {
        let signal = eventfd(0, EventfdFlags::NONBLOCK | EventfdFlags::CLOEXEC)?;
        Ok(Self { waiting: Mutex::new(Vec::new()), signal })
    }

    pub(crate) fn put(&self, items: impl IntoIterator<Item = T>) {
        let mut waiting = held(&self.waiting);
        let was_empty = waiting.is_empty();
        waiting.extend(items);
        if was_empty && !waiting.is_empty() {
            // A counter that is full is readable, too.
            let _ = rustix::io::write(&self.signal, &1u64.to_ne_bytes());
        }
    }

    pub(crate) fn take(&self) -> Vec<T> {
        let mut waiting = held(&self.waiting);
        if waiting.is_empty() {
            return Vec::new();
        }
        let _ = rustix::io::read(&self.signal, &mut [0; 8]);
        std::mem::take(&mut waiting)
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
