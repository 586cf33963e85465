//! What a selector says that only a running relay knows: sites of delivery, and what the history tells of a message.

use std::collections::HashSet;
use std::net::IpAddr;

use control::ask::Trace;
use control::{Answers as _, Fault, MailStatus, PAGE_ROWS_MAX, Selector, TracedMessage};
use envelope::{Actor, Host, MessageId};
use spool::{Ages, By, Filter, Spool};

use super::Operator;
use super::listing::NAMES_MAX;
use super::orders::named;

impl<S: Spool> Operator<S> {
    /// The same as ids and hosts. None: there is nothing that could match.
    pub(super) async fn known(&self, mut selector: Selector) -> Result<Option<Selector>, Fault> {
        if let Some(site) = selector.site.take() {
            selector.hosts = self.hosts_of(&site).await?;
            if selector.hosts.is_empty() {
                return Ok(None);
            }
        }
        let (message_id, client) = (selector.message_id.take(), selector.client.take());
        if message_id.is_some() || client.is_some() {
            let told = self.told(message_id, client).await?;
            match selector.ids.is_empty() {
                true => selector.ids.extend(told.into_iter().map(Into::into)),
                false => {
                    (selector.ids).retain(|id| told.iter().any(|told| id.messages.contains(told)))
                }
            }
            if selector.ids.is_empty() {
                return Ok(None);
            }
        }
        Ok(Some(selector))
    }

    /// Those of the queued hosts whose mail the site takes, and the host of this name. A domain among many that a site takes mail
    /// for means its own mail alone: what is chosen may be removed.
    async fn hosts_of(&self, site: &str) -> Result<HashSet<Host>, Fault> {
        let own: Option<Host> = site.parse().ok();
        let taken_by = own.as_ref().and_then(|own| self.site_of(own));
        if taken_by.is_some_and(|taken_by| !taken_by.name.eq_ignore_ascii_case(site)) {
            return Ok(own.into_iter().collect());
        }
        let sites: HashSet<String> = self.delivery.matching(&named(site)?).into_iter().collect();
        let all = Filter::default();
        let counted = self.spool.summary(&all, By::Host, NAMES_MAX).await;
        let hosts = counted.map_err(Fault::of)?.rows;
        let is_taken = |host: &Host| {
            let taken_by = self.site_of(host);
            taken_by.is_some_and(|site| sites.contains(&site.name))
        };
        let hosts = hosts.iter().filter_map(|(host, _)| host.parse().ok());
        Ok(hosts.filter(is_taken).chain(own).collect())
    }

    /// What the history knows to be queued of such mail.
    async fn told(
        &self,
        message_id: Option<String>,
        client: Option<IpAddr>,
    ) -> Result<HashSet<MessageId>, Fault> {
        let mut ids = HashSet::new();
        for status in [MailStatus::Queued, MailStatus::Deferred, MailStatus::Held] {
            let ask = Trace {
                what: message_id.clone(),
                client,
                status: Some(status),
                limit: PAGE_ROWS_MAX,
                ..Trace::default()
            };
            let traced = self.answer(ask, Actor::Uid(0)).await?;
            if traced.is_cut {
                let many = format!("over {PAGE_ROWS_MAX} such messages are {status}");
                return Err(Fault::new(many).with_hint("choose them by --from, --to or --site"));
            }
            let bare = |id: &str| id.trim_matches(['<', '>']).to_owned();
            let is_meant = |message: &TracedMessage| {
                let own = message.message_id.as_deref().map(bare);
                message_id.is_none() || own == message_id.as_deref().map(bare)
            };
            let meant = traced.messages.into_iter().filter(is_meant);
            ids.extend(meant.filter_map(|message| message.id));
        }
        Ok(ids)
    }

    /// A host as the site that takes its mail, where that is known.
    pub(super) fn rolled_up(&self, (host, ages): (Box<str>, Ages)) -> (Box<str>, Ages) {
        let known = host.parse().ok();
        let site = known.and_then(|host| self.site_of(&host));
        (site.map_or(host, |site| site.name.into()), ages)
    }
}
