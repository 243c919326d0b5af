//! Columns of sample numbers, packed.
//!
//! A film of three hours has 800,000 samples; as plain 64-bit numbers their times, sizes and places take 25 MB. But
//! the numbers of neighbours resemble each other: time stamps lie on a line, places rise with it, sizes have few bits. So
//! each block of [`BLOCK`] values is kept as a line (`base + slope * i`) and, for each value, its distance above that
//! line in as many bits as the block's largest one needs. A constant frame rate takes no bits at all. Any value is found by
//! one multiplication and one unaligned load, and a whole block is expanded in one pass.

use std::sync::Arc;

/// Values in a block. One block of 64-bit numbers fits half a kilobyte of L1.
pub const BLOCK: usize = 64;

/// A column of 64-bit numbers, packed, of any length. Never changes; a clone shares it.
#[derive(Clone, Debug, Default)]
pub struct Column(Arc<Packed>);

#[derive(Debug, Default)]
struct Packed {
    len: usize,
    blocks: Vec<Block>,
    /// The distances of all blocks, one block after the other, each starting at a whole word.
    words: Vec<u64>,
}

#[derive(Clone, Copy, Debug)]
struct Block {
    base: i64,
    slope: i64,
    /// First word of the block's distances.
    word: u32,
    bits: u32,
}

/// Packs a column value by value.
#[derive(Debug)]
pub struct ColumnBuilder {
    packed: Packed,
    pending: [i64; BLOCK],
    filled: usize,
}

impl Default for ColumnBuilder {
    fn default() -> Self {
        Self { packed: Packed::default(), pending: [0; BLOCK], filled: 0 }
    }
}

impl ColumnBuilder {
    /// Appends one value.
    #[inline]
    pub fn push(&mut self, value: i64) {
        self.pending[self.filled] = value;
        self.filled += 1;
        if self.filled == BLOCK {
            self.packed.pack(&self.pending);
            self.filled = 0;
        }
    }

    /// Appends `count` values, `step` apart from `first` on.
    pub fn push_line(&mut self, first: i64, step: i64, count: usize) {
        let (mut next, mut left) = (first, count);
        while left > 0 {
            let len = left.min(BLOCK - self.filled);
            if len == BLOCK {
                self.packed.pack_line(next, step);
                next = next.wrapping_add(step.wrapping_mul(BLOCK as i64));
            } else {
                for _ in 0..len {
                    self.push(next);
                    next = next.wrapping_add(step);
                }
            }
            left -= len;
        }
    }

    /// Appends `count` values, written by `fill`: it is told how many came before, and where the next ones belong.
    pub fn push_slices(&mut self, count: usize, mut fill: impl FnMut(usize, &mut [i64])) {
        let mut done = 0;
        while done < count {
            let len = (count - done).min(BLOCK - self.filled);
            fill(done, &mut self.pending[self.filled..self.filled + len]);
            self.filled += len;
            done += len;
            if self.filled == BLOCK {
                self.packed.pack(&self.pending);
                self.filled = 0;
            }
        }
    }

    /// Values so far.
    pub fn len(&self) -> usize {
        self.packed.len + self.filled
    }

    /// Whether nothing was pushed yet.
    pub fn is_empty(&self) -> bool {
        self.len() == 0
    }

    /// The packed column.
    pub fn finish(mut self) -> Column {
        if self.filled > 0 {
            let rest = self.pending;
            self.packed.pack(&rest[..self.filled]);
        }
        self.packed.blocks.shrink_to_fit();
        self.packed.words.shrink_to_fit();
        Column(Arc::new(self.packed))
    }
}

impl FromIterator<i64> for Column {
    fn from_iter<I: IntoIterator<Item = i64>>(values: I) -> Self {
        let mut builder = ColumnBuilder::default();
        for value in values {
            builder.push(value);
        }
        builder.finish()
    }
}

impl Column {
    /// Number of values.
    pub fn len(&self) -> usize {
        self.0.len
    }

    /// Whether the column has no value.
    pub fn is_empty(&self) -> bool {
        self.0.len == 0
    }

    /// Heap bytes held, once however many clones there are.
    pub fn nbytes(&self) -> usize {
        // An `Arc` counts its owners in two words.
        2 * size_of::<usize>()
            + size_of::<Packed>()
            + self.0.blocks.capacity() * size_of::<Block>()
            + self.0.words.capacity() * size_of::<u64>()
    }

