//! The same movie with `moov` before its media data, so that a player may begin while it fetches.
//!
//! # Theory
//!
//! Media data stays where it is in the file, and so do all boxes but `moov`, which goes before the first `mdat`. What lay
//! between the two moves back by the new `moov`'s size; what lay behind it by the difference of the new and the old one.
//! Chunk offsets (ISO/IEC 14496-12 8.7.5) count from the file's begin, so each is moved by as much. Where one no longer fits
//! 32 bits, all tables become `co64`, which makes `moov` longer, which moves the media data further: then nothing grows
//! again, so the second or third attempt fits.
//!
//! A file stays as it is where `moov` comes first; where it has fragments, whose `moov` says little; and where other
//! offsets into the file than those of chunks are in use (`saio`, `iloc`, media data in other files).

use std::ops::Range;

use super::scan::{Next, Scan, Top};
use crate::reader::{Child, FourCc, Reader};
use crate::source::ReadAt;
use crate::{Error, Result, limits};

/// A part of the relocated file.
#[derive(Clone, Debug, Eq, PartialEq)]
pub enum Part {
    /// New bytes.
    Bytes(Vec<u8>),
    /// Bytes of the source.
    Range(Range<u64>),
}

/// The parts that, one after the other, are the movie with `moov` before its media data.
///
/// # Errors
/// [`crate::ErrorKind::Malformed`] where the boxes contradict each other, [`crate::ErrorKind::Limit`] where `moov` is too
/// long to be held, [`crate::ErrorKind::Source`].
pub fn relocate(source: &dyn ReadAt) -> Result<Vec<Part>> {
    let size = source.size();
    let as_it_is = vec![Part::Range(0..size)];
    let Some((insert, top)) = late_moov(source)? else { return Ok(as_it_is) };
    if top.overruns || top.end - top.start > limits::MOOV_BYTES {
        let error = if top.overruns {
            Error::malformed("moov runs past the end of the file")
        } else {
            Error::limit(format!("moov of more than {} bytes", limits::MOOV_BYTES))
        };
        return Err(error.at(top.start).within("moov"));
    }
    let mut bytes = vec![0; (top.end - top.body) as usize];
    source.read_exact_at(top.body, &mut bytes)?;
    let moov = Reader::new(&bytes, top.body);
    let mut mover = Mover { insert, moov: top.start..top.end, size: top.end - top.start, wide: false, fixed: false };
    loop {
        let mut out = Vec::with_capacity(bytes.len() + 8);
        boxed(b"moov", &mut out, |out| mover.container(moov, &PATH, out)).map_err(|error| error.within("moov"))?;
        if mover.fixed {
            return Ok(as_it_is);
        }
        if out.len() as u64 == mover.size {
            let parts =
                [Part::Range(0..insert), Part::Bytes(out), Part::Range(insert..top.start), Part::Range(top.end..size)];
            return Ok(parts
                .into_iter()
                .filter(|part| !matches!(part, Part::Range(range) if range.is_empty()))
                .collect());
        }
        mover.size = out.len() as u64;
    }
}

/// Where the media data begins, and the `moov` after it, if that is how the file is.
fn late_moov(source: &dyn ReadAt) -> Result<Option<(u64, Top)>> {
    let mut scan = Scan::new(source);
    let mut media = None;
    while let Next::Box(top) = scan.next()? {
        match (&top.kind.0, media) {
            (b"moov", media) => return Ok(media.map(|media| (media, top))),
            // Items may lie anywhere in the file (8.11.3).
            (b"moof" | b"meta", _) => return Ok(None),
            (b"mdat", None) => media = Some(top.start),
            _ => {}
        }
    }
    Ok(None)
}

/// From `moov` down to where the tables of chunk offsets are.
const PATH: [&[u8; 4]; 4] = [b"trak", b"mdia", b"minf", b"stbl"];

