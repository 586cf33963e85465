//! Forwards that are looked up when they are asked for, on top of the table, until nothing is missed any more.
//!
//! Whatever a source cannot tell is an error, so that nobody is refused for good, and nobody's mail is relayed, because of it.

use std::collections::{BTreeMap, BTreeSet};
use std::sync::Arc;

use directory::{Failed, Unless};
use envelope::Mailbox;
use forwarder::table::{CHAIN_MAX, Objection, Table};
use futures_util::future::try_join_all;

use crate::{Routing, store};

/// See [`Routing::ask`].
pub(crate) async fn ask<T>(
    routing: &Routing,
    refused: Option<&Mailbox>,
    ask: impl Fn(&Table) -> T,
) -> Result<T, Failed> {
    let (mut known, mut lines) = (BTreeSet::new(), BTreeMap::new());
    // One for each line of a chain, and one that misses nothing.
    for _ in 0..=CHAIN_MAX + 1 {
        let layer = layer(routing, &lines, known.clone())?;
        let answer = ask(&layer);
        let missed = layer.missed();
        if missed.is_empty() {
            return Ok(answer);
        }
        known.extend(missed.keys().cloned());
        if known.len() > KNOWN_MAX {
            return Err(Failed(format!("over {KNOWN_MAX} addresses behind one")));
        }
        find(routing, refused, missed, &mut lines).await?;
    }
    Err(Failed(format!(
        "over {CHAIN_MAX} lines one behind the other"
    )))
}

/// The lines about all of these.
async fn find(
    routing: &Routing,
    refused: Option<&Mailbox>,
    missed: BTreeMap<Mailbox, bool>,
    lines: &mut BTreeMap<String, Arc<str>>,
) -> Result<(), Failed> {
    let key_of = |line: &str| Table::key_of(line, &check(routing));
    let found = missed.iter().map(async |(address, is_target)| {
        let mut domain = address.domain().into_iter();
        let is_here = domain.any(|name| routing.table.hosts(name));
        let unless = match is_target {
            _ if is_here || refused == Some(address) => Unless::Refused,
            false => Unless::Sent,
            true => Unless::Target,
        };
        let mut found = BTreeMap::new();
        let lookups = &routing.lookups;
        lookups.find(address, unless, &key_of, &mut found).await?;
        Ok::<_, Failed>(found)
    });
    for found in try_join_all(found).await? {
        for (key, line) in found {
            lines.entry(key).or_insert(line);
        }
    }
    Ok(())
}

fn layer(
    routing: &Routing,
    lines: &BTreeMap<String, Arc<str>>,
    known: BTreeSet<Mailbox>,
) -> Result<Table, Failed> {
    let text = lines.values().map(|line| &**line).collect::<Vec<_>>();
    let layer = Table::layer(
        &routing.table,
        NAME,
        &text.join("\n"),
        known,
        &check(routing),
    );
    let layer = layer.map_err(|errors| Failed(errors.to_string()))?;
    let is_ours = |domain| routing.forwarder.is_srs_domain(&routing.table, domain);
    match layer.srs_domains().iter().find(|domain| !is_ours(domain)) {
        None => Ok(layer),
        // Answers to such a sender would not be known for ours.
        Some(domain) => Err(Failed(format!(
            "`srs_domain={domain}` of a row that is looked up: a line of the forwards file must name it, too"
        ))),
    }
}

/// A line may choose the measures that the profiles know.
fn check(routing: &Routing) -> impl Fn(&str, &str) -> Result<(), Objection> {
    |name, value| store::check(&routing.profiles, name, value)
}

const NAME: &str = "looked up";
/// Of one recipient: as many as a line has targets, and some.
const KNOWN_MAX: usize = 1500;
