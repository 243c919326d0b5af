//! What the configuration records of codecs say.

pub mod aac;
pub(crate) mod aac_frame;
pub mod avc;
mod bits;
pub(crate) mod esds;
pub(crate) mod sbr;
mod sps;
