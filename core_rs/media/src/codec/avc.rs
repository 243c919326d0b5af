//! H.264: `AVCDecoderConfigurationRecord` (ISO/IEC 14496-15 5.3.3.1) and what its SPS says (ISO/IEC 14496-10 7.3.2.1).

use super::sps::{Sps, rbsp};
use crate::Result;
use crate::limits;
use crate::reader::Reader;

/// An H.264 decoder configuration.
#[derive(Clone, Debug, Eq, Hash, PartialEq)]
pub struct AvcConfig {
    /// The record as it stands in the file.
    pub record: Vec<u8>,
    /// Sequence parameter sets, NAL header included, without start code.
    pub sps: Vec<Vec<u8>>,
    /// Picture parameter sets, likewise.
    pub pps: Vec<Vec<u8>>,
    /// Bytes of the length before each NAL: 1, 2 or 4 (3 is read as well).
    pub nal_length_size: u8,
    /// Parameter sets may change inside the samples (`avc3`).
    pub in_band: bool,
    /// Width of the picture to be shown, luma samples, after cropping.
    pub width: u16,
    /// Height, likewise.
    pub height: u16,
    /// Width and height of a pixel in some unit, as the sample entry's `pasp` has it, or else the sequence parameter set.
    pub pixel_aspect: (u32, u32),
    /// `profile_idc`, constraint flags, `level_idc`.
    pub profile: [u8; 3],
    /// The whole sample entry box as it stands in the file, header included.
    pub entry: Vec<u8>,
}

impl AvcConfig {
    /// Parses the content of an `avcC` box. `size` is what the sample entry says, for a record without a parameter set.
    pub(crate) fn parse(mut r: Reader<'_>, entry: &[u8], in_band: bool, size: (u16, u16)) -> Result<Self> {
        let record = r.rest().to_vec();
        let start = r;
        if r.u8()? != 1 {
            return Err(start.malformed("configurationVersion is not 1"));
        }
        let mut profile = r.array::<3>()?;
        let nal_length_size = (r.u8()? & 3) + 1;
        let count = r.u8()? & 0x1f;
        let sps = parameter_sets(&mut r, count)?;
        let count = r.u8()?;
        let pps = parameter_sets(&mut r, count)?;
        let (mut width, mut height) = size;
        let mut pixel_aspect = pasp(entry);
        match sps.first() {
            Some(nal) => {
                let sps = Sps::parse(nal).map_err(|error| error.at(start.offset()))?;
                // Decoders read the SPS; a record that says otherwise is a slip of the muxer.
                profile = sps.profile;
                (width, height) = (sps.width, sps.height);
                pixel_aspect = pixel_aspect.or(sps.pixel_aspect);
            }
            None if in_band => {}
            None => return Err(start.malformed("no sequence parameter set, and avc1 allows none in the samples")),
        }
        let pixel_aspect = pixel_aspect.filter(|&(wide, high)| wide > 0 && high > 0).unwrap_or((1, 1));
        Ok(Self {
            record,
            sps,
            pps,
            nal_length_size,
            in_band,
            width,
            height,
            pixel_aspect,
            profile,
            entry: entry.to_vec(),
        })
    }

    /// Width and height to show the picture at, 16.16 fixed-point numbers as in `tkhd` (ISO/IEC 14496-12 8.3.2.3): what
    /// pixels are wider than high widens it. The picture's own size where no such number can say the other.
    pub fn presentation_size(&self) -> (u32, u32) {
        let (wide, high) = self.pixel_aspect;
        let own = u32::from(self.width) << 16;
        let width = (u128::from(own) * u128::from(wide) + u128::from(high / 2)) / u128::from(high);
        let width = u32::try_from(width).ok().filter(|&width| width > 0).unwrap_or(own);
        (width, u32::from(self.height) << 16)
    }

    /// The child boxes of the sample entry, up to the first that does not fit.
    pub(crate) fn entry_boxes(&self) -> impl Iterator<Item = ([u8; 4], &[u8])> {
        entry_boxes(&self.entry)
    }

    /// The RFC 6381 string, as in `avc1.64001f`.
    pub fn codecs(&self) -> String {
        let [profile, constraints, level] = self.profile;
        format!("{}.{profile:02x}{constraints:02x}{level:02x}", if self.in_band { "avc3" } else { "avc1" })
    }

    /// Whether a decoder set up for `other` decodes this as well.
    pub(crate) fn same_decoder(&self, other: &Self) -> bool {
        self.record == other.record && self.in_band == other.in_band
    }

    pub(crate) fn nbytes(&self) -> usize {
        let sets = |sets: &Vec<Vec<u8>>| {
            sets.capacity() * size_of::<Vec<u8>>() + sets.iter().map(Vec::capacity).sum::<usize>()
        };
        self.record.capacity() + self.entry.capacity() + sets(&self.sps) + sets(&self.pps)
    }
}

