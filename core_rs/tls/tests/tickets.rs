//! Sessions are resumed by every worker that has the secret, for six to twelve hours.

mod common;

use std::sync::Arc;

use common::{Clock, Identity, NOW, Pair, TLS12, TLS13, client_config, identity};
use pystream_tls::{Config, PERIOD_SECONDS};
use rustls::client::{
    ClientSessionMemoryCache, ClientSessionStore, Resumption, Tls12ClientSessionValue, Tls12Resumption,
    Tls13ClientSessionValue,
};
use rustls::pki_types::ServerName;
use rustls::server::ProducesTickets;
use rustls::{ClientConfig, NamedGroup};

fn config(identity: &Identity, clock: &Clock, secret: u8) -> Config {
    Config::new(&[identity.certificate()], clock.tickets(secret)).unwrap()
}

/// Whether the client's second connection resumes the session of its first.
fn resumes(first: &Config, second: &Config, client: &Arc<ClientConfig>, between: impl FnOnce()) -> bool {
    assert!(!Pair::established(first, client, "a.example").server.session().unwrap().resumed);
    between();
    let mut pair = Pair::established(second, client, "a.example");
    let mut out = Vec::new();
    pair.server.seal(b"works", &mut out).unwrap();
    pair.deliver(&out).unwrap();
    assert_eq!(pair.read, b"works");
    pair.server.session().unwrap().resumed
}

#[test]
fn by_another_worker() {
    let identity = identity(&["a.example"]);
    for version in [&TLS13, &TLS12] {
        let clock = Clock::new();
        let client = || Arc::new(client_config(&[&identity], version));
        let worker = |secret| config(&identity, &clock, secret);
        assert!(resumes(&worker(1), &worker(1), &client(), || {}));
        assert!(!resumes(&worker(1), &worker(2), &client(), || {}), "with another secret");
    }
}

#[test]
fn after_a_reload_with_another_certificate() {
    let old = identity(&["a.example"]);
    let new = identity(&["a.example", "b.example"]);
    let clock = Clock::new();
    let client = Arc::new(client_config(&[&old], &TLS13));
    assert!(resumes(&config(&old, &clock, 1), &config(&new, &clock, 1), &client, || {}));
}

#[test]
fn until_the_end_of_the_next_period() {
    let identity = identity(&["a.example"]);
    let end_of_next = NOW / PERIOD_SECONDS * PERIOD_SECONDS + 2 * PERIOD_SECONDS;
    for version in [&TLS13, &TLS12] {
        for (then, expected) in [(NOW + PERIOD_SECONDS, true), (end_of_next - 1, true), (end_of_next, false)] {
            let clock = Clock::new();
            let config = config(&identity, &clock, 1);
            // The client has a clock of its own, which shows no time passing: it offers what it has.
            let client = Arc::new(client_config(&[&identity], version));
            assert_eq!(resumes(&config, &config, &client, || clock.set(then)), expected, "{version:?} at {then}");
        }
    }
}

#[test]
fn the_lifetime_told_ends_with_the_next_period() {
    let clock = Clock::new();
    let tickets = clock.tickets(1);
    let start = NOW / PERIOD_SECONDS * PERIOD_SECONDS;
    for (at, lifetime) in [(0, 43_200), (900, 42_300), (PERIOD_SECONDS - 1, 21_601), (PERIOD_SECONDS, 43_200)] {
        clock.set(start + at);
        assert_eq!(tickets.lifetime(), lifetime);
    }
}

/// RFC 6066 §3: not under another name. This client offers its tickets to everyone.
#[test]
fn only_for_the_same_host() {
    let identity = identity(&["a.example", "b.example"]);
    let config = config(&identity, &Clock::new(), 1);
    for version in [&TLS13, &TLS12] {
        for (second, expected) in [("a.example", true), ("b.example", false)] {
            let mut client = client_config(&[&identity], version);
            client.resumption = Resumption::store(Arc::new(Careless(ClientSessionMemoryCache::new(8))));
            let client = Arc::new(client);
            Pair::established(&config, &client, "a.example");
            let pair = Pair::established(&config, &client, second);
            assert_eq!(pair.server.session().unwrap().resumed, expected, "{version:?} {second}");
        }
    }
}

