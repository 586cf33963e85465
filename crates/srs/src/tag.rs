//! Signing: HMAC-SHA1 in base 64, cut short, and its check against every secret in constant time.
//!
//! What is signed is folded to lower case (ASCII only, as the C libraries do), and so is the tag before it is
//! compared, since relays fold the case of local parts. Four characters so compared are worth about 20 bits: enough
//! against a stranger who must guess over SMTP, where each guess costs a refused recipient.

use data_encoding::BASE64_NOPAD;
use hmac::{Hmac, KeyInit, Mac};
use sha1::Sha1;
use subtle::{Choice, ConstantTimeEq};

use crate::settings::Alphabet;

/// The secrets as HMAC states that have already taken in their key: cloning one is half the work of keying it.
#[derive(Clone)]
pub(crate) struct Keys(Box<[Hmac<Sha1>]>);

/// A whole tag of our making.
pub(crate) struct Tag([u8; TAG_OCTETS_MAX]);

impl Keys {
    /// `None` without secrets or with an empty one.
    pub(crate) fn new(secrets: &[Vec<u8>]) -> Option<Self> {
        let key = |secret: &Vec<u8>| {
            Some(secret)
                .filter(|secret| !secret.is_empty())
                .and_then(|secret| Hmac::new_from_slice(secret).ok())
        };
        let keys: Box<[_]> = secrets.iter().map(key).collect::<Option<_>>()?;
        (!keys.is_empty()).then_some(Self(keys))
    }

    /// The tag of these parts under the first secret.
    pub(crate) fn sign(&self, alphabet: Alphabet, parts: &[&[u8]]) -> Tag {
        let mut text = standard_tag(&self.0[0], parts);
        if alphabet == Alphabet::UrlSafe {
            text.iter_mut().for_each(|b| {
                *b = match *b {
                    b'+' => b'-',
                    b'/' => b'_',
                    other => other,
                }
            });
        }
        Tag(text)
    }

    /// Whether any secret gives this tag, or one that begins with it. Each secret is tried, whichever fits, and
    /// the time does not tell how much of the tag was right.
    ///
    /// The caller has checked the tag's length; one over [`TAG_OCTETS_MAX`] is wrong.
    pub(crate) fn verify(&self, tag: &str, parts: &[&[u8]]) -> bool {
        if tag.len() > TAG_OCTETS_MAX {
            return false;
        }
        let mut given = [0; TAG_OCTETS_MAX];
        let given = &mut given[..tag.len()];
        given.copy_from_slice(tag.as_bytes());
        given.iter_mut().for_each(fold);
        let fits = |key: &Hmac<Sha1>| {
            let mut right = standard_tag(key, parts);
            right.iter_mut().for_each(fold);
            right[..given.len()].ct_eq(given)
        };
        self.0
            .iter()
            .map(fits)
            .fold(Choice::from(0), |any, one| any | one)
            .into()
    }
}

impl Tag {
    /// Its first `octets` characters, at most [`TAG_OCTETS_MAX`].
    pub(crate) fn cut(&self, octets: usize) -> &str {
        let text = &self.0[..octets.min(TAG_OCTETS_MAX)];
        // Base 64 is ASCII.
        std::str::from_utf8(text).unwrap_or_default()
    }
}

/// Base 64 of the HMAC over the parts in lower case, one behind the other.
fn standard_tag(key: &Hmac<Sha1>, parts: &[&[u8]]) -> [u8; TAG_OCTETS_MAX] {
    let mut mac = key.clone();
    let mut folded = [0; FOLD_OCTETS];
    for chunk in parts.iter().flat_map(|part| part.chunks(FOLD_OCTETS)) {
        let folded = &mut folded[..chunk.len()];
        folded.copy_from_slice(chunk);
        folded.make_ascii_lowercase();
        mac.update(folded);
    }
    let mut text = [0; TAG_OCTETS_MAX];
    BASE64_NOPAD.encode_mut(&mac.finalize().into_bytes(), &mut text);
    text
}

/// Lower case and one alphabet: a tag in the standard alphabet equals its URL-safe twin.
fn fold(b: &mut u8) {
    *b = match *b {
        b'-' => b'+',
        b'_' => b'/',
        other => other.to_ascii_lowercase(),
    };
}

/// 20 octets in base 64 without padding.
const TAG_OCTETS_MAX: usize = 27;
/// Parts are folded through a buffer of this size, so that none is copied whole.
const FOLD_OCTETS: usize = 64;

#[cfg(test)]
mod tests {
    use super::*;

    fn keys(secrets: &[&str]) -> Keys {
        let secrets: Vec<Vec<u8>> = secrets.iter().map(|s| s.as_bytes().to_vec()).collect();
        Keys::new(&secrets).unwrap()
    }

    #[test]
    fn no_key_without_secret() {
        assert!(Keys::new(&[]).is_none());
        assert!(Keys::new(&[Vec::new()]).is_none());
        assert!(Keys::new(&[b"a".to_vec(), Vec::new()]).is_none());
    }

    #[test]
    fn parts_are_folded_and_joined() {
        let keys = keys(&["secret"]);
        let long = "X".repeat(200);
        let tag = keys.sign(Alphabet::UrlSafe, &[b"Ab", b"C", long.as_bytes()]);
        assert_eq!(tag.cut(27).len(), 27);
        assert!(keys.verify(tag.cut(27), &[b"aBc", long.to_lowercase().as_bytes()]));
        assert!(!keys.verify(tag.cut(27), &[b"abd", long.as_bytes()]));
    }

    #[test]
    fn either_alphabet_and_case_verify() {
        let keys = keys(&["secret"]);
        // Enough inputs that both special characters occur in a tag.
        let (mut minus, mut low_line) = (0, 0);
        for n in 0u32..200 {
            let part = n.to_be_bytes();
            let tag = keys.sign(Alphabet::UrlSafe, &[&part]).cut(27).to_owned();
            assert!(!tag.contains(['+', '/']), "{tag}");
            minus += usize::from(tag.contains('-'));
            low_line += usize::from(tag.contains('_'));
            let standard = keys.sign(Alphabet::Standard, &[&part]).cut(27).to_owned();
            assert_eq!(standard, tag.replace('-', "+").replace('_', "/"));
            for form in [
                &tag,
                &standard,
                &tag.to_lowercase(),
                &standard.to_uppercase(),
            ] {
                assert!(keys.verify(form, &[&part]), "{form}");
            }
        }
        assert!(minus > 0 && low_line > 0);
    }

    #[test]
    fn first_signs_all_verify() {
        let (old, both) = (keys(&["old"]), keys(&["new", "old"]));
        let by_old = old.sign(Alphabet::UrlSafe, &[b"x"]);
        let by_both = both.sign(Alphabet::UrlSafe, &[b"x"]);
        assert!(both.verify(by_old.cut(4), &[b"x"]));
        assert!(both.verify(by_both.cut(4), &[b"x"]));
        assert!(!old.verify(by_both.cut(4), &[b"x"]));
    }
}
