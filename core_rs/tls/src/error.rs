//! What can go wrong, and whose fault it is.

use std::error::Error as StdError;
use std::fmt;

use rustls::{AlertDescription, Error as Cause};

/// Shorthand used by every fallible function of this crate.
pub type Result<T> = std::result::Result<T, Error>;

/// Whose fault an error is.
#[derive(Clone, Copy, Debug, Eq, PartialEq)]
pub enum ErrorKind {
    /// The operator's: a certificate cannot be served.
    Certificate,
    /// The operator's: a private key cannot be used, or is not that of its certificate.
    PrivateKey,
    /// The peer and this server did not agree on a session.
    Handshake,
    /// The peer broke the protocol after the handshake.
    Protocol,
    /// The caller's: the connection cannot do this now.
    State,
}

/// An error in one sentence. It never holds keys or plaintext.
#[derive(Clone, Eq, PartialEq)]
pub struct Error {
    kind: ErrorKind,
    message: String,
    alert: Option<u8>,
}

impl Error {
    pub(crate) fn new(kind: ErrorKind, message: impl Into<String>) -> Self {
        Self { kind, message: message.into(), alert: None }
    }

    pub(crate) fn of_peer(cause: &Cause, handshaking: bool) -> Self {
        let (kind, stage) = match handshaking {
            true => (ErrorKind::Handshake, "the TLS handshake"),
            false => (ErrorKind::Protocol, "the TLS connection"),
        };
        match *cause {
            Cause::AlertReceived(alert) => Self {
                kind,
                message: format!("the peer ended {stage} with the alert {}", alert_name(alert)),
                alert: Some(alert.into()),
            },
            _ => Self::new(kind, format!("{stage} failed: {cause}")),
        }
    }

    /// Whose fault it is.
    pub fn kind(&self) -> ErrorKind {
        self.kind
    }

    /// The alert by which the peer ended the connection (RFC 8446 §6.2), if it was that.
    pub fn alert_received(&self) -> Option<u8> {
        self.alert
    }
}

/// The name that the standard gives an alert, as in `unknown_ca`, and its number.
fn alert_name(alert: AlertDescription) -> String {
    let camel = alert.as_str().unwrap_or("unknown");
    let mut name = String::new();
    let mut after_small = false;
    for letter in camel.chars() {
        if after_small && letter.is_ascii_uppercase() {
            name.push('_');
        }
        after_small = letter.is_ascii_lowercase();
        name.push(letter.to_ascii_lowercase());
    }
    format!("{name} ({})", u8::from(alert))
}

impl fmt::Display for Error {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.write_str(&self.message)
    }
}

impl fmt::Debug for Error {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        write!(f, "{:?}: {self}", self.kind)
    }
}

impl StdError for Error {}
