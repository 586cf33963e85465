//! Who handed a message over, and what there is to say of that: for the fields on top of it.

use std::net::IpAddr;

use authentic::{Checked, Results, SpfFacts};
use envelope::ReversePath;
use policy::{Identity, SpfFound, SpfResult};

/// The client.
pub struct Giver<'a> {
    client: IpAddr,
    hello: &'a str,
    /// Empty: the null sender.
    mail_from: String,
    /// Its name was looked up, and leads back to it.
    has_name: bool,
}

impl<'a> Giver<'a> {
    /// With its name in EHLO and the sender that it named.
    pub fn new(client: IpAddr, hello: &'a str, sender: &ReversePath, has_name: bool) -> Self {
        Self {
            client,
            hello,
            mail_from: sender
                .mailbox()
                .map(ToString::to_string)
                .unwrap_or_default(),
            has_name,
        }
    }

    /// The sender; empty: the null sender.
    pub(crate) fn mail_from(&self) -> &str {
        &self.mail_from
    }

    /// What there is to say of SPF.
    pub(crate) fn spf(&'a self, found: &'a SpfFound) -> SpfFacts<'a> {
        SpfFacts {
            result: found.result.name(),
            of_hello: found.identity == Identity::Hello,
            client: self.client,
            hello: self.hello,
            mail_from: &self.mail_from,
            reason: &found.reason,
        }
    }

    /// All that was checked.
    pub fn checked(
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
            let of_hello = Checked::new("spf", result.name());
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
