//! The text of a policy (RFC 8461 §3.2), and which hosts it means (§4.1).

use std::fmt;
use std::time::Duration;

use envelope::{Domain, HostPattern};

use crate::record::{BLANK, is_name};

/// What a domain wants of who sends to it. How long it holds is no part of it: domains of one provider that differ in that alone
/// have one policy.
#[derive(Debug, Clone, PartialEq, Eq, Hash)]
pub struct Policy {
    /// How much it wants it.
    pub mode: Mode,
    /// The hosts that take its mail: sorted, none twice.
    pub(crate) mx: Box<[HostPattern]>,
}

envelope::named! {
    /// How a policy is followed.
    pub enum Mode {
        /// Mail goes to these hosts alone, over verified TLS.
        Enforce = "enforce",
        /// Mail goes as it would without the policy, and failures are reported.
        Testing = "testing",
        /// There is no policy any more.
        None = "none",
    }
}

impl Policy {
    /// The longest text that is looked at (§3.3: at least 64 kilobytes).
    pub const OCTETS_MAX: usize = 64 << 10;

    /// The policy that a text is, and how long it holds.
    ///
    /// Lines end with LF or CRLF, the last need not, and may be empty. Names that are not known mean nothing. One that comes again
    /// counts as it came first, but for `mx`. What is none comes back with the reason.
    pub fn parse(text: &[u8]) -> Result<(Self, Duration), String> {
        let missing = |name| format!("`{name}` is missing");
        let wrong = |name| format!("`{name}` has a wrong value");
        let text = std::str::from_utf8(text).ok();
        let text = text.filter(|text| text.len() <= Self::OCTETS_MAX);
        let text = text.ok_or("not a text of at most 64 KiB")?;
        let (mut version, mut mode, mut max_age, mut mx) = (None, None, None, Vec::new());
        for (line, number) in text.split('\n').zip(1..) {
            let line = line.strip_suffix('\r').unwrap_or(line);
            if line.trim_matches(BLANK).is_empty() {
                continue;
            }
            let field = line.split_once(':').filter(|(name, _)| is_name(name));
            let (name, value) =
                field.ok_or_else(|| format!("line {number} is no `name: value`"))?;
            let value = value.trim_matches(BLANK);
            match name {
                "version" => _ = version.get_or_insert(value),
                "mode" => _ = mode.get_or_insert(value),
                "max_age" => _ = max_age.get_or_insert(value),
                "mx" if mx.len() >= MX_MAX => return Err("over 100 `mx`".to_owned()),
                "mx" => {
                    let host = value.parse::<HostPattern>();
                    mx.push(host.map_err(|error| format!("`mx`: {error}"))?);
                }
                _ => {}
            }
        }
        if version.ok_or_else(|| missing("version"))? != "STSv1" {
            return Err(wrong("version"));
        }
        let mode = mode.ok_or_else(|| missing("mode"))?;
        let mode = mode.parse().map_err(|_| wrong("mode"))?;
        let max_age = max_age.ok_or_else(|| missing("max_age"))?;
        let max_age = seconds(max_age).ok_or_else(|| wrong("max_age"))?;
        if mx.is_empty() && mode != Mode::None {
            return Err(missing("mx"));
        }
        Ok((Self::new(mode, mx), max_age))
    }

    pub(crate) fn new(mode: Mode, mut mx: Vec<HostPattern>) -> Self {
        mx.sort();
        mx.dedup();
        let mx = mx.into();
        Self { mode, mx }
    }

    /// Whether this host is one that takes the domain's mail. `*.` stands for one label, as in a certificate (RFC 6125 §6.4.3).
    pub fn allows(&self, host: &Domain) -> bool {
        let above = host.as_str().split_once('.').map(|(_, above)| above);
        self.mx.iter().any(|pattern| match pattern {
            HostPattern::Name(name) => name == host,
            HostPattern::Below(parent) => above == Some(parent.as_str()),
        })
    }

    /// Its hosts, as it names them.
    pub fn mx(&self) -> Vec<String> {
        self.mx.iter().map(ToString::to_string).collect()
    }

    /// Whether deliveries have to keep to it.
    pub fn is_enforced(&self) -> bool {
        self.mode == Mode::Enforce
    }
}

/// `enforce: mx.a.example, *.b.example`.
impl fmt::Display for Policy {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        write!(f, "{}: {}", self.mode, self.mx().join(", "))
    }
}

