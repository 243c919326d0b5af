//! Whole files, made here box by box.

use super::testing::*;
use super::*;
use crate::ErrorKind;
use crate::track::SyncSet;

fn open_bytes(bytes: &[u8]) -> Result<Movie> {
    open(&bytes)
}

fn open_tracks(tracks: &[TestTrack]) -> Movie {
    open_bytes(&progressive(tracks, 4096)).unwrap()
}

fn one(track: TestTrack) -> Track {
    let mut movie = open_tracks(&[track]);
    assert_eq!(movie.skipped, []);
    movie.tracks.remove(0)
}

fn shown_pts(track: &Track) -> Vec<i64> {
    track.samples.iter(track.shown.clone()).map(|sample| sample.pts).collect()
}

fn codes(movie: &Movie) -> Vec<&'static str> {
    movie.warnings.iter().map(|warning| warning.code.as_str()).collect()
}

/// Presentation order 0 1 2 3 4 of five pictures decoded as 0 3 1 2 4 (and again), one tick of 1000 late.
fn reordered(count: u32) -> TestTrack {
    let ctts = [[1, 1000], [1, 3000], [2, 0], [1, 1000]].repeat(count as usize / 5);
    TestTrack { ctts, ..TestTrack::video(count) }
}

// Progressive files.

#[test]
fn an_ordinary_file() {
    let movie = open_tracks(&[TestTrack::video(10), TestTrack::audio(20)]);
    assert_eq!((movie.warnings.len(), movie.fragmented, movie.truncated), (0, false, false));
    let [video, audio] = movie.tracks.as_slice() else { panic!() };
    assert_eq!((video.id, video.kind, video.timescale.get(), video.language.as_str()), (1, Kind::Video, 25_000, "eng"));
    assert_eq!((video.shown.clone(), video.config_runs.as_slice()), (0..10, &[(0, 0)][..]));
    let sample = video.samples.get(6);
    assert_eq!((sample.offset, sample.size, sample.dts, sample.pts, sample.sync), (24 + 60, 10, 6000, 6000, false));
    assert!(video.samples.get(5).sync && video.samples.dts_end(9) == 10_000);
    assert!(matches!(audio.samples.sync, SyncSet::All));
    assert!(movie.nbytes() > 1000);
}

#[test]
fn moov_first_and_64_bit_sizes() {
    let ftyp = bx(b"ftyp", b"isom\0\0\0\0");
    let mut mdat = [words(&[1]), b"mdat".to_vec(), words(&[0, 16 + 100])].concat();
    mdat.extend([7; 100]);
    let len = moov(&[TestTrack::video(10)], &[], 0).len();
    let index = moov(&[TestTrack::video(10)], &[], (ftyp.len() + len + 16) as u32);
    let movie = open_bytes(&[ftyp.clone(), index, mdat.clone()].concat()).unwrap();
    assert_eq!(movie.tracks[0].samples.get(0).offset, (ftyp.len() + len + 16) as u64);
    let index = moov(&[TestTrack::video(10)], &[], ftyp.len() as u32 + 16);
    assert_eq!(open_bytes(&[ftyp, mdat, index].concat()).unwrap().tracks.len(), 1);
}

#[test]
fn size_0_goes_on_to_the_end() {
    let data = TestTrack::video(10);
    let mut index = moov(std::slice::from_ref(&data), &[], 16);
    let file = [bx(b"free", b""), bx(b"mdat", &[7; 100]), index.clone()].concat();
    index[..4].fill(0);
    let to_the_end = [bx(b"free", b""), bx(b"mdat", &[7; 100]), index].concat();
    assert_eq!(
        open_bytes(&file).unwrap().tracks[0].samples.len(),
        open_bytes(&to_the_end).unwrap().tracks[0].samples.len()
    );
}

#[test]
fn sizes_and_offsets_in_every_width() {
    let sizes: Vec<u32> = (1..=10).collect();
    let plain = one(TestTrack { sizes: sizes.clone(), ..TestTrack::video(10) });
    let expected: Vec<_> = plain.samples.iter(0..10).collect();
    let nibbles: Vec<u8> = sizes.chunks(2).map(|pair| (pair[0] << 4 | pair[1]) as u8).collect();
    let bytes: Vec<u8> = sizes.iter().map(|&size| size as u8).collect();
    let pairs: Vec<u8> = sizes.iter().flat_map(|&size| (size as u16).to_be_bytes()).collect();
    for (bits, rows) in [(4, nibbles), (8, bytes), (16, pairs)] {
        let stz2 = full(b"stz2", 0, 0, &[words(&[bits, 10]), rows].concat());
        let mut track = TestTrack { instead: vec![stz2], ..TestTrack::video(10) };
        track.sizes.clear();
        assert_eq!(one(track).samples.iter(0..10).collect::<Vec<_>>(), expected, "{bits}");
    }
    let co64 = full(b"co64", 0, 0, &words(&[1, 0, 24]));
    let mut track = TestTrack { sizes, instead: vec![co64], ..TestTrack::video(10) };
    track.chunks.clear();
    let mut file = progressive(&[track], 4096);
    let at = file.windows(4).position(|w| w == b"stco").unwrap();
    // `progressive` writes an empty stco as well, and the last of the two would count.
    file[at..at + 4].copy_from_slice(b"free");
    assert_eq!(open_bytes(&file).unwrap().tracks[0].samples.iter(0..10).collect::<Vec<_>>(), expected);
}

