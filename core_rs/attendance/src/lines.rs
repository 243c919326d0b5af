//! The evidence file: one JSON object (RFC 8259) a line.
//!
//! A general JSON reader would not do: what counts here is whether a number was written with a fraction or an exponent, which
//! of two equal names comes last (only that one has to be right), and whether text has a lone surrogate where text is due,
//! though not elsewhere. So values are found first, as they are written, and read when it is known what the line is.

use std::borrow::Cow;
use std::fmt;

use crate::event::{Beacon, Check, Event, Segment, State, Uncounted, Viewing};
use crate::limits::{FIRST_INSTANT, LARGEST_INTEGER, LAST_INSTANT, LONGEST_SEGMENT};

/// How deep a line may be nested. Deeper ones may be refused from 100 on.
const LEVELS: u32 = 128;

/// A line that is not as specified.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct Malformed {
    /// Which one, from 1.
    pub line: u64,
    /// The field at fault, or nothing.
    pub field: &'static str,
    /// What is wrong. No value is repeated: it may be a password's key.
    pub what: &'static str,
}

impl fmt::Display for Malformed {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        let space = if self.field.is_empty() { "" } else { " " };
        write!(f, "line {}: {}{space}{}", self.line, self.field, self.what)
    }
}

impl std::error::Error for Malformed {}

struct Fault(&'static str, &'static str);

type Result<T> = std::result::Result<T, Fault>;

fn no_json<T>() -> Result<T> {
    Err(Fault("", "this is not JSON"))
}

/// Gives the events of whole lines to `sink`, until one is malformed.
pub(crate) fn read(text: &[u8], mut sink: impl FnMut(Event<'_>)) -> std::result::Result<(), Malformed> {
    for (line, bytes) in (1..).zip(text.split(|&byte| byte == b'\n')) {
        if bytes.iter().all(|byte| matches!(byte, b' ' | b'\t' | b'\r')) {
            continue;
        }
        match event(bytes) {
            Ok(event) => sink(event),
            Err(Fault(field, what)) => return Err(Malformed { line, field, what }),
        }
    }
    Ok(())
}

fn event(line: &[u8]) -> Result<Event<'_>> {
    let Ok(line) = std::str::from_utf8(line) else { return Err(Fault("", "this is not UTF-8")) };
    let fields = Fields::read(line)?;
    let kind = fields.text("kind", KIND)?;
    let viewing = || {
        Ok(Viewing {
            t: fields.instant("t", T)?,
            key: fields.text("key", KEY)?,
            stream: fields.text("stream", STREAM)?,
            session: fields.text("session", SESSION)?,
        })
    };
    let span = || {
        let (from, to) = (fields.instant("t0", T0)?, fields.instant("t1", T1)?);
        if from < to { Ok((from, to)) } else { Err(Fault("t1", "is not after t0")) }
    };
    Ok(match &*kind {
        "segment" => {
            let viewing = viewing()?;
            let (m0, m1) = (fields.integer("m0", M0)?, fields.integer("m1", M1)?);
            if m1 <= m0 {
                return Err(Fault("m1", "is not after m0"));
            }
            if m1 - m0 > LONGEST_SEGMENT {
                return Err(Fault("m1", "is more than 10 minutes after m0"));
            }
            let (rendition, primary) = (fields.text("rendition", RENDITION)?, fields.truth("primary", PRIMARY)?);
            Event::Segment(viewing, Segment { m0, m1, rendition, primary })
        }
        "beacon" => {
            let viewing = viewing()?;
            let beacon = Beacon {
                sn: fields.count("sn", SN)?,
                state: fields.state()?,
                playhead: fields.integer("playhead_ms", PLAYHEAD)?,
                rate: fields.rate()?,
                hidden: fields.truth("hidden", HIDDEN)?,
            };
            Event::Beacon(viewing, beacon)
        }
        "check" => {
            let viewing = viewing()?;
            let answered = match fields.value("answered", ANSWERED)? {
                Value::Null => None,
                _ => Some(fields.count("answered", ANSWERED)?),
            };
            Event::Check(viewing, Check { answered })
        }
        "download" => Event::Download(viewing()?),
        "playlist" => Event::Uncounted(viewing()?, Uncounted::Playlist),
        "key" => Event::Uncounted(viewing()?, Uncounted::Key),
        "outage" => {
            let (from, to) = span()?;
            let stream = fields.0[STREAM].map(|_| fields.text("stream", STREAM)).transpose()?;
            Event::Outage(from, to, stream)
        }
        "restore" => {
            let (from, to) = span()?;
            Event::Restore(from, to)
        }
        "clock" => {
            let step = fields.integer("step_ms", STEP)?;
            Event::Clock(fields.instant("t", T)?, step)
        }
        _ => return Err(Fault("kind", "is none that is known")),
    })
}

