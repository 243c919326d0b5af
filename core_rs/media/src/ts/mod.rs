//! MPEG-2 transport stream segments (ISO/IEC 13818-1; RFC 8216 3.2).
//!
//! A segment is PAT, PMT, then units in the order of their times: a picture in a PES of its own, a group of audio frames
//! in one, or a packet that carries nothing but the clock. Which units there are, and how many packets each takes, follows
//! from the sample columns and the decoder configurations alone: [`Layout`] walks them once and knows every segment's
//! exact size and where its continuity counters begin; [`Muxer`] walks the same units again and writes their bytes. Hence a
//! segment can be announced before it is made, and made alone.
//!
//! What keeps the size independent of the samples' bytes:
//! * a NAL's 4-byte length becomes a 4-byte start code. (Shorter lengths do not fit: such a track is read once, see
//!   [`Layout::scanned`].)
//! * every picture gets an access unit delimiter. One that the source already has becomes as many zero bytes, which are
//!   `trailing_zero_8bits` of ours (ISO/IEC 14496-10 B.1.1).
//! * every random access point gets the parameter sets of its configuration.

mod adts;
mod mux;
mod psi;
mod units;

pub use mux::Muxer;
pub use units::Layout;

/// Bytes in a packet.
pub const PACKET: usize = 188;
/// Payload bytes in a packet without adaptation field.
const PAYLOAD: usize = 184;
const PID_PMT: u16 = 0x1000;
const PID_VIDEO: u16 = 0x100;
const PID_AUDIO: u16 = 0x101;
