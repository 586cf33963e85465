//! From a recipient to its targets, through lines that lead to further hosted addresses.

use std::collections::HashSet;

use envelope::{Domain, Mailbox, Reply, Timestamp};

use super::Table;
use super::line::{Action, Goal, Line};
use super::options::Options;
use super::trace::Step;
use crate::fold::fold;
use crate::replies;

/// What the table says about a recipient.
#[derive(Debug, Clone, PartialEq, Eq)]
pub enum Resolution {
    /// Its domain is not in the table.
    NotHosted,
    /// Its domain is, but it has no line.
    Unknown,
    /// It is refused: by a line, or because all its targets are broken.
    Refused(Reply),
    /// It is accepted and dropped, under these options.
    Discard(Options),
    /// It goes there.
    Targets(Expansion),
}

/// Where a recipient's mail goes: at least one target.
#[derive(Debug, Clone, PartialEq, Eq, Default)]
pub struct Expansion {
    /// The options of the recipient's own line, and where it says nothing, of its domain's line.
    pub options: Options,
    /// The targets outside of the hosted domains, each once, in the order of the file.
    pub targets: Vec<Target>,
    /// Targets in hosted domains that lead nowhere: for the log; the message goes to the others.
    pub broken: Vec<Broken>,
}

/// One target and how it was reached.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct Target {
    /// Where the mail goes.
    pub mailbox: Mailbox,
    /// The options of the line that names the target, and where it says nothing, of its domain's line.
    pub options: Options,
    /// The hosted addresses gone through: the recipient first, the one whose line names the target last.
    pub via: Vec<Mailbox>,
}

/// A hosted target that leads nowhere.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct Broken {
    /// The target.
    pub address: Mailbox,
    /// Why.
    pub fault: Fault,
}

/// Why a hosted target leads nowhere.
#[derive(Debug, Clone, PartialEq, Eq)]
pub enum Fault {
    /// It has no line.
    Unknown,
    /// Its line refuses.
    Refused(Reply),
    /// It leads back to an address gone through already.
    Loop,
    /// Over [`CHAIN_MAX`] lines one behind the other.
    TooDeep,
    /// Over [`TARGETS_MAX`] targets.
    TooMany,
}

/// How many lines a recipient may go through.
pub const CHAIN_MAX: usize = 10;
/// How many targets a recipient may have, all lines together.
pub const TARGETS_MAX: usize = 1000;

impl Expansion {
    /// One target, under its own options.
    pub(crate) fn of(target: Target) -> Self {
        Self {
            options: target.options.clone(),
            targets: vec![target],
            broken: Vec::new(),
        }
    }
}

impl Fault {
    /// What a client is told when nothing else is left of the recipient.
    pub fn reply(&self) -> Reply {
        match self {
            Self::Unknown => replies::target_unknown(),
            Self::Refused(reply) => reply.clone(),
            Self::Loop => replies::table_loop(),
            Self::TooDeep => replies::chain_too_deep(),
            Self::TooMany => replies::too_many_targets(),
        }
    }
}

impl Table {
    /// Where mail to this address goes.
    pub fn resolve(&self, recipient: &Mailbox, now: Timestamp) -> Resolution {
        let Some(domain) = recipient.domain().filter(|domain| self.hosts(domain)) else {
            self.miss(recipient);
            return Resolution::NotHosted;
        };
        match self.find(recipient.local_part(), domain) {
            Some(line) if line.options.is_over(now) => Resolution::Unknown,
            Some(line) => self.follow(recipient, domain, &line, now),
            None => {
                self.miss(recipient);
                Resolution::Unknown
            }
        }
    }

    /// As [`Table::resolve`], but only if the address has a line of its own, not by a plus-suffix, a pattern or
    /// a catch-all.
    pub fn resolve_own_line(&self, recipient: &Mailbox, now: Timestamp) -> Option<Resolution> {
        let domain = recipient.domain()?;
        let local = fold(recipient.local_part().as_str());
        let line = self.find_beneath(|base| base.find_local(&local, domain));
        let Some(line) = line.or_else(|| self.find_local(&local, domain)) else {
            self.miss(recipient);
            return None;
        };
        let is_over = line.options.is_over(now);
        (!is_over).then(|| self.follow(recipient, domain, &line, now))
    }

    fn follow(
        &self,
        recipient: &Mailbox,
        domain: &Domain,
        line: &Line,
        now: Timestamp,
    ) -> Resolution {
        let mut walk = Walk::new(self, now);
        walk.begin(recipient, domain, line);
        if !walk.found.targets.is_empty() {
            return Resolution::Targets(walk.found);
        }
        match walk.found.broken.first() {
            _ if walk.discarded => Resolution::Discard(walk.found.options),
            Some(broken) => Resolution::Refused(broken.fault.reply()),
            // Every line has a target, discards or refuses.
            None => Resolution::Unknown,
        }
    }

