//! Encrypting allocates nothing, and the pump allocates nothing from round to round.

use std::alloc::{GlobalAlloc, Layout, System};
use std::cell::Cell;
use std::convert::Infallible;

use pystream_cipher::{Job, Kernel, Lane, Windows, encrypt_with, pump};

struct Counting;

thread_local! {
    static ALLOCATIONS: Cell<usize> = const { Cell::new(0) };
}

// SAFETY: every call goes to the system's allocator unchanged. The counter is a plain thread-local number, and access to
// it allocates nothing.
unsafe impl GlobalAlloc for Counting {
    unsafe fn alloc(&self, layout: Layout) -> *mut u8 {
        ALLOCATIONS.set(ALLOCATIONS.get() + 1);
        // SAFETY: the caller's promise is passed on.
        unsafe { System.alloc(layout) }
    }

    unsafe fn dealloc(&self, pointer: *mut u8, layout: Layout) {
        // SAFETY: the caller's promise is passed on.
        unsafe { System.dealloc(pointer, layout) }
    }
}

#[global_allocator]
static ALLOCATOR: Counting = Counting;

fn allocations(work: impl FnOnce()) -> usize {
    let before = ALLOCATIONS.get();
    work();
    ALLOCATIONS.get() - before
}

#[test]
fn encrypting_allocates_nothing() {
    let mut lanes: Vec<Lane> = (0..100).map(|n| Lane::new(&[n; 16], &[n; 16])).collect();
    let mut data = vec![0; 100 * 4096];
    for kernel in Kernel::available() {
        let buffers = data.chunks_exact_mut(4096).enumerate().map(|(n, buffer)| &mut buffer[16 * n..]);
        assert_eq!(allocations(|| encrypt_with(kernel, lanes.iter_mut().zip(buffers))), 0, "{kernel:?}");
    }
}

struct Zeros(usize);

impl Job for Zeros {
    type Error = Infallible;

    fn fill(&mut self, window: &mut [u8]) -> Result<usize, Infallible> {
        let count = self.0.min(window.len());
        self.0 -= count;
        Ok(count)
    }

    fn drain(&mut self, _: &[u8]) -> Result<(), Infallible> {
        Ok(())
    }

    fn finish(self) -> Result<(), Infallible> {
        Ok(())
    }
}

#[test]
fn pumping_allocates_once_however_long_it_runs() {
    let mut windows = Windows::new(8, 4096);
    for (jobs, len) in [(1, 10), (8, 100_000), (500, 5000)] {
        let mut next = (0..jobs).map(|n| Ok((Zeros(len), Some(Lane::new(&[n as u8; 16], &[0; 16])))));
        let count = allocations(|| pump(&mut windows, || next.next(), || false).unwrap());
        assert_eq!(count, 1, "{jobs} jobs of {len} bytes");
    }
}
