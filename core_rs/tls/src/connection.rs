//! One connection: bytes in, plaintext out; plaintext in, bytes out.

use std::fmt;
use std::io::{Read, Write};
use std::sync::Arc;

use rustls::server::ServerConnection;
use rustls::{HandshakeKind, ProtocolVersion, SupportedCipherSuite};

use crate::{Config, Error, ErrorKind, Result};

/// The longest plaintext of a record (RFC 8446 §5.1).
const RECORD: usize = 1 << 14;

/// What a record adds at most: a header of 5 bytes, the explicit nonce of 8 that TLS 1.2 has with GCM (RFC 5288 §3),
/// and a tag of 16. TLS 1.3 has one byte of content type in place of the nonce.
const RECORD_OVERHEAD: usize = 5 + 8 + 16;

/// How many bytes [`Connection::seal`] makes of a window at most, when no control records wait and no keys change.
pub const fn sealed_len(window: usize) -> usize {
    window + window.div_ceil(RECORD) * RECORD_OVERHEAD
}

/// What [`Connection::feed`] found.
#[derive(Clone, Default, Eq, PartialEq)]
pub struct Received {
    /// Application data, decrypted and authentic.
    pub plaintext: Vec<u8>,
    /// Whether the handshake is done, now or earlier: from then on windows can be sealed.
    pub handshake_done: bool,
}

impl fmt::Debug for Received {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.debug_struct("Received")
            .field("plaintext_len", &self.plaintext.len())
            .field("handshake_done", &self.handshake_done)
            .finish()
    }
}

/// What was agreed, in the standards' names.
#[derive(Clone, Copy, Debug, Eq, PartialEq)]
pub struct Session {
    /// `TLSv1_2` or `TLSv1_3`.
    pub version: &'static str,
    /// The cipher suite, as in `TLS13_AES_128_GCM_SHA256`.
    pub suite: &'static str,
    /// Whether a ticket spared the certificate.
    pub resumed: bool,
}

/// The server's side of one connection.
///
/// After each [`feed`](Self::feed), also a failed one, the caller sends what [`take`](Self::take) gives him: the
/// handshake's next flight, or the alert that tells the peer what was wrong.
pub struct Connection {
    tls: ServerConnection,
    failure: Option<Error>,
    closed: bool,
    closed_by_peer: bool,
    /// How many records may still be sealed, once that is known.
    left: Option<u64>,
}

impl Connection {
    /// Waits for a peer's first bytes.
    pub fn new(config: &Config) -> Self {
        let mut tls = ServerConnection::new(Arc::clone(&config.server)).expect("only an odd record size is refused");
        // What waits is as much as the caller puts in, and he sends it before he puts in more.
        tls.set_buffer_limit(None);
        Self { tls, failure: None, closed: false, closed_by_peer: false, left: None }
    }

    /// Takes bytes that came from the peer, in pieces of any size.
    ///
    /// After an error the connection is of no use: each further call gives the same error. What comes after the
    /// peer's close_notify is ignored (RFC 8446 §6.1).
    pub fn feed(&mut self, mut bytes: &[u8]) -> Result<Received> {
        if let Some(failure) = &self.failure {
            return Err(failure.clone());
        }
        let mut received = Received::default();
        while !bytes.is_empty() && !self.closed_by_peer {
            let handshaking = self.tls.is_handshaking();
            let taken = self.tls.read_tls(&mut bytes);
            // It takes no byte only where a message of the handshake outgrows the 64 KiB that rustls holds.
            if !matches!(taken, Ok(1..)) {
                return self.fail(Error::new(
                    ErrorKind::Handshake,
                    "the TLS handshake failed: the peer sent a message of more than 64 KiB",
                ));
            }
            let state = match self.tls.process_new_packets() {
                Ok(state) => state,
                Err(cause) => return self.fail(Error::of_peer(&cause, handshaking)),
            };
            let start = received.plaintext.len();
            received.plaintext.resize(start + state.plaintext_bytes_to_read(), 0);
            self.tls.reader().read_exact(&mut received.plaintext[start..]).expect("rustls counted these bytes");
            self.closed_by_peer = state.peer_has_closed();
        }
        received.handshake_done = !self.tls.is_handshaking();
        Ok(received)
    }

    fn fail<T>(&mut self, error: Error) -> Result<T> {
        self.failure = Some(error.clone());
        Err(error)
    }

    /// The bytes that wait to be sent to the peer: handshake, tickets, alerts, key updates. Mostly none.
    pub fn take(&mut self) -> Vec<u8> {
        let mut out = Vec::new();
        self.drain(&mut out);
        out
    }

    /// Whether [`take`](Self::take) would give bytes.
    pub fn wants_write(&self) -> bool {
        self.tls.wants_write()
    }

