//! H.264 sequence parameter set: ISO/IEC 14496-10 7.3.2.1.1.

use super::bits::Bits;
use crate::{Error, Result};

/// What a sequence parameter set says about the picture.
#[derive(Clone, Debug, Eq, PartialEq)]
pub(crate) struct Sps {
    /// `profile_idc`, constraint flags, `level_idc`.
    pub(crate) profile: [u8; 3],
    /// Width after cropping, luma samples.
    pub(crate) width: u16,
    /// Height, likewise.
    pub(crate) height: u16,
    /// Width and height of a pixel in some unit, where the set says it.
    pub(crate) pixel_aspect: Option<(u32, u32)>,
}

/// Sample aspect ratios by `aspect_ratio_idc` (table E-1), from 1 on.
const ASPECTS: [(u32, u32); 16] = [
    (1, 1),
    (12, 11),
    (10, 11),
    (16, 11),
    (40, 33),
    (24, 11),
    (20, 11),
    (32, 11),
    (80, 33),
    (18, 11),
    (15, 11),
    (64, 33),
    (160, 99),
    (4, 3),
    (3, 2),
    (2, 1),
];
/// `aspect_ratio_idc` of a ratio that is written out.
const EXTENDED_SAR: u32 = 255;

/// The RBSP of a NAL unit: emulation prevention bytes taken out (7.4.1). `nal` comes without its header byte.
pub(crate) fn rbsp(nal: &[u8]) -> impl Iterator<Item = u8> + '_ {
    let mut zeros = 0;
    nal.iter().copied().filter(move |&byte| {
        let prevention = byte == 3 && zeros >= 2;
        zeros = if byte == 0 { zeros + 1 } else { 0 };
        !prevention
    })
}

impl Sps {
    /// Parses a NAL unit, header byte included.
    pub(crate) fn parse(nal: &[u8]) -> Result<Self> {
        let Some((&header, rest)) = nal.split_first() else {
            return Err(Error::malformed("sequence parameter set is empty"));
        };
        if header & 0x1f != 7 {
            return Err(Error::malformed(format!(
                "NAL type {} where a sequence parameter set (7) belongs",
                header & 0x1f
            )));
        }
        let bytes: Vec<u8> = rbsp(rest).collect();
        let mut b = Bits::new(&bytes);
        let profile = [b.get(8)? as u8, b.get(8)? as u8, b.get(8)? as u8];
        b.ue()?; // seq_parameter_set_id
        let mut chroma_format = 1;
        let mut separate_planes = false;
        if matches!(profile[0], 100 | 110 | 122 | 244 | 44 | 83 | 86 | 118 | 128 | 138 | 139 | 134 | 135) {
            chroma_format = b.ue()?;
            if chroma_format > 3 {
                return Err(Error::malformed(format!("chroma_format_idc is {chroma_format}, at most 3 is defined")));
            }
            if chroma_format == 3 {
                separate_planes = b.bit()?;
            }
            b.ue()?; // bit_depth_luma_minus8
            b.ue()?; // bit_depth_chroma_minus8
            b.skip(1)?; // qpprime_y_zero_transform_bypass_flag
            if b.bit()? {
                for list in 0..if chroma_format == 3 { 12 } else { 8 } {
                    if b.bit()? {
                        skip_scaling_list(&mut b, if list < 6 { 16 } else { 64 })?;
                    }
                }
            }
        }
        b.ue()?; // log2_max_frame_num_minus4
        match b.ue()? {
            0 => {
                b.ue()?; // log2_max_pic_order_cnt_lsb_minus4
            }
            1 => {
                b.skip(1)?; // delta_pic_order_always_zero_flag
                b.se()?; // offset_for_non_ref_pic
                b.se()?; // offset_for_top_to_bottom_field
                let cycle = b.ue()?;
                if cycle > 255 {
                    return Err(Error::malformed(format!(
                        "num_ref_frames_in_pic_order_cnt_cycle is {cycle}, at most 255 is allowed"
                    )));
                }
                for _ in 0..cycle {
                    b.se()?;
                }
            }
            2 => {}
            other => return Err(Error::malformed(format!("pic_order_cnt_type is {other}, at most 2 is defined"))),
        }
        b.ue()?; // max_num_ref_frames
        b.skip(1)?; // gaps_in_frame_num_value_allowed_flag
        let width_mbs = u64::from(b.ue()?) + 1;
        let height_units = u64::from(b.ue()?) + 1;
        let frame_mbs_only = b.bit()?;
        if !frame_mbs_only {
            b.skip(1)?; // mb_adaptive_frame_field_flag
        }
        b.skip(1)?; // direct_8x8_inference_flag
        let crop = if b.bit()? { [b.ue()?, b.ue()?, b.ue()?, b.ue()?].map(u64::from) } else { [0; 4] };

        // Cropping counts in chroma samples, and in field rows where pictures may be fields (7.4.2.1.1).
        let fields = if frame_mbs_only { 1 } else { 2 };
        let (unit_x, unit_y) = match chroma_format {
            1 if !separate_planes => (2, 2),
            2 if !separate_planes => (2, 1),
            _ => (1, 1),
        };
        let side = |size: u64, cut: u64| size.checked_sub(cut).filter(|&s| s > 0).and_then(|s| u16::try_from(s).ok());
        let width = side(width_mbs * 16, (crop[0] + crop[1]) * unit_x);
        let height = side(height_units * 16 * fields, (crop[2] + crop[3]) * unit_y * fields);
        let (Some(width), Some(height)) = (width, height) else {
            return Err(Error::malformed(format!(
                "picture of {width_mbs} x {} macroblocks with cropping {crop:?} has no size that a sample entry can name",
                height_units * fields
            )));
        };
        // What follows tells only how to show the picture: a set that was cut off here decodes all the same.
        let pixel_aspect = pixel_aspect(&mut b).unwrap_or_default();
        Ok(Self { profile, width, height, pixel_aspect })
    }
}

