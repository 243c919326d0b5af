//! The media initialization section: `ftyp` and `moov` without samples (RFC 8216 4.3.2.5).

use super::{boxed, full_box, put};
use crate::codec::aac::AacConfig;
use crate::codec::avc::AvcConfig;
use crate::track::{Config, Kind, Track};

/// The section for one configuration of `track`.
pub(super) fn init(track: &Track, config: &Config) -> Vec<u8> {
    let mut out = Vec::with_capacity(1024);
    boxed(&mut out, b"ftyp", |out| {
        out.extend_from_slice(b"iso6\0\0\0\0iso6cmfcmp41");
    });
    boxed(&mut out, b"moov", |out| {
        full_box(out, b"mvhd", 0, 0, |out| {
            // Creation and modification time, time scale, duration (unknown: 0), rate, volume.
            for value in [0, 0, track.timescale.get(), 0, 0x0001_0000, 0x0100_0000, 0, 0] {
                put(out, value);
            }
            matrix(out, &[0x0001_0000, 0, 0, 0, 0x0001_0000, 0, 0, 0, 0x4000_0000]);
            out.extend_from_slice(&[0; 24]);
            put(out, 2); // next_track_ID
        });
        boxed(out, b"trak", |out| trak(out, track, config));
        boxed(out, b"mvex", |out| {
            full_box(out, b"trex", 0, 0, |out| {
                for value in [1, 1, 0, 0, 0] {
                    put(out, value);
                }
            });
        });
    });
    out
}

fn matrix(out: &mut Vec<u8>, matrix: &[i32; 9]) {
    for value in matrix {
        out.extend_from_slice(&value.to_be_bytes());
    }
}

fn trak(out: &mut Vec<u8>, track: &Track, config: &Config) {
    // Flags: enabled, in movie, in preview.
    full_box(out, b"tkhd", 0, 7, |out| {
        for value in [0, 0, 1, 0, 0, 0, 0, 0] {
            put(out, value);
        }
        put(out, if track.kind == Kind::Audio { 0x0100_0000 } else { 0 });
        matrix(out, &track.matrix);
        let (width, height) = match config {
            Config::Avc(avc) => avc.presentation_size(),
            Config::Aac(_) => (0, 0),
        };
        put(out, width);
        put(out, height);
    });
    boxed(out, b"mdia", |out| {
        full_box(out, b"mdhd", 0, 0, |out| {
            for value in [0, 0, track.timescale.get(), 0] {
                put(out, value);
            }
            put(out, language(&track.language) << 16);
        });
        let (handler, name): (&[u8; 4], &[u8]) = match track.kind {
            Kind::Video => (b"vide", b"video\0"),
            Kind::Audio => (b"soun", b"audio\0"),
        };
        full_box(out, b"hdlr", 0, 0, |out| {
            put(out, 0);
            out.extend_from_slice(handler);
            out.extend_from_slice(&[0; 12]);
            out.extend_from_slice(name);
        });
        boxed(out, b"minf", |out| {
            match track.kind {
                Kind::Video => full_box(out, b"vmhd", 0, 1, |out| out.extend_from_slice(&[0; 8])),
                Kind::Audio => full_box(out, b"smhd", 0, 0, |out| out.extend_from_slice(&[0; 4])),
            }
            boxed(out, b"dinf", |out| {
                full_box(out, b"dref", 0, 0, |out| {
                    put(out, 1);
                    full_box(out, b"url ", 0, 1, |_| {});
                });
            });
            boxed(out, b"stbl", |out| {
                full_box(out, b"stsd", 0, 0, |out| {
                    put(out, 1);
                    match config {
                        Config::Avc(avc) => picture_entry(out, avc),
                        Config::Aac(aac) => sound_entry(out, aac),
                    }
                });
                full_box(out, b"stts", 0, 0, |out| put(out, 0));
                full_box(out, b"stsc", 0, 0, |out| put(out, 0));
                full_box(out, b"stsz", 0, 0, |out| out.extend_from_slice(&[0; 8]));
                full_box(out, b"stco", 0, 0, |out| put(out, 0));
            });
        });
    });
}

/// Three letters of five bits (ISO/IEC 14496-12 8.4.2.3); `und` for what is no such code.
fn language(code: &str) -> u32 {
    let pack = |code: &[u8]| code.iter().fold(0, |packed, letter| packed << 5 | u32::from(letter - 0x60));
    let valid = code.len() == 3 && code.bytes().all(|letter| letter.is_ascii_lowercase());
    pack(if valid { code.as_bytes() } else { b"und" })
}

/// `avc1` or `avc3` (ISO/IEC 14496-15 5.4.2), with those of the source's child boxes that a player may need.
fn picture_entry(out: &mut Vec<u8>, avc: &AvcConfig) {
    boxed(out, if avc.in_band { b"avc3" } else { b"avc1" }, |out| {
        out.extend_from_slice(&[0, 0, 0, 0, 0, 0, 0, 1]);
        out.extend_from_slice(&[0; 16]);
        out.extend_from_slice(&avc.width.to_be_bytes());
        out.extend_from_slice(&avc.height.to_be_bytes());
        // 72 dpi twice, reserved, one frame a sample, no compressor name, 24 bit, -1.
        for value in [0x0048_0000, 0x0048_0000, 0] {
            put(out, value);
        }
        out.extend_from_slice(&[0, 1]);
        out.extend_from_slice(&[0; 32]);
        out.extend_from_slice(&[0, 0x18, 0xFF, 0xFF]);
        boxed(out, b"avcC", |out| out.extend_from_slice(&avc.record));
        for (name, body) in avc.entry_boxes() {
            let wanted = &name == b"pasp" || &name == b"colr" && body.starts_with(b"nclx");
            if wanted {
                boxed(out, &name, |out| out.extend_from_slice(body));
            }
        }
    });
}

/// `mp4a` with `esds` (ISO/IEC 14496-14 5.6.1), made anew: QuickTime wraps it in ways that few players know.
fn sound_entry(out: &mut Vec<u8>, aac: &AacConfig) {
    boxed(out, b"mp4a", |out| {
        out.extend_from_slice(&[0, 0, 0, 0, 0, 0, 0, 1]);
        out.extend_from_slice(&[0; 8]);
        out.extend_from_slice(&[0, aac.channels, 0, 16, 0, 0, 0, 0]);
        // 16.16; a rate that does not fit is only in the AudioSpecificConfig.
        put(out, u16::try_from(aac.sample_rate).map_or(0, |rate| u32::from(rate) << 16));
        full_box(out, b"esds", 0, 0, |out| {
            // ES_Descriptor > DecoderConfigDescriptor > DecoderSpecificInfo, and SLConfigDescriptor 2 (ISO/IEC 14496-1 7.2.6).
            let config = [[0x40, 0x15].as_slice(), &[0; 11], &descriptor(5, &aac.asc)].concat();
            let es = [[0, 0, 0].as_slice(), &descriptor(4, &config), &descriptor(6, &[2])].concat();
            out.extend_from_slice(&descriptor(3, &es));
        });
    });
}

/// A descriptor with its expandable length (ISO/IEC 14496-1 8.3.3), as short as it can be.
fn descriptor(tag: u8, body: &[u8]) -> Vec<u8> {
    let mut length = vec![(body.len() & 0x7F) as u8];
    let mut rest = body.len() >> 7;
    while rest > 0 {
        length.push((rest & 0x7F) as u8 | 0x80);
        rest >>= 7;
    }
    length.reverse();
    [&[tag], length.as_slice(), body].concat()
}
