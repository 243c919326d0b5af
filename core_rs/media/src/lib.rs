//! Media without Python, files, sockets, clocks or threads: MP4 in, sample columns and HLS segments out.
#![forbid(unsafe_code)]

pub mod codec;
pub mod column;
mod digest;
mod error;
pub mod fmp4;
mod limits;
pub mod mp4;
pub mod playlist;
mod reader;
pub mod rendition;
pub mod seen;
mod source;
pub mod track;
pub mod ts;
mod window;

pub use error::{Error, ErrorKind, Result};
pub use reader::FourCc;
pub use source::{Made, Place, ReadAt};
