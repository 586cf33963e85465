//! Legs that go to a host in one transaction: the same message under the same reverse path with the same trace header
//! and the same options.
//!
//! Recipients must not learn of each other from a shared trace header, so legs with different ones never share.

use std::collections::HashSet;

use envelope::{BodyKind, Claim, SenderTls, Timestamp};
use smtp::Capabilities;
use smtp::client::{Transaction, TransactionRecipient};

/// One or more legs; never none.
#[derive(Debug)]
pub(crate) struct Parcel(Vec<Claim>);

impl Parcel {
    pub(crate) fn new(claim: Claim) -> Self {
        Self(vec![claim])
    }

    /// Adds the leg if it belongs here and there is room; gives it back otherwise.
    pub(crate) fn add(&mut self, claim: Claim, recipients_max: usize) -> Option<Claim> {
        let first = self.first();
        let belongs = self.0.len() < recipients_max
            && first.message.id == claim.message.id
            && first.leg.reverse_path == claim.leg.reverse_path
            && first.leg.trace == claim.leg.trace
            && first.leg.options == claim.leg.options;
        if !belongs {
            return Some(claim);
        }
        self.0.push(claim);
        None
    }

    /// The first leg; what all have in common is read from it.
    pub(crate) fn first(&self) -> &Claim {
        &self.0[0]
    }

    /// How many legs.
    pub(crate) fn len(&self) -> usize {
        self.0.len()
    }

    pub(crate) fn claims(&self) -> &[Claim] {
        &self.0
    }

    pub(crate) fn into_claims(self) -> Vec<Claim> {
        self.0
    }

    /// Keeps what the peer takes in one transaction (RFC 9422 §4) and returns the rest.
    pub(crate) fn split(&mut self, peer: &Capabilities) -> Option<Self> {
        let number = |limit: Option<u32>| limit.map_or(usize::MAX, |n| n.max(1) as usize);
        let recipients_max = number(peer.limits.rcpt_max);
        let domains_max = number(peer.limits.rcpt_domain_max);
        let mut domains = HashSet::new();
        let mut fits = |claim: &Claim| {
            domains.insert(claim.leg.target.host().clone());
            domains.len() <= domains_max
        };
        let within_domains = self.0.iter().take_while(|c| fits(c)).count();
        let keep = within_domains.min(recipients_max).max(1);
        let rest = self.0.split_off(keep.min(self.0.len()));
        (!rest.is_empty()).then_some(Self(rest))
    }

    /// What is said to the peer.
    pub(crate) fn transaction(&self) -> Transaction {
        let Claim { message, leg, .. } = self.first();
        let recipient = |claim: &Claim| TransactionRecipient {
            target: claim.leg.target.clone(),
            notify: claim.leg.notify,
            original: claim.leg.original.clone(),
        };
        Transaction {
            reverse_path: leg.reverse_path.clone(),
            recipients: self.0.iter().map(recipient).collect(),
            body: message.body,
            smtputf8: message.smtputf8,
            size: self.size(),
            ret: message.ret,
            envid: message.envid.clone(),
            require_tls: leg.options.sender_tls() == SenderTls::Required,
            rcpt_only: false,
        }
    }

    /// Whether the peer lacks an extension that this needs, so that another host should be tried.
    pub(crate) fn is_beyond(&self, peer: &Capabilities, eight_bit_anyway: bool) -> bool {
        let Claim { message, leg, .. } = self.first();
        let mut addresses = leg
            .reverse_path
            .mailbox()
            .into_iter()
            .chain(self.0.iter().map(|claim| &claim.leg.target));
        let smtputf8 = message.smtputf8 || addresses.any(|mailbox| !mailbox.is_ascii());
        let eight_bit = message.body == BodyKind::EightBitMime && !eight_bit_anyway;
        peer.size.is_some_and(|max| self.size() > max)
            || (smtputf8 && !peer.smtputf8)
            || (eight_bit && !peer.eight_bit_mime)
            || (leg.options.sender_tls() == SenderTls::Required && !peer.require_tls)
    }

    /// Octets that go to the peer as the body.
    fn size(&self) -> u64 {
        let Claim { message, leg, .. } = self.first();
        message.size + leg.trace.len() as u64
    }

    /// When the first of the leases ends.
    pub(crate) fn lease_end(&self) -> Timestamp {
        let ends = self.0.iter().map(|claim| claim.lease.expires);
        ends.min().unwrap_or(Timestamp::from_unix_millis(0))
    }
}

