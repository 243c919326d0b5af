//! What the SIMD kernels need of a group of strands, in the form in which they load it.

use zeroize::Zeroize;

use crate::lane::{ROUND_KEYS, Strand};

/// The widest group of any kernel.
const MAX_WIDTH: usize = 12;

/// Writes its body out for each of the rounds 1 to 9, which the compiler would leave a loop.
macro_rules! middle_rounds {
    ($round:ident => $body:expr) => {
        middle_rounds!(@ $round, $body, 1 2 3 4 5 6 7 8 9)
    };
    (@ $round:ident, $body:expr, $($number:literal)*) => {
        $({
            const $round: usize = $number;
            $body
        })*
    };
}

/// The round keys of a group, side by side as wide registers load them: all lanes' key 0, all lanes' key 1, and so on.
///
/// One more row holds key 0 ^ key 10, which kernels need where the xor between two blocks is folded into a round.
/// Slots without a strand of their own repeat the first strand (see `Slots`).
#[repr(align(64))]
pub(super) struct KeyTable([[u128; MAX_WIDTH]; ROUND_KEYS + 1]);

/// The row of key 0 ^ key 10.
pub(super) const FOLDED: usize = ROUND_KEYS;

impl KeyTable {
    #[inline(never)]
    pub(super) fn new(group: &[Strand<'_>], slots: usize) -> Self {
        let mut table = Self([[0; MAX_WIDTH]; ROUND_KEYS + 1]);
        for slot in 0..slots {
            let keys = &group.get(slot).unwrap_or(&group[0]).lane.keys;
            for (row, key) in table.0.iter_mut().zip(keys) {
                row[slot] = *key;
            }
            table.0[FOLDED][slot] = keys[0] ^ keys[ROUND_KEYS - 1];
        }
        table
    }

    /// The keys of one round, from that of slot 0 on.
    #[inline(always)]
    pub(super) fn row(&self, round: usize) -> &[u128; MAX_WIDTH] {
        &self.0[round]
    }
}

impl Drop for KeyTable {
    #[inline(never)]
    fn drop(&mut self) {
        self.0.zeroize();
    }
}

/// Where the data and the chaining values of a group's N slots are.
///
/// A wide register has room for two or four lanes. Where the group is smaller, the free slots do the first strand's
/// work once more, with the same key on the same bytes: a kernel loads a piece of all slots before it stores any of
/// that piece, so the twins load, compute and store the same. That costs less than a kernel for each lane count.
pub(super) struct Slots<const N: usize> {
    pub(super) data: [*mut u8; N],
    pub(super) chains: [u128; N],
}

impl<const N: usize> Slots<N> {
    pub(super) fn new(group: &mut [Strand<'_>]) -> Self {
        let mut slots = Self { data: [group[0].data.as_mut_ptr(); N], chains: [group[0].lane.chain; N] };
        for (slot, strand) in group.iter_mut().enumerate().skip(1) {
            slots.data[slot] = strand.data.as_mut_ptr();
            slots.chains[slot] = strand.lane.chain;
        }
        slots
    }

    /// Hands the chaining values back to the lanes.
    pub(super) fn close(self, group: &mut [Strand<'_>]) {
        for (strand, chain) in group.iter_mut().zip(self.chains) {
            strand.lane.chain = chain;
        }
    }
}