/// A value as it is written.
#[derive(Clone, Copy)]
enum Value<'a> {
    /// What stands between the quotes, and whether any of it is escaped.
    Text(&'a str, bool),
    Integer(&'a str),
    /// With a fraction or an exponent.
    Real(&'a str),
    Truth(bool),
    Null,
    Nested,
}

const KIND: usize = 0;
const T: usize = 1;
const KEY: usize = 2;
const STREAM: usize = 3;
const SESSION: usize = 4;
const M0: usize = 5;
const M1: usize = 6;
const RENDITION: usize = 7;
const PRIMARY: usize = 8;
const SN: usize = 9;
const STATE: usize = 10;
const PLAYHEAD: usize = 11;
const RATE: usize = 12;
const HIDDEN: usize = 13;
const ANSWERED: usize = 14;
const T0: usize = 15;
const T1: usize = 16;
const STEP: usize = 17;
const FIELDS: usize = 18;

fn place(name: &str) -> Option<usize> {
    Some(match name {
        "kind" => KIND,
        "t" => T,
        "key" => KEY,
        "stream" => STREAM,
        "session" => SESSION,
        "m0" => M0,
        "m1" => M1,
        "rendition" => RENDITION,
        "primary" => PRIMARY,
        "sn" => SN,
        "state" => STATE,
        "playhead_ms" => PLAYHEAD,
        "rate" => RATE,
        "hidden" => HIDDEN,
        "answered" => ANSWERED,
        "t0" => T0,
        "t1" => T1,
        "step_ms" => STEP,
        _ => return None,
    })
}

/// The last value of each name that is known.
struct Fields<'a>([Option<Value<'a>>; FIELDS]);

impl<'a> Fields<'a> {
    fn read(line: &'a str) -> Result<Self> {
        let mut fields = [None; FIELDS];
        let mut scanner = Scanner { text: line, at: 0 };
        scanner.space();
        if scanner.peek() != Some(b'{') {
            scanner.value(1)?;
            scanner.end()?;
            return Err(Fault("", "this is no object"));
        }
        scanner.object(1, |name, is_escaped, value| {
            let name = if is_escaped { unescaped(name) } else { Some(Cow::Borrowed(name)) };
            if let Some(place) = name.and_then(|name| place(&name)) {
                fields[place] = Some(value);
            }
        })?;
        scanner.end()?;
        Ok(Self(fields))
    }

