//! Edit list. Lives in `edts`. ISO/IEC 14496-12 8.6.6.

use crate::Result;
use crate::reader::Reader;

/// One edit.
#[derive(Clone, Copy, Debug, Eq, PartialEq)]
pub struct Edit {
    /// Ticks of the movie's time scale; 0 for "to the end".
    pub segment_duration: u64,
    /// Where in the media it begins, ticks of the media's time scale; `None` for an empty edit.
    pub media_time: Option<i64>,
    /// Speed, 16.16 fixed point. Only told: 0 (dwell) and slow motion cannot be expressed by the samples' own times.
    pub media_rate: i32,
}

/// The edits in presentation order.
pub(super) fn parse(mut r: Reader<'_>) -> Result<Vec<Edit>> {
    let (version, _) = r.full_box()?;
    let here = r;
    if version == 1 {
        let rows: &[[u8; 20]] = r.table()?;
        let mut rows = Reader::new(rows.as_flattened(), here.offset() + 4);
        let mut edits = Vec::with_capacity(rows.remaining() / 20);
        while rows.remaining() > 0 {
            edits.push(edit(rows, rows.u64()?, rows.u64()? as i64, rows.i32()?)?);
        }
        Ok(edits)
    } else {
        let rows: &[[u8; 12]] = r.table()?;
        let mut rows = Reader::new(rows.as_flattened(), here.offset() + 4);
        let mut edits = Vec::with_capacity(rows.remaining() / 12);
        while rows.remaining() > 0 {
            edits.push(edit(rows, u64::from(rows.u32()?), i64::from(rows.i32()?), rows.i32()?)?);
        }
        Ok(edits)
    }
}

fn edit(here: Reader<'_>, segment_duration: u64, media_time: i64, media_rate: i32) -> Result<Edit> {
    match media_time {
        -1 => Ok(Edit { segment_duration, media_time: None, media_rate }),
        0.. => Ok(Edit { segment_duration, media_time: Some(media_time), media_rate }),
        _ => Err(here.malformed(format!("media_time is {media_time}; the only negative value allowed is -1"))),
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn both_versions() {
        let v0 = [
            &[0, 0, 0, 0, 0, 0, 0, 2][..],
            &[0, 0, 0, 9, 0xff, 0xff, 0xff, 0xff, 0, 1, 0, 0],
            &[0, 0, 1, 0, 0, 0, 4, 0, 0, 0, 0x80, 0],
        ];
        let empty = Edit { segment_duration: 9, media_time: None, media_rate: 0x1_0000 };
        let media = Edit { segment_duration: 256, media_time: Some(1024), media_rate: 0x8000 };
        assert_eq!(parse(Reader::new(&v0.concat(), 0)).unwrap(), [empty, media]);
        let v1 =
            [&[1, 0, 0, 0, 0, 0, 0, 1][..], &256u64.to_be_bytes(), &1024u64.to_be_bytes(), &[0, 0, 0x80, 0]].concat();
        assert_eq!(parse(Reader::new(&v1, 0)).unwrap(), [media]);
    }

    #[test]
    fn rejects() {
        assert!(
            parse(Reader::new(&[0, 0, 0, 0, 0, 0, 0, 1, 0, 0, 0, 9, 0xff, 0xff, 0xff, 0xfe, 0, 1, 0, 0], 0)).is_err()
        );
        assert!(parse(Reader::new(&[0, 0, 0, 0, 0x40, 0, 0, 0, 0, 0, 0, 9], 0)).is_err());
    }
}
