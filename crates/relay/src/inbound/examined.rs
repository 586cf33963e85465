//! A message that somebody wants looked at: what its header proves, and the fields that say so on top of it.

use std::sync::OnceLock;

use authentic::{Checked, Parsed, Results, Verdict, received_spf};
use envelope::{Message, Origin};
use journal::Event;
use policy::SpfFound;
use smtp_in::Client;
use spool::Spool;

use super::Visit;
use super::draft::Draft;
use crate::giver::Giver;
use crate::origin::origin;

/// A message that was read to its end.
pub(super) struct Examined {
    pub(super) parsed: Parsed,
    /// What it proves, once that was asked.
    pub(super) results: OnceLock<Results>,
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
        let found = &self.case.transaction.found;
        // Most relays look at no senders: they pay nothing here.
        if found.spf.is_none() && examined.is_none() {
            return;
        }
        let routing = self.routing();
        let hello = client.hello.as_ref().map_or("", |hello| &hello.name);
        let giver = Giver::new(client.peer.ip(), hello, &message.reverse_path, has_name);
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
        let (checked, is_proved) = match &self.case.client.user {
            // Who is behind the mail is known: nothing else has to be told of its sender.
            Some(user) => {
                let author = examined.and_then(|examined| examined.parsed.author());
                let is_theirs = author.is_some_and(|author| user.senders.allow_domain(author));
                let checked = Checked::new("auth", "pass").with("smtp.mailfrom", giver.mail_from());
                (results.map(|_| checked).into_iter().collect(), is_theirs)
            }
            None => {
                let is_proved =
                    results.is_some_and(|results| results.dmarc.verdict == Verdict::Pass);
                (giver.checked(found.spf.as_ref(), results), is_proved)
            }
        };
        draft.put_results(&routing, &checked, &received, examined, is_proved, message);
    }
}

/// The line of the mail log.
fn authenticated(message: &Message, spf: &SpfFound, results: Option<&Results>) -> Event {
    let with = |word: &str, domain: &str| format!("{word} {domain}").trim_end().to_owned();
    let dkim = |results: &Results| {
        let each = results.dkim.iter().map(|signed| {
            let domain = signed.domain.as_ref().map_or("", |domain| domain.as_str());
            with(signed.verdict.name(), domain)
        });
        each.collect::<Vec<_>>().join(", ")
    };
    let arc = |Results { arc, .. }: &Results| {
        let domain = arc.domain.as_ref().map_or("", |domain| domain.as_str());
        with(arc.verdict.name(), domain)
    };
    let dmarc = |Results { dmarc, .. }: &Results| {
        let from = dmarc.from.as_ref().map_or("", |from| from.as_str());
        with(dmarc.verdict.name(), from)
    };
    Event::Authenticated {
        id: message.id,
        spf: with(spf.result.name(), &spf.domain),
        dkim: results.map(dkim).filter(|dkim| !dkim.is_empty()),
        arc: results.map(arc),
        dmarc: results.map(dmarc),
        origin: message.origin,
    }
}