    /// Appends a window to `out` as records of 16 KiB, behind the control records that wait.
    ///
    /// `out` should have room for [`sealed_len`] bytes; it grows otherwise. The bytes have to be sent whole and in
    /// order. An error leaves a connection that can only be dropped.
    pub fn seal(&mut self, window: &[u8], out: &mut Vec<u8>) -> Result<()> {
        let had_failed = self.failure.is_some();
        let sealed = self.queue(window);
        // Keys that are used up leave a farewell.
        if sealed.is_ok() || (!had_failed && self.failure.is_some()) {
            self.drain(out);
        }
        sealed
    }

    /// Seals a window as records of 16 KiB, which then wait, behind the control records, for [`Self::write_to`]: a copy
    /// less than [`Self::seal`].
    ///
    /// An error leaves a connection that can only be dropped.
    pub fn queue(&mut self, window: &[u8]) -> Result<()> {
        if let Some(failure) = &self.failure {
            return Err(failure.clone());
        }
        if self.closed {
            return Err(Error::new(ErrorKind::State, "the TLS connection was closed: nothing can be sealed"));
        }
        if self.tls.is_handshaking() {
            return Err(Error::new(ErrorKind::State, "the TLS handshake is not done: nothing can be sealed yet"));
        }
        for plain in window.chunks(RECORD) {
            let suite = self.tls.negotiated_cipher_suite();
            let left = self.left.get_or_insert_with(|| records(suite));
            // Where a key may seal no more (RFC 8446 §5.5), TLS 1.3 changes it. TLS 1.2 cannot.
            if *left == 0 {
                self.tls.send_close_notify();
                return self.fail(Error::new(
                    ErrorKind::State,
                    "the keys of this TLS 1.2 connection are used up: the peer has to connect again",
                ));
            }
            *left -= 1;
            self.tls.writer().write_all(plain).expect("a queue without a limit takes a record");
        }
        Ok(())
    }

    /// Gives `writer` of what waits as much as it takes in one call; returns how much that was.
    ///
    /// # Errors
    /// The writer's.
    pub fn write_to(&mut self, writer: &mut dyn Write) -> std::io::Result<usize> {
        self.tls.write_tls(writer)
    }

    /// Appends what waits and a close_notify: the peer then knows that it has all (RFC 8446 §6.1).
    pub fn close(&mut self, out: &mut Vec<u8>) {
        self.closed = true;
        // rustls sends none after a fatal alert, and no second one.
        self.tls.send_close_notify();
        self.drain(out);
    }

    fn drain(&mut self, out: &mut Vec<u8>) {
        while self.tls.wants_write() {
            self.tls.write_tls(out).expect("a vector takes all bytes");
        }
    }

    /// Whether the peer has said, by close_notify, that it sends no more. It may still read.
    ///
    /// An end of the byte stream without it may be an attacker's cut.
    pub fn is_closed_by_peer(&self) -> bool {
        self.closed_by_peer
    }

    /// The host that the peer asked for, in lower case, once it has.
    pub fn server_name(&self) -> Option<&str> {
        self.tls.server_name()
    }

    /// What was agreed, once the handshake is done.
    pub fn session(&self) -> Option<Session> {
        if self.tls.is_handshaking() {
            return None;
        }
        Some(Session {
            version: self.tls.protocol_version().as_ref().and_then(ProtocolVersion::as_str)?,
            suite: self.tls.negotiated_cipher_suite()?.suite().as_str()?,
            resumed: self.tls.handshake_kind() == Some(HandshakeKind::Resumed),
        })
    }
}

/// How many records of application data the keys of a connection may seal.
fn records(suite: Option<SupportedCipherSuite>) -> u64 {
    match suite {
        // The handshake has sealed one, and the end of the connection is to be told.
        Some(SupportedCipherSuite::Tls12(suite)) => suite.common.confidentiality_limit.saturating_sub(2),
        _ => u64::MAX,
    }
}

impl fmt::Debug for Connection {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.debug_struct("Connection")
            .field("server_name", &self.server_name())
            .field("session", &self.session())
            .field("failure", &self.failure)
            .field("closed", &self.closed)
            .field("closed_by_peer", &self.closed_by_peer)
            .finish_non_exhaustive()
    }
}

#[cfg(test)]
mod tests {
    use std::slice;

    use rustls::crypto::aws_lc_rs::{self, cipher_suite};
    use rustls::pki_types::CertificateDer;
    use rustls::pki_types::pem::PemObject;
    use rustls::{
        CipherSuiteCommon, ClientConfig, ClientConnection, RootCertStore, SupportedCipherSuite, Tls12CipherSuite,
        Tls13CipherSuite,
    };

