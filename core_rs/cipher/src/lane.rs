//! One CBC chain, and the expansion of its key (FIPS 197 §5.2).

use aes::Block;
use aes::hazmat::{cipher_round, inv_mix_columns};
use zeroize::Zeroize;

/// Bytes in an AES block.
pub const BLOCK: usize = 16;

/// Round keys of AES-128: the key itself and one for each of the ten rounds.
pub(crate) const ROUND_KEYS: usize = 11;

/// One CBC chain between two calls: the expanded key and the last ciphertext block.
///
/// The chain starts at `Lane::new` and goes on with every call that encrypts with it. Key and chaining
/// value are wiped when the lane is dropped.
pub struct Lane {
    // Memory order, not numeric order: each u128 holds 16 bytes as they lie in a vector register. The type gives the
    // alignment, and lets `zeroize` clear 16 bytes a store.
    pub(crate) keys: [u128; ROUND_KEYS],
    pub(crate) chain: u128,
}

impl Lane {
    /// Starts a chain.
    pub fn new(key: &[u8; 16], iv: &[u8; 16]) -> Self {
        Self { keys: expand(*key), chain: u128::from_ne_bytes(*iv) }
    }

    pub(crate) fn key(&self) -> [u8; 16] {
        self.keys[0].to_ne_bytes()
    }
}

impl Drop for Lane {
    fn drop(&mut self) {
        self.keys.zeroize();
        self.chain.zeroize();
    }
}

impl std::fmt::Debug for Lane {
    // A key must not reach a log through a derived Debug.
    fn fmt(&self, f: &mut std::fmt::Formatter<'_>) -> std::fmt::Result {
        f.debug_struct("Lane").finish_non_exhaustive()
    }
}

/// A lane and what is left of the buffer it shall encrypt.
pub(crate) struct Strand<'a> {
    pub(crate) lane: &'a mut Lane,
    pub(crate) data: &'a mut [u8],
}

impl<'a> Strand<'a> {
    pub(crate) fn new(lane: &'a mut Lane, data: &'a mut [u8]) -> Self {
        assert!(
            data.len().is_multiple_of(BLOCK),
            "a buffer of {} bytes is not a whole number of AES blocks",
            data.len()
        );
        Self { lane, data }
    }

    /// Leaves the first `bytes` behind.
    pub(crate) fn advance(&mut self, bytes: usize) {
        self.data = &mut std::mem::take(&mut self.data)[bytes..];
    }
}

fn expand(key: [u8; 16]) -> [u128; ROUND_KEYS] {
    let mut keys = [0; ROUND_KEYS];
    let mut words: [u32; 4] = std::array::from_fn(|i| u32::from_le_bytes([0, 1, 2, 3].map(|j| key[4 * i + j])));
    let mut rcon = 1u8;
    keys[0] = u128::from_ne_bytes(key);
    for round_key in &mut keys[1..] {
        // Words are little-endian here, so RotWord is a rotation to the right, and Rcon enters at the low byte.
        words[0] ^= sub_word(words[3].rotate_right(8)) ^ u32::from(rcon);
        words[1] ^= words[0];
        words[2] ^= words[1];
        words[3] ^= words[2];
        *round_key = u128::from_ne_bytes(bytes(words));
        rcon = (rcon << 1) ^ if rcon & 0x80 == 0 { 0 } else { 0x1b };
    }
    words.zeroize();
    keys
}

/// SubWord without an S-box in memory, whose lookups would tell the key to whoever shares the cache.
///
/// A round with a zero key is MixColumns(ShiftRows(SubBytes(x))). With the same word in all four columns ShiftRows
/// changes nothing, and MixColumns can be taken back.
fn sub_word(word: u32) -> u32 {
    let mut block = Block::from(bytes([word; 4]));
    cipher_round(&mut block, &Block::from([0; 16]));
    inv_mix_columns(&mut block);
    u32::from_le_bytes([block[0], block[1], block[2], block[3]])
}

fn bytes(words: [u32; 4]) -> [u8; 16] {
    let mut bytes = [0; 16];
    for (column, word) in bytes.chunks_exact_mut(4).zip(words) {
        column.copy_from_slice(&word.to_le_bytes());
    }
    bytes
}

#[cfg(test)]
mod tests {
    use super::*;

    /// FIPS 197 Appendix A.1, the first, second and last round key of the 128-bit example.
    #[test]
    fn key_expansion() {
        let keys = expand(0x2b7e151628aed2a6abf7158809cf4f3c_u128.to_be_bytes());
        let key = |n: usize| u128::from_be_bytes(keys[n].to_ne_bytes());
        assert_eq!(key(0), 0x2b7e151628aed2a6abf7158809cf4f3c);
        assert_eq!(key(1), 0xa0fafe1788542cb123a339392a6c7605);
        assert_eq!(key(10), 0xd014f9a8c9ee2589e13f0cc8b6630ca6);
    }

    #[test]
    fn debug_output_holds_no_key() {
        assert_eq!(format!("{:?}", Lane::new(&[7; 16], &[9; 16])), "Lane { .. }");
    }

    #[test]
    fn a_dropped_lane_leaves_nothing_behind() {
        let mut place = std::mem::MaybeUninit::new(Lane::new(&[7; 16], &[9; 16]));
        // SAFETY: the lane is dropped once and not used again; its two fields are plain numbers, which can be read as
        // long as the place lives.
        let left = unsafe {
            place.assume_init_drop();
            let lane = place.as_ptr();
            ((&raw const (*lane).keys).read(), (&raw const (*lane).chain).read())
        };
        assert_eq!(left, ([0; ROUND_KEYS], 0));
    }
}
