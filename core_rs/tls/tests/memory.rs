//! What an idle connection holds. Ten thousand of them belong to a node's everyday life.

mod common;

use std::alloc::{GlobalAlloc, Layout, System};
use std::sync::Arc;
use std::sync::atomic::{AtomicUsize, Ordering};

use common::{Pair, TLS12, TLS13, client_config, config, identity, pattern};
use pystream_tls::Connection;

struct Counting;

static HELD: AtomicUsize = AtomicUsize::new(0);

// SAFETY: every request goes to the system's allocator as it came.
unsafe impl GlobalAlloc for Counting {
    unsafe fn alloc(&self, layout: Layout) -> *mut u8 {
        HELD.fetch_add(layout.size(), Ordering::Relaxed);
        // SAFETY: the caller keeps to the same contract.
        unsafe { System.alloc(layout) }
    }

    unsafe fn dealloc(&self, pointer: *mut u8, layout: Layout) {
        HELD.fetch_sub(layout.size(), Ordering::Relaxed);
        // SAFETY: as above, and `pointer` came from `alloc`.
        unsafe { System.dealloc(pointer, layout) }
    }
}

#[global_allocator]
static ALLOCATOR: Counting = Counting;

/// AWS-LC's keys lie outside: it takes memory from C's allocator.
const LIMIT: usize = 10 << 10;

// The only test of this file: another one would count on the same counter.
#[test]
fn idle_connections_are_small() {
    let identity = identity(&["a.example"]);
    let config = config(&[&identity]);
    for version in [&TLS13, &TLS12] {
        let client = Arc::new(client_config(&[&identity], version));
        let before = HELD.load(Ordering::Relaxed);
        let waiting = Connection::new(&config);
        let held = HELD.load(Ordering::Relaxed) - before + size_of_val(&waiting);
        assert!(held <= LIMIT, "{held} bytes before the first byte of the peer");
        drop(waiting);

        let mut pair = Pair::established(&config, &client, "a.example");
        let mut out = Vec::new();
        pair.server.seal(&pattern(128 << 10), &mut out).unwrap();
        pair.client_sends(&pattern(8000));
        let request = pair.client_bytes();
        assert_eq!(pair.server.feed(&request).unwrap().plaintext, pattern(8000));
        // The next one finds the buffer at its usual size again.
        pair.client_sends(b"GET /");
        let request = pair.client_bytes();
        pair.server.feed(&request).unwrap();
        let server = Box::new(pair.server);
        let before = HELD.load(Ordering::Relaxed);
        drop(server);
        let held = before - HELD.load(Ordering::Relaxed);
        assert!(held <= LIMIT, "{version:?}: {held} bytes for an idle connection");
    }
}
