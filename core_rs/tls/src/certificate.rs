//! A certificate chain with its private key, from PEM (RFC 7468).

use std::fmt;
use std::sync::Arc;

use rustls::crypto::CryptoProvider;
use rustls::pki_types::pem::{Error as PemError, PemObject};
use rustls::pki_types::{CertificateDer, PrivateKeyDer};
use rustls::sign::CertifiedKey;
use rustls::{Error as Cause, InconsistentKeys};

use crate::{Error, ErrorKind, Result};

/// The bytes of a PEM file, and what errors call it: the path, most often.
#[derive(Clone, Copy)]
pub struct Pem<'a> {
    /// What errors call it.
    pub name: &'a str,
    /// The whole file.
    pub bytes: &'a [u8],
}

impl fmt::Debug for Pem<'_> {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.debug_struct("Pem").field("name", &self.name).finish_non_exhaustive()
    }
}

/// What a server shows and what proves that it may.
#[derive(Clone, Copy, Debug)]
pub struct Certificate<'a> {
    /// The server's certificate first, then those that sign it, without the root.
    pub chain: Pem<'a>,
    /// Its private key: PKCS#8, PKCS#1 (RSA) or SEC 1 (EC), not encrypted.
    pub key: Pem<'a>,
}

/// A certificate that was read, and the DNS names in it (RFC 5280 §4.2.1.6), in lower case.
pub(crate) struct Identity {
    pub(crate) key: Arc<CertifiedKey>,
    pub(crate) names: Vec<String>,
}

impl Identity {
    pub(crate) fn read(certificate: Certificate<'_>, provider: &CryptoProvider) -> Result<Self> {
        let Certificate { chain: chain_pem, key: key_pem } = certificate;
        let chain = read_chain(chain_pem)?;
        let names = names(chain_pem, &chain[0])?;
        let key = provider.key_provider.load_private_key(read_key(key_pem)?).map_err(|cause| {
            bad_key(key_pem, format_args!("the private key cannot be used: {cause}; RSA, ECDSA and Ed25519 keys can"))
        })?;
        let key = CertifiedKey::new(chain, key);
        match key.keys_match() {
            Ok(()) | Err(Cause::InconsistentKeys(InconsistentKeys::Unknown)) => {}
            Err(_) => {
                return Err(bad_key(
                    key_pem,
                    format_args!(
                        "the private key is not that of the first certificate in {}; the server's own certificate has \
                         to come first there",
                        chain_pem.name
                    ),
                ));
            }
        }
        Ok(Self { key: Arc::new(key), names })
    }
}

fn read_chain(pem: Pem<'_>) -> Result<Vec<CertificateDer<'static>>> {
    let chain: Vec<_> = CertificateDer::pem_slice_iter(pem.bytes)
        .collect::<std::result::Result<_, _>>()
        .map_err(|cause| bad_certificate(pem, format_args!("this is not PEM: {cause}")))?;
    if chain.is_empty() {
        return Err(bad_certificate(pem, format_args!("there is no certificate in it (-----BEGIN CERTIFICATE-----)")));
    }
    Ok(chain)
}

fn names(pem: Pem<'_>, end_entity: &CertificateDer<'_>) -> Result<Vec<String>> {
    let parsed = webpki::EndEntityCert::try_from(end_entity).map_err(|cause| {
        bad_certificate(pem, format_args!("the first certificate is not an X.509 version 3 certificate: {cause}"))
    })?;
    Ok(parsed.valid_dns_names().map(str::to_ascii_lowercase).collect())
}

fn read_key(pem: Pem<'_>) -> Result<PrivateKeyDer<'static>> {
    PrivateKeyDer::from_pem_slice(pem.bytes).map_err(|cause| match cause {
        PemError::NoItemsFound if is_encrypted(pem.bytes) => bad_key(
            pem,
            format_args!("the private key is encrypted; write it without a passphrase into a file of mode 0600"),
        ),
        PemError::NoItemsFound => bad_key(pem, format_args!("there is no private key in it")),
        cause => bad_key(pem, format_args!("this is not PEM: {cause}")),
    })
}

/// PKCS#8 says it in the label (RFC 7468 §11).
fn is_encrypted(pem: &[u8]) -> bool {
    let label = b"-----BEGIN ENCRYPTED PRIVATE KEY-----";
    pem.windows(label.len()).any(|window| window == label)
}

fn bad_certificate(pem: Pem<'_>, what: fmt::Arguments<'_>) -> Error {
    Error::new(ErrorKind::Certificate, format!("{}: {what}", pem.name))
}

fn bad_key(pem: Pem<'_>, what: fmt::Arguments<'_>) -> Error {
    Error::new(ErrorKind::PrivateKey, format!("{}: {what}", pem.name))
}
