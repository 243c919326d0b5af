//! Sample descriptions. Live in `stbl`. ISO/IEC 14496-12 8.5.2, 12.1.3, 12.2.3.

use crate::codec::aac::AacConfig;
use crate::codec::avc::AvcConfig;
use crate::codec::esds::Esds;
use crate::reader::{Child, FourCc, Reader};
use crate::track::{Config, Kind};
use crate::{Error, ErrorKind, Result, limits};

/// A sample entry, not yet looked into.
#[derive(Clone, Copy, Debug)]
pub(super) struct SampleEntry<'a> {
    entry: Child<'a>,
    /// Version of the `stsd` box.
    version: u8,
}

/// What a sample entry turned out to hold.
#[derive(Debug)]
pub(super) enum Described {
    /// Something to be carried.
    Config(Config),
    /// Something else: its name, and why it is left out.
    Other { codec: String, reason: String },
}

/// The entries in order. One that nothing refers to may hold anything.
pub(super) fn parse(mut r: Reader<'_>) -> Result<Vec<SampleEntry<'_>>> {
    let (version, _) = r.full_box()?;
    let here = r;
    let count = r.u32()? as usize;
    let mut entries = Vec::new();
    while entries.len() < count {
        let Some(entry) = r.child()? else {
            return Err(here.malformed(format!("{count} entries announced, {} there", entries.len())));
        };
        if entries.len() == limits::SAMPLE_ENTRIES {
            return Err(Error::limit(format!("more than {} sample entries", limits::SAMPLE_ENTRIES)).at(here.offset()));
        }
        entries.push(SampleEntry { entry, version });
    }
    Ok(entries)
}

impl SampleEntry<'_> {
    /// Picture or sound, where the codec may be one that is carried.
    pub(super) fn kind(&self) -> Option<Kind> {
        match &self.entry.kind.0 {
            b"avc1" | b"avc3" => Some(Kind::Video),
            b"mp4a" => Some(Kind::Audio),
            _ => None,
        }
    }

    /// Which data reference says where the samples lie, counted from 1; `None` in an entry that is too short for it.
    pub(super) fn data_reference_index(&self) -> Option<u16> {
        let mut r = self.entry.body;
        r.skip(6).and_then(|()| r.u16()).ok()
    }

    /// The name of the codec.
    pub(super) fn codec(&self) -> String {
        self.entry.kind.to_string()
    }

    /// Why an entry that has no [`Self::kind`] is left out.
    pub(super) fn reason(&self) -> String {
        match &self.entry.kind.0 {
            b"encv" | b"enca" => "its samples are encrypted (ISO/IEC 23001-7), and there is no key".to_owned(),
            _ => format!("codec {} is not carried", self.entry.kind),
        }
    }

    pub(super) fn describe(&self) -> Result<Described> {
        let described = match &self.entry.kind.0 {
            b"avc1" => avc(&self.entry, false),
            b"avc3" => avc(&self.entry, true),
            b"mp4a" => aac(&self.entry, self.version),
            _ => Ok(Described::Other { codec: self.codec(), reason: self.reason() }),
        };
        described.or_else(|error| match error.kind() {
            ErrorKind::Unsupported => Ok(Described::Other { codec: self.codec(), reason: error.to_string() }),
            _ => Err(error.within(self.entry.kind)),
        })
    }
}

/// VisualSampleEntry and `avcC` (ISO/IEC 14496-15 5.4.2).
fn avc(entry: &Child<'_>, in_band: bool) -> Result<Described> {
    let mut r = entry.body;
    r.skip(6 + 2 + 16)?; // reserved, data_reference_index, pre_defined and reserved
    let size = (r.u16()?, r.u16()?);
    r.skip(50)?; // resolution, frame_count, compressorname, depth, pre_defined
    while let Some(child) = r.child()? {
        if child.kind == FourCc(*b"avcC") {
            let config = AvcConfig::parse(child.body, entry.raw, in_band, size);
            return config.map(|config| Described::Config(Config::Avc(config))).map_err(|error| error.within("avcC"));
        }
    }
    Err(entry.body.malformed("no avcC"))
}

/// AudioSampleEntry and `esds` (ISO/IEC 14496-14 5.6), and QuickTime's longer sound descriptions.
fn aac(entry: &Child<'_>, stsd_version: u8) -> Result<Described> {
    let mut r = entry.body;
    r.skip(6 + 2)?; // reserved, data_reference_index
    let version = r.u16()?;
    r.skip(6)?;
    let channels = r.u16()?;
    r.skip(6)?;
    let rate = r.u32()? >> 16;
    // QuickTime's version 1 adds 16 bytes and its version 2 adds 36; ISO's AudioSampleEntryV1, in a version-1 `stsd`, adds none.
    r.skip(match (stsd_version, version) {
        (0, 1) => 16,
        (0, 2) => 36,
        _ => 0,
    })?;
    let Some(esds) = find_esds(r)? else {
        return Err(entry.body.malformed("no esds"));
    };
    let within = |error: Error| error.within("esds");
    let esds = Esds::parse(esds).map_err(within)?;
    let indication = esds.object_type_indication;
    let plain;
    let asc = match (indication, esds.decoder_specific) {
        (0x40 | 0x66..=0x68, Some(asc)) => asc,
        (0x66..=0x68, None) => {
            // MPEG-2 AAC Main, LC and SSR are MPEG-4 object types 1 to 3 (ISO/IEC 14496-1 table 5).
            plain = AacConfig::plain_asc(indication - 0x65, rate, channels).map_err(|e| within(e.at(esds.offset)))?;
            &plain[..]
        }
        (0x40, None) => return Err(within(Error::malformed("no AudioSpecificConfig").at(esds.offset))),
        _ => {
            let codec = format!("mp4a.{indication:02x}");
            let reason = format!("codec {codec} is not carried");
            return Ok(Described::Other { codec, reason });
        }
    };
    let config = AacConfig::parse(asc, entry.raw).map_err(|error| within(error.at(esds.offset)))?;
    Ok(Described::Config(Config::Aac(config)))
}