#[cfg(test)]
mod tests {
    use std::sync::Arc;

    use envelope::{Leg, Message, MessageId, ReversePath};
    use testkit::nouns;

    use super::*;

    fn claim(message: u128, target: &str, trace: &str, from: &str) -> Claim {
        let message = Message {
            body: BodyKind::EightBitMime,
            ..nouns::message(MessageId::from_bits(message), 90)
        };
        let leg = Leg {
            trace: trace.into(),
            reverse_path: ReversePath::Mailbox(nouns::mailbox(from)),
            ..nouns::leg(target)
        };
        nouns::claim(&Arc::new(message), 0, leg)
    }

    #[track_caller]
    fn check_add(other: Claim, joins: bool) {
        let mut parcel = Parcel::new(claim(1, "a@x.test", "T: 1\r\n", "s@y.test"));
        assert_eq!(parcel.add(other, 2).is_none(), joins);
        assert_eq!(parcel.len(), 1 + usize::from(joins));
    }

    #[test]
    fn only_what_looks_alike_to_the_peer_shares_a_transaction() {
        check_add(claim(1, "b@z.test", "T: 1\r\n", "s@y.test"), true);
        check_add(claim(2, "b@x.test", "T: 1\r\n", "s@y.test"), false);
        check_add(claim(1, "b@x.test", "T: 2\r\n", "s@y.test"), false);
        check_add(claim(1, "b@x.test", "T: 1\r\n", "t@y.test"), false);
        let mut parcel = Parcel::new(claim(1, "a@x.test", "", "s@y.test"));
        assert!(
            parcel
                .add(claim(1, "b@x.test", "", "s@y.test"), 1)
                .is_some()
        );
    }

    #[track_caller]
    fn check_split(extensions: &str, expected: &[usize]) {
        let peer = Capabilities::parse(&format!("mx\n{extensions}"));
        let mut parcel = Parcel::new(claim(1, "a@x.test", "", "s@y.test"));
        for target in ["b@x.test", "c@z.test", "d@z.test", "e@x.test"] {
            assert!(parcel.add(claim(1, target, "", "s@y.test"), 9).is_none());
        }
        let mut sizes = Vec::new();
        let mut left = Some(parcel);
        while let Some(mut parcel) = left {
            left = parcel.split(&peer);
            sizes.push(parcel.len());
        }
        assert_eq!(sizes, expected, "{extensions}");
    }

    #[test]
    fn split_by_the_peer_s_limits() {
        check_split("", &[5]);
        check_split("LIMITS RCPTMAX=2", &[2, 2, 1]);
        check_split("LIMITS RCPTMAX=1", &[1, 1, 1, 1, 1]);
        check_split("LIMITS RCPTDOMAINMAX=1", &[2, 2, 1]);
        check_split("LIMITS RCPTDOMAINMAX=2 RCPTMAX=3", &[3, 2]);
    }

    #[test]
    fn a_sender_s_wish_for_tls_goes_on() {
        let mut claim = claim(1, "a@x.test", "", "s@y.test");
        assert!(!Parcel::new(claim.clone()).transaction().require_tls);
        claim.leg.options = claim.leg.options.with_sender_tls(SenderTls::Required);
        let parcel = Parcel::new(claim);
        assert!(parcel.transaction().require_tls);
        assert!(parcel.is_beyond(&Capabilities::parse("mx\nDSN"), true));
        assert!(!parcel.is_beyond(&Capabilities::parse("mx\nREQUIRETLS"), true));
    }

    #[track_caller]
    fn check_beyond(extensions: &str, target: &str, anyway: bool, expected: bool) {
        let peer = Capabilities::parse(&format!("mx\n{extensions}"));
        let parcel = Parcel::new(claim(1, target, "T: 34567\r\n", "s@y.test"));
        assert_eq!(parcel.is_beyond(&peer, anyway), expected, "{extensions}");
    }

    #[test]
    fn what_a_peer_cannot_take() {
        check_beyond("", "a@x.test", true, false);
        check_beyond("", "a@x.test", false, true);
        check_beyond("8BITMIME", "a@x.test", false, false);
        check_beyond("SIZE 100", "a@x.test", true, false);
        check_beyond("SIZE 99", "a@x.test", true, true);
        check_beyond("", "ü@x.test", true, true);
        check_beyond("SMTPUTF8", "ü@x.test", true, false);
    }
}
