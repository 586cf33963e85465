//! Proof of a sender, looked for when a notice to it is due: by SPF of the client that brought the message, and by DKIM of the
//! body as it was taken in.
//!
//! So a relay that looks at no senders on arrival pays nothing for what it delivers, and sends no notice to a forged sender.

use std::time::Duration;

use authentic::{Reader, Results};
use envelope::{Message, Origin, Peer};
use policy::SpfResult;
use spool::{BodyReader, Spool};
use tokio::time::timeout;

use super::Outbound;
use super::notices::Unmade;
use crate::origin::{is_in_doubt, origin};
use crate::{BounceTo, sender_policy};

/// Whether DNS must be asked before the sender may get a notice.
pub(super) fn needs_proof(message: &Message) -> bool {
    message.origin == Origin::Stranger && message.peer.is_some()
}

impl<S: Spool> Outbound<S> {
    /// Whether the sender of a message may get a notice. While DNS does not answer, somebody patient is told to come again.
    pub(super) async fn may_tell(
        &self,
        message: &Message,
        to: BounceTo,
        is_patient: bool,
    ) -> Result<(), Unmade> {
        let found = match (message.origin, &message.peer) {
            (Origin::Stranger, Some(peer)) => {
                let found = timeout(PROOF, self.prove(message, peer)).await;
                found.unwrap_or_default()
            }
            (known, _) => Some(known),
        };
        match (found, to) {
            (Some(Origin::Forged), _) => Err("its sender is forged: SPF or DMARC fails".into()),
            (None, BounceTo::Proved) if is_patient => Err(Unmade::InDoubt),
            (None, BounceTo::Proved) => Err("its sender is not proved: DNS does not answer".into()),
            (Some(Origin::Stranger), BounceTo::Proved) => {
                Err("its sender is not proved: neither SPF nor DKIM passes".into())
            }
            _ => Ok(()),
        }
    }

    /// `None`: DNS does not answer.
    async fn prove(&self, message: &Message, peer: &Peer) -> Option<Origin> {
        let sender = &message.reverse_path;
        let query = sender_policy::query(peer.address, &peer.hello, sender);
        let spf = sender_policy::check(&self.resolver, query, sender)
            .await
            .result;
        let results = match spf {
            SpfResult::Pass => None,
            _ => self.verify(message).await,
        };
        let is_known = !is_in_doubt(sender, spf, results.as_ref());
        let found = origin(sender, spf, results.as_ref());
        (is_known || found == Origin::Proved).then_some(found)
    }

    /// Verifies the body as it came in: what we have signed ourselves proves nothing.
    async fn verify(&self, message: &Message) -> Option<Results> {
        let mut body = self.spool.open_body(message.id).await.ok()?;
        let (mut reader, mut ours) = (Reader::default(), message.trace.len());
        while let Some(chunk) = body.chunk().await.ok()? {
            let skipped = ours.min(chunk.len());
            ours -= skipped;
            reader.feed(&chunk[skipped..]);
        }
        let parsed = reader.finish();
        // A signature need not outlast the queue.
        let now = message.arrived.unix_secs();
        let spf = authentic::Spf::Other;
        Some(parsed.verify(&self.resolver, spf, now).await)
    }
}

/// For all look-ups together.
const PROOF: Duration = Duration::from_secs(20);

#[cfg(test)]
mod tests {
    use authentic::{Key, Kind, sign};
    use delivery::Work;
    use envelope::{Leg, Outcome, ReversePath, Timestamp, Trip};
    use journal::Event;
    use spool::{Arrival, BodyWriter};

    use super::super::tests::{Fixture, done};
    use super::super::{DOUBT_PAUSE, TROUBLE_PAUSE};
    use super::*;
    use crate::tests::{now, routing};

    fn records() -> dns::Fixed {
        let records = dns::Fixed::new().with_txt("a.test", "v=spf1 ip4:192.0.2.1 -all");
        records.with_trouble("ill.test".parse().unwrap(), "SERVFAIL")
    }

    /// What becomes of the notice about a message of this sender that has failed, with `[bounce] to` as given: `bounced`, or
    /// why it is not, or `later`.
    async fn told(to: BounceTo, sender: &str, origin: Origin, peer: Option<&str>) -> String {
        let message = ("", "From: x@a.test\r\n\r\n", Duration::ZERO);
        told_of(to, sender, origin, peer, message, records()).await
    }

