//! A log that only grows, so that nothing of it can be changed unseen: the Merkle tree of RFC 9162 section 2.1.
//!
//! # Theory
//!
//! The root of n leaves is one hash over all of them. Who knows the root of n, signed, can be shown that an event is in it
//! (inclusion), and that a later root has the same n leaves first (consistency), by about log2 n hashes each. An event is
//! hashed behind 16 random bytes: a hash alone tells nothing of an event that was erased.
//!
//! It is the RFC's own recursion, on SHA-256 of the crate `sha2`, tested with published trees. Of the crates that are
//! kept, `ct-merkle` holds all leaves, and as values, so of an erased one no tree could be made again; `tlog_tiles` wants
//! another storage and brings JSON, base64 and URLs along; `siglog` is a server.
//!
//! Leaves are numbered from 0. Several inclusions share what they have in common: the RFC's recursion for one leaf is done for
//! a set of them, and for a set of one it gives the RFC's proof, hash by hash. Which parts a proof has a root over is known by
//! numbers alone, so whoever keeps a log elsewhere than in memory reads no more of it than that.

use std::fmt;

use sha2::{Digest, Sha256};

/// SHA-256.
pub type Hash = [u8; 32];

/// Bytes of a salt.
pub const SALT: usize = 16;

/// What was to be proven does not follow.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub struct Unproven(&'static str);

impl fmt::Display for Unproven {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.write_str(self.0)
    }
}

impl std::error::Error for Unproven {}

/// The leaf of an event, which is hashed behind its salt.
#[must_use]
pub fn leaf_hash(salt: &[u8; SALT], event: &[u8]) -> Hash {
    Sha256::new().chain_update([0]).chain_update(salt).chain_update(event).finalize().into()
}

fn parent(left: &Hash, right: &Hash) -> Hash {
    let mut both = [1; 65];
    both[1..33].copy_from_slice(left);
    both[33..].copy_from_slice(right);
    Sha256::digest(both).into()
}

fn empty_root() -> Hash {
    Sha256::digest([]).into()
}

/// The largest power of two below a number above 1.
fn split(size: u64) -> u64 {
    1 << (size - 1).ilog2()
}

/// All of a log that is needed to go on with it: the roots of its complete subtrees, the largest first, one for each bit of its
/// size.
#[derive(Clone, Debug, Default, PartialEq, Eq)]
pub struct Frontier {
    size: u64,
    roots: Vec<Hash>,
}

impl Frontier {
    /// How many leaves there are.
    #[must_use]
    pub fn size(&self) -> u64 {
        self.size
    }

    /// Adds a leaf.
    pub fn push(&mut self, leaf: Hash) {
        let mut made = leaf;
        for _ in 0..self.size.trailing_ones() {
            let left = self.roots.pop().expect("one for each bit");
            made = parent(&left, &made);
        }
        self.roots.push(made);
        self.size += 1;
    }

    /// The root of all leaves.
    #[must_use]
    pub fn root(&self) -> Hash {
        let Some((last, larger)) = self.roots.split_last() else { return empty_root() };
        larger.iter().rfold(*last, |right, left| parent(left, &right))
    }

    /// As bytes: the size, big-endian, and the roots.
    #[must_use]
    pub fn store(&self) -> Vec<u8> {
        [&self.size.to_be_bytes(), self.roots.as_flattened()].concat()
    }

    /// What was stored, or `None` for any other bytes.
    #[must_use]
    pub fn load(bytes: &[u8]) -> Option<Self> {
        let (size, roots) = bytes.split_first_chunk()?;
        let size = u64::from_be_bytes(*size);
        let (roots, rest) = roots.as_chunks();
        // Nobody counts to 2^63.
        let is_sound = rest.is_empty() && roots.len() == size.count_ones() as usize && size >> 63 == 0;
        is_sound.then(|| Self { size, roots: roots.to_vec() })
    }
}

