//! OpenSSL's client against connections, over real sockets. Skips where there is no `openssl`, but never in CI.

mod common;

use std::fs;
use std::io::{Read, Write};
use std::net::{Shutdown, TcpListener, TcpStream};
use std::path::PathBuf;
use std::process::{Command, Stdio};
use std::thread::{self, JoinHandle};

use common::{Clock, identity, identity_with, pattern};
use pystream_tls::{Config, Connection, Error, ErrorKind, Session};

const REQUEST: &[u8] = b"GET /film HTTP/1.1\r\n\r\n";
const ANSWER_LEN: usize = 1_500_000;

#[test]
fn openssl_fetches_and_resumes() {
    if !has_openssl() {
        return;
    }
    let folder = Folder::new("resumes");
    for identity in [identity(&["a.example"]), identity_with(&["a.example"], &rcgen::PKCS_RSA_SHA256)] {
        let trusted = folder.write("trusted.pem", &identity.certificate);
        for (version, flag) in [("TLSv1_3", "-tls1_3"), ("TLSv1_2", "-tls1_2")] {
            let session = folder.0.join("session.pem");
            let common = [flag, "-servername", "a.example", "-CAfile", &trusted, "-verify_return_error", "-alpn"];
            let common: Vec<&str> = common.into_iter().chain(["http/1.1"]).collect();
            let clock = Clock::new();
            let config = || Config::new(&[identity.certificate()], clock.tickets(1)).unwrap();

            let first = serve_once(config());
            fetch(&first, &[&common[..], &["-sess_out", session.to_str().unwrap()]].concat());
            let first = first.finish();
            assert_eq!((first.version, first.resumed), (version, false));

            let second = serve_once(config());
            fetch(&second, &[&common[..], &["-sess_in", session.to_str().unwrap()]].concat());
            assert_eq!(second.finish(), Session { resumed: true, ..first });
        }
    }
}

#[test]
fn openssl_may_choose_each_suite() {
    if !has_openssl() {
        return;
    }
    let identity = identity(&["a.example"]);
    for (flag, option, name, suite) in [
        ("-tls1_3", "-ciphersuites", "TLS_AES_128_GCM_SHA256", "TLS13_AES_128_GCM_SHA256"),
        ("-tls1_3", "-ciphersuites", "TLS_AES_256_GCM_SHA384", "TLS13_AES_256_GCM_SHA384"),
        ("-tls1_3", "-ciphersuites", "TLS_CHACHA20_POLY1305_SHA256", "TLS13_CHACHA20_POLY1305_SHA256"),
        ("-tls1_2", "-cipher", "ECDHE-ECDSA-AES128-GCM-SHA256", "TLS_ECDHE_ECDSA_WITH_AES_128_GCM_SHA256"),
        ("-tls1_2", "-cipher", "ECDHE-ECDSA-AES256-GCM-SHA384", "TLS_ECDHE_ECDSA_WITH_AES_256_GCM_SHA384"),
        ("-tls1_2", "-cipher", "ECDHE-ECDSA-CHACHA20-POLY1305", "TLS_ECDHE_ECDSA_WITH_CHACHA20_POLY1305_SHA256"),
    ] {
        let server = serve_once(common::config(&[&identity]));
        fetch(&server, &[flag, option, name]);
        assert_eq!(server.finish().suite, suite);
    }
}

#[test]
fn older_versions_are_refused() {
    if !has_openssl() {
        return;
    }
    let identity = identity(&["a.example"]);
    let server = serve_once(common::config(&[&identity]));
    let output = s_client(&server, &["-tls1_1", "-cipher", "ALL:@SECLEVEL=0"]);
    let told = String::from_utf8_lossy(&output.stderr);
    assert!(told.contains("alert"), "{told}");
    let refused = server.thread.join().unwrap().unwrap_err();
    assert_eq!(refused.kind(), ErrorKind::Handshake);
}

fn has_openssl() -> bool {
    let found = Command::new("openssl").arg("version").output().is_ok_and(|output| output.status.success());
    assert!(found || std::env::var_os("CI").is_none(), "openssl is missing, and CI skips nothing");
    if !found {
        eprintln!("skipped: there is no openssl on this machine");
    }
    found
}

struct Server {
    address: String,
    thread: JoinHandle<Result<Session, Error>>,
}

impl Server {
    fn finish(self) -> Session {
        self.thread.join().unwrap().unwrap()
    }
}

/// Answers one request on one connection.
fn serve_once(config: Config) -> Server {
    let listener = TcpListener::bind("127.0.0.1:0").unwrap();
    let address = listener.local_addr().unwrap().to_string();
    let thread = thread::spawn(move || {
        let (mut socket, _) = listener.accept().unwrap();
        answer(&mut socket, Connection::new(&config))
    });
    Server { address, thread }
}

fn answer(socket: &mut TcpStream, mut tls: Connection) -> Result<Session, Error> {
    let mut request = Vec::new();
    let mut bytes = [0; 1000];
    while request != REQUEST {
        let count = socket.read(&mut bytes).unwrap();
        assert_ne!(count, 0, "the client left");
        let received = tls.feed(&bytes[..count]);
        socket.write_all(&tls.take()).unwrap();
        request.extend(received?.plaintext);
    }
    let mut out = Vec::new();
    for window in pattern(ANSWER_LEN).chunks(128 << 10) {
        tls.seal(window, &mut out)?;
        socket.write_all(&out).unwrap();
        out.clear();
    }
    tls.close(&mut out);
    socket.write_all(&out).unwrap();
    socket.shutdown(Shutdown::Write).unwrap();
    // The client's close_notify may come or not.
    let _ = socket.read_to_end(&mut out);
    Ok(tls.session().unwrap())
}

fn fetch(server: &Server, options: &[&str]) {
    let output = s_client(server, options);
    assert!(output.status.success(), "{options:?}: {}", String::from_utf8_lossy(&output.stderr));
    assert!(output.stdout == pattern(ANSWER_LEN), "{options:?}: {} bytes came", output.stdout.len());
}

fn s_client(server: &Server, options: &[&str]) -> std::process::Output {
    let mut client = Command::new("openssl")
        .args(["s_client", "-quiet", "-connect", &server.address])
        .args(options)
        .stdin(Stdio::piped())
        .stdout(Stdio::piped())
        .stderr(Stdio::piped())
        .spawn()
        .unwrap();
    // It stays open: at its end the client would leave before the answer is there.
    let mut stdin = client.stdin.take().unwrap();
    // A refused client may be gone already.
    let _ = stdin.write_all(REQUEST);
    let output = client.wait_with_output().unwrap();
    drop(stdin);
    output
}

/// A folder of the test's own, removed at its end.
struct Folder(PathBuf);

impl Folder {
    fn new(name: &str) -> Self {
        let path = std::env::temp_dir().join(format!("pystream-tls-{name}-{}", std::process::id()));
        fs::create_dir_all(&path).unwrap();
        Self(path)
    }

    fn write(&self, name: &str, text: &str) -> String {
        let path = self.0.join(name);
        fs::write(&path, text).unwrap();
        path.to_str().unwrap().to_owned()
    }
}

impl Drop for Folder {
    fn drop(&mut self) {
        let _ = fs::remove_dir_all(&self.0);
    }
}
