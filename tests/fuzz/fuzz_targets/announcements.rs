#![no_main]

libfuzzer_sys::fuzz_target!(|data: &[u8]| kinlink_fuzz::announcements(data));
