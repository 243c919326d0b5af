//! What a frame of AAC says before anything of it is decoded: `raw_data_block`, ISO/IEC 14496-3 4.4.2.1.
//!
//! Encoders begin with frames that carry no sound: some write one without any channel, that holds nothing but their name, and
//! most write one of silence, since the first overlap needs a frame before it. Whether a frame is one of these shows in its
//! side information: a spectrum whose every section has the zero codebook takes no bits. So no Huffman code is ever read here;
//! where one would begin, there is sound.

use super::aac::program_config_channels;
use super::bits::Bits;
use crate::{Error, Result};

/// What a frame would make a decoder put out.
#[derive(Clone, Copy, Debug, Eq, PartialEq)]
pub(crate) enum FrameContent {
    /// Nothing: no channel is in it.
    Void,
    /// Channels without any spectral data.
    Silent,
    /// Sound, or something that is not told apart from it.
    Sound,
}

/// `id_syn_ele`, table 4.85.
const SCE: u32 = 0;
const CPE: u32 = 1;
const LFE: u32 = 3;
const DSE: u32 = 4;
const PCE: u32 = 5;
pub(super) const FIL: u32 = 6;
const END: u32 = 7;

/// `extension_type` of spectral band replication, which makes sound of its own (tables 4.57 and 4.121).
pub(super) const EXT_SBR: [u32; 2] = [0xd, EXT_SBR_CRC];
/// The one with a checksum.
pub(super) const EXT_SBR_CRC: u32 = 0xe;
const EIGHT_SHORT_SEQUENCE: u32 = 2;
/// `sect_cb` of a section without spectral data.
const ZERO_HCB: u32 = 0;

/// Says what `frame`, all of it, holds. Bytes that end too early or contradict themselves are a decoder's matter, and sound.
pub(crate) fn frame_content(frame: &[u8]) -> FrameContent {
    match elements(&mut Bits::new(frame)) {
        Ok(Some(0)) => FrameContent::Void,
        Ok(Some(_)) => FrameContent::Silent,
        Ok(None) | Err(_) => FrameContent::Sound,
    }
}

/// How many channel elements the frame has, where all of them are silent.
fn elements(b: &mut Bits<'_>) -> Result<Option<u32>> {
    let mut channels = 0;
    loop {
        let silent = match b.get(3)? {
            SCE | LFE => {
                b.skip(4)?; // element_instance_tag
                individual_channel_stream(b, None)?
            }
            CPE => channel_pair_element(b)?,
            DSE => {
                data_stream_element(b)?;
                continue;
            }
            PCE => {
                program_config_channels(b)?;
                continue;
            }
            FIL => {
                if fill_element(b)? == Fill::Sbr && channels > 0 {
                    return Ok(None);
                }
                continue;
            }
            END => return Ok(Some(channels)),
            // A coupling channel adds to others.
            _ => false,
        };
        if !silent {
            return Ok(None);
        }
        channels += 1;
    }
}

fn channel_pair_element(b: &mut Bits<'_>) -> Result<bool> {
    b.skip(4)?; // element_instance_tag
    let mut common = None;
    if b.bit()? {
        let Some(ics) = ics_info(b)? else { return Ok(false) };
        if b.get(2)? == 1 {
            b.skip(ics.groups * ics.max_sfb)?; // ms_used
        }
        common = Some(ics);
    }
    Ok(individual_channel_stream(b, common)? && individual_channel_stream(b, common)?)
}

/// `data_stream_element`, 4.4.2.1 table 4.10.
fn data_stream_element(b: &mut Bits<'_>) -> Result<()> {
    b.skip(4)?; // element_instance_tag
    let align = b.bit()?;
    let mut count = b.get(8)?;
    if count == 255 {
        count += b.get(8)?;
    }
    if align {
        b.align();
    }
    b.skip(8 * count as usize)
}

#[derive(Clone, Copy, Debug, Eq, PartialEq)]
enum Fill {
    Sbr,
    Other,
}

