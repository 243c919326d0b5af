//! Bits of a codec header, highest first.

use crate::{Error, Result};

/// Reads bits from bytes.
#[derive(Clone, Debug)]
pub(crate) struct Bits<'a> {
    bytes: &'a [u8],
    at: usize,
}

impl<'a> Bits<'a> {
    pub(crate) fn new(bytes: &'a [u8]) -> Self {
        Self { bytes, at: 0 }
    }

    pub(crate) fn remaining(&self) -> usize {
        self.bytes.len() * 8 - self.at
    }

    pub(crate) fn bit(&mut self) -> Result<bool> {
        let byte = self.bytes.get(self.at / 8).ok_or_else(|| Error::malformed("codec header ends too early"))?;
        let bit = byte >> (7 - self.at % 8) & 1;
        self.at += 1;
        Ok(bit == 1)
    }

    /// `count` bits, at most 32.
    pub(crate) fn get(&mut self, count: u32) -> Result<u32> {
        let mut value = 0;
        for _ in 0..count {
            value = value << 1 | u32::from(self.bit()?);
        }
        Ok(value)
    }

    pub(crate) fn skip(&mut self, count: usize) -> Result<()> {
        if count > self.remaining() {
            return Err(Error::malformed("codec header ends too early"));
        }
        self.at += count;
        Ok(())
    }

    pub(crate) fn align(&mut self) {
        self.at = self.at.next_multiple_of(8);
    }

    /// `ue(v)`, ISO/IEC 14496-10 9.1.
    pub(crate) fn ue(&mut self) -> Result<u32> {
        let mut zeros = 0;
        while !self.bit()? {
            zeros += 1;
            if zeros == 32 {
                return Err(Error::malformed("Exp-Golomb code of more than 32 bits"));
            }
        }
        Ok(((1u64 << zeros) - 1 + u64::from(self.get(zeros)?)) as u32)
    }

    /// `se(v)`, ISO/IEC 14496-10 9.1.1.
    pub(crate) fn se(&mut self) -> Result<i32> {
        let code = i64::from(self.ue()?);
        Ok(if code % 2 == 0 { -(code / 2) } else { code / 2 + 1 } as i32)
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn exp_golomb() {
        // 1 010 011 00100 00101, ISO/IEC 14496-10 table 9-2.
        let bytes = [0b1010_0110, 0b0100_0010, 0b1000_0000];
        let mut bits = Bits::new(&bytes);
        assert_eq!([0; 5].map(|_| bits.ue().unwrap()), [0, 1, 2, 3, 4]);
        let mut bits = Bits::new(&bytes);
        assert_eq!([0; 5].map(|_| bits.se().unwrap()), [0, 1, -1, 2, -2]);
        assert!(Bits::new(&[0; 9]).ue().is_err());
        let longest = [0, 0, 0, 1, 0xff, 0xff, 0xff, 0xff];
        assert_eq!(Bits::new(&longest).ue().unwrap(), u32::MAX - 1);
    }

    #[test]
    fn ends() {
        let mut bits = Bits::new(&[0xa5]);
        assert_eq!(bits.get(4).unwrap(), 10);
        assert!(bits.skip(5).is_err());
        bits.align();
        assert_eq!(bits.remaining(), 0);
        assert!(bits.bit().is_err());
    }
}
