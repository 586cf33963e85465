//! Where is that mail? What support uses most.

use askama::Template;
use axum::response::Response;
use control::{MailStatus, TracedAttempt, TracedMessage, ask};
use envelope::Timestamp;

use super::now::DAY;
use super::show;
use super::visit::{Fields, Frame, Visit};
use super::words::{millis, octets, short, when};

#[derive(Template)]
#[template(path = "find.html")]
struct Find {
    frame: Frame,
    what: String,
    day: String,
    status: String,
    statuses: &'static [MailStatus],
    is_asked: bool,
    messages: Vec<TracedMessage>,
    /// There may be more than are shown.
    is_cut: bool,
    oldest: Option<Timestamp>,
}

pub(crate) async fn page(mut visit: Visit) -> Response {
    let fields = &visit.fields;
    let [what, day, status] = ["what", "day", "status"].map(|name| fields.or_empty(name));
    let is_asked = !fields.0.is_empty();
    let mut traced = None;
    if is_asked {
        match question(fields) {
            Ok(ask) => traced = visit.ask(ask).await,
            Err(trouble) => visit.frame.troubles.push(trouble),
        }
    }
    let traced = traced.unwrap_or_default();
    visit.missed(&traced.silent_nodes);
    show(&Find {
        frame: visit.frame(),
        what,
        day,
        status,
        statuses: MailStatus::ALL,
        is_asked,
        messages: traced.messages,
        is_cut: traced.is_cut,
        oldest: traced.oldest,
    })
}

fn question(fields: &Fields) -> Result<ask::Trace, String> {
    let what = fields.text("what");
    let client = what.and_then(|what| what.parse().ok());
    let day = fields.text("day").map(|day| {
        let first = format!("{day}T00:00:00Z").parse::<Timestamp>();
        first.map_err(|_| format!("`{day}` is no date like 2026-11-29"))
    });
    let day = day.transpose()?;
    let status = fields.text("status").map(str::parse).transpose();
    Ok(ask::Trace {
        what: what.filter(|_| client.is_none()).map(ToOwned::to_owned),
        client,
        since: day,
        until: day.map(|day| day.plus(DAY)),
        status: status.map_err(|wrong| format!("status: {wrong}"))?,
        limit: MESSAGES_MAX,
        ..ask::Trace::default()
    })
}

/// Whether a mail is still ours.
fn is_queued(message: &TracedMessage) -> bool {
    let here = [MailStatus::Queued, MailStatus::Deferred, MailStatus::Held];
    let mut legs = message.legs.iter();
    legs.any(|leg| here.contains(&leg.status))
}

/// From the message's arrival to the end of an attempt.
fn delay(attempt: &TracedAttempt) -> String {
    millis(&Some(attempt.delay_ms))
}

const MESSAGES_MAX: u32 = 50;
