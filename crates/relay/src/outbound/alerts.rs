//! The operator is told of each freeze once, and of what the doctor finds (`checkup.rs`): by a mail of ours through the queue, and by a webhook.
//!
//! ```text
//! frozen ─► mailing ID ─► (on disk) ─► mail ID queued, not to be sent yet ─► mailed ─► (on disk) ─► it is sent
//! ```
//!
//! A crash before `mailing` tells of it in a new mail. One between `mailing` and `mailed` queues the mail with the same id again,
//! before anything is sent: it is there already, and stays one. Many freezes share a mail: there is no more than one a minute.
//!
//! The webhook is told at least once: it cannot be asked whether it has heard. Key and time name a freeze.

use std::collections::BTreeMap;
use std::fmt;
use std::time::Duration;

use aws_lc_rs::hmac;
use bounce::{Alert, Composed, Frozen};
use counters::{Freeze, Limit, Mark};
use data_encoding::HEXLOWER;
use envelope::{Claim, ForwardPath, Mailbox, MessageId};
use filter::http::{self, causes};
use journal::Event;
use reqwest::{RequestBuilder, Url};
use serde_json::{Value, json};
use spool::{BodyWriter, Dsn, Spool, Update};

use super::leases::LEASE;
use super::notices::to_queue;
use super::{Outbound, way};
use crate::routing::Routing;

/// Who is told.
#[derive(Debug, Clone, Default, PartialEq, Eq)]
pub struct Alerts {
    /// By mail.
    pub mail: Option<Mailbox>,
    /// By a POST to this address.
    pub webhook: Option<Url>,
    /// What such a POST is signed with.
    pub secret: Option<Secret>,
    /// A queue of more legs is told of; 0: none is.
    pub queue_max: u64,
}

/// A key that a webhook knows us by.
#[derive(Clone, PartialEq, Eq)]
pub struct Secret(Vec<u8>);

/// Why a POST was not taken.
#[derive(Debug)]
pub(super) struct NotTaken {
    pub(super) text: String,
    /// It would not be taken another time, either.
    pub(super) is_final: bool,
}

/// What a round of telling came to.
#[derive(Debug, PartialEq, Eq)]
pub(crate) enum Told {
    /// There was nothing to tell, or nobody.
    Nothing,
    Some,
    /// To be tried again.
    Failed,
}

impl<S: Spool> Outbound<S> {
    /// Mails of what is frozen, as long as it is polled.
    pub(super) async fn keep_mailing(&self) {
        loop {
            match self.mail_freezes().await {
                Told::Nothing => self.to_mail.notified().await,
                Told::Some => tokio::time::sleep(MAIL_EVERY).await,
                Told::Failed => tokio::time::sleep(MAIL_AGAIN).await,
            }
        }
    }

    /// Ends what a crash has broken off. To be called before anything is delivered: a mail that has left the queue would be
    /// queued once more.
    pub(crate) async fn resume_mailing(&self) -> Told {
        let mut open: BTreeMap<MessageId, Vec<Freeze>> = BTreeMap::new();
        for freeze in self.counting.frozen(|told| !told.is_mailed) {
            if let Some(id) = freeze.told.mail {
                open.entry(id).or_default().push(freeze);
            }
        }
        let mut told = Told::Nothing;
        for (id, freezes) in open {
            told = self.mail(id, &freezes).await;
        }
        told
    }

    /// One mail about all that no mail has told of.
    pub(crate) async fn mail_freezes(&self) -> Told {
        let resumed = self.resume_mailing().await;
        let untold = self.counting.frozen(|told| told.mail.is_none());
        if untold.is_empty() || self.routing.load().alerts.mail.is_none() {
            return resumed;
        }
        let id = self.ids.next(self.clock.now());
        self.counting.mark(&untold, Mark::Mailing(id));
        self.write_freezes().await;
        self.mail(id, &untold).await
    }

