//! Cipher suites whose AES-GCM seals records in one pass.
//!
//! # Theory
//!
//! rustls copies a record's plaintext behind its header and seals it there, in place. What comes from a cache of
//! gigabytes is then read twice: once from memory, once from what the copy has left in the processor's caches. Here
//! AWS-LC reads it where it lies, and writes the record: the one pass over slow memory is hidden by the cipher's work.
//!
//! Keys, nonces and limits are rustls's, the cipher is the one that its own suites have, and they open what comes in.

use std::iter::repeat_n;

use aws_lc_rs::aead::{AES_128_GCM, AES_256_GCM, Aad, Algorithm, Nonce, TlsProtocolId, TlsRecordSealingKey};
use rustls::crypto::cipher::{
    self, AeadKey, Iv, KeyBlockShape, MessageDecrypter, MessageEncrypter, OutboundChunks, OutboundOpaqueMessage,
    OutboundPlainMessage, PrefixedPayload, Tls12AeadAlgorithm, Tls13AeadAlgorithm, UnsupportedOperationError,
    make_tls12_aad, make_tls13_aad,
};
use rustls::{
    CipherSuite, CipherSuiteCommon, ConnectionTrafficSecrets, ContentType, Error, ProtocolVersion,
    SupportedCipherSuite, Tls12CipherSuite, Tls13CipherSuite,
};

/// The suite, sealing in one pass where it is one of AES-GCM; for as long as the process lives.
pub(crate) fn in_one_pass(suite: SupportedCipherSuite) -> SupportedCipherSuite {
    let Some(algorithm) = aes_gcm(suite.suite()) else { return suite };
    let common = |own: &CipherSuiteCommon| CipherSuiteCommon {
        suite: own.suite,
        hash_provider: own.hash_provider,
        confidentiality_limit: own.confidentiality_limit,
    };
    match suite {
        SupportedCipherSuite::Tls12(own) => SupportedCipherSuite::Tls12(Box::leak(Box::new(Tls12CipherSuite {
            common: common(&own.common),
            prf_provider: own.prf_provider,
            kx: own.kx,
            sign: own.sign,
            aead_alg: Box::leak(Box::new(OnePass { algorithm, own: own.aead_alg })),
        }))),
        SupportedCipherSuite::Tls13(own) => SupportedCipherSuite::Tls13(Box::leak(Box::new(Tls13CipherSuite {
            common: common(&own.common),
            hkdf_provider: own.hkdf_provider,
            aead_alg: Box::leak(Box::new(OnePass { algorithm, own: own.aead_alg })),
            quic: own.quic,
        }))),
    }
}

fn aes_gcm(suite: CipherSuite) -> Option<&'static Algorithm> {
    match suite {
        CipherSuite::TLS13_AES_128_GCM_SHA256
        | CipherSuite::TLS_ECDHE_ECDSA_WITH_AES_128_GCM_SHA256
        | CipherSuite::TLS_ECDHE_RSA_WITH_AES_128_GCM_SHA256 => Some(&AES_128_GCM),
        CipherSuite::TLS13_AES_256_GCM_SHA384
        | CipherSuite::TLS_ECDHE_ECDSA_WITH_AES_256_GCM_SHA384
        | CipherSuite::TLS_ECDHE_RSA_WITH_AES_256_GCM_SHA384 => Some(&AES_256_GCM),
        _ => None,
    }
}

/// All but the sealing is the suite's own.
struct OnePass<A: ?Sized + 'static> {
    algorithm: &'static Algorithm,
    own: &'static A,
}

impl Tls13AeadAlgorithm for OnePass<dyn Tls13AeadAlgorithm> {
    fn encrypter(&self, key: AeadKey, iv: Iv) -> Box<dyn MessageEncrypter> {
        Box::new(Tls13Sealer(Sealer::new(self.algorithm, key.as_ref(), iv)))
    }

    fn decrypter(&self, key: AeadKey, iv: Iv) -> Box<dyn MessageDecrypter> {
        self.own.decrypter(key, iv)
    }

    fn key_len(&self) -> usize {
        self.own.key_len()
    }

    fn extract_keys(&self, key: AeadKey, iv: Iv) -> Result<ConnectionTrafficSecrets, UnsupportedOperationError> {
        self.own.extract_keys(key, iv)
    }

    fn fips(&self) -> bool {
        self.own.fips()
    }
}

