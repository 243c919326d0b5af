//! The kernels, and which of them this machine can run.
//!
//! A kernel takes a group of strands and a length, and encrypts that much of each, interleaved: round r of all lanes
//! before round r+1 of any. Each lane has its own key, so a round key is a load for every lane; kernels leave those
//! loads to the memory operand of the AES instruction.

#![allow(clippy::needless_range_loop, reason = "a lane's number indexes several arrays side by side")]

#[cfg(any(target_arch = "x86_64", target_arch = "aarch64"))]
#[macro_use]
mod group;
mod portable;

#[cfg(target_arch = "x86_64")]
mod aesni;
#[cfg(target_arch = "aarch64")]
mod armv8;
#[cfg(target_arch = "x86_64")]
mod vaes256;
#[cfg(target_arch = "x86_64")]
mod vaes512;

use crate::BLOCK;
use crate::lane::Strand;

/// One way to encrypt a group of lanes.
#[derive(Clone, Copy, Debug, Eq, PartialEq)]
pub enum Kernel {
    /// The `aes` crate, block by block. Runs everywhere.
    Portable,
    /// x86-64 with AES-NI and AVX: one block a register, 8 lanes.
    AesNi,
    /// x86-64 with VAES and AVX2: two lanes' blocks a register, 12 lanes.
    Vaes256,
    /// x86-64 with VAES and AVX-512: four lanes' blocks a register, 12 lanes.
    Vaes512,
    /// AArch64 with the AES extension: one block a register, 8 lanes.
    ArmV8,
}

impl Kernel {
    /// All kernels, the best last.
    const ALL: [Self; 5] = [Self::Portable, Self::AesNi, Self::ArmV8, Self::Vaes256, Self::Vaes512];

    /// The kernels that this machine can run, the fastest last.
    pub fn available() -> impl DoubleEndedIterator<Item = Self> {
        Self::ALL.into_iter().filter(|kernel| kernel.is_available())
    }

    /// The fastest kernel that this machine can run.
    pub fn best() -> Self {
        Self::available().next_back().unwrap_or(Self::Portable)
    }

    /// Whether this machine has the kernel's instructions. The standard library asks the processor once.
    pub fn is_available(self) -> bool {
        match self {
            Self::Portable => true,
            #[cfg(target_arch = "x86_64")]
            Self::AesNi => is_x86_feature_detected!("aes") && is_x86_feature_detected!("avx"),
            #[cfg(target_arch = "x86_64")]
            Self::Vaes256 => {
                Self::AesNi.is_available() && is_x86_feature_detected!("avx2") && is_x86_feature_detected!("vaes")
            }
            // Its small groups run on VAES-256.
            #[cfg(target_arch = "x86_64")]
            Self::Vaes512 => Self::Vaes256.is_available() && is_x86_feature_detected!("avx512f"),
            #[cfg(target_arch = "aarch64")]
            Self::ArmV8 => std::arch::is_aarch64_feature_detected!("aes"),
            _ => false,
        }
    }

    /// How many lanes the kernel interleaves: more gain nothing, fewer leave units idle.
    pub fn lanes(self) -> usize {
        self.costs().len()
    }

    /// `costs()[n - 1]` is the time a group of n lanes takes for one block of each, in tenths of a cycle.
    ///
    /// Measured with `examples/throughput.rs`, 64 KiB a lane, on a Xeon (Sapphire Rapids family, 2.96 GHz). Only the
    /// proportions matter, and only to choose how to group lanes. ARM was not measured; chains that wait for their own
    /// latency at every width are the assumption that interleaves all there are.
    pub(crate) fn costs(self) -> &'static [u16] {
        match self {
            Self::Portable => &[400],
            Self::AesNi => &[302, 302, 302, 354, 384, 407, 410, 426],
            Self::Vaes256 => &[302, 302, 302, 302, 302, 302, 350, 350, 415, 415, 456, 456],
            Self::Vaes512 => &[302, 302, 302, 302, 302, 302, 316, 316, 347, 347, 347, 347],
            Self::ArmV8 => &[400; 8],
        }
    }

    /// Encrypts the first `bytes` bytes of each strand. `Kernel::is_available` was asked before.
    pub(crate) fn run(self, group: &mut [Strand<'_>], bytes: usize) {
        // Kernels walk raw pointers on the strength of these.
        assert!((1..=self.lanes()).contains(&group.len()), "a kernel takes 1 to {} lanes", self.lanes());
        assert!(bytes.is_multiple_of(BLOCK) && bytes != 0, "a kernel takes whole blocks");
        assert!(group.iter().all(|strand| bytes <= strand.data.len()), "a kernel stays inside each buffer");
        match self {
            Self::Portable => portable::run(group, bytes),
            // SAFETY: `encrypt_with` takes no kernel that `is_available` refuses, and the asserts above are what
            // `run` asks for.
            #[cfg(target_arch = "x86_64")]
            Self::AesNi => unsafe { aesni::run(group, bytes) },
            // SAFETY: as above.
            #[cfg(target_arch = "x86_64")]
            Self::Vaes256 => unsafe { vaes256::run(group, bytes) },
            // SAFETY: as above.
            #[cfg(target_arch = "x86_64")]
            Self::Vaes512 => unsafe { vaes512::run(group, bytes) },
            // SAFETY: as above.
            #[cfg(target_arch = "aarch64")]
            Self::ArmV8 => unsafe { armv8::run(group, bytes) },
            #[allow(unreachable_patterns, reason = "on every architecture some kernels are another's")]
            _ => unreachable!("a kernel of another architecture is never available"),
        }
    }
}