#[test]
fn chunks_place_samples() {
    let track =
        one(TestTrack { stsc: vec![[1, 2, 1], [3, 1, 1]], chunks: vec![100, 0, 50, 200], ..TestTrack::video(6) });
    let offsets: Vec<u64> = track.samples.iter(0..6).map(|sample| sample.offset - 24).collect();
    assert_eq!(offsets, [100, 110, 0, 10, 50, 200]);
}

#[test]
fn no_stss_means_all_and_an_empty_one_the_first() {
    assert!(matches!(one(TestTrack { stss: None, ..TestTrack::video(10) }).samples.sync, SyncSet::All));
    let movie = open_tracks(&[TestTrack { stss: Some(Vec::new()), ..TestTrack::video(10) }]);
    assert_eq!(codes(&movie), ["empty-sync-table"]);
    assert_eq!([0, 1].map(|i| movie.tracks[0].samples.sync.contains(i)), [true, false]);
}

#[test]
fn negative_composition_offsets_move_decoding() {
    let late = one(reordered(10));
    let ctts = [[1, 0], [1, 2000], [2, -1000i32 as u32], [1, 0]].repeat(2);
    for version in [0, 1] {
        let track = TestTrack { ctts: ctts.clone(), ..TestTrack::video(10) };
        let ctts = full(b"ctts", version, 0, &rows(&ctts));
        let early = one(TestTrack { instead: vec![ctts], ..track });
        let times =
            |track: &Track, by: i64| track.samples.iter(0..10).map(|s| (s.dts - by, s.pts - by)).collect::<Vec<_>>();
        assert_eq!(times(&early, -1000), times(&late, 0));
        assert_eq!(shown_pts(&early)[..5], [0, 3000, 1000, 2000, 4000]);
    }
}

#[test]
fn samples_of_no_bytes_are_passed_over() {
    let mut track = TestTrack::video(10);
    track.sizes[3] = 0;
    let track = one(track);
    assert_eq!((track.samples.len(), track.samples.get(3).dts), (9, 4000));
    assert!(track.samples.get(4).sync);
    let mut long = TestTrack::video(130);
    long.sizes[3] = 0;
    assert_eq!(one(long).samples.len(), 129);
}

#[test]
fn counts_that_differ_are_told() {
    let short_stts = open_tracks(&[TestTrack { stts: vec![[4, 1000]], ..TestTrack::video(10) }]);
    assert_eq!((codes(&short_stts), short_stts.tracks[0].samples.get(9).dts), (vec!["sample-count"], 9000));
    let few_chunks = open_tracks(&[TestTrack { stsc: vec![[1, 7, 1]], ..TestTrack::video(10) }]);
    assert_eq!((codes(&few_chunks), few_chunks.tracks[0].samples.len()), (vec!["sample-count"], 7));
    assert_eq!(few_chunks.warnings[0].samples, 3);
}

#[test]
fn a_sample_past_the_end_is_named() {
    let error =
        open_bytes(&progressive(&[TestTrack { chunks: vec![1 << 30], ..TestTrack::video(3) }], 100)).unwrap_err();
    assert_eq!((error.kind(), error.path()), (ErrorKind::Malformed, "moov/trak/mdia/minf/stbl"));
    assert!(error.to_string().starts_with("sample 1:") && error.offset().is_some(), "{error}");
}

#[test]
fn a_progressive_file_that_was_cut_off() {
    let ftyp = bx(b"ftyp", b"isom\0\0\0\0");
    let len = moov(&[TestTrack::video(10)], &[], 0).len();
    let index = moov(&[TestTrack::video(10)], &[], (ftyp.len() + len + 8) as u32);
    let file = [ftyp, index, bx(b"mdat", &[7; 100])].concat();
    let error = open_bytes(&file[..file.len() - 25]).unwrap_err();
    assert!(error.to_string().starts_with("sample 8:"), "{error}");
}

#[test]
fn a_claimed_count_takes_no_memory() {
    let stsz = |size: u32, count: u32| full(b"stsz", 0, 0, &words(&[size, count]));
    for table in [stsz(1, u32::MAX), stsz(0, u32::MAX)] {
        let track = TestTrack { instead: vec![table], ..TestTrack::video(2) };
        assert_eq!(open_bytes(&progressive(&[track], 100)).unwrap_err().path(), "moov/trak/mdia/minf/stbl/stsz");
    }
    // Two tracks that each claim the whole file.
    let whole = |id: u32| TestTrack { id, instead: vec![stsz(1, 4000)], ..TestTrack::video(2) };
    assert!(open_bytes(&progressive(&[whole(1), whole(2)], 4096)).is_err());
}

#[test]
fn samples_lie_on_top_of_each_other_only_a_few_times_over() {
    // All of `count` pictures are the same 100 kB.
    let heap = |id: u32, count: u32| TestTrack {
        id,
        stsc: vec![[1, 1, 1]],
        sizes: vec![100_000; count as usize],
        chunks: vec![0; count as usize],
        ..TestTrack::video(count)
    };
    let file = |tracks: &[TestTrack]| progressive(tracks, 100_000);
    assert!(open_bytes(&file(&[heap(1, 7)])).is_ok());
    assert!(open_bytes(&file(&[heap(1, 4), heap(3, 4)])).is_ok());
    for tracks in [vec![heap(1, 9)], vec![heap(1, 5), heap(3, 5)]] {
        let file = file(&tracks);
        let error = open_bytes(&file).unwrap_err();
        assert_eq!((error.kind(), error.path()), (ErrorKind::Limit, "moov/trak/mdia/minf/stbl/stsz"), "{error}");
        let at = file.windows(4).rposition(|word| word == b"stsz").unwrap();
        assert_eq!(error.offset(), Some(at as u64 + 4));
    }
}

