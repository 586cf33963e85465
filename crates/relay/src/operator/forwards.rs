//! Domains and forwards: shown as the table has them, changed in the own store.

use std::collections::HashSet;
use std::sync::Arc;

use control::ask::{
    DomainDelete, DomainDns, DomainList, DomainPut, DomainShow, ForwardDelete, ForwardList,
    ForwardPut, ForwardShow, ForwardsExport, ForwardsPut,
};
use control::{
    Answers, Changed, DomainDetails, DomainPage, DomainRow, Fault, Finding, Forward,
    ForwardDetails, ForwardPage,
};
use envelope::{Actor, Domain};
use forwarder::table::{About, DOMAIN_ACTION, Row, Table, key};
use spool::Spool;
use tokio::task::spawn_blocking;

use super::Operator;
use crate::store::{Edit, Store, etag, put};

impl<S: Spool> Operator<S> {
    /// Looks at the table and the store, away from the threads that carry the mail.
    async fn look<T: Send + 'static>(
        &self,
        look: impl FnOnce(&Table, &Store) -> Result<T, Fault> + Send + 'static,
    ) -> Result<T, Fault> {
        let (routing, store) = (self.routing.load_full(), Arc::clone(&self.store));
        let looked = spawn_blocking(move || look(&routing.table, &store));
        looked.await.map_err(Fault::of)?
    }

    async fn edit_own(
        &self,
        edit: Edit,
        change: impl FnOnce(Vec<String>) -> Result<Vec<String>, Fault> + Send + 'static,
    ) -> Result<Changed, Fault> {
        let (routing, store) = (Arc::clone(&self.routing), Arc::clone(&self.store));
        let changed = spawn_blocking(move || store.change(&routing, &edit, change));
        changed.await.map_err(Fault::of)?
    }
}

impl<S: Spool> Answers<DomainList> for Operator<S> {
    async fn answer(&self, ask: DomainList, _by: Actor) -> Result<DomainPage, Fault> {
        self.look(move |table, store| {
            let mut names: Vec<Domain> = table.domain_names().collect();
            names.sort_unstable();
            let (names, next) = page(names, ask.cursor, ask.limit, Domain::to_string);
            let files: HashSet<&str> = table.files().map(|(name, _)| name).collect();
            let row = |domain: Domain| DomainRow {
                is_own: files.contains(&*store.name(&domain)),
                domain,
            };
            let domains = names.into_iter().map(row).collect();
            Ok(DomainPage { domains, next })
        })
        .await
    }
}

impl<S: Spool> Answers<DomainShow> for Operator<S> {
    async fn answer(&self, ask: DomainShow, _by: Actor) -> Result<DomainDetails, Fault> {
        self.look(move |table, store| {
            let lines = lines_of(table, &ask.domain)?;
            let mut rows = lines.iter().filter_map(|(_, line)| Row::of(line));
            let own = rows.find(Row::is_domain).unwrap_or_default();
            let is_domain = usize::from(own.is_domain());
            let text = store.text(table, &ask.domain);
            Ok(DomainDetails {
                is_own: text.is_some(),
                options: own.options.into_iter().collect(),
                note: own.note,
                forwards: (lines.len() - is_domain) as u64,
                etag: text.map(etag),
                domain: ask.domain,
            })
        })
        .await
    }
}

impl<S: Spool> Answers<DomainPut> for Operator<S> {
    async fn answer(&self, ask: DomainPut, _by: Actor) -> Result<Changed, Fault> {
        let row = Row {
            key: ask.domain.to_string(),
            targets: vec![DOMAIN_ACTION.to_owned()],
            options: ask.options.into_iter().collect(),
            enabled: true,
            expires: None,
            note: ask.note,
        };
        let line = row.line().map_err(Fault::of)?;
        let edit = edit(ask.domain, ask.if_match, ask.dry_run);
        let change = move |mut lines: Vec<String>| {
            put(&mut lines, line);
            Ok(lines)
        };
        self.edit_own(edit, change).await
    }
}

impl<S: Spool> Answers<DomainDelete> for Operator<S> {
    async fn answer(&self, ask: DomainDelete, _by: Actor) -> Result<Changed, Fault> {
        let domain = ask.domain.clone();
        let edit = edit(ask.domain, ask.if_match, ask.dry_run);
        let change = move |lines: Vec<String>| match lines.is_empty() {
            true => Err(not_own(&domain)),
            false => Ok(Vec::new()),
        };
        self.edit_own(edit, change).await
    }
}

impl<S: Spool> Answers<DomainDns> for Operator<S> {
    async fn answer(&self, ask: DomainDns, _by: Actor) -> Result<Vec<Finding>, Fault> {
        Ok(self.doctor.examine_domain(&ask.domain).await)
    }
}

impl<S: Spool> Answers<ForwardList> for Operator<S> {
    async fn answer(&self, ask: ForwardList, _by: Actor) -> Result<ForwardPage, Fault> {
        self.look(move |table, store| {
            let lines = lines_of(table, &ask.domain)?.into_iter();
            let shown = lines.filter_map(|(place, line)| forward(place, line));
            let mut forwards: Vec<_> = shown.collect();
            forwards.sort_unstable_by(|a, b| a.local.cmp(&b.local));
            let (forwards, next) = page(forwards, ask.cursor, ask.limit, |row| row.local.clone());
            Ok(ForwardPage {
                forwards,
                next,
                etag: store.text(table, &ask.domain).map(etag),
            })
        })
        .await
    }
}

