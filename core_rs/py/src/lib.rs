//! The Python module `pystream._core`: a thin skin over the Rust crates.

mod attendance;
mod buffers;
mod delivery;
mod errors;
mod http;
mod log;
mod movie;
mod rendition;
mod shared;
mod source;
mod work;

#[pyo3::pymodule]
mod _core {
    #[pymodule_export]
    use crate::attendance::{Evidence, Ledger};
    #[pymodule_export]
    use crate::buffers::{Column, Segment};
    #[pymodule_export]
    use crate::delivery::{Delivery, Download, Line, Rest, Tls};
    #[pymodule_export]
    use crate::http::plain_path;
    #[pymodule_export]
    use crate::log::{
        Frontier, LeafHashes, canonical_events, check_consistency, check_inclusion, consistency_parts, inclusion_parts,
        leaf_hashes,
    };
    #[pymodule_export]
    use crate::movie::{Movie, Track};
    #[pymodule_export]
    use crate::rendition::{Rendition, encrypt, segment_lines};
    #[pymodule_export]
    use crate::shared::{Cache, Gcra, Limiter, Meter, Reading, Session, Sessions};
    #[pymodule_export]
    use crate::work::Work;

    /// Whether this is a debug build; `import pystream` warns about one.
    #[pymodule_export]
    const DEBUG: bool = cfg!(debug_assertions);

    /// Bytes of the smallest segment cache.
    #[pymodule_export]
    const CACHE_BLOCK: usize = pystream_shm::BLOCK;

    /// Seats that a segment cache has at most.
    #[pymodule_export]
    const CACHE_SEATS: usize = pystream_shm::SEATS;

    /// Sessions that a node's table has room for, unless told otherwise.
    #[pymodule_export]
    const SESSIONS: usize = pystream_shm::DEFAULT_SESSIONS;

    /// The version of the workspace, which is the distribution's.
    #[pymodule_export]
    const VERSION: &str = env!("CARGO_PKG_VERSION");
}
