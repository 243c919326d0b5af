//! Sample sizes: `stsz` and `stz2`. Live in `stbl`. ISO/IEC 14496-12 8.7.3.

use crate::reader::Reader;
use crate::{Error, Result};

/// Bytes of each sample.
#[derive(Clone, Copy, Debug)]
pub(super) struct SampleSizes<'a> {
    count: u32,
    table: Table<'a>,
    /// Where the box's content lies in the source.
    offset: u64,
}

#[derive(Clone, Copy, Debug)]
enum Table<'a> {
    Constant(u32),
    Bits4(&'a [u8]),
    Bits8(&'a [u8]),
    Bits16(&'a [[u8; 2]]),
    Bits32(&'a [[u8; 4]]),
}

impl<'a> SampleSizes<'a> {
    /// `source_size` bounds the count of a constant size, which no row pays for: samples do not lie on top of each other.
    pub(super) fn parse_stsz(mut r: Reader<'a>, source_size: u64) -> Result<Self> {
        let offset = r.offset();
        r.full_box()?;
        let here = r;
        let constant = r.u32()?;
        if constant == 0 {
            let rows = r.table()?;
            return Ok(Self { count: rows.len() as u32, table: Table::Bits32(rows), offset });
        }
        let count = r.u32()?;
        if u64::from(count) > source_size / u64::from(constant) {
            return Err(here.malformed(format!("{count} samples of {constant} bytes in a file of {source_size}")));
        }
        Ok(Self { count, table: Table::Constant(constant), offset })
    }

    pub(super) fn parse_stz2(mut r: Reader<'a>) -> Result<Self> {
        let offset = r.offset();
        r.full_box()?;
        let here = r;
        let field_size = r.u32()? & 0xff;
        let count = r.u32()?;
        let bytes = |bits: u64| (u64::from(count) * bits).div_ceil(8);
        let Some(bytes) = matches!(field_size, 4 | 8 | 16).then(|| bytes(u64::from(field_size))) else {
            return Err(Error::malformed(format!("field_size is {field_size}, not 4, 8 or 16")).at(here.offset()));
        };
        if bytes > r.remaining() as u64 {
            return Err(here.malformed(format!("{count} entries of {field_size} bits in {} bytes", r.remaining())));
        }
        let rows = r.take(bytes as usize)?;
        let table = match field_size {
            4 => Table::Bits4(rows),
            8 => Table::Bits8(rows),
            _ => Table::Bits16(rows.as_chunks().0),
        };
        Ok(Self { count, table, offset })
    }

    pub(super) fn count(&self) -> u32 {
        self.count
    }

    pub(super) fn offset(&self) -> u64 {
        self.offset
    }

    /// Which box it is.
    pub(super) fn name(&self) -> &'static str {
        match self.table {
            Table::Constant(_) | Table::Bits32(_) => "stsz",
            Table::Bits4(_) | Table::Bits8(_) | Table::Bits16(_) => "stz2",
        }
    }

    /// The size of sample `index`, below [`Self::count`].
    #[inline]
    pub(super) fn get(&self, index: u32) -> u32 {
        let i = index as usize;
        match self.table {
            Table::Bits32(rows) => u32::from_be_bytes(rows[i]),
            Table::Constant(size) => size,
            Table::Bits16(rows) => u32::from(u16::from_be_bytes(rows[i])),
            Table::Bits8(rows) => u32::from(rows[i]),
            Table::Bits4(rows) => u32::from(rows[i / 2] >> if i.is_multiple_of(2) { 4 } else { 0 } & 15),
        }
    }

    /// The sizes from sample `first` on.
    pub(super) fn read(&self, first: usize, out: &mut [i64]) {
        match self.table {
            Table::Bits32(rows) => {
                for (size, &row) in out.iter_mut().zip(&rows[first..]) {
                    *size = i64::from(u32::from_be_bytes(row));
                }
            }
            Table::Constant(size) => out.fill(i64::from(size)),
            _ => out.iter_mut().zip(first as u32..).for_each(|(size, i)| *size = i64::from(self.get(i))),
        }
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    fn all(sizes: SampleSizes<'_>) -> Vec<u32> {
        let mut read = vec![0; sizes.count() as usize];
        let (head, tail) = read.split_at_mut(sizes.count() as usize / 2);
        sizes.read(0, head);
        sizes.read(head.len(), tail);
        let all: Vec<u32> = (0..sizes.count()).map(|i| sizes.get(i)).collect();
        assert!(all.iter().map(|&size| i64::from(size)).eq(read));
        all
    }

    #[test]
    fn stsz() {
        let parse = |bytes: &[u8]| SampleSizes::parse_stsz(Reader::new(bytes, 0), 100).map(all);
        assert_eq!(parse(&[0, 0, 0, 0, 0, 0, 0, 0, 0, 0, 0, 2, 0, 0, 1, 0, 0, 0, 0, 7]).unwrap(), [256, 7]);
        assert_eq!(parse(&[0, 0, 0, 0, 0, 0, 0, 50, 0, 0, 0, 2]).unwrap(), [50, 50]);
        assert!(parse(&[0, 0, 0, 0, 0, 0, 0, 50, 0, 0, 0, 3]).is_err());
        assert!(parse(&[0, 0, 0, 0, 0, 0, 0, 1, 0xff, 0xff, 0xff, 0xff]).is_err());
        assert!(parse(&[0, 0, 0, 0, 0, 0, 0, 0, 0xff, 0xff, 0xff, 0xff, 0]).is_err());
    }

    #[test]
    fn stz2() {
        let parse = |bits: u8, count: u8, rows: &[u8]| {
            let bytes = [&[0, 0, 0, 0, 0, 0, 0, bits, 0, 0, 0, count][..], rows].concat();
            SampleSizes::parse_stz2(Reader::new(&bytes, 0)).map(all)
        };
        assert_eq!(parse(4, 3, &[0x12, 0x30]).unwrap(), [1, 2, 3]);
        assert_eq!(parse(8, 2, &[9, 8]).unwrap(), [9, 8]);
        assert_eq!(parse(16, 1, &[1, 2]).unwrap(), [258]);
        assert!(parse(4, 3, &[0x12]).is_err());
        assert!(parse(16, 2, &[1, 2, 3]).is_err());
        assert!(parse(32, 1, &[0; 4]).is_err());
    }
}
