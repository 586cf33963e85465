//! The fields that say what was checked: Authentication-Results (RFC 8601) and Received-SPF (RFC 7208 §9.1); and whose such
//! a field claims to be.
//!
//! Much of what they name was written by a stranger. It is cut to a bounded length and to printable ASCII, and quoted unless it
//! is a plain word or address, so that it can neither end the field nor look like another result.

use std::borrow::Cow;
use std::fmt::{self, Write as _};
use std::net::IpAddr;

use envelope::Domain;

use crate::{Chain, Dmarc, Results, Signed};

/// What one method said (RFC 8601 §2.7).
#[derive(Debug, Clone)]
pub struct Checked<'a> {
    /// `spf`, `dkim`, `dmarc`, `arc`, `iprev`, `auth`.
    pub method: &'static str,
    /// `pass`, `fail`, `temperror` …
    pub result: &'static str,
    /// Why, for people; may be empty.
    pub reason: Cow<'a, str>,
    /// What the method looked at, as `header.d` and its value.
    pub properties: Vec<(&'static str, Cow<'a, str>)>,
}

/// How SPF was evaluated: what a Received-SPF field says.
#[derive(Debug, Clone, Copy)]
pub struct SpfFacts<'a> {
    /// `pass`, `fail`, `softfail`, `neutral`, `none`, `temperror`, `permerror`.
    pub result: &'static str,
    /// Whether the name of HELO was checked, and not the reverse path.
    pub of_hello: bool,
    /// The client.
    pub client: IpAddr,
    /// What it said in EHLO or HELO.
    pub hello: &'a str,
    /// The reverse path; empty for a null one.
    pub mail_from: &'a str,
    /// What is wrong with the record, or which mechanism matched; may be empty.
    pub reason: &'a str,
}

impl<'a> Checked<'a> {
    /// A result without reason and properties.
    pub fn new(method: &'static str, result: &'static str) -> Self {
        Self {
            method,
            result,
            reason: Cow::Borrowed(""),
            properties: Vec::new(),
        }
    }

    /// With this reason.
    #[must_use]
    pub fn because(mut self, reason: impl Into<Cow<'a, str>>) -> Self {
        self.reason = reason.into();
        self
    }

    /// With one property more.
    #[must_use]
    pub fn with(mut self, property: &'static str, value: impl Into<Cow<'a, str>>) -> Self {
        self.properties.push((property, value.into()));
        self
    }

    /// The client's address and its name belong together (RFC 8601 §2.7.3).
    pub fn iprev(client: IpAddr) -> Self {
        let client = client.to_canonical().to_string();
        Self::new("iprev", "pass").with("policy.iprev", client)
    }
}

impl<'a> From<SpfFacts<'a>> for Checked<'a> {
    fn from(spf: SpfFacts<'a>) -> Self {
        let (property, value) = match spf.of_hello {
            true => ("smtp.helo", spf.hello),
            // An address that is cut short would be another one; its domain is what was checked.
            false if spf.mail_from.len() > VALUE_OCTETS_MAX => {
                let at = spf.mail_from.rfind('@').unwrap_or(0);
                ("smtp.mailfrom", &spf.mail_from[at..])
            }
            false => ("smtp.mailfrom", spf.mail_from),
        };
        let checked = Self::new("spf", spf.result).because(spf.reason);
        checked.with(property, value)
    }
}

impl<'a> From<&'a Signed> for Checked<'a> {
    fn from(signed: &'a Signed) -> Self {
        let reason = match signed.is_test {
            true if signed.reason.is_empty() => "the key is being tested",
            _ => signed.reason,
        };
        let domain = signed.domain.iter();
        let domain = domain.map(|domain| ("header.d", domain.as_str()));
        let others = [
            ("header.s", &*signed.selector),
            ("header.a", signed.algorithm),
            ("header.b", &signed.signature),
        ];
        let others = others.into_iter().filter(|(_, value)| !value.is_empty());
        Self {
            method: "dkim",
            result: signed.verdict.name(),
            reason: reason.into(),
            properties: domain
                .chain(others)
                .map(|(name, value)| (name, value.into()))
                .collect(),
        }
    }
}

impl<'a> From<&'a Dmarc> for Checked<'a> {
    fn from(dmarc: &'a Dmarc) -> Self {
        let mut checked = Self::new("dmarc", dmarc.verdict.name()).because(dmarc.reason);
        if let Some(from) = &dmarc.from {
            checked = checked.with("header.from", from.as_str());
        }
        match &dmarc.owner {
            Some(_) => checked.with("policy.dmarc", dmarc.policy.name()),
            None => checked,
        }
    }
}

