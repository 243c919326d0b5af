//! Keys for session tickets, the same in all workers without talking to each other.
//!
//! # Theory
//!
//! A ticket is `period || salt || ciphertext || tag`. `period` is the number of the six-hour period in which it was
//! made; the key and the nonce of AES-256-GCM are HKDF-SHA-256 (RFC 5869) of the secret, the period and the salt. So
//! each ticket has a key of its own, and no count of tickets has to be kept over the workers, as a common key with
//! random nonces would need (NIST SP 800-38D §8.3). Nothing is stored but the secret, and there is no lock.
//!
//! A ticket is honoured in its own period and in the next one: six hours at least, twelve at most, within the seven
//! days of RFC 8446 §4.6.1.
//!
//! Whoever learns the secret can open all tickets of its time, and with a recorded ticket of TLS 1.2 the connection
//! that it was for (RFC 5077 §5; with TLS 1.3 a resumed session has a key exchange of its own). The secret is
//! therefore made at random by the process that starts the workers, held in memory only, and made anew with it.

use std::fmt;
use std::sync::Arc;
use std::time::Duration;

use aws_lc_rs::aead::{AES_256_GCM, Aad, LessSafeKey, NONCE_LEN, Nonce, UnboundKey};
use aws_lc_rs::hkdf::{HKDF_SHA256, KeyType, Prk, Salt};
use aws_lc_rs::rand;
use rustls::pki_types::UnixTime;
use rustls::server::ProducesTickets;
use rustls::time_provider::TimeProvider;
use zeroize::Zeroizing;

/// How long tickets are made with one key.
pub const PERIOD_SECONDS: u64 = 6 * 60 * 60;

const PERIOD_LEN: usize = 8;
const SALT_LEN: usize = 16;
const HEADER_LEN: usize = PERIOD_LEN + SALT_LEN;
const KEY_LEN: usize = 32;

/// A session holds two secrets' worth of bytes and two names of at most 255. A longer ticket is none of ours.
const MAX_LEN: usize = 1024;

/// Makes and opens tickets. A clone has the same keys.
#[derive(Clone)]
pub struct TicketKeys(Arc<Inner>);

struct Inner {
    root: Prk,
    clock: Box<Clock>,
}

type Clock = dyn Fn() -> u64 + Send + Sync;

impl TicketKeys {
    /// `secret` is shared by the workers and has to be random. `clock` tells the seconds since 1970.
    pub fn new(secret: &[u8; 32], clock: impl Fn() -> u64 + Send + Sync + 'static) -> Self {
        let root = Salt::new(HKDF_SHA256, b"pystream-tls session tickets").extract(secret);
        Self(Arc::new(Inner { root, clock: Box::new(clock) }))
    }

    fn now(&self) -> u64 {
        (self.0.clock)()
    }

    /// The same clock, for rustls.
    pub(crate) fn time_provider(&self) -> Arc<dyn TimeProvider> {
        Arc::new(self.clone())
    }

    fn key(&self, header: &[u8; HEADER_LEN]) -> Option<(LessSafeKey, Nonce)> {
        let mut material = Zeroizing::new([0; Material::LEN]);
        self.0.root.expand(&[header], Material).ok()?.fill(&mut *material).ok()?;
        let (key, nonce) = material.split_at(KEY_LEN);
        let key = LessSafeKey::new(UnboundKey::new(&AES_256_GCM, key).ok()?);
        Some((key, Nonce::try_assume_unique_for_key(nonce).ok()?))
    }
}

struct Material;

impl Material {
    const LEN: usize = KEY_LEN + NONCE_LEN;
}

impl KeyType for Material {
    fn len(&self) -> usize {
        Self::LEN
    }
}

impl ProducesTickets for TicketKeys {
    fn enabled(&self) -> bool {
        true
    }

    /// Until the end of the next period.
    fn lifetime(&self) -> u32 {
        (2 * PERIOD_SECONDS - self.now() % PERIOD_SECONDS) as u32
    }

    fn encrypt(&self, plain: &[u8]) -> Option<Vec<u8>> {
        let mut header = [0; HEADER_LEN];
        header[..PERIOD_LEN].copy_from_slice(&(self.now() / PERIOD_SECONDS).to_be_bytes());
        rand::fill(&mut header[PERIOD_LEN..]).ok()?;
        let (key, nonce) = self.key(&header)?;
        let mut ticket = Vec::with_capacity(HEADER_LEN + plain.len() + AES_256_GCM.tag_len());
        ticket.extend_from_slice(&header);
        ticket.extend_from_slice(plain);
        let tag = key.seal_in_place_separate_tag(nonce, Aad::empty(), &mut ticket[HEADER_LEN..]).ok()?;
        ticket.extend_from_slice(tag.as_ref());
        (ticket.len() <= MAX_LEN).then_some(ticket)
    }

    fn decrypt(&self, ticket: &[u8]) -> Option<Vec<u8>> {
        if ticket.len() > MAX_LEN {
            return None;
        }
        let (header, sealed) = ticket.split_first_chunk::<HEADER_LEN>()?;
        let period = u64::from_be_bytes(*header.first_chunk()?);
        let current = self.now() / PERIOD_SECONDS;
        if period != current && Some(period) != current.checked_sub(1) {
            return None;
        }
        let (key, nonce) = self.key(header)?;
        let mut plain = sealed.to_vec();
        let len = key.open_in_place(nonce, Aad::empty(), &mut plain).ok()?.len();
        plain.truncate(len);
        Some(plain)
    }
}

impl TimeProvider for TicketKeys {
    fn current_time(&self) -> Option<UnixTime> {
        Some(UnixTime::since_unix_epoch(Duration::from_secs(self.now())))
    }
}

impl fmt::Debug for TicketKeys {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.debug_struct("TicketKeys").finish_non_exhaustive()
    }
}