    /// Queues the mail with this id, unless it is queued.
    async fn mail(&self, id: MessageId, freezes: &[Freeze]) -> Told {
        let routing = self.routing.load_full();
        let Some(to) = &routing.alerts.mail else {
            return Told::Nothing;
        };
        let claims = match self.queue_freezes(id, to, freezes, &routing).await {
            Ok(claims) => claims,
            Err(error) => {
                tracing::error!(%to, %error, "cannot queue the mail about what is frozen; it is tried again\n\nhint: `[alerts] mail` must be an address that takes mail");
                return Told::Failed;
            }
        };
        self.counting.mark(freezes, Mark::Mailed);
        self.write_freezes().await;
        self.send_alert(claims).await;
        Told::Some
    }

    /// Lets the mail go whose legs these are.
    pub(super) async fn send_alert(&self, claims: Vec<Claim>) {
        for claim in claims {
            // Not released: that would wake nobody.
            let now = self.clock.now();
            let sent = self.spool.reschedule(claim.lease, now, Update::default());
            if let Err(error) = sent.await {
                tracing::debug!(%error, "the lease of an alert ends by itself");
            }
        }
    }

    async fn queue_freezes(
        &self,
        id: MessageId,
        to: &Mailbox,
        freezes: &[Freeze],
        routing: &Routing,
    ) -> Result<Vec<Claim>, spool::Error> {
        let limits: Vec<_> = freezes.iter().map(|f| rule(&routing.limits, f)).collect();
        let frozen = freezes.iter().zip(&limits).map(|(freeze, limit)| Frozen {
            key: freeze.key.as_str(),
            limit,
            since: freeze.since,
        });
        let frozen: Vec<_> = frozen.collect();
        let compose = |alert: &Alert<'_>| bounce::freezes(alert, &frozen);
        let about = ("freezes", freezes.len());
        self.queue_alert(id, to, about, compose, routing).await
    }