#[test]
fn an_error_says_where_from_the_outermost_box_on() {
    let stsz = full(b"stsz", 0, 0, &words(&[0, u32::MAX]));
    let avc1 = bx(b"avc1", &[vec![0; 78], bx(b"avcC", &[1, 2])].concat());
    let config = TestTrack { entries: vec![avc1], ..TestTrack::video(3) };
    let tables = [
        (TestTrack { instead: vec![stsz], ..TestTrack::video(3) }, "mdia/minf/stbl/stsz"),
        (TestTrack { stsc: vec![[2, 3, 1]], ..TestTrack::video(3) }, "mdia/minf/stbl/stsc"),
        (TestTrack { stsc: vec![[1, 3, 2]], ..TestTrack::video(3) }, "mdia/minf/stbl"),
        (config, "mdia/minf/stbl/stsd/avc1/avcC"),
        (TestTrack { timescale: 0, ..TestTrack::video(3) }, "mdia/mdhd"),
    ];
    for (track, path) in tables {
        let error = open_bytes(&progressive(&[track], 100)).unwrap_err();
        assert_eq!(error.path(), format!("moov/trak/{path}"), "{error}");
        assert!(error.offset().is_some(), "{error}");
    }
}

#[test]
fn times_that_no_clock_counts() {
    let track = TestTrack { stts: vec![[10, u32::MAX]], edits: vec![(1, -1), (1, 0)], ..TestTrack::video(10) };
    assert_eq!(one(track).samples.get(9).dts, 25 + 9 * i64::from(u32::MAX));
}

#[test]
fn tracks_in_other_codecs_are_named() {
    let other = |id: u32, entry: Vec<u8>| TestTrack { id, entries: vec![entry], ..TestTrack::video(2) };
    let empty = TestTrack { stsc: Vec::new(), sizes: Vec::new(), chunks: Vec::new(), ..TestTrack::video(0) };
    let file = progressive(
        &[other(1, bx(b"hvc1", &[0; 78])), other(2, bx(b"encv", &[0; 78])), TestTrack { id: 3, ..empty }],
        100,
    );
    let movie = open_bytes(&file).unwrap();
    let names: Vec<_> = movie.skipped.iter().map(|s| (s.id, s.handler.as_str(), s.codec.as_str())).collect();
    assert_eq!(names, [(1, "vide", "hvc1"), (2, "vide", "encv"), (3, "vide", "avc1")]);
    assert_eq!(movie.skipped[2].reason, "it has no samples");
    assert_eq!(movie.skipped[0].reason, "codec hvc1 is not carried");
}

#[test]
fn sample_entries_that_are_used_are_kept_and_equal_ones_are_one() {
    let entries = vec![aac_entry(), aac_entry_of(&[0x11, 0x90]), aac_entry(), bx(b"ac-3", &[0; 28])];
    let stsc = vec![[1, 2, 3], [2, 2, 1], [3, 2, 2], [4, 2, 3]];
    let track = one(TestTrack { entries: entries.clone(), stsc, chunks: vec![0, 8, 16, 24], ..TestTrack::audio(8) });
    assert_eq!((track.configs.len(), track.config_runs.as_slice()), (2, &[(0, 0), (4, 1), (6, 0)][..]));
    let Config::Aac(config) = track.config_at(5) else { panic!() };
    assert_eq!(config.sample_rate, 48_000);

    let used = TestTrack {
        entries: entries.clone(),
        stsc: vec![[1, 4, 1], [2, 4, 4]],
        chunks: vec![0, 16],
        ..TestTrack::audio(8)
    };
    assert_eq!(open_tracks(&[used]).skipped[0].codec, "ac-3");
    for description in [0, 5] {
        let wrong = TestTrack { entries: entries.clone(), stsc: vec![[1, 8, description]], ..TestTrack::audio(8) };
        assert!(open_bytes(&progressive(&[wrong], 100)).is_err());
    }
}

#[test]
fn sample_entries_of_two_kinds() {
    let entries = vec![avc_entry(b"avc1"), aac_entry()];
    for stsc in [vec![[1, 10, 2]], vec![[1, 5, 1], [2, 5, 2]]] {
        let track = TestTrack { entries: entries.clone(), stsc, chunks: vec![0, 50], ..TestTrack::video(10) };
        let skipped = open_tracks(&[track]).skipped;
        assert!(skipped[0].reason.contains("different kinds"), "{skipped:?}");
    }
}

#[test]
fn files_that_are_none() {
    for (bytes, says) in [
        (&b""[..], "empty"),
        (b"\x47\x40\x11\x10\0\x42\xf0\x25", "this is no MP4"),
        (b"not", "this is no MP4"),
        (b"\0\0\x01\0mdat", "cut off"),
        (&[bx(b"ftyp", b"isom"), b"\0\0\x01\0what".to_vec()].concat(), "cut off"),
        (&[bx(b"ftyp", b"isom"), vec![0; 100]].concat(), "a damaged one"),
        (&bx(b"ftyp", b"isom"), "no index"),
        (&[0; 100], "no MP4"),
        (&[bx(b"ftyp", b"isom"), bx(b"moof", b"")].concat(), "init segment"),
    ] {
        let error = open_bytes(bytes).unwrap_err();
        assert!(error.kind() == ErrorKind::Malformed && error.to_string().contains(says), "{error}");
    }
    let file = progressive(&[TestTrack::video(1)], 100);
    assert!(open_bytes(&file[..file.len() - 1]).unwrap_err().to_string().contains("cut off"));
}

