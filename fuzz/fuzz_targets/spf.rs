//! libFuzzer's way into `fuzz_targets`, target `spf`.

#![no_main]

libfuzzer_sys::fuzz_target!(|data: &[u8]| fuzz_targets::check("spf", data));