impl Tls12AeadAlgorithm for OnePass<dyn Tls12AeadAlgorithm> {
    /// The explicit part of the first nonce is drawn from the key block, too, and each further one is it XOR the
    /// record's number, as in TLS 1.3: RFC 5288 §3 only wants them to differ.
    fn encrypter(&self, key: AeadKey, salt: &[u8], explicit: &[u8]) -> Box<dyn MessageEncrypter> {
        Box::new(Tls12Sealer(Sealer::new(self.algorithm, key.as_ref(), Iv::copy(&[salt, explicit].concat()))))
    }

    fn decrypter(&self, key: AeadKey, salt: &[u8]) -> Box<dyn MessageDecrypter> {
        self.own.decrypter(key, salt)
    }

    fn key_block_shape(&self) -> KeyBlockShape {
        self.own.key_block_shape()
    }

    fn extract_keys(
        &self,
        key: AeadKey,
        salt: &[u8],
        explicit: &[u8],
    ) -> Result<ConnectionTrafficSecrets, UnsupportedOperationError> {
        self.own.extract_keys(key, salt, explicit)
    }

    fn fips(&self) -> bool {
        self.own.fips()
    }
}

/// What GCM adds to a record.
const TAG: usize = 16;

/// The nonce's part that a record of TLS 1.2 begins with (RFC 5288 §3).
const EXPLICIT: usize = 8;

struct Sealer {
    key: TlsRecordSealingKey,
    iv: Iv,
}

impl Sealer {
    fn new(algorithm: &'static Algorithm, key: &[u8], iv: Iv) -> Self {
        // Nonces of both versions are formed as those of TLS 1.3, and AWS-LC sees to it that none comes twice.
        let key = TlsRecordSealingKey::new(algorithm, TlsProtocolId::TLS13, key);
        Self { key: key.expect("the suite's algorithm says how long its keys are"), iv }
    }

    fn nonce(&self, seq: u64) -> [u8; cipher::NONCE_LEN] {
        cipher::Nonce::new(&self.iv, seq).0
    }

    /// `begin`, and behind it the sealed `plain` and `end`, and their tag.
    fn seal(
        &mut self,
        seq: u64,
        aad: &[u8],
        begin: &[u8],
        plain: &OutboundChunks<'_>,
        end: &[u8],
    ) -> Result<PrefixedPayload, Error> {
        let nonce = Nonce::assume_unique_for_key(self.nonce(seq));
        let len = plain.len();
        let mut record = PrefixedPayload::with_capacity(begin.len() + len + end.len() + TAG);
        record.extend_from_slice(begin);
        let gathered;
        let plain = match plain {
            OutboundChunks::Single(plain) => *plain,
            split => {
                gathered = split.to_vec();
                &gathered
            }
        };
        // AWS-LC writes to memory that is initialized.
        record.extend(repeat_n(&0, len + end.len() + TAG));
        let (sealed, tail) = record.as_mut()[begin.len()..].split_at_mut(len);
        self.key
            .seal_out_of_place_scatter(nonce, Aad::from(aad), plain, sealed, end, tail)
            .map_err(|_| Error::EncryptError)?;
        Ok(record)
    }
}

struct Tls13Sealer(Sealer);

impl MessageEncrypter for Tls13Sealer {
    fn encrypt(&mut self, message: OutboundPlainMessage<'_>, seq: u64) -> Result<OutboundOpaqueMessage, Error> {
        let aad = make_tls13_aad(self.encrypted_payload_len(message.payload.len()));
        let record = self.0.seal(seq, &aad, &[], &message.payload, &[message.typ.into()])?;
        // What it is, and of which version, stands inside (RFC 8446 §5.2).
        Ok(OutboundOpaqueMessage::new(ContentType::ApplicationData, ProtocolVersion::TLSv1_2, record))
    }

    fn encrypted_payload_len(&self, payload_len: usize) -> usize {
        payload_len + 1 + TAG
    }
}

struct Tls12Sealer(Sealer);

impl MessageEncrypter for Tls12Sealer {
    fn encrypt(&mut self, message: OutboundPlainMessage<'_>, seq: u64) -> Result<OutboundOpaqueMessage, Error> {
        let aad = make_tls12_aad(seq, message.typ, message.version, message.payload.len());
        let explicit = &self.0.nonce(seq)[cipher::NONCE_LEN - EXPLICIT..];
        let record = self.0.seal(seq, &aad, explicit, &message.payload, &[])?;
        Ok(OutboundOpaqueMessage::new(message.typ, message.version, record))
    }

    fn encrypted_payload_len(&self, payload_len: usize) -> usize {
        EXPLICIT + payload_len + TAG
    }
}

#[cfg(test)]
mod tests {
    use aws_lc_rs::aead::{LessSafeKey, UnboundKey};

