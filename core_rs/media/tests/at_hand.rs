//! Segments made of what is at hand, and of what has to be waited for.

use std::fs;
use std::path::Path;
use std::sync::Arc;
use std::sync::atomic::{AtomicU64, Ordering};

use pystream_media::rendition::Stream;
use pystream_media::track::Kind;
use pystream_media::{Made, Place, ReadAt, Result, fmp4, mp4, ts};

const PLACE: Place = Place { store: 3, input: 5 };

/// An input that has some of its bytes at hand, others each time.
struct Disk {
    bytes: Vec<u8>,
    state: AtomicU64,
    remote: bool,
}

impl Disk {
    fn new(bytes: &[u8], remote: bool, seed: u64) -> Self {
        Self { bytes: bytes.to_vec(), state: AtomicU64::new(seed), remote }
    }

    fn chance(&self) -> u64 {
        let state = self.state.load(Ordering::Relaxed).wrapping_mul(6364136223846793005).wrapping_add(1);
        self.state.store(state, Ordering::Relaxed);
        state >> 33
    }
}

impl ReadAt for Disk {
    fn size(&self) -> u64 {
        self.bytes.len() as u64
    }

    fn read_exact_at(&self, offset: u64, buf: &mut [u8]) -> Result<()> {
        self.bytes.as_slice().read_exact_at(offset, buf)
    }

    fn read_now(&self, offset: u64, buf: &mut [u8]) -> Result<bool> {
        assert!(!self.remote, "who is in a hurry reads nothing from afar");
        // Where some of it is at hand, that is there, as the kernel leaves it.
        buf.fill(0xEE);
        if self.chance().is_multiple_of(3) {
            return Ok(false);
        }
        self.read_exact_at(offset, buf).map(|()| true)
    }

    fn is_remote(&self) -> bool {
        self.remote
    }

    fn place(&self) -> Place {
        PLACE
    }
}

enum Muxer {
    Ts(Box<ts::Muxer>),
    Fmp4(Box<fmp4::Muxer>),
}

impl Muxer {
    /// Of the whole clip, as one segment.
    fn new(source: &Arc<dyn ReadAt>, transport: bool) -> Option<Self> {
        let movie = mp4::open(source).ok()?;
        let mut streams: Vec<Stream> = Vec::new();
        for track in movie.tracks {
            if streams.iter().all(|stream| stream.track.kind != track.kind) {
                let bounds = vec![track.shown.start, track.shown.end];
                streams.push(Stream { source: Arc::clone(source), track: Arc::new(track), bounds });
            }
        }
        if transport {
            return Some(Self::Ts(Box::new(ts::Muxer::new(Arc::new(ts::Layout::new(streams, 10).ok()?), 0))));
        }
        let video = streams.into_iter().find(|stream| stream.track.kind == Kind::Video)?;
        Some(Self::Fmp4(Box::new(fmp4::Muxer::new(Arc::new(fmp4::Layout::new(video, 10).ok()?), 0))))
    }

    fn fill(&mut self, out: &mut [u8]) -> usize {
        match self {
            Self::Ts(muxer) => muxer.fill(out),
            Self::Fmp4(muxer) => muxer.fill(out),
        }
        .unwrap()
    }

    fn rest(&mut self) {
        match self {
            Self::Ts(muxer) => muxer.rest(),
            Self::Fmp4(muxer) => muxer.rest(),
        }
    }

    fn fill_now(&mut self, out: &mut [u8]) -> Made {
        match self {
            Self::Ts(muxer) => muxer.fill_now(out),
            Self::Fmp4(muxer) => muxer.fill_now(out),
        }
        .unwrap()
    }
}

/// A whole segment in windows, and how many of them had to be waited for. `hurry`: what is at hand is taken first, once
/// or twice, and nothing is kept between windows.
fn make(source: Arc<dyn ReadAt>, transport: bool, window: usize, hurry: bool) -> Option<(Vec<u8>, usize)> {
    let mut muxer = Muxer::new(&source, transport)?;
    let (mut made, mut waited) = (Vec::new(), 0);
    let mut out = vec![0; window];
    loop {
        let most = if hurry { 1 + made.len() % 2 } else { 0 };
        let tries = (0..most).find_map(|_| match muxer.fill_now(&mut out) {
            Made::Bytes(filled) => Some(filled),
            Made::Later(place) => {
                assert_eq!(place, PLACE);
                None
            }
        });
        waited += usize::from(tries.is_none());
        let filled = tries.unwrap_or_else(|| muxer.fill(&mut out));
        made.extend_from_slice(&out[..filled]);
        if filled < window {
            return Some((made, waited));
        }
        if hurry {
            muxer.rest();
        }
    }
}

#[test]
fn who_has_to_wait_for_a_window_gets_the_same_bytes() {
    let folder = Path::new(env!("CARGO_MANIFEST_DIR")).join("../../tests/media");
    let mut mixed = 0;
    for entry in fs::read_dir(folder).unwrap() {
        let path = entry.unwrap().path();
        if path.extension().is_none_or(|name| name != "mp4" && name != "m4a") {
            continue;
        }
        let clip = fs::read(&path).unwrap();
        for (transport, window) in [(true, 1000), (true, 8192), (false, 1000), (false, 8192)] {
            let disk = |remote, seed| Arc::new(Disk::new(&clip, remote, seed));
            let Some((expected, _)) = make(disk(false, 0), transport, window, false) else { continue };
            for seed in 1..5 {
                let (made, waited) = make(disk(false, seed), transport, window, true).unwrap();
                assert!(made == expected, "{} {transport} {window} {seed}", path.display());
                mixed += usize::from(waited > 0 && waited < expected.len() / window);
            }
            // Of one that is far away, nothing is ever at hand.
            let (made, waited) = make(disk(true, 0), transport, window, true).unwrap();
            assert!(made == expected && waited == expected.len() / window + 1);
        }
    }
    assert!(mixed > 40, "{mixed}");
}