/// `fill_element`, table 4.11.
fn fill_element(b: &mut Bits<'_>) -> Result<Fill> {
    let mut count = b.get(4)?;
    if count == 15 {
        count = (count + b.get(8)?).saturating_sub(1);
    }
    let bits = 8 * count as usize;
    if bits == 0 {
        return Ok(Fill::Other);
    }
    let kind = b.get(4)?;
    b.skip(bits - 4)?;
    Ok(if EXT_SBR.contains(&kind) { Fill::Sbr } else { Fill::Other })
}

#[derive(Clone, Copy, Debug)]
struct Ics {
    short: bool,
    max_sfb: usize,
    groups: usize,
    /// Windows of all groups together.
    windows: usize,
}

/// `ics_info`, table 4.6; `None` where samples are predicted from what came before.
fn ics_info(b: &mut Bits<'_>) -> Result<Option<Ics>> {
    b.skip(1)?; // ics_reserved_bit
    let sequence = b.get(2)?;
    b.skip(1)?; // window_shape
    if sequence == EIGHT_SHORT_SEQUENCE {
        let max_sfb = b.get(4)? as usize;
        // A set bit of scale_factor_grouping puts a window into the group of the one before (4.5.2.3.4).
        let groups = 8 - b.get(7)?.count_ones() as usize;
        return Ok(Some(Ics { short: true, max_sfb, groups, windows: 8 }));
    }
    let max_sfb = b.get(6)? as usize;
    let predicted = b.bit()?;
    Ok((!predicted).then_some(Ics { short: false, max_sfb, groups: 1, windows: 1 }))
}

/// `individual_channel_stream`, table 4.50: whether it is silent. `common` is the `ics_info` of its pair.
fn individual_channel_stream(b: &mut Bits<'_>, common: Option<Ics>) -> Result<bool> {
    b.skip(8)?; // global_gain
    let ics = match common {
        Some(ics) => ics,
        None => match ics_info(b)? {
            Some(ics) => ics,
            None => return Ok(false),
        },
    };
    if !sections_are_zero(b, ics)? {
        return Ok(false);
    }
    // scale_factor_data has nothing for sections of the zero codebook. Pulses are added to a spectrum even if it is empty.
    if b.bit()? {
        return Ok(false);
    }
    if b.bit()? {
        // Noise shaping filters the spectrum, and of zeros makes zeros.
        tns_data(b, ics)?;
    }
    let gain_control = b.bit()?;
    Ok(!gain_control)
}

/// `section_data`, table 4.52.
fn sections_are_zero(b: &mut Bits<'_>, ics: Ics) -> Result<bool> {
    let bits = if ics.short { 3 } else { 5 };
    let escape = (1 << bits) - 1;
    for _ in 0..ics.groups {
        let mut band = 0;
        while band < ics.max_sfb {
            if b.get(4)? != ZERO_HCB {
                return Ok(false);
            }
            loop {
                let more = b.get(bits)?;
                band += more as usize;
                if more != escape {
                    break;
                }
            }
        }
        if band > ics.max_sfb {
            return Err(Error::malformed("a section runs past max_sfb"));
        }
    }
    Ok(true)
}

/// `tns_data`, table 4.54.
fn tns_data(b: &mut Bits<'_>, ics: Ics) -> Result<()> {
    let (filters, length, order) = if ics.short { (1, 4, 3) } else { (2, 6, 5) };
    for _ in 0..ics.windows {
        let count = b.get(filters)?;
        if count == 0 {
            continue;
        }
        let resolution = if b.bit()? { 4 } else { 3 };
        for _ in 0..count {
            b.skip(length)?;
            let order = b.get(order)? as usize;
            if order > 0 {
                b.skip(1)?; // direction
                let bits = resolution - usize::from(b.bit()?);
                b.skip(order * bits)?;
            }
        }
    }
    Ok(())
}

#[cfg(test)]
mod tests {
    use super::FrameContent::{Silent, Sound, Void};
    use super::*;

    /// Fields of `(value, bits)` as bytes.
    fn frame(fields: &[(u32, u32)]) -> Vec<u8> {
        let bits = fields.iter().flat_map(|&(value, bits)| (0..bits).rev().map(move |bit| (value >> bit & 1) as u8));
        let bits: Vec<u8> = bits.collect();
        bits.chunks(8).map(|bits| bits.iter().enumerate().fold(0, |byte, (i, bit)| byte | bit << (7 - i))).collect()
    }

