//! Who asks too often, and what follows: budgets by address, network, grant and tenant in one [`Gcra`] table.
//!
//! # Theory
//!
//! A source is an IPv4 address or an IPv6 /64, which is what one household has; its network is the /24 or the /48 around it.
//! IPv4 in IPv6 (RFC 4291 2.5.5.2) is IPv4. What a source asks for is of a kind, and each kind has a budget of requests, one for
//! the source and a wider one for its network. Who is over a budget climbs a ladder:
//!
//! ```text
//! over a budget            Soft     come again after a while; it counts as an offence
//!   too many offences      Hard     the same, and the connection is closed; it counts as a strike
//!     too many strikes     Banned   nothing is answered for a time
//! ```
//!
//! Offences and strikes are budgets as well, so all of it is forgotten by itself. Whoever shares a network with an offender
//! may be refused for it, and climbs no step: only what is over the source's own budget is an offence. Nor does a grant, which
//! anybody may have been given: it is never banned.
//!
//! # What others have found out
//!
//! Some attacks are within every budget of requests, as who tries passwords. Whoever finds one out says so ([`Limiter::offend`]):
//! the source has no budget left for any kind of request for as long as the shortest ban is, and if it is found out again within
//! ten times that, it is banned. Only of sources that have shaken hands: nobody else's address can be spoiled by it.
//!
//! # Bans
//!
//! A ban of length `b` is a key whose time lies `b` ahead, and beside it one whose time lies `3 b` ahead, or as far as the
//! table can say. What is left of that one when the source is banned again is the length of the next ban, between the
//! shortest and the longest: `2 b` for who goes on at once, and less with each second of rest. Both lie in the table as all
//! keys do, hence in all processes, and no address is stored. The keys with the most to their account are displaced last, so a
//! flood of new sources frees nobody.

use std::fmt;
use std::net::{IpAddr, Ipv6Addr};

use crate::gcra::{Gcra, MAX_BURST_US};

/// The longest ban that can double: three times that is what the table can remember.
pub const LONGEST_BAN_US: u64 = MAX_BURST_US / 3;

/// How often something may happen. One with an emission of 0 is without bounds.
#[derive(Clone, Copy, Debug, Default, Eq, PartialEq)]
pub struct Budget {
    /// Microseconds that one costs.
    pub emission_us: u64,
    /// What may be used up at once, in microseconds.
    pub burst_us: u64,
}

/// The budgets of one kind of request.
#[derive(Clone, Copy, Debug, Default, Eq, PartialEq)]
pub struct Kind {
    /// Of a source: an IPv4 address, an IPv6 /64.
    pub source: Budget,
    /// Of the network around it: a /24, a /48.
    pub network: Budget,
    /// Of a grant.
    pub grant: Budget,
    /// Of a tenant.
    pub tenant: Budget,
}

/// What is allowed, and what follows where it is not.
#[derive(Clone, Debug, Default)]
pub struct Rules {
    /// By the number of a kind.
    pub kinds: Vec<Kind>,
    /// Refusals until a connection is closed.
    pub offences: Budget,
    /// Refusals with a closed connection until the source is banned.
    pub strikes: Budget,
    /// The first ban.
    pub shortest_ban_us: u64,
    /// At most [`LONGEST_BAN_US`], and taken for that where it is more.
    pub longest_ban_us: u64,
    /// Networks that nothing is asked of.
    pub exempt: Vec<Network>,
}

/// A network: its first address, IPv4 as IPv6 has it, and how many bits of that count.
#[derive(Clone, Copy, Debug, Eq, PartialEq)]
pub struct Network {
    first: u128,
    mask: u128,
}

impl Network {
    /// The network of `bits` bits in which an address lies; more bits than it has are all of them.
    pub fn new(address: IpAddr, bits: u8) -> Self {
        let unmapped = address.to_canonical();
        let before = if unmapped.is_ipv4() { 96 } else { 0 };
        let bits = (before + u32::from(bits)).min(128);
        let mask = u128::MAX.checked_shl(128 - bits).unwrap_or(0);
        Self { first: as_ipv6(unmapped) & mask, mask }
    }

    /// Whether an address lies in it.
    pub fn holds(&self, address: IpAddr) -> bool {
        as_ipv6(address.to_canonical()) & self.mask == self.first
    }
}

fn as_ipv6(address: IpAddr) -> u128 {
    match address {
        IpAddr::V4(four) => four.to_ipv6_mapped(),
        IpAddr::V6(six) => six,
    }
    .to_bits()
}