/// The leaves of a log as hashes, and with them all complete subtrees: what proofs are made of.
#[derive(Clone, Debug, Default)]
pub struct LeafHashes {
    /// The roots of the complete subtrees of 2^n leaves, from left to right.
    levels: Vec<Vec<Hash>>,
}

impl LeafHashes {
    /// How many leaves there are.
    #[must_use]
    pub fn size(&self) -> u64 {
        self.levels.first().map_or(0, |leaves| leaves.len() as u64)
    }

    /// Adds a leaf.
    pub fn push(&mut self, leaf: Hash) {
        let mut made = leaf;
        for level in 0.. {
            if level == self.levels.len() {
                self.levels.push(Vec::new());
            }
            let nodes = &mut self.levels[level];
            nodes.push(made);
            match nodes.as_slice() {
                [.., left, right] if nodes.len().is_multiple_of(2) => made = parent(left, right),
                _ => return,
            }
        }
    }

    /// The root of the first leaves, or `None` where there are fewer.
    #[must_use]
    pub fn root(&self, size: u64) -> Option<Hash> {
        match size {
            0 => Some(empty_root()),
            _ => (size <= self.size()).then(|| self.range(0, size)),
        }
    }

    /// The hashes of [`inclusion_parts`], or `None` also where there are not as many leaves.
    #[must_use]
    pub fn inclusion(&self, size: u64, leaves: &[u64]) -> Option<Vec<Hash>> {
        self.over(inclusion_parts(size, leaves)?, size)
    }

    /// The hashes of [`consistency_parts`], or `None` also where there are not as many leaves.
    #[must_use]
    pub fn consistency(&self, old: u64, new: u64) -> Option<Vec<Hash>> {
        self.over(consistency_parts(old, new)?, new)
    }

    fn over(&self, parts: Vec<Part>, size: u64) -> Option<Vec<Hash>> {
        (size <= self.size()).then(|| parts.into_iter().map(|(from, to)| self.range(from, to)).collect())
    }

    /// The root over a part.
    fn range(&self, from: u64, to: u64) -> Hash {
        let size = to - from;
        if size.is_power_of_two() {
            let level = size.ilog2();
            return self.levels[level as usize][(from >> level) as usize];
        }
        let middle = from + split(size);
        parent(&self.range(from, middle), &self.range(middle, to))
    }
}

/// The leaves from one place to before another, over which a proof has one root. The first is a multiple of the power of two that
/// is not below their number.
pub type Part = (u64, u64);

/// What proves that these leaves are among the first `size`: for one of them RFC 9162 section 2.1.3.1, for several what they do
/// not have in common. `None` unless there are some, ascending and below `size`.
#[must_use]
pub fn inclusion_parts(size: u64, leaves: &[u64]) -> Option<Vec<Part>> {
    let mut parts = Vec::new();
    are_places(size, leaves.iter().copied()).then(|| paths(0, size, leaves, &mut parts))?;
    Some(parts)
}

fn paths(from: u64, to: u64, leaves: &[u64], parts: &mut Vec<Part>) {
    if to - from == 1 {
        return;
    }
    let middle = from + split(to - from);
    let (left, right) = leaves.split_at(leaves.partition_point(|&leaf| leaf < middle));
    if !left.is_empty() {
        paths(from, middle, left, parts);
    }
    if right.is_empty() {
        parts.push((middle, to));
    } else {
        paths(middle, to, right, parts);
    }
    if left.is_empty() {
        parts.push((from, middle));
    }
}

/// What proves that the first `new` leaves begin with the first `old`: RFC 9162 section 2.1.4.1. `None` where `old` is above `new`.
#[must_use]
pub fn consistency_parts(old: u64, new: u64) -> Option<Vec<Part>> {
    if old > new {
        return None;
    }
    let mut parts = Vec::new();
    if old > 0 && old < new {
        subproof(old, 0, new, true, &mut parts);
    }
    Some(parts)
}

fn subproof(old: u64, from: u64, to: u64, is_known: bool, parts: &mut Vec<Part>) {
    if old == to - from {
        if !is_known {
            parts.push((from, to));
        }
        return;
    }
    let half = split(to - from);
    let middle = from + half;
    if old <= half {
        subproof(old, from, middle, is_known, parts);
        parts.push((middle, to));
    } else {
        subproof(old - half, middle, to, false, parts);
        parts.push((from, middle));
    }
}

