//! A ledger as bytes, to be stored between any two events.
//!
//! Integers are little groups of seven bits, the sign in the lowest one; lists begin with their count. Options are part of
//! it, since books are kept by their cells. Loading trusts nothing: any bytes give a ledger or [`Corrupt`].

use std::collections::{BTreeMap, BTreeSet, VecDeque};

use crate::beacons::Playing;
use crate::books::{Books, Fetched, Tally};
use crate::event::{Beacon, State};
use crate::ledger::{Incidents, Ledger, Viewer};
use crate::limits::LONGEST_OPTION;
use crate::queue::Queue;
use crate::rules::{Beacons, Mode, Options, Rules};
use crate::session::{Earned, Session};
use crate::spans::{Growing, Spans};

const HEAD: &[u8] = b"attendance-v1 state 1\n";
/// No sum of instants, media times or durations comes near it, nor does a sum of two of these near what an `i64` holds.
const LARGEST: i64 = 1 << 60;

/// Bytes that are no stored ledger.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub struct Corrupt;

impl std::fmt::Display for Corrupt {
    fn fmt(&self, f: &mut std::fmt::Formatter<'_>) -> std::fmt::Result {
        f.write_str("these bytes are no stored ledger")
    }
}

impl std::error::Error for Corrupt {}

type Result<T> = std::result::Result<T, Corrupt>;

impl Ledger {
    /// The ledger as bytes.
    pub fn store(&self) -> Vec<u8> {
        let mut bytes = HEAD.to_vec();
        self.rules.options.put(&mut bytes);
        self.viewers.put(&mut bytes);
        self.incidents.put(&mut bytes);
        bytes
    }

    /// The ledger that was stored.
    ///
    /// # Errors
    /// [`Corrupt`].
    pub fn load(bytes: &[u8]) -> Result<Self> {
        let bytes = &mut bytes.strip_prefix(HEAD).ok_or(Corrupt)?;
        let rules = Rules::new(Options::get(bytes)?);
        let ledger = Self { rules, viewers: Kept::get(bytes)?, incidents: Kept::get(bytes)? };
        sound(bytes.is_empty())?;
        Ok(ledger)
    }
}

fn sound(is: bool) -> Result<()> {
    if is { Ok(()) } else { Err(Corrupt) }
}

/// What can be written to bytes and read from them.
trait Kept: Sized {
    fn put(&self, bytes: &mut Vec<u8>);
    fn get(bytes: &mut &[u8]) -> Result<Self>;
}

impl Kept for i64 {
    fn put(&self, bytes: &mut Vec<u8>) {
        let mut left = (self.wrapping_shl(1) ^ (self >> 63)).cast_unsigned();
        while left >= 0x80 {
            bytes.push(left as u8 | 0x80);
            left >>= 7;
        }
        bytes.push(left as u8);
    }

    fn get(bytes: &mut &[u8]) -> Result<Self> {
        let mut value = 0;
        for shift in (0..63).step_by(7) {
            let (&byte, rest) = bytes.split_first().ok_or(Corrupt)?;
            *bytes = rest;
            value |= u64::from(byte & 0x7f) << shift;
            if byte < 0x80 {
                let value = (value >> 1).cast_signed() ^ -(value & 1).cast_signed();
                sound(value.abs() < LARGEST)?;
                return Ok(value);
            }
        }
        Err(Corrupt)
    }
}

macro_rules! as_integer {
    ($($kind:ty),*) => {$(
        impl Kept for $kind {
            fn put(&self, bytes: &mut Vec<u8>) {
                (*self as i64).put(bytes);
            }

            fn get(bytes: &mut &[u8]) -> Result<Self> {
                i64::get(bytes)?.try_into().map_err(|_| Corrupt)
            }
        }
    )*};
}

as_integer!(i32, usize);

impl Kept for bool {
    fn put(&self, bytes: &mut Vec<u8>) {
        i64::from(*self).put(bytes);
    }

    fn get(bytes: &mut &[u8]) -> Result<Self> {
        match i64::get(bytes)? {
            0 => Ok(false),
            1 => Ok(true),
            _ => Err(Corrupt),
        }
    }
}

