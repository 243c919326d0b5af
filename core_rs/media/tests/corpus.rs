//! Runs what the fuzz targets kept, and the project's clips, through the targets' code without libFuzzer.

#[path = "../../fuzz/src/lib.rs"]
#[allow(unreachable_pub, reason = "public for the targets' binaries")]
mod targets;

use std::fs;
use std::panic::{AssertUnwindSafe, catch_unwind};
use std::path::{Path, PathBuf};

fn files(folder: &str) -> Vec<PathBuf> {
    let folder = Path::new(env!("CARGO_MANIFEST_DIR")).join(folder);
    let entries = fs::read_dir(&folder).unwrap_or_else(|error| panic!("{}: {error}", folder.display()));
    let mut files: Vec<PathBuf> = entries.map(|entry| entry.unwrap().path()).filter(|path| path.is_file()).collect();
    files.sort();
    files
}

fn run(name: &Path, bytes: &[u8], target: fn(&[u8])) {
    catch_unwind(AssertUnwindSafe(|| target(bytes))).unwrap_or_else(|_| panic!("{} is not survived", name.display()));
}

fn replay(name: &str, target: fn(&[u8])) {
    let kept = files(&format!("../fuzz/corpus/{name}"));
    assert!(kept.len() > 100, "{} files are kept for {name}", kept.len());
    for path in kept {
        run(&path, &fs::read(&path).unwrap(), target);
    }
}

#[test]
fn boxes() {
    replay("boxes", targets::boxes);
}

#[test]
fn demux() {
    replay("demux", targets::demux);
}

#[test]
fn mux() {
    replay("mux", targets::mux);
}

/// Each clip as it is, and muxed as a planner would: both kinds together, lent and copied, in five segments.
#[test]
fn clips() {
    let clips = files("../../tests/media").into_iter();
    for path in clips.filter(|path| path.extension().is_some_and(|name| name == "mp4" || name == "m4a")) {
        let clip = fs::read(&path).unwrap();
        run(&path, &clip, targets::demux);
        for lent in [0, 1] {
            run(&path, &[&clip[..], &[lent, 4, 0, 0, 0, 0, 0, 0, 1, 2, 3, 4, 5, 6, 7, 8]].concat(), targets::mux);
        }
    }
}
