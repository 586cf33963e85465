//! Where mail goes: how each site does, what waits for it, what it says, and what is ordered of it.

use std::collections::{BTreeMap, HashMap};
use std::time::Duration;

use askama::Template;
use axum::response::Response;
use control::{Order, Selector, SiteDetails, SiteRow, StatsBy, StatsRow, Summary, SummaryBy, ask};
use envelope::Timestamp;

use super::now::status;
use super::show;
use super::visit::{Frame, Visit};
use super::words::{number, short, when};

#[derive(Template)]
#[template(path = "destinations.html")]
struct Destinations {
    frame: Frame,
    q: String,
    /// The heads of their columns.
    heads: Vec<String>,
    rows: Vec<Row>,
    more: usize,
    orders: Vec<Order>,
}

#[derive(Template)]
#[template(path = "site.html")]
struct Site {
    frame: Frame,
    name: String,
    sites: Vec<SiteDetails>,
}

/// A destination, known to delivery as a site or not yet.
#[derive(Default)]
struct Row {
    name: String,
    site: Option<SiteRow>,
    legs: u64,
    /// How many legs of which age.
    ages: Vec<(String, u64)>,
    oldest: Option<Timestamp>,
    top_reply: Option<String>,
}

pub(crate) async fn page(mut visit: Visit) -> Response {
    if let Some(site) = visit.fields.text("site") {
        let name = site.to_owned();
        let sites = visit.ask(ask::SiteShow { site: name.clone() }).await;
        return show(&Site {
            frame: visit.frame(),
            name,
            sites: sites.unwrap_or_default(),
        });
    }
    let summary = ask::QueueSummary {
        by: SummaryBy::Site,
        filter: Selector::default(),
        limit: ROWS_ASKED,
    };
    let sites = visit
        .recent("sites", ask::SiteList { own: false }, SOON)
        .await;
    let queue = visit.recent("by-site", summary, SOON).await;
    let replies = match status(&mut visit).await {
        Some(status) => {
            visit
                .sums(status.now, StatsBy::Reply, ROWS_ASKED)
                .await
                .rows
        }
        None => Vec::new(),
    };
    let heads = queue.as_ref().map_or_else(Vec::new, heads);
    let sites = sites.unwrap_or_default();
    let q = visit.fields.or_empty("q").to_lowercase();
    let mut rows = rows(sites.sites, queue, replies, &heads);
    rows.retain(|row| row.name.contains(&q));
    let more = rows.len().saturating_sub(ROWS_SHOWN);
    rows.truncate(ROWS_SHOWN);
    show(&Destinations {
        frame: visit.frame(),
        q,
        heads,
        rows,
        more,
        orders: sites.orders,
    })
}

/// Those in trouble and those that most waits for first.
fn rows(
    sites: Vec<SiteRow>,
    queue: Option<Summary>,
    replies: Vec<StatsRow>,
    heads: &[String],
) -> Vec<Row> {
    let mut queued: BTreeMap<_, _> = queue
        .into_iter()
        .flat_map(|queue| queue.rows)
        .map(|row| (row.name.clone(), row))
        .collect();
    let mut said: HashMap<String, String> = HashMap::new();
    for reply in replies {
        // The most frequent of a site comes first.
        said.entry(reply.target.unwrap_or_default())
            .or_insert(reply.key);
    }
    let known = sites
        .into_iter()
        .map(|site| (site.site.clone(), Some(site)));
    let mut rows: Vec<_> = known.collect();
    let names: Vec<_> = rows.iter().map(|(name, _)| name.clone()).collect();
    let unknown = queued.keys().filter(|name| !names.contains(name)).cloned();
    rows.extend(
        unknown
            .collect::<Vec<_>>()
            .into_iter()
            .map(|name| (name, None)),
    );
    let row = |(name, site): (String, Option<SiteRow>)| {
        let waiting = queued.remove(&name);
        Row {
            top_reply: said.remove(&name),
            legs: waiting.as_ref().map_or(0, |row| row.legs),
            oldest: waiting.as_ref().and_then(|row| row.oldest),
            ages: {
                let ages = waiting.map(|row| row.ages).unwrap_or_default();
                let ages = ages.into_iter().chain(std::iter::repeat(0));
                heads.iter().cloned().zip(ages).collect()
            },
            name,
            site,
        }
    };
    let mut rows: Vec<_> = rows.into_iter().map(row).collect();
    let is_up = |row: &Row| row.site.as_ref().is_none_or(|site| site.state == "up");
    rows.sort_by_key(|row| (is_up(row), std::cmp::Reverse(row.legs)));
    rows
}

/// `<5m`, …, `older`.
fn heads(queue: &Summary) -> Vec<String> {
    let ends = queue.age_minutes.iter().map(|end| match end {
        0..60 => format!("<{end}m"),
        _ => format!("<{}h", end / 60),
    });
    ends.chain(["older".to_owned()]).collect()
}

pub(crate) const SOON: Duration = Duration::from_secs(5);
const ROWS_ASKED: u32 = 1000;
const ROWS_SHOWN: usize = 100;
