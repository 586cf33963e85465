//! Macro strings (RFC 7208 §7): their syntax. What a macro stands for is in `expand.rs`.

use crate::SyntaxError;

/// A text with macros whose syntax was checked.
#[derive(Debug)]
pub(crate) struct MacroString(Box<str>);

/// A piece of it.
#[derive(Debug, PartialEq, Eq)]
pub(crate) enum Part<'a> {
    Literal(&'a str),
    Macro(Macro<'a>),
}

/// `%{` letter, digits, `r`, delimiters `}`.
#[derive(Debug, PartialEq, Eq)]
pub(crate) struct Macro<'a> {
    /// In lower case.
    pub(crate) letter: u8,
    /// Written in upper case: escaped as in a URL.
    pub(crate) is_escaped: bool,
    /// How many parts are kept, from the right.
    pub(crate) keep: Option<usize>,
    pub(crate) is_reversed: bool,
    /// Empty: a dot.
    pub(crate) delimiters: &'a str,
}

impl Macro<'_> {
    /// Whether it stands for the domain of the record, whole.
    pub(crate) fn is_plain_domain(&self) -> bool {
        let is_whole = self.keep.is_none() && !self.is_reversed && self.delimiters.is_empty();
        self.letter == b'd' && is_whole && !self.is_escaped
    }
}

impl MacroString {
    /// A domain-spec: ends in a macro, or in a dot and a top-level label; macros that are for explanations only are not allowed.
    pub(crate) fn domain_spec(text: &str) -> Result<Self, SyntaxError> {
        check(text, DOMAIN_LETTERS)?;
        // What `%%`, `%_` and `%-` stand for begins as no other literal does.
        let end = match Parts(text).last() {
            Some(Ok(Part::Literal(end))) if !end.starts_with(['%', ' ']) => end,
            _ => return Ok(Self(text.into())),
        };
        let end = end.strip_suffix('.').unwrap_or(end);
        let (_, top) = end.rsplit_once('.').ok_or(SyntaxError::BadDomain)?;
        if !top.is_empty() && top.bytes().all(|b| b.is_ascii_digit()) {
            return Err(SyntaxError::NumericDomain);
        }
        if !is_toplabel(top) {
            return Err(SyntaxError::BadDomain);
        }
        Ok(Self(text.into()))
    }

    /// An explanation: anything printable, and every macro.
    pub(crate) fn explanation(text: &[u8]) -> Result<Self, SyntaxError> {
        let text = printable(text)?;
        check(text, ALL_LETTERS)?;
        Ok(Self(text.into()))
    }

    pub(crate) fn parts(&self) -> impl Iterator<Item = Part<'_>> {
        Parts(&self.0).filter_map(Result::ok)
    }
}

/// The value of a modifier that nobody knows: only its syntax counts.
pub(crate) fn check_any(text: &str) -> Result<(), SyntaxError> {
    check(text, ALL_LETTERS)
}

/// SPF is ASCII without control characters.
pub(crate) fn printable(text: &[u8]) -> Result<&str, SyntaxError> {
    match text.iter().find(|b| !(b' '..=b'~').contains(b)) {
        Some(octet) => Err(SyntaxError::BadOctet(*octet)),
        None => std::str::from_utf8(text).map_err(|_| SyntaxError::BadDomain),
    }
}

fn check(text: &str, letters: &[u8]) -> Result<(), SyntaxError> {
    let mut macros = 0;
    Parts(text).try_for_each(|part| match part? {
        Part::Macro(found) if !letters.contains(&found.letter) => Err(SyntaxError::BadMacro),
        Part::Macro(_) if macros == MACROS_MAX => Err(SyntaxError::TooManyMacros),
        Part::Macro(_) => {
            macros += 1;
            Ok(())
        }
        Part::Literal(_) => Ok(()),
    })
}

/// Letters, digits and inner hyphens (RFC 7208 §7.1).
fn is_toplabel(text: &str) -> bool {
    !text.is_empty()
        && text.bytes().all(|b| b.is_ascii_alphanumeric() || b == b'-')
        && !text.starts_with('-')
        && !text.ends_with('-')
}

/// What is left to read.
struct Parts<'a>(&'a str);

impl<'a> Iterator for Parts<'a> {
    type Item = Result<Part<'a>, SyntaxError>;

    fn next(&mut self) -> Option<Self::Item> {
        let text = self.0;
        let at = text.find('%').unwrap_or(text.len());
        if at > 0 {
            self.0 = &text[at..];
            return Some(Ok(Part::Literal(&text[..at])));
        }
        if text.is_empty() {
            return None;
        }
        let (part, rest) = match text.as_bytes().get(1) {
            Some(b'%') => (Ok(Part::Literal("%")), &text[2..]),
            Some(b'_') => (Ok(Part::Literal(" ")), &text[2..]),
            Some(b'-') => (Ok(Part::Literal("%20")), &text[2..]),
            Some(b'{') => match text[2..].split_once('}') {
                Some((inside, rest)) => (read_macro(inside).map(Part::Macro), rest),
                None => (Err(SyntaxError::BadMacro), ""),
            },
            _ => (Err(SyntaxError::BadMacro), ""),
        };
        self.0 = rest;
        Some(part)
    }
}

fn read_macro(inside: &str) -> Result<Macro<'_>, SyntaxError> {
    let letter = inside.bytes().next().filter(u8::is_ascii_alphabetic);
    let letter = letter.ok_or(SyntaxError::BadMacro)?;
    let rest = &inside[1..];
    let delimiters = rest.trim_start_matches(|c: char| c.is_ascii_digit());
    let digits = &rest[..rest.len() - delimiters.len()];
    let (is_reversed, delimiters) = match delimiters.strip_prefix(['r', 'R']) {
        Some(rest) => (true, rest),
        None => (false, delimiters),
    };
    // Over what a usize holds is more parts than there are. None at all makes no sense (§7.3).
    let keep = (!digits.is_empty()).then(|| digits.parse().unwrap_or(usize::MAX));
    if keep == Some(0) || !delimiters.bytes().all(|b| b".-+,/_=".contains(&b)) {
        return Err(SyntaxError::BadMacro);
    }
    Ok(Macro {
        letter: letter.to_ascii_lowercase(),
        is_escaped: letter.is_ascii_uppercase(),
        keep,
        is_reversed,
        delimiters,
    })
}

const DOMAIN_LETTERS: &[u8] = b"slodiphv";
const ALL_LETTERS: &[u8] = b"slodiphvcrt";
/// More than any name or sentence needs: each may look the names of the client through.
const MACROS_MAX: usize = 64;
