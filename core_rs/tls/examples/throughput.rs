//! Prints what sealing, handshakes and idle connections cost: CPU time of this thread, and memory.
//!
//! `taskset -c 0 cargo run --release -p pystream-tls --example throughput -- [WINDOW BYTES]`
//!
//! Sealing is a window at a time into a vector that is used again, as a worker does. Handshakes count the server's
//! side alone. Each figure is the cheapest of many short runs: other work on the machine can only make one dearer.

use std::fs;
use std::sync::Arc;
use std::time::{Duration, SystemTime, UNIX_EPOCH};

use pystream_tls::{Certificate, Config, Connection, Pem, TicketKeys};
use rcgen::{CertificateParams, KeyPair, SignatureAlgorithm};
use rustls::client::Resumption;
use rustls::crypto::aws_lc_rs::{self, cipher_suite, kx_group};
use rustls::crypto::{CryptoProvider, SupportedKxGroup};
use rustls::pki_types::CertificateDer;
use rustls::pki_types::pem::PemObject;
use rustls::{ClientConfig, ClientConnection, RootCertStore, SupportedCipherSuite};

const RUNS: usize = 40;

fn main() {
    let window = std::env::args().nth(1).map_or(128 << 10, |text| text.parse::<usize>().expect("bytes of a window"));
    println!("{}; windows of {window} bytes", processor());
    println!("\n{:<45} {:>16}", "sealing", "CPU-seconds/GB");
    let ecdsa = Identity::new(&rcgen::PKCS_ECDSA_P256_SHA256);
    let rsa = Identity::new(&rcgen::PKCS_RSA_SHA256);
    for suite in [
        cipher_suite::TLS13_AES_128_GCM_SHA256,
        cipher_suite::TLS13_AES_256_GCM_SHA384,
        cipher_suite::TLS13_CHACHA20_POLY1305_SHA256,
        cipher_suite::TLS_ECDHE_ECDSA_WITH_AES_128_GCM_SHA256,
        cipher_suite::TLS_ECDHE_ECDSA_WITH_AES_256_GCM_SHA384,
        cipher_suite::TLS_ECDHE_ECDSA_WITH_CHACHA20_POLY1305_SHA256,
    ] {
        println!("{:<45} {:>16.3}", suite.suite().as_str().unwrap(), seconds_to_seal(&ecdsa, suite, window) * 1e9);
    }

    println!("\n{:<45} {:>16}", "idle connections", "resident bytes");
    // Held to the end: memory that is free again would be used anew and not counted.
    let mut idle = Vec::new();
    for suite in [cipher_suite::TLS13_AES_128_GCM_SHA256, cipher_suite::TLS_ECDHE_ECDSA_WITH_AES_128_GCM_SHA256] {
        println!("{:<45} {:>16}", suite.suite().as_str().unwrap(), memory_of_idle(&ecdsa, suite, &mut idle));
    }

    println!("\n{:<45} {:>16}", "handshakes", "per CPU-second");
    let tls13 = cipher_suite::TLS13_AES_128_GCM_SHA256;
    for (identity, key, tls12) in [
        (&ecdsa, "ECDSA P-256", cipher_suite::TLS_ECDHE_ECDSA_WITH_AES_128_GCM_SHA256),
        (&rsa, "RSA 2048", cipher_suite::TLS_ECDHE_RSA_WITH_AES_128_GCM_SHA256),
    ] {
        for (suite, group) in [(tls13, kx_group::X25519), (tls13, kx_group::X25519MLKEM768), (tls12, kx_group::X25519)]
        {
            for resumed in [false, true] {
                let name = format!(
                    "{} {key} {} {}",
                    suite.version().version.as_str().unwrap(),
                    group.name().as_str().unwrap(),
                    if resumed { "resumed" } else { "full" }
                );
                println!("{name:<45} {:>16.0}", 1.0 / seconds_to_shake(identity, suite, group, resumed));
            }
        }
    }
}

/// Resident memory a connection that did its handshake and now waits, AWS-LC's part included.
fn memory_of_idle(identity: &Identity, suite: SupportedCipherSuite, idle: &mut Vec<Connection>) -> usize {
    const COUNT: usize = 3000;
    let client = Arc::new(identity.client(suite, kx_group::X25519));
    let before = resident_bytes();
    idle.extend((0..COUNT).map(|_| shake(identity, &client).0));
    resident_bytes().saturating_sub(before) / COUNT
}

struct Identity {
    certificate: String,
    config: Config,
}

