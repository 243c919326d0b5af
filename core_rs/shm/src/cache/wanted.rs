//! Who was asked for lately: the admission filter of the cache.
//!
//! # Theory
//!
//! A slot is one word, `tag << 32 | second`, eight are a set, and a keyed hash chooses both, as in the GCRA table. A key
//! that is not there takes the slot asked for longest ago. So the table remembers the last few askings for each place in
//! the cache, and where more keys are asked for in ten minutes, it forgets sooner: what is asked for often enough to be
//! found again before it is forgotten is worth its place. Two keys with one tag (a chance of 8 in 2^32) let one in that
//! was asked for once.

use siphasher::sip::SipHasher13;

use crate::mapping::{Word, scale};

/// How long an asking is remembered: ten minutes.
pub const WANTED_WITHIN_US: u64 = 600_000_000;

/// Slots in a set: a cache line.
pub(super) const WAYS: usize = 8;

const SECOND_BITS: u32 = 32;

/// The filter's table, and the secret of its hash.
pub(super) struct Admission<'a> {
    pub(super) slots: &'a [Word],
    pub(super) secret: (u64, u64),
}

impl Admission<'_> {
    pub(super) fn wanted(&self, key: &[u8; 16], now_us: u64) -> bool {
        let hash = SipHasher13::new_with_keys(self.secret.0, self.secret.1).hash(key);
        let sets = self.slots.len() / WAYS;
        let set = &self.slots[scale(hash, sets) * WAYS..][..WAYS];
        // An empty slot is 0, the oldest of all: no time is second 0, and no tag either.
        let tag = (hash & u64::from(u32::MAX)).max(1);
        let now = now_us / 1_000_000 + 1;
        let new = tag << SECOND_BITS | now & u64::from(u32::MAX);
        loop {
            let mut oldest = (&set[0], u64::MAX, u64::MAX);
            for slot in set {
                let seen = slot.get();
                let second = seen & u64::from(u32::MAX);
                if seen >> SECOND_BITS == tag {
                    // If it fails, another process has just done the same or forgotten the key; the answer stays.
                    let _ = slot.swap_if(seen, new);
                    return now.saturating_sub(second) <= WANTED_WITHIN_US / 1_000_000;
                }
                if second < oldest.1 {
                    oldest = (slot, second, seen);
                }
            }
            // If it fails, perhaps because another process asks for the same key: then that was before.
            if oldest.0.swap_if(oldest.2, new).is_ok() {
                return false;
            }
        }
    }
}