/// Child boxes of a VisualSampleEntry, which has 86 bytes before them, its header included (ISO/IEC 14496-12 12.1.3).
fn entry_boxes(entry: &[u8]) -> impl Iterator<Item = ([u8; 4], &[u8])> {
    let mut bytes = entry.get(86..).unwrap_or_default();
    std::iter::from_fn(move || {
        let (head, rest) = bytes.split_first_chunk::<8>()?;
        let [s0, s1, s2, s3, name @ ..] = *head;
        let size = (u32::from_be_bytes([s0, s1, s2, s3]) as usize).checked_sub(8)?;
        let (body, after) = rest.split_at_checked(size)?;
        bytes = after;
        Some((name, body))
    })
}

/// `hSpacing` and `vSpacing` of a PixelAspectRatioBox (ISO/IEC 14496-12 12.1.4.2).
fn pasp(entry: &[u8]) -> Option<(u32, u32)> {
    let (_, body) = entry_boxes(entry).find(|(name, _)| name == b"pasp")?;
    let [h0, h1, h2, h3, v0, v1, v2, v3] = *body.first_chunk()?;
    Some((u32::from_be_bytes([h0, h1, h2, h3]), u32::from_be_bytes([v0, v1, v2, v3])))
}

fn parameter_sets(r: &mut Reader<'_>, count: u8) -> Result<Vec<Vec<u8>>> {
    (0..count)
        .map(|_| {
            let len = r.u16()?;
            if len == 0 {
                return Err(r.malformed("parameter set of no bytes"));
            }
            r.take(usize::from(len)).map(<[u8]>::to_vec)
        })
        .collect()
}

/// Where a decoder may begin, by what a sample itself holds.
#[derive(Clone, Copy, Debug, Eq, PartialEq)]
pub enum PictureKind {
    /// An IDR picture: decoding begins here, and nothing later refers back beyond it.
    Idr,
    /// A picture with a recovery point SEI: decoding may begin here, but pictures shown earlier may refer further back (open GOP).
    RecoveryPoint,
    /// Any other picture.
    Other,
    /// The bytes end before the first slice; so many from the sample's beginning are needed to tell. Where the sample has
    /// no more, it is [`Self::Other`].
    NeedMore(usize),
}

/// Says what picture a sample holds, from its beginning: NAL units up to the first slice (ISO/IEC 14496-10 7.4.1.2.3).
///
/// `sample` may be cut anywhere; `nal_length_size` is that of [`AvcConfig`].
pub fn picture_kind(sample: &[u8], nal_length_size: u8) -> PictureKind {
    let length_size = usize::from(nal_length_size);
    let mut at = 0usize;
    let mut recovery = false;
    // What is needed grows by at most 2^32 a round, and the loop ends where that passes the prefix.
    let need = |bytes: usize| {
        if bytes > limits::PICTURE_PREFIX { PictureKind::Other } else { PictureKind::NeedMore(bytes) }
    };
    loop {
        let Some(length) = sample.get(at..at + length_size) else {
            return need(at + length_size + 1);
        };
        let length = length.iter().fold(0usize, |value, &byte| value << 8 | usize::from(byte));
        at += length_size;
        if length == 0 {
            continue;
        }
        let Some(&header) = sample.get(at) else {
            return need(at + 1);
        };
        match header & 0x1f {
            5 => return PictureKind::Idr,
            1 | 2 if recovery => return PictureKind::RecoveryPoint,
            1 | 2 => return PictureKind::Other,
            6 => {
                let Some(sei) = sample.get(at + 1..at.saturating_add(length)) else {
                    return need(at.saturating_add(length));
                };
                recovery |= has_recovery_point(sei);
            }
            _ => {}
        }
        let Some(next) = at.checked_add(length).filter(|&next| next <= limits::PICTURE_PREFIX) else {
            return PictureKind::Other;
        };
        at = next;
    }
}

/// Whether an SEI NAL unit (header byte left out) has a payload of type 6 (ISO/IEC 14496-10 D.2.8).
fn has_recovery_point(nal: &[u8]) -> bool {
    fn number(bytes: &mut impl Iterator<Item = u8>) -> Option<usize> {
        let mut value = 0;
        loop {
            let byte = bytes.next()?;
            value += usize::from(byte);
            if byte != 0xff {
                return Some(value);
            }
        }
    }
    let mut bytes = rbsp(nal);
    while let (Some(kind), Some(size)) = (number(&mut bytes), number(&mut bytes)) {
        if kind == 6 {
            return true;
        }
        if size > 0 && bytes.nth(size - 1).is_none() {
            break;
        }
    }
    false
}

#[cfg(test)]
pub(crate) mod tests {
    use super::*;

    /// Constrained Baseline, 320 x 240.
    pub(crate) const RECORD: &[u8] = &[
        1, 0x42, 0xc0, 0x0d, 0xff, 0xe1, 0, 8, 0x67, 0x42, 0xc0, 0x0d, 0xda, 0x05, 0x07, 0xe4, 1, 0, 4, 0x68, 0xce,
        0x0f, 0xc8,
    ];

