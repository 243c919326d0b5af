//! The ladder against one in plain numbers, and what makes a source.

use std::collections::HashMap;
use std::net::IpAddr;
use std::thread;

use proptest::prelude::*;
use pystream_shm::{Budget, Gcra, Kind, LONGEST_BAN_US, Limiter, MAX_BURST_US, Network, Rules, Ruling};

const SECOND: u64 = 1_000_000;
const START: u64 = 1_000 * SECOND;

/// So many at once, and one more every `emission_us`.
fn budget(emission_us: u64, at_once: u64) -> Budget {
    Budget { emission_us, burst_us: emission_us * at_once }
}

fn rules() -> Rules {
    let kind = Kind {
        source: budget(SECOND, 3),
        network: budget(SECOND, 5),
        grant: budget(SECOND, 2),
        tenant: budget(SECOND, 4),
    };
    Rules {
        kinds: vec![kind, Kind { source: budget(SECOND / 2, 1), ..Kind::default() }],
        offences: budget(10 * SECOND, 2),
        strikes: budget(20 * SECOND, 2),
        shortest_ban_us: 60 * SECOND,
        longest_ban_us: 600 * SECOND,
        exempt: vec![Network::new("10.0.0.0".parse().unwrap(), 8), Network::new("fd00::".parse().unwrap(), 8)],
    }
}

fn limiter(rules: Rules) -> Limiter {
    Limiter::new(Gcra::attach(Gcra::create(1 << 20).unwrap(), &[7; 16], None).unwrap(), rules)
}

fn address(text: &str) -> IpAddr {
    text.parse().unwrap()
}

/// Asks until the source is banned; the ban's length and how many times it asked.
fn offend(limiter: &Limiter, from: IpAddr, now: u64) -> (u64, u32) {
    for tries in 1..1000 {
        if let Ruling::Banned { left_us, began } = limiter.arrive(from, 0, now) {
            assert!(began);
            return (left_us, tries);
        }
    }
    panic!("never banned");
}

#[test]
fn the_ladder_step_by_step() {
    let limiter = limiter(rules());
    let from = address("198.51.100.7");
    let rulings: Vec<_> = (0..9).map(|_| limiter.arrive(from, 0, START)).collect();
    let banned = |began| Ruling::Banned { left_us: 60 * SECOND, began };
    let expected = [
        [Ruling::Pass; 3],
        [Ruling::Soft(SECOND), Ruling::Soft(SECOND), Ruling::Hard(SECOND)],
        [Ruling::Hard(SECOND), banned(true), banned(false)],
    ];
    assert_eq!(rulings, expected.concat());
    assert_eq!(limiter.banned(from, START), 60 * SECOND);
    // Of every kind, and to the last microsecond.
    assert_eq!(limiter.arrive(from, 1, START + 60 * SECOND - 1), Ruling::Banned { left_us: 1, began: false });
    assert_eq!(limiter.arrive(from, 1, START + 60 * SECOND), Ruling::Pass);
}

#[test]
fn bans_double_and_are_forgotten() {
    let limiter = limiter(rules());
    let from = address("198.51.100.7");
    let mut now = START;
    for expected in [60, 120, 240, 480, 600, 600, 600] {
        let (length, _) = offend(&limiter, from, now);
        assert_eq!(length, expected * SECOND);
        now += length;
    }
    // With each second of rest the next one is shorter.
    now += 900 * SECOND;
    let (length, _) = offend(&limiter, from, now);
    assert_eq!(length, 300 * SECOND);
    now += 3 * length;
    let (length, _) = offend(&limiter, from, now);
    assert_eq!(length, 60 * SECOND);
}

#[test]
fn the_longest_ban_is_as_long_as_the_table_can_tell() {
    let limiter = limiter(Rules { shortest_ban_us: u64::MAX, longest_ban_us: u64::MAX, ..rules() });
    let (length, _) = offend(&limiter, address("2001:db8::1"), START);
    assert_eq!(length, LONGEST_BAN_US);
    assert!(3 * length <= MAX_BURST_US);
}

#[test]
fn what_a_source_is() {
    let limiter = limiter(rules());
    let ask = |text: &str| limiter.arrive(address(text), 0, START);
    for host in ["2001:db8:0:1::1", "2001:db8:0:1::2", "2001:db8:0:1:ffff::3"] {
        assert_eq!(ask(host), Ruling::Pass);
    }
    assert_eq!(ask("2001:db8:0:1::9"), Ruling::Soft(SECOND), "one /64 is one source");
    assert_eq!(ask("2001:db8:0:2::1"), Ruling::Pass);
    assert_eq!(ask("2001:db8:0:3::1"), Ruling::Pass);
    assert_eq!(ask("2001:db8:0:4::1"), Ruling::Soft(SECOND), "the /48 has its own budget");
    assert_eq!(ask("2001:db8:1::1"), Ruling::Pass);
    for host in ["198.51.100.7", "::ffff:198.51.100.7", "198.51.100.7"] {
        assert_eq!(ask(host), Ruling::Pass);
    }
    assert_eq!(ask("::ffff:198.51.100.7"), Ruling::Soft(SECOND), "IPv4 in IPv6 is IPv4");
    assert_eq!(ask("198.51.100.8"), Ruling::Pass);
    assert_eq!(ask("198.51.100.9"), Ruling::Pass);
    assert_eq!(ask("198.51.100.10"), Ruling::Soft(SECOND), "the /24 has its own budget");
    assert_eq!(ask("198.51.101.10"), Ruling::Pass);
}

