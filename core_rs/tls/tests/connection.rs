//! Connections against a rustls client in the same process.

mod common;

use std::sync::Arc;

use common::{Pair, TLS12, TLS13, client_config, config, identity, pattern, records};
use pystream_tls::{Connection, ErrorKind, sealed_len};
use rustls::crypto::CryptoProvider;
use rustls::crypto::aws_lc_rs::{cipher_suite, kx_group};
use rustls::{AlertDescription, HandshakeKind};

const APPLICATION_DATA: u8 = 23;
const ALERT: u8 = 21;

#[test]
fn a_connection_can_move_between_threads() {
    fn is_send<T: Send>() {}
    is_send::<Connection>();
}

#[test]
fn any_pieces_both_ways() {
    let identity = identity(&["a.example"]);
    let config = config(&[&identity]);
    for version in [&TLS13, &TLS12] {
        for piece in [1, 2, 7, 4096] {
            let client = Arc::new(client_config(&[&identity], version));
            let mut pair = Pair::new(&config, &client, "a.example");
            pair.client_sends(b"GET / HTTP/1.1\r\n");
            let mut plaintext = Vec::new();
            loop {
                let to_server = pair.client_bytes();
                for bytes in to_server.chunks(piece) {
                    plaintext.extend(pair.server.feed(bytes).unwrap().plaintext);
                }
                let to_client = pair.server.take();
                for bytes in to_client.chunks(piece) {
                    pair.deliver(bytes).unwrap();
                }
                if to_server.is_empty() && to_client.is_empty() {
                    break;
                }
            }
            assert_eq!(plaintext, b"GET / HTTP/1.1\r\n");
            assert_eq!(pair.server.server_name(), Some("a.example"));
            assert_eq!(pair.client.alpn_protocol(), Some(&b"http/1.1"[..]));
            let window = pattern(40_000);
            let mut out = Vec::new();
            pair.server.seal(&window, &mut out).unwrap();
            for bytes in out.chunks(piece) {
                pair.deliver(bytes).unwrap();
            }
            assert_eq!(pair.read, window);
        }
    }
}

#[test]
fn the_last_flight_and_the_first_request_may_come_together() {
    let identity = identity(&["a.example"]);
    let client = Arc::new(client_config(&[&identity], &TLS13));
    let mut pair = Pair::new(&config(&[&identity]), &client, "a.example");
    pair.client_sends(b"early to write");
    let hello = pair.client_bytes();
    assert!(!pair.server.feed(&hello).unwrap().handshake_done);
    assert_eq!(pair.server.session(), None);
    let flight = pair.server.take();
    pair.deliver(&flight).unwrap();
    let rest = pair.client_bytes();
    let received = pair.server.feed(&rest).unwrap();
    assert_eq!((&received.plaintext[..], received.handshake_done), (&b"early to write"[..], true));
}

#[test]
fn windows_of_every_size() {
    let identity = identity(&["a.example"]);
    let config = config(&[&identity]);
    for (version, suite, overhead) in [
        (&TLS13, cipher_suite::TLS13_AES_128_GCM_SHA256, 22),
        (&TLS13, cipher_suite::TLS13_AES_256_GCM_SHA384, 22),
        (&TLS13, cipher_suite::TLS13_CHACHA20_POLY1305_SHA256, 22),
        (&TLS12, cipher_suite::TLS_ECDHE_ECDSA_WITH_AES_128_GCM_SHA256, 29),
        (&TLS12, cipher_suite::TLS_ECDHE_ECDSA_WITH_CHACHA20_POLY1305_SHA256, 21),
    ] {
        let mut provider = common::client_provider();
        provider.cipher_suites = vec![suite];
        let client = Arc::new(common::client_config_with(&[&identity], version, provider));
        let mut pair = Pair::established(&config, &client, "a.example");
        assert_eq!(pair.server.session().unwrap().suite, suite.suite().as_str().unwrap());
        assert!(!pair.server.session().unwrap().resumed);
        for len in [0, 1, 16_383, 16_384, 16_385, 32_768, 131_072] {
            let window = pattern(len);
            let mut out = b"before".to_vec();
            pair.server.seal(&window, &mut out).unwrap();
            let sealed = out.strip_prefix(b"before").unwrap();
            assert_eq!(sealed.len(), len + len.div_ceil(16_384) * overhead);
            assert!(sealed.len() <= sealed_len(len));
            let records = records(sealed);
            assert_eq!(records.len(), len.div_ceil(16_384));
            assert!(records.iter().all(|&(kind, len)| kind == APPLICATION_DATA && len <= 16_384 + 24));
            pair.read.clear();
            pair.deliver(sealed).unwrap();
            assert_eq!(pair.read, window);
        }
    }
}

