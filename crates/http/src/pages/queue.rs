//! What is queued: grouped by what went wrong, chosen, and changed after a look at what that would mean.

use askama::Template;
use axum::response::Response;
use control::{
    Count, LegRow, LegState, QueueAction, Selector, Summary, SummaryBy, SummaryRow, ask,
};
use serde_json::from_value;

use super::destinations::SOON;
use super::show;
use super::visit::{Fields, Frame, Visit};
use super::words::{number, short, when};

#[derive(Default, Template)]
#[template(path = "queue.html")]
struct Queue {
    frame: Frame,
    fields: Fields,
    /// Name and value of what is chosen, for the links and forms of the page.
    chosen: Vec<(String, String)>,
    query: String,
    groups: Vec<SummaryRow>,
    total: u64,
    legs: Vec<LegRow>,
    next: Option<String>,
    preview: Option<(QueueAction, Count)>,
}

pub(crate) async fn page(mut visit: Visit) -> Response {
    let chosen = visit.fields.typed(|name| CHOICE.contains(&name));
    let is_chosen = |(name, _): &(&String, &String)| CHOICE.contains(&name.as_str());
    let pairs = visit.fields.0.iter().filter(is_chosen);
    let pairs: Vec<_> = pairs
        .map(|(name, text)| (name.clone(), text.clone()))
        .collect();
    let query = form_urlencoded::Serializer::new(String::new());
    let mut page = Queue {
        query: { query }.extend_pairs(&pairs).finish(),
        fields: Fields(visit.fields.0.clone()),
        chosen: pairs,
        ..Queue::default()
    };
    match from_value::<Selector>(chosen.into()) {
        Ok(selector) if selector.is_empty() => {
            if let Some(summary) = groups(&mut visit).await {
                (page.groups, page.total) = (summary.rows, summary.total.legs);
                page.groups.extend(summary.others);
            }
        }
        Ok(selector) => fill(&mut page, &mut visit, selector).await,
        Err(wrong) => visit.frame.troubles.push(wrong.to_string()),
    }
    page.frame = visit.frame();
    show(&page)
}

/// What is chosen, and what an action would do to it.
async fn fill(page: &mut Queue, visit: &mut Visit, selector: Selector) {
    let action = visit.fields.text("preview").map(str::parse::<QueueAction>);
    if let (Some(Ok(action)), true) = (action, visit.frame.may_queue) {
        let act = ask::QueueAct {
            action,
            selector,
            dry_run: true,
            reason: String::new(),
            limit: LEGS_PREVIEWED,
            glance: true,
        };
        let count = visit.ask(act).await;
        page.preview = count.map(|count| (action, count));
        return;
    }
    let list = ask::QueueList {
        filter: selector,
        cursor: visit.fields.text("cursor").map(ToOwned::to_owned),
        limit: LEGS_SHOWN,
    };
    if let Some(listed) = visit.ask(list).await {
        (page.legs, page.next) = (listed.legs, listed.next);
    }
}

async fn groups(visit: &mut Visit) -> Option<Summary> {
    let ask = ask::QueueSummary {
        by: SummaryBy::Error,
        filter: Selector::default(),
        limit: GROUPS_SHOWN,
    };
    visit.recent("by-error", ask, SOON).await
}

/// Fields that choose legs.
pub(crate) const CHOICE: [&str; 10] = [
    "all",
    "client",
    "error",
    "from",
    "ids",
    "message_id",
    "older_than_secs",
    "site",
    "state",
    "to",
];
const ACTIONS: [(&str, &str); 5] = [
    ("retry", "Try now"),
    ("hold", "Put on hold"),
    ("release", "End the hold"),
    ("bounce", "Give up, and tell the senders"),
    ("remove", "Remove, and tell nobody"),
];
const OLDER: [(&str, &str); 5] = [
    ("", "of any age"),
    ("3600", "older than 1 h"),
    ("21600", "older than 6 h"),
    ("86400", "older than 1 d"),
    ("259200", "older than 3 d"),
];
const GROUPS_SHOWN: u32 = 50;
const LEGS_SHOWN: u32 = 50;
const LEGS_PREVIEWED: u32 = 20;