// Edit lists.

#[test]
fn empty_edits_delay_and_media_time_advances() {
    let movie = open_tracks(&[
        TestTrack { edits: vec![(83, -1), (0, 1000)], ..reordered(10) },
        TestTrack { edits: vec![(40, -1), (0, 0)], ..TestTrack::audio(20) },
    ]);
    let [video, audio] = movie.tracks.as_slice() else { panic!() };
    // 83 ms of 25,000 ticks are 2075; 40 ms of 44,100 are 1764.
    assert_eq!((shown_pts(video)[0], video.timescale.get()), (2075, 25_000));
    assert_eq!((shown_pts(audio)[0], audio.timescale.get()), (1764, 44_100));
    assert_eq!(movie.warnings, []);
    let finer = one(TestTrack { edits: vec![(1, -1), (0, 0)], ..TestTrack::audio(20) });
    assert_eq!((finer.timescale.get(), shown_pts(&finer)[..2].to_vec()), (441_000, vec![441, 10_240 + 441]));
    assert_eq!(finer.samples.dts_end(19), 20 * 10_240 + 441);
}

#[test]
fn an_edit_that_ends_early_hides_the_last_pictures() {
    let track = one(TestTrack { edits: vec![(240, 0)], ..TestTrack::video(10) });
    assert_eq!(track.shown, 0..6);
    // Presentation 0..4 of the second group: 5 8 6 7 9. An end at 8 hides 9; 8 is needed by 6 and 7.
    let movie = open_tracks(&[TestTrack { edits: vec![(320, 1000)], ..reordered(10) }]);
    assert_eq!((movie.tracks[0].shown.clone(), codes(&movie)), (0..9, vec!["edit-end"]));
    assert_eq!(movie.warnings[0].samples, 1);
    // Rounded down by less than a tick of the movie, and "to the end".
    for edits in [vec![(399, 0)], vec![(0, 0)], vec![(400, 0), (100, -1)]] {
        assert_eq!(one(TestTrack { edits, ..TestTrack::video(10) }).shown, 0..10);
    }
}

#[test]
fn a_coarse_movie_time_scale_hides_nothing() {
    // Ten pictures are 0.4 s; in a movie of one tick a second that is rounded to 0... or to 1.
    let mut file = progressive(&[TestTrack { edits: vec![(1, 0)], ..TestTrack::video(30) }], 4096);
    let at = file.windows(4).position(|w| w == b"mvhd").unwrap();
    file[at + 16..at + 20].copy_from_slice(&[0, 0, 0, 1]);
    assert_eq!(open_bytes(&file).unwrap().tracks[0].shown, 0..30);
}

#[test]
fn an_edit_that_begins_on_no_key_frame_shows_what_comes_before() {
    let movie = open_tracks(&[TestTrack { edits: vec![(0, 7000)], ..TestTrack::video(20) }]);
    let track = &movie.tracks[0];
    assert_eq!((track.shown.clone(), shown_pts(track)[..3].to_vec()), (5..20, vec![-2000, -1000, 0]));
    assert_eq!((codes(&movie), movie.warnings[0].samples, movie.warnings[0].ms), (vec!["edit-start"], 2, 80));
    let exact = open_tracks(&[TestTrack { edits: vec![(0, 10_000)], ..TestTrack::video(20) }]);
    assert_eq!((exact.tracks[0].shown.clone(), codes(&exact)), (10..20, vec![]));
    // The only sync sample before what is shown: it is shown as well.
    let preroll = open_tracks(&[TestTrack { edits: vec![(0, 1000)], stss: Some(vec![1]), ..TestTrack::video(20) }]);
    assert_eq!((preroll.tracks[0].shown.clone(), codes(&preroll)), (0..20, vec!["edit-start"]));
}

#[test]
fn no_key_frame_in_what_is_shown() {
    let hidden = TestTrack { edits: vec![(80, 0)], stss: Some(vec![6]), ..TestTrack::video(20) };
    assert!(open_tracks(&[hidden]).skipped[0].reason.contains("key frames lie outside"));
    let none = TestTrack { stss: Some(vec![99]), ..TestTrack::video(20) };
    assert_eq!(open_tracks(&[none]).skipped[0].reason, "it has no key frame");
    let nothing = TestTrack { edits: vec![(10, 999_999)], ..TestTrack::audio(20) };
    assert!(open_tracks(&[nothing]).skipped[0].reason.contains("shows nothing"));
}

