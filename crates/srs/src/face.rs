//! Faces: what an address of ours begins with when it is not `SRS0=`.
//!
//! Whoever sends mail for others (VERP) wants bounces at an address of their own choice, `customer+…@service.example`. The
//! part behind the face is that of SRS0, and so are its tag, its day and its tokens. The tag covers the face too, so
//! that no address is valid under another face than the one that it was made with.

use std::borrow::Borrow;

/// What stands before the tag: at most [`Face::OCTETS_MAX`] octets, in lower case, since a relay may have folded it.
#[derive(Debug, Clone, PartialEq, Eq, Hash)]
pub struct Face(Box<str>);

/// Why a text is no face.
#[derive(Debug, Clone, Copy, PartialEq, Eq, thiserror::Error)]
pub enum FaceError {
    /// A token would not fit behind it.
    #[error("over {} octets", Face::OCTETS_MAX)]
    TooLong,
    /// It would need quotes, or SMTPUTF8.
    #[error("not of letters, digits and `+-=_.`")]
    Characters,
    /// The tag would run into it: nobody could tell where a face ends.
    #[error("not ended by one of `+-=_.`")]
    Separator,
    /// The addresses would be taken for SRS0 or SRS1.
    #[error("an SRS address by its beginning")]
    Srs,
}

impl Face {
    /// Beside it, a token of [`Srs::TOKEN_OCTETS_MAX`](crate::Srs::TOKEN_OCTETS_MAX) and a tag of 10 octets fit in 64.
    pub const OCTETS_MAX: usize = 24;

    /// Checks a text.
    ///
    /// ```
    /// assert!(srs::Face::new("customer+").is_ok());
    /// assert_eq!(srs::Face::new("customer"), Err(srs::FaceError::Separator));
    /// ```
    pub fn new(text: &str) -> Result<Self, FaceError> {
        let allowed = |b: u8| b.is_ascii_alphanumeric() || is_separator(b);
        if text.len() > Self::OCTETS_MAX {
            Err(FaceError::TooLong)
        } else if !text.bytes().all(allowed) {
            Err(FaceError::Characters)
        } else if !text.bytes().last().is_some_and(is_separator) {
            Err(FaceError::Separator)
        } else if crate::looks_like_srs(text) {
            Err(FaceError::Srs)
        } else {
            Ok(Self(text.to_ascii_lowercase().into()))
        }
    }

    /// The text, in lower case.
    pub fn as_str(&self) -> &str {
        &self.0
    }

    /// What stands behind the face, if `local` begins with it, in any case.
    pub fn strip<'a>(&self, local: &'a str) -> Option<&'a str> {
        let (head, rest) = local.split_at_checked(self.0.len())?;
        head.eq_ignore_ascii_case(&self.0).then_some(rest)
    }

    /// Every beginning of `local` that can be a face, in lower case, so that one of many can be looked up.
    pub fn candidates(local: &str) -> impl Iterator<Item = String> {
        let head = local.bytes().take(Self::OCTETS_MAX).enumerate();
        head.filter(|(_, b)| is_separator(*b))
            .map(|(end, _)| local[..=end].to_ascii_lowercase())
    }
}

/// For [`Face::candidates`].
impl Borrow<str> for Face {
    fn borrow(&self) -> &str {
        &self.0
    }
}

fn is_separator(b: u8) -> bool {
    matches!(b, b'+' | b'-' | b'=' | b'_' | b'.')
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn what_is_a_face() {
        for good in ["customer+", "A.b-", "+", "srs+", "SRS2=", "a=b="] {
            assert!(Face::new(good).is_ok(), "{good}");
        }
        for (bad, error) in [
            ("", FaceError::Separator),
            ("customer", FaceError::Separator),
            ("kunde\u{e9}+", FaceError::Characters),
            ("a b+", FaceError::Characters),
            ("a@b+", FaceError::Characters),
            ("a\0+", FaceError::Characters),
            ("SRS0=", FaceError::Srs),
            ("srs1-x+", FaceError::Srs),
            ("a-face-of-25-octets-long+", FaceError::TooLong),
        ] {
            assert_eq!(Face::new(bad), Err(error), "{bad}");
        }
    }

    #[test]
    fn candidates_end_with_a_separator() {
        let all: Vec<_> = Face::candidates("A+b-\u{e9}=C").collect();
        assert_eq!(all, ["a+", "a+b-", "a+b-\u{e9}="]);
        let long = "x".repeat(Face::OCTETS_MAX) + "+";
        assert_eq!(Face::candidates(&long).count(), 0);
    }
}
