//! DKIM signatures: which of them are looked at, and what comes of each (RFC 6376 §6).

use envelope::Domain;

use crate::published::PublicKey;
use crate::reader::Body;
use crate::signature::{Flaw, Signature, neutral};
use crate::tags::Tags;
use crate::texts::Texts;
use crate::{Header, Signed, Verdict};

/// A signature that is looked at.
#[derive(Debug)]
pub(crate) struct Candidate {
    /// Which field it is.
    place: usize,
    /// Who says to have signed, as far as it can be read.
    domain: Option<Domain>,
    selector: String,
    /// The first octets of `b=`.
    start: String,
    pub(crate) signature: Result<Signature, Flaw>,
    /// For whom it was signed (`i=`): below the signer's domain.
    identity: Option<Domain>,
}

/// The signatures to look at: at most [`CANDIDATES_MAX`], those of the author's domain before others. Handlers put theirs
/// on top, and the author's, which counts for most, would be the first to be left out.
pub(crate) fn candidates(header: &Header, author: Option<&Domain>) -> Vec<Candidate> {
    let places = header
        .fields()
        .enumerate()
        .filter(|(_, field)| field.is("dkim-signature"));
    let mut places: Vec<_> = places.map(|(place, field)| (place, field.value)).collect();
    let is_author_s = |value: &[u8]| {
        let tags = Tags::parse(value).ok();
        let domain = tags.and_then(|tags| tags.get("d")?.parse::<Domain>().ok());
        author
            .zip(domain)
            .is_some_and(|(author, domain)| author.is_within(&domain))
    };
    if places.len() > CANDIDATES_MAX {
        places.sort_by_key(|(_, value)| !is_author_s(value));
        places.truncate(CANDIDATES_MAX);
        places.sort_unstable_by_key(|(place, _)| *place);
    }
    places
        .into_iter()
        .map(|(place, value)| Candidate::parse(place, value))
        .collect()
}

impl Candidate {
    fn parse(place: usize, value: &[u8]) -> Self {
        let mut candidate = Self {
            place,
            domain: None,
            selector: String::new(),
            start: String::new(),
            signature: Err(neutral("")),
            identity: None,
        };
        candidate.signature = Tags::parse(value).map_err(neutral).and_then(|tags| {
            candidate.domain = tags.get("d").and_then(|domain| domain.parse().ok());
            let selector = tags
                .get("s")
                .and_then(|selector| selector.parse::<Domain>().ok());
            candidate.selector = selector.map_or_else(String::new, |selector| selector.to_string());
            let is_base64 = |c: &char| c.is_ascii_alphanumeric() || matches!(c, '+' | '/');
            let signature = tags.get("b").unwrap_or_default().chars();
            candidate.start = signature.filter(is_base64).take(START_CHARACTERS).collect();
            let signature = Signature::parse(&tags)?;
            if tags.get("v") != Some("1") {
                return Err(neutral("unknown version"));
            }
            if tags
                .get("q")
                .is_some_and(|q| !crate::tags::parts(q).any(|q| q == "dns/txt"))
            {
                return Err(neutral("key is not in DNS"));
            }
            if let Some(identity) = tags.get("i") {
                let (_, domain) = identity.rsplit_once('@').ok_or(neutral("bad i= tag"))?;
                let domain: Domain = domain.parse().map_err(|_| neutral("bad i= tag"))?;
                if !domain.is_within(&signature.signer.domain) {
                    return Err(neutral("i= is not below d="));
                }
                candidate.identity = Some(domain);
            }
            Ok(signature)
        });
        candidate
    }

    /// What comes of it.
    pub(crate) fn verify(&self, header: &Header, body: &Body, texts: &Texts, now: u64) -> Signed {
        let mut is_test = false;
        let result = self
            .signature
            .as_ref()
            .map_err(|flaw| *flaw)
            .and_then(|signature| {
                signature.check_body(body.digest(signature.body_form), now)?;
                let key = PublicKey::find(&signature.signer, texts)?;
                is_test = key.is_test;
                let is_below = |identity: &Domain| *identity != signature.signer.domain;
                if key.is_strict && self.identity.as_ref().is_some_and(is_below) {
                    return Err(Flaw::new(
                        Verdict::PermError,
                        "key is not for names below d=",
                    ));
                }
                key.verify(&signature.signer, &signature.input(header, self.place))
            });
        let algorithm = self
            .signature
            .as_ref()
            .map_or("", |signature| signature.signer.algorithm.word());
        Signed {
            verdict: result.map_or_else(|flaw| flaw.verdict, |()| Verdict::Pass),
            reason: result.err().map_or("", |flaw| flaw.reason),
            domain: self.domain.clone(),
            selector: self.selector.clone(),
            algorithm,
            signature: self.start.clone(),
            is_test,
        }
    }
}

/// More cost time and prove nothing.
const CANDIDATES_MAX: usize = 8;
/// RFC 6008 §4: enough to tell signatures apart.
const START_CHARACTERS: usize = 8;