struct Mover {
    insert: u64,
    /// Where it is.
    moov: Range<u64>,
    /// How long it will be.
    size: u64,
    /// Whether offsets need 64 bits.
    wide: bool,
    /// Whether there are offsets that cannot be moved.
    fixed: bool,
}

impl Mover {
    /// Copies the boxes of a container, those on `path` by their own boxes.
    fn container(&mut self, mut r: Reader<'_>, path: &[&[u8; 4]], out: &mut Vec<u8>) -> Result<()> {
        loop {
            let rest = r.rest();
            let Some(child) = r.child()? else {
                out.extend_from_slice(rest);
                return Ok(());
            };
            match path.split_first() {
                Some((name, path)) if child.kind.0 == **name => {
                    boxed(name, out, |out| self.container(child.body, path, out))
                        .map_err(|error| error.within(child.kind))?;
                }
                None if matches!(&child.kind.0, b"stco" | b"co64") => {
                    self.table(&child, out).map_err(|error| error.within(child.kind))?;
                }
                _ => {
                    self.fixed |= is_bound(&child)?;
                    out.extend_from_slice(child.raw);
                }
            }
        }
    }

    fn table(&mut self, child: &Child<'_>, out: &mut Vec<u8>) -> Result<()> {
        let mut r = child.body;
        let head = r.array::<4>()?;
        let offsets: Vec<u64> = if &child.kind.0 == b"stco" {
            r.table::<4>()?.iter().map(|row| u64::from(u32::from_be_bytes(*row))).collect()
        } else {
            r.table::<8>()?.iter().map(|row| u64::from_be_bytes(*row)).collect()
        };
        let moved: Vec<u64> = offsets.into_iter().map(|offset| self.moved(offset)).collect::<Result<_>>()?;
        self.wide |= moved.iter().any(|&offset| offset > u64::from(u32::MAX));
        let wide = self.wide || &child.kind.0 == b"co64";
        boxed(if wide { b"co64" } else { b"stco" }, out, |out| {
            out.extend_from_slice(&head);
            out.extend_from_slice(&(moved.len() as u32).to_be_bytes());
            for offset in moved {
                // Narrow ones fit, as was just seen.
                out.extend_from_slice(&offset.to_be_bytes()[if wide { 0 } else { 4 }..]);
            }
            Ok(())
        })
    }

    fn moved(&self, offset: u64) -> Result<u64> {
        let Range { start, end } = self.moov;
        if (start..end).contains(&offset) {
            return Err(Error::malformed("a chunk begins inside moov").at(offset));
        }
        let by = match offset {
            _ if offset < self.insert => 0,
            _ if offset < start => self.size,
            // The new one may be shorter, where the old one had a longer header.
            _ => {
                return offset.checked_sub(end - start).and_then(|left| left.checked_add(self.size)).ok_or_else(beyond);
            }
        };
        offset.checked_add(by).ok_or_else(beyond)
    }
}

fn beyond() -> Error {
    Error::malformed("a chunk begins where no file reaches")
}

/// Whether a box has to do with offsets into the file, or into others, that are none of chunks: `saio` (8.7.9), `iloc` (8.11.3) of
/// metadata, `dref` (8.7.2) that names another file, `mvex` (8.8.1) of a movie with fragments.
fn is_bound(child: &Child<'_>) -> Result<bool> {
    Ok(match &child.kind.0 {
        b"saio" | b"mvex" => true,
        b"meta" | b"udta" => child.raw.windows(4).any(|bytes| bytes == b"iloc"),
        b"dinf" => is_elsewhere(child.body)?,
        _ => false,
    })
}

fn is_elsewhere(mut dinf: Reader<'_>) -> Result<bool> {
    while let Some(dref) = dinf.child()? {
        if dref.kind != FourCc(*b"dref") {
            continue;
        }
        let mut r = dref.body;
        r.skip(8)?;
        while let Some(mut entry) = r.child()? {
            if entry.body.full_box()?.1 & 1 == 0 {
                return Ok(true);
            }
        }
    }
    Ok(false)
}