#[test]
fn pictures_before_the_first_key_frame_go_and_sound_beside_them() {
    let video = TestTrack { stss: Some(vec![6, 11]), ..TestTrack::video(20) };
    let movie = open_tracks(&[video.clone(), TestTrack::audio(20)]);
    assert_eq!(codes(&movie), ["before-key-frame", "audio-before-video"]);
    assert_eq!((movie.warnings[0].samples, movie.warnings[0].ms), (5, 200));
    // Frame 8 sounds from 186 to 209 ms, when the first picture comes.
    assert_eq!((movie.tracks[0].shown.clone(), movie.tracks[1].shown.clone()), (5..20, 8..20));
    assert_eq!(movie.warnings[1].samples, 8);
    // At 51.2 kHz frame 9 ends just when the picture comes.
    let even = open_tracks(&[video.clone(), TestTrack { timescale: 51_200, ..TestTrack::audio(20) }]);
    assert_eq!(even.tracks[1].shown, 10..20);
    // Sound that begins before a video that begins late for no such reason is kept.
    let delayed = TestTrack { edits: vec![(200, -1), (0, 0)], ..TestTrack::video(20) };
    let movie = open_tracks(&[delayed, TestTrack::audio(20)]);
    assert_eq!((codes(&movie), movie.tracks[1].shown.clone()), (vec![], 0..20));
    // All sound lies before the first picture: better early than none.
    let movie = open_tracks(&[video, TestTrack::audio(4)]);
    assert_eq!(movie.tracks[1].shown, 0..4);
}

#[test]
fn priming_keeps_one_whole_frame() {
    for (media_time, first, pts) in [(0, 0, 0), (1000, 0, -1000), (1024, 0, -1024), (2112, 1, -1088), (5120, 4, -1024)]
    {
        let track = one(TestTrack { edits: vec![(0, media_time)], ..TestTrack::audio(20) });
        assert_eq!((track.shown.start, shown_pts(&track)[0]), (first, pts), "{media_time}");
    }
}

/// Opens one track of sound, an edit from `media_time` on, that begins with `frames` and goes on with sound.
fn begin_with(frames: &[[u8; 4]], media_time: i32) -> Track {
    let mut file = progressive(&[TestTrack { edits: vec![(0, media_time)], ..TestTrack::audio(20) }], 80);
    file[24..24 + 4 * frames.len()].copy_from_slice(frames.as_flattened());
    open_bytes(&file).unwrap().tracks.remove(0)
}

const SILENT: [u8; 4] = [0x01, 0x18, 0x20, 0x07];
/// A fill element of two bytes, and the end.
const VOID: [u8; 4] = [0xc4, 0x00, 0x01, 0xc0];

#[test]
fn a_silent_frame_before_the_sound_is_left_out() {
    for (media_time, first) in [(0, 0), (1000, 0), (1024, 1), (2047, 1), (2048, 1), (5120, 4)] {
        assert_eq!(begin_with(&[SILENT], media_time).shown, first..20, "{media_time}");
    }
    // It is the frame before the sound that counts, and one.
    assert_eq!(begin_with(&[SILENT, SILENT], 2048).shown, 2..20);
    assert_eq!(begin_with(&[[7; 4], SILENT], 1024).shown, 0..20);
    assert_eq!(shown_pts(&begin_with(&[SILENT], 1024))[0], 0);
}

#[test]
fn frames_without_a_channel_are_left_out() {
    for (count, first) in [(1, 1), (3, 3), (4, 4), (6, 4)] {
        assert_eq!(begin_with(&[VOID].repeat(count), 0).shown, first..20, "{count}");
    }
    assert_eq!(begin_with(&[VOID, SILENT], 1024).shown, 1..20);
    assert_eq!(begin_with(&[VOID, SILENT], 2048).shown, 2..20);
    let mut all = progressive(&[TestTrack::audio(3)], 12);
    all[24..36].copy_from_slice([VOID; 3].as_flattened());
    assert_eq!(open_bytes(&all).unwrap().tracks[0].shown, 2..3);
    // The last one stays, a hole after it or not.
    let track = TestTrack { stts: vec![[1, 3000]], ..TestTrack::audio(1) };
    let mut silent = progressive(&[track], 4);
    silent[24..28].copy_from_slice(&SILENT);
    assert_eq!(open_bytes(&silent).unwrap().tracks[0].shown, 0..1);
}

#[test]
fn a_silent_frame_before_a_hole_is_left_out() {
    for (lasts, first) in [(1024, 0), (1535, 0), (1536, 1), (3000, 1)] {
        let track = TestTrack { stts: vec![[1, lasts], [19, 1024]], ..TestTrack::audio(20) };
        let mut file = progressive(&[track], 80);
        assert_eq!(open_bytes(&file).unwrap().tracks[0].shown, 0..20);
        file[24..28].copy_from_slice(&SILENT);
        let movie = open_bytes(&file).unwrap();
        assert_eq!(movie.tracks[0].shown, first..20, "{lasts}");
    }
}

#[test]
fn large_frames_are_not_read() {
    let mut track = TestTrack::audio(20);
    track.sizes[0] = 1025;
    let mut file = progressive(&[track], 1101);
    file[24..28].copy_from_slice(&VOID);
    assert_eq!(open_bytes(&file).unwrap().tracks[0].shown, 0..20);
}

#[test]
fn sound_is_not_reordered() {
    let movie = open_tracks(&[TestTrack { ctts: vec![[1, 1024], [19, 0]], ..TestTrack::audio(20) }]);
    assert_eq!((codes(&movie), movie.warnings[0].samples), (vec!["audio-order"], 1));
    assert_eq!(shown_pts(&movie.tracks[0])[..3], [0, 1024, 2048]);
    let delayed = open_tracks(&[TestTrack { ctts: vec![[20, 1024]], ..TestTrack::audio(20) }]);
    assert_eq!((codes(&delayed), shown_pts(&delayed.tracks[0])[0]), (vec![], 1024));
    assert!(delayed.tracks[0].samples.cts.is_empty());
}