/// What is said of a request.
#[derive(Clone, Copy, Debug, Eq, PartialEq)]
pub enum Ruling {
    /// It may go on, and was counted.
    Pass,
    /// It is over a budget, and might go on after so many microseconds.
    Soft(u64),
    /// The same, of who was told so too often: the connection ends.
    Hard(u64),
    /// The source is banned for so many microseconds from now. `began`: from this request on.
    Banned {
        /// Microseconds that are left of it.
        left_us: u64,
        /// Whether it was this request that was one too many.
        began: bool,
    },
}

/// The limits of a node, for one of its processes.
pub struct Limiter {
    table: Gcra,
    rules: Rules,
}

/// What a key is about, its first byte.
#[derive(Clone, Copy)]
enum What {
    Source,
    Network,
    Grant,
    Tenant,
    Offences,
    Strikes,
    Ban,
    Memory,
    Warned,
}

/// For how many times the shortest ban a source is remembered that was limited for an attack.
const REMEMBERED: u64 = 10;

impl Limiter {
    /// Takes a table that is used for nothing else.
    pub fn new(table: Gcra, rules: Rules) -> Self {
        Self { table, rules }
    }

    /// The table.
    pub fn table(&self) -> &Gcra {
        &self.table
    }

    /// Counts a request of a kind. A kind without a number has no budget. `now_us` is as [`Gcra`] has it.
    pub fn arrive(&self, from: IpAddr, kind: usize, now_us: u64) -> Ruling {
        if self.is_exempt(from) {
            return Ruling::Pass;
        }
        let place = Place::of(from);
        if let Some(left_us) = self.left(&place, now_us) {
            return Ruling::Banned { left_us, began: false };
        }
        let Some(budgets) = self.rules.kinds.get(kind) else { return Ruling::Pass };
        if let Err(wait_us) = self.spend(&place.source(What::Source, kind), budgets.source, now_us) {
            return self.climb(&place.source(What::Offences, 0), wait_us, now_us, Some(&place));
        }
        match self.spend(&place.network(kind), budgets.network, now_us) {
            Ok(()) => Ruling::Pass,
            Err(wait_us) => {
                // What the network is refused costs the source nothing.
                self.table.give_back(&place.source(What::Source, kind), now_us, budgets.source.emission_us);
                Ruling::Soft(wait_us)
            }
        }
    }

    /// Counts a request with a grant that was found to be right.
    pub fn granted(&self, from: IpAddr, grant: &[u8], tenant: u64, kind: usize, now_us: u64) -> Ruling {
        if self.is_exempt(from) {
            return Ruling::Pass;
        }
        let Some(budgets) = self.rules.kinds.get(kind) else { return Ruling::Pass };
        if let Err(wait_us) = self.spend(&Key::new(What::Grant, kind, grant), budgets.grant, now_us) {
            return self.climb(&Key::new(What::Offences, 1, grant), wait_us, now_us, None);
        }
        match self.spend(&Key::new(What::Tenant, kind, &tenant.to_be_bytes()), budgets.tenant, now_us) {
            Ok(()) => Ruling::Pass,
            Err(wait_us) => {
                self.table.give_back(&Key::new(What::Grant, kind, grant), now_us, budgets.grant.emission_us);
                Ruling::Soft(wait_us)
            }
        }
    }

    /// Microseconds for which a source is banned, 0 if it is not.
    pub fn banned(&self, from: IpAddr, now_us: u64) -> u64 {
        if self.is_exempt(from) { 0 } else { self.left(&Place::of(from), now_us).unwrap_or(0) }
    }

    /// Counts an attack that was found out otherwise, of a source that has shaken hands: at first its budgets are used up for a
    /// while ([`Ruling::Soft`], with how long), and the next time it is banned.
    pub fn offend(&self, from: IpAddr, now_us: u64) -> Ruling {
        if self.is_exempt(from) {
            return Ruling::Pass;
        }
        let place = Place::of(from);
        if let Some(left_us) = self.left(&place, now_us) {
            return Ruling::Banned { left_us, began: false };
        }
        let limited_us = self.rules.shortest_ban_us;
        let remembered = limited_us.saturating_mul(REMEMBERED).min(MAX_BURST_US);
        if !self.table.check(&place.source(What::Warned, 0), now_us, remembered, remembered).allowed {
            return self.ban(&place, now_us);
        }
        for (kind, budgets) in self.rules.kinds.iter().enumerate() {
            if budgets.source.emission_us > 0 {
                let key = place.source(What::Source, kind);
                let more = (budgets.source.burst_us + limited_us).saturating_sub(self.ahead(&key, now_us));
                self.table.check(&key, now_us, more, MAX_BURST_US);
            }
        }
        Ruling::Soft(limited_us)
    }