impl<S: Spool> Answers<ForwardShow> for Operator<S> {
    async fn answer(&self, ask: ForwardShow, _by: Actor) -> Result<ForwardDetails, Fault> {
        let ForwardShow { domain, local } = ask;
        let about = about(&local, &domain)?;
        self.look(move |table, store| {
            let line = table.line_about(&about);
            let forward = line.and_then(|(place, line)| forward(place, line));
            Ok(ForwardDetails {
                forward: forward.ok_or_else(|| no_forward(&local, &domain))?,
                etag: store.text(table, &domain).map(etag),
            })
        })
        .await
    }
}

impl<S: Spool> Answers<ForwardPut> for Operator<S> {
    async fn answer(&self, ask: ForwardPut, _by: Actor) -> Result<Changed, Fault> {
        let domain = ask.domain.clone();
        let line = line(ask.forward, &domain)?;
        let edit = edit(ask.domain, ask.if_match, ask.dry_run);
        let change = move |mut lines: Vec<String>| {
            if lines.is_empty() {
                return Err(not_own(&domain));
            }
            put(&mut lines, line);
            Ok(lines)
        };
        self.edit_own(edit, change).await
    }
}

impl<S: Spool> Answers<ForwardDelete> for Operator<S> {
    async fn answer(&self, ask: ForwardDelete, _by: Actor) -> Result<Changed, Fault> {
        let ForwardDelete { domain, local, .. } = ask;
        let about = about(&local, &domain)?;
        let edit = edit(domain.clone(), ask.if_match, ask.dry_run);
        let change = move |mut lines: Vec<String>| {
            let before = lines.len();
            lines.retain(|line| About::line(line).as_ref() != Some(&about));
            match lines.len() == before {
                true => Err(no_forward(&local, &domain)),
                false => Ok(lines),
            }
        };
        self.edit_own(edit, change).await
    }
}

impl<S: Spool> Answers<ForwardsPut> for Operator<S> {
    async fn answer(&self, ask: ForwardsPut, _by: Actor) -> Result<Changed, Fault> {
        let domain = ask.domain.clone();
        let forwards = ask.forwards.into_iter();
        let new = forwards.map(|forward| line(forward, &domain));
        let new: Vec<String> = new.collect::<Result<_, _>>()?;
        let edit = edit(ask.domain, ask.if_match, ask.dry_run);
        let change = move |mut lines: Vec<String>| {
            let about = About::domain(&domain);
            lines.retain(|line| About::line(line).as_ref() == Some(&about));
            if lines.is_empty() {
                lines.push(format!("{domain} {DOMAIN_ACTION}"));
            }
            lines.extend(new);
            Ok(lines)
        };
        self.edit_own(edit, change).await
    }
}

impl<S: Spool> Answers<ForwardsExport> for Operator<S> {
    async fn answer(&self, ask: ForwardsExport, _by: Actor) -> Result<String, Fault> {
        self.look(move |table, _| {
            let lines = lines_of(table, &ask.domain)?;
            Ok(lines.iter().flat_map(|(_, line)| [*line, "\n"]).collect())
        })
        .await
    }
}

const fn edit(domain: Domain, if_match: Option<String>, dry_run: bool) -> Edit {
    Edit {
        domain,
        if_match,
        dry_run,
    }
}

fn lines_of<'a>(table: &'a Table, domain: &Domain) -> Result<Vec<(String, &'a str)>, Fault> {
    let lines = table.lines_of(domain);
    match lines.is_empty() {
        true => Err(Fault::missing(format!("{domain} is not hosted"))),
        false => Ok(lines),
    }
}

fn about(local: &str, domain: &Domain) -> Result<About, Fault> {
    About::local(local, domain).ok_or_else(|| {
        Fault::new(format!("`{local}` is no local part and no pattern"))
            .with_hint("`@` is the catch-all; what needs quotes in an address has them here")
    })
}

/// A forward as its line; `None` for a domain's own line.
fn forward(place: String, line: &str) -> Option<Forward> {
    let row = Row::of(line).filter(|row| !row.is_domain())?;
    let (local, _) = row.key.rsplit_once('@')?;
    Some(Forward {
        local: Some(local)
            .filter(|local| !local.is_empty())
            .unwrap_or("@")
            .to_owned(),
        targets: row.targets,
        options: row.options.into_iter().collect(),
        enabled: row.enabled,
        expires_at: row.expires.and_then(|time| time.parse().ok()),
        note: row.note,
        place,
    })
}

/// The other way round.
fn line(forward: Forward, domain: &Domain) -> Result<String, Fault> {
    about(&forward.local, domain)?;
    let row = Row {
        key: key(&forward.local, domain),
        targets: forward.targets,
        options: forward.options.into_iter().collect(),
        enabled: forward.enabled,
        expires: forward.expires_at.map(|time| time.to_string()),
        note: forward.note,
    };
    match row.is_domain() {
        true => Err(Fault::new(format!("`{DOMAIN_ACTION}` is no target"))),
        false => row
            .line()
            .map_err(|wrong| Fault::of(format!("{}: {wrong}", row.key))),
    }
}

/// The first rows behind the cursor, and where the next page begins.
fn page<T>(
    mut rows: Vec<T>,
    cursor: Option<String>,
    limit: u32,
    name: impl Fn(&T) -> String,
) -> (Vec<T>, Option<String>) {
    if let Some(cursor) = cursor {
        rows.drain(..rows.partition_point(|row| name(row) <= cursor));
    }
    let is_last = rows.len() <= limit as usize;
    rows.truncate(limit as usize);
    let next = rows.last().filter(|_| !is_last).map(name);
    (rows, next)
}

fn not_own(domain: &Domain) -> Fault {
    Fault::missing(format!("{domain} is not in the own store"))
        .with_hint("put the domain there first, with its options or none")
}

fn no_forward(local: &str, domain: &Domain) -> Fault {
    Fault::missing(format!("{} has no line", key(local, domain)))
}
