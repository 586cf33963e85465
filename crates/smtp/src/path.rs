//! Paths as they stand in MAIL and RCPT (RFC 5321 §4.1.2): `<a@b>`, `<>`, `<Postmaster>`, `<@relay,@relay:a@b>`.
//!
//! The brackets may be missing here: who may leave them out is the session's business.
//!
//! A source route is checked for its form and then ignored (RFC 5321 §3.3, appendix C). What an address may be is
//! known by `envelope`; this file only finds where it begins and ends.

use envelope::{AddressError, Domain, ForwardPath, Mailbox, ReversePath};

/// Why a text does not begin with a path.
#[derive(Debug, Clone, Copy, PartialEq, Eq, thiserror::Error)]
pub enum PathError {
    /// No angle brackets round it, or something other than a blank behind it.
    #[error("not of the form <local-part@domain>")]
    NotAPath,
    /// A source route that is not `@domain,@domain:`.
    #[error("source route is not of the form @domain,@domain:")]
    BadRoute,
    /// What is in the brackets is not an address.
    #[error(transparent)]
    Address(#[from] AddressError),
}

/// Reads the argument of `MAIL FROM:`; gives what lies behind the path too.
pub fn parse_reverse(text: &str) -> Result<(ReversePath, &str), PathError> {
    let (inner, rest) = split_path(text)?;
    if inner.is_empty() {
        return Ok((ReversePath::Null, rest));
    }
    Ok((ReversePath::Mailbox(parse_mailbox(inner)?), rest))
}

/// Reads the argument of `RCPT TO:`; gives what lies behind the path too.
pub fn parse_forward(text: &str) -> Result<(ForwardPath, &str), PathError> {
    let (inner, rest) = split_path(text)?;
    if inner.eq_ignore_ascii_case("postmaster") {
        return Ok((ForwardPath::Postmaster, rest));
    }
    Ok((ForwardPath::Mailbox(parse_mailbox(inner)?), rest))
}

/// Reads what is between the angle brackets, with or without a source route.
pub fn parse_mailbox(inner: &str) -> Result<Mailbox, PathError> {
    if !inner.starts_with('@') {
        return Ok(inner.parse()?);
    }
    let (route, mailbox) = inner.split_once(':').ok_or(PathError::BadRoute)?;
    for hop in route.split(',') {
        let domain = hop.strip_prefix('@').ok_or(PathError::BadRoute)?;
        domain.parse::<Domain>().map_err(|_| PathError::BadRoute)?;
    }
    Ok(mailbox.parse()?)
}

/// Finds the closing bracket, or without brackets the next blank; one in a quoted local part does not count.
fn split_path(text: &str) -> Result<(&str, &str), PathError> {
    let Some(inner) = text.strip_prefix('<') else {
        let end = find_unquoted(text, b' ').unwrap_or(text.len());
        return match text.split_at(end) {
            ("", _) => Err(PathError::NotAPath),
            path => Ok(path),
        };
    };
    let end = find_unquoted(inner, b'>').ok_or(PathError::NotAPath)?;
    let (inner, rest) = (&inner[..end], &inner[end + 1..]);
    if rest.is_empty() || rest.starts_with(' ') {
        Ok((inner, rest))
    } else {
        Err(PathError::NotAPath)
    }
}

fn find_unquoted(text: &str, sought: u8) -> Option<usize> {
    let mut quoted = false;
    let mut escaped = false;
    for (at, byte) in text.bytes().enumerate() {
        match byte {
            _ if escaped => escaped = false,
            b'\\' if quoted => escaped = true,
            b'"' => quoted = !quoted,
            _ if byte == sought && !quoted => return Some(at),
            _ => {}
        }
    }
    None
}

#[cfg(test)]
mod tests {
    use envelope::DomainError;

    use super::*;

    /// The path as written out again and the rest, or the error.
    #[track_caller]
    fn check(input: &str, expected: Result<(&str, &str), PathError>) {
        let got = parse_forward(input).map(|(path, rest)| (path.to_string(), rest));
        let got = got.as_ref().map(|(path, rest)| (path.as_str(), *rest));
        assert_eq!(got.map_err(|error| *error), expected, "{input:?}");
    }

    #[test]
    fn forward_paths() {
        check("<a@b.c>", Ok(("<a@b.c>", "")));
        check("<a@b.c> NOTIFY=NEVER", Ok(("<a@b.c>", " NOTIFY=NEVER")));
        check("<PostMaster>", Ok(("<postmaster>", "")));
        check("<Postmaster@b.c>", Ok(("<Postmaster@b.c>", "")));
        check("<@x.y,@z.w:a@b.c>", Ok(("<a@b.c>", "")));
        check("<@x.y:\"a:b\"@b.c>", Ok(("<\"a:b\"@b.c>", "")));
        check("<\"a>b\"@b.c> X", Ok(("<\"a>b\"@b.c>", " X")));
        check("<\"a\\\">b\"@b.c>", Ok(("<\"a\\\">b\"@b.c>", "")));
        check("<a@[192.0.2.1]>", Ok(("<a@[192.0.2.1]>", "")));
        check("<a@[IPv6:::1]>", Ok(("<a@[IPv6:::1]>", "")));
        check("<ü@b.c>", Ok(("<ü@b.c>", "")));
    }

    #[test]
    fn without_brackets() {
        check("a@b.c", Ok(("<a@b.c>", "")));
        check("a@b.c NOTIFY=NEVER", Ok(("<a@b.c>", " NOTIFY=NEVER")));
        check("\"a b\"@b.c X", Ok(("<\"a b\"@b.c>", " X")));
        check("postmaster", Ok(("<postmaster>", "")));
        let bad_host = DomainError::BadCharacter;
        let bad_host = Err(PathError::Address(AddressError::Domain(bad_host)));
        check("a@b.c>", bad_host);
    }

    #[test]
    fn what_is_no_path() {
        for input in [
            "",
            "<a@b.c",
            "<a@b.c>X",
            "<\"a@b.c>",
            "<a@b.c>\tX",
            " a@b.c",
            "<\"a\\\"@b.c>",
        ] {
            check(input, Err(PathError::NotAPath));
        }
        for input in [
            "<@x.y>",
            "<@x.y,z.w:a@b.c>",
            "<@:a@b.c>",
            "<@x y:a@b.c>",
            "<@x.y,:a@b.c>",
        ] {
            check(input, Err(PathError::BadRoute));
        }
        check("<>", Err(PathError::Address(AddressError::NotAnAddress)));
        check(
            "<@x.y:>",
            Err(PathError::Address(AddressError::NotAnAddress)),
        );
        check(
            "<a b@c.d>",
            Err(PathError::Address(AddressError::BadLocalPart)),
        );
        check("<<a@b.c>>", Err(PathError::NotAPath));
        check(
            "<<a@b.c>",
            Err(PathError::Address(AddressError::BadLocalPart)),
        );
    }

    #[test]
    fn reverse_paths() {
        assert_eq!(parse_reverse("<> X"), Ok((ReversePath::Null, " X")));
        assert!(parse_reverse("<@a.b:c@d.e>").is_ok_and(|(path, _)| path.to_string() == "<c@d.e>"));
        assert!(parse_reverse("<postmaster>").is_err());
    }
}