/// Writes a box around what `content` writes.
fn boxed(kind: &[u8; 4], out: &mut Vec<u8>, content: impl FnOnce(&mut Vec<u8>) -> Result<()>) -> Result<()> {
    let start = out.len();
    out.extend_from_slice(&[0; 4]);
    out.extend_from_slice(kind);
    content(out)?;
    // At most twice as long as a `moov` may be, which 32 bits hold.
    let size = (out.len() - start) as u32;
    out[start..start + 4].copy_from_slice(&size.to_be_bytes());
    Ok(())
}

#[cfg(test)]
mod tests {
    use super::*;

    fn atom(kind: &[u8; 4], content: &[u8]) -> Vec<u8> {
        [&(content.len() as u32 + 8).to_be_bytes(), kind.as_slice(), content].concat()
    }

    fn nested(names: &[&[u8; 4]], content: &[u8]) -> Vec<u8> {
        names.iter().rev().fold(content.to_vec(), |content, name| atom(name, &content))
    }

    fn stco(offsets: &[u32]) -> Vec<u8> {
        let rows = offsets.iter().flat_map(|offset| offset.to_be_bytes());
        let head = [0, 0, 0, 0].into_iter().chain((offsets.len() as u32).to_be_bytes());
        atom(b"stco", &head.chain(rows).collect::<Vec<u8>>())
    }

    fn co64(offsets: &[u64]) -> Vec<u8> {
        let rows = offsets.iter().flat_map(|offset| offset.to_be_bytes());
        let head = [0, 0, 0, 0].into_iter().chain((offsets.len() as u32).to_be_bytes());
        atom(b"co64", &head.chain(rows).collect::<Vec<u8>>())
    }

    fn moov(tables: &[Vec<u8>]) -> Vec<u8> {
        let traks: Vec<u8> = tables.iter().flat_map(|table| nested(&PATH, table)).collect();
        atom(b"moov", &[atom(b"mvhd", &[1; 20]), traks].concat())
    }

    /// `ftyp`, two bytes of media in `mdat`, and what follows.
    fn film(after: &[Vec<u8>]) -> Vec<u8> {
        [atom(b"ftyp", b"isom"), atom(b"mdat", b"ab"), after.concat()].concat()
    }

    fn relocated(file: &[u8]) -> Vec<u8> {
        let parts = relocate(&file).unwrap();
        let bytes = |part: Part| match part {
            Part::Bytes(bytes) => bytes,
            Part::Range(range) => file[range.start as usize..range.end as usize].to_vec(),
        };
        parts.into_iter().flat_map(bytes).collect()
    }

    #[test]
    fn chunks_move_with_their_bytes() {
        // `a` lies at 20; `c`, behind `moov`, in a second `mdat`.
        let len = moov(&[stco(&[0, 0]), co64(&[0])]).len() as u32;
        let file = film(&[moov(&[stco(&[20, 30 + len]), co64(&[21])]), atom(b"mdat", b"c"), b"tail".to_vec()]);
        assert_eq!((file[20], file[30 + len as usize]), (b'a', b'c'));
        let got = relocated(&file);
        let moved = moov(&[stco(&[20 + len, 30 + len]), co64(&[u64::from(21 + len)])]);
        assert_eq!(
            got,
            [&atom(b"ftyp", b"isom"), &moved, &atom(b"mdat", b"ab"), &atom(b"mdat", b"c"), &b"tail"[..]].concat()
        );
        assert_eq!((got[20 + len as usize], got[30 + len as usize]), (b'a', b'c'));
    }

    /// A file with media data of almost 4 GiB, of which only the ends are there, and `moov` behind it.
    struct Vast {
        begin: Vec<u8>,
        moov: Vec<u8>,
    }

    const END: u64 = u32::MAX as u64 - 9;

    impl Vast {
        fn new(moov: Vec<u8>) -> Self {
            let mdat = [&1_u32.to_be_bytes(), b"mdat".as_slice(), &(END - 12).to_be_bytes()].concat();
            Self { begin: [atom(b"ftyp", b"isom"), mdat].concat(), moov }
        }
    }

