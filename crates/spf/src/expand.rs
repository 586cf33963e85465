//! What a macro stands for (RFC 7208 §7.2, §7.3).

use std::fmt::Write;
use std::net::IpAddr;

use crate::Problem;
use crate::macros::{Macro, MacroString, Part};
use crate::run::{Run, Stop, is_within};

impl Run<'_> {
    /// The text with its macros filled in, for the record of `domain`.
    pub(crate) fn expand(&self, text: &MacroString, domain: &str) -> Result<String, Stop> {
        let mut expanded = String::new();
        for part in text.parts() {
            match part {
                Part::Literal(literal) => expanded.push_str(literal),
                Part::Macro(wanted) => {
                    let value = transform(self.value(wanted.letter, domain)?, &wanted);
                    if wanted.is_escaped {
                        push_escaped(&mut expanded, &value);
                    } else {
                        expanded.push_str(&value);
                    }
                }
            }
            if expanded.len() > EXPANDED_OCTETS_MAX {
                return Err(Stop::Problem(Problem::TooLong));
            }
        }
        Ok(expanded)
    }

    fn value(&self, letter: u8, domain: &str) -> Result<String, Stop> {
        let query = self.query;
        Ok(match letter {
            b's' => format!("{}@{}", query.local, query.domain),
            b'l' => query.local.clone(),
            b'o' => query.domain.clone(),
            b'd' => domain.to_owned(),
            b'i' => dotted(query.ip),
            b'p' => self.client_name(domain)?.to_owned(),
            b'v' if query.ip.is_ipv4() => "in-addr".to_owned(),
            b'v' => "ip6".to_owned(),
            b'h' => query.helo.clone(),
            b'c' => query.ip.to_string(),
            b'r' => query.receiver.clone(),
            b't' => query.now_secs.to_string(),
            // The syntax allows no other.
            _ => String::new(),
        })
    }

    /// The validated name of the client: the domain itself if that is one of them, or one below it, or any.
    fn client_name(&self, domain: &str) -> Result<&str, Stop> {
        let names = self.validated_names(|_| true)?;
        let same = names.iter().find(|name| name.eq_ignore_ascii_case(domain));
        let below = names.iter().find(|name| is_within(name, domain));
        let found = same.or(below).or_else(|| names.first());
        Ok(found.copied().unwrap_or("unknown"))
    }
}

/// Splits, reverses, and keeps parts from the right.
fn transform(value: String, wanted: &Macro<'_>) -> String {
    if wanted.keep.is_none() && !wanted.is_reversed && wanted.delimiters.is_empty() {
        return value;
    }
    let delimiters = match wanted.delimiters {
        "" => ".",
        some => some,
    };
    let mut parts: Vec<&str> = value.split(|c| delimiters.contains(c)).collect();
    if wanted.is_reversed {
        parts.reverse();
    }
    let dropped = parts
        .len()
        .saturating_sub(wanted.keep.unwrap_or(usize::MAX));
    parts[dropped..].join(".")
}

/// All but RFC 3986's unreserved characters as `%XX`.
fn push_escaped(text: &mut String, value: &str) {
    for octet in value.bytes() {
        if octet.is_ascii_alphanumeric() || b"-._~".contains(&octet) {
            text.push(char::from(octet));
        } else {
            // Writing to a String cannot fail.
            let _ = write!(text, "%{octet:02X}");
        }
    }
}

/// As reverse names are made of it: IPv6 by its half octets.
fn dotted(ip: IpAddr) -> String {
    match ip {
        IpAddr::V4(ip) => ip.to_string(),
        IpAddr::V6(ip) => {
            let digits = format!("{:032X}", ip.to_bits());
            let digits: Vec<&str> = digits.split("").filter(|digit| !digit.is_empty()).collect();
            digits.join(".")
        }
    }
}

/// More than any name or explanation needs, so that a record cannot make us write megabytes.
const EXPANDED_OCTETS_MAX: usize = 8 * 1024;
