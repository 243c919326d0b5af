//! Any bytes give a value or a declared error, and an error leaves the connection in a state that can be asked.

mod common;

use std::sync::{Arc, LazyLock};

use common::{Identity, Pair, TLS12, TLS13, client_config, identity, pattern};
use proptest::collection::vec;
use proptest::prelude::*;
use proptest::sample::Index;
use pystream_tls::{Config, Connection};
use rustls::ClientConfig;

static IDENTITY: LazyLock<Identity> = LazyLock::new(|| identity(&["a.example"]));
static CONFIG: LazyLock<Config> = LazyLock::new(|| common::config(&[&IDENTITY]));
static CLIENTS: LazyLock<[Arc<ClientConfig>; 2]> =
    LazyLock::new(|| [&TLS13, &TLS12].map(|version| Arc::new(client_config(&[&IDENTITY], version))));

fn cases(count: u32) -> ProptestConfig {
    ProptestConfig { cases: count, failure_persistence: None, ..ProptestConfig::default() }
}

/// Feeds pieces until one fails, then asks for all that a caller may ask for.
fn survives<'a>(server: &mut Connection, pieces: impl IntoIterator<Item = &'a [u8]>) {
    let failure = pieces.into_iter().find_map(|piece| server.feed(piece).err());
    server.take();
    let mut out = Vec::new();
    let sealed = server.seal(b"window", &mut out);
    if let Some(failure) = failure {
        assert_eq!(server.feed(b"x").unwrap_err(), failure);
        assert_eq!(sealed.unwrap_err(), failure);
        assert!(!failure.to_string().is_empty());
    }
    server.close(&mut out);
    server.take();
    let _ = (server.session(), server.server_name(), server.is_closed_by_peer());
}

/// A change to one byte of what a client sends.
#[derive(Clone, Debug)]
struct Change {
    flight: Index,
    at: Index,
    to: u8,
}

fn change() -> impl Strategy<Value = Change> {
    (any::<Index>(), any::<Index>(), any::<u8>()).prop_map(|(flight, at, to)| Change { flight, at, to })
}

proptest! {
    #![proptest_config(cases(256))]

    #[test]
    fn random_bytes(pieces in vec(vec(any::<u8>(), 0..600), 0..8)) {
        survives(&mut Connection::new(&CONFIG), pieces.iter().map(|piece| &piece[..]));
    }

    /// Records with a right header get further than random bytes do.
    #[test]
    fn random_records(bodies in vec((20_u8..25, vec(any::<u8>(), 0..300)), 0..12), established in any::<bool>()) {
        let mut pair = Pair::new(&CONFIG, &CLIENTS[0], "a.example");
        if established {
            pair.settle().unwrap();
        }
        let records: Vec<Vec<u8>> = bodies
            .iter()
            .map(|(kind, body)| [&[*kind, 3, 3][..], &(body.len() as u16).to_be_bytes(), body].concat())
            .collect();
        survives(&mut pair.server, records.iter().map(|record| &record[..]));
    }
}

proptest! {
    #![proptest_config(cases(128))]

    #[test]
    fn handshakes_with_changed_bytes(
        changes in vec(change(), 1..4),
        version in 0_usize..2,
        piece in 1_usize..700,
    ) {
        let mut pair = Pair::new(&CONFIG, &CLIENTS[version], "a.example");
        pair.client_sends(b"request");
        for flight in 0..3 {
            let mut bytes = pair.client_bytes();
            for change in changes.iter().filter(|change| change.flight.index(3) == flight) {
                if !bytes.is_empty() {
                    let at = change.at.index(bytes.len());
                    bytes[at] = change.to;
                }
            }
            if bytes.chunks(piece).any(|piece| pair.server.feed(piece).is_err()) {
                break;
            }
            let answer = pair.server.take();
            if pair.deliver(&answer).is_err() {
                break;
            }
        }
        let rest = pair.client_bytes();
        survives(&mut pair.server, rest.chunks(piece));
    }

    #[test]
    fn any_windows_arrive(windows in vec(0_usize..40_000, 0..4), version in 0_usize..2) {
        let mut pair = Pair::established(&CONFIG, &CLIENTS[version], "a.example");
        let mut out = Vec::new();
        let plain = pattern(windows.iter().sum());
        let mut rest = &plain[..];
        for len in windows {
            let (window, after) = rest.split_at(len);
            pair.server.seal(window, &mut out).unwrap();
            rest = after;
        }
        pair.deliver(&out).unwrap();
        prop_assert!(pair.read == plain);
    }
}