#[test]
fn edits_that_jump_are_told() {
    let movie = open_tracks(&[TestTrack { edits: vec![(80, 0), (80, 10_000)], ..TestTrack::video(20) }]);
    assert_eq!((codes(&movie), movie.tracks[0].shown.clone()), (vec!["edit-jump"], 0..12));
    let on = open_tracks(&[TestTrack { edits: vec![(80, 0), (80, 2000)], ..TestTrack::video(20) }]);
    assert_eq!((codes(&on), on.tracks[0].shown.clone()), (vec![], 0..4));
}

// Fragments.

const SYNC: u32 = 0x0200_0000;
const NON_SYNC: u32 = 0x0101_0000;

fn tfhd(id: u32, flags: u32, fields: &[u32]) -> Vec<u8> {
    full(b"tfhd", 0, flags, &[words(&[id]), words(fields)].concat())
}

fn tfdt(time: u32) -> Vec<u8> {
    full(b"tfdt", 0, 0, &words(&[time]))
}

fn traf(parts: &[Vec<u8>]) -> Vec<u8> {
    bx(b"traf", &parts.concat())
}

/// Five pictures of 10 bytes in a fragment whose data follows at once.
fn fragment(time: u32) -> Vec<u8> {
    let moof = |offset: u32| {
        let trun = full(b"trun", 0, 5, &words(&[5, offset, SYNC]));
        bx(b"moof", &[full(b"mfhd", 0, 0, &words(&[1])), traf(&[tfhd(1, 0x2_0000, &[]), tfdt(time), trun])].concat())
    };
    let len = moof(0).len() as u32;
    [moof(len + 8), bx(b"mdat", &[7; 50])].concat()
}

fn video_init() -> Vec<u8> {
    init(&[TestTrack::video(0)], &[[1, 1, 1000, 10, NON_SYNC]])
}

fn recording(fragments: u32) -> Vec<u8> {
    let mut file = video_init();
    (0..fragments).for_each(|i| file.extend(fragment(i * 5000)));
    file
}

#[test]
fn a_fragmented_file() {
    let bytes = [
        video_init(),
        bx(b"sidx", &[0; 32]),
        bx(b"styp", b""),
        fragment(0),
        bx(b"emsg", &[0; 40]),
        fragment(5000),
        bx(b"mfra", b""),
    ];
    let movie = open_bytes(&bytes.concat()).unwrap();
    assert_eq!((movie.fragmented, movie.truncated, movie.fragments), (true, false, 2));
    let track = &movie.tracks[0];
    assert_eq!((track.shown.clone(), track.samples.last_duration), (0..10, 1000));
    assert_eq!(shown_pts(track), (0..10).map(|i| i * 1000).collect::<Vec<_>>());
    assert_eq!((0..10).filter(|&i| track.samples.sync.contains(i)).collect::<Vec<_>>(), [0, 5]);
    let sample = track.samples.get(6);
    assert_eq!(bytes.concat()[sample.offset as usize..][..10], [7; 10]);
}

#[test]
fn without_tfdt_time_goes_on() {
    let mut file = recording(2);
    while let Some(at) = file.windows(4).rposition(|w| w == b"tfdt") {
        file[at..at + 4].copy_from_slice(b"free");
    }
    assert_eq!(shown_pts(&open_bytes(&file).unwrap().tracks[0])[8..], [8000, 9000]);
}

#[test]
fn times_that_overlap_a_little_are_held_and_more_is_refused() {
    let movie = open_bytes(&[video_init(), fragment(0), fragment(3999)].concat()).unwrap();
    assert_eq!(codes(&movie), ["decode-order"]);
    let samples = &movie.tracks[0].samples;
    assert_eq!((samples.get(4).pts, samples.get(5).pts, samples.get(5).dts - samples.get(4).dts), (4000, 3999, 0));
    assert!(samples.iter(0..10).all(|sample| sample.dts <= sample.pts));
    let back = [video_init(), fragment(1_000_000), fragment(0)].concat();
    assert!(open_bytes(&back).unwrap_err().to_string().contains("10 s before"));
}

#[test]
fn the_three_bases_of_data_offsets() {
    // Two trafs of two runs each. Explicit base; moof; and none: the second traf then goes on after the first one's data.
    let tracks = [TestTrack::video(0), TestTrack::audio(0)];
    let init = init(&tracks, &[[1, 1, 1000, 10, 0], [2, 1, 1024, 4, 0]]);
    let start = init.len() as u32;
    let build = |first: (u32, Vec<u32>, u32), second: (u32, Vec<u32>, Option<u32>)| {
        let run = |count: u32, offset: Option<u32>| match offset {
            Some(offset) => full(b"trun", 0, 1, &words(&[count, offset])),
            None => full(b"trun", 0, 0, &words(&[count])),
        };
        let video = traf(&[tfhd(1, first.0, &first.1), run(2, Some(first.2)), run(1, None)]);
        let audio = traf(&[tfhd(2, second.0, &second.1), run(1, second.2), run(2, None)]);
        [init.clone(), bx(b"moof", &[video, audio].concat()), bx(b"mdat", &[7; 142])].concat()
    };
    let offsets = |file: &[u8], track: usize| {
        let movie = open_bytes(file).unwrap();
        let samples = &movie.tracks[track].samples;
        samples.iter(0..samples.len()).map(|sample| sample.offset as u32 - start).collect::<Vec<_>>()
    };
    let none = build((0, vec![], 200), (0, vec![], None));
    assert_eq!((offsets(&none, 0), offsets(&none, 1)), (vec![200, 210, 220], vec![230, 234, 238]));
    let moof = build((0x2_0000, vec![], 200), (0x2_0000, vec![], Some(100)));
    assert_eq!((offsets(&moof, 0), offsets(&moof, 1)), (vec![200, 210, 220], vec![100, 104, 108]));
    let base = build((1, vec![0, start + 50], 10), (1, vec![0, start + 100], Some(3)));
    assert_eq!((offsets(&base, 0), offsets(&base, 1)), (vec![60, 70, 80], vec![103, 107, 111]));
}