    /// Queues a mail about so many things. Its legs are leased: nobody delivers them yet. There are none if it was queued before.
    pub(super) async fn queue_alert(
        &self,
        id: MessageId,
        to: &Mailbox,
        (of, number): (&'static str, usize),
        compose: impl FnOnce(&Alert<'_>) -> Option<Composed>,
        routing: &Routing,
    ) -> Result<Vec<Claim>, spool::Error> {
        let now = self.clock.now();
        let hostname = &self.hostname;
        let alert = Alert {
            id,
            hostname,
            to,
            now,
        };
        let Some(mut composed) = compose(&alert) else {
            return Ok(Vec::new());
        };
        let path = ForwardPath::Mailbox(to.clone());
        let route = routing.route(&*self.spool, &path, true, now).await?;
        let nowhere = |_| spool::Error::Unknown("it takes no mail here".to_owned());
        let legs = way::legs(routing, path, route, now).map_err(nowhere)?;
        composed.bytes = routing.keys.sign_notice(composed.bytes, now);
        let Dsn { mut arrival, body } = to_queue(id, composed, legs, now);
        arrival.lease = Some(LEASE);
        let mut writer = self.spool.begin(id).await?;
        writer.write(body).await?;
        let claims = self.spool.commit(writer, arrival).await?;
        self.journal.record(Event::Alerted {
            id,
            to: to.clone(),
            of,
            number: number as u64,
        });
        Ok(claims)
    }

    /// Posts what is frozen to the webhook, as long as it is polled.
    pub(super) async fn keep_posting(&self) {
        let mut again = POST_AGAIN;
        loop {
            match self.post_freezes().await {
                Told::Nothing => self.to_post.notified().await,
                Told::Some => again = POST_AGAIN,
                Told::Failed => {
                    tokio::time::sleep(again).await;
                    again = (2 * again).min(POST_AGAIN_MAX);
                }
            }
        }
    }

    /// Posts some of what the webhook was not told of.
    pub(super) async fn post_freezes(&self) -> Told {
        let routing = self.routing.load_full();
        if routing.alerts.webhook.is_none() {
            return Told::Nothing;
        }
        let mut untold = self.counting.frozen(|told| !told.is_posted);
        untold.truncate(POSTED_AT_ONCE);
        if untold.is_empty() {
            return Told::Nothing;
        }
        let freezes = untold.iter().map(|freeze| {
            json!({
                "key": freeze.key.as_str(),
                "limit": &*freeze.limit,
                "rule": rule(&routing.limits, freeze),
                "since": freeze.since.to_string(),
            })
        });
        let freezes: Vec<_> = freezes.collect();
        let body =
            json!({"event": "frozen", "hostname": self.hostname.to_string(), "freezes": freezes});
        if let Err(NotTaken { text, .. }) = post_json(&routing.alerts, &body).await {
            tracing::error!(
                error = text,
                "the webhook was not told what is frozen; it is tried again\n\nhint: `[alerts] webhook` must answer a POST with 2xx"
            );
            return Told::Failed;
        }
        self.counting.mark(&untold, Mark::Posted);
        self.write_freezes().await;
        Told::Some
    }
}

impl NotTaken {
    fn of(error: reqwest::Error) -> Self {
        Self {
            text: causes(error),
            is_final: false,
        }
    }
}

impl Secret {
    /// These octets.
    pub fn new(key: &[u8]) -> Self {
        Self(key.to_vec())
    }

    fn sign(&self, body: &str) -> String {
        let key = hmac::Key::new(hmac::HMAC_SHA256, &self.0);
        let tag = hmac::sign(&key, body.as_bytes());
        format!("sha256={}", HEXLOWER.encode(tag.as_ref()))
    }
}

impl fmt::Debug for Secret {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.write_str("a secret")
    }
}

/// Posts to the webhook, if there is one.
pub(super) async fn post_json(alerts: &Alerts, body: &Value) -> Result<(), NotTaken> {
    let Some(url) = &alerts.webhook else {
        return Ok(());
    };
    let client = http::client().timeout(POST_TIME).build();
    let client = client.map_err(NotTaken::of)?;
    let (mut request, body) = (client.post(url.clone()), body.to_string());
    if let Some(secret) = &alerts.secret {
        request = request.header("X-Onward-Signature", secret.sign(&body));
    }
    post(request, "application/json", body.into()).await
}

pub(super) async fn post(
    request: RequestBuilder,
    kind: &str,
    body: Vec<u8>,
) -> Result<(), NotTaken> {
    let request = request.header("Content-Type", kind).body(body);
    let answer = request.send().await.map_err(NotTaken::of)?;
    let host = answer.url().host_str().unwrap_or_default();
    match answer.status() {
        status if status.is_success() => Ok(()),
        status => Err(NotTaken {
            text: format!("{host} answers {status}"),
            is_final: status.is_client_error() && ![408, 425, 429].contains(&status.as_u16()),
        }),
    }
}

/// The limit in words, if it still is one.
fn rule(limits: &[Limit], freeze: &Freeze) -> String {
    let name = &freeze.limit;
    let limit = limits.iter().find(|limit| *limit.name == **name);
    let Some(Limit { max, of, per, .. }) = limit else {
        return name.to_string();
    };
    let per = humantime::format_duration(*per);
    format!("{name}: {max} {} in {per}", of.name())
}

/// A flood of freezes is not a flood of mail.
const MAIL_EVERY: Duration = Duration::from_mins(1);
const MAIL_AGAIN: Duration = Duration::from_mins(10);
const POST_TIME: Duration = Duration::from_secs(10);
pub(super) const POST_AGAIN: Duration = Duration::from_secs(5);
pub(super) const POST_AGAIN_MAX: Duration = Duration::from_hours(1);
/// Some 200 KB.
const POSTED_AT_ONCE: usize = 1000;
