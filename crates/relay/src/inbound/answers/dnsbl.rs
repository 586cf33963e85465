//! Which blocklists name the client or the sender.

use envelope::Domain;
use futures_util::future::join_all;
use policy::{Blocklisted, Name};
use spool::Spool;

use super::Inquiry;
use crate::dnsbl::{Dnsbl, Kind, Subject};

impl<S: Spool> Inquiry<'_, S> {
    /// For each blocklist; all are asked at once.
    pub(super) async fn dnsbl(&self, zones: &[Name]) -> Vec<(Name, Blocklisted)> {
        let ask = |name| async move {
            let answer = match self.sources.routing.dnsbls.get(name) {
                Some(list) => self.blocklisted(name, list).await,
                None => Blocklisted::Unknown,
            };
            (Name::clone(name), answer)
        };
        join_all(zones.iter().map(ask)).await
    }

    async fn blocklisted(&self, name: &Name, list: &Dnsbl) -> Blocklisted {
        let subjects = match list.kind {
            Kind::Address => self.client_address(),
            Kind::Domain => self.sender_names().await,
        };
        let Some(client) = self.case.client.address.filter(|_| !subjects.is_empty()) else {
            return Blocklisted::No;
        };
        let lists = &self.inbound.blocklists;
        let found = lists.find(list, &subjects).await;
        if self.counts {
            lists.count(name, &found);
        }
        match found {
            Ok(None) => Blocklisted::No,
            Err(_) => Blocklisted::Unknown,
            Ok(Some(subject)) => {
                let first = list.has_first_reply() && lists.is_first(name, client, self.counts);
                let text = lists.text(list, subject).await;
                Blocklisted::Yes(list.reply(first, name, subject, text.as_deref()))
            }
        }
    }

    /// Loopback and private addresses are not asked about: they mean another machine in every network, so that no list of the
    /// Internet can know them, and the question would tell strangers of our own.
    fn client_address(&self) -> Vec<Subject> {
        let client = self.case.client.address.map(|client| client.to_canonical());
        let public = client.filter(|client| delivery::is_public(*client));
        public.map(Subject::Address).into_iter().collect()
    }

    /// The sender's domain, the name in EHLO, and the client's own; each once. Address literals are no names.
    async fn sender_names(&self) -> Vec<Subject> {
        let sender = self
            .case
            .transaction
            .sender()
            .and_then(|sender| sender.domain().cloned());
        let hello = self.case.hello.parse::<Domain>().ok();
        let client = self.sources.name.get().await;
        let mut names: Vec<Subject> = Vec::new();
        for name in [sender, hello, client]
            .into_iter()
            .flatten()
            .filter(Domain::is_full)
        {
            let name = Subject::Domain(name);
            if !names.contains(&name) {
                names.push(name);
            }
        }
        names
    }
}
