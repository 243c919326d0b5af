//! AAC: `AudioSpecificConfig` (ISO/IEC 14496-3 1.6.2.1) out of an `esds` box.

use std::hash::{Hash, Hasher};

use super::bits::Bits;
use crate::{Error, Result};

/// An AAC decoder configuration.
#[derive(Clone, Debug, Eq, PartialEq)]
pub struct AacConfig {
    /// The `AudioSpecificConfig`.
    pub asc: Vec<u8>,
    /// Object type of the core layer: 2 for AAC-LC.
    pub object_type: u8,
    /// `samplingFrequencyIndex` of the core layer, 15 where the rate is written out.
    pub frequency_index: u8,
    /// Sampling rate of the core layer, Hz.
    pub sample_rate: u32,
    /// `channelConfiguration`; 0 where a program config element describes the channels.
    pub channel_config: u8,
    /// Channels.
    pub channels: u8,
    /// Spectral band replication (HE-AAC): signalled explicitly, or found in the frames.
    pub sbr: bool,
    /// Parametric stereo (HE-AAC v2), signalled explicitly.
    pub ps: bool,
    /// Sampling rate of what is heard, Hz: `extensionSamplingFrequency` where replication is signalled. Twice the core's, as a
    /// rule; the core's own where replication is downsampled.
    pub output_rate: u32,
    /// Nothing says whether there is replication, and the core's rate allows it: then the frames tell.
    pub(crate) may_replicate: bool,
    /// Samples a frame of the core layer: 1024, or 960.
    pub frame_length: u16,
    /// The whole sample entry box as it stands in the file, header included.
    pub entry: Vec<u8>,
}

/// `samplingFrequencyIndex`, ISO/IEC 14496-3 table 1.18.
pub(crate) const RATES: [u32; 13] =
    [96000, 88200, 64000, 48000, 44100, 32000, 24000, 22050, 16000, 12000, 11025, 8000, 7350];

/// The highest rate of a core whose decoder looks for replication that nothing announces (ISO/IEC 14496-3 1.6.5.2).
const HIGHEST_IMPLICIT: u32 = 24_000;

const AAC_LC: u8 = 2;
const SBR: u8 = 5;
const PS: u8 = 29;
const ER_BSAC: u8 = 22;

impl AacConfig {
    /// Parses an `AudioSpecificConfig`. An object type that is no AAC with frames of its own size is unsupported.
    pub(crate) fn parse(asc: &[u8], entry: &[u8]) -> Result<Self> {
        let mut b = Bits::new(asc);
        let mut object_type = audio_object_type(&mut b)?;
        let (frequency_index, sample_rate) = rate(&mut b)?;
        let channel_config = b.get(4)? as u8;
        let (mut sbr, mut ps) = (false, false);
        let mut output_rate = sample_rate;
        let hierarchical = object_type == SBR || object_type == PS;
        if hierarchical {
            sbr = true;
            ps = object_type == PS;
            output_rate = rate(&mut b)?.1;
            object_type = audio_object_type(&mut b)?;
            if object_type == ER_BSAC {
                b.skip(4)?;
            }
        }
        if !matches!(object_type, 1..=4) {
            return Err(Error::unsupported(format!(
                "MPEG-4 audio object type {object_type} is not AAC Main, LC, SSR or LTP"
            )));
        }
        if sample_rate == 0 {
            return Err(Error::malformed("sampling frequency is 0"));
        }

        // GASpecificConfig, 4.4.1.
        let frame_length = if b.bit()? { 960 } else { 1024 };
        if b.bit()? {
            b.skip(14)?; // coreCoderDelay
        }
        b.skip(1)?; // extensionFlag, which adds nothing for these object types
        let channels = match channel_config {
            0 => program_config_channels(&mut b)?,
            1..=6 => channel_config,
            7 | 12 | 14 => 8,
            11 => 7,
            other => return Err(Error::unsupported(format!("AAC channel configuration {other}"))),
        };

        // Backward-compatible signalling: syncExtensionType after the core's configuration (1.6.6.1).
        let mut signalled = hierarchical;
        if !hierarchical && b.remaining() >= 16 && b.get(11)? == 0x2b7 && audio_object_type(&mut b)? == SBR {
            signalled = b.remaining() > 0;
            sbr = signalled && b.bit()?;
            if sbr {
                output_rate = rate(&mut b)?.1;
                ps = b.remaining() >= 12 && b.get(11)? == 0x548 && b.bit()?;
            }
        }
        Ok(Self {
            asc: asc.to_vec(),
            object_type,
            frequency_index,
            sample_rate,
            channel_config,
            channels,
            sbr,
            ps,
            output_rate,
            may_replicate: !signalled && object_type == AAC_LC && sample_rate <= HIGHEST_IMPLICIT,
            frame_length,
            entry: entry.to_vec(),
        })
    }

