//! The queue looked at: of a running engine, or of a spool at rest, by the same questions and with the same rows.

use std::collections::HashMap;
use std::future::Future;
use std::sync::Arc;

use control::ask::{QueueList, QueueShow, QueueSummary};
use control::{Fault, LegRow, MessageDetails, PAGE_ROWS_MAX, Page, Summary, SummaryBy, SummaryRow};
use envelope::{BodyKind, LegId};
use spool::{AGE_MINUTES, Ages, By, Entry, Error, Filter, Spool};

use super::choice::{meant, whole};
use super::queue::{PAGE, not_queued};

/// What a look at the queue asks of a spool. Every engine can tell.
pub trait Listing: Sync {
    /// See [`Spool::list`].
    fn list(
        &self,
        filter: &Filter,
        cursor: Option<LegId>,
        n: usize,
    ) -> impl Future<Output = Result<spool::Page, Error>> + Send;

    /// See [`Spool::summary`].
    fn summary(
        &self,
        filter: &Filter,
        by: By,
        n: usize,
    ) -> impl Future<Output = Result<spool::Summary, Error>> + Send;
}

impl<S: Spool> Listing for S {
    async fn list(
        &self,
        filter: &Filter,
        cursor: Option<LegId>,
        n: usize,
    ) -> Result<spool::Page, Error> {
        Spool::list(self, filter, cursor, n).await
    }

    async fn summary(&self, filter: &Filter, by: By, n: usize) -> Result<spool::Summary, Error> {
        Spool::summary(self, filter, by, n).await
    }
}

/// Answers [`QueueList`].
pub async fn list(
    spool: &impl Listing,
    ask: QueueList,
    row: impl Fn(&Entry) -> LegRow,
) -> Result<Page, Fault> {
    let cursor = ask.cursor.map(|text| text.parse()).transpose();
    let cursor = cursor.map_err(|_| Fault::new("the cursor is not one that a page ended with"))?;
    let Some(filter) = meant(spool, ask.filter).await? else {
        return Ok(Page::default());
    };
    let page = spool.list(&filter, cursor, ask.limit as usize).await;
    let page = page.map_err(Fault::of)?;
    Ok(Page {
        legs: page.entries.iter().map(&row).collect(),
        next: page.next.map(|id| id.to_string()),
    })
}

/// Answers [`QueueSummary`]; `site` makes a host the site that takes its mail.
pub async fn summary(
    spool: &impl Listing,
    ask: QueueSummary,
    site: impl Fn((Box<str>, Ages)) -> (Box<str>, Ages),
) -> Result<Summary, Fault> {
    let by = match ask.by {
        SummaryBy::Site | SummaryBy::Domain => By::Host,
        SummaryBy::Sender => By::Sender,
        SummaryBy::Error => By::Error,
    };
    let counted = match meant(spool, ask.filter).await? {
        Some(filter) => spool.summary(&filter, by, NAMES_MAX).await,
        None => Ok(spool::Summary::default()),
    };
    let mut counted = counted.map_err(Fault::of)?;
    if ask.by == SummaryBy::Site {
        let mut sites: HashMap<Box<str>, Ages> = HashMap::new();
        for (name, ages) in counted.rows.drain(..).map(site) {
            sites.entry(name).or_default().merge(&ages);
        }
        counted.rows = sites.into_iter().collect();
    }
    Ok(rows(counted, ask.limit))
}

/// Answers [`QueueShow`].
pub async fn show(
    spool: &impl Listing,
    ask: QueueShow,
    row: impl Fn(&Entry) -> LegRow,
) -> Result<MessageDetails, Fault> {
    let whole = whole(spool, &ask.id).await?;
    let id = whole.ok_or_else(|| not_queued(&ask.id))?.message();
    let filter = Filter::only(id);
    let mut legs = Vec::new();
    let mut cursor = None;
    loop {
        let page = spool.list(&filter, cursor, PAGE).await.map_err(Fault::of)?;
        legs.extend(page.entries);
        cursor = page.next;
        if cursor.is_none() {
            break;
        }
    }
    let message = match legs.first() {
        Some(entry) => Arc::clone(&entry.message),
        None => return Err(not_queued(&id)),
    };
    Ok(MessageDetails {
        id,
        arrived: message.arrived,
        reverse_path: message.reverse_path.to_string(),
        origin: message.origin.name().to_owned(),
        size: message.size,
        eight_bit: message.body == BodyKind::EightBitMime,
        smtputf8: message.smtputf8,
        envid: message.envid.as_deref().map(str::to_owned),
        legs: legs.iter().map(&row).collect(),
        history: None,
    })
}

/// Of those names the busiest, with the rest as one.
pub(super) fn rows(counted: spool::Summary, rows_max: u32) -> Summary {
    let row = |name: &str, ages: &Ages| SummaryRow {
        name: name.to_owned(),
        legs: ages.legs(),
        oldest: ages.oldest,
        ages: ages.buckets.to_vec(),
    };
    let mut shown = spool::Summary::of(counted.rows, rows_max.min(PAGE_ROWS_MAX) as usize);
    shown.others.0 += counted.others.0;
    shown.others.1.merge(&counted.others.1);
    let (others, rest) = &shown.others;
    let names = shown.rows.iter();
    Summary {
        age_minutes: AGE_MINUTES.to_vec(),
        rows: names.map(|(name, ages)| row(name, ages)).collect(),
        others: (*others > 0).then(|| row(&format!("({others} others)"), rest)),
        total: row("total", &counted.total),
    }
}

/// Names that a summary tells apart before they are rolled up to sites.
pub(super) const NAMES_MAX: usize = 10_000;
