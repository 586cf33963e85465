//! The body of DATA (RFC 5321 §4.5.2): taking the dots out, putting them in, and finding the one true end.
//!
//! Only CRLF `.` CRLF ends a body, or `.` CRLF at its very beginning. Any CR or LF that is not part of a CRLF is
//! *bare*: the decoder passes it on, or a CRLF in its place when that is wanted, remembers it and reads on to the true end.
//! That closes SMTP smuggling: no other form (`\n.\n`, `\r\n.\r\r\n`, `\r.\r`, …) ends a body for us.
//!
//! Else bytes come out unchanged but for the dots. There is no limit on the length of a line here: a forwarder changes
//! no byte, and over-long lines are common enough in real mail.

use memchr::memchr2;

/// Takes the dots out and finds the end.
#[derive(Debug, Clone, Default)]
pub struct Decoder {
    position: Position,
    ends: LineEnds,
}

/// The line ends of a body so far.
#[derive(Debug, Clone, Copy, Default)]
pub struct LineEnds {
    /// A bare CR or LF comes out as CRLF.
    normalize: bool,
    /// Whole lines.
    lines: u64,
    /// How many of them were bare.
    bare: u64,
    first_bare: Option<u64>,
}

/// Where in a line the last byte left us.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Default)]
enum Position {
    /// Behind CRLF, or before the first byte.
    #[default]
    LineStart,
    /// Within a line.
    Text,
    /// Behind a CR that is not passed on yet.
    Cr,
    /// Behind a dot at the start of a line, not passed on.
    Dot,
    /// Behind such a dot and a CR, neither passed on.
    DotCr,
}

impl LineEnds {
    fn new(normalize: bool) -> Self {
        Self {
            normalize,
            ..Self::default()
        }
    }

    /// The number of the line, from 1, in which the first bare CR or LF stands.
    pub fn first_bare(&self) -> Option<u64> {
        self.first_bare
    }

    /// How many bare CR and LF there were.
    pub fn bare(&self) -> u64 {
        self.bare
    }

    fn take_bare(&mut self, byte: u8, out: &mut Vec<u8>) {
        self.first_bare.get_or_insert(self.lines + 1);
        self.bare += 1;
        if self.normalize {
            out.extend_from_slice(b"\r\n");
            self.lines += 1;
        } else {
            out.push(byte);
        }
    }
}

impl Decoder {
    /// `normalize`: a bare CR or LF comes out as CRLF. Even then it ends no body, and no dot behind it is taken out.
    pub fn new(normalize: bool) -> Self {
        Self {
            position: Position::default(),
            ends: LineEnds::new(normalize),
        }
    }

    /// Decodes `input` and appends to `out`. Gives `Some(octets used)` when the end was found: what lies behind
    /// belongs to the next command. With `None`, all of `input` is used and more is to come.
    pub fn decode(&mut self, input: &[u8], out: &mut Vec<u8>) -> Option<usize> {
        let mut at = 0;
        while at < input.len() {
            if matches!(self.position, Position::LineStart | Position::Text) {
                at += self.run(&input[at..], out);
            }
            let Some(byte) = input.get(at) else { break };
            at += 1;
            if self.step(*byte, out) {
                return Some(at);
            }
        }
        None
    }

    /// The line ends so far.
    pub fn line_ends(&self) -> &LineEnds {
        &self.ends
    }

    /// The bulk path: passes on whole lines in one copy, up to the first byte that needs [`Decoder::step`].
    fn run(&mut self, input: &[u8], out: &mut Vec<u8>) -> usize {
        let mut end = 0;
        if self.position == Position::LineStart && input.first() == Some(&b'.') {
            return 0;
        }
        loop {
            let Some(newline) = memchr2(b'\r', b'\n', &input[end..]) else {
                if end < input.len() {
                    self.position = Position::Text;
                }
                end = input.len();
                break;
            };
            if newline > 0 {
                self.position = Position::Text;
            }
            end += newline;
            if !input[end..].starts_with(b"\r\n") {
                break;
            }
            end += 2;
            self.ends.lines += 1;
            self.position = Position::LineStart;
            if input.get(end) == Some(&b'.') {
                break;
            }
        }
        out.extend_from_slice(&input[..end]);
        end
    }

