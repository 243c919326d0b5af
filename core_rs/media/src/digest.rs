//! Digests by which equal things are found: 128 bits, under keys that the process has drawn by itself, so that no file can be made
//! to have another one's.

use std::hash::{BuildHasher, DefaultHasher, Hasher, RandomState};
use std::sync::LazyLock;

static KEYS: LazyLock<[RandomState; 2]> = LazyLock::new(|| [RandomState::new(), RandomState::new()]);

/// A digest on its way. It means nothing to another process.
pub(crate) struct Digest([DefaultHasher; 2]);

impl Digest {
    pub(crate) fn new() -> Self {
        Self(KEYS.each_ref().map(BuildHasher::build_hasher))
    }

    pub(crate) fn end(&self) -> u128 {
        let [high, low] = self.0.each_ref().map(|half| u128::from(half.finish()));
        high << 64 | low
    }
}

/// What is hashed is hashed under both keys.
impl Hasher for Digest {
    fn write(&mut self, bytes: &[u8]) {
        self.0.iter_mut().for_each(|half| half.write(bytes));
    }

    fn finish(&self) -> u64 {
        self.0[0].finish()
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn both_halves_know_all_that_was_written() {
        let of = |bytes: &[u8]| {
            let mut digest = Digest::new();
            digest.write(bytes);
            digest.end()
        };
        assert_eq!(of(b"film"), of(b"film"));
        let (film, mill) = (of(b"film"), of(b"mill"));
        assert!(film as u64 != mill as u64 && film >> 64 != mill >> 64 && film as u64 != (film >> 64) as u64);
    }
}