    use super::*;

    const IV: [u8; cipher::NONCE_LEN] = [3, 1, 4, 1, 5, 9, 2, 6, 5, 3, 5, 8];
    const SIZES: [usize; 7] = [0, 1, 15, 4096, 16_383, 16_384, 255];

    /// The record as AWS-LC's general sealer, which knows nothing of TLS, makes its body from a copy, in place.
    fn expected(version: ProtocolVersion, key: &LessSafeKey, seq: u64, typ: u8, plain: &[u8]) -> Vec<u8> {
        let mut nonce = IV;
        for (byte, seq) in nonce[4..].iter_mut().zip(seq.to_be_bytes()) {
            *byte ^= seq;
        }
        let (mut body, begin, outer, aad) = match version {
            ProtocolVersion::TLSv1_3 => {
                let len = ((plain.len() + 17) as u16).to_be_bytes();
                ([plain, &[typ]].concat(), vec![], 23, [vec![23, 3, 3], len.to_vec()].concat())
            }
            _ => {
                let len = (plain.len() as u16).to_be_bytes();
                let aad = [&seq.to_be_bytes()[..], &[typ, 3, 3], &len].concat();
                (plain.to_vec(), nonce[4..].to_vec(), typ, aad)
            }
        };
        key.seal_in_place_append_tag(Nonce::assume_unique_for_key(nonce), Aad::from(aad), &mut body).unwrap();
        let len = ((begin.len() + body.len()) as u16).to_be_bytes();
        [vec![outer, 3, 3], len.to_vec(), begin, body].concat()
    }

    #[test]
    fn records_are_those_of_the_general_sealer() {
        for (algorithm, key) in [(&AES_128_GCM, &[0x5a; 32][..16]), (&AES_256_GCM, &[0xa5; 32])] {
            let general = LessSafeKey::new(UnboundKey::new(algorithm, key).unwrap());
            let sealer = || Sealer::new(algorithm, key, Iv::new(IV));
            let versions: [(_, Box<dyn MessageEncrypter>); 2] = [
                (ProtocolVersion::TLSv1_2, Box::new(Tls12Sealer(sealer()))),
                (ProtocolVersion::TLSv1_3, Box::new(Tls13Sealer(sealer()))),
            ];
            for (version, mut encrypter) in versions {
                let mut seq = 0;
                for typ in [ContentType::Handshake, ContentType::ApplicationData] {
                    for size in SIZES {
                        let plain: Vec<u8> = (0..size).map(|n| (n * 7 + size) as u8).collect();
                        let (first, second) = plain.split_at(size / 3);
                        let parts = [&b"before"[..], first, &[], second, b"behind"];
                        let split = OutboundChunks::new(&parts).split_at(6 + size).0.split_at(6).1;
                        for payload in [OutboundChunks::Single(&plain), split] {
                            let message = OutboundPlainMessage { typ, version: ProtocolVersion::TLSv1_2, payload };
                            let promised = encrypter.encrypted_payload_len(size);
                            let record = encrypter.encrypt(message, seq).unwrap().encode();
                            assert!(
                                record == expected(version, &general, seq, typ.into(), &plain),
                                "{version:?}, {typ:?}, record {seq} of {size} bytes"
                            );
                            assert_eq!(record.len(), 5 + promised);
                            seq += 1;
                        }
                    }
                }
            }
        }
    }

    #[test]
    fn no_number_is_used_twice() {
        let mut encrypter = Tls13Sealer(Sealer::new(&AES_256_GCM, &[1; 32], Iv::new(IV)));
        let mut seal = |seq| {
            let payload = OutboundChunks::Single(b"plain");
            let typ = ContentType::ApplicationData;
            encrypter.encrypt(OutboundPlainMessage { typ, version: ProtocolVersion::TLSv1_3, payload }, seq).is_ok()
        };
        assert!(seal(0) && seal(1));
        assert!(!seal(1), "a nonce again would give away the key of the tags");
        assert!(seal(2));
    }

    #[test]
    fn all_suites_of_aes_gcm_seal_in_one_pass() {
        let one_pass = |suite: SupportedCipherSuite| aes_gcm(suite.suite()).is_some();
        let (sealed, others): (Vec<_>, Vec<_>) =
            crate::config::one_pass().cipher_suites.into_iter().partition(|&suite| one_pass(suite));
        assert_eq!(sealed.len(), 6);
        assert!(others.iter().all(|suite| format!("{suite:?}").contains("CHACHA20_POLY1305")), "{others:?}");
    }
}
