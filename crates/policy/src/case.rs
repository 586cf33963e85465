//! The case: all that is known of a visit so far, with the answers to what rules have asked.
//!
//! One case grows from CONNECT to the end of the body. It holds facts; rules draw the conclusions. An answer is kept with
//! what it is about and dropped with it: a recipient's route goes with the recipient.

use std::net::IpAddr;
use std::sync::Arc;

use envelope::{ForwardPath, Mailbox, ReversePath};

use crate::decision::Stage;
use crate::filtered::Filtered;
use crate::limited::Limited;
use crate::measures::{Measures, Name};
use crate::question::{
    Answer, CredentialsFound, Destination, Known, Question, Route, Srs, unasked,
};
use crate::sender::{Blocklisted, Callout, DmarcFound, Findings, SpfFound};
use crate::settings::Settings;
use crate::user::User;

/// What is known.
#[derive(Debug, Clone, Default)]
pub struct Case {
    /// What the operator has set.
    pub settings: Settings,
    /// Who is connected.
    pub client: Client,
    /// The argument of EHLO or HELO as given.
    pub hello: String,
    /// The user name that AUTH asks about.
    pub login: Login,
    /// What limits say at this stage. Whoever begins a stage clears it.
    pub limited: Option<Limited>,
    /// The transaction that MAIL began.
    pub transaction: Transaction,
    /// The recipient that RCPT asks about.
    pub recipient: Recipient,
    /// What is known at the end of the body.
    pub message: Message,
}

/// Who is connected.
#[derive(Debug, Clone, Default)]
pub struct Client {
    /// Its address (behind a proxy: the one that the proxy names), once it is known.
    pub address: Option<IpAddr>,
    /// What the port is for.
    pub role: Role,
    /// Who it is to us.
    pub standing: Standing,
    /// Its address is one that the operator trusts, whoever has logged in from there: it stands for many, and no limit counts it.
    pub is_trusted: bool,
    /// The user, if it has logged in: its standing is [`Standing::Authenticated`] then, and else it is not.
    pub user: Option<Arc<User>>,
    /// It did not wait for the greeting.
    pub talked_early: bool,
}

/// What a connection's port is for.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Hash, Default)]
pub enum Role {
    /// Mail from anyone, for us (port 25).
    #[default]
    Mx,
    /// Mail from our own users, for anyone (ports 587 and 465, RFC 6409).
    Submission,
}

envelope::named! {
    /// What we know of the client beyond its address.
    #[derive(Default)]
    pub enum Standing {
        /// Nothing: anyone on the Internet.
        #[default]
        Stranger = "stranger",
        /// Its address is in a network that the operator listed as trusted.
        Trusted = "trusted",
        /// It has proved who it is in this session.
        Authenticated = "authenticated",
    }
}

/// An attempt to log in. The secret that proves it is the driver's, who answers [`Question::Credentials`].
#[derive(Debug, Clone, Default)]
pub struct Login {
    /// The user name as given; none when nobody tries.
    pub name: Option<Name>,
    found: Option<CredentialsFound>,
}

/// A mail transaction (RFC 5321 §3.3).
#[derive(Debug, Clone, Default)]
pub struct Transaction {
    /// What MAIL gave; none before it.
    pub reverse_path: Option<ReversePath>,
    /// The accepted recipients that are SRS addresses of ours, each with the sender behind it.
    pub returns: Vec<(ForwardPath, Mailbox)>,
    /// How many of the accepted recipients are not SRS addresses of ours.
    pub others: usize,
    /// How many targets the accepted recipients have together.
    pub targets: usize,
    /// What the accepted recipients choose, for the stages behind RCPT; each choice once.
    pub measures: Vec<Arc<Measures>>,
    /// Where mail for all accepted recipients goes, if they want the verdict of that as the answer.
    pub online: Option<envelope::Destination>,
    /// What was found out about the sender so far.
    pub found: Findings,
    budget_taken: Option<bool>,
    pub(crate) limits_taken: Option<Limited>,
}

/// The recipient that RCPT names.
#[derive(Debug, Clone, Default)]
pub struct Recipient {
    /// As RCPT gave it; none before it.
    pub path: Option<ForwardPath>,
    route: Option<Route>,
    budget_left: Option<bool>,
    put_off: Option<bool>,
}

/// A message whose body is complete.
#[derive(Debug, Clone, Default)]
pub struct Message {
    /// Its Received fields: relays that it has passed.
    pub hops: u32,
    /// How many legs it would be queued with.
    pub legs: usize,
    /// For each leg that would loop, the address on its way that the message was already delivered to.
    pub loops: Vec<Mailbox>,
    /// What each filter said of it.
    pub filtered: Option<Vec<(Name, Filtered)>>,
}

