//! Who does us harm: what is frozen, who sends how much, what is refused, and who tries forged SRS addresses.

use askama::Template;
use axum::response::Response;
use control::{FreezeRow, RefusedCount, StatsBy, StatsPage, ask};

use super::now::status;
use super::show;
use super::visit::{Frame, Visit};
use super::words::{more, number, octets, when};

#[derive(Default, Template)]
#[template(path = "abuse.html")]
struct Abuse {
    frame: Frame,
    freezes: Vec<FreezeRow>,
    next: Option<String>,
    clients: StatsPage,
    rules: StatsPage,
    forged: Vec<RefusedCount>,
}

pub(crate) async fn page(mut visit: Visit) -> Response {
    let list = ask::FreezeList {
        cursor: visit.fields.text("cursor").map(ToOwned::to_owned),
        limit: FREEZES_SHOWN,
    };
    let freezes = visit.ask(list).await.unwrap_or_default();
    let mut page = Abuse {
        freezes: freezes.freezes,
        next: freezes.next,
        ..Abuse::default()
    };
    if let Some(status) = status(&mut visit).await {
        page.clients = visit.sums(status.now, StatsBy::Client, ROWS_SHOWN).await;
        page.rules = visit.sums(status.now, StatsBy::Rule, ROWS_SHOWN).await;
        page.forged = status.refused;
        page.forged.retain(|row| row.rule.starts_with("srs"));
    }
    page.frame = visit.frame();
    show(&page)
}

const FREEZES_SHOWN: u32 = 100;
const ROWS_SHOWN: u32 = 30;