    /// One byte through the table; true at the end of the body.
    fn step(&mut self, byte: u8, out: &mut Vec<u8>) -> bool {
        match (self.position, byte) {
            (Position::DotCr, b'\n') => return true,
            (Position::Cr, b'\n') => {
                out.extend_from_slice(b"\r\n");
                self.ends.lines += 1;
                self.position = Position::LineStart;
            }
            (Position::LineStart, b'.') => self.position = Position::Dot,
            (Position::Dot, b'\r') => self.position = Position::DotCr,
            (Position::Cr | Position::DotCr, _) => {
                // The CR was bare. What follows counts as text, never as the start of a line.
                self.ends.take_bare(b'\r', out);
                self.text(byte, out);
            }
            (Position::LineStart | Position::Text | Position::Dot, _) => self.text(byte, out),
        }
        false
    }

    fn text(&mut self, byte: u8, out: &mut Vec<u8>) {
        if byte == b'\r' {
            self.position = Position::Cr;
            return;
        }
        if byte == b'\n' {
            self.ends.take_bare(byte, out);
        } else {
            out.push(byte);
        }
        self.position = Position::Text;
    }
}

/// Puts the dots in.
///
/// The body must consist of lines ended by CRLF; see [`BareNewline`]. A body that does not end in CRLF gets one, for
/// DATA cannot say otherwise.
#[derive(Debug, Clone, Default)]
pub struct Encoder {
    position: Place,
}

/// As [`Position`], for the encoder.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Default)]
enum Place {
    #[default]
    LineStart,
    Text,
    Cr,
}

/// A bare CR or LF in a body that was to go by DATA. It could end the body early for a careless peer, so it is never
/// sent like this; BDAT can carry it.
#[derive(Debug, Clone, Copy, PartialEq, Eq, thiserror::Error)]
#[error("bare CR or LF in a body sent with DATA")]
pub struct BareNewline;

impl Encoder {
    /// Appends `input` with its dots doubled at the start of lines, the first byte included. On an error everything
    /// before the bare CR or LF is in `out`, and the encoder is of no more use.
    pub fn encode(&mut self, input: &[u8], out: &mut Vec<u8>) -> Result<(), BareNewline> {
        let mut rest = input;
        while let Some(first) = rest.first() {
            match (self.position, first) {
                (Place::Cr, b'\n') => {
                    out.extend_from_slice(b"\r\n");
                    self.position = Place::LineStart;
                    rest = &rest[1..];
                    continue;
                }
                (Place::Cr, _) => return Err(BareNewline),
                (Place::LineStart, b'.') => out.push(b'.'),
                (Place::LineStart | Place::Text, _) => {}
            }
            let used = self.run(rest, out)?;
            rest = &rest[used..];
        }
        Ok(())
    }

    /// Ends the body: CRLF where the last line has none, then the dot.
    pub fn finish(self, out: &mut Vec<u8>) -> Result<(), BareNewline> {
        match self.position {
            Place::Cr => return Err(BareNewline),
            Place::Text => out.extend_from_slice(b"\r\n"),
            Place::LineStart => {}
        }
        out.extend_from_slice(b".\r\n");
        Ok(())
    }

    /// Copies up to the next line that begins with a dot, whose dot is then doubled by the caller. The first byte of
    /// `input` was looked at already.
    fn run(&mut self, input: &[u8], out: &mut Vec<u8>) -> Result<usize, BareNewline> {
        let mut end = 0;
        loop {
            let Some(newline) = memchr2(b'\r', b'\n', &input[end..]) else {
                if end < input.len() {
                    self.position = Place::Text;
                }
                out.extend_from_slice(input);
                return Ok(input.len());
            };
            end += newline;
            match &input[end..] {
                [b'\r', b'\n', ..] => {}
                [b'\r'] => {
                    out.extend_from_slice(&input[..end]);
                    self.position = Place::Cr;
                    return Ok(input.len());
                }
                _ => {
                    out.extend_from_slice(&input[..end]);
                    return Err(BareNewline);
                }
            }
            end += 2;
            self.position = Place::LineStart;
            if input.get(end) == Some(&b'.') {
                out.extend_from_slice(&input[..end]);
                return Ok(end);
            }
        }
    }
}