#[test]
fn who_is_found_out_is_limited_for_a_while_and_then_banned() {
    let limiter = limiter(rules());
    let (from, neighbour) = (address("198.51.100.7"), address("198.51.100.8"));
    assert_eq!(limiter.offend(from, START), Ruling::Soft(60 * SECOND));
    // Of each kind, whatever was left of its budget, and of nobody else.
    for kind in 0..2 {
        assert!(matches!(limiter.arrive(from, kind, START), Ruling::Soft(wait) if wait >= 60 * SECOND));
        assert_eq!(limiter.arrive(neighbour, kind, START), Ruling::Pass);
    }
    // It has its budgets again afterwards; who is found out once more is banned, of which there is one.
    assert_eq!(limiter.arrive(from, 0, START + 62 * SECOND), Ruling::Pass);
    let banned = |began, left_us| Ruling::Banned { left_us, began };
    assert_eq!(limiter.offend(from, START + 62 * SECOND), banned(true, 60 * SECOND));
    assert_eq!(limiter.offend(from, START + 63 * SECOND), banned(false, 59 * SECOND));
    // For longer each time, as any ban.
    assert_eq!(limiter.offend(from, START + 123 * SECOND), banned(true, 119 * SECOND));
    // After ten times as long it is forgotten that it was limited.
    assert_eq!(limiter.offend(neighbour, START), Ruling::Soft(60 * SECOND));
    assert_eq!(limiter.offend(neighbour, START + 600 * SECOND), Ruling::Soft(60 * SECOND));
    assert_eq!(limiter.offend(address("10.1.2.3"), START), Ruling::Pass);
}

#[test]
fn who_shares_a_network_with_an_offender_is_never_banned() {
    let limiter = limiter(rules());
    offend(&limiter, address("198.51.100.7"), START);
    for _ in 0..1000 {
        let ruling = limiter.arrive(address("198.51.100.8"), 0, START);
        assert!(matches!(ruling, Ruling::Pass | Ruling::Soft(_)), "{ruling:?}");
    }
    // What the network was refused is not on the account of the source.
    assert_eq!(limiter.arrive(address("198.51.100.8"), 0, START + 5 * SECOND), Ruling::Pass);
}

#[test]
fn a_grant_is_limited_and_never_banned() {
    let limiter = limiter(rules());
    let ask = |grant: &[u8], tenant| limiter.granted(address("198.51.100.7"), grant, tenant, 0, START);
    let rulings: Vec<_> = (0..6).map(|_| ask(b"one", 1)).collect();
    let (soft, hard) = (Ruling::Soft(SECOND), Ruling::Hard(SECOND));
    assert_eq!(rulings, [Ruling::Pass, Ruling::Pass, soft, soft, hard, hard]);
    assert_eq!([ask(b"two", 1), ask(b"two", 1)], [Ruling::Pass; 2]);
    assert_eq!(ask(b"three", 1), Ruling::Soft(SECOND), "the tenant has its own budget");
    assert_eq!(ask(b"three", 2), Ruling::Pass);
    assert_eq!(ask(b"three", 2), Ruling::Pass, "what the tenant was refused is not on the account of the grant");
}

#[test]
fn nothing_is_asked_of_who_is_exempt() {
    let limiter = limiter(rules());
    for text in ["10.1.2.3", "::ffff:10.1.2.3", "fd12::1"] {
        for _ in 0..1000 {
            assert_eq!(limiter.granted(address(text), b"one", 1, 0, START), Ruling::Pass);
            assert_eq!(limiter.arrive(address(text), 0, START), Ruling::Pass);
        }
        assert_eq!(limiter.banned(address(text), START), 0);
    }
}

#[test]
fn networks() {
    for (network, bits, inside, outside) in [
        ("192.0.2.0", 24, "192.0.2.255", "192.0.3.0"),
        ("192.0.2.77", 24, "192.0.2.0", "192.0.1.255"),
        ("192.0.2.1", 32, "::ffff:192.0.2.1", "192.0.2.2"),
        ("::ffff:192.0.2.1", 32, "192.0.2.1", "192.0.2.0"),
        ("2001:db8::", 32, "2001:db8:ffff::", "2001:db9::"),
        ("2001:db8::1", 128, "2001:db8::1", "2001:db8::2"),
        ("0.0.0.0", 0, "255.255.255.255", "2001:db8::"),
    ] {
        let network = Network::new(address(network), bits);
        assert!(network.holds(address(inside)) && !network.holds(address(outside)), "{network:?}");
    }
    assert!(Network::new(address("::"), 0).holds(address("203.0.113.1")));
    assert!(Network::new(address("2001:db8::1"), 200).holds(address("2001:db8::1")));
}

