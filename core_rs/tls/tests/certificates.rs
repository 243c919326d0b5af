//! Which certificate is shown, and what is said of those that cannot be.

mod common;

use std::sync::Arc;

use aws_lc_rs::encoding::AsDer;
use common::{Clock, Identity, Pair, TLS12, TLS13, client_config, config, identity, identity_with};
use pystream_tls::{Certificate, Config, Error, ErrorKind, Pem};
use rustls::SignatureScheme;

fn shown(config: &Config, trusted: &[&Identity], name: &str) -> Vec<u8> {
    let client = Arc::new(client_config(trusted, &TLS13));
    Pair::established(config, &client, name).shown().to_vec()
}

#[test]
fn by_the_name_that_is_asked_for() {
    let first = identity(&["first.example"]);
    let mixed = identity(&["Second.Example", "*.wild.example"]);
    let exact = identity(&["exact.wild.example"]);
    let config = config(&[&first, &mixed, &exact]);
    assert_eq!(config.names(), ["*.wild.example", "exact.wild.example", "first.example", "second.example"]);
    let all = [&first, &mixed, &exact];
    for (name, identity) in [
        ("first.example", &first),
        ("second.example", &mixed),
        ("SECOND.example", &mixed),
        ("any.wild.example", &mixed),
        ("exact.wild.example", &exact),
    ] {
        assert_eq!(shown(&config, &all, name), *identity.der(), "{name}");
    }
}

/// A client without SNI, and names that no certificate has; a wildcard is one label, not none and not two.
#[test]
fn the_first_is_the_default() {
    let first = identity(&["first.example", "127.0.0.1"]);
    let wild = identity(&["*.wild.example"]);
    let config = config(&[&first, &wild]);
    let client = Arc::new(client_config(&[&first], &TLS13));
    let pair = Pair::established(&config, &client, "127.0.0.1");
    assert_eq!(pair.server.server_name(), None);
    for name in ["stranger.example", "wild.example", "a.b.wild.example"] {
        let mut pair = Pair::new(&config, &client, name);
        let refused = pair.settle().unwrap_err();
        assert_eq!(refused.alert_received(), Some(42), "the client sees the default's names and refuses: {refused}");
    }
}

#[test]
fn an_old_client_gets_the_key_that_it_knows() {
    let ecdsa = identity(&["a.example", "127.0.0.1"]);
    let rsa = identity_with(&["a.example", "127.0.0.1"], &rcgen::PKCS_RSA_SHA256);
    let other = identity(&["b.example"]);
    for (config, name) in [
        (config(&[&ecdsa, &rsa, &other]), "a.example"),
        (config(&[&ecdsa, &rsa, &other]), "127.0.0.1"),
        (config(&[&other, &ecdsa, &rsa]), "a.example"),
    ] {
        for version in [&TLS13, &TLS12] {
            let mut provider = common::client_provider();
            let new = Arc::new(common::client_config_with(&[&ecdsa, &rsa], version, provider.clone()));
            assert_eq!(*Pair::established(&config, &new, name).shown(), ecdsa.der());
            let rsa_schemes = provider.signature_verification_algorithms.mapping.iter().copied();
            let rsa_schemes: Vec<_> = rsa_schemes.filter(|(scheme, _)| is_rsa(*scheme)).collect();
            provider.signature_verification_algorithms.mapping = rsa_schemes.leak();
            let old = Arc::new(common::client_config_with(&[&ecdsa, &rsa], version, provider));
            assert_eq!(*Pair::established(&config, &old, name).shown(), rsa.der());
        }
    }
}

fn is_rsa(scheme: SignatureScheme) -> bool {
    scheme.as_str().unwrap().starts_with("RSA")
}

#[test]
fn a_reload_leaves_connections_alone() {
    let old = identity(&["a.example"]);
    let new = identity(&["a.example"]);
    let tickets = Clock::new().tickets(1);
    let mut config = Config::new(&[old.certificate()], tickets.clone()).unwrap();
    let client = Arc::new(client_config(&[&old, &new], &TLS13));
    let mut begun = Pair::new(&config, &client, "a.example");
    let mut running = Pair::established(&config, &Arc::new(client_config(&[&old], &TLS13)), "a.example");
    config = Config::new(&[new.certificate()], tickets).unwrap();
    begun.settle().unwrap();
    assert_eq!(*begun.shown(), old.der());
    let mut out = Vec::new();
    running.server.seal(b"goes on", &mut out).unwrap();
    running.deliver(&out).unwrap();
    assert_eq!(running.read, b"goes on");
    assert_eq!(shown(&config, &[&new], "a.example"), *new.der());
}

#[test]
fn every_kind_of_key() {
    for algorithm in
        [&rcgen::PKCS_ECDSA_P256_SHA256, &rcgen::PKCS_ECDSA_P384_SHA384, &rcgen::PKCS_ED25519, &rcgen::PKCS_RSA_SHA256]
    {
        let identity = identity_with(&["a.example"], algorithm);
        shown(&config(&[&identity]), &[&identity], "a.example");
    }
}

