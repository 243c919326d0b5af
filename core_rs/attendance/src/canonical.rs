//! Events as RFC 8785 spells JSON: each event in one way, which is what the log hashes.
//!
//! Names stand in the order of their UTF-16 code units, which of these names is that of their bytes. Numbers are as
//! ECMAScript prints them: integers up to 2^53 - 1 as their digits, and rates, which lie within 0.25 and 4, as the shortest
//! decimals that are read as the same double, which is what Rust prints.

use std::io::Write;

use crate::event::{Event, State, Uncounted, Viewing};
use crate::lines::{self, Malformed};

/// The events of whole lines of an evidence file, each as the log has it.
///
/// # Errors
/// The first line that is malformed, counted from 1.
pub fn canonical_events(text: &[u8]) -> Result<Vec<Vec<u8>>, Malformed> {
    let mut events = Vec::new();
    lines::read(text, |event| events.push(canonical(&event)))?;
    Ok(events)
}

fn canonical(event: &Event<'_>) -> Vec<u8> {
    let mut object = Object(Vec::with_capacity(256));
    match event {
        Event::Segment(viewing, segment) => {
            object.text("key", &viewing.key);
            object.text("kind", "segment");
            object.integer("m0", segment.m0);
            object.integer("m1", segment.m1);
            object.truth("primary", segment.primary);
            object.text("rendition", &segment.rendition);
            object.text("session", &viewing.session);
            object.text("stream", &viewing.stream);
            object.integer("t", viewing.t);
        }
        Event::Beacon(viewing, beacon) => {
            object.truth("hidden", beacon.hidden);
            object.text("key", &viewing.key);
            object.text("kind", "beacon");
            object.integer("playhead_ms", beacon.playhead);
            object.plain("rate", beacon.rate);
            object.text("session", &viewing.session);
            object.integer("sn", beacon.sn);
            object.text("state", state(beacon.state));
            object.text("stream", &viewing.stream);
            object.integer("t", viewing.t);
        }
        Event::Check(viewing, check) => {
            match check.answered {
                Some(answered) => object.integer("answered", answered),
                None => object.plain("answered", "null"),
            }
            object.viewing("check", viewing);
        }
        Event::Download(viewing) => object.viewing("download", viewing),
        Event::Uncounted(viewing, Uncounted::Playlist) => object.viewing("playlist", viewing),
        Event::Uncounted(viewing, Uncounted::Key) => object.viewing("key", viewing),
        Event::Outage(from, to, stream) => {
            object.text("kind", "outage");
            if let Some(stream) = stream {
                object.text("stream", stream);
            }
            object.integer("t0", *from);
            object.integer("t1", *to);
        }
        Event::Restore(from, to) => {
            object.text("kind", "restore");
            object.integer("t0", *from);
            object.integer("t1", *to);
        }
        Event::Clock(t, step) => {
            object.text("kind", "clock");
            object.integer("step_ms", *step);
            object.integer("t", *t);
        }
    }
    object.0.push(b'}');
    object.0
}

fn state(state: State) -> &'static str {
    match state {
        State::Ended => "ended",
        State::Paused => "paused",
        State::Playing => "playing",
        State::Seeking => "seeking",
        State::Stalled => "stalled",
    }
}

/// An object without its closing brace. Members are added in their order.
struct Object(Vec<u8>);

impl Object {
    /// What events have that say nothing else.
    fn viewing(&mut self, kind: &str, viewing: &Viewing<'_>) {
        self.text("key", &viewing.key);
        self.text("kind", kind);
        self.text("session", &viewing.session);
        self.text("stream", &viewing.stream);
        self.integer("t", viewing.t);
    }

    fn integer(&mut self, name: &str, value: i64) {
        self.plain(name, value);
    }

    fn truth(&mut self, name: &str, value: bool) {
        self.plain(name, value);
    }

    fn plain(&mut self, name: &str, value: impl std::fmt::Display) {
        self.name(name);
        write!(self.0, "{value}").expect("a vector takes it");
    }

    fn text(&mut self, name: &str, value: &str) {
        self.name(name);
        self.string(value);
    }

