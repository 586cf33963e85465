//! Canonical forms of header fields and bodies (RFC 6376 §3.4), the body's as it streams in.

use aws_lc_rs::digest::{Context, SHA256};

use crate::Field;

/// How much a signature forgives.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub enum Canonical {
    /// Nothing but empty lines at the end.
    Simple,
    /// Changes of white space, too, and the case of field names.
    Relaxed,
}

impl Canonical {
    /// Appends a field in this form.
    pub(crate) fn put_field(self, field: Field<'_>, into: &mut Vec<u8>) {
        match self {
            Self::Simple => simple_field(field, into),
            Self::Relaxed => relaxed_field(field, into),
        }
    }
}

/// Appends a field in the simple form: as it is.
pub fn simple_field(field: Field<'_>, into: &mut Vec<u8>) {
    into.extend_from_slice(field.name);
    into.push(b':');
    into.extend_from_slice(field.value);
}

/// Appends a field in the relaxed form (RFC 6376 §3.4.2), with its CRLF.
pub fn relaxed_field(field: Field<'_>, into: &mut Vec<u8>) {
    let name = field.name.trim_ascii_end();
    into.extend(name.iter().map(u8::to_ascii_lowercase));
    into.push(b':');
    let words = field.value.split(|b| b" \t\r\n".contains(b));
    for (n, word) in words.filter(|word| !word.is_empty()).enumerate() {
        if n > 0 {
            into.push(b' ');
        }
        into.extend_from_slice(word);
    }
    into.extend_from_slice(b"\r\n");
}

/// The hash of a body in one canonical form, in constant memory.
pub(crate) struct BodyHash {
    form: Canonical,
    context: Context,
    /// Canonical octets on their way into the hash: many small updates would cost more than the hash itself.
    out: Vec<u8>,
    octets: u64,
    /// Line ends seen since the last content: they count when more content comes.
    line_ends: u64,
    /// A blank was seen since the last content of this line (relaxed).
    blank: bool,
    /// The last octet was a CR.
    cr: bool,
}

/// A finished body hash.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub(crate) struct BodyDigest {
    pub(crate) sha256: [u8; 32],
    /// How many octets the canonical body has.
    pub(crate) octets: u64,
}

impl BodyHash {
    pub(crate) fn new(form: Canonical) -> Self {
        Self {
            form,
            context: Context::new(&SHA256),
            out: Vec::with_capacity(2 * OUT_OCTETS),
            octets: 0,
            line_ends: 0,
            blank: false,
            cr: false,
        }
    }

    pub(crate) fn form(&self) -> Canonical {
        self.form
    }

    pub(crate) fn feed(&mut self, mut bytes: &[u8]) {
        while let Some(&first) = bytes.first() {
            if self.cr {
                self.cr = false;
                if first == b'\n' {
                    self.line_ends += 1;
                    self.blank = false;
                    bytes = &bytes[1..];
                } else {
                    self.content(b"\r");
                }
                continue;
            }
            let length = match self.form {
                Canonical::Simple => memchr::memchr(b'\r', bytes),
                Canonical::Relaxed => self.blank_or_end(bytes),
            }
            .unwrap_or(bytes.len());
            if length > 0 {
                self.content(&bytes[..length]);
                bytes = &bytes[length..];
                continue;
            }
            match first {
                b'\r' => self.cr = true,
                _ => self.blank = true,
            }
            bytes = &bytes[1..];
        }
    }

    /// Where content in the relaxed form ends for now. Most lines have nothing but single blanks between words, and are
    /// taken whole.
    fn blank_or_end(&self, bytes: &[u8]) -> Option<usize> {
        let line = &bytes[..bytes.len().min(LOOK_AHEAD_OCTETS)];
        let end = memchr::memchr2(b'\r', b'\t', line).unwrap_or(line.len());
        let line = &line[..end];
        let pairs = line.iter().zip(line.get(1..).unwrap_or_default());
        // No early exit: that is what lets the compiler compare many pairs at once.
        let is_double = pairs.fold(false, |any, (a, b)| any | ((*a == b' ') & (*b == b' ')));
        let is_odd = is_double || line.ends_with(b" ") || (self.blank && line.starts_with(b" "));
        match is_odd {
            true => memchr::memchr(b' ', line),
            false => Some(end),
        }
    }

    fn content(&mut self, bytes: &[u8]) {
        for _ in 0..std::mem::take(&mut self.line_ends) {
            self.put(b"\r\n");
        }
        if std::mem::take(&mut self.blank) {
            self.put(b" ");
        }
        self.put(bytes);
    }

    fn put(&mut self, bytes: &[u8]) {
        self.octets += bytes.len() as u64;
        if bytes.len() > OUT_OCTETS {
            self.flush();
            self.context.update(bytes);
            return;
        }
        self.out.extend_from_slice(bytes);
        if self.out.len() > OUT_OCTETS {
            self.flush();
        }
    }

    fn flush(&mut self) {
        self.context.update(&self.out);
        self.out.clear();
    }