/// The peer's order counts, among suites and among groups, and it has to say no second hello.
#[test]
fn the_peer_chooses_suite_and_group() {
    let identity = identity(&["a.example"]);
    let config = config(&[&identity]);
    let (aes, chacha) = (cipher_suite::TLS13_AES_128_GCM_SHA256, cipher_suite::TLS13_CHACHA20_POLY1305_SHA256);
    let (hybrid, classic) = (kx_group::X25519MLKEM768, kx_group::X25519);
    for (suites, groups) in [
        (vec![aes, chacha], vec![hybrid, classic]),
        (vec![chacha, aes], vec![classic, hybrid]),
        (vec![aes], vec![kx_group::SECP256R1, classic]),
    ] {
        let provider =
            CryptoProvider { cipher_suites: suites.clone(), kx_groups: groups.clone(), ..common::client_provider() };
        let client = Arc::new(common::client_config_with(&[&identity], &TLS13, provider));
        let pair = Pair::established(&config, &client, "a.example");
        assert_eq!(pair.server.session().unwrap().suite, suites[0].suite().as_str().unwrap());
        assert_eq!(pair.client.negotiated_key_exchange_group().unwrap().name(), groups[0].name());
        assert_eq!(pair.client.handshake_kind(), Some(HandshakeKind::Full));
    }
}

#[test]
fn what_waits_goes_before_the_window() {
    let identity = identity(&["a.example"]);
    let client = Arc::new(client_config(&[&identity], &TLS13));
    let mut pair = Pair::new(&config(&[&identity]), &client, "a.example");
    let hello = pair.client_bytes();
    pair.server.feed(&hello).unwrap();
    let flight = pair.server.take();
    pair.deliver(&flight).unwrap();
    let finished = pair.client_bytes();
    pair.server.feed(&finished).unwrap();
    // The two tickets were not taken.
    assert!(pair.server.wants_write());
    let mut out = Vec::new();
    pair.server.seal(b"window", &mut out).unwrap();
    assert_eq!(records(&out).len(), 2, "the tickets, then the window");
    assert!(!pair.server.wants_write());
    pair.deliver(&out).unwrap();
    assert_eq!(pair.read, b"window");
    assert_eq!(pair.client.tls13_tickets_received(), 2);
}

/// RFC 8446 §4.6.3: the answer to an update_requested precedes the next application data.
#[test]
fn a_key_update_is_answered_in_order() {
    let identity = identity(&["a.example"]);
    let client = Arc::new(client_config(&[&identity], &TLS13));
    let mut pair = Pair::established(&config(&[&identity]), &client, "a.example");
    for round in 0..3 {
        pair.client.refresh_traffic_keys().unwrap();
        pair.client_sends(b"under new keys");
        let bytes = pair.client_bytes();
        assert_eq!(pair.server.feed(&bytes).unwrap().plaintext, b"under new keys");
        let mut out = Vec::new();
        pair.server.seal(b"window", &mut out).unwrap();
        assert_eq!(records(&out).len(), 2, "an update, then the window");
        pair.deliver(&out).unwrap();
        assert_eq!(pair.read, b"window".repeat(round + 1));
    }
}