    /// The value at `index`.
    ///
    /// # Panics
    /// Where `index` is not below [`Self::len`].
    #[inline]
    pub fn get(&self, index: usize) -> i64 {
        assert!(index < self.0.len, "column index {index} of {}", self.0.len);
        let block = &self.0.blocks[index / BLOCK];
        let i = index % BLOCK;
        let distance = if block.bits == 0 { 0 } else { self.distance(block, i) };
        block.at(i, distance)
    }

    /// Expands the block that begins at value `block * BLOCK` into `out`; returns how many values it has.
    ///
    /// # Panics
    /// Where there is no such block.
    pub fn expand_block(&self, block: usize, out: &mut [i64; BLOCK]) -> usize {
        let b = &self.0.blocks[block];
        let len = (self.0.len - block * BLOCK).min(BLOCK);
        if b.bits == 0 {
            for (i, value) in out[..len].iter_mut().enumerate() {
                *value = b.at(i, 0);
            }
        } else {
            // One bounds check for the block; `pack` leaves a spare word behind it.
            let words = &self.0.words[b.word as usize..][..(len * b.bits as usize).div_ceil(64) + 1];
            let mask = u64::MAX >> (64 - b.bits);
            for (i, value) in out[..len].iter_mut().enumerate() {
                let bit = i * b.bits as usize;
                let (low, high) = (words[bit / 64], words[bit / 64 + 1]);
                // Shifted in two steps: by 64 in one would be an overflow.
                let distance = low >> (bit % 64) | high << 1 << (63 - bit % 64);
                *value = b.at(i, distance & mask);
            }
        }
        len
    }

    /// Expands `first..first + out.len()` into `out`.
    ///
    /// # Panics
    /// Where the range runs past the end.
    pub fn expand(&self, first: usize, out: &mut [i64]) {
        let mut buffer = [0; BLOCK];
        let (mut at, mut done) = (first, 0);
        while done < out.len() {
            let len = self.expand_block(at / BLOCK, &mut buffer);
            let skip = at % BLOCK;
            let take = (len - skip).min(out.len() - done);
            assert!(take > 0, "column range past its end");
            out[done..done + take].copy_from_slice(&buffer[skip..skip + take]);
            done += take;
            at += take;
        }
    }

    /// The first index in `0..len` whose value is at least `value`, in a column that never falls; `len` if there is none.
    pub fn lower_bound(&self, value: i64) -> usize {
        let (mut low, mut high) = (0, self.0.len);
        while low < high {
            let middle = low + (high - low) / 2;
            if self.get(middle) < value {
                low = middle + 1;
            } else {
                high = middle;
            }
        }
        low
    }

    #[inline]
    fn distance(&self, block: &Block, i: usize) -> u64 {
        let bit = i * block.bits as usize;
        let word = block.word as usize + bit / 64;
        let shift = bit % 64;
        let low = self.0.words[word] >> shift;
        // `pack` ends the column with a spare word, so the next one is always there.
        let high = if shift == 0 { 0 } else { self.0.words[word + 1] << (64 - shift) };
        (low | high) & (u64::MAX >> (64 - block.bits))
    }
}

impl Packed {
    fn pack(&mut self, values: &[i64]) {
        let count = values.len();
        let base = values[0];
        let slope = if count > 1 { values[count - 1].wrapping_sub(base) / (count as i64 - 1) } else { 0 };
        // All arithmetic wraps: whatever the line, adding the distance gives the value back modulo 2^64.
        let mut distances = [0i64; BLOCK];
        let distances = &mut distances[..count];
        let (mut line, mut lowest) = (base, i64::MAX);
        for (distance, &value) in distances.iter_mut().zip(values) {
            *distance = value.wrapping_sub(line);
            lowest = lowest.min(*distance);
            line = line.wrapping_add(slope);
        }
        let above = |distance: i64| distance.wrapping_sub(lowest) as u64;
        let bits = 64 - distances.iter().fold(0, |all, &distance| all | above(distance)).leading_zeros();
        self.words.pop();
        // A column of 2^32 words would stand for a movie box of many gigabytes; `limits.rs` caps it far below.
        self.blocks.push(Block { base: base.wrapping_add(lowest), slope, word: self.words.len() as u32, bits });
        self.len += count;
        if bits > 0 {
            let mut values = [0; BLOCK];
            values.iter_mut().zip(&*distances).for_each(|(value, &distance)| *value = above(distance));
            // As many values at once as fit a word: only joining them to words has to go one after the other.
            let packed = match bits {
                0..=16 => join::<4>(&values, bits),
                17..=32 => join::<2>(&values, bits),
                _ => join::<1>(&values, bits),
            };
            self.words.extend_from_slice(&packed[..(count * bits as usize).div_ceil(64)]);
        }
        self.words.push(0);
    }