    fn value(&self, name: &'static str, place: usize) -> Result<Value<'a>> {
        self.0[place].ok_or(Fault(name, "is missing"))
    }

    fn text(&self, name: &'static str, place: usize) -> Result<Cow<'a, str>> {
        match self.value(name, place)? {
            Value::Text(text, false) => Ok(Cow::Borrowed(text)),
            Value::Text(text, true) => unescaped(text).ok_or(Fault(name, "has half of a surrogate pair")),
            _ => Err(Fault(name, "is no text")),
        }
    }

    fn truth(&self, name: &'static str, place: usize) -> Result<bool> {
        match self.value(name, place)? {
            Value::Truth(truth) => Ok(truth),
            _ => Err(Fault(name, "is neither true nor false")),
        }
    }

    fn integer(&self, name: &'static str, place: usize) -> Result<i64> {
        let Value::Integer(digits) = self.value(name, place)? else { return Err(Fault(name, "is no integer")) };
        let number = digits.parse().ok().filter(|number| (-LARGEST_INTEGER..=LARGEST_INTEGER).contains(number));
        number.ok_or(Fault(name, "is beyond 2^53 - 1"))
    }

    fn instant(&self, name: &'static str, place: usize) -> Result<i64> {
        let instant = self.integer(name, place)?;
        if (FIRST_INSTANT..=LAST_INSTANT).contains(&instant) {
            return Ok(instant);
        }
        Err(Fault(name, "is no instant from 1970 to 2099"))
    }

    fn count(&self, name: &'static str, place: usize) -> Result<i64> {
        let count = self.integer(name, place)?;
        if count >= 0 { Ok(count) } else { Err(Fault(name, "is below 0")) }
    }

    fn rate(&self) -> Result<f64> {
        let (Value::Integer(digits) | Value::Real(digits)) = self.value("rate", RATE)? else {
            return Err(Fault("rate", "is no number"));
        };
        let rate = digits.parse().ok().filter(|rate| (0.25..=4.0).contains(rate));
        rate.ok_or(Fault("rate", "is not from 0.25 to 4"))
    }

    fn state(&self) -> Result<State> {
        Ok(match &*self.text("state", STATE)? {
            "ended" => State::Ended,
            "paused" => State::Paused,
            "playing" => State::Playing,
            "seeking" => State::Seeking,
            "stalled" => State::Stalled,
            _ => return Err(Fault("state", "is none that is known")),
        })
    }
}

/// Finds values in a line of JSON.
struct Scanner<'a> {
    text: &'a str,
    at: usize,
}

impl<'a> Scanner<'a> {
    fn peek(&self) -> Option<u8> {
        self.text.as_bytes().get(self.at).copied()
    }

    fn next(&mut self) -> Option<u8> {
        let byte = self.peek();
        self.at += 1;
        byte
    }

    fn space(&mut self) {
        while matches!(self.peek(), Some(b' ' | b'\t' | b'\r')) {
            self.at += 1;
        }
    }

    fn end(mut self) -> Result<()> {
        self.space();
        if self.peek().is_some() { no_json() } else { Ok(()) }
    }

    fn value(&mut self, level: u32) -> Result<Value<'a>> {
        match self.peek() {
            Some(b'"') => {
                let (text, is_escaped) = self.string()?;
                Ok(Value::Text(text, is_escaped))
            }
            Some(b'-' | b'0'..=b'9') => self.number(),
            Some(b't') => self.word("true", Value::Truth(true)),
            Some(b'f') => self.word("false", Value::Truth(false)),
            Some(b'n') => self.word("null", Value::Null),
            Some(b'{') => self.object(level, |_, _, _| {}).map(|()| Value::Nested),
            Some(b'[') => self.array(level).map(|()| Value::Nested),
            _ => no_json(),
        }
    }