#[test]
fn one_of_many_that_find_an_offender_begins_the_ban() {
    let from = address("198.51.100.7");
    let fd = Gcra::create(1 << 20).unwrap();
    let began: usize = thread::scope(|scope| {
        let workers: Vec<_> = (0..4)
            .map(|_| {
                let table = Gcra::attach(fd.try_clone().unwrap(), &[7; 16], None).unwrap();
                scope.spawn(move || {
                    let limiter = Limiter::new(table, rules());
                    (0..5000)
                        .filter(|_| matches!(limiter.arrive(from, 0, START), Ruling::Banned { began: true, .. }))
                        .count()
                })
            })
            .collect();
        workers.into_iter().map(|worker| worker.join().unwrap()).sum()
    });
    assert_eq!(began, 1);
}

#[test]
fn a_flood_of_new_sources_frees_nobody() {
    // Room for 16,384 keys, of which each source takes two.
    let table = Gcra::attach(Gcra::create(1 << 17).unwrap(), &[7; 16], None).unwrap();
    let limiter = Limiter::new(table, rules());
    let banned = address("198.51.100.7");
    offend(&limiter, banned, START);
    for number in 0..500_000_u32 {
        let flooding = IpAddr::from((0xcb00_0000 + number * 256).to_be_bytes());
        limiter.arrive(flooding, 0, START + u64::from(number));
    }
    assert!(limiter.banned(banned, START + SECOND) > 0);
    assert!(limiter.table().counters().displaced > 0, "the table is too small, and says so");
}

/// The ladder as the text has it, with numbers that do not wrap.
#[derive(Default)]
struct Model {
    due: HashMap<(&'static str, usize, String), u64>,
    banned: HashMap<String, u64>,
    memory: HashMap<String, u64>,
}

impl Model {
    fn spend(&mut self, key: (&'static str, usize, String), budget: Budget, now: u64) -> Option<u64> {
        if budget.emission_us == 0 {
            return None;
        }
        let due = self.due.entry(key).or_default();
        let after = (*due).max(now) + budget.emission_us;
        if after > now + budget.burst_us {
            return Some(after - now - budget.burst_us);
        }
        *due = after;
        None
    }

    fn arrive(&mut self, rules: &Rules, source: &str, network: &str, kind: usize, now: u64) -> Ruling {
        let until = self.banned.get(source).copied().unwrap_or(0);
        if until > now {
            return Ruling::Banned { left_us: until - now, began: false };
        }
        let Kind { source: own, network: wide, .. } = rules.kinds[kind];
        if let Some(wait) = self.spend(("source", kind, source.into()), own, now) {
            if self.spend(("offences", 0, source.into()), rules.offences, now).is_none() {
                return Ruling::Soft(wait);
            }
            if self.spend(("strikes", 0, source.into()), rules.strikes, now).is_none() {
                return Ruling::Hard(wait);
            }
            let remembered = self.memory.get(source).copied().unwrap_or(0).saturating_sub(now);
            let length = remembered.max(rules.shortest_ban_us).min(rules.longest_ban_us);
            self.banned.insert(source.into(), now + length);
            self.memory.insert(source.into(), now + remembered.max(3 * length));
            return Ruling::Banned { left_us: length, began: true };
        }
        if let Some(wait) = self.spend(("network", kind, network.into()), wide, now) {
            *self.due.get_mut(&("source", kind, source.into())).unwrap() -= own.emission_us;
            return Ruling::Soft(wait);
        }
        Ruling::Pass
    }
}

proptest! {
    #![proptest_config(ProptestConfig { failure_persistence: None, ..ProptestConfig::default() })]

    #[test]
    fn decides_as_the_text_says(
        start in 0..1_u64 << 41,
        steps in prop::collection::vec((0..2_000_000_u64, 0..4_u8, 0..2_usize, 1..12_usize), 1..150),
    ) {
        let rules = rules();
        let (ours, mut model) = (limiter(rules.clone()), Model::default());
        let mut now = start;
        for (pause, host, kind, times) in steps {
            now += pause;
            // Two hosts of one network each.
            let (source, network) = (format!("198.51.{}.{}", host / 2, host % 2), format!("198.51.{}", host / 2));
            for _ in 0..times {
                let expected = model.arrive(&rules, &source, &network, kind, now);
                prop_assert_eq!(ours.arrive(address(&source), kind, now), expected);
                let left = model.banned.get(&source).copied().unwrap_or(0).saturating_sub(now);
                prop_assert_eq!(ours.banned(address(&source), now), left);
            }
        }
    }
}