    fn parse(record: &[u8], in_band: bool) -> Result<AvcConfig> {
        AvcConfig::parse(Reader::new(record, 0), b"entry", in_band, (640, 480))
    }

    #[test]
    fn record() {
        let config = parse(RECORD, false).unwrap();
        assert_eq!((config.width, config.height, config.nal_length_size), (320, 240, 4));
        assert_eq!((config.sps.len(), config.pps.as_slice()), (1, &[vec![0x68, 0xce, 0x0f, 0xc8]][..]));
        assert_eq!(config.codecs(), "avc1.42c00d");
        for end in 0..RECORD.len() {
            assert!(parse(&RECORD[..end], false).is_err(), "{end}");
        }
    }

    #[test]
    fn the_sps_outvotes_the_record() {
        let mut record = RECORD.to_vec();
        record[1] = 0x64;
        assert_eq!(parse(&record, false).unwrap().codecs(), "avc1.42c00d");
    }

    #[test]
    fn avc3_may_have_no_parameter_sets() {
        let bare = [1, 0x64, 0, 0x1f, 0xfd, 0xe0, 0];
        let config = parse(&bare, true).unwrap();
        assert_eq!((config.codecs().as_str(), config.width, config.nal_length_size), ("avc3.64001f", 640, 2));
        assert!(parse(&bare, false).is_err());
    }

    /// A sample entry with nothing in it but a `pasp`.
    fn entry(wide: u32, high: u32) -> Vec<u8> {
        [&[0; 86][..], &[0, 0, 0, 16], b"pasp", &wide.to_be_bytes(), &high.to_be_bytes()].concat()
    }

    #[test]
    fn wide_pixels_widen_what_is_shown() {
        // 320 x 240 with 16:11 in the VUI.
        let sps = [0x67, 0x42, 0xc0, 0x0d, 0xda, 0x05, 0x07, 0xec, 0x12];
        let told = [&[1, 0x42, 0xc0, 0x0d, 0xff, 0xe1, 0, 9][..], &sps, &[0]].concat();
        let size = |record: &[u8], entry: &[u8]| {
            AvcConfig::parse(Reader::new(record, 0), entry, false, (0, 0)).unwrap().presentation_size()
        };
        let shown = |width: u32| (width, 240 << 16);
        assert_eq!(size(RECORD, b""), shown(320 << 16));
        assert_eq!(size(RECORD, &entry(4, 3)), shown(27_962_027));
        assert_eq!(size(&told, b""), shown(30_504_029));
        // The container's word goes first, where it is one.
        assert_eq!(size(&told, &entry(1, 2)), shown(160 << 16));
        for (wide, high) in [(0, 1), (1, 0), (u32::MAX, 1), (1, u32::MAX)] {
            assert_eq!(size(RECORD, &entry(wide, high)), shown(320 << 16));
        }
    }

    fn nal(header: u8, body: &[u8]) -> Vec<u8> {
        let mut out = (body.len() as u32 + 1).to_be_bytes().to_vec();
        out.push(header);
        out.extend(body);
        out
    }

    #[test]
    fn picture_kinds() {
        let aud = nal(9, &[0xf0]);
        // A payload of another type whose size takes an ff byte, and then the recovery point.
        let mut long = vec![5, 0xff, 1];
        long.extend([7; 256]);
        long.extend([6, 1, 0xc4, 0x80]);
        let cases = [
            ([aud.clone(), nal(0x65, &[1])].concat(), PictureKind::Idr),
            ([aud.clone(), nal(0x41, &[1])].concat(), PictureKind::Other),
            ([aud.clone(), nal(6, &[6, 1, 0xc4, 0x80]), nal(0x41, &[1])].concat(), PictureKind::RecoveryPoint),
            ([nal(6, &long), nal(0x21, &[1])].concat(), PictureKind::RecoveryPoint),
            ([nal(6, &[6, 1, 0xc4, 0x80]), nal(0x65, &[1])].concat(), PictureKind::Idr),
            ([nal(6, &[5, 1, 6, 0x80]), nal(0x41, &[1])].concat(), PictureKind::Other),
            ([nal(6, &[5, 200, 6, 0x80]), nal(0x41, &[1])].concat(), PictureKind::Other),
        ];
        for (sample, kind) in cases {
            assert_eq!(picture_kind(&sample, 4), kind);
            for end in 0..sample.len() - 2 {
                match picture_kind(&sample[..end], 4) {
                    PictureKind::NeedMore(bytes) => assert!(bytes > end && bytes <= sample.len()),
                    other => panic!("{other:?} from {end} bytes"),
                }
            }
        }
        assert_eq!(picture_kind(&[0xff, 0xff, 0xff, 0xff, 6], 4), PictureKind::Other);
        assert_eq!(picture_kind(&[1, 0x65], 1), PictureKind::Idr);
        assert_eq!(picture_kind(&[0, 0, 0, 1, 9], 4), PictureKind::NeedMore(10));
    }
}
