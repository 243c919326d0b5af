//! The fallback: one lane after the other through the `aes` crate.

use aes::Aes128Enc;
use aes::cipher::{BlockCipherEncrypt, KeyInit};

use crate::lane::Strand;

pub(super) fn run(group: &mut [Strand<'_>], bytes: usize) {
    for strand in group {
        // The crate has a form of round keys of its own for each of its backends, so they are made again.
        let cipher = Aes128Enc::new(&strand.lane.key().into());
        for block in strand.data[..bytes].as_chunks_mut().0 {
            let mut state = aes::Block::from((u128::from_ne_bytes(*block) ^ strand.lane.chain).to_ne_bytes());
            cipher.encrypt_block(&mut state);
            *block = state.into();
            strand.lane.chain = u128::from_ne_bytes(*block);
        }
    }
}
