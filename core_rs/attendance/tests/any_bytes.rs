//! Any bytes give evidence or a declared error, and any bytes a ledger or one.

use proptest::prelude::*;
use pystream_attendance::{Beacons, Evidence, Ledger, Mode, Options, Spans, canonical_events};

const LINES: &str = r#"{"kind":"segment","t":1000,"key":"A","stream":"Y","session":"s1","m0":0,"m1":6000,"rendition":"v1","primary":true}
{"kind":"segment","t":2000,"key":"A","stream":"Y","session":"s1","m0":90000,"m1":96000,"rendition":"v1","primary":true}
{"kind":"beacon","t":1500,"key":"A","stream":"Y","session":"s1","sn":4,"state":"playing","playhead_ms":5,"rate":1.5,"hidden":false}
{"kind":"beacon","t":2500,"key":"A","stream":"Y","session":"s1","sn":5,"state":"stalled","playhead_ms":9,"rate":2e0,"hidden":true}
{"kind":"check","t":1600,"key":"A","stream":"Y","session":"\u0073\ud83d\ude00","answered":null,"x":[{"y":[]},-1.5e-9]}

{"kind":"download","t":1700,"key":"B","stream":"Y","session":"s1"}
{"kind":"outage","t0":1200,"t1":1900,"stream":"Y"}
{"kind":"restore","t0":1,"t1":4102444800000}
{"kind":"clock","t":1800,"step_ms":-9007199254740991}
"#;

fn options(mode: Mode) -> Options {
    Options {
        mode,
        target_duration: 6000,
        lookahead: 60_000,
        bridge: 3000,
        beacons: Beacons::Narrow,
        credit_outage: true,
        union: true,
        programme: Some(Spans::union([(1000, 3000), (5000, 86_400_000)])),
        zone: vec![(0, 3_600_000), (2000, 7_200_000)],
    }
}

fn take(ledger: &mut Ledger, text: &[u8]) {
    let mut evidence = Evidence::default();
    if evidence.read(text).is_ok() && ledger.take(&evidence.sorted()).is_ok() {
        let state = ledger.store();
        let again = Ledger::load(&state).expect("what is stored can be loaded");
        assert_eq!(again.store(), state);
        assert_eq!(again.rows(), ledger.rows());
    }
}

fn any_change() -> impl Strategy<Value = Vec<(prop::sample::Index, usize, Vec<u8>)>> {
    let telling = prop::sample::select(b"\"\\{}[],: \n\t0123456789.-+eEtrufalsn\0\xff\x80\x7f".to_vec());
    let byte = prop_oneof![telling, any::<u8>()];
    prop::collection::vec((any::<prop::sample::Index>(), 0usize..4, prop::collection::vec(byte, 0..4)), 1..6)
}

fn changed(bytes: &[u8], changes: &[(prop::sample::Index, usize, Vec<u8>)]) -> Vec<u8> {
    let mut made = bytes.to_vec();
    for (place, removed, added) in changes {
        let begin = place.index(made.len() + 1);
        let end = (begin + removed).min(made.len());
        made.splice(begin..end, added.iter().copied());
    }
    made
}

proptest! {
    #![proptest_config(ProptestConfig::with_cases(300))]

    #[test]
    fn lines(text in prop::collection::vec(any::<u8>(), 0..200)) {
        take(&mut Ledger::new(options(Mode::File)), &text);
    }

    #[test]
    fn lines_that_were_events(changes in any_change(), is_live in any::<bool>()) {
        let mode = if is_live { Mode::Live(Some(9000)) } else { Mode::File };
        take(&mut Ledger::new(options(mode)), &changed(LINES.as_bytes(), &changes));
    }

    #[test]
    fn spellings(changes in any_change()) {
        spell(&changed(LINES.as_bytes(), &changes));
    }

    #[test]
    fn states(changes in any_change(), is_live in any::<bool>()) {
        let mode = if is_live { Mode::Live(None) } else { Mode::File };
        let mut ledger = Ledger::new(options(mode));
        take(&mut ledger, LINES.as_bytes());
        go_on_from(&changed(&ledger.store(), &changes));
    }
}

/// What can be loaded can go on, and be stored and loaded again.
fn go_on_from(state: &[u8]) {
    if let Ok(mut loaded) = Ledger::load(state) {
        loaded.rows();
        take(&mut loaded, LINES.replace("\"t\":", "\"t\":1").as_bytes());
    }
}

#[test]
fn states_with_one_byte_changed() {
    for mode in [Mode::File, Mode::Live(None)] {
        let mut ledger = Ledger::new(options(mode));
        take(&mut ledger, LINES.as_bytes());
        let state = ledger.store();
        for at in 0..state.len() {
            for byte in [0, 1, 34, 50, 127, 128, 255] {
                let mut changed = state.clone();
                changed[at] = byte;
                go_on_from(&changed);
            }
        }
    }
}

/// Each event has one spelling, which says all that counts of it.
fn spell(text: &[u8]) {
    let Ok(events) = canonical_events(text) else { return };
    let spelt = events.join(&b'\n');
    assert_eq!(canonical_events(&spelt).expect("events").join(&b'\n'), spelt);
    let rows = |text: &[u8]| {
        let mut evidence = Evidence::default();
        evidence.read(text).expect("events");
        let mut ledger = Ledger::new(options(Mode::File));
        ledger.take(&evidence.sorted()).expect("the first ones");
        ledger.rows()
    };
    assert_eq!(rows(&spelt), rows(text));
}

#[test]
fn the_lines_are_events() {
    let mut evidence = Evidence::default();
    assert_eq!(evidence.read(LINES.as_bytes()), Ok(()));
    let mut ledger = Ledger::new(options(Mode::File));
    ledger.take(&evidence.sorted()).unwrap();
    spell(LINES.as_bytes());
    // The day and the programme, of the stream and of all.
    assert_eq!(ledger.rows().len(), 4);
}