/// The beginning of `vui_parameters()`, if it is there (E.1.1).
fn pixel_aspect(b: &mut Bits<'_>) -> Result<Option<(u32, u32)>> {
    // vui_parameters_present_flag, aspect_ratio_info_present_flag
    if !(b.bit()? && b.bit()?) {
        return Ok(None);
    }
    Ok(match b.get(8)? {
        EXTENDED_SAR => Some((b.get(16)?, b.get(16)?)),
        idc => (idc as usize).checked_sub(1).and_then(|place| ASPECTS.get(place)).copied(),
    })
}

/// `scaling_list()`, 7.3.2.1.1.1.
fn skip_scaling_list(b: &mut Bits<'_>, size: usize) -> Result<()> {
    let (mut last, mut next) = (8i64, 8i64);
    for _ in 0..size {
        if next != 0 {
            next = (last + i64::from(b.se()?)).rem_euclid(256);
        }
        last = if next == 0 { last } else { next };
    }
    Ok(())
}

#[cfg(test)]
mod tests {
    use super::*;

    /// `(NAL, width, height, profile, pixel aspect)`, bits laid out by 7.3.2.1.1.
    type Case<'a> = (&'a [u8], u16, u16, [u8; 3], Option<(u32, u32)>);
    const CASES: &[Case<'_>] = &[
        // Constrained Baseline, 320 x 240.
        (&[0x67, 0x42, 0xc0, 0x0d, 0xda, 0x05, 0x07, 0xe4], 320, 240, [0x42, 0xc0, 0x0d], None),
        // The same with VUI of which nothing is there but the aspect ratio: 4 (16:11), 17 (reserved), 255 with 64:45.
        (&[0x67, 0x42, 0xc0, 0x0d, 0xda, 0x05, 0x07, 0xec, 0x12], 320, 240, [0x42, 0xc0, 0x0d], Some((16, 11))),
        (&[0x67, 0x42, 0xc0, 0x0d, 0xda, 0x05, 0x07, 0xec, 0x46], 320, 240, [0x42, 0xc0, 0x0d], None),
        (
            &[0x67, 0x42, 0xc0, 0x0d, 0xda, 0x05, 0x07, 0xef, 0xfc, 0x01, 0x00, 0x00, 0xb6],
            320,
            240,
            [0x42, 0xc0, 0x0d],
            Some((64, 45)),
        ),
        // High, 1920 x 1080: 1088 lines coded, 8 cropped.
        (
            &[0x67, 0x64, 0x00, 0x28, 0xac, 0xd9, 0x40, 0x78, 0x02, 0x27, 0xe5, 0x80],
            1920,
            1080,
            [0x64, 0x00, 0x28],
            None,
        ),
    ];

    #[test]
    fn sizes() {
        for &(nal, width, height, profile, pixel_aspect) in CASES {
            assert_eq!(Sps::parse(nal).unwrap(), Sps { profile, width, height, pixel_aspect });
            for end in 0..nal.len() - 1 {
                let _ = Sps::parse(&nal[..end]);
            }
        }
        assert!(Sps::parse(&[]).is_err());
        assert!(Sps::parse(&[0x68, 1, 2, 3]).is_err());
    }

    #[test]
    fn emulation_prevention_is_taken_out() {
        let out: Vec<u8> = rbsp(&[0, 0, 3, 1, 0, 0, 3, 0, 0, 3]).collect();
        assert_eq!(out, [0, 0, 1, 0, 0, 0, 0]);
    }
}