impl Identity {
    fn new(algorithm: &'static SignatureAlgorithm) -> Self {
        let key = KeyPair::generate_for(algorithm).unwrap();
        let certificate = CertificateParams::new(["a.example".to_owned()]).unwrap().self_signed(&key).unwrap().pem();
        let key = key.serialize_pem();
        let clock = || SystemTime::now().duration_since(UNIX_EPOCH).unwrap().as_secs();
        let config = Config::new(
            &[Certificate {
                chain: Pem { name: "chain", bytes: certificate.as_bytes() },
                key: Pem { name: "key", bytes: key.as_bytes() },
            }],
            TicketKeys::new(&[7; 32], clock),
        )
        .unwrap();
        Self { certificate, config }
    }

    fn client(&self, suite: SupportedCipherSuite, group: &'static dyn SupportedKxGroup) -> ClientConfig {
        let mut roots = RootCertStore::empty();
        roots.add(CertificateDer::from_pem_slice(self.certificate.as_bytes()).unwrap()).unwrap();
        let provider =
            CryptoProvider { cipher_suites: vec![suite], kx_groups: vec![group], ..aws_lc_rs::default_provider() };
        ClientConfig::builder_with_provider(Arc::new(provider))
            .with_protocol_versions(&[suite.version()])
            .unwrap()
            .with_root_certificates(roots)
            .with_no_client_auth()
    }
}

/// CPU-seconds a byte of plaintext.
fn seconds_to_seal(identity: &Identity, suite: SupportedCipherSuite, window: usize) -> f64 {
    let client = Arc::new(identity.client(suite, kx_group::X25519));
    let (mut server, _) = shake(identity, &client);
    let window = vec![7; window];
    let mut out = Vec::with_capacity(pystream_tls::sealed_len(window.len()));
    let repeats = (8 << 20) / window.len() + 1;
    cheapest(|| {
        let start = cpu_time();
        for _ in 0..repeats {
            out.clear();
            server.seal(&window, &mut out).unwrap();
        }
        (cpu_time() - start).as_secs_f64()
    }) / (repeats * window.len()) as f64
}

/// CPU-seconds of the server for a handshake.
fn seconds_to_shake(
    identity: &Identity,
    suite: SupportedCipherSuite,
    group: &'static dyn SupportedKxGroup,
    resumed: bool,
) -> f64 {
    let mut client = identity.client(suite, group);
    if !resumed {
        client.resumption = Resumption::disabled();
    }
    let client = Arc::new(client);
    shake(identity, &client);
    let repeats = 20;
    cheapest(|| {
        (0..repeats)
            .map(|_| {
                let (server, spent) = shake(identity, &client);
                assert_eq!(server.session().unwrap().resumed, resumed);
                spent.as_secs_f64()
            })
            .sum()
    }) / f64::from(repeats)
}

/// A handshake, and what the server spent on it, its tickets included.
fn shake(identity: &Identity, client: &Arc<ClientConfig>) -> (Connection, Duration) {
    let mut client = ClientConnection::new(Arc::clone(client), "a.example".try_into().unwrap()).unwrap();
    let start = cpu_time();
    let mut server = Connection::new(&identity.config);
    let mut spent = cpu_time() - start;
    loop {
        let mut bytes = Vec::new();
        while client.wants_write() {
            client.write_tls(&mut bytes).unwrap();
        }
        let start = cpu_time();
        server.feed(&bytes).unwrap();
        let answer = server.take();
        spent += cpu_time() - start;
        if bytes.is_empty() && answer.is_empty() {
            return (server, spent);
        }
        let mut answer = &answer[..];
        while !answer.is_empty() {
            client.read_tls(&mut answer).unwrap();
            client.process_new_packets().unwrap();
        }
    }
}

fn cheapest(mut run: impl FnMut() -> f64) -> f64 {
    run();
    (0..RUNS).map(|_| run()).fold(f64::INFINITY, f64::min)
}

fn cpu_time() -> Duration {
    let mut time = libc::timespec { tv_sec: 0, tv_nsec: 0 };
    // SAFETY: the call writes to the one structure that it is given.
    let failed = unsafe { libc::clock_gettime(libc::CLOCK_THREAD_CPUTIME_ID, &raw mut time) };
    assert_eq!(failed, 0);
    Duration::new(time.tv_sec as u64, time.tv_nsec as u32)
}

fn resident_bytes() -> usize {
    let pages = fs::read_to_string("/proc/self/statm").unwrap();
    pages.split_whitespace().nth(1).unwrap().parse::<usize>().unwrap() * 4096
}

fn processor() -> String {
    let info = fs::read_to_string("/proc/cpuinfo").unwrap_or_default();
    let name = info.lines().find_map(|line| line.strip_prefix("model name")?.split_once(": "));
    name.map_or("a processor without a name", |(_, name)| name).to_owned()
}