#[test]
fn runs_lie_on_top_of_each_other_only_a_few_times_over() {
    let init = init(&[TestTrack::video(0)], &[[1, 1, 1000, 100_000, 0]]);
    let file = |count: usize| {
        // The moof's header, and the traf's with its tfhd, are 8, 8 and 16 bytes, each trun 20.
        let data = 8 + 8 + 16 + 20 * count as u32 + 8;
        let runs = vec![full(b"trun", 0, 1, &words(&[1, data])); count].concat();
        let moof = bx(b"moof", &traf(&[tfhd(1, 0x2_0000, &[]), runs]));
        [init.clone(), moof, bx(b"mdat", &[7; 100_000])].concat()
    };
    let samples = &open_bytes(&file(8)).unwrap().tracks[0].samples;
    assert!(samples.len() == 8 && samples.iter(0..8).all(|sample| sample.offset == samples.get(0).offset));
    let error = open_bytes(&file(9)).unwrap_err();
    assert_eq!((error.kind(), error.path()), (ErrorKind::Limit, "moof/traf/trun"), "{error}");
    assert_eq!(error.offset(), Some(init.len() as u64));
}

#[test]
fn a_skipped_track_still_moves_what_follows() {
    let tracks = [TestTrack { entries: vec![bx(b"hvc1", &[0; 78])], ..TestTrack::video(0) }, TestTrack::audio(0)];
    let init = init(&tracks, &[[1, 1, 1000, 10, 0], [2, 1, 1024, 4, 0]]);
    let run = |flags: u32, fields: &[u32]| full(b"trun", 0, flags, &words(fields));
    let trafs = [traf(&[tfhd(1, 0, &[]), run(1, &[3, 150])]), traf(&[tfhd(2, 0, &[]), run(0, &[2])])].concat();
    let movie = open_bytes(&[init.clone(), bx(b"moof", &trafs), bx(b"mdat", &[7; 100])].concat()).unwrap();
    assert_eq!(movie.tracks[0].samples.get(0).offset, init.len() as u64 + 150 + 30);
}

#[test]
fn samples_in_moov_and_in_fragments() {
    let track = TestTrack { stss: None, ..TestTrack::video(3) };
    let mvex = bx(b"mvex", &full(b"trex", 0, 0, &words(&[1, 1, 1000, 10, 0])));
    let data = bx(b"mdat", &[7; 30]);
    let file = [data, moov(&[track], &mvex, 8), fragment(3000)].concat();
    let movie = open_bytes(&file).unwrap();
    assert_eq!(shown_pts(&movie.tracks[0]), [0, 1000, 2000, 3000, 4000, 5000, 6000, 7000]);
}

#[test]
fn sample_entries_by_tfhd() {
    let tracks = [TestTrack { entries: vec![aac_entry(), aac_entry_of(&[0x11, 0x90])], ..TestTrack::audio(0) }];
    let mut file = init(&tracks, &[[2, 1, 1024, 4, 0]]);
    for description in [1, 2, 2, 1] {
        let run = full(b"trun", 0, 1, &words(&[2, 8]));
        file.extend(bx(b"moof", &traf(&[tfhd(2, 0x2_0002, &[description]), run])));
    }
    let movie = open_bytes(&file).unwrap();
    assert_eq!(
        (movie.tracks[0].configs.len(), movie.tracks[0].config_runs.as_slice()),
        (2, &[(0, 0), (2, 1), (6, 0)][..])
    );
}

#[test]
fn edit_ends_of_fragmented_files_are_not_looked_at() {
    let track = TestTrack { edits: vec![(40, 1000)], ..TestTrack::video(0) };
    let file = [init(&[track], &[[1, 1, 1000, 10, NON_SYNC]]), fragment(0), fragment(5000)].concat();
    let movie = open_bytes(&file).unwrap();
    assert_eq!((movie.tracks[0].shown.clone(), shown_pts(&movie.tracks[0])[0]), (0..10, -1000));
}

#[test]
fn a_recording_that_was_cut_off_is_carried_up_to_its_last_whole_fragment() {
    let file = recording(3);
    let fragment_len = (file.len() - video_init().len()) / 3;
    for cut in 1..fragment_len {
        let movie = open_bytes(&file[..file.len() - cut]).unwrap();
        assert_eq!((movie.truncated, movie.fragments, codes(&movie)), (true, 2, vec!["truncated"]), "{cut}");
        assert_eq!(movie.tracks[0].samples.len(), 10);
    }
    assert!(!open_bytes(&file[..file.len() - fragment_len]).unwrap().truncated);
}

#[test]
fn a_last_mdat_that_lacks_only_what_no_sample_uses() {
    let mut file = recording(2);
    let mdat = file.len() - 58;
    file[mdat + 3] += 9;
    let movie = open_bytes(&file).unwrap();
    assert_eq!((movie.truncated, movie.fragments), (true, 2));
}