    pub(crate) fn finish(mut self) -> BodyDigest {
        if self.cr {
            self.content(b"\r");
        }
        // A body ends with one line end, whatever it had. An empty one is a line end in the simple form (§3.4.3), and
        // nothing in the relaxed form (§3.4.4).
        if self.octets > 0 || self.form == Canonical::Simple {
            self.put(b"\r\n");
        }
        self.flush();
        let mut sha256 = [0; 32];
        sha256.copy_from_slice(self.context.finish().as_ref());
        BodyDigest {
            sha256,
            octets: self.octets,
        }
    }
}

const OUT_OCTETS: usize = 4096;
/// How far a line is looked at at once: it may be as long as the body.
const LOOK_AHEAD_OCTETS: usize = 256;

#[cfg(test)]
mod tests {
    use aws_lc_rs::digest::digest;

    use super::*;

    /// RFC 6376 §3.4.3 and §3.4.4, word by word, with the whole body at hand.
    fn reference(body: &[u8], form: Canonical) -> Vec<u8> {
        let text: String = body.iter().map(|b| char::from(*b)).collect();
        let mut lines: Vec<String> = text.split("\r\n").map(str::to_owned).collect();
        if form == Canonical::Relaxed {
            for line in &mut lines {
                let ends = line.starts_with([' ', '\t']);
                let words: Vec<_> = line
                    .split([' ', '\t'])
                    .filter(|word| !word.is_empty())
                    .collect();
                let words = words.join(" ");
                *line = if ends && !words.is_empty() {
                    format!(" {words}")
                } else {
                    words
                };
            }
        }
        while lines.last().is_some_and(String::is_empty) {
            lines.pop();
        }
        let mut text: String = lines.iter().map(|line| format!("{line}\r\n")).collect();
        if lines.is_empty() && form == Canonical::Simple {
            text = "\r\n".to_owned();
        }
        text.chars().map(|c| c as u8).collect()
    }

    #[test]
    fn bodies_at_every_split() {
        let bodies: [&[u8]; 22] = [
            b"",
            b"\r\n",
            b"\r\n\r\n\r\n",
            b" ",
            b" \r\n",
            b"\t \r\n \r\n",
            b"hi",
            b"hi\r\n",
            b"hi\r\n\r\n",
            b"hi there \t  x \r\n",
            b"hi\r\n \r\n",
            b"hi\r\n\r\n \t\r\n\r\n",
            b"hi \r\n\t",
            b" leading\r\n  two\r\n",
            b"a\r\n\r\n\r\nb\r\n",
            b"a\r\n \r\n \r\nb",
            b"bare\nlf \n\r\n",
            b"bare\rcr \r\r\n",
            b"at the end\r",
            b"at the end \r",
            b"\r\r\n\n\r\n",
            b"\xff\x00 \xe4\r\n",
        ];
        for body in bodies {
            for form in [Canonical::Simple, Canonical::Relaxed] {
                let expected = reference(body, form);
                for split in 0..=body.len() {
                    let mut hash = BodyHash::new(form);
                    hash.feed(&body[..split]);
                    hash.feed(&body[split..]);
                    let got = hash.finish();
                    let what = format!(
                        "{:?} {form:?} split at {split}",
                        body.escape_ascii().to_string()
                    );
                    assert_eq!(got.octets, expected.len() as u64, "{what}");
                    assert_eq!(got.sha256, *digest(&SHA256, &expected).as_ref(), "{what}");
                }
            }
        }
    }

    #[test]
    fn a_long_body_is_hashed_in_pieces() {
        let line = [b"word ".repeat(1000), b"x".repeat(10_000), b"\r\n".to_vec()].concat();
        let mut hash = BodyHash::new(Canonical::Relaxed);
        let mut expected = Context::new(&SHA256);
        for _ in 0..100 {
            hash.feed(&line);
            expected.update(&line);
            assert!(hash.out.capacity() <= 2 * OUT_OCTETS);
        }
        assert_eq!(hash.finish().sha256, *expected.finish().as_ref());
    }

    #[test]
    fn fields() {
        #[track_caller]
        fn check(name: &str, value: &str, simple: &str, relaxed: &str) {
            let (name, value) = (name.as_bytes(), value.as_bytes());
            let mut out = [Vec::new(), Vec::new()];
            simple_field(Field { name, value }, &mut out[0]);
            relaxed_field(Field { name, value }, &mut out[1]);
            assert_eq!(
                out.map(|out| String::from_utf8(out).unwrap()),
                [simple, relaxed]
            );
        }
        // The examples of RFC 6376 §3.4.5.
        check("A", " X\r\n", "A: X\r\n", "a:X\r\n");
        check(
            "B ",
            " Y\t\r\n\tZ  \r\n",
            "B : Y\t\r\n\tZ  \r\n",
            "b:Y Z\r\n",
        );
        check("Empty", "\r\n", "Empty:\r\n", "empty:\r\n");
    }
}
