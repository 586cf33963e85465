//! The written form of SRS local parts, taken apart without judging tags or days.

use crate::settings::Separator;

/// Whether a local part is written as SRS0 or SRS1, in any case and with any separator. Says nothing of validity:
/// in a domain of ours such an address is either read back or refused, and never goes to a catch-all.
///
/// ```
/// assert!(srs::looks_like_srs("srs0+whatever"));
/// assert!(!srs::looks_like_srs("SRS0"));
/// ```
pub fn looks_like_srs(local: &str) -> bool {
    strip(local, SRS0).is_some() || strip(local, SRS1).is_some()
}

/// `SRS0=tag=day=domain=local`.
pub(crate) struct Srs0<'a> {
    pub(crate) tag: &'a str,
    pub(crate) stamp: &'a str,
    pub(crate) domain: &'a str,
    /// May hold anything, `=` too.
    pub(crate) local: &'a str,
}

/// `SRS1=tag=domain=opaque`; the opaque part begins with the separator of the SRS0 it was cut from.
pub(crate) struct Srs1<'a> {
    pub(crate) tag: &'a str,
    pub(crate) domain: &'a str,
    pub(crate) opaque: &'a str,
}

/// What stands behind the name, separator first, if `local` begins with `name` and a separator.
pub(crate) fn strip<'a>(local: &'a str, name: &str) -> Option<&'a str> {
    let head = local.get(..name.len())?;
    let rest = &local[name.len()..];
    let separated = rest.starts_with(|c| Separator::from_char(c).is_some());
    (head.eq_ignore_ascii_case(name) && separated).then_some(rest)
}

impl<'a> Srs0<'a> {
    /// From what stands behind the separator, or behind a face.
    pub(crate) fn parse(rest: &'a str) -> Option<Self> {
        let mut parts = rest.splitn(4, '=');
        Some(Self {
            tag: parts.next()?,
            stamp: parts.next()?,
            domain: parts.next().filter(|domain| is_plain_domain(domain))?,
            local: parts.next()?,
        })
    }
}

impl<'a> Srs1<'a> {
    /// From what [`strip`] gave. The form without a tag, which draft-era forwarders wrote, is none: nobody can
    /// tell whose it is.
    pub(crate) fn parse(rest: &'a str) -> Option<Self> {
        let mut parts = rest.get(1..)?.splitn(3, '=');
        Some(Self {
            tag: parts.next()?,
            domain: parts.next().filter(|domain| is_plain_domain(domain))?,
            opaque: parts
                .next()
                .filter(|opaque| opaque.starts_with(|c| Separator::from_char(c).is_some()))?,
        })
    }
}

/// Whether it can stand between two `=` and be a mail domain. Not a full check of names: that is the caller's.
pub(crate) fn is_plain_domain(text: &str) -> bool {
    let allowed = |b: u8| b.is_ascii_alphanumeric() || matches!(b, b'.' | b'-' | b'_');
    !text.is_empty() && text.bytes().all(allowed)
}

pub(crate) const SRS0: &str = "SRS0";
pub(crate) const SRS1: &str = "SRS1";

#[cfg(test)]
mod tests {
    use super::*;

    #[track_caller]
    fn check(local: &str, expected: bool) {
        assert_eq!(looks_like_srs(local), expected, "{local:?}");
    }

    #[test]
    fn forms() {
        for yes in ["SRS0=a", "srs0+a", "SrS1-a", "SRS0="] {
            check(yes, true);
        }
        for no in [
            "", "SRS", "SRS0", "SRS2=a", "xSRS0=a", "SRS0/a", "SRS0é", "ſRS0=a", "éé",
        ] {
            check(no, false);
        }
    }
}