    /// An `AudioSpecificConfig` for MPEG-2 AAC, whose `esds` may have none: `object_type`, rate and channels say it all.
    pub(crate) fn plain_asc(object_type: u8, sample_rate: u32, channels: u16) -> Result<[u8; 2]> {
        let index = RATES.iter().position(|&rate| rate == sample_rate);
        let (Some(index), 1..=6) = (index, channels) else {
            return Err(Error::malformed(format!(
                "no AudioSpecificConfig, and {sample_rate} Hz with {channels} channels do not give one"
            )));
        };
        let word = u16::from(object_type) << 11 | (index as u16) << 7 | channels << 3;
        Ok(word.to_be_bytes())
    }

    /// The same with replication that nothing announces, which doubles the core's rate.
    pub(crate) fn replicated(mut self) -> Self {
        self.sbr = true;
        self.output_rate = 2 * self.sample_rate;
        self
    }

    /// Channels that are heard: parametric stereo makes two of one.
    pub fn output_channels(&self) -> u8 {
        if self.ps { 2 } else { self.channels }
    }

    /// The RFC 6381 string: `mp4a.40.2`, `mp4a.40.5` with SBR, `mp4a.40.29` with PS.
    pub fn codecs(&self) -> String {
        let object_type = match (self.sbr, self.ps) {
            (_, true) => PS,
            (true, false) => SBR,
            (false, false) => self.object_type,
        };
        format!("mp4a.40.{object_type}")
    }

    /// Whether a decoder set up for `other` decodes this as well.
    pub(crate) fn same_decoder(&self, other: &Self) -> bool {
        self.asc == other.asc
    }

    pub(crate) fn nbytes(&self) -> usize {
        self.asc.capacity() + self.entry.capacity()
    }
}

/// What a decoder is set up with. Of the sample entry, all else is about the stream: bit rates and buffer sizes, which another
/// writer of the same frames measures in another way.
impl Hash for AacConfig {
    fn hash<H: Hasher>(&self, state: &mut H) {
        (&self.asc, self.sbr, self.ps, self.output_rate).hash(state);
    }
}

/// `GetAudioObjectType`: five bits, 31 is an escape for six more.
fn audio_object_type(b: &mut Bits<'_>) -> Result<u8> {
    Ok(match b.get(5)? {
        31 => 32 + b.get(6)?,
        kind => kind,
    } as u8)
}

/// Index and Hz; index 15 is an escape for 24 bits of Hz.
fn rate(b: &mut Bits<'_>) -> Result<(u8, u32)> {
    let index = b.get(4)?;
    match RATES.get(index as usize) {
        Some(&rate) => Ok((index as u8, rate)),
        None if index == 15 => Ok((15, b.get(24)?)),
        None => Err(Error::malformed(format!("sampling frequency index {index} is reserved"))),
    }
}