fn are_places(size: u64, leaves: impl Iterator<Item = u64> + Clone) -> bool {
    let last = leaves.clone().last();
    last.is_some_and(|last| last < size) && leaves.is_sorted_by(|one, next| one < next)
}

/// Whether these leaves, by their places, are in a log of that size and root, by a proof of [`LeafHashes::inclusion`].
///
/// # Errors
/// [`Unproven`] where that does not follow from the proof.
pub fn check_inclusion(log: (u64, &Hash), leaves: &[(u64, Hash)], proof: &[Hash]) -> Result<(), Unproven> {
    let (size, root) = log;
    if !are_places(size, leaves.iter().map(|(place, _)| *place)) {
        return Err(Unproven("the places of the leaves are none of this log, or not in order"));
    }
    let mut proof = proof.iter();
    let made = root_over(0, size, leaves, &mut proof)?;
    if proof.next().is_some() {
        return Err(LONG);
    }
    if made != *root {
        return Err(Unproven("the leaves are not in the log"));
    }
    Ok(())
}

const SHORT: Unproven = Unproven("the proof is too short");
const LONG: Unproven = Unproven("the proof is too long");

fn root_over(
    from: u64,
    to: u64,
    leaves: &[(u64, Hash)],
    proof: &mut std::slice::Iter<'_, Hash>,
) -> Result<Hash, Unproven> {
    if to - from == 1 {
        return Ok(leaves[0].1);
    }
    let middle = from + split(to - from);
    let (left, right) = leaves.split_at(leaves.partition_point(|&(place, _)| place < middle));
    let (left, right) = if left.is_empty() {
        let right = root_over(middle, to, right, proof)?;
        (*proof.next().ok_or(SHORT)?, right)
    } else if right.is_empty() {
        let left = root_over(from, middle, left, proof)?;
        (left, *proof.next().ok_or(SHORT)?)
    } else {
        (root_over(from, middle, left, proof)?, root_over(middle, to, right, proof)?)
    };
    Ok(parent(&left, &right))
}

/// Whether a log that once had the root `old` has grown to have the root `new`: RFC 9162 section 2.1.4.2.
///
/// # Errors
/// [`Unproven`] where that does not follow from the proof.
pub fn check_consistency(old: (u64, &Hash), new: (u64, &Hash), proof: &[Hash]) -> Result<(), Unproven> {
    let mut proof = proof.iter();
    let roots = match (old.0, new.0) {
        (old, new) if old > new => return Err(Unproven("the log has become shorter")),
        (0, _) => (empty_root(), *new.1),
        (same, other) if same == other => (*new.1, *new.1),
        (size, grown) => roots_over(size, grown, Some(old.1), &mut proof)?,
    };
    if proof.next().is_some() {
        return Err(LONG);
    }
    if roots != (*old.1, *new.1) {
        return Err(Unproven("the earlier log is not the beginning of the later one"));
    }
    Ok(())
}

/// Both roots over a part that has `old` leaves of the earlier log, and `size` in all. Where these are the whole earlier log, its
/// root is `known`.
fn roots_over(
    old: u64,
    size: u64,
    known: Option<&Hash>,
    proof: &mut std::slice::Iter<'_, Hash>,
) -> Result<(Hash, Hash), Unproven> {
    if old == size {
        let same = *known.or_else(|| proof.next()).ok_or(SHORT)?;
        return Ok((same, same));
    }
    let half = split(size);
    if old <= half {
        let (before, after) = roots_over(old, half, known, proof)?;
        let right = proof.next().ok_or(SHORT)?;
        return Ok((before, parent(&after, right)));
    }
    let (before, after) = roots_over(old - half, size - half, None, proof)?;
    let left = proof.next().ok_or(SHORT)?;
    Ok((parent(left, &before), parent(left, &after)))
}
