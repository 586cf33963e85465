//! Recipients: hosted, an SRS address of ours, postmaster, or none of our business.

use std::collections::BTreeSet;

use envelope::{Domain, ForwardPath, Host, LocalPart, Mailbox, Reply, Timestamp};
use srs::{Day, ReverseError, Reversed, Srs};

use crate::return_path::ReturnPaths;
use crate::table::{Expansion, Options, Resolution, SRS_DOMAIN_OCTETS_MAX, Table, Target};

/// What the operator configures.
#[derive(Debug, Clone)]
pub struct Settings {
    /// The relay's own name: `<postmaster>` is taken as the postmaster of this.
    pub hostname: Domain,
    /// The domain of rewritten reverse paths, unless an option of the table names another. At most 189 octets, so
    /// that every local part fits before it.
    pub srs_domain: Domain,
    /// Others that reverse paths may be moved to ([`Plan::move_senders`](crate::Plan::move_senders)), as long at most.
    pub more_srs_domains: Vec<Domain>,
    /// Who gets the mail to a postmaster who has no line of his own (RFC 5321 §4.5.1). May itself be hosted.
    pub postmaster: Option<Mailbox>,
    /// More Received headers than this are a loop (RFC 5321 §6.3); 50 is usual.
    pub received_max: u32,
    /// What bounces to users who send for others come back to; those that were in use before, too.
    pub return_paths: ReturnPaths,
}

/// Settings that cannot work.
#[derive(Debug, Clone, Copy, PartialEq, Eq, thiserror::Error)]
pub enum SettingsError {
    /// With a local part before it, it would be no address.
    #[error("SRS domain over {SRS_DOMAIN_OCTETS_MAX} octets")]
    SrsDomainTooLong,
}

/// Decides where mail goes and under which sender. The table is an argument, since a reload replaces it.
#[derive(Debug)]
pub struct Forwarder {
    pub(crate) srs: Srs,
    pub(crate) settings: Settings,
}

/// Where mail to one recipient goes.
#[derive(Debug, Clone, PartialEq, Eq)]
pub enum Route {
    /// It is hosted, and forwarded.
    Forward(Expansion),
    /// It is an SRS address of ours, and goes back to who sent the original: mostly one target, or several when
    /// the sender is hosted here and forwarded in turn.
    Return {
        /// Who is behind the SRS address.
        sender: Mailbox,
        /// Where the mail goes.
        expansion: Expansion,
    },
    /// It is a token of ours: recall the sender, and ask [`Forwarder::route_return`]. If it cannot be recalled, it is
    /// refused with [`SrsRefusal::TokenForgotten`].
    Token(String),
    /// It is hosted, accepted and dropped, under these options.
    Discard(Options),
    /// It is hosted and refused.
    Refused(Reply),
    /// Its domain is ours, and there is no such address.
    Unknown,
    /// It is in an SRS domain of ours and looks like SRS, and is not valid.
    SrsRefused(SrsRefusal),
    /// Its domain is not ours.
    NotHosted,
}

/// What an address is as an SRS address of ours.
#[derive(Debug, Clone, PartialEq, Eq)]
pub enum SrsRecipient {
    /// It is none: not in an SRS domain of ours, or it does not look like SRS; nor is it of a return path's form.
    NotOurs,
    /// It stands for this sender, or for the first forwarder's SRS0 address.
    Decoded(Mailbox),
    /// It stands for the sender that was kept under this token.
    Token(String),
    /// It is not valid, and is refused before any catch-all.
    Refused(SrsRefusal),
}

/// Why an SRS address of ours is refused.
#[derive(Debug, Clone, Copy, PartialEq, Eq, thiserror::Error)]
pub enum SrsRefusal {
    /// It is not whole, not signed by us, expired, or from the future.
    #[error("{0}")]
    Invalid(ReverseError),
    /// It is valid, but nobody remembers what it stood for.
    #[error("SRS token not known any more")]
    TokenForgotten,
    /// It is signed, but what is in it is no address.
    #[error("SRS address without a sender in it")]
    NotAnAddress,
}