    fn name(&mut self, name: &str) {
        self.0.push(if self.0.is_empty() { b'{' } else { b',' });
        self.string(name);
        self.0.push(b':');
    }

    /// RFC 8785 section 3.2.2.2: what has to be escaped, in the shortest way; all else as it is.
    fn string(&mut self, text: &str) {
        self.0.push(b'"');
        for &byte in text.as_bytes() {
            match byte {
                b'"' | b'\\' => self.0.extend([b'\\', byte]),
                0x08 => self.0.extend(b"\\b"),
                0x09 => self.0.extend(b"\\t"),
                0x0a => self.0.extend(b"\\n"),
                0x0c => self.0.extend(b"\\f"),
                0x0d => self.0.extend(b"\\r"),
                0..0x20 => write!(self.0, "\\u{byte:04x}").expect("a vector takes it"),
                _ => self.0.push(byte),
            }
        }
        self.0.push(b'"');
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    /// A line as somebody writes it, and the event as the log has it.
    const SPELLINGS: [(&str, &str); 9] = [
        (
            r#"{"kind":"segment","t":1773162000000,"key":"A","stream":"Y","session":"s1","m0":1773161982000,"m1":1773161988000,"rendition":"v1","primary":true}"#,
            r#"{"key":"A","kind":"segment","m0":1773161982000,"m1":1773161988000,"primary":true,"rendition":"v1","session":"s1","stream":"Y","t":1773162000000}"#,
        ),
        (
            r#"{"kind":"beacon","t":1773162000000,"key":"A","stream":"Y","session":"s1","sn":1,"state":"playing","playhead_ms":-0,"rate":1.0,"hidden":false,"more":1}"#,
            r#"{"hidden":false,"key":"A","kind":"beacon","playhead_ms":0,"rate":1,"session":"s1","sn":1,"state":"playing","stream":"Y","t":1773162000000}"#,
        ),
        (
            r#"{"kind":"beacon","t":1,"key":"A","stream":"Y","session":"s","sn":1,"state":"ended","playhead_ms":-5,"rate":33.30e-2,"hidden":true}"#,
            r#"{"hidden":true,"key":"A","kind":"beacon","playhead_ms":-5,"rate":0.333,"session":"s","sn":1,"state":"ended","stream":"Y","t":1}"#,
        ),
        (
            r#"{"kind":"check","t":1,"key":"\u0041\/\"\\\u0008\u001F\n\r\t\f\u007f","stream":"\ud83d\ude00","session":"ä","answered":null}"#,
            "{\"answered\":null,\"key\":\"A/\\\"\\\\\\b\\u001f\\n\\r\\t\\f\u{7f}\",\"kind\":\"check\",\"session\":\"ä\",\"stream\":\"😀\",\"t\":1}",
        ),
        (
            r#"{"t":1,"answered":9007199254740991,"key":"","stream":"Y","session":"s","kind":"check"}"#,
            r#"{"answered":9007199254740991,"key":"","kind":"check","session":"s","stream":"Y","t":1}"#,
        ),
        (
            r#"{"t":1,"key":"A","stream":"Y","session":"s","kind":"playlist","t":2}"#,
            r#"{"key":"A","kind":"playlist","session":"s","stream":"Y","t":2}"#,
        ),
        (r#"{"kind":"outage","stream":"Y","t1":2,"t0":1}"#, r#"{"kind":"outage","stream":"Y","t0":1,"t1":2}"#),
        (r#"{"kind":"restore","stream":"Y","t1":2,"t0":1}"#, r#"{"kind":"restore","t0":1,"t1":2}"#),
        (r#"{"kind":"clock","t":2,"step_ms":-600}"#, r#"{"kind":"clock","step_ms":-600,"t":2}"#),
    ];

    #[test]
    fn each_event_has_one_spelling() {
        for (written, wanted) in SPELLINGS {
            let made = canonical_events(written.as_bytes()).unwrap();
            assert_eq!(String::from_utf8(made.concat()).unwrap(), wanted);
            assert_eq!(canonical_events(wanted.as_bytes()).unwrap(), made);
        }
        assert_eq!(canonical_events(b"\n{}\n").unwrap_err().line, 2);
    }
}
