//! A message that somebody wants looked at: what its header proves, and the fields that say so on top of it.

use std::net::IpAddr;
use std::sync::OnceLock;

use authentic::{Checked, Parsed, Results, SpfFacts, received_spf};
use envelope::{Message, Origin, ReversePath};
use journal::Event;
use policy::{Identity, SpfFound, SpfResult};
use smtp_in::Client;
use spool::Spool;

use super::Visit;
use super::draft::Draft;
use crate::origin::origin;

/// A message that was read to its end.
pub(super) struct Examined {
    pub(super) parsed: Parsed,
    /// What it proves, once that was asked.
    pub(super) results: OnceLock<Results>,
}

/// Who handed the message over.
pub(super) struct Giver<'a> {
    client: IpAddr,
    hello: &'a str,
    /// Empty: the null sender.
    mail_from: String,
    /// Its name was looked up, and leads back to it.
    has_name: bool,
}

impl Examined {
    pub(super) fn new(parsed: Parsed) -> Self {
        Self {
            parsed,
            results: OnceLock::new(),
        }
    }
}

impl<S: Spool> Visit<S> {
    /// Says what was found out about the sender: on top of the message, and in the mail log; and keeps what it proves.
    pub(super) fn tell_results(
        &self,
        client: &Client,
        has_name: bool,
        examined: Option<&Examined>,
        draft: &mut Draft<S>,
        message: &mut Message,
    ) {
        let (routing, found) = (self.routing(), &self.case.transaction.found);
        let giver = Giver::new(client, &message.reverse_path, has_name);
        let results = examined.and_then(|examined| examined.results.get());
        let mut received = String::new();
        if let Some(spf) = &found.spf {
            message.origin = origin(&message.reverse_path, spf.result, results);
            // While it is not known, it can be looked for again.
            message.peer.take_if(|_| message.origin != Origin::Stranger);
            let event = authenticated(message, spf, results);
            self.inbound.journal.record(event);
            if routing.received_spf {
                received = received_spf(routing.hostname(), &giver.spf(spf));
            }
        }
        let checked = giver.checked(found.spf.as_ref(), results);
        draft.put_results(&routing, &checked, &received, examined, message);
    }
}

/// The line of the mail log.
fn authenticated(message: &Message, spf: &SpfFound, results: Option<&Results>) -> Event {
    let with = |word: &str, domain: &str| format!("{word} {domain}").trim_end().to_owned();
    let dkim = |results: &Results| {
        let each = results.dkim.iter().map(|signed| {
            let domain = signed.domain.as_ref().map_or("", |domain| domain.as_str());
            with(signed.verdict.word(), domain)
        });
        each.collect::<Vec<_>>().join(", ")
    };
    let arc = |Results { arc, .. }: &Results| {
        let domain = arc.domain.as_ref().map_or("", |domain| domain.as_str());
        with(arc.verdict.word(), domain)
    };
    let dmarc = |Results { dmarc, .. }: &Results| {
        let from = dmarc.from.as_ref().map_or("", |from| from.as_str());
        with(dmarc.verdict.word(), from)
    };
    Event::Authenticated {
        id: message.id,
        spf: with(spf.result.as_str(), &spf.domain),
        dkim: results.map(dkim).filter(|dkim| !dkim.is_empty()),
        arc: results.map(arc),
        dmarc: results.map(dmarc),
        origin: message.origin,
    }
}

impl<'a> Giver<'a> {
    pub(super) fn new(client: &'a Client, sender: &ReversePath, has_name: bool) -> Self {
        let hello = client.hello.as_ref();
        Self {
            client: client.peer.ip(),
            hello: hello.map_or("", |hello| &hello.name),
            mail_from: sender
                .mailbox()
                .map(ToString::to_string)
                .unwrap_or_default(),
            has_name,
        }
    }

    /// What there is to say of SPF.
    fn spf(&'a self, found: &'a SpfFound) -> SpfFacts<'a> {
        SpfFacts {
            result: found.result.as_str(),
            of_hello: found.identity == Identity::Hello,
            client: self.client,
            hello: self.hello,
            mail_from: &self.mail_from,
            reason: &found.reason,
        }
    }

    /// All that was checked.
    pub(super) fn checked(
        &'a self,
        spf: Option<&'a SpfFound>,
        results: Option<&'a Results>,
    ) -> Vec<Checked<'a>> {
        let mut checked: Vec<_> = spf
            .map(|found| self.spf(found).into())
            .into_iter()
            .collect();
        // Most names have no record: that is nothing to tell.
        let hello = spf.and_then(|found| found.hello);
        if let Some(result) = hello.filter(|result| *result != SpfResult::None) {
            let of_hello = Checked::new("spf", result.as_str());
            checked.push(of_hello.with("smtp.helo", self.hello));
        }
        checked.extend(
            results
                .into_iter()
                .flat_map(|results| results.checked(self.client)),
        );
        if self.has_name && !checked.is_empty() {
            checked.push(Checked::iprev(self.client));
        }
        checked
    }
}
