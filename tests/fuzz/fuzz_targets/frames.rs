#![no_main]

libfuzzer_sys::fuzz_target!(|data: &[u8]| kinlink_fuzz::frames(data));