impl Results {
    /// What there is to say of them, for the fields. The client is whose message it was.
    pub fn checked(&self, client: IpAddr) -> Vec<Checked<'_>> {
        let mut all: Vec<_> = self.dkim.iter().map(Checked::from).collect();
        if all.is_empty() {
            all.push(Checked::new("dkim", "none"));
        }
        all.push(Checked::from(&self.dmarc));
        let Chain {
            verdict, reason, ..
        } = &self.arc;
        let arc = Checked::new("arc", verdict.name()).because(*reason);
        // RFC 8617 §10.2.
        all.push(arc.with("smtp.remote-ip", client.to_canonical().to_string()));
        all
    }
}

/// The Authentication-Results field of `hostname`, folded, with its CRLF.
pub fn field(hostname: &Domain, checked: &[Checked<'_>]) -> String {
    format!("Authentication-Results: {}\r\n", value(hostname, checked))
}

/// What stands behind the field's name; also what an ARC set keeps (RFC 8617 §4.1.1).
pub(crate) fn value(hostname: &Domain, checked: &[Checked<'_>]) -> String {
    let mut out = String::with_capacity(VALUE_OCTETS_USUAL);
    out.push_str(hostname.as_str());
    if checked.is_empty() {
        out.push_str("; none");
    }
    for one in checked {
        out.push_str(";\r\n\t");
        let _ = write!(out, "{}={}", one.method, one.result);
        if !one.reason.is_empty() {
            word(&mut out, format_args!("reason={}", quoted(&one.reason)));
        }
        for (name, value) in &one.properties {
            word(&mut out, format_args!("{name}={}", plain(value)));
        }
    }
    out
}

/// The Received-SPF field of `hostname`, folded, with its CRLF.
pub fn received_spf(hostname: &Domain, spf: &SpfFacts<'_>) -> String {
    let client = spf.client.to_canonical();
    let identity = if spf.of_hello { "helo" } else { "mailfrom" };
    let mut out = format!("Received-SPF: {}", spf.result);
    word(&mut out, format_args!("receiver={hostname};"));
    word(&mut out, format_args!("client-ip={client};"));
    let (sender, hello) = (quoted(spf.mail_from), quoted(spf.hello));
    word(&mut out, format_args!("envelope-from={sender};"));
    word(&mut out, format_args!("helo={hello};"));
    word(&mut out, format_args!("identity={identity};"));
    if !spf.reason.is_empty() {
        word(&mut out, format_args!("problem={};", quoted(spf.reason)));
    }
    out + "\r\n"
}

/// Whether this field, or the start of one that is longer than [`CLAIM_OCTETS_MAX`], claims to be an Authentication-Results
/// of `hostname`: then it is taken out before ours goes on top (RFC 8601 §5).
///
/// What matters is what a reader behind us could take it for, and readers differ. So it is ours if our name stands anywhere
/// before the first result, be it in a comment or in quotes, and if it cannot be told.
pub fn is_ours(field: &[u8], hostname: &Domain) -> bool {
    let Some(colon) = field.iter().position(|b| *b == b':') else {
        return false;
    };
    let (name, value) = field.split_at(colon);
    let name = name.iter().filter(|b| b.is_ascii_graphic());
    if !name.map(u8::to_ascii_lowercase).eq(NAME.bytes()) {
        return false;
    }
    // Some readers pass over control characters, and some do not know quoted pairs.
    let value = String::from_utf8_lossy(&value[1..]);
    let value = value.replace(|c: char| c.is_control() && !c.is_whitespace(), "");
    let ends = claim_end(&value, true).zip(claim_end(&value, false));
    let end = ends.map(|(one, other)| one.max(other));
    let cut = end.is_none() && field.len() >= CLAIM_OCTETS_MAX;
    let claim = value[..end.unwrap_or(value.len())].replace('\\', "");
    let of_name = |c: char| c.is_alphanumeric() || !c.is_ascii() || matches!(c, '-' | '_' | '.');
    let mut names = claim.split(|c| !of_name(c));
    // No name needs RFC 2047's encoding; a reader that decodes it could find ours.
    cut || claim.contains("=?")
        || names.any(|name| name.parse().is_ok_and(|name: Domain| name == *hostname))
}

/// Where the first result begins: at a semicolon that is in no comment and in no quotes. Without one, as when a comment does not
/// end, it cannot be told.
fn claim_end(value: &str, quoted_pairs: bool) -> Option<usize> {
    let (mut depth, mut in_quotes, mut is_quoted) = (0_usize, false, false);
    value.bytes().position(|b| {
        if std::mem::take(&mut is_quoted) {
            return false;
        }
        match b {
            b'\\' => is_quoted = quoted_pairs,
            b'"' if depth == 0 => in_quotes = !in_quotes,
            b'(' if !in_quotes => depth += 1,
            b')' if !in_quotes => depth = depth.saturating_sub(1),
            b';' => return depth == 0 && !in_quotes,
            _ => {}
        }
        false
    })
}

/// Appends a word behind a space, or on a new line where the line would be too long.
fn word(out: &mut String, word: fmt::Arguments<'_>) {
    let (line, space) = (out.rfind('\n').map_or(0, |at| at + 1), out.len());
    // Writing to a String does not fail.
    let _ = write!(out, " {word}");
    if out.len() - line > LINE_OCTETS_GOOD {
        out.replace_range(space..=space, "\r\n\t");
    }
}

/// A value as it is, if it is a token or an address of the usual form (RFC 8601 §2.2); otherwise in quotes.
fn plain(value: &str) -> Cow<'_, str> {
    let is_word = |text: &str, also: &str| {
        let of_word = |c: char| c.is_ascii_alphanumeric() || "!#$%&'*+-.^_`{|}~".contains(c);
        text.chars().all(|c| of_word(c) || also.contains(c))
    };
    let is_plain = match value.rsplit_once('@') {
        // What SRS makes has `=` in it.
        Some((local, domain)) => is_word(local, "=") && is_word(domain, ""),
        None => is_word(value, ""),
    };
    match is_plain && !value.is_empty() && value.len() <= VALUE_OCTETS_MAX {
        true => Cow::Borrowed(value),
        false => Cow::Owned(quoted(value)),
    }
}

/// In quotes: printable ASCII, `?` for all else, at most [`VALUE_OCTETS_MAX`] of them.
fn quoted(value: &str) -> String {
    let mut out = String::from('"');
    for c in value.chars().take(VALUE_OCTETS_MAX) {
        match c {
            '"' | '\\' => out.extend(['\\', c]),
            ' '..='~' => out.push(c),
            _ => out.push('?'),
        }
    }
    out + "\""
}

/// So much of a field must be seen to tell whose it is.
pub const CLAIM_OCTETS_MAX: usize = 4096;
const NAME: &str = "authentication-results";
/// A domain, and the longest address that is no oddity. Quoted it is still far below the 998 of a line.
const VALUE_OCTETS_MAX: usize = 320;
/// Room for the results of one signature.
const VALUE_OCTETS_USUAL: usize = 512;
/// RFC 5322 §2.1.1.
const LINE_OCTETS_GOOD: usize = 78;

#[cfg(test)]
mod tests {
    use std::sync::LazyLock;

    use envelope::DmarcPolicy;

    use super::*;
    use crate::Verdict;

    static HOST: LazyLock<Domain> = LazyLock::new(|| "mx1.example.net".parse().unwrap());
    const CLIENT: IpAddr = IpAddr::V4(std::net::Ipv4Addr::new(192, 0, 2, 1));
    const SPF: SpfFacts<'static> = SpfFacts {
        result: "pass",
        of_hello: false,
        client: CLIENT,
        hello: "out.example.org",
        mail_from: "a@example.org",
        reason: "",
    };

    #[track_caller]
    fn check(checked: &[Checked<'_>], expected: &str) {
        let field = field(&HOST, checked);
        let expected = format!("Authentication-Results: mx1.example.net{expected}\r\n");
        assert_eq!(field, expected);
    }

    #[test]
    fn fields() {
        check(&[], "; none");
        check(&[SPF.into()], ";\r\n\tspf=pass smtp.mailfrom=a@example.org");
        let hello = SpfFacts {
            of_hello: true,
            ..SPF
        };
        check(&[hello.into()], ";\r\n\tspf=pass smtp.helo=out.example.org");
        let dkim = Checked::new("dkim", "fail")
            .because("body hash did not verify")
            .with("header.d", "example.org")
            .with("header.s", "2026")
            .with("header.b", "ab/d+e==");
        check(
            &[Checked::iprev(CLIENT), dkim],
            ";\r\n\tiprev=pass policy.iprev=192.0.2.1;\r\n\tdkim=fail reason=\"body hash did not verify\" header.d=example.org\r\n\theader.s=2026 header.b=\"ab/d+e==\"",
        );
    }

    #[test]
    fn results_of_a_message() {
        let signed = Signed {
            verdict: Verdict::Pass,
            reason: "",
            domain: "example.org".parse().ok(),
            selector: "s; dkim=pass".into(),
            algorithm: "rsa-sha256",
            signature: "abcdefgh".into(),
            is_test: true,
        };
        let results = Results {
            dkim: vec![signed],
            arc: Chain {
                verdict: Verdict::None,
                reason: "",
                instance: 0,
                domain: None,
                is_closed: false,
            },
            dmarc: Dmarc {
                verdict: Verdict::Fail,
                reason: "no identifier is aligned",
                from: "example.com".parse().ok(),
                policy: DmarcPolicy::Reject,
                owner: "example.com".parse().ok(),
            },
        };
        check(
            &results.checked(CLIENT),
            ";\r\n\tdkim=pass reason=\"the key is being tested\" header.d=example.org\r\n\theader.s=\"s; dkim=pass\" header.a=rsa-sha256 header.b=abcdefgh;\r\n\tdmarc=fail reason=\"no identifier is aligned\" header.from=example.com\r\n\tpolicy.dmarc=reject;\r\n\tarc=none smtp.remote-ip=192.0.2.1",
        );
    }

    #[track_caller]
    fn check_value(value: &str, expected: &str) {
        assert_eq!(plain(value), expected);
    }

    #[test]
    fn values_cannot_break_out() {
        check_value("", "\"\"");
        check_value(
            "SRS0=abcd=5a=b.example=joe@fwd.example",
            "SRS0=abcd=5a=b.example=joe@fwd.example",
        );
        check_value("@example.org", "@example.org");
        check_value("2001:db8::1", "\"2001:db8::1\"");
        check_value("a; dkim=pass@example.org", "\"a; dkim=pass@example.org\"");
        check_value(
            "\"a\\\"b\"@example.org",
            "\"\\\"a\\\\\\\"b\\\"@example.org\"",
        );
        check_value("(x)\r\nBcc: a\0", "\"(x)??Bcc: a?\"");
        check_value("jörg@example.org", "\"j?rg@example.org\"");
        check_value("a@b@c", "\"a@b@c\"");
    }

    #[test]
    fn lines_are_bounded() {
        let long = "\"".repeat(10_000);
        let mail_from = format!("{long}@example.org");
        let spf = SpfFacts {
            result: "permerror",
            hello: &long,
            mail_from: &mail_from,
            reason: &long,
            ..SPF
        };
        let all = [field(&HOST, &[spf.into()]), received_spf(&HOST, &spf)];
        for field in all {
            assert!(field.lines().all(|line| line.len() < 998), "{field}");
        }
        let field = field(&HOST, &[spf.into()]);
        assert!(
            field.ends_with("\r\n\tsmtp.mailfrom=@example.org\r\n"),
            "{field}"
        );
    }

    #[test]
    fn received_spf_fields() {
        assert_eq!(
            received_spf(&HOST, &SPF),
            "Received-SPF: pass receiver=mx1.example.net; client-ip=192.0.2.1;\r\n\tenvelope-from=\"a@example.org\"; helo=\"out.example.org\"; identity=mailfrom;\r\n"
        );
    }

    #[track_caller]
    fn check_claim(field: &str, expected: bool) {
        assert_eq!(is_ours(field.as_bytes(), &HOST), expected, "{field:?}");
    }

    #[test]
    fn claims_of_ours() {
        for value in [
            "mx1.example.net; spf=pass",
            "MX1.Example.NET.; spf=pass",
            "mx1.example.net 1; spf=pass",
            "mx1.example.net",
            "\r\n\tmx1.example.net\r\n ; spf=pass",
            "(a (b;) \\) c) mx1.example.net (d); spf=pass",
            "\"mx1.example.net\"; spf=pass",
            "\"mx1\\.example.net\"; spf=pass",
            "(\\); spf=pass) mx1.example.net; spf=pass",
            "(\\() mx1.example.net; spf=pass",
            "mx1.exam\0ple.net; spf=pass",
            "mx1.example.net/1; spf=pass",
            "(mx1.example.net); spf=pass",
            "mx9.example (mx1.example.net; spf=pass",
            "=?utf-8?b?bXgx?=; spf=pass",
        ] {
            check_claim(&format!("Authentication-Results: {value}\r\n"), true);
        }
        check_claim("AUTHENTICATION-results : mx1.example.net; none", true);
        check_claim("Authentication\0-Results\t:mx1.example.net; none", true);
        let padded = format!("Authentication-Results: ({}", "x".repeat(CLAIM_OCTETS_MAX));
        check_claim(&padded, true);
    }

    #[test]
    fn claims_of_others() {
        for field in [
            "Authentication-Results: mx9.example; spf=pass smtp.helo=mx1.example.net",
            "Authentication-Results: mx1.example.net.other.example; spf=pass",
            "Authentication-Results: amx1.example.net; none",
            "Authentication-Results: example.net; none",
            "ARC-Authentication-Results: i=1; mx1.example.net; spf=pass",
            "X-Authentication-Results: mx1.example.net; spf=pass",
            "Authentication-Results mx1.example.net",
            "Authentication-Results:",
            "Subject: mx1.example.net",
        ] {
            check_claim(field, false);
        }
    }
}