/// Passes on a body that needs no decoding (BDAT), and minds its line ends as [`Decoder`] does.
#[derive(Debug, Clone, Default)]
pub struct Passer {
    /// The last byte was a CR; it is not passed on yet.
    after_cr: bool,
    ends: LineEnds,
}

impl Passer {
    /// `normalize`: a bare CR or LF comes out as CRLF.
    pub fn new(normalize: bool) -> Self {
        Self {
            after_cr: false,
            ends: LineEnds::new(normalize),
        }
    }

    /// Appends the next bytes of the body to `out`.
    pub fn pass(&mut self, mut input: &[u8], out: &mut Vec<u8>) {
        if self.after_cr && !input.is_empty() {
            self.after_cr = false;
            if input[0] == b'\n' {
                out.extend_from_slice(b"\r\n");
                self.ends.lines += 1;
                input = &input[1..];
            } else {
                self.ends.take_bare(b'\r', out);
            }
        }
        let mut end = 0;
        while let Some(newline) = memchr2(b'\r', b'\n', &input[end..]) {
            end += newline;
            match &input[end..] {
                [b'\r', b'\n', ..] => {
                    self.ends.lines += 1;
                    end += 2;
                    continue;
                }
                [b'\r'] => self.after_cr = true,
                _ => {}
            }
            out.extend_from_slice(&input[..end]);
            if !self.after_cr {
                self.ends.take_bare(input[end], out);
            }
            input = &input[end + 1..];
            end = 0;
        }
        out.extend_from_slice(input);
    }

    /// The body is over: a CR at its end is a bare one.
    pub fn finish(&mut self, out: &mut Vec<u8>) {
        if std::mem::take(&mut self.after_cr) {
            self.ends.take_bare(b'\r', out);
        }
    }

