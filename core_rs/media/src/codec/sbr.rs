//! Spectral band replication that nothing announces: implicit signalling, ISO/IEC 14496-3 1.6.5.
//!
//! An `AudioSpecificConfig` may say AAC-LC and no more, while each frame carries replication in a fill element, which a decoder
//! that knows it finds and plays at twice the rate. Where that element begins only shows to who has decoded every Huffman code
//! before it. But it follows the channels (4.5.2.8), so in mono and stereo it stands right before `ID_END`, whose three set bits are
//! the last ones of the frame. So it is looked for backwards: an element whose own count of bytes leads exactly to the
//! end. Spectral data look like that in one frame of eighty, so many frames have to agree, and one of them has to hold
//! the header without which no decoder can begin.
//!
//! What this does not see: replication beside more than two channels, whose fill elements lie between them; and parametric
//! stereo, which lies behind all Huffman codes of the replication itself. `mp4a.40.5` is right for both, since decoders find it
//! likewise.

use super::aac_frame::{EXT_SBR, EXT_SBR_CRC, FIL, FrameContent, frame_content};

/// Frames that are looked at: two thirds of a second at 24 kHz. The first frame has a header, and encoders repeat it about twice a
/// second, for those who begin later.
pub(crate) const FRAMES: usize = 16;
/// The largest frame that is looked at, bytes: more than two channels can fill (4.5.3.1).
pub(crate) const LARGEST: u32 = 1 << 13;
/// Most channels beside which replication is looked for.
pub(crate) const CHANNELS: u8 = 2;
/// Frames that have to agree, where there are as many.
const NEEDED: usize = 8;
/// No `sbr_extension_data` is shorter, bytes.
const SHORTEST: usize = 3;
const END: u32 = 7;

/// What the frames looked at so far say.
#[derive(Debug)]
pub(crate) struct Evidence {
    needed: usize,
    left: usize,
    found: usize,
    header: bool,
}

impl Evidence {
    /// Of `frames` frames.
    pub(crate) fn of(frames: usize) -> Self {
        Self { needed: NEEDED.min(frames), left: frames, found: 0, header: false }
    }

    /// Looks at one more frame; says whether the track has replication as soon as that is known.
    pub(crate) fn add(&mut self, frame: &[u8]) -> Option<bool> {
        self.left = self.left.saturating_sub(1);
        if let Some(extension) = last_extension(frame) {
            self.found += 1;
            self.header |= extension == Extension::WithHeader;
        }
        if self.found >= self.needed && self.header {
            return Some(true);
        }
        (self.left == 0 || self.found + self.left < self.needed).then_some(false)
    }
}

#[derive(Clone, Copy, Debug, Eq, PartialEq)]
enum Extension {
    WithHeader,
    WithoutHeader,
}

/// The replication that `frame` ends with.
fn last_extension(frame: &[u8]) -> Option<Extension> {
    // A frame that says itself that it has no sound has been read to its end.
    if frame_content(frame) != FrameContent::Sound {
        return None;
    }
    let last = *frame.last().filter(|&&byte| byte != 0)?;
    let end = (frame.len() * 8 - last.trailing_zeros() as usize).checked_sub(3)?;
    if field(frame, end, 3) != END {
        return None;
    }
    (SHORTEST..=14 + 255).find_map(|count| {
        let data = end.checked_sub(8 * count)?;
        let head = |escape: u32, bits: usize| {
            let at = data.checked_sub(3 + bits)?;
            (field(frame, at, 3 + bits) == FIL << bits | escape).then_some(())
        };
        // count, or 15 and esc_count, of which one is taken off (table 4.11).
        if count < 15 { head(count as u32, 4) } else { None }.or_else(|| {
            let more = (count + 1).checked_sub(15)?;
            head(0xf00 | more as u32, 12)
        })?;
        extension(frame, data)
    })
}

/// `extension_payload` of replication (table 4.57) at bit `at`, which is known to be long enough for a header.
fn extension(frame: &[u8], at: usize) -> Option<Extension> {
    let kind = field(frame, at, 4);
    let data = match kind {
        _ if !EXT_SBR.contains(&kind) => return None,
        EXT_SBR_CRC => at + 4 + 10,
        _ => at + 4,
    };
    if field(frame, data, 1) == 0 {
        return Some(Extension::WithoutHeader);
    }
    // bs_amp_res, bs_start_freq, bs_stop_freq, bs_xover_band, and two bits that are reserved (table 4.63).
    (field(frame, data + 1 + 12, 2) == 0).then_some(Extension::WithHeader)
}

/// `bits` bits at bit `at`; those past the end are 0.
fn field(bytes: &[u8], at: usize, bits: usize) -> u32 {
    (at..at + bits).fold(0, |value, at| {
        let bit = bytes.get(at / 8).map_or(0, |byte| byte >> (7 - at % 8) & 1);
        value << 1 | u32::from(bit)
    })
}

#[cfg(test)]
mod tests {
    use super::*;

    /// Bits, highest first.
    #[derive(Default)]
    struct Frame(Vec<bool>);

    impl Frame {
        /// A channel with `bits` bits of what cannot be told from a spectrum.
        fn sound(bits: usize, state: &mut u32) -> Self {
            // A single channel element, its gain, one long window with bands of the first codebook.
            let frame = Self::default().add(&[(0, 3), (0, 4), (100, 8), (0, 4), (20, 6), (0, 1), (1, 4), (20, 5)]);
            (0..bits).fold(frame, |frame, _| frame.add(&[(random(state) >> 31, 1)]))
        }