#[test]
fn data_past_the_end_in_the_middle_is_a_lie() {
    let mut bad = fragment(5000);
    let at = bad.windows(4).position(|w| w == b"trun").unwrap() + 12;
    bad[at..at + 4].copy_from_slice(&0x1000_0000u32.to_be_bytes());
    let error = open_bytes(&[video_init(), fragment(0), bad, fragment(10_000)].concat()).unwrap_err();
    assert!(error.path() == "moof" && error.to_string().contains("past the end"), "{error}");
}

#[test]
fn what_is_no_box_behind_the_fragments() {
    let movie = open_bytes(&[recording(2), vec![0; 64]].concat()).unwrap();
    assert_eq!((codes(&movie), movie.truncated, movie.fragments), (vec!["trailing-bytes"], false, 2));
}

#[test]
fn a_second_moov_is_told_if_it_differs() {
    let again = |other: &[u8]| open_bytes(&[recording(1), other.to_vec(), fragment(5000)].concat()).unwrap();
    assert_eq!(codes(&again(&video_init())), [""; 0]);
    assert_eq!(codes(&again(&init(&[TestTrack::audio(0)], &[]))), ["second-moov"]);
}

#[test]
fn fragments_of_unknown_tracks_and_runs_without_rows() {
    let fragment_of = |id: u32, count: u32| {
        let trun = full(b"trun", 0, 1, &words(&[count, 8]));
        [video_init(), bx(b"moof", &traf(&[tfhd(id, 0x2_0000, &[]), trun]))].concat()
    };
    assert_eq!(open_bytes(&fragment_of(9, 1)).unwrap_err().path(), "moof/traf/tfhd");
    // Data past the end, and no box behind: cut off.
    assert!(open_bytes(&fragment_of(1, u32::MAX)).unwrap().truncated);
    // Each run claims much of the file again.
    let trun = full(b"trun", 0, 1, &words(&[40, 8]));
    let file = [video_init(), bx(b"moof", &traf(&[tfhd(1, 0x2_0010, &[1]), trun.repeat(40)]))].concat();
    assert!(open_bytes(&file).unwrap_err().to_string().contains("claimed"));
    // No bytes, any number: time passes.
    let trun = [full(b"trun", 0, 1, &words(&[u32::MAX, 8])), full(b"trun", 0, 0x201, &words(&[1, 8, 10]))].concat();
    let file = [video_init(), bx(b"moof", &traf(&[tfhd(1, 0x2_0030, &[0, 0]), trun]))].concat();
    assert_eq!(shown_pts(&open_bytes(&file).unwrap().tracks[0]), [4_294_967_295_000]);
}

// Effort.

#[test]
fn one_read_a_fragment() {
    let source = Counting::new(recording(200));
    assert_eq!(open(&source).unwrap().fragments, 200);
    // Fragments of this test are so short that one read shows many.
    let few = source.reads.into_inner();
    assert!(few < 20, "{few} reads");

    let mut file = video_init();
    for i in 0..50 {
        let mut fragment = fragment(i * 5000);
        let mdat = fragment.len() - 58;
        fragment[mdat..mdat + 4].copy_from_slice(&10_000u32.to_be_bytes());
        fragment.resize(mdat + 10_000, 7);
        file.extend(fragment);
    }
    let source = Counting::new(file);
    assert_eq!(open(&source).unwrap().fragments, 50);
    let reads = source.reads.into_inner();
    assert!(reads <= 52, "{reads} reads for 50 fragments");
}

#[test]
fn a_sample_takes_few_bytes() {
    let count = 10_000;
    let mut state = 1u32;
    let mut next = |range: u32| {
        state = state.wrapping_mul(1_664_525).wrapping_add(1_013_904_223);
        (state >> 8) % range
    };
    let sizes: Vec<u32> = (0..count).map(|_| 100 + next(3_000)).collect();
    let total: u32 = sizes.iter().sum();
    let video = TestTrack { sizes, ..reordered(count) };
    let file = progressive(&[video], total as usize);
    let movie = open_bytes(&file).unwrap();
    let each = movie.nbytes() as f64 / f64::from(count);
    assert!(each <= 10.0, "{each} bytes");
}

#[test]
fn lent_and_copied_bytes_give_the_same() {
    for file in [progressive(&[reordered(10), TestTrack::audio(20)], 4096), recording(3)] {
        let lent = format!("{:?}", open_bytes(&file).unwrap());
        assert_eq!(format!("{:?}", open(&Counting::new(file)).unwrap()), lent);
    }
}

// Any bytes.

#[test]
fn cut_anywhere_and_every_byte_changed() {
    let edited = TestTrack { edits: vec![(40, -1), (300, 1000)], ..reordered(10) };
    let sound = TestTrack { edits: vec![(0, 1024)], ..TestTrack::audio(5) };
    for file in [progressive(&[edited, sound], 160), recording(2)] {
        assert!(open_bytes(&file).is_ok());
        for end in 0..file.len() {
            let _ = open_bytes(&file[..end]);
        }
        let mut bytes = file.clone();
        for at in 0..file.len() {
            for value in [0, 0x80, 0xff, file[at] ^ 1] {
                bytes[at] = value;
                if let Ok(movie) = open_bytes(&bytes) {
                    for track in &movie.tracks {
                        assert!(
                            track
                                .samples
                                .iter(track.shown.clone())
                                .all(|s| s.offset + u64::from(s.size) <= file.len() as u64)
                        );
                        assert!(!track.shown.is_empty());
                    }
                }
            }
            bytes[at] = file[at];
        }
    }
}
