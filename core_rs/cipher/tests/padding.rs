//! PKCS#7 at every residue.

use pystream_cipher::{pad_pkcs7, padded_len};

#[test]
fn every_residue() {
    for used in 0..=64 {
        let mut buffer = vec![0xaa; 96];
        let padded = pad_pkcs7(&mut buffer, used);
        assert_eq!(padded, padded_len(used));
        assert!(padded.is_multiple_of(16) && padded > used && padded <= used + 16);
        assert!(buffer[..used].iter().all(|&byte| byte == 0xaa), "the message was touched at {used}");
        assert!(buffer[used..padded].iter().all(|&byte| usize::from(byte) == padded - used), "padding of {used}");
        assert!(buffer[padded..].iter().all(|&byte| byte == 0xaa), "bytes behind the padding were touched at {used}");
    }
}

#[test]
#[should_panic(expected = "a buffer of 16 bytes has no room to pad 16 to 32")]
fn a_full_buffer_cannot_be_padded() {
    pad_pkcs7(&mut [0; 16], 16);
}
