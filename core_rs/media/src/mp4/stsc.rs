//! Sample to chunk. Lives in `stbl`. ISO/IEC 14496-12 8.7.4.

use crate::Result;
use crate::reader::Reader;

/// How many samples each chunk has, and which sample entry they use.
#[derive(Clone, Copy, Debug)]
pub(super) struct Stsc<'a>(&'a [[u8; 12]]);

/// Chunks that are alike.
#[derive(Clone, Copy, Debug, Eq, PartialEq)]
pub(super) struct ChunkRun {
    /// Chunks, counted from 0.
    pub(super) first: u32,
    /// Chunk after the last one.
    pub(super) end: u32,
    pub(super) samples_per_chunk: u32,
    /// Index into `stsd`, counted from 1 as everywhere in the standard.
    pub(super) description: u32,
}

impl<'a> Stsc<'a> {
    /// Parses the content of the box. Chunks are numbered from 1, and runs rise.
    pub(super) fn parse(mut r: Reader<'a>) -> Result<Self> {
        r.full_box()?;
        let here = r;
        let rows: &[[u8; 12]] = r.table()?;
        let mut last = 0;
        for (i, row) in rows.iter().enumerate() {
            let first = first_chunk(row);
            if first <= last || i == 0 && first != 1 {
                return Err(here.malformed(format!("entry {} begins at chunk {first}, after chunk {last}", i + 1)));
            }
            last = first;
        }
        Ok(Self(rows))
    }

    /// The runs of a track of `chunks` chunks.
    pub(super) fn runs(&self, chunks: u32) -> impl Iterator<Item = ChunkRun> + use<'a> {
        let rows = self.0;
        rows.iter().enumerate().map_while(move |(i, row)| {
            let first = first_chunk(row) - 1;
            let end = rows.get(i + 1).map_or(chunks, |next| first_chunk(next) - 1).min(chunks);
            let word = |at: usize| u32::from_be_bytes([row[at], row[at + 1], row[at + 2], row[at + 3]]);
            (first < chunks).then(|| ChunkRun { first, end, samples_per_chunk: word(4), description: word(8) })
        })
    }
}

fn first_chunk(row: &[u8; 12]) -> u32 {
    u32::from_be_bytes([row[0], row[1], row[2], row[3]])
}

#[cfg(test)]
mod tests {
    use super::*;

    fn parse(rows: &[[u32; 3]], chunks: u32) -> Result<Vec<[u32; 4]>> {
        let mut bytes = vec![0; 4];
        bytes.extend((rows.len() as u32).to_be_bytes());
        bytes.extend(rows.iter().flatten().flat_map(|word| word.to_be_bytes()));
        let stsc = Stsc::parse(Reader::new(&bytes, 0))?;
        Ok(stsc.runs(chunks).map(|r| [r.first, r.end, r.samples_per_chunk, r.description]).collect())
    }

    #[test]
    fn runs_end_where_the_next_begins() {
        assert_eq!(parse(&[[1, 5, 1], [3, 4, 2]], 4).unwrap(), [[0, 2, 5, 1], [2, 4, 4, 2]]);
        assert_eq!(parse(&[[1, 5, 1], [9, 4, 2]], 4).unwrap(), [[0, 4, 5, 1]]);
        assert!(parse(&[], 4).unwrap().is_empty());
    }

    #[test]
    fn chunks_rise_from_one() {
        for rows in [&[[0, 5, 1]][..], &[[2, 5, 1]], &[[1, 5, 1], [1, 4, 1]], &[[1, 5, 1], [3, 4, 1], [2, 4, 1]]] {
            assert!(parse(rows, 4).is_err(), "{rows:?}");
        }
    }
}
