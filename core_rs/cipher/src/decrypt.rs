//! Decryption of one lane, for checking what was written. Blocks decrypt independently, so one lane is fast enough.

use aes::Aes128Dec;
use aes::cipher::{BlockCipherDecrypt, KeyInit};

use crate::{BLOCK, Lane};

/// Decrypts `data` in place as the continuation of `lane`, which was made with the message's key and IV.
///
/// The padding stays; [`unpad_pkcs7`](crate::unpad_pkcs7) takes it off the whole message.
///
/// # Panics
///
/// If the length of `data` is not a multiple of 16.
pub fn decrypt(lane: &mut Lane, data: &mut [u8]) {
    // As many blocks at a time as the widest backend of the `aes` crate works on in parallel.
    const BATCH: usize = 64;
    assert!(data.len().is_multiple_of(BLOCK), "a buffer of {} bytes is not a whole number of AES blocks", data.len());
    let cipher = Aes128Dec::new(&lane.key().into());
    for batch in data.chunks_mut(BATCH * BLOCK) {
        let mut plain = [aes::Block::default(); BATCH];
        let plain = &mut plain[..batch.len() / BLOCK];
        for (block, bytes) in plain.iter_mut().zip(batch.as_chunks().0) {
            *block = aes::Block::from(*bytes);
        }
        cipher.decrypt_blocks(plain);
        for (block, bytes) in plain.iter().zip(batch.as_chunks_mut().0) {
            let clear = u128::from_ne_bytes((*block).into()) ^ lane.chain;
            lane.chain = u128::from_ne_bytes(*bytes);
            *bytes = clear.to_ne_bytes();
        }
    }
}