    /// What is wrong with the targets of one line themselves; what is wrong further on shows at its own line.
    pub(super) fn broken_targets(&self, line: &Line, now: Timestamp) -> Vec<Broken> {
        let Action::Targets(targets) = &line.action else {
            return Vec::new();
        };
        let broken = |target: &Mailbox| {
            let fault = match self.resolve(target, now) {
                Resolution::Unknown => Fault::Unknown,
                Resolution::Refused(reply) => Fault::Refused(reply),
                _ => return None,
            };
            let address = target.clone();
            Some(Broken { address, fault })
        };
        let addresses = targets.iter().filter_map(|target| match target {
            Goal::Address(address) => Some(address),
            Goal::SameLocalPart(_) => None,
        });
        let broken: Vec<Broken> = addresses.filter_map(broken).collect();
        if broken.is_empty() {
            self.leads_back(line, now).into_iter().collect()
        } else {
            broken
        }
    }
}

impl Table {
    /// Whether a line leads back to itself. Its other targets, if it has any, get the mail all the same.
    fn leads_back(&self, line: &Line, now: Timestamp) -> Option<Broken> {
        let own = line.key.an_address()?;
        let mut walk = Walk::new(self, now);
        walk.begin(&own, &line.key.domain, line);
        let broken = walk.found.broken;
        broken
            .into_iter()
            .find(|broken| broken.fault == Fault::Loop && broken.address == own)
    }
}

/// One walk from a recipient. Each hosted address is expanded once, whatever the lines look like, so that the work
/// is bounded by the table and not by the number of ways through it.
pub(super) struct Walk<'a> {
    pub(super) table: &'a Table,
    now: Timestamp,
    found: Expansion,
    pub(super) path: Vec<Mailbox>,
    visited: HashSet<(String, Domain)>,
    seen: HashSet<Mailbox>,
    discarded: bool,
    /// Every step, if somebody wants to know.
    pub(super) steps: Option<Vec<Step>>,
}

impl<'a> Walk<'a> {
    pub(super) fn new(table: &'a Table, now: Timestamp) -> Self {
        Self {
            table,
            now,
            found: Expansion::default(),
            path: Vec::new(),
            visited: HashSet::new(),
            seen: HashSet::new(),
            discarded: false,
            steps: None,
        }
    }

    /// Goes on from the line of the recipient.
    pub(super) fn begin(&mut self, recipient: &Mailbox, domain: &Domain, line: &Line) {
        self.visited.insert(visited_key(recipient, domain));
        self.follow(recipient, domain, line);
    }

    /// Does what the line of a hosted address says.
    fn follow(&mut self, address: &Mailbox, domain: &Domain, line: &Line) {
        let domain_options = self.table.domain_options(domain).unwrap_or_default();
        let options = line.options.clone().or(&domain_options);
        if self.path.is_empty() {
            self.found.options = options.clone();
        }
        self.note(address, Some(line), None);
        match &line.action {
            Action::Discard => self.discarded = true,
            Action::Reject(reply) => self.broken(address, Fault::Refused(reply.clone())),
            // Only a domain's key has it, and no address leads to that.
            Action::Domain => {}
            Action::Targets(targets) => {
                self.path.push(address.clone());
                for target in targets {
                    match target.of(address) {
                        Some(target) => self.step(&target, &options),
                        None => self.broken(address, Fault::Unknown),
                    }
                }
                self.path.pop();
            }
        }
    }

    /// Goes on to a target of the line at the end of the path.
    fn step(&mut self, target: &Mailbox, options: &Options) {
        let Some(domain) = target.domain().filter(|domain| self.table.hosts(domain)) else {
            self.table.miss_target(target);
            return self.add(target, options);
        };
        if self.is_on_path(target) {
            return self.broken(target, Fault::Loop);
        }
        if !self.visited.insert(visited_key(target, domain)) {
            return;
        }
        if self.path.len() >= CHAIN_MAX {
            return self.broken(target, Fault::TooDeep);
        }
        match self.table.find(target.local_part(), domain) {
            Some(line) if line.options.is_over(self.now) => self.broken(target, Fault::Unknown),
            Some(line) => self.follow(target, domain, &line),
            None => {
                self.table.miss_target(target);
                self.broken(target, Fault::Unknown);
            }
        }
    }

    fn add(&mut self, target: &Mailbox, options: &Options) {
        if self.found.targets.len() >= TARGETS_MAX {
            return self.broken(target, Fault::TooMany);
        }
        self.note(target, None, None);
        if self.seen.insert(target.clone()) {
            self.found.targets.push(Target {
                mailbox: target.clone(),
                options: options.clone(),
                via: self.path.clone(),
            });
        }
    }

    fn is_on_path(&self, target: &Mailbox) -> bool {
        let same = |address: &Mailbox| {
            address.host() == target.host()
                && fold(address.local_part().as_str()) == fold(target.local_part().as_str())
        };
        self.path.iter().any(same)
    }

    /// Broken targets are for the log: there need not be more of them than of the others.
    fn broken(&mut self, address: &Mailbox, fault: Fault) {
        // A line that refuses says so itself.
        if !matches!(fault, Fault::Refused(_)) {
            self.note(address, None, Some(&fault));
        }
        if self.found.broken.len() < TARGETS_MAX {
            let address = address.clone();
            self.found.broken.push(Broken { address, fault });
        }
    }
}

fn visited_key(address: &Mailbox, domain: &Domain) -> (String, Domain) {
    (fold(address.local_part().as_str()), domain.clone())
}
