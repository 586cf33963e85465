//! From an accepted envelope to legs: targets, rewritten reverse paths, trace lines.

use std::collections::{HashMap, HashSet};

use envelope::{
    Domain, ForwardPath, Host, Leg, LocalPart, Mailbox, Merged, Recipient, ReversePath, Timestamp,
};
use srs::{Day, Face};

use crate::forwarder::{Forwarder, Route};
use crate::return_path::ReturnPath;
use crate::scan::HeaderScan;
use crate::table::{Broken, Options, Table, Target};
use crate::trace::ascii_form;

/// What is to be queued for one message.
#[derive(Debug, Clone, Default)]
pub struct Plan {
    /// The legs, in the order of the recipients. None at all when every recipient is discarded.
    pub legs: Vec<PlannedLeg>,
    /// Recipients whose mail is dropped as their lines say.
    pub discarded: Vec<Mailbox>,
    /// Targets that lead nowhere, beside others that do not: for the log.
    pub broken: Vec<Broken>,
}

/// A leg and what it was made from.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct PlannedLeg {
    /// For the queue.
    pub leg: Leg,
    /// The recipients that it stands for, by their places among those that were given.
    pub of: Vec<usize>,
    /// The hosted addresses gone through on the way to the target, the recipient first; none for relayed and returned mail.
    pub via: Vec<Mailbox>,
    /// Further recipients that lead to the same target, all of them, as often as they were named.
    pub merged: Vec<Mailbox>,
}

/// A leg that would go round.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct Looping {
    /// The recipient that it was made of.
    pub recipient: Mailbox,
    /// Where it would have gone.
    pub target: Mailbox,
    /// The address on its way to which the message was delivered before.
    pub passed: Mailbox,
}

impl Plan {
    /// The legs alone.
    pub fn into_legs(self) -> Vec<Leg> {
        self.legs.into_iter().map(PlannedLeg::into_leg).collect()
    }

    /// Puts rewritten reverse paths into another of our SRS domains, but for those of legs whose options name one. What stands
    /// before the `@` is valid in each. `from` is the domain that they were written in, `kept` what the client gave.
    pub fn move_senders(&mut self, kept: &ReversePath, from: &Domain, to: &Domain) {
        for Leg {
            reverse_path,
            options,
            ..
        } in self.legs.iter_mut().map(|planned| &mut planned.leg)
        {
            let is_theirs = reverse_path == kept || options.get("srs_domain").is_some();
            let ReversePath::Mailbox(sender) = &*reverse_path else {
                continue;
            };
            let local = sender.local_part();
            // Return paths of users (VERP) have another form, and hold in their own domain only.
            if !is_theirs
                && sender.domain() == Some(from)
                && srs::looks_like_srs(local.as_str())
                && let Ok(moved) = Mailbox::new(local.clone(), Host::Domain(to.clone()))
            {
                *reverse_path = ReversePath::Mailbox(moved);
            }
        }
    }

    /// Of each leg that would go round, the address on its way to which the message was delivered before.
    pub fn loops<'a>(&'a self, scan: &'a HeaderScan) -> impl Iterator<Item = &'a Mailbox> {
        self.legs.iter().filter_map(|planned| planned.passed(scan))
    }

    /// Takes those legs out.
    pub fn remove_loops(&mut self, scan: &HeaderScan) -> Vec<Looping> {
        let mut looping = Vec::new();
        self.legs.retain(|planned| {
            let Some(passed) = planned.passed(scan) else {
                return true;
            };
            looping.extend(planned.recipients().map(|recipient| Looping {
                recipient: recipient.clone(),
                target: planned.leg.target.clone(),
                passed: passed.clone(),
            }));
            false
        });
        looping
    }
}

impl PlannedLeg {
    fn new(leg: Leg, of: usize, via: Vec<Mailbox>) -> Self {
        Self {
            leg,
            of: vec![of],
            via,
            merged: Vec::new(),
        }
    }

    /// All recipients that it stands for.
    pub fn recipients(&self) -> impl Iterator<Item = &Mailbox> {
        std::iter::once(&self.leg.recipient).chain(&self.merged)
    }