impl Kept for Box<str> {
    fn put(&self, bytes: &mut Vec<u8>) {
        self.len().put(bytes);
        bytes.extend_from_slice(self.as_bytes());
    }

    fn get(bytes: &mut &[u8]) -> Result<Self> {
        let length = usize::get(bytes)?;
        let (text, rest) = bytes.split_at_checked(length).ok_or(Corrupt)?;
        *bytes = rest;
        std::str::from_utf8(text).map(Self::from).map_err(|_| Corrupt)
    }
}

impl<T: Kept> Kept for Option<T> {
    fn put(&self, bytes: &mut Vec<u8>) {
        self.is_some().put(bytes);
        if let Some(value) = self {
            value.put(bytes);
        }
    }

    fn get(bytes: &mut &[u8]) -> Result<Self> {
        bool::get(bytes)?.then(|| T::get(bytes)).transpose()
    }
}

macro_rules! tuples {
    ($(($($name:ident),+))*) => {$(
        impl<$($name: Kept),+> Kept for ($($name,)+) {
            fn put(&self, bytes: &mut Vec<u8>) {
                #[allow(non_snake_case, reason = "types and their values")]
                let ($($name,)+) = self;
                $($name.put(bytes);)+
            }

            fn get(bytes: &mut &[u8]) -> Result<Self> {
                Ok(($($name::get(bytes)?,)+))
            }
        }
    )*};
}

tuples! { (A, B) (A, B, C) (A, B, C, D) }

fn put_all<'a, T: Kept + 'a>(items: impl ExactSizeIterator<Item = &'a T>, bytes: &mut Vec<u8>) {
    items.len().put(bytes);
    items.for_each(|item| item.put(bytes));
}

/// A count is a claim: every item is a byte at least.
fn get_all<T: Kept, C: FromIterator<T>>(bytes: &mut &[u8]) -> Result<C> {
    let count = usize::get(bytes)?;
    sound(count <= bytes.len())?;
    (0..count).map(|_| T::get(bytes)).collect()
}

macro_rules! lists {
    ($($list:ident: $bound:ident),*) => {$(
        impl<T: Kept + $bound> Kept for $list<T> {
            fn put(&self, bytes: &mut Vec<u8>) {
                put_all(self.iter(), bytes);
            }

            fn get(bytes: &mut &[u8]) -> Result<Self> {
                get_all(bytes)
            }
        }
    )*};
}

lists!(Vec: Sized, VecDeque: Sized, BTreeSet: Ord);

impl<K: Kept + Ord, V: Kept> Kept for BTreeMap<K, V> {
    fn put(&self, bytes: &mut Vec<u8>) {
        self.len().put(bytes);
        for (key, value) in self {
            key.put(bytes);
            value.put(bytes);
        }
    }

    fn get(bytes: &mut &[u8]) -> Result<Self> {
        get_all(bytes)
    }
}

/// Structs whose fields follow each other; each is read, then looked at.
macro_rules! structs {
    ($($kind:ty { $($field:ident),+ } if |$value:ident| $check:expr;)*) => {$(
        impl Kept for $kind {
            fn put(&self, bytes: &mut Vec<u8>) {
                let Self { $($field),+ } = self;
                $($field.put(bytes);)+
            }

            fn get(bytes: &mut &[u8]) -> Result<Self> {
                let $value = Self { $($field: Kept::get(bytes)?),+ };
                sound($check)?;
                Ok($value)
            }
        }
    )*};
}

fn ascending(spans: &[(i64, i64)]) -> bool {
    spans.iter().all(|(from, to)| from < to) && spans.windows(2).all(|pair| pair[0].1 < pair[1].0)
}