    fn content(fields: &[&[(u32, u32)]]) -> FrameContent {
        frame_content(&frame(&fields.concat()))
    }

    /// A fill element of `count` bytes whose first four bits are `kind`.
    fn fill(count: u32, kind: u32) -> Vec<(u32, u32)> {
        let head = if count < 15 { vec![(FIL, 3), (count, 4)] } else { vec![(FIL, 3), (15, 4), (count - 14, 8)] };
        let body = (0..2 * count).map(|i| (if i == 0 { kind } else { 0 }, 4));
        head.into_iter().chain(body).collect()
    }

    const END_BITS: &[(u32, u32)] = &[(END, 3)];
    /// Long window, max_sfb 0, no prediction.
    const LONG: &[(u32, u32)] = &[(0, 1), (0, 2), (1, 1), (0, 6), (0, 1)];
    const NO_TOOLS: &[(u32, u32)] = &[(0, 3)];

    /// One channel whose side information is `ics`, sections `sections` and the three tool bits `tools`.
    fn mono(ics: &[(u32, u32)], sections: &[(u32, u32)], tools: &[(u32, u32)]) -> FrameContent {
        content(&[&[(SCE, 3), (0, 4), (100, 8)], ics, sections, tools, END_BITS])
    }

    #[test]
    fn frames_that_encoders_begin_with() {
        // A pair of one common window, and a single channel, each with max_sfb 0.
        assert_eq!(frame_content(&[0x21, 0x10, 0x04, 0x60, 0x8c, 0x1c]), Silent);
        assert_eq!(frame_content(&[0x01, 0x18, 0x20, 0x07]), Silent);
        // Nothing but a name in a fill element.
        let named: &[&[(u32, u32)]] = &[&fill(17, 0), END_BITS];
        assert_eq!(content(named), Void);
        assert_eq!(content(&[&fill(3, 1), &[(DSE, 3), (0, 4), (0, 1), (2, 8), (0, 16)], END_BITS]), Void);
    }

    #[test]
    fn elements_are_passed_over_exactly() {
        let silent: Vec<(u32, u32)> = [&[(SCE, 3), (0, 4), (9, 8)], LONG, NO_TOOLS].concat();
        for count in [0, 1, 14, 15, 16, 269] {
            assert_eq!(content(&[&fill(count, 0), &silent, END_BITS]), Silent, "{count}");
        }
        // Aligned: 3 + 4 + 1 + 8 bits are two bytes already; unaligned by one element before.
        for before in [0, 1] {
            let align = (8 - 7 * before % 8) % 8;
            let data = [(DSE, 3), (0, 4), (1, 1), (1, 8), (0, align), (0xff, 8)];
            let first = if before == 1 { fill(0, 0) } else { Vec::new() };
            assert_eq!(content(&[&first, &data, &silent, END_BITS]), Silent, "{before}");
        }
        let long = [(DSE, 3), (0, 4), (0, 1), (255, 8), (1, 8)];
        assert_eq!(content(&[&long, &[(0, 32); 64], &silent, END_BITS]), Silent);
        // A program config element of one channel, at a byte's beginning after its comment.
        let program = [(PCE, 3), (0, 10), (1, 4), (0, 4), (0, 4), (0, 2), (0, 3), (0, 4), (0, 3), (0, 5)];
        assert_eq!(content(&[&program, &[(0, 6), (0, 8)], &silent, END_BITS]), Silent);
    }