    fn passed(&self, scan: &HeaderScan) -> Option<&Mailbox> {
        self.via.iter().find(|step| scan.was_delivered_to(step))
    }

    fn into_leg(mut self) -> Leg {
        let mut seen = HashSet::from([self.leg.recipient.clone()]);
        self.merged.retain(|other| seen.insert(other.clone()));
        Leg {
            merged: Merged::new(self.merged),
            ..self.leg
        }
    }
}

impl Forwarder {
    /// Makes legs of accepted recipients and their routes. A recipient that is not hosted goes on unchanged, under an
    /// unchanged reverse path: `policy` has said that it may.
    ///
    /// Mail of a user with a `return_path` goes to every recipient under an address that is made with it.
    ///
    /// A sender that SRS cannot express is given to `token`, once, with the time until which he is to be kept; the answer is
    /// the id that [`Route::Token`] will ask for.
    ///
    /// # Panics
    /// On the route of a recipient that nobody may accept.
    pub fn plan<'a>(
        &self,
        table: &Table,
        reverse_path: &ReversePath,
        return_path: Option<&ReturnPath>,
        recipients: impl IntoIterator<Item = (&'a Recipient, Route)>,
        now: Timestamp,
        token: &mut dyn FnMut(&Mailbox, Timestamp) -> Box<str>,
    ) -> Plan {
        let mut draft = Draft {
            forwarder: self,
            table,
            reverse_path,
            return_path,
            now,
            token,
            id: None,
            plan: Plan::default(),
            placed: HashMap::new(),
            of: 0,
        };
        for (of, (recipient, route)) in recipients.into_iter().enumerate() {
            draft.of = of;
            draft.add(recipient, route);
        }
        draft.plan
    }
}

/// Legs of one message at most. A recipient may stand for many targets ([`TARGETS_MAX`](crate::table::TARGETS_MAX)), and
/// a message has many recipients: the product would be a million legs for one small message. Whoever takes recipients sees to
/// it; a client sends what is over in a further transaction (RFC 5321 §4.5.3.1.10).
pub const LEGS_MAX: usize = 10_000;

struct Draft<'a> {
    forwarder: &'a Forwarder,
    table: &'a Table,
    reverse_path: &'a ReversePath,
    return_path: Option<&'a ReturnPath>,
    now: Timestamp,
    token: &'a mut dyn FnMut(&Mailbox, Timestamp) -> Box<str>,
    /// The sender's, once it was asked for.
    id: Option<Box<str>>,
    plan: Plan,
    /// Where in the plan the legs to a target are.
    placed: HashMap<Mailbox, Vec<usize>>,
    /// The recipient whose turn it is.
    of: usize,
}