/// More than a year is taken for a year.
pub(crate) fn seconds(text: &str) -> Option<Duration> {
    let is_number = matches!(text.len(), 1..=10) && text.bytes().all(|b| b.is_ascii_digit());
    let secs: u64 = text.parse().ok().filter(|_| is_number)?;
    Some(Duration::from_secs(secs.min(MAX_AGE_SECS)))
}

const MAX_AGE_SECS: u64 = 31_557_600;
/// The certificate of a host is looked at with each; providers have ten at most.
pub(crate) const MX_MAX: usize = 100;

#[cfg(test)]
mod tests {
    use super::*;

    /// `mode: hosts seconds`, or what is wrong.
    #[track_caller]
    fn check(text: &str, expected: &str) {
        let got = match Policy::parse(text.as_bytes()) {
            Ok((policy, max_age)) => {
                format!("{policy} {}", max_age.as_secs())
            }
            Err(error) => error,
        };
        assert_eq!(got, expected, "{text:?}");
    }

    #[test]
    fn policies() {
        let usual = "version: STSv1\r\nmode: enforce\r\nmx: mail.a.example\r\nmx: *.b.example\r\nmax_age: 604800\r\n";
        let read = "enforce: mail.a.example, *.b.example 604800";
        check(usual, read);
        check(&usual.replace("\r\n", "\n"), read);
        check(usual.trim_end(), read);
        check(&usual.replace(": ", ":"), read);
        check(&usual.replace(": ", ": \t "), read);
        check(&usual.replace("\r\n", " \t\r\n"), read);
        check(&usual.replace("\r\n", "\r\n\r\n"), read);
        check(
            &usual.replace("mode", "MX: x\nnew-field.1_: a: b c\nmode"),
            read,
        );
        check(&usual.replace("mail.a", "MAIL.A"), read);
        check(&format!("{usual}{usual}"), read);
        check(
            &format!("{usual}mode: none\nmax_age: 1\nversion: 2\n"),
            read,
        );
        check("max_age: 0\nmode: none\nversion: STSv1", "none:  0");
        check(
            "max_age: 99999999\nmode: none\nversion: STSv1",
            "none:  31557600",
        );
        check(
            "max_age: 86400\nmx: *.example\nmode: testing\nversion: STSv1",
            "testing: *.example 86400",
        );
    }

    #[test]
    fn no_policies() {
        let with = |field: &str| format!("version: STSv1\nmode: enforce\nmax_age: 1\n{field}\n");
        check("", "`version` is missing");
        check(
            "version: STSv2\nmode: none\nmax_age: 1",
            "`version` has a wrong value",
        );
        check(
            "version: STSv1\nmode: Enforce\nmax_age: 1",
            "`mode` has a wrong value",
        );
        check("version: STSv1\nmode: none", "`max_age` is missing");
        for age in ["", "-1", "+1", "1h", "1e3", "12345678901"] {
            check(
                &format!("version: STSv1\nmode: none\nmax_age: {age}"),
                "`max_age` has a wrong value",
            );
        }
        check("version: STSv1\nmax_age: 1", "`mode` is missing");
        check(&with(""), "`mx` is missing");
        for mx in [
            "",
            "*",
            "*.",
            "a.*.example",
            "*a.example",
            "a b",
            "192.0.2.1/8",
        ] {
            let error = format!("`mx`: `{mx}` is not a host name, or `*.` before one");
            check(&with(&format!("mx: {mx}")), &error);
        }
        check(&with("<html>"), "line 4 is no `name: value`");
        check(&with("mx : a.example"), "line 4 is no `name: value`");
        check(&with("\u{feff}mx: a.example"), "line 4 is no `name: value`");
        check(&with(&"mx: a.example\n".repeat(101)), "over 100 `mx`");
        check(
            &"\n".repeat(Policy::OCTETS_MAX + 1),
            "not a text of at most 64 KiB",
        );
        assert!(Policy::parse(b"\xff").is_err());
    }

    #[test]
    fn hosts() {
        let check = |mx: &str, host: &str, expected| {
            let policy = Policy::new(Mode::Enforce, vec![mx.parse().unwrap()]);
            assert_eq!(
                policy.allows(&host.parse().unwrap()),
                expected,
                "{mx} {host}"
            );
        };
        check("mx.a.example", "MX.a.example", true);
        check("mx.a.example", "mx.a.example.", true);
        check("mx.a.example", "a.mx.a.example", false);
        check("*.a.example", "mx.a.example", true);
        check("*.A.example", "mx.a.example", true);
        check("*.a.example", "a.example", false);
        check("*.a.example", "b.mx.a.example", false);
        check("*.a.example", "mxa.example", false);
        check("*.example", "a.example", true);
    }
}
