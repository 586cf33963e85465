//! The parcels of a site that wait for a connection.
//!
//! The hosted domains that they came for take turns, a parcel each: one customer's flood for a provider does not keep the
//! others' mail waiting behind it. Within a domain, what came first goes first.

use std::collections::{BTreeMap, HashMap, VecDeque};

use envelope::{Claim, Host, Mailbox};

use crate::parcel::Parcel;

/// See the module.
#[derive(Debug, Default)]
pub(crate) struct Turns {
    /// Those that had their turn already: they go first.
    returned: Vec<Parcel>,
    /// The others, numbered as they came.
    parcels: BTreeMap<u64, Parcel>,
    come: u64,
    /// Of each domain that has some, which.
    by_domain: HashMap<Host, VecDeque<u64>>,
    /// These domains, the next first.
    order: VecDeque<Host>,
}

impl Turns {
    /// Puts a leg to others of its message, if there is room for it, or behind all of its domain.
    pub(crate) fn add(&mut self, claim: Claim, recipients_max: usize) {
        let mut left = Some(claim);
        for parcel in self.parcels.values_mut().rev().take(SIBLINGS_SOUGHT) {
            left = left.and_then(|claim| parcel.add(claim, recipients_max));
        }
        let Some(claim) = left else { return };
        let domain = claim.leg.recipient.host();
        let queue = self.by_domain.entry(domain.clone()).or_default();
        if queue.is_empty() {
            self.order.push_back(domain.clone());
        }
        queue.push_back(self.come);
        self.parcels.insert(self.come, Parcel::new(claim));
        self.come += 1;
    }

    /// Puts a parcel back that is to be tried over another connection.
    pub(crate) fn put_back(&mut self, parcel: Parcel) {
        self.returned.push(parcel);
    }

    /// The next one.
    pub(crate) fn take(&mut self) -> Option<Parcel> {
        if let Some(parcel) = self.returned.pop() {
            return Some(parcel);
        }
        let domain = self.order.pop_front()?;
        let queue = self.by_domain.get_mut(&domain)?;
        let number = queue.pop_front()?;
        if queue.is_empty() {
            self.by_domain.remove(&domain);
        } else {
            self.order.push_back(domain);
        }
        self.parcels.remove(&number)
    }

    /// The next one for another mailbox than this, if there is one: what one mailbox gets too much of keeps no other waiting.
    pub(crate) fn take_for_other(&mut self, than: &Mailbox) -> Option<Parcel> {
        let is_other = |parcel: &Parcel| parcel.first().leg.target != *than;
        let Some((number, parcel)) = self.parcels.iter().find(|(_, parcel)| is_other(parcel))
        else {
            return self.take();
        };
        // It is the turn of its domain, which has it first.
        let (number, domain) = (*number, parcel.first().leg.recipient.host().clone());
        let queue = self.by_domain.get_mut(&domain)?;
        queue.retain(|waiting| *waiting != number);
        queue.push_front(number);
        self.order.retain(|waiting| *waiting != domain);
        self.order.push_front(domain);
        let returned = std::mem::take(&mut self.returned);
        let taken = self.take();
        self.returned = returned;
        taken
    }

    /// Takes all of them out, untried.
    pub(crate) fn drain(&mut self) -> impl Iterator<Item = Claim> + use<> {
        let Self {
            returned, parcels, ..
        } = std::mem::take(self);
        let all = returned.into_iter().chain(parcels.into_values());
        all.flat_map(Parcel::into_claims)
    }

    /// How many parcels.
    pub(crate) fn len(&self) -> usize {
        self.returned.len() + self.parcels.len()
    }

    pub(crate) fn is_empty(&self) -> bool {
        self.len() == 0
    }

    /// Legs of all parcels together.
    #[cfg(test)]
    pub(crate) fn legs(&self) -> usize {
        let all = self.returned.iter().chain(self.parcels.values());
        all.map(Parcel::len).sum()
    }
}

/// How many of the last parcels are looked at for one that a leg can join: legs of one message are claimed close together.
const SIBLINGS_SOUGHT: usize = 16;

#[cfg(test)]
mod tests {
    use std::sync::Arc;

    use envelope::MessageId;
    use testkit::nouns;

    use super::*;

    /// Adds a leg of message `n` that came for `domain`.
    fn add(turns: &mut Turns, n: u128, domain: &str, target: &str) {
        let message = Arc::new(nouns::message(MessageId::from_bits(n), 1));
        let leg = nouns::forward(
            &format!("{target}@{domain}"),
            &format!("{target}@provider.test"),
        );
        turns.add(nouns::claim(&message, 0, leg), 2);
    }

    fn take(turns: &mut Turns) -> Option<u128> {
        let parcel = turns.take()?;
        Some(parcel.first().message.id.bits())
    }

    #[test]
    fn domains_take_turns() {
        let mut turns = Turns::default();
        (1..=1000).for_each(|n| add(&mut turns, n, "flood.test", "a"));
        (1001..=1003).for_each(|n| add(&mut turns, n, "small.test", "b"));
        add(&mut turns, 1004, "other.test", "c");
        let first: Vec<_> = (0..7).filter_map(|_| take(&mut turns)).collect();
        assert_eq!(first, [1, 1001, 1004, 2, 1002, 3, 1003]);
        assert_eq!(turns.len(), 997);
        add(&mut turns, 1005, "small.test", "b");
        let next: Vec<_> = (0..3).filter_map(|_| take(&mut turns)).collect();
        assert_eq!(next, [4, 1005, 5]);
        let left: Vec<_> = std::iter::from_fn(|| take(&mut turns)).collect();
        assert_eq!(left, (6..=1000).collect::<Vec<_>>());
        assert!(turns.is_empty() && turns.by_domain.is_empty() && turns.order.is_empty());
    }

    #[test]
    fn a_message_s_legs_go_together_whatever_they_came_for() {
        let mut turns = Turns::default();
        for domain in ["a.test", "b.test", "c.test"] {
            add(&mut turns, 1, domain, "x");
        }
        add(&mut turns, 2, "a.test", "x");
        assert_eq!((turns.len(), turns.legs()), (3, 4));
        assert_eq!(turns.take().map(|parcel| parcel.len()), Some(2));
        assert_eq!(turns.drain().count(), 2);
        assert!(turns.is_empty());
    }

    #[test]
    fn a_mailbox_can_be_passed_over() {
        let mut turns = Turns::default();
        (1..=3).for_each(|n| add(&mut turns, n, "a.test", "x"));
        (4..=5).for_each(|n| add(&mut turns, n, "a.test", "y"));
        let x = nouns::mailbox("x@provider.test");
        let mut other = || {
            turns
                .take_for_other(&x)
                .map(|p| p.first().message.id.bits())
        };
        assert_eq!([0; 3].map(|_| other()), [Some(4), Some(5), Some(1)]);
        let left: Vec<_> = std::iter::from_fn(|| take(&mut turns)).collect();
        assert_eq!(left, [2, 3]);
        assert!(turns.is_empty() && turns.by_domain.is_empty() && turns.order.is_empty());
    }

    #[test]
    fn what_comes_back_goes_first() {
        let mut turns = Turns::default();
        (1..=3).for_each(|n| add(&mut turns, n, "a.test", "x"));
        let first = turns.take().unwrap();
        turns.put_back(first);
        assert_eq!(turns.len(), 3);
        let order: Vec<_> = std::iter::from_fn(|| take(&mut turns)).collect();
        assert_eq!(order, [1, 2, 3]);
    }
}
