//! A message that somebody wants looked at: what its header proves, and the fields that say so on top of it.

use std::net::IpAddr;
use std::sync::OnceLock;

use authentic::{Checked, Parsed, Results, SpfFacts};
use envelope::ReversePath;
use policy::{Identity, SpfFound, SpfResult};
use smtp_in::Client;

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
        examined: Option<&'a Examined>,
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
        let results = examined.and_then(|examined| examined.results.get());
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