impl Draft<'_> {
    fn add(&mut self, recipient: &Recipient, route: Route) {
        let named = match &recipient.forward_path {
            ForwardPath::Mailbox(address) => Some(address.clone()),
            ForwardPath::Postmaster => self.forwarder.postmaster_address(),
        };
        match (route, named) {
            (Route::Forward(expansion) | Route::Return { expansion, .. }, Some(named)) => {
                for target in expansion.targets {
                    self.add_target(recipient, &named, target);
                }
                self.plan.broken.extend(expansion.broken);
            }
            (Route::NotHosted, Some(named)) => self.add_relayed(recipient, named),
            (Route::Discard(_), Some(named)) => self.plan.discarded.push(named),
            (route, _) => {
                let path = &recipient.forward_path;
                unreachable!("{path} was accepted, and goes nowhere: {route:?}");
            }
        }
    }

    fn add_target(&mut self, recipient: &Recipient, named: &Mailbox, target: Target) {
        let Target {
            mailbox,
            options,
            via,
        } = target;
        let own = self.own_return_path();
        let reverse_path = own.unwrap_or_else(|| self.rewrite(&options));
        // The step nearest to the target on top, as if each had added its own.
        let trace: String = via
            .iter()
            .rev()
            .filter_map(ascii_form)
            .map(|step| format!("Delivered-To: {step}\r\n"))
            .collect();
        let leg = Leg {
            original: recipient.original.clone(),
            notify: recipient.notify,
            trace: trace.into(),
            options: options.noun(),
            ..Leg::new(reverse_path, mailbox, named.clone())
        };
        self.place(PlannedLeg::new(leg, self.of, via));
    }

    fn add_relayed(&mut self, recipient: &Recipient, named: Mailbox) {
        let own = self.own_return_path();
        let reverse_path = own.unwrap_or_else(|| self.reverse_path.clone());
        let leg = Leg {
            original: recipient.original.clone(),
            notify: recipient.notify,
            ..Leg::new(reverse_path, named.clone(), named)
        };
        self.place(PlannedLeg::new(leg, self.of, Vec::new()));
    }

    /// Two recipients may lead to one target, which then gets one copy; but not if they want different DSNs, or have other options. Nor if one of
    /// them is the target itself: a notice about both would tell where the other leads.
    fn place(&mut self, planned: PlannedLeg) {
        let is_target = |leg: &Leg| leg.recipient == leg.target;
        let legs = &mut self.plan.legs;
        let same = |at: &usize| {
            let (leg, new) = (&legs[*at].leg, &planned.leg);
            leg.reverse_path == new.reverse_path
                && leg.notify == new.notify
                && leg.original == new.original
                && leg.options == new.options
                && is_target(leg) == is_target(new)
        };
        let placed = self.placed.entry(planned.leg.target.clone()).or_default();
        match placed.iter().copied().find(same) {
            Some(at) => {
                legs[at].of.extend(planned.of);
                legs[at].merged.push(planned.leg.recipient);
            }
            None => {
                placed.push(legs.len());
                legs.push(planned);
            }
        }
    }

    /// The reverse path for the next hop. Null stays null; one in an SRS domain of ours is ours already.
    fn rewrite(&mut self, options: &Options) -> ReversePath {
        let ReversePath::Mailbox(sender) = self.reverse_path else {
            return ReversePath::Null;
        };
        let forwarder = self.forwarder;
        let ours = sender
            .domain()
            .is_some_and(|domain| forwarder.is_srs_domain(self.table, domain));
        if ours || options.srs == Some(false) {
            return self.reverse_path.clone();
        }
        let srs_domain = options
            .srs_domain
            .as_ref()
            .unwrap_or(&forwarder.settings.srs_domain);
        self.write(None, sender, srs_domain)
    }

    /// The reverse path of mail from a user with a `return_path`. Null stays as it is, and so does one that the user has already made
    /// with it.
    fn own_return_path(&mut self) -> Option<ReversePath> {
        let path = self.return_path?;
        Some(match self.reverse_path {
            ReversePath::Mailbox(sender) if !path.covers(sender) => {
                self.write(Some(&path.face), sender, &path.domain)
            }
            kept => kept.clone(),
        })
    }

    /// An address in a domain of ours that leads back to the sender.
    fn write(&mut self, face: Option<&Face>, sender: &Mailbox, domain: &Domain) -> ReversePath {
        let srs = &self.forwarder.srs;
        // Every next hop takes what we write: short enough with its quotes, and ASCII.
        let is_safe = |local: &LocalPart| {
            local.written_octets() <= LocalPart::SAFE_OCTETS_MAX && local.is_ascii()
        };
        let at_ours = |local: &str| {
            let local = LocalPart::from_unquoted(local).ok().filter(is_safe)?;
            Mailbox::new(local, Host::Domain(domain.clone())).ok()
        };
        let today = Day::from_unix_secs(self.now.unix_secs());
        let (local, host) = (sender.local_part().as_str(), sender.host().to_string());
        let rewritten = srs.forward_as(face, local, &host, today);
        if let Some(rewritten) = rewritten.ok().as_deref().and_then(at_ours) {
            return ReversePath::Mailbox(rewritten);
        }
        let id = self.id.get_or_insert_with(|| {
            let expires = srs.expires(self.now.unix_secs());
            (self.token)(sender, Timestamp::from_unix_millis(expires * 1000))
        });
        let token = srs.token_as(face, id, today);
        let Some(rewritten) = at_ours(&token) else {
            // A token is 64 octets at most and no such domain is over 189: all is checked where it comes in.
            unreachable!("token {token} does not fit before {domain}");
        };
        ReversePath::Mailbox(rewritten)
    }
}

#[cfg(test)]
mod tests;