#[test]
fn closing() {
    let identity = identity(&["a.example"]);
    let config = config(&[&identity]);
    for version in [&TLS13, &TLS12] {
        let client = Arc::new(client_config(&[&identity], version));
        let mut pair = Pair::established(&config, &client, "a.example");
        pair.client_sends(b"last words");
        pair.client.send_close_notify();
        let mut bytes = pair.client_bytes();
        bytes.extend_from_slice(b"ignored, whatever it is");
        assert!(!pair.server.is_closed_by_peer());
        assert_eq!(pair.server.feed(&bytes).unwrap().plaintext, b"last words");
        assert!(pair.server.is_closed_by_peer());
        assert_eq!(pair.server.feed(b"also ignored").unwrap().plaintext, b"");

        // The peer may still read.
        let mut out = Vec::new();
        pair.server.seal(b"answer", &mut out).unwrap();
        pair.server.close(&mut out);
        assert_eq!(records(&out).len(), 2);
        pair.deliver(&out).unwrap();
        assert_eq!(pair.read, b"answer");
        let mut chunk = [0; 8];
        let end = std::io::Read::read(&mut pair.client.reader(), &mut chunk);
        assert_eq!(end.unwrap(), 0, "an end, not a cut");

        let mut more = Vec::new();
        pair.server.close(&mut more);
        assert_eq!(more, b"", "a close_notify is sent once");
        assert_eq!(pair.server.seal(b"x", &mut more).unwrap_err().kind(), ErrorKind::State);
    }
}

#[test]
fn nothing_is_sealed_before_the_handshake_is_done() {
    let identity = identity(&["a.example"]);
    let client = Arc::new(client_config(&[&identity], &TLS13));
    let mut pair = Pair::new(&config(&[&identity]), &client, "a.example");
    let mut out = Vec::new();
    assert_eq!(pair.server.seal(b"secret", &mut out).unwrap_err().kind(), ErrorKind::State);
    let hello = pair.client_bytes();
    pair.server.feed(&hello).unwrap();
    assert_eq!(pair.server.seal(b"secret", &mut out).unwrap_err().kind(), ErrorKind::State);
    assert_eq!(out, b"");
    assert_eq!(pair.settle().unwrap(), b"", "the handshake goes on");
    pair.server.seal(b"secret", &mut out).unwrap();
}

#[test]
fn what_is_no_tls_is_answered_with_an_alert() {
    let config = config(&[&identity(&["a.example"])]);
    let mut server = Connection::new(&config);
    let error = server.feed(b"GET / HTTP/1.1\r\nhost: a.example\r\n\r\n").unwrap_err();
    assert_eq!(error.kind(), ErrorKind::Handshake);
    assert_eq!(error.alert_received(), None);
    assert_eq!(records(&server.take()), [(ALERT, 2)]);
    assert_eq!(server.feed(b"more").unwrap_err(), error, "the error stays");
    let mut out = Vec::new();
    assert_eq!(server.seal(b"x", &mut out).unwrap_err(), error);
    server.close(&mut out);
    assert_eq!(out, b"", "there is no close_notify after a fatal alert");
}

#[test]
fn a_peer_that_speaks_other_protocols_is_told() {
    let identity = identity(&["a.example"]);
    let mut client = client_config(&[&identity], &TLS13);
    client.alpn_protocols = vec![b"h2".to_vec()];
    let mut pair = Pair::new(&config(&[&identity]), &Arc::new(client), "a.example");
    let hello = pair.client_bytes();
    assert_eq!(pair.server.feed(&hello).unwrap_err().kind(), ErrorKind::Handshake);
    let alert = pair.server.take();
    let told = pair.deliver(&alert).unwrap_err();
    assert_eq!(told, rustls::Error::AlertReceived(AlertDescription::NoApplicationProtocol));
}

#[test]
fn an_alert_of_the_peer_is_named() {
    let identity = identity(&["a.example"]);
    let stranger = common::identity(&["stranger.example"]);
    let client = Arc::new(client_config(&[&stranger], &TLS13));
    let mut pair = Pair::new(&config(&[&identity]), &client, "a.example");
    let error = pair.settle().unwrap_err();
    assert_eq!(error.kind(), ErrorKind::Handshake);
    assert_eq!(error.alert_received(), Some(48));
    assert_eq!(error.to_string(), "the peer ended the TLS handshake with the alert unknown_ca (48)");
}