    #[test]
    fn sections_of_the_zero_codebook_are_silent() {
        let bands = |max_sfb| [(0, 1), (0, 2), (0, 1), (max_sfb, 6), (0, 1)];
        assert_eq!(mono(&bands(40), &[(0, 4), (31, 5), (9, 5)], NO_TOOLS), Silent);
        assert_eq!(mono(&bands(40), &[(0, 4), (20, 5), (0, 4), (20, 5)], NO_TOOLS), Silent);
        for codebook in [1, 11, 13, 15] {
            assert_eq!(mono(&bands(40), &[(0, 4), (20, 5), (codebook, 4), (20, 5)], NO_TOOLS), Sound);
        }
        assert_eq!(mono(&bands(40), &[(0, 4), (31, 5), (10, 5)], NO_TOOLS), Sound);
        // Eight short windows in three groups: 8 - 5 grouping bits.
        let short = |max_sfb| [(0, 1), (2, 2), (0, 1), (max_sfb, 4), (0b1110110, 7)];
        assert_eq!(mono(&short(9), &[(0, 4), (7, 3), (2, 3)].repeat(3), NO_TOOLS), Silent);
        assert_eq!(mono(&short(9), &[(0, 4), (7, 3), (2, 3)].repeat(2), NO_TOOLS), Sound);
    }

    #[test]
    fn tools() {
        let predicted = [(0, 1), (0, 2), (0, 1), (0, 6), (1, 1)];
        assert_eq!(mono(&predicted, &[], NO_TOOLS), Sound);
        assert_eq!(mono(LONG, &[], &[(0b100, 3)]), Sound);
        assert_eq!(mono(LONG, &[], &[(0b001, 3)]), Sound);
        // One filter of order 3, coefficients of 4 - 1 bits; then one of order 0.
        let tns = [(0b01, 2), (2, 2), (1, 1), (5, 6), (3, 5), (0, 1), (1, 1), (0x1ff, 9), (5, 6), (0, 5), (0, 1)];
        assert_eq!(mono(LONG, &[], &tns), Silent);
        let short = [(0, 1), (2, 2), (0, 1), (0, 4), (0, 7)];
        let tns = [(0b01, 2), (1, 1), (0, 1), (5, 4), (2, 3), (0, 1), (0, 1), (0x3f, 6), (0, 7), (0, 1)];
        assert_eq!(mono(&short, &[], &tns), Silent);
    }

    #[test]
    fn pairs_are_silent_where_both_are() {
        let common: &[(u32, u32)] =
            &[(CPE, 3), (0, 4), (1, 1), (0, 1), (0, 2), (0, 1), (5, 6), (0, 1), (1, 2), (0x1f, 5)];
        let zero: &[(u32, u32)] = &[(0, 8), (0, 4), (5, 5), (0, 3)];
        let noise: &[(u32, u32)] = &[(0, 8), (13, 4), (5, 5), (0, 3)];
        assert_eq!(content(&[common, zero, zero, END_BITS]), Silent);
        assert_eq!(content(&[common, zero, noise, END_BITS]), Sound);
        assert_eq!(content(&[common, noise, zero, END_BITS]), Sound);
        let apart: &[(u32, u32)] = &[(CPE, 3), (0, 4), (0, 1), (0, 8)];
        assert_eq!(content(&[apart, LONG, NO_TOOLS, &[(0, 8)], LONG, NO_TOOLS, END_BITS]), Silent);
    }

    #[test]
    fn band_replication_is_sound_and_so_is_coupling() {
        let silent: Vec<(u32, u32)> = [&[(SCE, 3), (0, 4), (9, 8)], LONG, NO_TOOLS].concat();
        for kind in EXT_SBR {
            assert_eq!(content(&[&silent, &fill(4, kind), END_BITS]), Sound);
        }
        assert_eq!(content(&[&silent, &[(2, 3), (0, 32)], END_BITS]), Sound);
        assert_eq!(content(&[&silent, &[(LFE, 3), (0, 4), (0, 8)], LONG, NO_TOOLS, END_BITS]), Silent);
    }

    #[test]
    fn cut_anywhere_it_is_sound() {
        let whole = [0x21, 0x10, 0x04, 0x60, 0x8c, 0x1c];
        (0..5).for_each(|end| assert_eq!(frame_content(&whole[..end]), Sound, "{end}"));
        let mut state = 1u32;
        for _ in 0..20_000 {
            let bytes: Vec<u8> = (0..24)
                .map(|_| {
                    state = state.wrapping_mul(1_664_525).wrapping_add(1_013_904_223);
                    (state >> 24) as u8
                })
                .collect();
            let _ = frame_content(&bytes);
        }
    }
}
