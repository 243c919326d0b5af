//! Program specific information: PAT and PMT (ISO/IEC 13818-1 2.4.4), each in one packet.

use super::{PACKET, PID_AUDIO, PID_PMT, PID_VIDEO};

const PROGRAM: u16 = 1;

/// CRC-32 of ISO/IEC 13818-1 annex A.
fn crc32(bytes: &[u8]) -> u32 {
    bytes.iter().fold(u32::MAX, |crc, &byte| {
        (0..8)
            .fold(crc ^ u32::from(byte) << 24, |crc, _| if crc >> 31 == 1 { crc << 1 ^ 0x04C1_1DB7 } else { crc << 1 })
    })
}

/// One section as one packet. `body` begins after `last_section_number`.
fn packet(pid: u16, table: u8, id: u16, body: &[u8]) -> [u8; PACKET] {
    let mut packet = [0xFF; PACKET];
    packet[..5].copy_from_slice(&[0x47, 0x40 | (pid >> 8) as u8, pid as u8, 0x10, 0]);
    let length = (5 + body.len() + 4) as u16;
    let mut section = vec![table, 0xB0 | (length >> 8) as u8, length as u8, (id >> 8) as u8, id as u8, 0xC1, 0, 0];
    section.extend_from_slice(body);
    section.extend_from_slice(&crc32(&section).to_be_bytes());
    packet[5..5 + section.len()].copy_from_slice(&section);
    packet
}

/// The PAT: one program, as RFC 8216 3.2 asks.
pub(super) fn pat() -> [u8; PACKET] {
    packet(0, 0, 1, &[0, PROGRAM as u8, 0xE0 | (PID_PMT >> 8) as u8, PID_PMT as u8])
}

/// The PMT: only the streams that exist. The clock is the picture's, where there is one.
pub(super) fn pmt(video: bool, audio: bool) -> [u8; PACKET] {
    let clock = if video { PID_VIDEO } else { PID_AUDIO };
    let mut body = vec![0xE0 | (clock >> 8) as u8, clock as u8, 0xF0, 0];
    // Stream types: 0x1B H.264, 0x0F AAC in ADTS (ISO/IEC 13818-1 table 2-34).
    for (_, stream_type, pid) in [(video, 0x1B, PID_VIDEO), (audio, 0x0F, PID_AUDIO)].iter().filter(|stream| stream.0) {
        body.extend_from_slice(&[*stream_type, 0xE0 | (pid >> 8) as u8, *pid as u8, 0xF0, 0]);
    }
    packet(PID_PMT, 2, PROGRAM, &body)
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn crc_of_the_check_string() {
        // CRC-32/MPEG-2 of "123456789", from the catalogue of parametrised CRC algorithms.
        assert_eq!(crc32(b"123456789"), 0x0376_E6E7);
    }

    #[test]
    fn a_section_with_its_crc_leaves_no_remainder() {
        for (packet, length) in [(pat(), 16), (pmt(true, true), 26), (pmt(false, true), 21)] {
            assert_eq!(crc32(&packet[5..5 + length]), 0);
            assert!(packet[5 + length..].iter().all(|&byte| byte == 0xFF));
        }
    }
}