/// Keeps the sessions of all hosts as if they were one.
#[derive(Debug)]
struct Careless(ClientSessionMemoryCache);

fn anyone() -> ServerName<'static> {
    "anyone.example".try_into().unwrap()
}

impl ClientSessionStore for Careless {
    fn set_kx_hint(&self, _: ServerName<'static>, group: NamedGroup) {
        self.0.set_kx_hint(anyone(), group);
    }

    fn kx_hint(&self, _: &ServerName<'_>) -> Option<NamedGroup> {
        self.0.kx_hint(&anyone())
    }

    fn set_tls12_session(&self, _: ServerName<'static>, session: Tls12ClientSessionValue) {
        self.0.set_tls12_session(anyone(), session);
    }

    fn tls12_session(&self, _: &ServerName<'_>) -> Option<Tls12ClientSessionValue> {
        self.0.tls12_session(&anyone())
    }

    fn remove_tls12_session(&self, _: &ServerName<'static>) {
        self.0.remove_tls12_session(&anyone());
    }

    fn insert_tls13_ticket(&self, _: ServerName<'static>, ticket: Tls13ClientSessionValue) {
        self.0.insert_tls13_ticket(anyone(), ticket);
    }

    fn take_tls13_ticket(&self, _: &ServerName<'static>) -> Option<Tls13ClientSessionValue> {
        self.0.take_tls13_ticket(&anyone())
    }
}

/// A client without tickets (RFC 5246 §7.3) is not remembered: its session would be known to one worker only.
#[test]
fn nothing_is_remembered() {
    let identity = identity(&["a.example"]);
    let config = config(&identity, &Clock::new(), 1);
    let mut client = client_config(&[&identity], &TLS12);
    client.resumption = Resumption::in_memory_sessions(8).tls12_resumption(Tls12Resumption::SessionIdOnly);
    assert!(!resumes(&config, &config, &Arc::new(client), || {}));
}

/// RFC 8446 §8: early data can be replayed.
#[test]
fn early_data_is_not_offered() {
    let identity = identity(&["a.example"]);
    let clock = Clock::new();
    let config = config(&identity, &clock, 1);
    let mut client = client_config(&[&identity], &TLS13);
    client.enable_early_data = true;
    let client = Arc::new(client);
    Pair::established(&config, &client, "a.example");
    let mut pair = Pair::new(&config, &client, "a.example");
    assert!(pair.client.early_data().is_none());
    pair.settle().unwrap();
    assert!(pair.server.session().unwrap().resumed);
}

#[test]
fn changed_tickets_are_refused() {
    let clock = Clock::new();
    let tickets = clock.tickets(1);
    let ticket = tickets.encrypt(b"the session").unwrap();
    assert_ne!(ticket, tickets.encrypt(b"the session").unwrap(), "each has a key of its own");
    assert_eq!(tickets.decrypt(&ticket).as_deref(), Some(&b"the session"[..]));
    assert_eq!(clock.tickets(2).decrypt(&ticket), None);
    for at in 0..ticket.len() {
        assert_eq!(tickets.decrypt(&ticket[..at]), None, "cut at {at}");
        for bit in 0..8 {
            let mut changed = ticket.clone();
            changed[at] ^= 1 << bit;
            assert_eq!(tickets.decrypt(&changed), None, "bit {bit} of byte {at}");
        }
    }
    assert_eq!(tickets.decrypt(&[0; 65_535]), None);
    assert_eq!(tickets.encrypt(&[0; 1024]), None, "what would not be opened is not made");
}

#[test]
fn the_clock_may_stand_at_its_beginning() {
    let clock = Clock::new();
    clock.set(0);
    let tickets = clock.tickets(1);
    let ticket = tickets.encrypt(b"session").unwrap();
    assert!(tickets.decrypt(&ticket).is_some());
}

#[test]
fn debug_output_holds_no_secret() {
    assert_eq!(format!("{:?}", Clock::new().tickets(1)), "TicketKeys { .. }");
}
