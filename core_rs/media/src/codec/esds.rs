//! `esds`: the ES_Descriptor of an `mp4a` sample entry (ISO/IEC 14496-1 7.2.6.5, ISO/IEC 14496-14 5.6).

use crate::Result;
use crate::reader::Reader;

/// What an ES_Descriptor says about the decoder.
#[derive(Debug, Eq, PartialEq)]
pub(crate) struct Esds<'a> {
    /// `objectTypeIndication`: which family of codecs.
    pub(crate) object_type_indication: u8,
    /// `DecoderSpecificInfo`; for AAC the `AudioSpecificConfig`.
    pub(crate) decoder_specific: Option<&'a [u8]>,
    /// Where it lies in the source.
    pub(crate) offset: u64,
}

const ES_DESCR: u8 = 3;
const DECODER_CONFIG_DESCR: u8 = 4;
const DECODER_SPECIFIC_INFO: u8 = 5;

/// The next descriptor with `tag`; others before it are passed over.
fn descriptor<'a>(r: &mut Reader<'a>, tag: u8) -> Result<Option<Reader<'a>>> {
    while r.remaining() > 0 {
        let found = r.u8()?;
        // sizeOfInstance: seven bits a byte, the highest bit says that another one follows (8.3.3).
        let mut size = 0usize;
        for _ in 0..4 {
            let byte = r.u8()?;
            size = size << 7 | usize::from(byte & 0x7f);
            if byte & 0x80 == 0 {
                break;
            }
        }
        // Some writers state more than the box holds; what is there is what counts.
        let body = r.sub(size.min(r.remaining()))?;
        if found == tag {
            return Ok(Some(body));
        }
    }
    Ok(None)
}

impl<'a> Esds<'a> {
    /// Parses the content of the box.
    pub(crate) fn parse(mut r: Reader<'a>) -> Result<Self> {
        let start = r;
        r.full_box()?;
        let mut es = descriptor(&mut r, ES_DESCR)?.ok_or_else(|| start.malformed("no ES_Descriptor"))?;
        es.u16()?; // ES_ID
        let flags = es.u8()?;
        if flags & 0x80 != 0 {
            es.u16()?; // dependsOn_ES_ID
        }
        if flags & 0x40 != 0 {
            let len = es.u8()?;
            es.skip(usize::from(len))?; // URLstring
        }
        if flags & 0x20 != 0 {
            es.u16()?; // OCR_ES_Id
        }
        let config = descriptor(&mut es, DECODER_CONFIG_DESCR)?;
        let mut config = config.ok_or_else(|| start.malformed("no DecoderConfigDescriptor"))?;
        let object_type_indication = config.u8()?;
        config.skip(12)?; // streamType, bufferSizeDB, maxBitrate, avgBitrate
        let specific = descriptor(&mut config, DECODER_SPECIFIC_INFO)?;
        Ok(Self {
            object_type_indication,
            decoder_specific: specific.map(|r| r.rest()).filter(|bytes| !bytes.is_empty()),
            offset: specific.map_or(start.offset(), |r| r.offset()),
        })
    }
}

#[cfg(test)]
pub(crate) mod tests {
    use super::*;

    /// The content of an `esds` box.
    pub(crate) fn esds(object_type_indication: u8, asc: &[u8]) -> Vec<u8> {
        let mut config = vec![object_type_indication, 0x15];
        config.extend([0; 11]);
        config.extend([5, asc.len() as u8]);
        config.extend(asc);
        let mut es = vec![0, 1, 0, 4, config.len() as u8];
        es.extend(config);
        es.extend([6, 1, 2]);
        let mut out = vec![0, 0, 0, 0, 3, es.len() as u8];
        out.extend(es);
        out
    }

    #[test]
    fn descriptors() {
        let bytes = esds(0x40, &[0x12, 0x10]);
        let parsed = Esds::parse(Reader::new(&bytes, 0)).unwrap();
        assert_eq!((parsed.object_type_indication, parsed.decoder_specific), (0x40, Some(&[0x12, 0x10][..])));
        assert_eq!(&bytes[parsed.offset as usize..][..2], [0x12, 0x10]);
        for end in 0..20 {
            assert!(Esds::parse(Reader::new(&bytes[..end], 0)).is_err(), "{end}");
        }
    }

    #[test]
    fn a_length_of_two_bytes() {
        let config = [&[0x40, 0x15][..], &[0; 11], &[5, 0x81, 0x02], &[0x12; 130]].concat();
        let es = [&[0, 0, 0, 0, 3, 0x81, 0x1b, 0, 1, 0, 4, 0x81, 0x12][..], &config, &[6, 1, 2]].concat();
        assert_eq!(Esds::parse(Reader::new(&es, 0)).unwrap().decoder_specific, Some(&[0x12; 130][..]));
    }

    #[test]
    fn long_lengths_and_options() {
        let bytes = [
            &[
                0, 0, 0, 0, 3, 0x80, 0x80, 0x80, 36, 0, 1, 0xe0, 0, 9, 2, b'x', b'y', 0, 8, 4, 0x80, 0x80, 0x80, 20,
                0x69, 0x15,
            ][..],
            &[0; 11],
            &[5, 0x80, 0x80, 0x80, 0],
        ]
        .concat();
        let parsed = Esds::parse(Reader::new(&bytes, 0)).unwrap();
        assert_eq!((parsed.object_type_indication, parsed.decoder_specific), (0x69, None));
    }
}
