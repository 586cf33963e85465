//! Return paths of users who send mail for others (VERP): `customer+{original}@service.example`.
//!
//! It is SRS with another face: what stands for `{original}` is the tag, day and sender of an SRS0 address.

use std::collections::{HashMap, HashSet};
use std::str::FromStr;

use envelope::{Domain, Mailbox};
use srs::{Face, FaceError};

use crate::table::SRS_DOMAIN_OCTETS_MAX;

/// One of them, as the users file or `[srs] return_paths` has it.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct ReturnPath {
    pub(crate) face: Face,
    pub(crate) domain: Domain,
}

/// Why a text is none. Each says what is wrong with the part that it names.
#[derive(Debug, Clone, PartialEq, Eq, thiserror::Error)]
pub enum ReturnPathError {
    /// It has no `{original}`, or something between that and the `@`.
    #[error("no `{{original}}@` in it")]
    NoOriginal,
    /// What stands before it.
    #[error("what stands before `{{original}}` is {0}")]
    Face(#[from] FaceError),
    /// What stands behind the `@`.
    #[error("what stands behind `@` is no domain of at most {SRS_DOMAIN_OCTETS_MAX} octets")]
    Domain,
}

/// All that addresses of ours may have been made with.
#[derive(Debug, Clone, Default)]
pub struct ReturnPaths(HashMap<Domain, HashSet<Face>>);

impl FromStr for ReturnPath {
    type Err = ReturnPathError;

    fn from_str(text: &str) -> Result<Self, ReturnPathError> {
        let (face, domain) = text
            .split_once("{original}@")
            .ok_or(ReturnPathError::NoOriginal)?;
        let domain: Domain = domain.parse().map_err(|_| ReturnPathError::Domain)?;
        if domain.as_str().len() > SRS_DOMAIN_OCTETS_MAX {
            return Err(ReturnPathError::Domain);
        }
        let face = Face::new(face)?;
        Ok(Self { face, domain })
    }
}

impl ReturnPathError {
    /// What to write instead.
    pub fn hint(&self) -> &'static str {
        "write it as `customer+{original}@service.example`"
    }
}

impl ReturnPath {
    /// Where the addresses are: mail for it must come to us.
    pub fn domain(&self) -> &Domain {
        &self.domain
    }

    /// Whether this address begins and ends like those that are made with it.
    pub(crate) fn covers(&self, address: &Mailbox) -> bool {
        address.domain() == Some(&self.domain)
            && self.face.strip(address.local_part().as_str()).is_some()
    }
}

impl ReturnPaths {
    /// The domains of all.
    pub fn domains(&self) -> impl Iterator<Item = &Domain> {
        self.0.keys()
    }

    /// The faces that an address may have been made with; of any number of return paths only those are looked at whose
    /// text it begins with.
    pub(crate) fn faces(&self, domain: &Domain, local: &str) -> impl Iterator<Item = &Face> {
        let faces = self.0.get(domain);
        let candidates = faces.map(|_| Face::candidates(local));
        let known = move |text: String| faces.and_then(|faces| faces.get(text.as_str()));
        candidates.into_iter().flatten().filter_map(known)
    }
}

impl Extend<ReturnPath> for ReturnPaths {
    fn extend<T: IntoIterator<Item = ReturnPath>>(&mut self, paths: T) {
        for ReturnPath { face, domain } in paths {
            self.0.entry(domain).or_default().insert(face);
        }
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[track_caller]
    fn check(text: &str, expected: Result<(), ReturnPathError>) {
        assert_eq!(text.parse::<ReturnPath>().map(|_| ()), expected, "{text}");
    }

    #[test]
    fn texts() {
        check("customer+{original}@service.example", Ok(()));
        for none in ["", "a@b.example", "{original}", "a+{original}-x@b.example"] {
            check(none, Err(ReturnPathError::NoOriginal));
        }
        check(
            "{original}@b.example",
            Err(ReturnPathError::Face(FaceError::Separator)),
        );
        check(
            "SRS0={original}@b.example",
            Err(ReturnPathError::Face(FaceError::Srs)),
        );
        for domain in ["", "[192.0.2.1]", "b..example", "a@b"] {
            check(
                &format!("a+{{original}}@{domain}"),
                Err(ReturnPathError::Domain),
            );
        }
        let long = ["x"; 100].join(".");
        check(
            &format!("a+{{original}}@{long}"),
            Err(ReturnPathError::Domain),
        );
    }

    #[test]
    fn faces_are_found_by_beginning_and_domain() {
        let mut paths = ReturnPaths::default();
        let texts = ["a+{original}@b.example", "A+b-{original}@B.example"];
        paths.extend(texts.map(|text| text.parse().unwrap()));
        for (local, domain, expected) in [
            ("a+b-x", "b.example", &["a+", "a+b-"][..]),
            ("A+x", "b.example", &["a+"]),
            ("ax", "b.example", &[]),
            ("a+x", "c.example", &[]),
        ] {
            let domain = domain.parse().unwrap();
            let found = paths.faces(&domain, local);
            let found: Vec<_> = found.map(Face::as_str).collect();
            assert_eq!(found, expected, "{local}@{domain}");
        }
    }
}
