//! Who changed what, and what can be changed of the relay as a whole.

use askama::Template;
use axum::response::Response;
use control::{Change, Order, ask};

use super::destinations::SOON;
use super::now::status;
use super::show;
use super::visit::{Frame, Visit};
use super::words::when;

#[derive(Template)]
#[template(path = "changes.html")]
struct Changes {
    frame: Frame,
    changes: Vec<Change>,
    /// Where the next page ends.
    next: Option<String>,
    orders: Vec<Order>,
    is_drained: bool,
}

pub(crate) async fn page(mut visit: Visit) -> Response {
    let until = visit.fields.text("until");
    let changes = ask::Changes {
        until: until.and_then(|until| until.parse().ok()),
        limit: ROWS_SHOWN,
    };
    let changes = visit.ask(changes).await.unwrap_or_default();
    let sites = visit
        .recent("sites", ask::SiteList { own: false }, SOON)
        .await;
    let status = status(&mut visit).await;
    let last = changes
        .last()
        .filter(|_| changes.len() as u32 == ROWS_SHOWN);
    show(&Changes {
        frame: visit.frame(),
        next: last.map(|last| last.at.to_string()),
        changes,
        orders: sites.unwrap_or_default().orders,
        is_drained: status.is_some_and(|status| status.drained),
    })
}

const ROWS_SHOWN: u32 = 100;