impl Case {
    /// A transaction begins; nothing is left of the last one.
    pub fn begin(&mut self, reverse_path: ReversePath) {
        self.end();
        self.transaction.reverse_path = Some(reverse_path);
    }

    /// AUTH names a user.
    pub fn try_login(&mut self, name: Name) {
        self.login = Login {
            name: Some(name),
            found: None,
        };
    }

    /// The login was accepted or refused. Returns the user who is logged in.
    pub fn end_login(&mut self, accepted: bool) -> Option<&User> {
        if let (Some(CredentialsFound::Right(user)), true) =
            (std::mem::take(&mut self.login).found, accepted)
        {
            self.client.log_in(user);
        }
        self.client.user.as_deref()
    }

    /// The transaction is over.
    pub fn end(&mut self) {
        self.limited = None;
        self.transaction = Transaction::default();
        self.recipient = Recipient::default();
        self.message = Message::default();
    }

    /// RCPT names the next recipient.
    pub fn next_recipient(&mut self, path: ForwardPath) {
        self.limited = None;
        self.recipient = Recipient {
            path: Some(path),
            ..Recipient::default()
        };
    }

    /// The recipient was accepted. Returns its measures.
    pub fn accept_recipient(&mut self) -> Arc<Measures> {
        let Recipient { path, route, .. } = std::mem::take(&mut self.recipient);
        let (Some(recipient), Some(route)) = (path, route) else {
            return Arc::default();
        };
        self.transaction.targets += route.targets;
        self.transaction.online = route.online;
        let measures = route.measures;
        self.transaction.limits_taken = None;
        if !self.transaction.measures.contains(&measures) {
            self.transaction.measures.push(Arc::clone(&measures));
        }
        match route.destination {
            Destination::Srs(Srs::Valid(sender)) => {
                self.transaction.returns.push((recipient, sender));
                // An earlier DATA, which failed, did not count this one.
                self.transaction.budget_taken = None;
            }
            _ => self.transaction.others += 1,
        }
        measures
    }

    /// Takes an answer in. For mail of users their own measures hold, whoever it is for. None hold for a trusted client, which
    /// answers for its senders itself; nor for foreign mail, which is denied to all others, whoever sends it.
    pub fn learn(&mut self, answer: Answer) {
        let found = &mut self.transaction.found;
        match answer {
            Answer::Route(mut route) => {
                let is_known = self.client.standing != Standing::Stranger;
                if let Some(user) = &self.client.user {
                    route.measures = Arc::clone(&user.measures);
                } else if is_known || route.destination == Destination::Foreign {
                    route.measures = Arc::default();
                }
                self.recipient.route = Some(route);
            }
            Answer::Credentials(found) => self.login.found = Some(found),
            Answer::SrsBudgetLeft(left) => self.recipient.budget_left = Some(left),
            Answer::SrsBudgetTaken(taken) => self.transaction.budget_taken = Some(taken),
            Answer::Limits(limited) => self.limited = Some(limited),
            Answer::LimitsTaken(limited) => self.transaction.limits_taken = Some(limited),
            Answer::Listed(lists) => found.listed.extend(lists),
            Answer::Spf(result) => found.spf = Some(result),
            Answer::Dnsbl(zones) => found.dnsbl.extend(zones),
            Answer::Callout(said) => found.callout = Some(said),
            Answer::Authentic(dmarc) => found.dmarc = Some(dmarc),
            Answer::Pressure { put_off, .. } => self.recipient.put_off = Some(put_off),
            Answer::Filter(said) => self.message.filtered = Some(said),
        }
    }

    /// Whether the credentials are right.
    pub(crate) fn credentials(&self) -> Known<&CredentialsFound> {
        let found = self.login.found.as_ref();
        found.ok_or_else(|| vec![Question::Credentials])
    }

    /// The route of the recipient.
    pub(crate) fn route(&self) -> Known<&Route> {
        let route = self.recipient.route.as_ref();
        route.ok_or_else(|| vec![Question::Route])
    }

    /// Whether the sender behind the recipient may get another message today.
    pub(crate) fn srs_budget_left(&self, sender: &Mailbox) -> Known<bool> {
        let left = self.recipient.budget_left;
        left.ok_or_else(|| vec![Question::SrsBudget(sender.clone())])
    }

    /// Whether the recipient is one of those that are put off.
    pub(crate) fn pressure(&self) -> Known<bool> {
        let put_off = self.recipient.put_off;
        put_off.ok_or_else(|| vec![Question::Pressure])
    }

    /// Whether each sender behind the recipients could still get this message today; it has then been counted.
    pub(crate) fn srs_budget_taken(&self) -> Known<bool> {
        let Transaction { returns, .. } = &self.transaction;
        let senders = || returns.iter().map(|(_, sender)| sender.clone()).collect();
        let taken = self.transaction.budget_taken;
        taken.ok_or_else(|| vec![Question::TakeSrsBudget(senders())])
    }

