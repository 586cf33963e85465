//! `onward trace`, `onward stats` and `onward forwards`: what is asked of the history.

use std::net::IpAddr;

use clap::Args;
use clap::builder::RangedU64ValueParser;
use control::{MailStatus, PAGE_ROWS_MAX, StatsBy, ask};
use envelope::{AddressPattern, SenderPattern, Timestamp};
use spool::Clock;

/// Which messages.
#[derive(Debug, Args)]
pub(crate) struct Trace {
    /// An address, a domain, a message's id or its beginning, a Message-ID; `-` reads the header of a mail from standard input
    #[arg(value_name = "ADDRESS|ID|MESSAGE-ID|-")]
    pub(crate) what: Option<String>,
    /// Only what came in since then: a span, as in 2d, or a time, as in 2026-11-29T08:00:00Z
    #[arg(long, value_name = "SPAN|TIME", value_parser = since)]
    pub(crate) since: Option<Timestamp>,
    /// Only what came in before then
    #[arg(long, value_name = "SPAN|TIME", value_parser = since)]
    until: Option<Timestamp>,
    /// Only from this sender: an address, a domain, or `<>`
    #[arg(long, value_name = "SENDER")]
    from: Option<SenderPattern>,
    /// Only to this recipient or target: an address or a domain
    #[arg(long, value_name = "RECIPIENT")]
    to: Option<AddressPattern>,
    /// Only from this client
    #[arg(long, value_name = "ADDRESS")]
    client: Option<IpAddr>,
    /// Only what stands so: delivered, discarded, removed, queued, deferred, held, failed, refused
    #[arg(long)]
    status: Option<MailStatus>,
    /// Messages at most, the latest
    #[arg(long, default_value_t = 20, value_parser = rows())]
    limit: u32,
}

/// Sums of what.
#[derive(Debug, Args)]
pub(crate) struct Stats {
    /// client, sender-domain, recipient-domain, site, forward, hosted, rule or reply
    #[arg(long)]
    pub(crate) by: StatsBy,
    /// Since then: a span, as in 1h, or a time; counted in whole hours
    #[arg(long, value_name = "SPAN|TIME", default_value = "1d", value_parser = since)]
    pub(crate) since: Timestamp,
    /// Only what was answered so: 4.7 is all of 4.7.x, 5 all of 5.x.x
    #[arg(long, value_name = "STATUS")]
    reply: Option<String>,
    /// Rows at most, the largest
    #[arg(long, default_value_t = 20, value_parser = rows())]
    limit: u32,
}

#[derive(Debug, Args)]
pub(crate) struct Failing {
    /// Since then: a span, as in 30d, or a time; counted in whole hours
    #[arg(long, value_name = "SPAN|TIME", default_value = "30d", value_parser = since)]
    pub(crate) since: Timestamp,
    /// Rows at most, those that fail most
    #[arg(long, default_value_t = 100, value_parser = rows())]
    limit: u32,
}

impl Trace {
    /// The question about the messages that this names, or about all.
    pub(crate) fn ask(&self, what: Option<String>) -> ask::Trace {
        ask::Trace {
            what,
            since: self.since,
            until: self.until,
            from: self.from.clone(),
            to: self.to.clone(),
            client: self.client,
            status: self.status,
            limit: self.limit,
            ..ask::Trace::default()
        }
    }
}

impl Stats {
    pub(crate) fn ask(&self) -> ask::Stats {
        ask::Stats {
            by: self.by,
            since: self.since,
            reply: self.reply.clone(),
            limit: self.limit,
        }
    }
}

impl Failing {
    pub(crate) fn ask(&self) -> ask::ForwardsFailing {
        ask::ForwardsFailing {
            since: self.since,
            of: Vec::new(),
            limit: self.limit,
        }
    }
}

/// A span before now, a moment, or a day.
fn since(text: &str) -> Result<Timestamp, String> {
    let span = humantime::parse_duration(text).ok();
    let time = span.map(|span| Clock::real().now().minus(span));
    let time = time.or_else(|| text.parse().ok());
    let time = time.or_else(|| format!("{text}T00:00:00Z").parse().ok());
    time.ok_or_else(|| "a span, as in 2d, or a time, as in 2026-11-29T08:00:00Z".to_owned())
}

fn rows() -> RangedU64ValueParser<u32> {
    RangedU64ValueParser::new().range(1..=u64::from(PAGE_ROWS_MAX))
}
