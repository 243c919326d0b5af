//! Certificates made on the spot, and a rustls client to talk to.

#![allow(dead_code, unused_imports, reason = "each test file uses its part")]

use std::io::{Read, Write};
use std::sync::Arc;
use std::sync::atomic::{AtomicU64, Ordering};

use pystream_tls::{Certificate, Config, Connection, Pem, Result, TicketKeys};
use rcgen::{CertificateParams, DnType, KeyPair, SignatureAlgorithm};
use rustls::crypto::{CryptoProvider, aws_lc_rs};
use rustls::pki_types::CertificateDer;
use rustls::pki_types::pem::PemObject;
use rustls::{ClientConfig, ClientConnection, Error, RootCertStore, SupportedProtocolVersion};

pub(crate) use rustls::version::{TLS12, TLS13};

/// 25 November 2026, a quarter past the start of a period.
pub(crate) const NOW: u64 = 1_795_586_400 / pystream_tls::PERIOD_SECONDS * pystream_tls::PERIOD_SECONDS + 900;

/// A self-signed certificate.
pub(crate) struct Identity {
    pub(crate) certificate: String,
    pub(crate) key: String,
    pub(crate) key_pair: KeyPair,
}

pub(crate) fn identity(names: &[&str]) -> Identity {
    identity_with(names, &rcgen::PKCS_ECDSA_P256_SHA256)
}

pub(crate) fn identity_with(names: &[&str], algorithm: &'static SignatureAlgorithm) -> Identity {
    let key_pair = KeyPair::generate_for(algorithm).unwrap();
    let mut params = CertificateParams::new(names.iter().map(|&name| name.to_owned()).collect::<Vec<_>>()).unwrap();
    if let Some(&name) = names.first() {
        params.distinguished_name.push(DnType::CommonName, name);
    }
    let certificate = params.self_signed(&key_pair).unwrap().pem();
    Identity { certificate, key: key_pair.serialize_pem(), key_pair }
}

impl Identity {
    pub(crate) fn certificate(&self) -> Certificate<'_> {
        Certificate {
            chain: Pem { name: "chain.pem", bytes: self.certificate.as_bytes() },
            key: Pem { name: "key.pem", bytes: self.key.as_bytes() },
        }
    }

    pub(crate) fn der(&self) -> CertificateDer<'static> {
        CertificateDer::from_pem_slice(self.certificate.as_bytes()).unwrap()
    }
}

/// A clock that tests set.
#[derive(Clone)]
pub(crate) struct Clock(Arc<AtomicU64>);

impl Clock {
    pub(crate) fn new() -> Self {
        Self(Arc::new(AtomicU64::new(NOW)))
    }

    pub(crate) fn set(&self, now: u64) {
        self.0.store(now, Ordering::Relaxed);
    }

    pub(crate) fn tickets(&self, secret: u8) -> TicketKeys {
        let clock = self.clone();
        TicketKeys::new(&[secret; 32], move || clock.0.load(Ordering::Relaxed))
    }
}

pub(crate) fn config(identities: &[&Identity]) -> Config {
    let certificates: Vec<_> = identities.iter().map(|identity| identity.certificate()).collect();
    Config::new(&certificates, Clock::new().tickets(1)).unwrap()
}

pub(crate) fn client_provider() -> CryptoProvider {
    aws_lc_rs::default_provider()
}

pub(crate) fn client_config(trusted: &[&Identity], version: &'static SupportedProtocolVersion) -> ClientConfig {
    client_config_with(trusted, version, client_provider())
}

pub(crate) fn client_config_with(
    trusted: &[&Identity],
    version: &'static SupportedProtocolVersion,
    provider: CryptoProvider,
) -> ClientConfig {
    let mut roots = RootCertStore::empty();
    for identity in trusted {
        roots.add(identity.der()).unwrap();
    }
    let mut config = ClientConfig::builder_with_provider(Arc::new(provider))
        .with_protocol_versions(&[version])
        .unwrap()
        .with_root_certificates(roots)
        .with_no_client_auth();
    config.alpn_protocols = vec![b"h2".to_vec(), b"http/1.1".to_vec()];
    config
}

/// A client and a server, and what the client has read.
pub(crate) struct Pair {
    pub(crate) client: ClientConnection,
    pub(crate) server: Connection,
    pub(crate) read: Vec<u8>,
}

impl Pair {
    pub(crate) fn new(config: &Config, client: &Arc<ClientConfig>, name: &str) -> Self {
        let client = ClientConnection::new(Arc::clone(client), name.to_owned().try_into().unwrap()).unwrap();
        Self { client, server: Connection::new(config), read: Vec::new() }
    }

    /// What the client has to send.
    pub(crate) fn client_bytes(&mut self) -> Vec<u8> {
        let mut bytes = Vec::new();
        while self.client.wants_write() {
            self.client.write_tls(&mut bytes).unwrap();
        }
        bytes
    }

    /// Gives the client bytes of the server.
    pub(crate) fn deliver(&mut self, mut bytes: &[u8]) -> std::result::Result<(), Error> {
        while !bytes.is_empty() {
            self.client.read_tls(&mut bytes).unwrap();
            self.client.process_new_packets()?;
            let mut chunk = [0; 1 << 14];
            while let Ok(count @ 1..) = self.client.reader().read(&mut chunk) {
                self.read.extend_from_slice(&chunk[..count]);
            }
        }
        Ok(())
    }

    /// Carries bytes to and fro until neither side has any, and returns what the server read.
    pub(crate) fn settle(&mut self) -> Result<Vec<u8>> {
        let mut plaintext = Vec::new();
        loop {
            let to_server = self.client_bytes();
            let fed = self.server.feed(&to_server);
            let to_client = self.server.take();
            let delivered = self.deliver(&to_client);
            plaintext.extend(fed?.plaintext);
            if delivered.is_err() {
                // The client has an alert to send.
                let alert = self.client_bytes();
                self.server.feed(&alert)?;
            }
            if to_server.is_empty() && to_client.is_empty() {
                return Ok(plaintext);
            }
        }
    }

    pub(crate) fn established(config: &Config, client: &Arc<ClientConfig>, name: &str) -> Self {
        let mut pair = Self::new(config, client, name);
        assert_eq!(pair.settle().unwrap(), b"");
        assert!(pair.server.session().is_some());
        pair
    }

    pub(crate) fn client_sends(&mut self, plaintext: &[u8]) {
        self.client.writer().write_all(plaintext).unwrap();
    }

    /// The certificate that the client was shown.
    pub(crate) fn shown(&self) -> &CertificateDer<'static> {
        &self.client.peer_certificates().unwrap()[0]
    }
}

/// The records in a byte stream: content type and length of the body. Panics if one is cut.
pub(crate) fn records(mut bytes: &[u8]) -> Vec<(u8, usize)> {
    let mut records = Vec::new();
    while !bytes.is_empty() {
        let len = usize::from(u16::from_be_bytes([bytes[3], bytes[4]]));
        records.push((bytes[0], len));
        bytes = &bytes[5 + len..];
    }
    records
}

pub(crate) fn pattern(len: usize) -> Vec<u8> {
    (0..len).map(|n| (n * 7 + n / 251) as u8).collect()
}
