//! PKCS#7 padding (RFC 5652 §6.3), which RFC 8216 §4.3.2.4 asks for at the end of each segment.

use crate::BLOCK;

/// The length of a message of `len` bytes once it is padded: the next multiple of 16 above it.
///
/// A message that fills its last block gets a whole block of padding, so that padding can always be told from data.
pub const fn padded_len(len: usize) -> usize {
    (len / BLOCK + 1) * BLOCK
}

/// Writes the padding behind the first `used` bytes of `buffer`, and returns the padded length.
///
/// # Panics
///
/// If `buffer` is shorter than `padded_len(used)`.
pub fn pad_pkcs7(buffer: &mut [u8], used: usize) -> usize {
    let padded = padded_len(used);
    assert!(padded <= buffer.len(), "a buffer of {} bytes has no room to pad {used} to {padded}", buffer.len());
    // At most 16, as `padded_len` says.
    buffer[used..padded].fill((padded - used) as u8);
    padded
}