/// Channels of a `program_config_element` (ISO/IEC 14496-3 4.4.1.1): a pair counts two.
pub(super) fn program_config_channels(b: &mut Bits<'_>) -> Result<u8> {
    b.skip(4 + 2 + 4)?; // element_instance_tag, object_type, sampling_frequency_index
    let [front, side, back] = [b.get(4)?, b.get(4)?, b.get(4)?];
    let lfe = b.get(2)?;
    let assoc = b.get(3)?;
    let coupling = b.get(4)?;
    for _ in 0..2 {
        if b.bit()? {
            b.skip(4)?; // mono_mixdown, stereo_mixdown
        }
    }
    if b.bit()? {
        b.skip(3)?; // matrix_mixdown
    }
    let mut channels = lfe;
    for _ in 0..front + side + back {
        channels += 1 + u32::from(b.bit()?);
        b.skip(4)?;
    }
    b.skip((4 * lfe + 4 * assoc + 5 * coupling) as usize)?;
    b.align();
    let comment = b.get(8)? as usize;
    b.skip(8 * comment)?;
    if channels == 0 {
        return Err(Error::malformed("program config element has no channel"));
    }
    Ok(channels as u8)
}

#[cfg(test)]
mod tests {
    use super::*;

    /// Appends bits, highest first.
    struct Asc(Vec<bool>);

    impl Asc {
        fn new(fields: &[(u32, u32)]) -> Self {
            Self(Vec::new()).add(fields)
        }

        fn add(mut self, fields: &[(u32, u32)]) -> Self {
            for &(value, bits) in fields {
                self.0.extend((0..bits).rev().map(|bit| value >> bit & 1 == 1));
            }
            self
        }

        fn align(mut self) -> Self {
            self.0.resize(self.0.len().next_multiple_of(8), false);
            self
        }

        fn parse(self) -> Result<AacConfig> {
            let bits = self.align().0;
            let bytes: Vec<u8> = bits.chunks(8).map(|c| c.iter().fold(0, |v, &b| v << 1 | u8::from(b))).collect();
            AacConfig::parse(&bytes, b"entry")
        }
    }

    #[test]
    fn plain_lc() {
        let config = AacConfig::parse(&[0x12, 0x10], b"").unwrap();
        assert_eq!((config.object_type, config.frequency_index, config.sample_rate), (2, 4, 44100));
        assert_eq!((config.channel_config, config.channels, config.frame_length), (2, 2, 1024));
        assert_eq!((config.sbr, config.ps, config.codecs().as_str()), (false, false, "mp4a.40.2"));
        assert_eq!(AacConfig::plain_asc(2, 44100, 2).unwrap(), [0x12, 0x10]);
        assert!(AacConfig::plain_asc(2, 44101, 2).is_err());
    }

    #[test]
    fn frame_of_960_and_explicit_rate() {
        let config = Asc::new(&[(2, 5), (15, 4), (37_800, 24), (1, 4), (1, 1), (0, 2)]).parse().unwrap();
        assert_eq!((config.frequency_index, config.sample_rate, config.frame_length), (15, 37_800, 960));
        assert!(Asc::new(&[(2, 5), (15, 4), (0, 24), (1, 4), (0, 3)]).parse().is_err());
        assert!(Asc::new(&[(2, 5), (13, 4), (1, 4), (0, 3)]).parse().is_err());
    }

    #[test]
    fn hierarchical_signalling() {
        for (outer, codecs) in [(5, "mp4a.40.5"), (29, "mp4a.40.29")] {
            let asc = Asc::new(&[(outer, 5), (7, 4), (1, 4), (4, 4), (2, 5), (0, 3)]);
            let config = asc.parse().unwrap();
            assert_eq!((config.object_type, config.sample_rate, config.codecs().as_str()), (2, 22050, codecs));
            assert_eq!((config.output_rate, config.may_replicate), (44100, false));
        }
    }

    #[test]
    fn downsampled_replication_keeps_its_rate() {
        // The extension's rate is the core's own, or written out.
        let hierarchical = Asc::new(&[(5, 5), (6, 4), (1, 4), (6, 4), (2, 5), (0, 3)]).parse().unwrap();
        let after = Asc::new(&[(2, 5), (6, 4), (1, 4), (0, 3), (0x2b7, 11), (5, 5), (1, 1), (15, 4), (24_000, 24)]);
        for config in [hierarchical, after.parse().unwrap()] {
            assert_eq!((config.sbr, config.sample_rate, config.output_rate), (true, 24_000, 24_000));
        }
    }

