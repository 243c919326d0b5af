//! AArch64's AES extension: one block a register.
//!
//! `AESE` xors the round key first and then does SubBytes and ShiftRows; `AESMC` behind it does MixColumns, and cores
//! fuse the pair. So the xor between two blocks of a lane folds into the first round key: `AESE(s, k0 ^ k10 ^ p)`, with
//! s the last block before its k10 and p the next plaintext, is what `AESE(c ^ p, k0)` is, one operation earlier.

use std::arch::aarch64::*;
use std::arch::asm;
use std::array::from_fn;

use super::group::{FOLDED, KeyTable, Slots};
use crate::BLOCK;
use crate::lane::Strand;

/// Encrypts the first `bytes` bytes of 1 to 8 strands.
///
/// # Safety
///
/// `bytes` is a multiple of 16, not 0, and no longer than any strand's data.
#[target_feature(enable = "aes")]
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
#[target_feature(enable = "aes")]
unsafe fn chains<const N: usize>(group: &mut [Strand<'_>], bytes: usize) {
    let table = KeyTable::new(group, N);
    let mut slots = Slots::<N>::new(group);
    let load = |lane: usize, at: usize| {
        // SAFETY: `at` is a multiple of 16 below `bytes`, which is no more than the strand's length.
        unsafe { vld1q_u8(slots.data[lane].add(at)) }
    };
    let store = |lane: usize, at: usize, block: uint8x16_t| {
        // SAFETY: as for `load`; the strand is borrowed mutably for the whole call.
        unsafe { vst1q_u8(slots.data[lane].add(at), block) }
    };
    let table_key = |round: usize, lane: usize| {
        // SAFETY: a u128 of the table is 16 bytes.
        unsafe { vld1q_u8((&raw const table.row(round)[lane]).cast()) }
    };
    // The keys of one lane fit into registers; those of several are loads.
    let registers: [uint8x16_t; 12] = from_fn(|round| table_key(round, 0));
    let key = |round: usize, lane: usize| if N == 1 { registers[round] } else { table_key(round, lane) };

    // The key of the first AESE: whatever is xored into the state before its first SubBytes.
    let mut enter: [uint8x16_t; N] = from_fn(|lane| veorq_u8(load(lane, 0), key(0, lane)));
    let mut state: [uint8x16_t; N] = from_fn(|lane| {
        // SAFETY: a u128 is 16 bytes.
        unsafe { vld1q_u8((&raw const slots.chains[lane]).cast()) }
    });
    let last = bytes - BLOCK;
    let mut at = 0;
    loop {
        for lane in 0..N {
            state[lane] = vaesmcq_u8(vaeseq_u8(state[lane], enter[lane]));
        }
        middle_rounds!(ROUND => for lane in 0..N {
            let round = vaeseq_u8(state[lane], key(ROUND, lane));
            state[lane] = in_order(if ROUND < 9 { vaesmcq_u8(round) } else { round });
        });
        if at == last {
            break;
        }
        enter = from_fn(|lane| veorq_u8(load(lane, at + BLOCK), key(FOLDED, lane)));
        for lane in 0..N {
            store(lane, at, veorq_u8(state[lane], key(10, lane)));
        }
        at += BLOCK;
    }
    for lane in 0..N {
        let block = veorq_u8(state[lane], key(10, lane));
        store(lane, at, block);
        // SAFETY: a u128 is 16 bytes.
        unsafe { vst1q_u8((&raw mut slots.chains[lane]).cast(), block) };
    }
    slots.close(group);
}

/// Keeps the rounds in the order in which they are written, as in `aesni`.
#[inline]
#[target_feature(enable = "aes")]
fn in_order(mut state: uint8x16_t) -> uint8x16_t {
    // SAFETY: there is no instruction in it.
    unsafe { asm!("/* {0:v} */", inout(vreg) state, options(nomem, nostack, preserves_flags)) };
    state
}