        fn add(mut self, fields: &[(u32, usize)]) -> Self {
            for &(value, bits) in fields {
                self.0.extend((0..bits).rev().map(|bit| value >> bit & 1 == 1));
            }
            self
        }

        /// A fill element of `count` bytes that begins with `head`.
        fn fill(self, count: u32, head: &[(u32, usize)]) -> Self {
            let frame = self.add(&[(FIL, 3)]);
            let frame = if count < 15 { frame.add(&[(count, 4)]) } else { frame.add(&[(15, 4), (count - 14, 8)]) };
            let used: usize = head.iter().map(|&(_, bits)| bits).sum();
            (used..8 * count as usize).fold(frame.add(head), |frame, at| frame.add(&[(at as u32 & 1, 1)]))
        }

        fn end(self) -> Vec<u8> {
            let bits = self.add(&[(END, 3)]).0;
            bits.chunks(8)
                .map(|byte| byte.iter().enumerate().fold(0, |v, (i, &b)| v | u8::from(b) << (7 - i)))
                .collect()
        }
    }

    fn random(state: &mut u32) -> u32 {
        *state = state.wrapping_mul(1_664_525).wrapping_add(1_013_904_223);
        *state
    }

    const HEADER: &[(u32, usize)] = &[(0xd, 4), (1, 1), (1, 1), (5, 4), (9, 4), (0, 3), (0, 2)];
    const NO_HEADER: &[(u32, usize)] = &[(0xd, 4), (0, 1)];

    #[test]
    fn the_last_element_is_found_whatever_its_length_and_place() {
        let mut state = 1;
        for count in (3..30).chain([100, 268, 269]) {
            for bits in 0..16 {
                let sound = |state: &mut u32| Frame::sound(300 + bits, state);
                let with = sound(&mut state).fill(count, HEADER).end();
                assert_eq!(last_extension(&with), Some(Extension::WithHeader), "{count} {bits}");
                let without = sound(&mut state).fill(count, NO_HEADER).end();
                assert_eq!(last_extension(&without), Some(Extension::WithoutHeader), "{count} {bits}");
            }
        }
        let checked = &[(0xe, 4), (0x155, 10), (1, 1), (0, 12), (0, 2)];
        assert_eq!(last_extension(&Frame::sound(99, &mut state).fill(20, checked).end()), Some(Extension::WithHeader));
    }

    fn found(frames: &[Vec<u8>]) -> Option<bool> {
        let mut evidence = Evidence::of(frames.len());
        frames.iter().find_map(|frame| evidence.add(frame))
    }

    #[test]
    fn frames_have_to_agree_and_one_to_have_a_header() {
        let mut state = 2;
        let mut frame = |head: &[(u32, usize)]| Frame::sound(500, &mut state).fill(20, head).end();
        let some = |count: usize, frame: &mut dyn FnMut() -> Vec<u8>| (0..count).map(|_| frame()).collect::<Vec<_>>();
        let header = some(1, &mut || frame(HEADER));
        let replicated = some(15, &mut || frame(NO_HEADER));
        // Bytes that only fill up, and reserved bits that are set.
        let plain = some(15, &mut || frame(&[(0, 8)]));
        let reserved = some(15, &mut || frame(&[(0xd, 4), (1, 1), (0, 12), (2, 2)]));
        assert_eq!(found(&[header.clone(), replicated.clone()].concat()), Some(true));
        assert_eq!(found(&[replicated.clone(), header.clone()].concat()), Some(true));
        assert_eq!(found(&[plain[..8].to_vec(), replicated[..7].to_vec(), header.clone()].concat()), Some(true));
        assert_eq!(found(&[plain[..9].to_vec(), replicated[..6].to_vec(), header.clone()].concat()), Some(false));
        assert_eq!(found(&[header.clone(), plain].concat()), Some(false));
        assert_eq!(found(&reserved), Some(false));
        assert_eq!(found(&replicated), Some(false));
        assert_eq!(found(&header), Some(true));
        assert_eq!(found(&[header, reserved[..1].to_vec()].concat()), Some(false));
    }

    #[test]
    fn sound_without_it_is_not_taken_for_it() {
        let mut state = 3;
        let mut looks = 0;
        for _ in 0..100 {
            let frames: Vec<Vec<u8>> = (0..FRAMES).map(|_| Frame::sound(700, &mut state).end()).collect();
            looks += frames.iter().filter(|frame| last_extension(frame).is_some()).count();
            assert_eq!(found(&frames), Some(false));
        }
        // Not never: it is the agreement that counts.
        assert!((1..100 * FRAMES / 40).contains(&looks), "{looks}");
    }

    #[test]
    fn any_bytes_are_looked_at() {
        let mut state = 4;
        for len in 0..200 {
            let bytes: Vec<u8> = (0..len).map(|_| (random(&mut state) >> 24) as u8).collect();
            last_extension(&bytes);
        }
        // What says that it is silent is, however it ends.
        assert_eq!(last_extension(&[0x21, 0x10, 0x04, 0x60, 0x8c, 0x1c]), None);
    }
}