    /// The line ends so far.
    pub fn line_ends(&self) -> &LineEnds {
        &self.ends
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    /// Decodes in two pieces cut at every point, then byte by byte. `expected`: body, whether bare, bytes left over.
    #[track_caller]
    fn check(input: &str, expected: Option<(&str, bool, &str)>) {
        let input = input.as_bytes();
        let cuts = (0..=input.len()).map(|cut| vec![&input[..cut], &input[cut..]]);
        for parts in cuts.chain([input.chunks(1).collect::<Vec<_>>()]) {
            let mut decoder = Decoder::default();
            let mut out = Vec::new();
            let mut used = 0;
            let mut ended = false;
            for part in &parts {
                match decoder.decode(part, &mut out) {
                    Some(octets) => {
                        used += octets;
                        ended = true;
                        break;
                    }
                    None => used += part.len(),
                }
            }
            let body = String::from_utf8_lossy(&out);
            let rest = String::from_utf8_lossy(&input[used..]);
            let got = ended.then_some((&*body, decoder.line_ends().first_bare().is_some(), &*rest));
            assert_eq!(got, expected, "{parts:?}");
        }
    }

    #[test]
    fn sound_bodies() {
        check(".\r\n", Some(("", false, "")));
        check(".\r\nQUIT\r\n", Some(("", false, "QUIT\r\n")));
        check("a\r\n.\r\n", Some(("a\r\n", false, "")));
        check("\r\n.\r\n.\r\n", Some(("\r\n", false, ".\r\n")));
        check("\r\n\r\n.\r\n", Some(("\r\n\r\n", false, "")));
        check("..\r\n.\r\n", Some((".\r\n", false, "")));
        check("..a\r\n...\r\n.\r\n", Some((".a\r\n..\r\n", false, "")));
        check(".a\r\n.\r\n", Some(("a\r\n", false, "")));
        check("a.\r\n.b.\r\n.\r\n", Some(("a.\r\nb.\r\n", false, "")));
        check("a..\r\n..\r\n.\r\nx", Some(("a..\r\n.\r\n", false, "x")));
        check("a\0ü\r\n.\r\n", Some(("a\0ü\r\n", false, "")));
    }

    #[test]
    fn unfinished_bodies() {
        for input in [
            "",
            "a",
            "a\r\n",
            "a\r\n.",
            "a\r\n.\r",
            ".",
            "a.\r\n",
            "a\r\n..\r\n",
        ] {
            check(input, None);
        }
    }

    /// The forms of SMTP smuggling (CVE-2023-51764 and its kin): none ends the body, all are remembered.
    #[test]
    fn smuggling() {
        let forms = [
            "\n.\n",
            "\n.\r\n",
            "\r.\r",
            "\r.\r\n",
            "\r\n.\n",
            "\r\n.\r",
            "\r\n.\r\r\n",
            "\r\r\n.\r\r\n",
            "\n.\r",
            "\r.\n",
            "\r\n.\r.\r\n",
            "\r\n.\n\r\n",
            "\n\n.\n\n",
            "\r\n\0.\n",
        ];
        for form in forms {
            let input = format!("a{form}MAIL FROM:<x>\r\n.\r\nQUIT\r\n");
            let mut decoder = Decoder::default();
            let used = decoder.decode(input.as_bytes(), &mut Vec::new()).unwrap();
            assert_eq!(&input[used..], "QUIT\r\n", "{form:?}");
            assert!(decoder.line_ends().first_bare().is_some(), "{form:?}");
            for split in 0..used {
                let mut split_decoder = Decoder::default();
                let mut out = Vec::new();
                assert_eq!(
                    split_decoder.decode(&input.as_bytes()[..split], &mut out),
                    None
                );
                let rest = split_decoder.decode(&input.as_bytes()[split..], &mut out);
                assert_eq!(rest, Some(used - split), "{form:?} split at {split}");
            }
        }
    }

    /// Body, whether bare, and octets used, by the definition: the end is the first CRLF `.` CRLF, or `.` CRLF at the
    /// very beginning.
    fn by_definition(input: &str) -> Option<(String, bool, usize)> {
        let body_octets = if input.starts_with(".\r\n") {
            0
        } else {
            input.find("\r\n.\r\n")? + 2
        };
        let body = &input[..body_octets];
        let lines = body.split("\r\n");
        let bare = lines.clone().any(|line| line.contains(['\r', '\n']));
        let undotted: Vec<&str> = lines
            .map(|line| line.strip_prefix('.').unwrap_or(line))
            .collect();
        Some((undotted.join("\r\n"), bare, body_octets + 3))
    }

    /// All texts of up to eight bytes that matter, at once and byte by byte.
    #[test]
    fn every_short_input() {
        let alphabet = ['\r', '\n', '.', 'a'];
        for octets in 0..=8 {
            for number in 0..alphabet.len().pow(octets) {
                let digit = |at| alphabet[number / alphabet.len().pow(at) % alphabet.len()];
                let input: String = (0..octets).map(digit).collect();
                let expected = by_definition(&input);
                for piece in [usize::MAX, 1] {
                    let mut decoder = Decoder::default();
                    let mut out = Vec::new();
                    let mut before = 0;
                    let end = input.as_bytes().chunks(piece).find_map(|part| {
                        let used = decoder.decode(part, &mut out);
                        before += part.len();
                        used.map(|used| before - part.len() + used)
                    });
                    let body = String::from_utf8_lossy(&out).into_owned();
                    let got =
                        end.map(|end| (body, decoder.line_ends().first_bare().is_some(), end));
                    assert_eq!(got, expected, "{input:?}");
                }
            }
        }
    }

    #[test]
    fn bare_newlines_pass_unchanged() {
        check("a\nb\r\n.\r\n", Some(("a\nb\r\n", true, "")));
        check("a\rb\r\n.\r\n", Some(("a\rb\r\n", true, "")));
        check("\n.\r\n.\r\n", Some(("\n.\r\n", true, "")));
        check("a\r\r\n.\r\n", Some(("a\r\r\n", true, "")));
        check("\r.\r\n.\r\n", Some(("\r.\r\n", true, "")));
    }

    /// The line of the first one, and what comes out normalized, cut at every point, by DATA and in a chunk.
    #[test]
    fn normalized() {
        for (input, body, line, bare) in [
            ("a\r\nb\r\n", "a\r\nb\r\n", None, 0),
            ("a\nb\r\n", "a\r\nb\r\n", Some(1), 1),
            ("a\r\nb\rc\n\r\n", "a\r\nb\r\nc\r\n\r\n", Some(2), 2),
            ("a\r\n\r\nb\r\r\n", "a\r\n\r\nb\r\n\r\n", Some(3), 1),
            (
                "a\n.\nb\r.\r\nc\r\n",
                "a\r\n.\r\nb\r\n.\r\nc\r\n",
                Some(1),
                3,
            ),
            ("\n.\r\n", "\r\n.\r\n", Some(1), 1),
            ("a\n..b\r\n", "a\r\n..b\r\n", Some(1), 1),
        ] {
            for cut in 0..=input.len() {
                let (first, second) = input.as_bytes().split_at(cut);
                let mut decoder = Decoder::new(true);
                let mut out = Vec::new();
                assert_eq!(decoder.decode(first, &mut out), None, "{input:?}");
                let second_and_end = [second, b".\r\n"].concat();
                let used = decoder.decode(&second_and_end, &mut out);
                assert_eq!(used, Some(second_and_end.len()), "{input:?}");
                assert_eq!(String::from_utf8_lossy(&out), body, "{input:?}");
                let mut passer = Passer::new(true);
                out.clear();
                passer.pass(first, &mut out);
                passer.pass(second, &mut out);
                passer.finish(&mut out);
                assert_eq!(String::from_utf8_lossy(&out), body, "{input:?}");
                for ends in [decoder.line_ends(), passer.line_ends()] {
                    assert_eq!((ends.first_bare(), ends.bare()), (line, bare), "{input:?}");
                }
            }
        }
        let mut out = Vec::new();
        let mut passer = Passer::new(true);
        passer.pass(b"a\r", &mut out);
        passer.finish(&mut out);
        assert_eq!(out, b"a\r\n");
    }

    #[track_caller]
    fn check_encode(body: &str, expected: Result<&str, BareNewline>) {
        for split in 0..=body.len() {
            let mut encoder = Encoder::default();
            let mut out = Vec::new();
            let got = encoder
                .encode(&body.as_bytes()[..split], &mut out)
                .and_then(|()| encoder.encode(&body.as_bytes()[split..], &mut out))
                .and_then(|()| encoder.finish(&mut out))
                .map(|()| String::from_utf8_lossy(&out).into_owned());
            assert_eq!(
                got.as_deref(),
                expected.as_ref().copied(),
                "{body:?} split at {split}"
            );
            let ends_in_crlf = body.is_empty() || body.ends_with("\r\n");
            if got.is_ok() && ends_in_crlf {
                let mut decoded = Vec::new();
                let used = Decoder::default().decode(&out, &mut decoded);
                assert_eq!((used, &*decoded), (Some(out.len()), body.as_bytes()));
            }
        }
    }

    #[test]
    fn encode() {
        check_encode("", Ok(".\r\n"));
        check_encode("a\r\n", Ok("a\r\n.\r\n"));
        check_encode("a", Ok("a\r\n.\r\n"));
        check_encode(".", Ok("..\r\n.\r\n"));
        check_encode(".\r\n", Ok("..\r\n.\r\n"));
        check_encode(
            ".\r\n.\r\n\r\n..a.\r\nb.\r\n",
            Ok("..\r\n..\r\n\r\n...a.\r\nb.\r\n.\r\n"),
        );
        check_encode("\r\n\r\n", Ok("\r\n\r\n.\r\n"));
        check_encode("a\r\n.", Ok("a\r\n..\r\n.\r\n"));
        for bare in [
            "a\nb", "a\rb", "\n", "\r", "a\r", "a\r\r\n", "\r\n.\n", ".\r.\r\n", "a\n.\n",
        ] {
            check_encode(bare, Err(BareNewline));
        }
    }

    #[track_caller]
    fn check_newlines(body: &str, bare: bool) {
        for split in 0..=body.len() {
            let mut passer = Passer::default();
            let mut out = Vec::new();
            passer.pass(&body.as_bytes()[..split], &mut out);
            passer.pass(&body.as_bytes()[split..], &mut out);
            passer.finish(&mut out);
            assert_eq!(out, body.as_bytes(), "split at {split}");
            let saw = passer.line_ends().first_bare().is_some();
            assert_eq!(saw, bare, "{body:?} split at {split}");
        }
    }

    #[test]
    fn chunks_pass_unchanged() {
        for sound in ["", "a", "a\r\n", "\r\n\r\na\r\nb"] {
            check_newlines(sound, false);
        }
        for bare in [
            "\n", "\r", "a\r", "a\nb\r\n", "a\rb\r\n", "\r\r\n", "\r\n\n", "a\r\n\r",
        ] {
            check_newlines(bare, true);
        }
    }
}
