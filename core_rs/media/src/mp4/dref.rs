//! Data references. Live in `dinf`. ISO/IEC 14496-12 8.7.2.

use crate::Result;
use crate::reader::{FourCc, Reader};

/// More entries than the 16 bits of `data_reference_index` can name are not looked at.
const ENTRIES: usize = u16::MAX as usize;

/// For each entry, its type where the media it names lies outside of this file. The lowest flag says of any type that it lies
/// in it, of QuickTime's `alis` and `rsrc` too.
pub(super) fn parse(mut r: Reader<'_>) -> Result<Vec<Option<FourCc>>> {
    r.full_box()?;
    let count = r.u32()? as usize;
    let mut entries = Vec::new();
    while entries.len() < count.min(ENTRIES) {
        let Some(mut entry) = r.child()? else { break };
        let (_, flags) = entry.body.full_box().map_err(|error| error.within(entry.kind))?;
        entries.push((flags & 1 == 0).then_some(entry.kind));
    }
    Ok(entries)
}

#[cfg(test)]
mod tests {
    use super::super::testing::full;
    use super::*;

    fn dref(count: u32, entries: &[Vec<u8>]) -> Result<Vec<Option<FourCc>>> {
        parse(Reader::new(&[&[0; 4], &count.to_be_bytes(), entries.concat().as_slice()].concat(), 0))
    }

    #[test]
    fn the_lowest_flag_says_that_the_media_is_here() {
        let entries = [full(b"url ", 0, 1, b""), full(b"url ", 0, 0, b"http://a/b\0"), full(b"alis", 0, 1, b"")];
        assert_eq!(dref(3, &entries).unwrap(), [None, Some(FourCc(*b"url ")), None]);
        let entries = [full(b"alis", 0, 0, &[0; 40]), full(b"rsrc", 0, 1, b""), full(b"urn ", 0, 2, b"urn:x\0")];
        assert_eq!(dref(3, &entries).unwrap(), [Some(FourCc(*b"alis")), None, Some(FourCc(*b"urn "))]);
    }

    #[test]
    fn a_count_is_believed_up_to_what_is_there() {
        let here = full(b"url ", 0, 1, b"");
        assert_eq!(dref(0, std::slice::from_ref(&here)).unwrap(), []);
        assert_eq!(dref(u32::MAX, std::slice::from_ref(&here)).unwrap(), [None]);
        assert_eq!(dref(70_000, &vec![here; 70_000]).unwrap().len(), ENTRIES);
    }

    #[test]
    fn rejects() {
        assert!(parse(Reader::new(&[0; 7], 0)).is_err());
        assert_eq!(dref(1, &[b"\0\0\0\x0burl \0\0\0".to_vec()]).unwrap_err().path(), "url ");
        assert!(dref(1, &[b"\0\0\0\x10url \0\0\0\0".to_vec()]).is_err());
    }
}
