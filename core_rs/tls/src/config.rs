//! What all connections of a listener share.

use std::collections::BTreeSet;
use std::fmt;
use std::sync::{Arc, LazyLock};

use rustls::SupportedCipherSuite;
use rustls::crypto::{CryptoProvider, aws_lc_rs};
use rustls::server::{NoServerSessionStorage, ServerConfig};
use rustls::version::{TLS12, TLS13};

use crate::certificate::Identity;
use crate::resolver::Resolver;
use crate::sealing::in_one_pass;
use crate::{Certificate, Error, ErrorKind, Result, TicketKeys};

/// What is spoken inside (RFC 7301 §6), the best first. A peer that offers only others is refused with an alert.
const ALPN: [&[u8]; 2] = [b"http/1.1", b"http/1.0"];

/// Certificates and rules for connections. A clone is the same configuration.
#[derive(Clone)]
pub struct Config {
    pub(crate) server: Arc<ServerConfig>,
    names: Arc<[String]>,
}

impl Config {
    /// Reads the certificates. Peers get the one with the name that they ask for; those that ask for none, or for a
    /// name that no certificate has, get the first. Several with the same name are offered in the given order, to
    /// each peer the first that it can verify.
    ///
    /// Tickets made under another configuration with the same `tickets` are honoured.
    pub fn new(certificates: &[Certificate<'_>], tickets: TicketKeys) -> Result<Self> {
        // All its suites have forward secrecy and authenticated encryption, and a hybrid group withstands quantum
        // computers. The peer's order of preference counts: it knows whether its processor has AES.
        Self::with_provider(certificates, tickets, provider())
    }

    /// [`Config::new`] with given algorithms.
    pub(crate) fn with_provider(
        certificates: &[Certificate<'_>],
        tickets: TicketKeys,
        provider: CryptoProvider,
    ) -> Result<Self> {
        let provider = Arc::new(provider);
        let identities = certificates
            .iter()
            .map(|&certificate| Identity::read(certificate, &provider))
            .collect::<Result<Vec<_>>>()?;
        if identities.is_empty() {
            return Err(Error::new(ErrorKind::Certificate, "TLS needs at least one certificate with its private key"));
        }
        // Only the default serves peers that name no host.
        if let Some(at) = identities.iter().skip(1).position(|identity| identity.names.is_empty()) {
            return Err(Error::new(
                ErrorKind::Certificate,
                format!(
                    "{}: the certificate has no DNS name among its subject alternative names, so no peer would be \
                     shown it; only the first certificate may lack one",
                    certificates[at + 1].chain.name
                ),
            ));
        }
        let names: BTreeSet<String> = identities.iter().flat_map(|identity| identity.names.clone()).collect();

        let mut server = ServerConfig::builder_with_details(provider, tickets.time_provider())
            .with_protocol_versions(&[&TLS13, &TLS12])
            .expect("the provider has suites for both versions")
            .with_no_client_auth()
            .with_cert_resolver(Arc::new(Resolver::new(identities)));
        server.alpn_protocols = ALPN.map(<[u8]>::to_vec).to_vec();
        server.ticketer = Arc::new(tickets);
        server.session_storage = Arc::new(NoServerSessionStorage {});
        Ok(Self { server: Arc::new(server), names: names.into_iter().collect() })
    }

    /// The DNS names of all certificates, sorted; wildcards as they stand in them.
    pub fn names(&self) -> &[String] {
        &self.names
    }
}

/// AWS-LC's algorithms, with ring's cipher suites, which are the same ones, where those are twice as fast: AWS-LC has
/// AES-GCM for wide vectors with AVX-512 alone, ring with AVX2 too, as AMD's processors before Zen 4 have them.
fn provider() -> CryptoProvider {
    #[cfg(target_arch = "x86_64")]
    if is_x86_feature_detected!("vaes") && !is_x86_feature_detected!("avx512f") {
        let cipher_suites = rustls::crypto::ring::DEFAULT_CIPHER_SUITES.to_vec();
        return CryptoProvider { cipher_suites, ..aws_lc_rs::default_provider() };
    }
    one_pass()
}

/// AWS-LC's algorithms, sealing in one pass.
pub(crate) fn one_pass() -> CryptoProvider {
    static SUITES: LazyLock<Vec<SupportedCipherSuite>> =
        LazyLock::new(|| aws_lc_rs::DEFAULT_CIPHER_SUITES.iter().copied().map(in_one_pass).collect());
    CryptoProvider { cipher_suites: SUITES.clone(), ..aws_lc_rs::default_provider() }
}

impl fmt::Debug for Config {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.debug_struct("Config").field("names", &self.names).finish_non_exhaustive()
    }
}
