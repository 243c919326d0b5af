//! VAES with AVX-512: the blocks of four lanes in each register.
//!
//! One unit starts a 512-bit `vaesenc` each cycle, with a latency of 3 or 4, so 8 lanes take no longer than one, and
//! three registers (12 lanes) fill the unit. Four were slower: their blocks do not stay in registers. Groups of up to
//! 6 lanes are as fast with 256-bit registers, which leave less of the register empty.
//!
//! Work goes in pieces of 64 bytes a lane. One load brings four consecutive blocks of one lane; four such loads make a
//! 4 × 4 matrix of blocks, whose transposition is four registers, each with block n of all four lanes. Ciphertext goes
//! back the same way. That is two shuffles a register each way, on a unit that AES does not use, and one load and one
//! store for each cache line.

use std::arch::asm;
use std::arch::x86_64::*;
use std::array::from_fn;

use super::group::{FOLDED, KeyTable, Slots};
use super::vaes256;
use crate::BLOCK;
use crate::lane::Strand;

/// Bytes of a lane in one piece of work.
const PIECE: usize = 4 * BLOCK;

/// Encrypts the first `bytes` bytes of 1 to 12 strands.
///
/// # Safety
///
/// `bytes` is a multiple of 16, not 0, and no longer than any strand's data.
#[target_feature(enable = "aes,avx2,avx512f,vaes")]
pub(super) unsafe fn run(group: &mut [Strand<'_>], bytes: usize) {
    // SAFETY: the caller's promise is passed on, and each arm has a slot for each strand.
    unsafe {
        match group.len() {
            1..=6 => vaes256::run(group, bytes),
            7..=8 => chains::<2, 8>(group, bytes),
            _ => chains::<3, 12>(group, bytes),
        }
    }
}

/// V registers for N = 4V slots.
///
/// # Safety
///
/// As `run`, and the group has at most N strands.
#[target_feature(enable = "avx512f,vaes")]
unsafe fn chains<const V: usize, const N: usize>(group: &mut [Strand<'_>], bytes: usize) {
    const { assert!(N == 4 * V) };
    let table = KeyTable::new(group, N);
    let mut slots = Slots::<N>::new(group);
    let key = |round: usize, v: usize| {
        // SAFETY: slots 4v to 4v+3 are four neighbouring u128 of the table.
        unsafe { _mm512_load_si512(table.row(round)[4 * v..].as_ptr().cast()) }
    };
    let load = |lane: usize, at: usize| {
        // SAFETY: the piece ends at or before `bytes`, which is no more than the strand's length.
        unsafe { _mm512_loadu_si512(slots.data[lane].add(at).cast()) }
    };
    let store = |lane: usize, at: usize, blocks: __m512i| {
        // SAFETY: as for `load`; the strand is borrowed mutably for the whole call.
        unsafe { _mm512_storeu_si512(slots.data[lane].add(at).cast(), blocks) }
    };

    let mut chain: [__m512i; V] = from_fn(|v| {
        // SAFETY: slots 4v to 4v+3 are four neighbouring u128.
        unsafe { _mm512_loadu_si512((&raw const slots.chains[4 * v..][..4]).cast()) }
    });
    let mut at = 0;
    while at + PIECE <= bytes {
        let mut blocks: [[__m512i; 4]; V] = from_fn(|v| transpose(from_fn(|lane| load(4 * v + lane, at))));
        let mut state: [__m512i; V] = from_fn(|v| xor3(chain[v], blocks[v][0], key(0, v)));
        for n in 0..4 {
            middle_rounds!(ROUND => for v in 0..V {
                state[v] = in_order(_mm512_aesenc_epi128(state[v], key(ROUND, v)));
            });
            for v in 0..V {
                if n < 3 {
                    // The xor between blocks, folded into the last round key as in `aesni`.
                    let next = blocks[v][n + 1];
                    state[v] = in_order(_mm512_aesenclast_epi128(state[v], _mm512_xor_si512(next, key(FOLDED, v))));
                    blocks[v][n] = xor3(state[v], next, key(0, v));
                } else {
                    chain[v] = _mm512_aesenclast_epi128(state[v], key(10, v));
                    blocks[v][n] = chain[v];
                }
            }
        }
        for v in 0..V {
            for (lane, piece) in transpose(blocks[v]).into_iter().enumerate() {
                store(4 * v + lane, at, piece);
            }
        }
        at += PIECE;
    }
    while at < bytes {
        let mut state: [__m512i; V] = from_fn(|v| {
            // SAFETY: `at` is a multiple of 16 below `bytes`, which is no more than the strand's length.
            let plain = gather(from_fn(|lane| unsafe { _mm_loadu_si128(slots.data[4 * v + lane].add(at).cast()) }));
            xor3(plain, key(0, v), chain[v])
        });
        for round in 1..10 {
            for v in 0..V {
                state[v] = in_order(_mm512_aesenc_epi128(state[v], key(round, v)));
            }
        }
        for v in 0..V {
            chain[v] = _mm512_aesenclast_epi128(state[v], key(10, v));
            for (lane, block) in scatter(chain[v]).into_iter().enumerate() {
                // SAFETY: as for the load above.
                unsafe { _mm_storeu_si128(slots.data[4 * v + lane].add(at).cast(), block) };
            }
        }
        at += BLOCK;
    }
    for v in 0..V {
        // SAFETY: slots 4v to 4v+3 are four neighbouring u128.
        unsafe { _mm512_storeu_si512((&raw mut slots.chains[4 * v..][..4]).cast(), chain[v]) };
    }
    slots.close(group);
}

/// a ^ b ^ c in one instruction.
#[inline]
#[target_feature(enable = "avx512f")]
fn xor3(a: __m512i, b: __m512i, c: __m512i) -> __m512i {
    // The truth table of a three-input xor.
    _mm512_ternarylogic_epi64::<0x96>(a, b, c)
}

/// Transposes a 4 × 4 matrix of blocks. It is its own inverse.
#[inline]
#[target_feature(enable = "avx512f")]
fn transpose([a, b, c, d]: [__m512i; 4]) -> [__m512i; 4] {
    // 0x44 takes blocks 0 and 1 of both operands, 0xee blocks 2 and 3; 0x88 the even ones, 0xdd the odd ones.
    let ab01 = _mm512_shuffle_i64x2::<0x44>(a, b);
    let ab23 = _mm512_shuffle_i64x2::<0xee>(a, b);
    let cd01 = _mm512_shuffle_i64x2::<0x44>(c, d);
    let cd23 = _mm512_shuffle_i64x2::<0xee>(c, d);
    [
        _mm512_shuffle_i64x2::<0x88>(ab01, cd01),
        _mm512_shuffle_i64x2::<0xdd>(ab01, cd01),
        _mm512_shuffle_i64x2::<0x88>(ab23, cd23),
        _mm512_shuffle_i64x2::<0xdd>(ab23, cd23),
    ]
}

#[inline]
#[target_feature(enable = "avx512f")]
fn gather([a, b, c, d]: [__m128i; 4]) -> __m512i {
    let ab = _mm512_inserti32x4::<1>(_mm512_castsi128_si512(a), b);
    _mm512_inserti32x4::<3>(_mm512_inserti32x4::<2>(ab, c), d)
}

#[inline]
#[target_feature(enable = "avx512f")]
fn scatter(blocks: __m512i) -> [__m128i; 4] {
    [
        _mm512_extracti32x4_epi32::<0>(blocks),
        _mm512_extracti32x4_epi32::<1>(blocks),
        _mm512_extracti32x4_epi32::<2>(blocks),
        _mm512_extracti32x4_epi32::<3>(blocks),
    ]
}

/// Keeps the rounds in the order in which they are written.
///
/// The compiler's scheduler would set each chain's rounds one behind the other, which fills the processor's scheduler
/// with instructions that wait. It does not move anything across this, which is no instruction.
#[inline]
#[target_feature(enable = "avx512f,vaes")]
fn in_order(mut state: __m512i) -> __m512i {
    // SAFETY: there is no instruction in it.
    unsafe { asm!("/* {0} */", inout(zmm_reg) state, options(nomem, nostack, preserves_flags)) };
    state
}
