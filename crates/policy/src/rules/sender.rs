//! Rules at RCPT on the sender, as the recipient's domain chooses them (its measures).
//!
//! They are asked about strangers only, and behind all other objections: what is refused anyway costs no look-up. Lists, which
//! cost nothing, come before the network; the callout comes last and alone. A look-up that fails never refuses.

use crate::case::Case;
use crate::decision::Opinion;
use crate::measures::{Dmarc, Measures, Spf};
use crate::question::{Destination, Known};
use crate::replies;
use crate::rules::Rule;
use crate::sender::{Blocklisted, Callout, SpfResult};

pub(super) const UNLIKE_MEASURES: Rule = ("unlike-measures", unlike_measures);
pub(super) const SENDER_BLOCKED: Rule = ("sender-blocked", blocked);
pub(super) const SPF_FORCE: Rule = ("spf-force", spf_force);
pub(super) const SPF: Rule = ("spf", spf);
pub(super) const DNSBL: Rule = ("dnsbl", dnsbl);
pub(super) const VERIFY_SENDER: Rule = ("verify-sender", verify);

/// One answer holds for all recipients at the end of the body, so those that would refuse a failed DMARC and those that would
/// not cannot be in one transaction, and neither can those with other filters (RFC 5321 §4.5.3.1.10: the client sends to the rest
/// in one of its own).
fn unlike_measures(case: &Case) -> Known<Opinion> {
    let route = case.route()?;
    let refuses = |measures: &Measures| measures.dmarc == Dmarc::Reject;
    let mut others = case.transaction.measures.iter();
    let unlike = others.any(|other| {
        refuses(other) != refuses(&route.measures) || other.filter != route.measures.filter
    });
    let is_denied = route.destination == Destination::Foreign;
    let unlike = unlike && !is_denied;
    Ok(Opinion::object_if(unlike, replies::unlike_measures))
}

fn blocked(case: &Case) -> Known<Opinion> {
    let list = case.listed(&case.measures()?.sender_block)?;
    Ok(list.map_or(Opinion::Pass, |list| {
        Opinion::Object(replies::sender_blocked(list))
    }))
}

/// Banks and the like, whose mail is forged for profit: nobody is exempt, whatever else the recipient chooses.
fn spf_force(case: &Case) -> Known<Opinion> {
    match case.listed(&case.measures()?.spf_force)? {
        Some(_) => fail_refused(case),
        None => Ok(Opinion::Pass),
    }
}

/// Also asked where a fail is only marked: the result is there when the message is.
fn spf(case: &Case) -> Known<Opinion> {
    let measures = case.measures()?;
    if measures.spf == Spf::Off || is_exempt(case, measures)? {
        return Ok(Opinion::Pass);
    }
    let opinion = fail_refused(case)?;
    let refuse = measures.spf == Spf::Reject;
    Ok(if refuse { opinion } else { Opinion::Pass })
}

fn dnsbl(case: &Case) -> Known<Opinion> {
    let measures = case.measures()?;
    if measures.dnsbl.is_empty() || is_exempt(case, measures)? {
        return Ok(Opinion::Pass);
    }
    let mut said = case.dnsbl(&measures.dnsbl)?;
    let refused = said.find_map(|said| match said {
        Blocklisted::Yes(reply) => Some(Opinion::Object(reply.clone())),
        Blocklisted::No | Blocklisted::Unknown => None,
    });
    Ok(refused.unwrap_or(Opinion::Pass))
}

fn verify(case: &Case) -> Known<Opinion> {
    let Some(sender) = case.transaction.sender() else {
        return Ok(Opinion::Pass);
    };
    let measures = case.measures()?;
    if !measures.verify_sender || is_exempt(case, measures)? {
        return Ok(Opinion::Pass);
    }
    Ok(match case.callout()? {
        Callout::Refused { server, reason } => {
            Opinion::Object(replies::sender_unknown(sender, server.as_deref(), reason))
        }
        Callout::Exists | Callout::Unknown(_) | Callout::Exempt => Opinion::Pass,
    })
}

fn is_exempt(case: &Case, measures: &Measures) -> Known<bool> {
    Ok(case.listed(&measures.sender_exempt)?.is_some())
}

fn fail_refused(case: &Case) -> Known<Opinion> {
    let (found, client) = (case.spf()?, case.client.address);
    Ok(Opinion::object_if(found.result == SpfResult::Fail, || {
        replies::spf_fail(found, client)
    }))
}

#[cfg(test)]
mod tests;