#[test]
fn a_changed_record_ends_the_connection() {
    let identity = identity(&["a.example"]);
    let config = config(&[&identity]);
    for version in [&TLS13, &TLS12] {
        let client = Arc::new(client_config(&[&identity], version));
        let mut pair = Pair::established(&config, &client, "a.example");
        pair.client_sends(b"request");
        let mut bytes = pair.client_bytes();
        *bytes.last_mut().unwrap() ^= 1;
        assert_eq!(pair.server.feed(&bytes).unwrap_err().kind(), ErrorKind::Protocol);
        let alert = pair.server.take();
        let told = pair.deliver(&alert).unwrap_err();
        assert_eq!(told, rustls::Error::AlertReceived(AlertDescription::BadRecordMac));
        let mut out = Vec::new();
        assert_eq!(pair.server.seal(b"x", &mut out).unwrap_err().kind(), ErrorKind::Protocol);
        assert_eq!(out, b"");
    }
}

#[test]
fn the_peer_notices_a_changed_record() {
    let identity = identity(&["a.example"]);
    let config = config(&[&identity]);
    for (version, suite) in [
        (&TLS13, cipher_suite::TLS13_AES_128_GCM_SHA256),
        (&TLS13, cipher_suite::TLS13_AES_256_GCM_SHA384),
        (&TLS12, cipher_suite::TLS_ECDHE_ECDSA_WITH_AES_128_GCM_SHA256),
        (&TLS12, cipher_suite::TLS_ECDHE_ECDSA_WITH_AES_256_GCM_SHA384),
    ] {
        let provider = CryptoProvider { cipher_suites: vec![suite], ..common::client_provider() };
        let client = Arc::new(common::client_config_with(&[&identity], version, provider));
        // Behind the header: the explicit nonce, or the first byte; the middle; the tag's first and last one.
        for at in [5, 500, 1000 - 16, 1000 - 1] {
            let mut pair = Pair::established(&config, &client, "a.example");
            let window = pattern(1000 - 5 - if version == &TLS13 { 17 } else { 24 });
            let mut out = Vec::new();
            pair.server.seal(&window, &mut out).unwrap();
            assert_eq!(out.len(), 1000);
            out[at] ^= 1;
            assert_eq!(pair.deliver(&out).unwrap_err(), rustls::Error::DecryptError, "{suite:?}, byte {at}");
            assert_eq!(pair.read, b"");
        }
    }
}

/// A handshake message says that it has 16 MB; the memory for it is bounded all the same.
#[test]
fn a_handshake_message_has_a_limit() {
    let config = config(&[&identity(&["a.example"])]);
    let mut server = Connection::new(&config);
    let mut fed = 0;
    let error = loop {
        let mut record = vec![22, 3, 1, 0x40, 0];
        record.extend(if fed == 0 { [1, 0xff, 0xff, 0xff] } else { [0; 4] });
        record.resize(5 + 0x4000, 0);
        fed += record.len();
        if let Err(error) = server.feed(&record) {
            break error;
        }
    };
    assert_eq!(error.kind(), ErrorKind::Handshake);
    assert!(fed <= 96 * 1024, "{fed} bytes were taken");
}

#[test]
fn debug_output_holds_no_plaintext() {
    let identity = identity(&["a.example"]);
    let client = Arc::new(client_config(&[&identity], &TLS13));
    let mut pair = Pair::established(&config(&[&identity]), &client, "a.example");
    pair.client_sends(b"PASSWORD");
    let bytes = pair.client_bytes();
    let received = pair.server.feed(&bytes).unwrap();
    assert_eq!(format!("{received:?}"), "Received { plaintext_len: 8, handshake_done: true }");
    assert_eq!(
        format!("{:?}", pair.server),
        "Connection { server_name: Some(\"a.example\"), session: Some(Session { version: \"TLSv1_3\", suite: \
         \"TLS13_AES_256_GCM_SHA384\", resumed: false }), failure: None, closed: false, closed_by_peer: false, .. }"
    );
}
