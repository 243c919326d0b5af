//! What is handed over as a table must be one.

use std::fs::File;
use std::os::fd::{AsFd, OwnedFd};

use pystream_shm::{BLOCK, Cache, Gcra, Meter, Sessions};

#[test]
fn a_table_of_another_kind_is_refused() {
    let refused = |fd: OwnedFd| Meter::attach(fd).unwrap_err().to_string();
    assert_eq!(refused(Gcra::create(4096).unwrap()), "the file handed over as meter is something else");
    assert_eq!(refused(Cache::create(BLOCK, 1).unwrap()), "the file handed over as meter is something else");
    let not_a_memfd = File::open("/proc/self/exe").unwrap();
    assert_eq!(refused(not_a_memfd.into()), "the file handed over as meter is not a memfd sealed against shrinking");
}

#[test]
fn a_table_cannot_be_taken_away_or_made_longer() {
    let fd = Meter::create(8).unwrap();
    let file = File::from(fd.try_clone().unwrap());
    assert!(file.set_len(0).is_err());
    assert!(file.set_len(1 << 20).is_err());
    assert!(Meter::attach(fd).is_ok());
}

#[test]
fn a_header_that_lies_is_refused() {
    use std::os::unix::fs::FileExt;
    // The header begins at the second page: magic, version, length.
    for (word, reason) in [
        (0, "the file handed over as meter is something else"),
        (1, "the file handed over as meter was made by another version of pystream: restart the whole server"),
        (2, "the file handed over as meter has another length than its header says"),
        (4, "the file handed over as meter has another length than its header says"),
    ] {
        let fd = Meter::create(8).unwrap();
        File::from(fd.try_clone().unwrap()).write_at(&77_u64.to_ne_bytes(), 4096 + 8 * word).unwrap();
        assert_eq!(Meter::attach(fd).unwrap_err().to_string(), reason, "word {word}");
    }
}

#[test]
fn sizes_that_cannot_be_are_refused_with_the_reason() {
    let reasons = [
        Gcra::create(63).unwrap_err(),
        Meter::create(0).unwrap_err(),
        Meter::create(12).unwrap_err(),
        Meter::create(1 << 17).unwrap_err(),
        Sessions::create(0).unwrap_err(),
        Sessions::create((1 << 24) + 1).unwrap_err(),
        Cache::create(BLOCK - 1, 1).unwrap_err(),
        Cache::create(BLOCK, 0).unwrap_err(),
        Cache::create(BLOCK, 1025).unwrap_err(),
        Cache::attach(Cache::create(BLOCK, 2).unwrap(), 2).unwrap_err(),
    ]
    .map(|error| error.to_string());
    assert_eq!(
        reasons,
        [
            "the rate limit table needs at least 64 bytes",
            "the meter needs a number of rows that is a power of two, at most 65,536",
            "the meter needs a number of rows that is a power of two, at most 65,536",
            "the meter needs a number of rows that is a power of two, at most 65,536",
            "the session table needs room for 1 to 16,777,216 sessions",
            "the session table needs room for 1 to 16,777,216 sessions",
            "the segment cache needs room for a block of 64 KiB",
            "the segment cache needs 1 to 1024 seats",
            "the segment cache needs 1 to 1024 seats",
            "the segment cache has fewer seats",
        ]
    );
}

#[test]
fn a_table_can_be_handed_on() {
    let first = Meter::attach(Meter::create(8).unwrap()).unwrap();
    first.add(1, 500_000, 0, pystream_shm::Counts { requests: 1, bytes: 2, aborted: 0 });
    let second = Meter::attach(first.as_fd().try_clone_to_owned().unwrap()).unwrap();
    assert_eq!(first.rows(), second.rows());
}