    /// A block of values that lie on a line.
    fn pack_line(&mut self, base: i64, slope: i64) {
        self.blocks.push(Block { base, slope, word: 0, bits: 0 });
        self.len += BLOCK;
    }
}

/// Values of `bits` bits one after the other, lowest bits first; `TOGETHER` of them fit a word.
fn join<const TOGETHER: usize>(values: &[u64; BLOCK], bits: u32) -> [u64; BLOCK] {
    let mut joined = [0; BLOCK];
    let width = bits * TOGETHER as u32;
    let (groups, _) = values.as_chunks::<TOGETHER>();
    let (mut word, mut at, mut filled) = (0u64, 0, 0u32);
    for group in groups {
        let value = group.iter().rev().fold(0, |all, value| if TOGETHER == 1 { *value } else { all << bits | value });
        word |= value << filled;
        joined[at] = word;
        // What found no room, shifted in two steps since a shift by 64 is none. No branch depends on where in a word a value
        // begins.
        let rest = value >> 1 >> (63 - filled);
        filled += width;
        let full = filled >= 64;
        word = if full { rest } else { word };
        // A block of any width ends with a word, so nothing is left over.
        at = (at + usize::from(full)).min(BLOCK - 1);
        filled &= 63;
    }
    joined
}

impl Block {
    #[inline]
    fn at(&self, i: usize, distance: u64) -> i64 {
        self.base.wrapping_add(self.slope.wrapping_mul(i as i64)).wrapping_add(distance as i64)
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    fn check(values: &[i64]) -> Column {
        let column: Column = values.iter().copied().collect();
        assert_eq!(column.len(), values.len());
        let mut out = vec![0; values.len()];
        column.expand(0, &mut out);
        assert_eq!(out, values);
        assert!(values.iter().enumerate().all(|(i, &v)| column.get(i) == v));
        if values.len() > 70 {
            let mut part = vec![0; values.len() - 70];
            column.expand(65, &mut part);
            assert_eq!(part, values[65..values.len() - 5]);
        }
        column
    }

    #[test]
    fn gives_back_what_was_packed() {
        check(&[]);
        check(&[7]);
        check(&[i64::MIN, i64::MAX, 0, -1]);
        let mut state = 1u64;
        for bits in 0..64 {
            let values: Vec<i64> = (0..300)
                .map(|i| {
                    state = state.wrapping_mul(6364136223846793005).wrapping_add(1442695040888963407);
                    (i * 3003) + (state >> (63 - bits) >> 1) as i64
                })
                .collect();
            check(&values);
        }
    }

    #[test]
    fn lines_and_slices_are_values() {
        let mut builder = ColumnBuilder::default();
        let mut values = Vec::new();
        for (i, count) in [3usize, 0, 61, 64, 200, 1, 63, 130].into_iter().enumerate() {
            let (first, step) = (i as i64 * 1000 - 3, i as i64 - 4);
            builder.push_line(first, step, count);
            values.extend((0..count as i64).map(|j| first + step * j));
            builder.push_slices(count, |done, out| {
                out.iter_mut().zip(done as i64..).for_each(|(value, j)| *value = j * j);
            });
            values.extend((0..count as i64).map(|j| j * j));
            assert_eq!(builder.len(), values.len());
        }
        let column = builder.finish();
        let mut out = vec![0; values.len()];
        column.expand(0, &mut out);
        assert_eq!(out, values);
        assert!(values.iter().enumerate().all(|(i, &value)| column.get(i) == value));
        let mut edge = ColumnBuilder::default();
        edge.push_line(i64::MAX, i64::MIN, 128);
        assert_eq!((edge.len(), edge.finish().get(127)), (128, -1));
    }

    #[test]
    fn a_constant_frame_rate_takes_no_bits() {
        let values: Vec<i64> = (0..100_000).map(|i| 90_000 + i * 3003).collect();
        let column = check(&values);
        assert!(column.nbytes() < values.len() / 2, "{} bytes", column.nbytes());
    }

    #[test]
    fn lower_bound_is_the_first_not_below() {
        let column: Column = [1, 3, 3, 9].into_iter().collect();
        let bounds = [0, 1, 2, 3, 4, 9, 10].map(|value| column.lower_bound(value));
        assert_eq!(bounds, [0, 0, 1, 1, 3, 3, 4]);
    }
}
