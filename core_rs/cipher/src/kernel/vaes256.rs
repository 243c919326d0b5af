//! VAES with 256-bit registers: the blocks of two lanes in each.
//!
//! `vaesenc` on two blocks costs what it costs on one, so twice the lanes of AES-NI run in the same time. A register is
//! filled by a load and an insert from memory, and emptied by a store and an extract to memory, none of which needs the
//! shuffle unit; so blocks go one by one. The xor between blocks is folded into the last round key as in `aesni`.

use std::arch::asm;
use std::arch::x86_64::*;
use std::array::from_fn;

use super::group::{FOLDED, KeyTable, Slots};
use crate::BLOCK;
use crate::lane::Strand;

/// Encrypts the first `bytes` bytes of 1 to 12 strands.
///
/// # Safety
///
/// `bytes` is a multiple of 16, not 0, and no longer than any strand's data.
#[target_feature(enable = "aes,avx2,vaes")]
pub(super) unsafe fn run(group: &mut [Strand<'_>], bytes: usize) {
    // SAFETY: the caller's promise is passed on, and each arm has a slot for each strand.
    unsafe {
        match group.len() {
            1..=2 => chains::<1, 2>(group, bytes),
            3..=4 => chains::<2, 4>(group, bytes),
            5..=6 => chains::<3, 6>(group, bytes),
            7..=8 => chains::<4, 8>(group, bytes),
            9..=10 => chains::<5, 10>(group, bytes),
            _ => chains::<6, 12>(group, bytes),
        }
    }
}

/// V registers for N = 2V slots.
///
/// # Safety
///
/// As `run`, and the group has at most N strands.
#[target_feature(enable = "aes,avx2,vaes")]
unsafe fn chains<const V: usize, const N: usize>(group: &mut [Strand<'_>], bytes: usize) {
    const { assert!(N == 2 * V) };
    let table = KeyTable::new(group, N);
    let mut slots = Slots::<N>::new(group);
    let key = |round: usize, v: usize| {
        // SAFETY: slots 2v and 2v+1 are two neighbouring u128 of the table.
        unsafe { _mm256_load_si256(table.row(round)[2 * v..].as_ptr().cast()) }
    };
    let load = |v: usize, at: usize| {
        // SAFETY: `at` is a multiple of 16 below `bytes`, which is no more than the strand's length.
        unsafe { _mm256_loadu2_m128i(slots.data[2 * v + 1].add(at).cast(), slots.data[2 * v].add(at).cast()) }
    };
    let store = |v: usize, at: usize, blocks: __m256i| {
        // SAFETY: as for `load`; the strand is borrowed mutably for the whole call.
        unsafe { _mm256_storeu2_m128i(slots.data[2 * v + 1].add(at).cast(), slots.data[2 * v].add(at).cast(), blocks) }
    };

    let mut state: [__m256i; V] = from_fn(|v| {
        // SAFETY: slots 2v and 2v+1 are two neighbouring u128.
        let chains = unsafe { _mm256_loadu_si256((&raw const slots.chains[2 * v..][..2]).cast()) };
        _mm256_xor_si256(_mm256_xor_si256(load(v, 0), chains), key(0, v))
    });
    let last = bytes - BLOCK;
    let mut at = 0;
    loop {
        middle_rounds!(ROUND => for v in 0..V {
            state[v] = in_order(_mm256_aesenc_epi128(state[v], key(ROUND, v)));
        });
        if at == last {
            break;
        }
        let next: [__m256i; V] = from_fn(|v| load(v, at + BLOCK));
        for v in 0..V {
            state[v] = in_order(_mm256_aesenclast_epi128(state[v], _mm256_xor_si256(next[v], key(FOLDED, v))));
            store(v, at, _mm256_xor_si256(state[v], _mm256_xor_si256(next[v], key(0, v))));
        }
        at += BLOCK;
    }
    for v in 0..V {
        let block = _mm256_aesenclast_epi128(state[v], key(10, v));
        store(v, at, block);
        // SAFETY: slots 2v and 2v+1 are two neighbouring u128.
        unsafe { _mm256_storeu_si256((&raw mut slots.chains[2 * v..][..2]).cast(), block) };
    }
    slots.close(group);
}

/// Keeps the rounds in the order in which they are written.
///
/// The compiler's scheduler would set each chain's rounds one behind the other, which fills the processor's scheduler
/// with instructions that wait. It does not move anything across this, which is no instruction.
#[inline]
#[target_feature(enable = "aes,avx2,vaes")]
fn in_order(mut state: __m256i) -> __m256i {
    // SAFETY: there is no instruction in it.
    unsafe { asm!("/* {0} */", inout(ymm_reg) state, options(nomem, nostack, preserves_flags)) };
    state
}