    impl ReadAt for Vast {
        fn size(&self) -> u64 {
            END + self.moov.len() as u64
        }

        fn read_exact_at(&self, offset: u64, buf: &mut [u8]) -> Result<()> {
            buf.fill(0);
            for (start, bytes) in [(0, &self.begin), (END, &self.moov)] {
                for (at, byte) in (start..).zip(bytes) {
                    if let Some(place) = at.checked_sub(offset).and_then(|at| buf.get_mut(at as usize)) {
                        *place = *byte;
                    }
                }
            }
            Ok(())
        }
    }

    #[test]
    fn offsets_that_no_longer_fit_get_64_bits_and_all_of_them_do() {
        let vast = Vast::new(moov(&[stco(&[28]), stco(&[28, END as u32 - 1])]));
        let new = moov(&[co64(&[0]), co64(&[0, 0])]).len() as u64;
        let moved = moov(&[co64(&[28 + new]), co64(&[28 + new, END - 1 + new])]);
        assert_eq!(relocate(&vast).unwrap(), [Part::Range(0..12), Part::Bytes(moved), Part::Range(12..END)]);
        let beyond = Vast::new(moov(&[stco(&[END as u32 - 1]), co64(&[u64::MAX])]));
        assert_eq!(relocate(&beyond).unwrap_err().kind(), crate::ErrorKind::Malformed);
    }

    #[test]
    fn a_long_header_becomes_a_short_one() {
        let plain = moov(&[stco(&[20])]);
        let content = &plain[8..];
        let long =
            [&1_u32.to_be_bytes(), b"moov".as_slice(), &(content.len() as u64 + 16).to_be_bytes(), content].concat();
        let to_the_end = [&0_u32.to_be_bytes(), b"moov".as_slice(), content].concat();
        let moved = moov(&[stco(&[20 + plain.len() as u32])]);
        let expected = [atom(b"ftyp", b"isom"), moved, atom(b"mdat", b"ab")].concat();
        assert_eq!(relocated(&film(&[long])), expected);
        assert_eq!(relocated(&film(&[to_the_end])), expected);
    }

    #[test]
    fn what_stays_as_it_is() {
        let first = [atom(b"ftyp", b"isom"), moov(&[stco(&[99])]), atom(b"mdat", b"ab")].concat();
        let bound = |content: Vec<u8>| film(&[atom(b"moov", &content)]);
        let elsewhere = atom(b"dref", &[&[0, 0, 0, 0, 0, 0, 0, 1], &atom(b"url ", &[0, 0, 0, 0])[..]].concat());
        for file in [
            first,
            film(&[]),
            film(&[atom(b"moof", b""), moov(&[stco(&[20])])]),
            bound(atom(b"mvex", b"")),
            bound(nested(&PATH, &atom(b"saio", b""))),
            bound(atom(b"udta", &atom(b"meta", b"....iloc"))),
            bound(nested(&[b"trak", b"mdia", b"minf", b"dinf"], &elsewhere)),
        ] {
            assert_eq!(relocate(&file.as_slice()).unwrap(), [Part::Range(0..file.len() as u64)]);
        }
    }

    #[test]
    fn what_contradicts_itself_is_an_error() {
        for file in [film(&[moov(&[stco(&[31])])]), {
            let mut cut = film(&[moov(&[stco(&[20])])]);
            cut.pop();
            cut
        }] {
            assert_eq!(relocate(&file.as_slice()).unwrap_err().kind(), crate::ErrorKind::Malformed);
        }
    }

    #[test]
    fn any_cut_gives_parts_or_an_error() {
        let file = film(&[moov(&[stco(&[20, 21]), co64(&[20])]), atom(b"mdat", b"c")]);
        for end in 0..=file.len() {
            if let Ok(parts) = relocate(&&file[..end]) {
                assert!(!parts.is_empty() || end == 0);
            }
        }
    }
}
