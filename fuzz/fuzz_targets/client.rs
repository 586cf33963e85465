//! libFuzzer's way into `fuzz_targets`, target `client`.

#![no_main]

libfuzzer_sys::fuzz_target!(|data: &[u8]| fuzz_targets::check("client", data));
