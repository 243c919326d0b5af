//! AES-NI: one block a register.
//!
//! `aesenc` has a latency of 3 or 4 cycles and two units, so 6 to 8 chains keep the units busy.
//!
//! The xor between two blocks of a chain would add a cycle of latency to each. It is folded into the last round key:
//! with next = p(n+1) ^ k0, `aesenclast(state, k10 ^ next)` is c(n) ^ next, the state with which block n+1 begins; and
//! c(n) is that ^ next, off the critical path.

use std::arch::asm;
use std::arch::x86_64::*;
use std::array::from_fn;

use super::group::{FOLDED, KeyTable, Slots};
use crate::BLOCK;
use crate::lane::Strand;

/// Encrypts the first `bytes` bytes of 1 to 8 strands.
///
/// # Safety
///
/// `bytes` is a multiple of 16, not 0, and no longer than any strand's data.
#[target_feature(enable = "aes,avx")]
pub(super) unsafe fn run(group: &mut [Strand<'_>], bytes: usize) {
    // SAFETY: the caller's promise is passed on, and each arm has a slot for each strand.
    unsafe {
        match group.len() {
            1 => chains::<1>(group, bytes),
            2 => chains::<2>(group, bytes),
            3 => chains::<3>(group, bytes),
            4 => chains::<4>(group, bytes),
            5 => chains::<5>(group, bytes),
            6 => chains::<6>(group, bytes),
            7 => chains::<7>(group, bytes),
            _ => chains::<8>(group, bytes),
        }
    }
}

/// # Safety
///
/// As `run`, and the group has at most N strands.
#[target_feature(enable = "aes,avx")]
unsafe fn chains<const N: usize>(group: &mut [Strand<'_>], bytes: usize) {
    let table = KeyTable::new(group, N);
    let mut slots = Slots::<N>::new(group);
    let load = |lane: usize, at: usize| {
        // SAFETY: `at` is a multiple of 16 below `bytes`, which is no more than the strand's length.
        unsafe { _mm_loadu_si128(slots.data[lane].add(at).cast()) }
    };
    let store = |lane: usize, at: usize, block: __m128i| {
        // SAFETY: as for `load`; the strand is borrowed mutably for the whole call.
        unsafe { _mm_storeu_si128(slots.data[lane].add(at).cast(), block) }
    };
    let table_key = |round: usize, lane: usize| {
        // SAFETY: a u128 of the table is 16 bytes, aligned to 16.
        unsafe { _mm_load_si128((&raw const table.row(round)[lane]).cast()) }
    };
    // The keys of one lane fit into registers; those of several are memory operands.
    let registers: [__m128i; 12] = from_fn(|round| table_key(round, 0));
    let key = |round: usize, lane: usize| if N == 1 { registers[round] } else { table_key(round, lane) };

    let mut state: [__m128i; N] = from_fn(|lane| {
        // SAFETY: a u128 of the table is 16 bytes, aligned to 16.
        let chain = unsafe { _mm_load_si128((&raw const slots.chains[lane]).cast()) };
        _mm_xor_si128(_mm_xor_si128(load(lane, 0), chain), key(0, lane))
    });
    let last = bytes - BLOCK;
    let mut at = 0;
    loop {
        middle_rounds!(ROUND => for lane in 0..N {
            state[lane] = in_order(_mm_aesenc_si128(state[lane], key(ROUND, lane)));
        });
        if at == last {
            break;
        }
        for lane in 0..N {
            let next = load(lane, at + BLOCK);
            state[lane] = in_order(_mm_aesenclast_si128(state[lane], _mm_xor_si128(next, key(FOLDED, lane))));
            store(lane, at, _mm_xor_si128(state[lane], _mm_xor_si128(next, key(0, lane))));
        }
        at += BLOCK;
    }
    for lane in 0..N {
        let block = _mm_aesenclast_si128(state[lane], key(10, lane));
        store(lane, at, block);
        // SAFETY: a u128 is 16 bytes, aligned to 16.
        unsafe { _mm_store_si128((&raw mut slots.chains[lane]).cast(), block) };
    }
    slots.close(group);
}

/// Keeps the rounds in the order in which they are written.
///
/// The compiler's scheduler would set each chain's rounds one behind the other, which fills the processor's scheduler
/// with instructions that wait. It does not move anything across this, which is no instruction.
#[inline]
#[target_feature(enable = "aes,avx")]
fn in_order(mut state: __m128i) -> __m128i {
    // SAFETY: there is no instruction in it.
    unsafe { asm!("/* {0} */", inout(xmm_reg) state, options(nomem, nostack, preserves_flags)) };
    state
}