    /// Of a message with this trace of ours, this text, and this age.
    async fn told_of(
        to: BounceTo,
        sender: &str,
        origin: Origin,
        peer: Option<&str>,
        (trace, text, age): (&str, &str, Duration),
        records: dns::Fixed,
    ) -> String {
        let routing = crate::Routing {
            bounce_to: to,
            ..routing("")
        };
        let mut fixture = Fixture::with(routing, records);
        let outbound = &fixture.outbound;
        let id = outbound.ids.next(now());
        let mut writer = outbound.spool.begin(id).await.unwrap();
        writer.write(text.as_bytes().to_vec()).await.unwrap();
        let needs_proof = peer.is_some();
        let peer = peer.map(|address| Peer {
            address: address.parse().unwrap(),
            hello: "mx.a.test".into(),
        });
        let message = Message {
            origin,
            peer,
            trace: trace.into(),
            ..Message::new(
                id,
                Timestamp::from_unix_millis(now().unix_millis() - age.as_millis() as u64),
                ReversePath::Mailbox(sender.parse().unwrap()),
                writer.len() + trace.len() as u64,
            )
        };
        let target: envelope::Mailbox = "x@b.test".parse().unwrap();
        let leg = Leg::new(ReversePath::Null, target.clone(), target);
        let arrival = Arrival::new(message, vec![leg], now());
        outbound.spool.commit(writer, arrival).await.unwrap();
        let claims = fixture.claim(now()).await;
        let failed = vec![Outcome::Failed(done())];
        fixture
            .outbound
            .settle(&claims, &Trip::default(), failed)
            .await;
        let mut told = || {
            let events = std::iter::from_fn(|| fixture.events.try_next()?.ok());
            let mut told = events.filter_map(|entry| match entry.event {
                Event::Bounced { .. } => Some("bounced".to_owned()),
                Event::NotBounced { reason, .. } => Some(reason.to_owned()),
                _ => None,
            });
            told.next()
        };
        let at_once = told();
        assert!(at_once.is_none() || !needs_proof, "{at_once:?}: in a lane");
        fixture.outbound.tell_overdue().await;
        let Some(told) = at_once.or_else(told) else {
            // Each try delivers again: not soon.
            let later = now().plus(2 * TROUBLE_PAUSE);
            assert_eq!(fixture.claim(later).await.len(), 0);
            let later = later.plus(DOUBT_PAUSE);
            assert_eq!(fixture.claim(later).await.len(), 1);
            return "later".to_owned();
        };
        told
    }

    #[track_caller]
    fn check(told: &str, expected: &str) {
        let fits = match expected {
            "bounced" | "later" => told == expected,
            reason => told.contains(reason),
        };
        assert!(fits, "{told}, and not {expected}");
    }

    #[tokio::test]
    async fn what_was_found_on_arrival_counts() {
        use BounceTo::{Proved, Unproved};
        for (origin, proved, unproved) in [
            (Origin::Proved, "bounced", "bounced"),
            (Origin::TrustedClient, "bounced", "bounced"),
            (Origin::Authenticated, "bounced", "bounced"),
            (Origin::Stranger, "neither SPF nor DKIM", "bounced"),
            (Origin::Forged, "forged", "forged"),
        ] {
            check(&told(Proved, "x@a.test", origin, None).await, proved);
            check(&told(Unproved, "x@a.test", origin, None).await, unproved);
        }
    }

    #[tokio::test]
    async fn the_others_are_looked_at_when_the_notice_is_due() {
        use BounceTo::{Proved, Unproved};
        for (sender, client, proved, unproved) in [
            ("x@a.test", "192.0.2.1", "bounced", "bounced"),
            ("x@a.test", "192.0.2.9", "forged", "forged"),
            ("x@c.test", "192.0.2.9", "neither SPF nor DKIM", "bounced"),
            (
                "x@[192.0.2.9]",
                "192.0.2.9",
                "neither SPF nor DKIM",
                "bounced",
            ),
            ("x@ill.test", "192.0.2.9", "later", "bounced"),
        ] {
            let found = told(Proved, sender, Origin::Stranger, Some(client)).await;
            check(&found, proved);
            let found = told(Unproved, sender, Origin::Stranger, Some(client)).await;
            check(&found, unproved);
        }
    }

    /// SPF fails, as it does behind a forwarder; a signature proves the sender, but not one that we have put on top ourselves.
    #[tokio::test]
    async fn a_signature_proves_the_sender() {
        let domain = "a.test".parse().unwrap();
        let (key, _) = Key::generate(domain, "s".parse().unwrap(), Kind::Ed25519).unwrap();
        let text = "From: x@a.test\r\nSubject: x\r\n\r\nhello\r\n";
        let mut reader = Reader::signing();
        reader.feed(text.as_bytes());
        // It has expired since the message arrived.
        let signed_at = now().unix_secs() - 31 * 24 * 3600;
        let field = sign(&key, &reader.finish(), signed_at).unwrap();
        let signed = format!("{field}{text}");
        for (sender, trace, text, expected) in [
            ("x@a.test", "", &*signed, "bounced"),
            ("x@list.a.test", "", &signed, "bounced"),
            ("x@b.test", "", &signed, "neither SPF nor DKIM"),
            ("x@a.test", &field, text, "forged"),
            ("x@a.test", "", &signed.replace("hello", "hullo"), "forged"),
        ] {
            let records = records().with_txt(key.record_name(), key.record().unwrap());
            let (origin, client) = (Origin::Stranger, Some("192.0.2.9"));
            let message = (trace, text, Duration::from_hours(48));
            let found = told_of(BounceTo::Proved, sender, origin, client, message, records).await;
            check(&found, expected);
        }
    }
}
