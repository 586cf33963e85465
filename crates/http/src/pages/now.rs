//! How it is now, and how the last day was.

use std::time::Duration;

use askama::Template;
use axum::http::header::CONTENT_TYPE;
use axum::response::{IntoResponse, Response};
use control::{ResultCount, SiteRow, Status, ask};
use serde_json::{Map, Value};

use super::chart::{self, Chart};
use super::show;
use super::visit::{Frame, Visit};
use super::words::{millis, more, number, octets, short, span};

#[derive(Default, Template)]
#[template(path = "now.html")]
struct Now {
    frame: Frame,
    tiles: Vec<Tile>,
    charts: Vec<Chart>,
    sites: Vec<SiteRow>,
    sites_left_out: u64,
    results: Vec<ResultCount>,
    results_left_out: u64,
}

/// A number that is kept up to date.
struct Tile {
    key: &'static str,
    name: &'static str,
    value: String,
    is_bad: bool,
}

pub(crate) async fn page(mut visit: Visit) -> Response {
    let status = status(&mut visit).await;
    let mut page = Now::default();
    if let Some(status) = status {
        let hours = ask::StatsHours {
            since: status.now.minus(DAY),
        };
        let hours = visit.recent("hours", hours, Duration::from_mins(1)).await;
        page.charts = hours.map_or_else(Vec::new, |hours| chart::of_day(&hours, status.now).into());
        page.tiles = tiles(&status);
        visit.frame.troubles.extend(troubles(&status));
        let sites = status.sites.len() as u64;
        page.sites_left_out = status.sites_in_trouble.saturating_sub(sites);
        page.sites = status.sites;
        let mut results = status.results;
        results.retain(|row| row.minute > 0);
        results.sort_by_key(|row| std::cmp::Reverse(row.minute));
        page.results_left_out = results.len().saturating_sub(RESULTS_MAX) as u64;
        results.truncate(RESULTS_MAX);
        page.results = results;
    }
    page.frame = visit.frame();
    show(&page)
}

/// `GET /now.json`: the tiles' numbers by their keys.
pub(crate) async fn numbers(mut visit: Visit) -> Response {
    let status = status(&mut visit).await;
    let tiles = status.as_ref().map(tiles).unwrap_or_default();
    let pair = |tile: Tile| (tile.key.to_owned(), Value::from(tile.value));
    let numbers: Map<_, _> = tiles.into_iter().map(pair).collect();
    let head = [(CONTENT_TYPE, "application/json")];
    (head, Value::from(numbers).to_string()).into_response()
}

pub(crate) async fn status(visit: &mut Visit) -> Option<Status> {
    let fresh = Duration::from_secs(1);
    visit.recent("status", ask::Status {}, fresh).await
}

fn troubles(status: &Status) -> Vec<String> {
    let mut troubles = Vec::new();
    if status.drained {
        troubles.push("No new mail is taken: the relay is drained (see Changes).".to_owned());
    }
    if let Some(error) = status.reload.as_ref().and_then(|last| last.error.as_ref()) {
        troubles.push(format!("The last reload failed: {error}"));
    }
    if let Some(trouble) = &status.history.trouble {
        troubles.push(format!("Nothing is written to the history: {trouble}"));
    }
    troubles
}

fn tiles(status: &Status) -> Vec<Tile> {
    let mut tiles = of_mail(status);
    tiles.extend(of_health(status));
    tiles
}

fn of_mail(status: &Status) -> Vec<Tile> {
    let minute = |event: &str| number(status.minute.get(event).unwrap_or(&0));
    let queue = &status.queue;
    let oldest = queue.oldest.map(|at| status.now.since(at).as_secs());
    let refused = status.refused.iter().map(|row| row.minute).sum::<u64>();
    let rows = [
        ("waiting", "waiting", number(&queue.waiting)),
        ("active", "being delivered", number(&queue.active)),
        ("held", "on hold", number(&queue.held)),
        ("oldest", "oldest", oldest.map_or_else(unknown, span)),
        ("received", "received last minute", minute("received")),
        ("delivered", "delivered last minute", minute("delivered")),
        ("deferred", "put off last minute", minute("deferred")),
        ("failed", "failed last minute", minute("failed")),
        ("refused", "refused last minute", number(&refused)),
        ("p50", "to delivery, half", millis(&status.delays.p50_ms)),
        ("p99", "to delivery, 99 %", millis(&status.delays.p99_ms)),
        ("commit", "to disk, 99 %", millis(&status.commits.p99_ms)),
    ];
    let tile = |(key, name, value)| Tile {
        key,
        name,
        value,
        is_bad: false,
    };
    rows.map(tile).into()
}

fn of_health(status: &Status) -> Vec<Tile> {
    let full = |is: u64, max: u64| (format!("{} of {}", number(&is), number(&max)), is >= max);
    let none = |count: u64| (number(&count), count > 0);
    let (open, free) = (&status.connections, status.disk.free);
    let first = status.certificates.iter().map(|end| end.expires).min();
    let days = first.map(|end| end.since(status.now).as_secs() / 86400);
    let disk = free.is_some_and(|free| free < status.disk.free_min);
    let disk = (free.as_ref().map_or_else(unknown, octets), disk);
    let certificate = days.is_some_and(|days| days < CERTIFICATE_DAYS);
    let certificate = (days.as_ref().map_or_else(unknown, number), certificate);
    let rows = [
        ("in", "clients", full(open.incoming, open.incoming_max)),
        ("out", "to sites", full(open.outgoing, open.outgoing_max)),
        ("trouble", "sites in trouble", none(status.sites_in_trouble)),
        ("frozen", "frozen", none(status.frozen)),
        ("disk", "free on the disk", disk),
        ("certificate", "days of the certificate", certificate),
    ];
    let tile = |(key, name, (value, is_bad))| Tile {
        key,
        name,
        value,
        is_bad,
    };
    rows.map(tile).into()
}

fn unknown() -> String {
    "–".to_owned()
}

pub(crate) const DAY: Duration = Duration::from_hours(24);
const RESULTS_MAX: usize = 20;
/// Renewed certificates never get there.
const CERTIFICATE_DAYS: u64 = 14;