/// `esds` lies in the sample entry, in QuickTime files inside `wave`.
fn find_esds(mut r: Reader<'_>) -> Result<Option<Reader<'_>>> {
    while let Some(child) = r.child()? {
        match &child.kind.0 {
            b"esds" => return Ok(Some(child.body)),
            b"wave" => {
                let mut wave = child.body;
                while let Some(inner) = wave.child().map_err(|error| error.within("wave"))? {
                    if inner.kind == FourCc(*b"esds") {
                        return Ok(Some(inner.body));
                    }
                }
            }
            _ => {}
        }
    }
    Ok(None)
}

#[cfg(test)]
mod tests {
    use super::super::testing::{aac_entry, avc_entry, bx, full};
    use super::*;
    use crate::codec::esds::tests::esds;

    fn describe(version: u8, entry: &[u8]) -> Result<Described> {
        let stsd = [&[version, 0, 0, 0, 0, 0, 0, 1][..], entry].concat();
        parse(Reader::new(&stsd, 0))?[0].describe()
    }

    fn is_aac(described: Result<Described>) -> bool {
        matches!(described, Ok(Described::Config(Config::Aac(_))))
    }

    #[test]
    fn avc1_and_mp4a() {
        let Ok(Described::Config(Config::Avc(config))) = describe(0, &avc_entry(b"avc1")) else { panic!() };
        assert_eq!((config.width, config.entry), (320, avc_entry(b"avc1")));
        let Ok(Described::Config(Config::Aac(config))) = describe(0, &aac_entry()) else { panic!() };
        assert_eq!((config.sample_rate, config.entry), (44100, aac_entry()));
    }

    /// A sound description of `version` with `extra` bytes and then `children`.
    fn sound(version: u8, extra: usize, children: &[u8]) -> Vec<u8> {
        let fixed =
            [&[0, 0, 0, 0, 0, 0, 0, 1, 0, version][..], &[0; 6], &[0, 2, 0, 16, 0, 0, 0, 0, 0xac, 0x44, 0, 0]].concat();
        bx(b"mp4a", &[&fixed[..], &vec![0; extra], children].concat())
    }

    #[test]
    fn quicktime_sound_descriptions() {
        let esds = bx(b"esds", &esds(0x40, &[0x12, 0x10]));
        let wave = bx(b"wave", &[bx(b"frma", b"mp4a"), esds.clone(), vec![0, 0, 0, 8, 0, 0, 0, 0]].concat());
        assert!(is_aac(describe(0, &sound(1, 16, &wave))));
        assert!(is_aac(describe(0, &sound(2, 36, &wave))));
        assert!(is_aac(describe(1, &sound(1, 0, &[full(b"srat", 0, 0, &[0, 0, 0xbb, 0x80]), esds].concat()))));
    }

    #[test]
    fn other_codecs_have_a_name_and_a_reason() {
        let name = |entry: &[u8]| match describe(0, entry) {
            Ok(Described::Other { codec, reason }) => (codec, reason),
            other => panic!("{other:?}"),
        };
        assert_eq!(name(&bx(b"hvc1", &[0; 90])).0, "hvc1");
        assert!(name(&bx(b"encv", &[0; 90])).1.contains("encrypted"));
        assert_eq!(name(&sound(0, 0, &bx(b"esds", &esds(0x6b, &[])))).0, "mp4a.6b");
        // xHE-AAC (42) is mp4a with another object type.
        assert!(name(&sound(0, 0, &bx(b"esds", &esds(0x40, &[0xf9, 0x48, 0x80, 0])))).1.contains("42"));
    }

    #[test]
    fn mpeg2_aac_needs_no_specific_config() {
        let Ok(Described::Config(Config::Aac(config))) = describe(0, &sound(0, 0, &bx(b"esds", &esds(0x67, &[]))))
        else {
            panic!()
        };
        assert_eq!((config.object_type, config.sample_rate, config.channels), (2, 44100, 2));
        assert!(describe(0, &sound(0, 0, &bx(b"esds", &esds(0x40, &[])))).is_err());
    }

    #[test]
    fn rejects() {
        assert!(parse(Reader::new(&[0, 0, 0, 0, 0, 0, 0, 1], 0)).is_err());
        assert!(parse(Reader::new(&[0, 0, 0, 0, 0xff, 0xff, 0xff, 0xff], 0)).is_err());
        let error = describe(0, &bx(b"avc1", &[0; 78])).unwrap_err();
        assert_eq!(error.path(), "avc1");
        let many = [&[0, 0, 0, 0, 0, 0, 2, 0][..], &bx(b"free", b"").repeat(512)].concat();
        assert_eq!(parse(Reader::new(&many, 0)).unwrap_err().kind(), ErrorKind::Limit);
    }
}
