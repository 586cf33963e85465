//! Who does us harm: what is frozen, who sends how much, what is refused, and who tries forged SRS addresses.

use std::time::Duration;

use askama::Template;
use axum::response::Response;
use control::{FreezeRow, RefusedCount, StatsBy, StatsRow, ask};

use super::now::{DAY, status};
use super::visit::{Frame, Visit};
use super::words::{number, octets, when};
use super::{Wrong, show};

#[derive(Template)]
#[template(path = "abuse.html")]
struct Abuse {
    frame: Frame,
    freezes: Vec<FreezeRow>,
    next: Option<String>,
    clients: Vec<StatsRow>,
    rules: Vec<StatsRow>,
    forged: Vec<RefusedCount>,
}

pub(crate) async fn page(mut visit: Visit) -> Result<Response, Wrong> {
    visit.check_read()?;
    let list = ask::FreezeList {
        cursor: visit.fields.text("cursor").map(ToOwned::to_owned),
        limit: FREEZES_SHOWN,
    };
    let freezes = visit.ask(list).await.unwrap_or_default();
    let mut page = Abuse {
        frame: Frame::default(),
        freezes: freezes.freezes,
        next: freezes.next,
        clients: Vec::new(),
        rules: Vec::new(),
        forged: Vec::new(),
    };
    if let Some(status) = status(&mut visit).await {
        for (name, by, rows) in [
            ("clients", StatsBy::Client, &mut page.clients),
            ("rules", StatsBy::Rule, &mut page.rules),
        ] {
            let ask = ask::Stats {
                by,
                since: status.now.minus(DAY),
                reply: None,
                limit: ROWS_SHOWN,
            };
            let sums = visit.recent(name, ask, Duration::from_mins(1)).await;
            *rows = sums.map(|sums| sums.rows).unwrap_or_default();
        }
        page.forged = status.refused;
        page.forged.retain(|row| row.rule.starts_with("srs"));
    }
    page.frame = visit.frame();
    Ok(show(&page))
}

const FREEZES_SHOWN: u32 = 100;
const ROWS_SHOWN: u32 = 30;
