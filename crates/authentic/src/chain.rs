//! The ARC chain of a message (RFC 8617 §5.2): its form, then its signatures.

use crate::published::PublicKey;
use crate::reader::Body;
use crate::signature::{Flaw, Signature, Signer, put_unsigned};
use crate::tags::Tags;
use crate::texts::Texts;
use crate::{Canonical, Chain, Header, Verdict};

/// A chain of good form, or why it has none.
pub(crate) type Form = Result<Vec<Set>, &'static str>;

/// What one handler added, by place in the header.
#[derive(Debug)]
pub(crate) struct Set {
    results: usize,
    message: usize,
    seal: usize,
    pub(crate) signature: Signature,
    pub(crate) sealer: Signer,
    cv: Verdict,
}

impl Set {
    /// Its fields, in the order in which a seal covers them (§5.1.1).
    pub(crate) fn places(&self) -> [usize; 3] {
        [self.results, self.message, self.seal]
    }
}

/// Reads the chain: every instance from 1 on, each with one field of each kind.
pub(crate) fn read(header: &Header) -> Form {
    let mut results = Kind::default();
    let mut messages = Kind::default();
    let mut seals = Kind::default();
    for (place, field) in header.fields().enumerate() {
        if field.is("arc-authentication-results") {
            // No tag list behind its instance.
            let value = field.value.split(|b| *b == b';').next().unwrap_or_default();
            results.take(value, |_| Ok(place))?;
        } else if field.is("arc-message-signature") {
            messages.take(field.value, |tags| {
                let signature = Signature::parse(tags).map_err(|flaw| flaw.reason)?;
                // A seal covers the signature, not the other way round (§4.1.2).
                if signature.covers("arc-seal") {
                    return Err("ARC-Message-Signature covers ARC-Seal");
                }
                Ok((place, signature))
            })?;
        } else if field.is("arc-seal") {
            seals.take(field.value, |tags| {
                // What it covers is not to be chosen (§4.1.3).
                if tags.get("h").is_some() || tags.get("bh").is_some() {
                    return Err("ARC-Seal names what it covers");
                }
                // The time may be missing (RFC 6376 §3.5), but not be anything else.
                tags.number("t")?;
                let cv = match tags.get("cv") {
                    Some("none") => Verdict::None,
                    Some("pass") => Verdict::Pass,
                    Some("fail") => Verdict::Fail,
                    _ => return Err("no good cv= tag"),
                };
                let sealer = Signer::parse(tags).map_err(|flaw| flaw.reason)?;
                Ok((place, sealer, cv))
            })?;
        }
    }
    if results.0.len() != messages.0.len() || results.0.len() != seals.0.len() {
        return Err("ARC set without one of its fields");
    }
    let both = results.in_order()?.zip(messages.in_order()?);
    let sets =
        both.zip(seals.in_order()?)
            .map(
                |((results, (message, signature)), (seal, sealer, cv))| Set {
                    results,
                    message,
                    seal,
                    signature,
                    sealer,
                    cv,
                },
            );
    Ok(sets.collect())
}

/// The fields of one kind, with their instances.
struct Kind<T>(Vec<(u64, T)>);

impl<T> Default for Kind<T> {
    fn default() -> Self {
        Self(Vec::new())
    }
}

impl<T> Kind<T> {
    fn take(
        &mut self,
        value: &[u8],
        read: impl FnOnce(&Tags<'_>) -> Result<T, &'static str>,
    ) -> Result<(), &'static str> {
        if self.0.len() == SETS_MAX {
            return Err("more than 50 ARC sets");
        }
        let tags = Tags::parse(value)?;
        let instance = tags.number("i")?.ok_or("no i= tag")?;
        self.0.push((instance, read(&tags)?));
        Ok(())
    }

    /// The fields from instance 1 on, if none is missing and none there twice.
    fn in_order(mut self) -> Result<impl Iterator<Item = T>, &'static str> {
        self.0.sort_by_key(|(instance, _)| *instance);
        let mut expected = 1..;
        if !self
            .0
            .iter()
            .all(|(instance, _)| expected.next() == Some(*instance))
        {
            return Err("ARC instances are not 1, 2, 3");
        }
        Ok(self.0.into_iter().map(|(_, field)| field))
    }
}

/// What comes of the chain.
pub(crate) fn verify(form: &Form, header: &Header, body: &Body, texts: &Texts, now: u64) -> Chain {
    let sets = form.as_deref().unwrap_or_default();
    let last = sets.last();
    let result = form
        .as_ref()
        .map_err(|reason| fail(reason))
        .and_then(|sets| check_signatures(sets, header, body, texts, now));
    let verdict = match (&result, last) {
        (Ok(()), None) => Verdict::None,
        (Ok(()), Some(_)) => Verdict::Pass,
        (Err(flaw), _) if flaw.verdict == Verdict::TempError => Verdict::TempError,
        (Err(_), _) => Verdict::Fail,
    };
    Chain {
        verdict,
        reason: result.err().map_or("", |flaw| flaw.reason),
        instance: sets.len() as u8,
        domain: last.map(|set| set.sealer.domain.clone()),
        is_closed: last.is_some_and(|set| set.cv == Verdict::Fail),
    }
}

fn check_signatures(
    sets: &[Set],
    header: &Header,
    body: &Body,
    texts: &Texts,
    now: u64,
) -> Result<(), Flaw> {
    let Some(last) = sets.last() else {
        return Ok(());
    };
    for (at, set) in sets.iter().enumerate() {
        let expected = if at == 0 {
            Verdict::None
        } else {
            Verdict::Pass
        };
        if set.cv == Verdict::Fail {
            return Err(fail("an earlier handler found the chain broken"));
        }
        if set.cv != expected {
            return Err(fail("cv= does not fit its instance"));
        }
    }
    // Of the message signatures only the last has to hold: later handlers may change the message (§5.2 step 4).
    let signature = &last.signature;
    signature.check_body(body.digest(signature.body_form), now)?;
    PublicKey::find(&signature.signer, texts)?
        .verify(&signature.signer, &signature.input(header, last.message))?;
    // Each seal covers all sets up to its own (§5.1.1).
    let fields: Vec<_> = header.fields().collect();
    let mut input = Vec::new();
    for set in sets {
        Canonical::Relaxed.put_field(fields[set.results], &mut input);
        Canonical::Relaxed.put_field(fields[set.message], &mut input);
        let covered = input.len();
        put_unsigned(fields[set.seal], Canonical::Relaxed, &mut input);
        PublicKey::find(&set.sealer, texts)?.verify(&set.sealer, &input)?;
        input.truncate(covered);
        Canonical::Relaxed.put_field(fields[set.seal], &mut input);
    }
    Ok(())
}

const fn fail(reason: &'static str) -> Flaw {
    Flaw::new(Verdict::Fail, reason)
}

/// RFC 8617 §4.2.1.
const SETS_MAX: usize = 50;
