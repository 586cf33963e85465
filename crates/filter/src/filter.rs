//! A filter as the operator defines it, and the one call that asks it.

use std::fmt;
use std::sync::Arc;
use std::time::Duration;

use tokio::sync::Semaphore;
use tokio::time::{Instant, timeout_at};

use crate::address::Address;
use crate::clamd;
use crate::facts::{Body, Facts};
use crate::milter;
use crate::opinion::{Failed, Opinion};
use crate::rspamd::Rspamd;

/// What the operator writes. It is not `Debug`: it has a password.
#[derive(Clone)]
pub struct Definition {
    /// Its name, in measures and in the log.
    pub name: Arc<str>,
    /// What it speaks.
    pub kind: Kind,
    /// Where it listens.
    pub address: Address,
    /// Of rspamd's worker; empty: none.
    pub password: String,
    /// The most that asking takes, and waiting until it may be asked.
    pub timeout: Duration,
    /// It is not asked about larger messages.
    pub size_max: u64,
}

envelope::named! {
    /// What a filter speaks.
    pub enum Kind {
        /// rspamd's HTTP protocol.
        Rspamd = "rspamd",
        /// clamd's INSTREAM.
        Clamd = "clamd",
        /// Sendmail's protocol for mail filters.
        Milter = "milter",
    }
}

/// Something that can be asked for its opinion.
pub struct Filter {
    definition: Definition,
    service: Service,
    /// For those who ask at the same time.
    slots: Semaphore,
}

enum Service {
    Rspamd(Rspamd),
    Clamd,
    Milter,
}

/// A definition that cannot be.
#[derive(Debug, Clone, PartialEq, Eq, thiserror::Error)]
pub enum NoSuchFilter {
    /// Only rspamd speaks HTTP.
    #[error("this kind of filter has no URL")]
    NoUrl,
    /// The HTTP client refuses the URL or the password, or has no TLS.
    #[error("{0}")]
    Http(String),
}

impl fmt::Debug for Filter {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        write!(f, "filter {}", self.definition.name)
    }
}

impl Filter {
    /// Nothing is connected yet.
    pub fn new(definition: Definition) -> Result<Self, NoSuchFilter> {
        let service = match definition.kind {
            Kind::Rspamd => {
                Service::Rspamd(Rspamd::new(&definition.address, &definition.password)?)
            }
            Kind::Clamd | Kind::Milter if matches!(definition.address, Address::Http(_)) => {
                return Err(NoSuchFilter::NoUrl);
            }
            Kind::Clamd => Service::Clamd,
            Kind::Milter => Service::Milter,
        };
        Ok(Self {
            definition,
            service,
            slots: Semaphore::new(CALLS_MAX),
        })
    }

    /// What it was made of.
    pub fn definition(&self) -> &Definition {
        &self.definition
    }

    /// Asks what it thinks of this message. It takes the time limit at most; a milter that says now and then that it is at work
    /// has longer, but no more than [`AT_WORK_MAX`].
    pub async fn ask(&self, facts: &Facts<'_>, body: Body) -> Result<Opinion, Failed> {
        let Definition {
            address,
            timeout: limit,
            size_max,
            ..
        } = &self.definition;
        if facts.size > *size_max {
            return Ok(Opinion::none(format!("not asked: over {size_max} octets")));
        }
        let now = Instant::now();
        let until = now + *limit;
        let last = match self.service {
            Service::Milter => now + AT_WORK_MAX.max(*limit),
            _ => until,
        };
        let late = |_| Failed::late(*limit);
        let slot = timeout_at(until, self.slots.acquire()).await;
        let _slot = slot.map_err(late)?;
        let answer = async {
            match &self.service {
                Service::Rspamd(rspamd) => rspamd.ask(facts, body).await,
                Service::Clamd => clamd::ask(address, body).await,
                Service::Milter => milter::ask(address, facts, body, *limit, until).await,
            }
        };
        timeout_at(last, answer).await.map_err(late)?
    }
}

/// The client waits meanwhile: 10 minutes (RFC 5321 §4.5.3.2.6).
const AT_WORK_MAX: Duration = Duration::from_mins(5);
/// Calls of one filter at the same time: what is waiting for its answer holds memory, and its connection a place in the filter.
const CALLS_MAX: usize = 50;