    #[test]
    fn only_what_nothing_says_is_looked_for() {
        let plain = |rate: u32| Asc::new(&[(2, 5), (rate, 4), (1, 4), (0, 3)]);
        assert!(plain(6).parse().unwrap().may_replicate && plain(11).parse().unwrap().may_replicate);
        assert!(!plain(5).parse().unwrap().may_replicate);
        // Main, and LC that says that there is none.
        assert!(!Asc::new(&[(1, 5), (6, 4), (1, 4), (0, 3)]).parse().unwrap().may_replicate);
        assert!(!plain(6).add(&[(0x2b7, 11), (5, 5), (0, 1)]).parse().unwrap().may_replicate);
        let found = plain(7).parse().unwrap().replicated();
        assert_eq!((found.sample_rate, found.output_rate, found.codecs().as_str()), (22_050, 44_100, "mp4a.40.5"));
    }

    #[test]
    fn backward_compatible_signalling() {
        let core = [(2, 5), (6, 4), (1, 4), (0, 3)];
        let sbr = [(0x2b7, 11), (5, 5), (1, 1), (3, 4)];
        let cases = [
            (Asc::new(&core), "mp4a.40.2"),
            (Asc::new(&core).add(&sbr), "mp4a.40.5"),
            (Asc::new(&core).add(&sbr).add(&[(0x548, 11), (0, 1)]), "mp4a.40.5"),
            (Asc::new(&core).add(&sbr).add(&[(0x548, 11), (1, 1)]), "mp4a.40.29"),
            (Asc::new(&core).add(&[(0x2b7, 11), (5, 5), (0, 1)]), "mp4a.40.2"),
        ];
        for (asc, codecs) in cases {
            let config = asc.parse().unwrap();
            assert_eq!((config.codecs().as_str(), config.sample_rate), (codecs, 24000));
            assert_eq!(config.output_rate, if config.sbr { 48000 } else { 24000 });
        }
    }

    #[test]
    fn program_config_element() {
        // One centre, one pair in front, one pair behind, one LFE: 5.1.
        let asc = Asc::new(&[(2, 5), (3, 4), (0, 4), (0, 3)])
            .add(&[(0, 4), (1, 2), (3, 4), (2, 4), (0, 4), (1, 4), (1, 2), (0, 3), (0, 4), (0, 3)])
            .add(&[(0, 1), (0, 4), (1, 1), (0, 4), (1, 1), (1, 4), (0, 4)])
            .align()
            .add(&[(1, 8), (0x78, 8)]);
        let config = asc.parse().unwrap();
        assert_eq!((config.channel_config, config.channels), (0, 6));
    }

    #[test]
    fn channel_configurations() {
        for (channel_config, channels) in [(1, 1), (6, 6), (7, 8), (11, 7), (12, 8), (14, 8)] {
            let config = Asc::new(&[(2, 5), (3, 4), (channel_config, 4), (0, 3)]).parse().unwrap();
            assert_eq!(u32::from(config.channels), channels);
        }
        assert!(Asc::new(&[(2, 5), (3, 4), (13, 4), (0, 3)]).parse().is_err());
    }

    #[test]
    fn other_object_types_are_unsupported() {
        for asc in [Asc::new(&[(31, 5), (10, 6), (3, 4), (2, 4), (0, 8)]), Asc::new(&[(23, 5), (3, 4), (2, 4), (0, 8)])]
        {
            assert_eq!(asc.parse().unwrap_err().kind(), crate::ErrorKind::Unsupported);
        }
        assert!(AacConfig::parse(&[0x12], b"").is_err());
        assert!(AacConfig::parse(&[], b"").is_err());
    }
}
