//! xtext (RFC 3461 §4): how ENVID and ORCPT carry characters that a parameter cannot hold: `+2B` is `+`.
//!
//! Decoding refuses what is not xtext and what would decode to a control character, so that nothing decoded can
//! break a line when it is written out again.

use std::fmt::Write;

/// A text that is not xtext, or hides a control character or bytes that are not UTF-8.
#[derive(Debug, Clone, Copy, PartialEq, Eq, thiserror::Error)]
#[error("not xtext (RFC 3461 section 4)")]
pub struct NotXtext;

/// A checked xtext, still encoded: checking allocates nothing.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub struct Xtext<'a>(&'a str);

impl<'a> Xtext<'a> {
    /// Takes a text that is xtext, and is printable when it is decoded.
    pub fn new(text: &'a str) -> Result<Self, NotXtext> {
        let mut bytes = text.bytes();
        while let Some(byte) = bytes.next() {
            let decoded = match byte {
                b'+' => hex(bytes.next())? << 4 | hex(bytes.next())?,
                b'!'..=b'*' | b','..=b'<' | b'>'..=b'~' => byte,
                // unitext of RFC 6533 §3: UTF-8 as it is. It is UTF-8, since `text` is; C1 controls are 0xC2 0x80-0x9F.
                0x80.. => continue,
                _ => return Err(NotXtext),
            };
            // Encoded bytes must be printable ASCII (RFC 3461 §4.2, §4.4).
            if !(b' '..=b'~').contains(&decoded) {
                return Err(NotXtext);
            }
        }
        if text.chars().any(char::is_control) {
            return Err(NotXtext);
        }
        Ok(Self(text))
    }

    /// The text as meant: printable, without control characters.
    pub fn decode(self) -> Box<str> {
        let mut out = String::with_capacity(self.0.len());
        let mut parts = self.0.split('+');
        out.push_str(parts.next().unwrap_or_default());
        for part in parts {
            // Both were checked: two hex digits of a printable ASCII character stand at the start of each part.
            let (code, rest) = part.split_at(2);
            out.extend(u8::from_str_radix(code, 16).ok().map(char::from));
            out.push_str(rest);
        }
        out.into()
    }

    /// As it was written.
    pub fn as_str(self) -> &'a str {
        self.0
    }
}

/// Appends `text` as xtext. Octets outside printable ASCII become `+HH` like `+`, `=` and the blank.
pub fn encode(text: &str, out: &mut String) {
    for byte in text.bytes() {
        match byte {
            b'!'..=b'*' | b','..=b'<' | b'>'..=b'~' => out.push(char::from(byte)),
            // Writing to a String cannot fail.
            _ => _ = write!(out, "+{byte:02X}"),
        }
    }
}

/// Appends the address of an `ORCPT=utf-8;` (RFC 6533 §3): characters outside ASCII as they are when the peer has
/// SMTPUTF8 (unitext), else as `\x{HEX}`, in which `+`, `=`, `\` and the blank are written too.
pub fn encode_utf8_address(text: &str, smtputf8: bool, out: &mut String) {
    for c in text.chars() {
        match c {
            '!'..='*' | ','..='<' | '>'..='[' | ']'..='~' => out.push(c),
            _ if smtputf8 && !c.is_ascii() && !c.is_control() => out.push(c),
            _ => _ = write!(out, "\\x{{{:X}}}", u32::from(c)),
        }
    }
}

/// RFC 3461 §4 has upper-case digits only; lower case is seen and harmless.
fn hex(digit: Option<u8>) -> Result<u8, NotXtext> {
    let digit = digit.ok_or(NotXtext)?;
    let value = char::from(digit).to_digit(16).ok_or(NotXtext)?;
    u8::try_from(value).map_err(|_| NotXtext)
}

#[cfg(test)]
mod tests {
    use super::*;

    #[track_caller]
    fn check(input: &str, expected: Option<&str>) {
        let decoded = Xtext::new(input).map(Xtext::decode);
        assert_eq!(decoded.ok().as_deref(), expected, "{input:?}");
    }

    #[test]
    fn decoding() {
        check("", Some(""));
        check("QQ314159", Some("QQ314159"));
        check("a+2Bb+3Dc+20d", Some("a+b=c d"));
        check("+2b", Some("+"));
        check("jürgen@x", Some("jürgen@x"));
        check("a=b", None);
        check("a b", None);
        check("a+", None);
        check("a+2", None);
        check("a+2G", None);
        check("a+2ü", None);
        check("a+0D+0ARCPT", None);
        check("a+00", None);
        check("a+7F", None);
        check("a+C3+BC", None);
        check("a\u{85}", None);
        check("a\tb", None);
    }

    #[test]
    fn encoding_decodes_to_itself() {
        for text in ["", "a+b=c d", "plain", "<a@b>;\"x\""] {
            let mut out = String::new();
            encode(text, &mut out);
            let decoded = Xtext::new(&out).map(Xtext::decode);
            assert_eq!(decoded.as_deref(), Ok(text), "{out:?}");
        }
    }

    #[test]
    fn nothing_encoded_breaks_a_line() {
        let mut out = String::new();
        encode("a\r\nQUIT ü", &mut out);
        assert_eq!(out, "a+0D+0AQUIT+20+C3+BC");
        out.clear();
        encode_utf8_address("jü\\x\r=+\u{85}", false, &mut out);
        assert_eq!(out, "j\\x{FC}\\x{5C}x\\x{D}\\x{3D}\\x{2B}\\x{85}");
        out.clear();
        encode_utf8_address("jü\r\u{85}", true, &mut out);
        assert_eq!(out, "jü\\x{D}\\x{85}");
    }
}