impl Forwarder {
    /// Checks the settings.
    pub fn new(srs: Srs, settings: Settings) -> Result<Self, SettingsError> {
        let too_long = |domain: &Domain| domain.as_str().len() > SRS_DOMAIN_OCTETS_MAX;
        if too_long(&settings.srs_domain) || settings.more_srs_domains.iter().any(too_long) {
            return Err(SettingsError::SrsDomainTooLong);
        }
        Ok(Self { srs, settings })
    }

    /// The rewriter, for the operator's `srs encode` and `srs decode`.
    pub fn srs(&self) -> &Srs {
        &self.srs
    }

    /// What it was made with.
    pub fn settings(&self) -> &Settings {
        &self.settings
    }

    /// Whether rewritten reverse paths of ours are in this domain: one of the settings', or one that the table names.
    pub fn is_srs_domain(&self, table: &Table, domain: &Domain) -> bool {
        let settings = &self.settings;
        *domain == settings.srs_domain
            || settings.more_srs_domains.contains(domain)
            || table.names_srs_domain(domain)
    }

    /// All of these domains.
    pub fn srs_domains<'a>(&'a self, table: &'a Table) -> BTreeSet<&'a Domain> {
        let Settings {
            srs_domain,
            more_srs_domains,
            ..
        } = &self.settings;
        let all = more_srs_domains.iter().chain(table.srs_domains());
        all.chain([srs_domain]).collect()
    }

    /// What an address is as an SRS address of ours.
    pub fn srs_recipient(&self, table: &Table, address: &Mailbox, now: Timestamp) -> SrsRecipient {
        let today = Day::from_unix_secs(now.unix_secs());
        let Some(mut reversed) = self.reverse(table, address, today) else {
            return SrsRecipient::NotOurs;
        };
        // Mail that went round through another forwarder and us again has several of our addresses in one.
        for _ in 0..DECODE_MAX {
            let decoded = match reversed {
                Ok(Reversed::Token(id)) => return SrsRecipient::Token(id),
                Ok(Reversed::Srs0 { local, domain } | Reversed::Srs1 { local, domain }) => {
                    mailbox(&local, &domain)
                }
                Err(error) => return SrsRecipient::Refused(SrsRefusal::Invalid(error)),
            };
            let Some(decoded) = decoded else {
                return SrsRecipient::Refused(SrsRefusal::NotAnAddress);
            };
            match self.reverse(table, &decoded, today) {
                Some(again) => reversed = again,
                None => return SrsRecipient::Decoded(decoded),
            }
        }
        SrsRecipient::Refused(SrsRefusal::NotAnAddress)
    }

    /// What an address of ours stands for; `None` if it is none. An SRS domain holds nothing but SRS, so whatever looks like
    /// SRS there and is not whole is refused. A return path shares its domain with other addresses
    /// (`customer+news@service.example`): one without the form of SRS is none of ours.
    fn reverse(
        &self,
        table: &Table,
        address: &Mailbox,
        today: Day,
    ) -> Option<Result<Reversed, ReverseError>> {
        let (domain, local) = (address.domain()?, address.local_part().as_str());
        if self.is_srs_domain(table, domain) && srs::looks_like_srs(local) {
            return Some(self.srs.reverse(local, today));
        }
        let mut refusal = None;
        for face in self.settings.return_paths.faces(domain, local) {
            match self.srs.reverse_as(face, local, today) {
                Ok(reversed) => return Some(Ok(reversed)),
                Err(ReverseError::NotSrs | ReverseError::Malformed | ReverseError::TooLong) => {}
                Err(error) => {
                    // One face may be the beginning of another: a tag that is right for one says most.
                    refusal = refusal
                        .filter(|old| *old != ReverseError::BadTag)
                        .or(Some(error));
                }
            }
        }
        refusal.map(Err)
    }

    /// Where mail to this recipient goes: found out once, at RCPT.
    pub fn route(&self, table: &Table, recipient: &ForwardPath, now: Timestamp) -> Route {
        let address = match recipient {
            ForwardPath::Mailbox(address) => address,
            ForwardPath::Postmaster => {
                return match self.postmaster_address() {
                    Some(address) => self.route_hosted(table, &address, now),
                    None => Route::Unknown,
                };
            }
        };
        match self.srs_recipient(table, address, now) {
            SrsRecipient::NotOurs => self.route_hosted(table, address, now),
            SrsRecipient::Refused(refusal) => Route::SrsRefused(refusal),
            SrsRecipient::Decoded(sender) => self.route_return(table, address, sender, now),
            SrsRecipient::Token(id) => Route::Token(id),
        }
    }

