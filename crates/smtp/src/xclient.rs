//! XCLIENT (Postfix's XCLIENT_README): a proxy in front of us tells who its client is.
//!
//! `ADDR`, `PORT`, `DESTADDR`, `DESTPORT` and `LOGIN` are taken over. `NAME`, `HELO` and `PROTO` are read and dropped: the
//! name is looked up here, and every client of XCLIENT says EHLO or HELO afterwards.

use std::net::{IpAddr, Ipv6Addr};

use crate::limits;
use crate::xtext::Xtext;

/// What is another's now; the rest stays.
#[derive(Debug, Clone, PartialEq, Eq, Default)]
pub struct Xclient {
    /// The client's address.
    pub address: Option<IpAddr>,
    /// Its port.
    pub port: Option<u16>,
    /// The address that it connected to.
    pub local_address: Option<IpAddr>,
    /// The port there.
    pub local_port: Option<u16>,
    /// The user whom the proxy has logged in.
    pub user: Option<Box<str>>,
}

/// Why a list of attributes is none.
#[derive(Debug, Clone, Copy, PartialEq, Eq, thiserror::Error)]
pub enum XclientError {
    /// There is none, or one without a value.
    #[error("syntax: XCLIENT attribute=value ...")]
    Syntax,
    /// Nobody knows it.
    #[error("unknown XCLIENT attribute")]
    Unknown,
    /// Its value cannot be used.
    #[error("bad XCLIENT value of {0}")]
    Value(&'static str),
}

impl Xclient {
    /// Reads what stands behind the verb.
    pub(crate) fn parse(text: &str) -> Result<Self, XclientError> {
        let mut xclient = Self::default();
        let mut attributes = text.split_ascii_whitespace().peekable();
        if attributes.peek().is_none() {
            return Err(XclientError::Syntax);
        }
        for attribute in attributes {
            let (name, value) = attribute.split_once('=').ok_or(XclientError::Syntax)?;
            xclient.take(&name.to_ascii_uppercase(), value)?;
        }
        Ok(xclient)
    }

    fn take(&mut self, name: &str, value: &str) -> Result<(), XclientError> {
        let name = NAMES.iter().copied().find(|known| *known == name);
        let name = name.ok_or(XclientError::Unknown)?;
        let bad = XclientError::Value(name);
        let value = Xtext::new(value).map_err(|_| bad)?.decode();
        let is_known = !["[UNAVAILABLE]", "[TEMPUNAVAIL]"]
            .iter()
            .any(|unknown| value.eq_ignore_ascii_case(unknown));
        let port = || value.parse().map_err(|_| bad);
        match name {
            // A client of no address would be judged by the proxy's, which may be trusted.
            "ADDR" => self.address = Some(address(&value).ok_or(bad)?),
            "PORT" => self.port = Some(if is_known { port()? } else { 0 }),
            "DESTADDR" if is_known => self.local_address = Some(address(&value).ok_or(bad)?),
            "DESTPORT" if is_known => self.local_port = Some(port()?),
            "LOGIN" if is_known => self.user = Some(user(&value).ok_or(bad)?),
            "PROTO" if is_known && !["SMTP", "ESMTP"].contains(&&*value.to_ascii_uppercase()) => {
                return Err(bad);
            }
            _ if value.is_empty() || value.len() > limits::HELLO_OCTETS_MAX => return Err(bad),
            _ => {}
        }
        Ok(())
    }
}

/// `192.0.2.1`, or `IPV6:2001:db8::1`; the latter without its name, too.
fn address(text: &str) -> Option<IpAddr> {
    let address = match text.split_at_checked(IPV6.len()) {
        Some((name, v6)) if name.eq_ignore_ascii_case(IPV6) => v6.parse::<Ipv6Addr>().ok()?.into(),
        _ => text.parse::<IpAddr>().ok()?,
    };
    Some(address.to_canonical())
}

fn user(text: &str) -> Option<Box<str>> {
    (1..=limits::USER_OCTETS_MAX)
        .contains(&text.len())
        .then(|| text.into())
}

const IPV6: &str = "IPV6:";
const NAMES: [&str; 8] = [
    "NAME", "ADDR", "PORT", "PROTO", "HELO", "LOGIN", "DESTADDR", "DESTPORT",
];

#[cfg(test)]
mod tests {
    use super::*;

    #[track_caller]
    fn check(text: &str, expected: Result<Xclient, XclientError>) {
        assert_eq!(Xclient::parse(text), expected, "{text}");
    }

    fn at(address: &str) -> Xclient {
        Xclient {
            address: address.parse().ok(),
            ..Xclient::default()
        }
    }

    #[test]
    fn what_proxies_send() {
        let whole = Xclient {
            port: Some(4711),
            local_address: "192.0.2.9".parse().ok(),
            local_port: Some(587),
            user: Some("ann+b@c.example".into()),
            ..at("192.0.2.1")
        };
        check(
            "ADDR=192.0.2.1 PORT=4711 NAME=[UNAVAILABLE] LOGIN=ann+2Bb@c.example PROTO=ESMTP HELO=x \
             DESTADDR=192.0.2.9 DESTPORT=587",
            Ok(whole),
        );
        for v6 in ["IPV6:2001:db8::1", "ipv6:2001:DB8::1", "2001:db8::1"] {
            check(&format!("addr={v6}"), Ok(at("2001:db8::1")));
        }
        check("ADDR=IPV6:::ffff:192.0.2.1", Ok(at("192.0.2.1")));
        check(
            "NAME=[TEMPUNAVAIL] LOGIN=[UNAVAILABLE] DESTADDR=[unavailable]",
            Ok(Xclient::default()),
        );
        let no_port = Xclient {
            port: Some(0),
            ..at("192.0.2.1")
        };
        check("PORT=[UNAVAILABLE] ADDR=192.0.2.1", Ok(no_port));
    }

    #[test]
    fn what_is_none() {
        for syntax in ["", "  ", "ADDR", "ADDR=192.0.2.1 x"] {
            check(syntax, Err(XclientError::Syntax));
        }
        for unknown in ["=", "FOO=bar", "ADDRESS=192.0.2.1"] {
            check(unknown, Err(XclientError::Unknown));
        }
        let long = format!("LOGIN={}", "a".repeat(256));
        for (bad, name) in [
            ("ADDR=", "ADDR"),
            ("ADDR=[UNAVAILABLE]", "ADDR"),
            ("ADDR=localhost", "ADDR"),
            ("ADDR=IPV6:192.0.2.1", "ADDR"),
            ("ADDR=IPV6", "ADDR"),
            ("ADDR=192.0.2.1+0D+0A", "ADDR"),
            ("PORT=65536", "PORT"),
            ("PORT=-1", "PORT"),
            ("DESTADDR=x", "DESTADDR"),
            ("DESTPORT=", "DESTPORT"),
            ("PROTO=LMTP", "PROTO"),
            ("NAME=", "NAME"),
            ("HELO=a+0", "HELO"),
            ("LOGIN=", "LOGIN"),
            ("LOGIN=a+00b", "LOGIN"),
            (&long, "LOGIN"),
        ] {
            check(bad, Err(XclientError::Value(name)));
        }
    }
}
