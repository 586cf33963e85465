//! DKIM signatures: which of them are looked at, and what comes of each (RFC 6376 §6).

use envelope::Domain;

use crate::published::PublicKey;
use crate::reader::Body;
use crate::signature::{Flaw, Signature, neutral};
use crate::tags::{Tags, parts};
use crate::texts::Texts;
use crate::{Header, Signed, Verdict};

/// A DKIM-Signature that is looked at.
#[derive(Debug)]
pub(crate) struct Candidate {
    /// Which field it is.
    place: usize,
    /// What it says of itself, as far as it can be read.
    stated: Signed,
    claim: Result<Claim, Flaw>,
}

#[derive(Debug)]
struct Claim {
    signature: Signature,
    /// For whom it was signed (`i=`): the signer's domain, or a name below it.
    identity: Domain,
}

/// The signatures to look at: at most [`CANDIDATES_MAX`], those of the author's domain before others. Handlers put theirs
/// on top, and the author's, which counts for most, would be the first to be left out.
pub(crate) fn candidates(header: &Header, author: Option<&Domain>) -> Vec<Candidate> {
    let fields = header.fields().enumerate();
    let mut fields: Vec<_> = fields
        .filter(|(_, field)| field.is("dkim-signature"))
        .collect();
    if fields.len() > CANDIDATES_MAX {
        let is_others = |value: &[u8]| {
            let tags = Tags::parse(value).ok();
            let signer = tags.and_then(|tags| tags.get("d")?.parse::<Domain>().ok());
            let both = author.zip(signer.as_ref());
            !both.is_some_and(|(author, signer)| {
                author.is_within(signer) || signer.is_within(author)
            })
        };
        fields.sort_by_cached_key(|(_, field)| is_others(field.value));
        fields.truncate(CANDIDATES_MAX);
        fields.sort_unstable_by_key(|(place, _)| *place);
    }
    fields
        .into_iter()
        .map(|(place, field)| Candidate::parse(place, field.value))
        .collect()
}

impl Candidate {
    fn parse(place: usize, value: &[u8]) -> Self {
        let tags = Tags::parse(value).map_err(neutral);
        let text = |name| {
            tags.as_ref()
                .ok()
                .and_then(|tags| tags.get(name))
                .unwrap_or_default()
        };
        let selector = text("s").parse::<Domain>();
        let is_base64 = |c: &char| c.is_ascii_alphanumeric() || matches!(c, '+' | '/');
        let mut stated = Signed {
            domain: text("d").parse().ok(),
            selector: selector.map_or_else(|_| String::new(), |selector| selector.to_string()),
            signature: text("b")
                .chars()
                .filter(is_base64)
                .take(START_CHARACTERS)
                .collect(),
            ..Signed::unread(Verdict::Neutral, "")
        };
        let claim = tags.and_then(|tags| Claim::parse(&tags));
        if let Ok(claim) = &claim {
            stated.algorithm = claim.signature.signer.algorithm.name();
        }
        Self {
            place,
            stated,
            claim,
        }
    }

    /// The signatures of a header that cannot be read.
    pub(crate) fn unread(problem: &'static str) -> Self {
        Self {
            place: 0,
            stated: Signed::unread(Verdict::Neutral, problem),
            claim: Err(neutral(problem)),
        }
    }

    pub(crate) fn signature(&self) -> Option<&Signature> {
        self.claim.as_ref().ok().map(|claim| &claim.signature)
    }

    /// What comes of it.
    pub(crate) fn verify(&self, header: &Header, body: &Body, texts: &Texts, now: u64) -> Signed {
        let mut signed = self.stated.clone();
        let checked = self.claim.as_ref().map_err(|flaw| *flaw).and_then(|claim| {
            let Claim {
                signature,
                identity,
            } = claim;
            let signer = &signature.signer;
            signature.check_body(body.digest(signature.body_form), now)?;
            let key = PublicKey::find(signer, texts)?;
            signed.is_test = key.is_test;
            if key.is_strict && *identity != signer.domain {
                return Err(Flaw::new(
                    Verdict::PermError,
                    "key is not for names below d=",
                ));
            }
            key.verify(signer, &signature.input(header, self.place))
        });
        (signed.verdict, signed.reason) = match checked {
            Ok(()) => (Verdict::Pass, ""),
            Err(flaw) => (flaw.verdict, flaw.reason),
        };
        signed
    }
}

impl Claim {
    fn parse(tags: &Tags<'_>) -> Result<Self, Flaw> {
        let signature = Signature::parse(tags)?;
        if tags.get("v") != Some("1") {
            return Err(neutral("unknown version"));
        }
        if tags
            .get("q")
            .is_some_and(|q| !parts(q).any(|q| q == "dns/txt"))
        {
            return Err(neutral("key is not in DNS"));
        }
        let identity = match tags.get("i").map(|identity| identity.rsplit_once('@')) {
            None => signature.signer.domain.clone(),
            Some(Some((_, domain))) => domain.parse().map_err(|_| neutral("bad i= tag"))?,
            Some(None) => return Err(neutral("bad i= tag")),
        };
        if !identity.is_within(&signature.signer.domain) {
            return Err(neutral("i= is not below d="));
        }
        Ok(Self {
            signature,
            identity,
        })
    }
}

/// More cost time and prove nothing.
const CANDIDATES_MAX: usize = 8;
/// RFC 6008 §4: enough to tell signatures apart.
const START_CHARACTERS: usize = 8;