    use super::*;
    use crate::config::one_pass;
    use crate::{Certificate, Pem, TicketKeys};

    /// The suite, but its keys may seal no more than eight records.
    fn short_lived(suite: SupportedCipherSuite) -> SupportedCipherSuite {
        let common = |whole: &CipherSuiteCommon| CipherSuiteCommon {
            suite: whole.suite,
            hash_provider: whole.hash_provider,
            confidentiality_limit: 8,
        };
        match suite {
            SupportedCipherSuite::Tls12(whole) => SupportedCipherSuite::Tls12(Box::leak(Box::new(Tls12CipherSuite {
                common: common(&whole.common),
                prf_provider: whole.prf_provider,
                kx: whole.kx,
                sign: whole.sign,
                aead_alg: whole.aead_alg,
            }))),
            SupportedCipherSuite::Tls13(whole) => SupportedCipherSuite::Tls13(Box::leak(Box::new(Tls13CipherSuite {
                common: common(&whole.common),
                hkdf_provider: whole.hkdf_provider,
                aead_alg: whole.aead_alg,
                quic: whole.quic,
            }))),
        }
    }

    fn established(suite: SupportedCipherSuite) -> (Connection, ClientConnection) {
        let made = rcgen::generate_simple_self_signed(["a.example".to_owned()]).unwrap();
        let (chain, key) = (made.cert.pem(), made.signing_key.serialize_pem());
        let certificate = Certificate {
            chain: Pem { name: "chain", bytes: chain.as_bytes() },
            key: Pem { name: "key", bytes: key.as_bytes() },
        };
        let mut provider = one_pass();
        for slot in &mut provider.cipher_suites {
            *slot = short_lived(*slot);
        }
        // Far behind the present: the client has a clock of its own, and no ticket matters here.
        let config = Config::with_provider(&[certificate], TicketKeys::new(&[0; 32], || 0), provider).unwrap();

        let mut roots = RootCertStore::empty();
        roots.add(CertificateDer::from_pem_slice(chain.as_bytes()).unwrap()).unwrap();
        let mut provider = aws_lc_rs::default_provider();
        provider.cipher_suites = vec![suite];
        let client = ClientConfig::builder_with_provider(Arc::new(provider))
            .with_protocol_versions(&[suite.version()])
            .unwrap()
            .with_root_certificates(roots)
            .with_no_client_auth();
        let mut client = ClientConnection::new(Arc::new(client), "a.example".try_into().unwrap()).unwrap();
        let mut server = Connection::new(&config);
        while client.is_handshaking() || server.tls.is_handshaking() {
            let mut bytes = Vec::new();
            client.write_tls(&mut bytes).unwrap();
            server.feed(&bytes).unwrap();
            deliver(&mut client, &server.take());
        }
        (server, client)
    }

    fn deliver(client: &mut ClientConnection, mut bytes: &[u8]) -> Vec<u8> {
        let mut read = Vec::new();
        while !bytes.is_empty() {
            client.read_tls(&mut bytes).unwrap();
            let state = client.process_new_packets().unwrap();
            let start = read.len();
            read.resize(start + state.plaintext_bytes_to_read(), 0);
            client.reader().read_exact(&mut read[start..]).unwrap();
        }
        read
    }

    #[test]
    fn used_up_keys_are_changed_in_tls_1_3() {
        let (mut server, mut client) = established(cipher_suite::TLS13_AES_128_GCM_SHA256);
        let window: Vec<u8> = (0..20 * RECORD).map(|n| (n / 100) as u8).collect();
        let mut out = Vec::new();
        server.seal(&window, &mut out).unwrap();
        assert!(out.len() > sealed_len(window.len()) - 20 * 7, "there are key updates among the records");
        assert!(deliver(&mut client, &out) == window);
    }

    #[test]
    fn used_up_keys_end_a_connection_of_tls_1_2() {
        let (mut server, mut client) = established(cipher_suite::TLS_ECDHE_ECDSA_WITH_AES_128_GCM_SHA256);
        let mut sealed = 0;
        let mut out = Vec::new();
        // Records of a byte: an alert is longer.
        let error = loop {
            assert!(sealed < 100, "keys are used without end");
            match server.seal(slice::from_ref(&sealed), &mut out) {
                Ok(()) => sealed += 1,
                Err(error) => break error,
            }
        };
        assert_eq!(error.kind(), ErrorKind::State);
        assert_eq!(server.seal(b"more", &mut out).unwrap_err(), error);
        assert_eq!(deliver(&mut client, &out), (0..sealed).collect::<Vec<u8>>());
        let end = client.reader().read(&mut [0]).unwrap();
        assert_eq!(end, 0, "the client was told");
    }
}
