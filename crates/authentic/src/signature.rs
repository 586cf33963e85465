//! A signature as its field states it: of DKIM, and of the two kinds of ARC, which borrow its tags.

use envelope::Domain;

use crate::canonical::BodyDigest;
use crate::tags::{Tags, base64, parts};
use crate::{Canonical, Field, Header, Verdict};

/// Why something does not pass.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub(crate) struct Flaw {
    pub(crate) verdict: Verdict,
    pub(crate) reason: &'static str,
}

/// Who signed, and with what: what every kind of signature has.
#[derive(Debug)]
pub(crate) struct Signer {
    pub(crate) algorithm: Algorithm,
    pub(crate) domain: Domain,
    pub(crate) selector: String,
    /// The signature itself (`b=`).
    pub(crate) octets: Vec<u8>,
}

envelope::named! {
    pub(crate) enum Algorithm {
        RsaSha256 = "rsa-sha256",
        Ed25519Sha256 = "ed25519-sha256",
    }
}

/// A signature over fields and body: DKIM-Signature and ARC-Message-Signature.
#[derive(Debug)]
pub(crate) struct Signature {
    pub(crate) signer: Signer,
    pub(crate) body_form: Canonical,
    header_form: Canonical,
    /// Names of signed fields (`h=`).
    names: String,
    body_hash: Vec<u8>,
    /// How much of the body is signed (`l=`), if not all.
    length: Option<u64>,
    time: Option<u64>,
    expires: Option<u64>,
}

impl Signer {
    pub(crate) fn parse(tags: &Tags<'_>) -> Result<Self, Flaw> {
        let algorithm = match tags.get("a").ok_or(neutral("no a= tag"))? {
            "rsa-sha256" => Algorithm::RsaSha256,
            "ed25519-sha256" => Algorithm::Ed25519Sha256,
            // RFC 8301 §3.1.
            "rsa-sha1" => return Err(policy("rsa-sha1 proves nothing")),
            _ => return Err(neutral("unknown algorithm")),
        };
        let domain = tags.get("d").ok_or(neutral("no d= tag"))?;
        let selector = tags.get("s").ok_or(neutral("no s= tag"))?;
        let octets = tags
            .get("b")
            .and_then(base64)
            .ok_or(neutral("no good b= tag"))?;
        // An RSA signature is as long as its key: too weak a key, or one made to cost us time, is not even asked for
        // (RFC 8301 §3.2).
        if algorithm == Algorithm::RsaSha256 && octets.len() < RSA_OCTETS_MIN {
            return Err(policy("RSA key below 1024 bits"));
        }
        if octets.len() > RSA_OCTETS_MAX {
            return Err(policy("RSA key over 4096 bits"));
        }
        selector
            .parse::<Domain>()
            .map_err(|_| neutral("bad selector"))?;
        Ok(Self {
            algorithm,
            domain: domain.parse().map_err(|_| neutral("bad d= domain"))?,
            selector: selector.to_owned(),
            octets,
        })
    }

    /// Where the key is.
    pub(crate) fn key_name(&self) -> String {
        format!("{}._domainkey.{}", self.selector, self.domain)
    }
}

impl Signature {
    /// Reads the tags that DKIM-Signature and ARC-Message-Signature have in common.
    pub(crate) fn parse(tags: &Tags<'_>) -> Result<Self, Flaw> {
        let signer = Signer::parse(tags)?;
        let form = |text| match text {
            "simple" => Ok(Canonical::Simple),
            "relaxed" => Ok(Canonical::Relaxed),
            _ => Err(neutral("unknown canonical form")),
        };
        let forms = tags.get("c").unwrap_or("simple/simple");
        let (header_form, body_form) = forms.split_once('/').unwrap_or((forms, "simple"));
        let names = tags.get("h").ok_or(neutral("no h= tag"))?;
        if parts(names).count() > NAMES_MAX {
            return Err(neutral("too many fields in h="));
        }
        if !is_in(names, "from") {
            return Err(Flaw::new(Verdict::PermError, "From is not signed"));
        }
        Ok(Self {
            signer,
            body_form: form(body_form)?,
            header_form: form(header_form)?,
            names: names.to_owned(),
            body_hash: tags
                .get("bh")
                .and_then(base64)
                .ok_or(neutral("no good bh= tag"))?,
            length: tags.number("l").map_err(neutral)?,
            time: tags.number("t").map_err(neutral)?,
            expires: tags.number("x").map_err(neutral)?,
        })
    }

