//! AES-128-CBC with PKCS#7 padding over many lanes at once, as HLS wants it (RFC 8216 §4.3.2.4, METHOD=AES-128).
//!
//! # Theory
//!
//! CBC encryption is a chain: block n cannot start before block n-1 is done (NIST SP 800-38A §6.2). A core therefore
//! waits for the latency of ten AES rounds a block, while its units could start several rounds a cycle. Nothing makes
//! one chain faster; but segments of a film are independent chains, and interleaving eight of them fills the units.
//!
//! A [`Lane`] is one such chain: its round keys and the last ciphertext block. It is resumable: it takes a window of
//! plaintext, and the next window later, so that reading, muxing, encrypting and writing share windows that stay in the
//! L2 cache. [`pump()`] drives jobs through such windows; [`encrypt`] is the bare operation.
//!
//! The crate knows neither media nor Python, and does no I/O. Its kernels are the only unsafe code.

#![deny(unsafe_op_in_unsafe_fn)]

mod kernel;
mod lane;
mod padding;
mod pump;
mod schedule;

pub use kernel::Kernel;
pub use lane::{BLOCK, Lane};
pub use padding::{pad_pkcs7, padded_len};
pub use pump::{Job, Stop, Windows, pump};

/// Encrypts each buffer in place as the continuation of its lane, with the fastest kernel of this machine.
///
/// Buffers may differ in length and may be empty. Encrypting a message in pieces equals encrypting it at once.
/// No memory is allocated.
///
/// # Panics
///
/// If a buffer's length is not a multiple of 16: the caller pads the end of a message with [`pad_pkcs7`].
pub fn encrypt<'a>(work: impl IntoIterator<Item = (&'a mut Lane, &'a mut [u8])>) {
    encrypt_with(Kernel::best(), work);
}

/// [`encrypt`] with a given kernel, for tests and benchmarks.
///
/// # Panics
///
/// As [`encrypt`], and if this machine does not have the kernel's instructions.
pub fn encrypt_with<'a>(kernel: Kernel, work: impl IntoIterator<Item = (&'a mut Lane, &'a mut [u8])>) {
    assert!(kernel.is_available(), "this machine cannot run the {kernel:?} kernel");
    schedule::run(kernel, work.into_iter().map(|(lane, data)| lane::Strand::new(lane, data)));
}
