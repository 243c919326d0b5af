#![no_main]

libfuzzer_sys::fuzz_target!(|data: &[u8]| pystream_fuzz::boxes(data));