    fn word(&mut self, word: &str, value: Value<'a>) -> Result<Value<'a>> {
        if !self.text.as_bytes()[self.at..].starts_with(word.as_bytes()) {
            return no_json();
        }
        self.at += word.len();
        Ok(value)
    }

    /// From the opening brace to behind the closing one.
    fn object(&mut self, level: u32, mut sink: impl FnMut(&'a str, bool, Value<'a>)) -> Result<()> {
        if level > LEVELS {
            return Err(Fault("", "this is nested too deep"));
        }
        self.at += 1;
        self.space();
        if self.peek() == Some(b'}') {
            self.at += 1;
            return Ok(());
        }
        loop {
            if self.peek() != Some(b'"') {
                return no_json();
            }
            let (name, is_escaped) = self.string()?;
            self.space();
            if self.next() != Some(b':') {
                return no_json();
            }
            self.space();
            sink(name, is_escaped, self.value(level + 1)?);
            self.space();
            match self.next() {
                Some(b',') => self.space(),
                Some(b'}') => return Ok(()),
                _ => return no_json(),
            }
        }
    }

    fn array(&mut self, level: u32) -> Result<()> {
        if level > LEVELS {
            return Err(Fault("", "this is nested too deep"));
        }
        self.at += 1;
        self.space();
        if self.peek() == Some(b']') {
            self.at += 1;
            return Ok(());
        }
        loop {
            self.value(level + 1)?;
            self.space();
            match self.next() {
                Some(b',') => self.space(),
                Some(b']') => return Ok(()),
                _ => return no_json(),
            }
        }
    }

    /// RFC 8259 section 6.
    fn number(&mut self) -> Result<Value<'a>> {
        let start = self.at;
        self.at += usize::from(self.peek() == Some(b'-'));
        let is_zero = self.peek() == Some(b'0');
        let whole = self.digits();
        if whole == 0 || is_zero && whole > 1 {
            return no_json();
        }
        let mut is_integer = true;
        if self.peek() == Some(b'.') {
            is_integer = false;
            self.at += 1;
            if self.digits() == 0 {
                return no_json();
            }
        }
        if matches!(self.peek(), Some(b'e' | b'E')) {
            is_integer = false;
            self.at += 1;
            self.at += usize::from(matches!(self.peek(), Some(b'+' | b'-')));
            if self.digits() == 0 {
                return no_json();
            }
        }
        let digits = &self.text[start..self.at];
        Ok(if is_integer { Value::Integer(digits) } else { Value::Real(digits) })
    }

    fn digits(&mut self) -> usize {
        let start = self.at;
        while matches!(self.peek(), Some(b'0'..=b'9')) {
            self.at += 1;
        }
        self.at - start
    }

    /// RFC 8259 section 7: from the opening quote to behind the closing one.
    fn string(&mut self) -> Result<(&'a str, bool)> {
        self.at += 1;
        let start = self.at;
        let mut is_escaped = false;
        loop {
            match self.next() {
                Some(b'"') => return Ok((&self.text[start..self.at - 1], is_escaped)),
                Some(b'\\') => {
                    is_escaped = true;
                    match self.next() {
                        Some(b'"' | b'\\' | b'/' | b'b' | b'f' | b'n' | b'r' | b't') => {}
                        Some(b'u') => {
                            for _ in 0..4 {
                                if !self.next().is_some_and(|byte| byte.is_ascii_hexdigit()) {
                                    return no_json();
                                }
                            }
                        }
                        _ => return no_json(),
                    }
                }
                Some(0..0x20) | None => return no_json(),
                Some(_) => {}
            }
        }
    }
}

/// Text without its escapes, of which the scanner has seen that they are some; `None` where it has a lone surrogate.
fn unescaped(text: &str) -> Option<Cow<'_, str>> {
    let mut made = String::with_capacity(text.len());
    let mut rest = text;
    while let Some(at) = rest.find('\\') {
        made.push_str(&rest[..at]);
        let escape = rest.as_bytes()[at + 1];
        rest = &rest[at + 2..];
        made.push(match escape {
            b'u' => {
                let (first, behind) = unit(rest)?;
                rest = behind;
                if (0xd800..0xdc00).contains(&first) {
                    let (second, behind) = unit(rest.strip_prefix("\\u")?)?;
                    rest = behind;
                    char::decode_utf16([first, second]).next()?.ok()?
                } else {
                    char::from_u32(first.into())?
                }
            }
            b'b' => '\u{8}',
            b'f' => '\u{c}',
            b'n' => '\n',
            b'r' => '\r',
            b't' => '\t',
            other => char::from(other),
        });
    }
    made.push_str(rest);
    Some(Cow::Owned(made))
}

fn unit(text: &str) -> Option<(u16, &str)> {
    let (digits, rest) = text.split_at_checked(4)?;
    Some((u16::from_str_radix(digits, 16).ok()?, rest))
}