    /// Whether fields of this name are signed.
    pub(crate) fn covers(&self, name: &str) -> bool {
        is_in(&self.names, name)
    }

    /// Everything but the signature itself: its time, and the body.
    pub(crate) fn check_body(&self, body: Option<BodyDigest>, now: u64) -> Result<(), Flaw> {
        let body = body.ok_or(neutral("body not read"))?;
        if let (Some(time), Some(expires)) = (self.time, self.expires)
            && expires < time
        {
            return Err(neutral("expires before it was made"));
        }
        if self.expires.is_some_and(|expires| expires < now) {
            return Err(policy("signature expired"));
        }
        if self.time.is_some_and(|time| time > now + CLOCK_SLACK_SECS) {
            return Err(policy("signed in the future"));
        }
        // What is behind `l=` octets could be anybody's (RFC 6376 §8.2).
        if self.length.is_some_and(|length| length < body.octets) {
            return Err(policy("part of the body is not signed (l=)"));
        }
        if self.length.is_some_and(|length| length > body.octets) || self.body_hash != body.sha256 {
            return Err(Flaw::new(Verdict::Fail, "body has changed"));
        }
        Ok(())
    }

    /// The octets that are signed: the named fields, and the field of the signature itself (`own`).
    pub(crate) fn input(&self, header: &Header, own: usize) -> Vec<u8> {
        let mut input = Vec::with_capacity(2048);
        let mut used = vec![false; header.fields().len()];
        let fields: Vec<_> = header.fields().collect();
        used[own] = true;
        for name in parts(&self.names) {
            // The next instance from below (§5.4.2). One that is not there counts as empty.
            let is_next = |at: &usize| !used[*at] && fields[*at].is(name);
            if let Some(at) = (0..fields.len()).rev().find(is_next) {
                used[at] = true;
                self.header_form.put_field(fields[at], &mut input);
            }
        }
        put_unsigned(fields[own], self.header_form, &mut input);
        input
    }
}

impl Flaw {
    pub(crate) const fn new(verdict: Verdict, reason: &'static str) -> Self {
        Self { verdict, reason }
    }
}

/// Puts the field of a signature in as its signer saw it: with `b=` empty, and without the last line end (§3.7).
pub(crate) fn put_unsigned(field: Field<'_>, form: Canonical, into: &mut Vec<u8>) {
    let value = field.value.strip_suffix(b"\r\n").unwrap_or(field.value);
    let mut unsigned = Vec::with_capacity(value.len() + 2);
    for (n, spec) in value.split(|b| *b == b';').enumerate() {
        if n > 0 {
            unsigned.push(b';');
        }
        let equals = memchr::memchr(b'=', spec).filter(|at| spec[..*at].trim_ascii() == b"b");
        unsigned.extend_from_slice(equals.map_or(spec, |at| &spec[..=at]));
    }
    unsigned.extend_from_slice(b"\r\n");
    let name = field.name;
    form.put_field(
        Field {
            name,
            value: &unsigned,
        },
        into,
    );
    into.truncate(into.len() - 2);
}

fn is_in(names: &str, name: &str) -> bool {
    parts(names).any(|other| other.eq_ignore_ascii_case(name))
}

pub(crate) const fn neutral(reason: &'static str) -> Flaw {
    Flaw::new(Verdict::Neutral, reason)
}

pub(crate) const fn policy(reason: &'static str) -> Flaw {
    Flaw::new(Verdict::Policy, reason)
}

const RSA_OCTETS_MIN: usize = 1024 / 8;
const RSA_OCTETS_MAX: usize = 4096 / 8;
/// What it bounds is the search for signed fields; more than any signer names.
const NAMES_MAX: usize = 200;
/// How far a signer's clock may be ahead.
const CLOCK_SLACK_SECS: u64 = 3600;
