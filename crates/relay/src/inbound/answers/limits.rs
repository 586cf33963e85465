//! Whether anyone that the case names is frozen or over a limit, and what a message counts.

use counters::{Key, Kind, Limit, Of, Then};
use forwarder::Route;
use policy::{Beyond, Case, Limited, Name, Stage};
use spool::Spool;

use super::Inquiry;
use crate::counting::sender_keys;
use crate::inbound::Inbound;

impl<S: Spool> Inquiry<'_, S> {
    /// At CONNECT the connection is counted; nothing else is before DATA.
    pub(super) fn limited(&self, stage: Stage) -> Limited {
        let mut keys = senders(self.case, stage);
        if stage == Stage::Rcpt {
            keys.extend(recipient(self.case, self.route));
        }
        let mut limited = Limited::default();
        let counting = &self.inbound.counting;
        for key in keys.iter().filter(|_| !counting.freezes.is_empty()) {
            if let Some(limit) = counting.freezes.find(key) {
                if self.counts {
                    counting.freezes.hit(key);
                }
                limited.also(&Name::from(&*limit), Beyond::Frozen);
            }
        }
        let accepted = self.case.transaction.accepted() as u64;
        for (limit, key) in self.falls_under(&keys) {
            let of_sender = !matches!(key.kind(), Kind::Recipient | Kind::Site);
            let n = match (stage, limit.of) {
                (Stage::Connect, of) if of != Of::Connections => continue,
                (Stage::Connect, _) => 1,
                (_, Of::Connections | Of::Commands) => continue,
                (Stage::Auth, of) if of != Of::Refusals => continue,
                (Stage::Rcpt, Of::Recipients) if of_sender => accepted + 1,
                (Stage::Rcpt, _) if of_sender => continue,
                // What DATA would refuse together has to be refused here one by one: the client sends the rest later.
                (Stage::Rcpt, Of::Recipients) => {
                    let all = self.sources.recipients.iter().chain(&keys);
                    all.filter(|one| *one == key).count() as u64
                }
                _ => 1,
            };
            self.weigh(limit, key, n, stage == Stage::Connect, &mut limited);
        }
        limited
    }

    /// The message is counted. Its octets are when they are known.
    pub(super) fn limits_taken(&self) -> Limited {
        let mut keys = senders(self.case, Stage::Data);
        let recipients = self.sources.recipients;
        keys.extend_from_slice(recipients);
        let named = self.case.transaction.accepted() as u64;
        let mut limited = Limited::default();
        for (limit, key) in self.falls_under(&keys) {
            let (n, takes) = match limit.of {
                Of::Messages => (1, true),
                Of::Recipients if recipients.contains(key) => (1, true),
                Of::Recipients => (named, true),
                Of::Connections | Of::Commands => continue,
                // Looked at when MAIL came; but held is a message only now.
                _ if limit.then == Then::Hold => (1, false),
                _ => continue,
            };
            self.weigh(limit, key, n, takes, &mut limited);
        }
        limited
    }

    /// The limits that each of these keys falls under. A message counts once for a site that several of its recipients lead to.
    fn falls_under<'a>(&'a self, keys: &'a [Key]) -> impl Iterator<Item = (&'a Limit, &'a Key)> {
        let limits = self.sources.routing.limits.iter();
        let once = |limit: &Limit, key: &Key, at: usize| {
            limit.of != Of::Messages || !keys[..at].contains(key)
        };
        limits.flat_map(move |limit| {
            let keys = keys.iter().enumerate();
            let of_kind = keys.filter(|(_, key)| key.kind() == limit.key);
            let once = of_kind.filter(move |(at, key)| once(limit, key, *at));
            once.map(move |(_, key)| (limit, key))
        })
    }

    /// Whether `n` more are within the limit; they are taken if this is real.
    fn weigh(&self, limit: &Limit, key: &Key, n: u64, takes: bool, limited: &mut Limited) {
        let counting = &self.inbound.counting;
        let (counters, now) = (&counting.counters, counting.elapsed());
        let fits = match takes && self.counts {
            true => counting.try_take(limit, key, n),
            false => counters.fits(limit, key, n, now),
        };
        let name: Name = (*limit.name).into();
        if !self.counts {
            let left = counters.left(limit, key, now);
            limited.left.push((Name::clone(&name), left));
        }
        if fits {
            return;
        }
        if limit.passes_known && self.knows_sender(key) {
            if takes && self.counts {
                counting.add(limit, key, n);
            }
            return;
        }
        if limit.then == Then::Freeze && self.counts {
            counting.freeze(key, limit, self.inbound.clock.now());
        }
        let beyond = match limit.then {
            Then::Defer => Beyond::Defer,
            Then::Refuse => Beyond::Refuse,
            Then::Freeze => Beyond::Frozen,
            Then::Hold => Beyond::Hold,
        };
        limited.also(&name, beyond);
    }

    /// Whether the recipient had mail from this sender before. A null sender is nobody.
    fn knows_sender(&self, recipient: &Key) -> bool {
        let Some(sender) = self.case.transaction.sender() else {
            return false;
        };
        let sender = Key::new(Kind::Sender, &sender.to_string());
        let counting = &self.inbound.counting;
        let now = counting.elapsed();
        counting.counters.knows(recipient, &sender, now)
    }
}