    fn is_exempt(&self, from: IpAddr) -> bool {
        self.rules.exempt.iter().any(|network| network.holds(from))
    }

    fn left(&self, place: &Place, now_us: u64) -> Option<u64> {
        // Mostly nobody is, and of nobody the table need not be asked.
        if self.table.lasting() <= now_us {
            return None;
        }
        let left_us = self.ahead(&place.source(What::Ban, 0), now_us);
        (left_us > 0).then_some(left_us)
    }

    fn spend(&self, key: &[u8], budget: Budget, now_us: u64) -> Result<(), u64> {
        if budget.emission_us == 0 {
            return Ok(());
        }
        let verdict = self.table.check(key, now_us, budget.emission_us, budget.burst_us);
        if verdict.allowed { Ok(()) } else { Err(verdict.wait_us) }
    }

    /// One step up, of whom `offences` are counted under; a place can be banned.
    fn climb(&self, offences: &[u8], wait_us: u64, now_us: u64, place: Option<&Place>) -> Ruling {
        if self.spend(offences, self.rules.offences, now_us).is_ok() {
            return Ruling::Soft(wait_us);
        }
        let Some(place) = place else { return Ruling::Hard(wait_us) };
        if self.spend(&place.source(What::Strikes, 0), self.rules.strikes, now_us).is_ok() {
            return Ruling::Hard(wait_us);
        }
        self.ban(place, now_us)
    }

    fn ban(&self, place: &Place, now_us: u64) -> Ruling {
        let longest = self.rules.longest_ban_us.min(LONGEST_BAN_US);
        let memory = place.source(What::Memory, 0);
        let remembered = self.ahead(&memory, now_us);
        let left_us = remembered.max(self.rules.shortest_ban_us).min(longest);
        self.table.lasts_until(now_us.saturating_add(left_us));
        // One of several processes that find it out at once begins the ban.
        let began = self.table.check(&place.source(What::Ban, 0), now_us, left_us, left_us).allowed;
        if began {
            let more = (3 * left_us).saturating_sub(remembered);
            self.table.check(&memory, now_us, more, MAX_BURST_US);
        }
        Ruling::Banned { left_us, began }
    }

    fn ahead(&self, key: &[u8], now_us: u64) -> u64 {
        self.table.peek(key, now_us, 0, 0).wait_us
    }
}

impl fmt::Debug for Limiter {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.debug_struct("Limiter").field("table", &self.table).finish_non_exhaustive()
    }
}

/// Where a request comes from, as far as it counts.
struct Place {
    bytes: [u8; 16],
    source: usize,
    network: usize,
}

impl Place {
    fn of(address: IpAddr) -> Self {
        match address.to_canonical() {
            IpAddr::V4(four) => {
                let mut bytes = [0; 16];
                bytes[..4].copy_from_slice(&four.octets());
                Self { bytes, source: 4, network: 3 }
            }
            IpAddr::V6(six) => Self { bytes: Ipv6Addr::octets(&six), source: 8, network: 6 },
        }
    }

    fn source(&self, what: What, kind: usize) -> Key {
        Key::new(what, kind, &self.bytes[..self.source])
    }

    fn network(&self, kind: usize) -> Key {
        Key::new(What::Network, kind, &self.bytes[..self.network])
    }
}

/// What is counted together, as bytes; its length tells IPv4 from IPv6.
struct Key {
    bytes: [u8; Key::MOST],
    len: usize,
}

impl Key {
    const MOST: usize = 64;

    fn new(what: What, kind: usize, whose: &[u8]) -> Self {
        let mut bytes = [0; Self::MOST];
        // A grant's number is of a fixed length, well below this.
        let len = whose.len().min(Self::MOST - 2);
        bytes[0] = what as u8;
        bytes[1] = kind as u8;
        bytes[2..2 + len].copy_from_slice(&whose[..len]);
        Self { bytes, len: len + 2 }
    }
}

impl std::ops::Deref for Key {
    type Target = [u8];

    fn deref(&self) -> &[u8] {
        &self.bytes[..self.len]
    }
}
