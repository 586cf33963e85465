//! Texts as they are compared: in lower case, and composed as Unicode's NFC has it.
//!
//! What looks the same must be the same address: macOS writes `ü` as `u` and U+0308 (RFC 6532 §3.1 asks for NFC).

use icu_normalizer::ComposingNormalizerBorrowed;

/// The text to compare.
pub fn fold(text: &str) -> String {
    if text.is_ascii() {
        return text.to_ascii_lowercase();
    }
    let lower = text.to_lowercase();
    ComposingNormalizerBorrowed::new_nfc()
        .normalize(&lower)
        .into_owned()
}
