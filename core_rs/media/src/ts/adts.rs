//! ADTS headers (ISO/IEC 14496-3 1.A.2.2), which carry AAC in a transport stream.

use crate::codec::aac::{AacConfig, RATES};
use crate::{Error, Result};

/// Bytes of a header without CRC.
pub(super) const HEADER: usize = 7;
/// The largest frame that `aac_frame_length` (13 bits) can name, header included.
const LONGEST: usize = (1 << 13) - 1;

/// A header that lacks nothing but the frame's length.
#[derive(Clone, Copy, Debug)]
pub(super) struct Adts([u8; HEADER]);

impl Adts {
    /// # Errors
    /// [`crate::ErrorKind::Unsupported`] where ADTS has no way to say what the configuration says.
    pub(super) fn new(config: &AacConfig) -> Result<Self> {
        let refused =
            |why: String| Err(Error::unsupported(format!("{why}: ADTS cannot express it; fMP4 segments can")));
        if !(1..=4).contains(&config.object_type) {
            return refused(format!("AAC object type {}", config.object_type));
        }
        // A rate that is written out may well be one of the table's.
        let index = match config.frequency_index {
            15 => RATES.iter().position(|&rate| rate == config.sample_rate).unwrap_or(15) as u8,
            index => index,
        };
        if index > 12 {
            return refused(format!("an AAC sampling rate of {} Hz, which is not in the table", config.sample_rate));
        }
        if !(1..=7).contains(&config.channel_config) {
            return refused(match config.channel_config {
                0 => "AAC channels described by a program config element".to_owned(),
                other => format!("AAC channel configuration {other}, which does not fit 3 bits"),
            });
        }
        if config.frame_length != 1024 {
            return refused(format!("AAC frames of {} samples", config.frame_length));
        }
        let (profile, rate, channels) = (config.object_type - 1, index, config.channel_config);
        // MPEG-4, no CRC; buffer fullness 0x7FF says that the rate varies; one raw data block.
        Ok(Self([0xFF, 0xF1, profile << 6 | rate << 2 | channels >> 2, (channels & 3) << 6, 0, 0x1F, 0xFC]))
    }

    /// The header of a frame of `size` bytes, header not included.
    #[inline]
    pub(super) fn header(self, size: u32) -> [u8; HEADER] {
        let length = size as usize + HEADER;
        let Self(mut header) = self;
        header[3] |= (length >> 11) as u8;
        header[4] = (length >> 3) as u8;
        header[5] |= (length << 5) as u8;
        header
    }

    /// # Errors
    /// [`crate::ErrorKind::Unsupported`] where a frame of `size` bytes is too long.
    pub(super) fn check(size: u32) -> Result<()> {
        if size as usize + HEADER > LONGEST {
            return Err(Error::unsupported(format!(
                "an AAC frame of {size} bytes: ADTS ends at {LONGEST}, header included"
            )));
        }
        Ok(())
    }
}
