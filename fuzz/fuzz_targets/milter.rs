//! libFuzzer's way into `fuzz_targets`, target `milter`.

#![no_main]

libfuzzer_sys::fuzz_target!(|data: &[u8]| fuzz_targets::check("milter", data));
