//! Track fragment decode time. Lives in `traf`. ISO/IEC 14496-12 8.8.12.

use crate::Result;
use crate::reader::Reader;

/// `baseMediaDecodeTime`, media ticks.
pub(super) fn parse(mut r: Reader<'_>) -> Result<u64> {
    let (version, _) = r.full_box()?;
    if version == 1 { r.u64() } else { r.u32().map(u64::from) }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn both_versions() {
        assert_eq!(parse(Reader::new(&[0, 0, 0, 0, 0xff, 0, 0, 1], 0)).unwrap(), 0xff00_0001);
        assert_eq!(parse(Reader::new(&[1, 0, 0, 0, 0, 0, 0, 1, 0, 0, 0, 2], 0)).unwrap(), (1 << 32) + 2);
        assert!(parse(Reader::new(&[1, 0, 0, 0, 0, 0, 0, 1], 0)).is_err());
    }
}