    /// `postmaster@` our own name, for `<postmaster>`.
    pub fn postmaster_address(&self) -> Option<Mailbox> {
        mailbox(POSTMASTER, self.settings.hostname.as_str())
    }

    /// From an SRS address of ours back to the sender behind it, who may be hosted here and is then treated like any
    /// recipient.
    pub fn route_return(
        &self,
        table: &Table,
        address: &Mailbox,
        sender: Mailbox,
        now: Timestamp,
    ) -> Route {
        let expansion = match self.route_hosted(table, &sender, now) {
            Route::Forward(expansion) => expansion,
            // Should it have a reverse path to rewrite, the way back leads through the same SRS domain.
            Route::NotHosted => Expansion::of(Target {
                mailbox: sender.clone(),
                options: Options {
                    srs_domain: address
                        .domain()
                        .filter(|domain| self.is_srs_domain(table, domain))
                        .cloned(),
                    ..Options::default()
                },
                via: Vec::new(),
            }),
            elsewhere => return elsewhere,
        };
        Route::Return { sender, expansion }
    }

    fn route_hosted(&self, table: &Table, address: &Mailbox, now: Timestamp) -> Route {
        let Some(domain) = address.domain() else {
            return Route::NotHosted;
        };
        let postmaster = is_postmaster(address).then_some(self.settings.postmaster.as_ref());
        if let Some(Some(postmaster)) = postmaster
            && self.has_postmaster(table, domain)
        {
            return self.route_postmaster(table, address, postmaster, now);
        }
        match table.resolve(address, now) {
            Resolution::Targets(expansion) => Route::Forward(expansion),
            Resolution::Discard(options) => Route::Discard(options),
            Resolution::Refused(reply) => Route::Refused(reply),
            Resolution::Unknown => Route::Unknown,
            // Nobody lives in an SRS domain but SRS addresses; still it is ours.
            Resolution::NotHosted if self.is_srs_domain(table, domain) => Route::Unknown,
            Resolution::NotHosted => Route::NotHosted,
        }
    }

    fn has_postmaster(&self, table: &Table, domain: &Domain) -> bool {
        table.hosts(domain)
            || self.is_srs_domain(table, domain)
            || *domain == self.settings.hostname
    }

    /// The postmaster's own line, or the configured mailbox: a catch-all or a `:reject:` pattern does not swallow
    /// what must always work.
    fn route_postmaster(
        &self,
        table: &Table,
        address: &Mailbox,
        postmaster: &Mailbox,
        now: Timestamp,
    ) -> Route {
        let domain = address.domain();
        let resolution = table
            .resolve_own_line(address, now)
            .unwrap_or_else(|| table.resolve(postmaster, now));
        match resolution {
            Resolution::Targets(mut expansion) => {
                for target in &mut expansion.targets {
                    if target.via.first() != Some(address) {
                        target.via.insert(0, address.clone());
                    }
                }
                Route::Forward(expansion)
            }
            Resolution::Discard(options) => Route::Discard(options),
            Resolution::Refused(reply) => Route::Refused(reply),
            Resolution::Unknown => Route::Unknown,
            Resolution::NotHosted => {
                let options = domain.and_then(|domain| table.domain_options(domain));
                Route::Forward(Expansion::of(Target {
                    mailbox: postmaster.clone(),
                    options: options.unwrap_or_default(),
                    via: vec![address.clone()],
                }))
            }
        }
    }
}

/// From texts as `srs` gives them.
pub(crate) fn mailbox(local: &str, host: &str) -> Option<Mailbox> {
    let local = LocalPart::from_unquoted(local).ok()?;
    Mailbox::new(local, host.parse::<Host>().ok()?).ok()
}

fn is_postmaster(address: &Mailbox) -> bool {
    address
        .local_part()
        .as_str()
        .eq_ignore_ascii_case(POSTMASTER)
}

const POSTMASTER: &str = "postmaster";
/// SRS1 of ours over SRS0 of ours over SRS1 of ours over SRS0 of ours fits in no 64 octets, and we write no more.
const DECODE_MAX: usize = 4;

#[cfg(test)]
mod tests;
