//! CBC decryption a block at a time (NIST SP 800-38A 6.2), to undo what was encrypted.

use aes::cipher::{BlockCipherDecrypt, KeyInit};

/// Decrypts `data`, whole blocks, in place. The padding stays.
pub(crate) fn decrypt(key: [u8; 16], iv: [u8; 16], data: &mut [u8]) {
    let cipher = aes::Aes128Dec::new(&key.into());
    let mut chain = iv;
    let (blocks, rest) = data.as_chunks_mut::<16>();
    assert!(rest.is_empty(), "not whole blocks");
    for bytes in blocks {
        let mut block = aes::Block::from(*bytes);
        cipher.decrypt_block(&mut block);
        let clear = u128::from_ne_bytes(block.into()) ^ u128::from_ne_bytes(chain);
        chain = std::mem::replace(bytes, clear.to_ne_bytes());
    }
}