impl<S: Spool> Inbound<S> {
    /// What could not be counted before the message was complete; and its sender is now one that the recipients had mail from.
    pub(crate) fn count_accepted(
        &self,
        limits: &[Limit],
        case: &Case,
        recipients: &[Key],
        octets: u64,
    ) {
        let mut keys = senders(case, Stage::Message);
        let sender = keys.iter().find(|key| key.kind() == Kind::Sender).cloned();
        keys.extend_from_slice(recipients);
        let now = self.clock.now();
        self.counting.count(limits, Of::Octets, &keys, octets, now);
        let (counters, elapsed) = (&self.counting.counters, self.counting.elapsed());
        let Some(sender) = sender.filter(|_| limits.iter().any(|limit| limit.passes_known)) else {
            return;
        };
        for recipient in recipients
            .iter()
            .filter(|key| key.kind() == Kind::Recipient)
        {
            counters.meet(recipient, &sender, elapsed);
        }
    }
}

/// Who is counted for what a client does. The address of a trusted client is not: it speaks for many, also where they log in.
pub(crate) fn senders(case: &Case, stage: Stage) -> Vec<Key> {
    let mut keys = Vec::new();
    if !case.client.is_trusted {
        keys.extend(case.client.address.map(Key::client));
    }
    match stage {
        Stage::Connect => return keys,
        // Whoever guesses passwords is counted for the user that he tries.
        Stage::Auth => {
            let tried = case.login.name.as_ref();
            keys.extend(tried.map(|name| Key::new(Kind::User, name)));
            return keys;
        }
        _ => {}
    }
    let user = case.client.user.as_ref();
    keys.extend(user.map(|user| Key::new(Kind::User, &user.name)));
    let sender = case.transaction.sender();
    keys.extend(sender.into_iter().flat_map(sender_keys));
    keys
}

/// The recipient, and where its mail goes.
pub(crate) fn recipient(case: &Case, route: Option<&Route>) -> Vec<Key> {
    let Some(path) = &case.recipient.path else {
        return Vec::new();
    };
    let name = path.mailbox().map(ToString::to_string);
    let name = name.unwrap_or_else(|| "postmaster".to_owned());
    let site = |host: String| Key::new(Kind::Site, &host);
    let mut keys = vec![Key::new(Kind::Recipient, &name)];
    match (route, path.mailbox()) {
        (Some(Route::Forward(expansion) | Route::Return { expansion, .. }), _) => {
            let targets = expansion.targets.iter();
            keys.extend(targets.map(|target| site(target.mailbox.host().to_string())));
        }
        (Some(Route::NotHosted), Some(address)) => keys.push(site(address.host().to_string())),
        _ => {}
    }
    keys
}