structs! {
    Options { mode, target_duration, lookahead, bridge, beacons, credit_outage, union, programme, zone } if |options| {
        let Options { target_duration, lookahead, bridge, zone, .. } = &options;
        let is_option = |value: &i64| (0..LONGEST_OPTION).contains(value);
        [target_duration, lookahead, bridge].into_iter().all(is_option)
            && *target_duration > 0
            && zone.windows(2).all(|pair| pair[0].0 < pair[1].0)
            && zone.iter().all(|(_, offset)| offset.abs() <= 86_400_000)
    };
    Incidents { outages, stream_outages, restores, clocks } if |_incidents| true;
    Viewer { places, sessions, last, books } if |viewer| {
        let mut places: Vec<usize> = viewer.places.values().copied().collect();
        places.sort_unstable();
        places.into_iter().eq(0..viewer.sessions.len())
    };
    Books { media, programme_media, deep, bulk, beacons, downloads, checks, fetched } if |_books| true;
    Fetched { media, before, since } if |_fetched| true;
    Session { last, end, queue, credit, open, playing } if |session| {
        ascending(&session.credit) && session.credit.last().is_none_or(|&(_, to)| to <= session.end)
    };
    Earned { from, to, t, media } if |earned| earned.from < earned.to && earned.media.0 < earned.media.1;
    Playing { last, counted, seen, hidden } if |playing| {
        [&playing.seen, &playing.hidden].into_iter().all(|list| list.is_sorted())
    };
    Beacon { sn, state, playhead, rate, hidden } if |beacon| (0.25..=4.0).contains(&beacon.rate);
}

impl<T: Kept> Kept for Tally<T> {
    fn put(&self, bytes: &mut Vec<u8>) {
        self.days.put(bytes);
        self.programme.put(bytes);
    }

    fn get(bytes: &mut &[u8]) -> Result<Self> {
        Ok(Self { days: Kept::get(bytes)?, programme: Kept::get(bytes)? })
    }
}

impl Kept for f64 {
    fn put(&self, bytes: &mut Vec<u8>) {
        bytes.extend_from_slice(&self.to_le_bytes());
    }

    fn get(bytes: &mut &[u8]) -> Result<Self> {
        let (number, rest) = bytes.split_first_chunk().ok_or(Corrupt)?;
        *bytes = rest;
        Ok(Self::from_le_bytes(*number))
    }
}

impl Kept for Spans {
    fn put(&self, bytes: &mut Vec<u8>) {
        put_all(self.as_slice().iter(), bytes);
    }

    fn get(bytes: &mut &[u8]) -> Result<Self> {
        let spans: Vec<(i64, i64)> = Kept::get(bytes)?;
        sound(ascending(&spans))?;
        Ok(Self::union(spans))
    }
}

impl Kept for Growing {
    fn put(&self, bytes: &mut Vec<u8>) {
        self.iter().collect::<Vec<_>>().put(bytes);
    }

    fn get(bytes: &mut &[u8]) -> Result<Self> {
        let mut growing = Self::default();
        Spans::get(bytes)?.as_slice().iter().for_each(|&(from, to)| growing.add(from, to));
        Ok(growing)
    }
}

impl Kept for Queue {
    fn put(&self, bytes: &mut Vec<u8>) {
        self.queued().collect::<Vec<_>>().put(bytes);
    }

    fn get(bytes: &mut &[u8]) -> Result<Self> {
        let mut queue = Self::default();
        for (m0, m1, until) in Vec::<(i64, i64, i64)>::get(bytes)? {
            sound(m0 < m1)?;
            queue.push(m0, m1, until);
        }
        Ok(queue)
    }
}

impl Kept for Mode {
    fn put(&self, bytes: &mut Vec<u8>) {
        let (is_live, lag) = if let Self::Live(lag) = self { (true, *lag) } else { (false, None) };
        (is_live, lag).put(bytes);
    }

    fn get(bytes: &mut &[u8]) -> Result<Self> {
        match Kept::get(bytes)? {
            (true, lag) => Ok(Self::Live(lag)),
            (false, None) => Ok(Self::File),
            (false, Some(_)) => Err(Corrupt),
        }
    }
}

/// Enums by their place in a list of them.
macro_rules! enums {
    ($($kind:ident { $($variant:ident),+ })*) => {$(
        impl Kept for $kind {
            fn put(&self, bytes: &mut Vec<u8>) {
                let all = [$(Self::$variant),+];
                all.iter().position(|each| each == self).unwrap_or_default().put(bytes);
            }

            fn get(bytes: &mut &[u8]) -> Result<Self> {
                [$(Self::$variant),+].get(usize::get(bytes)?).copied().ok_or(Corrupt)
            }
        }
    )*};
}

enums! {
    Beacons { Ignored, Narrow, NarrowToVisible }
    State { Ended, Paused, Playing, Seeking, Stalled }
}
