//! Letting go of what may hang when it is let go of.
//!
//! To close a file is to ask where it lies, too (FUSE_FLUSH, an NFS server), and who lets go of one last may be who must not
//! wait. So threads do it, of each store its own: one that does not answer keeps nothing of the others open. Of a store that
//! hangs in one file alone, others are closed beside that; where as many hang as there are threads, what comes later stays
//! open until one is back, and that is no more than was open there.

use std::any::Any;
use std::collections::{BTreeMap, VecDeque};
use std::sync::Mutex;
use std::thread::Builder;

use crate::queue::held;

/// Threads of a store.
const AT_ONCE: usize = 4;

#[derive(Default)]
struct Closing {
    waiting: VecDeque<Box<dyn Any + Send>>,
    threads: usize,
}

static STORES: Mutex<BTreeMap<u64, Closing>> = Mutex::new(BTreeMap::new());

/// Drops `what`, which lies in `store`, in a thread.
pub fn let_go(store: u64, what: Box<dyn Any + Send>) {
    let mut stores = held(&STORES);
    let closing = stores.entry(store).or_default();
    closing.waiting.push_back(what);
    if closing.threads == AT_ONCE {
        return;
    }
    closing.threads += 1;
    drop(stores);
    if Builder::new().name("closing".into()).spawn(move || close(store)).is_err() {
        // The system has no thread left: whoever lets go does it.
        close(store);
    }
}

fn close(store: u64) {
    loop {
        let mut stores = held(&STORES);
        let Some(closing) = stores.get_mut(&store) else { return };
        let Some(what) = closing.waiting.pop_front() else {
            closing.threads -= 1;
            if closing.threads == 0 {
                stores.remove(&store);
            }
            return;
        };
        drop(stores);
        drop(what);
    }
}

#[cfg(test)]
mod tests {
    use std::sync::Arc;
    use std::sync::mpsc::{Receiver, Sender, channel};
    use std::time::Duration;

    use super::*;

    /// Says when it is let go of, and may hang then, until the other end is dropped.
    struct File(Sender<u32>, u32, Option<Arc<Mutex<Receiver<()>>>>);

    impl Drop for File {
        fn drop(&mut self) {
            if let Some(hangs) = &self.2 {
                let _ = held(hangs).recv();
            }
            let _ = self.0.send(self.1);
        }
    }

    #[test]
    fn a_file_that_hangs_keeps_no_other_open_and_a_store_none_of_another() {
        let (closed, told) = channel();
        let next = || told.recv_timeout(Duration::from_secs(20)).unwrap();
        let stores = [u64::MAX, u64::MAX - 1];
        let mut hanging = Vec::new();
        for n in 0..AT_ONCE as u32 {
            let (hangs, gate) = channel();
            let_go(stores[0], Box::new(File(closed.clone(), n, Some(Arc::new(Mutex::new(gate))))));
            hanging.push(hangs);
            if n + 1 < AT_ONCE as u32 {
                let_go(stores[0], Box::new(File(closed.clone(), 10 + n, None)));
                assert_eq!(next(), 10 + n);
            }
        }
        // Now all of them hang.
        let_go(stores[0], Box::new(File(closed.clone(), 20, None)));
        let_go(stores[1], Box::new(File(closed.clone(), 21, None)));
        assert_eq!(next(), 21);
        drop(hanging);
        let mut rest: Vec<u32> = (0..=AT_ONCE).map(|_| next()).collect();
        rest.sort_unstable();
        assert_eq!(rest, [0, 1, 2, 3, 20]);
        // No thread is left of either.
        while stores.iter().any(|store| held(&STORES).contains_key(store)) {
            std::thread::yield_now();
        }
    }
}
