//! Fragmented MP4 segments (ISO/IEC 14496-12 8.8; RFC 8216 3.3), one track each, laid out as CMAF asks.
//!
//! Time lives in `tfdt` and composition offsets alone. An edit list in the initialization section would say it as well, but
//! players that feed Media Source Extensions may ignore it, and lose the sync of picture and sound.
//!
//! A segment is `styp`, `moof`, `mdat`. The samples' bytes are the source's own, so all that is made here is a header, and its
//! size follows from the sample columns.

mod fragment;
mod frame;
mod init;

pub use fragment::{Layout, Muxer};
pub use frame::frame;

/// Appends a box whose contents `fill` appends.
fn boxed(out: &mut Vec<u8>, name: &[u8; 4], fill: impl FnOnce(&mut Vec<u8>)) {
    let start = out.len();
    out.extend_from_slice(&[0; 4]);
    out.extend_from_slice(name);
    fill(out);
    let size = (out.len() - start) as u32;
    out[start..start + 4].copy_from_slice(&size.to_be_bytes());
}

/// Appends a box with version and flags.
fn full_box(out: &mut Vec<u8>, name: &[u8; 4], version: u8, flags: u32, fill: impl FnOnce(&mut Vec<u8>)) {
    boxed(out, name, |out| {
        put(out, u32::from(version) << 24 | flags);
        fill(out);
    });
}

fn put(out: &mut Vec<u8>, value: u32) {
    out.extend_from_slice(&value.to_be_bytes());
}