    /// What limits say at this stage; nothing where there are none.
    pub(crate) fn limited(&self, stage: Stage) -> Known<Option<&Limited>> {
        // The way of a recipient's mail is counted, too.
        if stage == Stage::Rcpt {
            self.route()?;
        }
        match (self.settings.limits, &self.limited) {
            (true, None) => Err(vec![Question::Limits(stage)]),
            (_, limited) => Ok(limited.as_ref()),
        }
    }

    /// The same for the message, which has then been counted.
    pub(crate) fn limits_taken(&self) -> Known<Option<&Limited>> {
        match (self.settings.limits, &self.transaction.limits_taken) {
            (true, None) => Err(vec![Question::TakeLimits]),
            (_, taken) => Ok(taken.as_ref()),
        }
    }

    /// The measures of the recipient.
    pub(crate) fn measures(&self) -> Known<&Measures> {
        Ok(&self.route()?.measures)
    }

    /// The first of these lists that names the sender or the client. All lists of the recipient are asked together.
    pub(crate) fn listed(&self, lists: &[Name]) -> Known<Option<&Name>> {
        match self.first_listed(lists) {
            Ok(on) => Ok(on),
            Err(_) => Err(vec![Question::Listed(self.unasked_lists()?)]),
        }
    }

    /// As [`listed`](Self::listed), whoever the recipient is.
    pub(crate) fn first_listed(&self, lists: &[Name]) -> Known<Option<&Name>> {
        let known = &self.transaction.found.listed;
        let missing = unasked(lists, known);
        if !missing.is_empty() {
            return Err(vec![Question::Listed(missing)]);
        }
        let on = |list| known.iter().find(|(name, on)| name == list && *on);
        Ok(lists.iter().find_map(on).map(|(name, _)| name))
    }

    fn unasked_lists(&self) -> Known<Vec<Name>> {
        let measures = self.measures()?;
        let all = [
            &measures.sender_block,
            &measures.sender_exempt,
            &measures.spf_force,
        ];
        Ok(unasked(
            all.into_iter().flatten(),
            &self.transaction.found.listed,
        ))
    }

    pub(crate) fn spf(&self) -> Known<&SpfFound> {
        let spf = self.transaction.found.spf.as_ref();
        spf.ok_or_else(|| vec![Question::Spf])
    }

    /// What each of these blocklists says.
    pub(crate) fn dnsbl<'a>(
        &'a self,
        zones: &'a [Name],
    ) -> Known<impl Iterator<Item = &'a Blocklisted>> {
        let known = &self.transaction.found.dnsbl;
        let missing = unasked(zones, known);
        if !missing.is_empty() {
            return Err(vec![Question::Dnsbl(missing)]);
        }
        let of = |zone| known.iter().find(move |(name, _)| name == zone);
        Ok(zones.iter().filter_map(of).map(|(_, said)| said))
    }

    pub(crate) fn callout(&self) -> Known<&Callout> {
        let callout = self.transaction.found.callout.as_ref();
        callout.ok_or_else(|| vec![Question::Callout])
    }

    pub(crate) fn dmarc(&self) -> Known<&DmarcFound> {
        let dmarc = self.transaction.found.dmarc.as_ref();
        dmarc.ok_or_else(|| vec![Question::Authentic])
    }

    /// What each filter says that a recipient's measures name.
    pub(crate) fn filtered(&self) -> Known<&[(Name, Filtered)]> {
        let named = self.transaction.measures.iter();
        let named = named.flat_map(|measures| &measures.filter);
        match &self.message.filtered {
            Some(said) => Ok(said),
            None => match unasked::<Filtered>(named, &[]) {
                names if names.is_empty() => Ok(&[]),
                names => Err(vec![Question::Filter(names)]),
            },
        }
    }

    /// Whether one of the recipients is an SRS address of ours.
    pub(crate) fn has_returns(&self) -> bool {
        !self.transaction.returns.is_empty()
    }

    /// Whether SRS addresses take this mail: it is a bounce, or `srs.accept_nonnull` is set.
    pub(crate) fn may_go_to_srs(&self) -> bool {
        let reverse_path = self.transaction.reverse_path.as_ref();
        self.settings.srs_accepts_nonnull || reverse_path.is_some_and(ReversePath::is_null)
    }
}

impl Transaction {
    /// How many recipients were accepted.
    pub fn accepted(&self) -> usize {
        self.returns.len() + self.others
    }

    /// The mailbox of the reverse path, unless it is null.
    pub fn sender(&self) -> Option<&Mailbox> {
        self.reverse_path.as_ref()?.mailbox()
    }
}
