//! Which certificate a peer is shown: by the name it asks for (SNI, RFC 6066 §3).

use std::collections::HashMap;
use std::sync::Arc;

use rustls::server::{ClientHello, ResolvesServerCert};
use rustls::sign::CertifiedKey;

use crate::certificate::Identity;

#[derive(Debug)]
pub(crate) struct Resolver {
    /// Under each name those that carry it, in the operator's order: an ECDSA certificate and, for old clients, RSA.
    by_name: HashMap<String, Vec<Arc<CertifiedKey>>>,
    /// For peers that name no host (they came by address) or one that nobody has.
    default: Vec<Arc<CertifiedKey>>,
}

impl Resolver {
    /// The first identity is the default, and so is each further one with the very same names.
    pub(crate) fn new(identities: Vec<Identity>) -> Self {
        let mut by_name: HashMap<String, Vec<Arc<CertifiedKey>>> = HashMap::new();
        let mut default = Vec::new();
        let default_names = identities.first().map(|first| first.names.clone());
        for Identity { key, names } in identities {
            if Some(&names) == default_names.as_ref() {
                default.push(Arc::clone(&key));
            }
            for name in names {
                by_name.entry(name).or_default().push(Arc::clone(&key));
            }
        }
        Self { by_name, default }
    }

    fn candidates(&self, server_name: Option<&str>) -> &[Arc<CertifiedKey>] {
        let named = server_name.and_then(|name| {
            let name = name.to_ascii_lowercase();
            // A wildcard stands for exactly one label, the leftmost (RFC 9525 §6.3).
            let wildcard = || self.by_name.get(&format!("*.{}", name.split_once('.')?.1));
            self.by_name.get(&name).or_else(wildcard)
        });
        named.unwrap_or(&self.default)
    }
}

impl ResolvesServerCert for Resolver {
    fn resolve(&self, hello: ClientHello<'_>) -> Option<Arc<CertifiedKey>> {
        let candidates = self.candidates(hello.server_name());
        let usable = candidates.iter().find(|held| held.key.choose_scheme(hello.signature_schemes()).is_some());
        usable.or(candidates.first()).cloned()
    }
}