/// RFC 5915, as `openssl ecparam -genkey` writes it, and RFC 8017 §A.1.2, as `openssl genrsa -traditional` does.
#[test]
fn older_forms_of_keys() {
    let ec = identity(&["a.example"]);
    let pair = aws_lc_rs::signature::EcdsaKeyPair::from_pkcs8(
        &aws_lc_rs::signature::ECDSA_P256_SHA256_ASN1_SIGNING,
        &ec.key_pair.serialize_der(),
    )
    .unwrap();
    let sec1: aws_lc_rs::encoding::EcPrivateKeyRfc5915Der<'_> = pair.private_key().as_der().unwrap();
    let ec = Identity { key: pem("EC PRIVATE KEY", sec1.as_ref()), ..ec };
    shown(&config(&[&ec]), &[&ec], "a.example");

    let rsa = identity_with(&["a.example"], &rcgen::PKCS_RSA_SHA256);
    let pkcs8 = rsa.key_pair.serialize_der();
    // PKCS#8 wraps it: version, algorithm, and an octet string with a length of two bytes.
    let at = pkcs8.windows(2).position(|tag| tag == [0x04, 0x82]).unwrap();
    let rsa = Identity { key: pem("RSA PRIVATE KEY", &pkcs8[at + 4..]), ..rsa };
    shown(&config(&[&rsa]), &[&rsa], "a.example");
}

fn pem(label: &str, der: &[u8]) -> String {
    const DIGITS: &[u8; 64] = b"ABCDEFGHIJKLMNOPQRSTUVWXYZabcdefghijklmnopqrstuvwxyz0123456789+/";
    let mut text = format!("-----BEGIN {label}-----\n");
    for line in der.chunks(48) {
        for group in line.chunks(3) {
            let bits = group.iter().fold(0, |bits, &byte| bits << 8 | usize::from(byte)) << (8 * (3 - group.len()));
            let digits = (0..4).map(|n| char::from(DIGITS[bits >> (18 - 6 * n) & 63]));
            text.extend(digits.enumerate().map(|(n, digit)| if n <= group.len() { digit } else { '=' }));
        }
        text.push('\n');
    }
    text + &format!("-----END {label}-----\n")
}

#[test]
fn what_cannot_be_served_is_named() {
    let good = identity(&["a.example"]);
    let other = identity(&["b.example"]);
    let nameless = identity(&[]);
    let encrypted = good.key.replace("PRIVATE KEY", "ENCRYPTED PRIVATE KEY");
    let swapped = format!("{}{}", other.certificate, good.certificate);
    let garbage = "-----BEGIN CERTIFICATE-----\nAAAA\n-----END CERTIFICATE-----\n";
    let broken = good.certificate.replace("-----END CERTIFICATE-----", "");
    let broken_key = good.key.replace("-----END PRIVATE KEY-----", "");
    let odd_key = "-----BEGIN PRIVATE KEY-----\nAAAA\n-----END PRIVATE KEY-----\n";
    use ErrorKind::{Certificate as C, PrivateKey as K};
    for (chain, key, kind, message) in [
        ("", &*good.key, C, "chain.pem: there is no certificate in it"),
        (&good.key, &good.key, C, "chain.pem: there is no certificate in it"),
        (&broken, &good.key, C, "chain.pem: this is not PEM"),
        (garbage, &good.key, C, "chain.pem: the first certificate is not an X.509"),
        (&good.certificate, "", K, "key.pem: there is no private key in it"),
        (&good.certificate, &good.certificate, K, "key.pem: there is no private key in it"),
        (&good.certificate, &broken_key, K, "key.pem: this is not PEM"),
        (&good.certificate, odd_key, K, "key.pem: the private key cannot be used"),
        (&good.certificate, &encrypted, K, "key.pem: the private key is encrypted"),
        (
            &good.certificate,
            &other.key,
            K,
            "key.pem: the private key is not that of the first certificate in chain.pem",
        ),
        (&swapped, &good.key, K, "key.pem: the private key is not that of the first certificate in chain.pem"),
    ] {
        let error = refusal(&[certificate(chain, key)]);
        assert_eq!(error.kind(), kind, "{error}");
        assert!(error.to_string().starts_with(message), "{error}");
    }
    let error = refusal(&[]);
    assert_eq!(error.to_string(), "TLS needs at least one certificate with its private key");
    config(&[&nameless]);
    let error = refusal(&[good.certificate(), nameless.certificate()]);
    assert!(error.to_string().starts_with("chain.pem: the certificate has no DNS name"), "{error}");
}

fn certificate<'a>(chain: &'a str, key: &'a str) -> Certificate<'a> {
    Certificate {
        chain: Pem { name: "chain.pem", bytes: chain.as_bytes() },
        key: Pem { name: "key.pem", bytes: key.as_bytes() },
    }
}

fn refusal(certificates: &[Certificate<'_>]) -> Error {
    Config::new(certificates, Clock::new().tickets(1)).unwrap_err()
}

#[test]
fn debug_output_holds_no_keys() {
    let identity = identity(&["a.example"]);
    assert_eq!(
        format!("{:?}", identity.certificate()),
        "Certificate { chain: Pem { name: \"chain.pem\", .. }, key: Pem { name: \"key.pem\", .. } }"
    );
    assert_eq!(format!("{:?}", config(&[&identity])), "Config { names: [\"a.example\"], .. }");
}
