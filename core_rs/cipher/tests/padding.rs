//! PKCS#7 at every residue.

use pystream_cipher::{pad_pkcs7, padded_len, unpad_pkcs7};

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
        assert_eq!(unpad_pkcs7(&buffer[..padded]), Some(&buffer[..used]));
    }
}

#[test]
fn what_is_not_padding() {
    assert_eq!(unpad_pkcs7(&[]), None);
    assert_eq!(unpad_pkcs7(&[0; 16]), None, "no padding is never said");
    assert_eq!(unpad_pkcs7(&[17; 32]), None, "padding never exceeds a block");
    assert_eq!(unpad_pkcs7(&[1; 17]), None, "not whole blocks");
    let mut block = [16; 16];
    assert_eq!(unpad_pkcs7(&block), Some(&[][..]));
    block[0] = 15;
    assert_eq!(unpad_pkcs7(&block), None, "one damaged byte");
}

#[test]
#[should_panic(expected = "a buffer of 16 bytes has no room to pad 16 to 32")]
fn a_full_buffer_cannot_be_padded() {
    pad_pkcs7(&mut [0; 16], 16);
}
