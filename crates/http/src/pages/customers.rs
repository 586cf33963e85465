//! A customer's domain: what its mail came to, and which of its forwards lead nowhere.

use std::collections::BTreeMap;
use std::time::Duration;

use askama::Template;
use axum::response::Response;
use control::{
    DomainDetails, FailingForwards, Finding, Forward, StatsBy, StatsPage, TracedLeg, ask,
};
use envelope::{Domain, Timestamp};

use super::now::{DAY, status};
use super::show;
use super::visit::{Frame, Visit};
use super::words::{more, number, short, when};

#[derive(Default, Template)]
#[template(path = "customers.html")]
struct Customers {
    frame: Frame,
    domain: String,
    hosted: StatsPage,
    failing: FailingForwards,
    details: Option<DomainDetails>,
    forwards: Vec<Row>,
    next: Option<String>,
    seen: Vec<Seen>,
    findings: Vec<Finding>,
}

/// A forward, as it is written, and how many of the last mails came to it.
struct Row {
    forward: Forward,
    mails: u64,
}

/// A forward, as the last mails show it.
struct Seen {
    at: Timestamp,
    last: TracedLeg,
    mails: u64,
}

pub(crate) async fn page(mut visit: Visit) -> Response {
    let domain = visit.fields.or_empty("domain").to_lowercase();
    let now = status(&mut visit).await.map(|status| status.now);
    let mut page = Customers {
        domain,
        ..Customers::default()
    };
    if let Some(now) = now {
        page.hosted = visit.sums(now, StatsBy::Hosted, ROWS_ASKED).await;
        let failing = ask::ForwardsFailing {
            since: now.minus(30 * DAY),
            of: Vec::new(),
            limit: ROWS_ASKED,
        };
        let fresh = Duration::from_mins(10);
        let failing = visit.recent("failing", failing, fresh).await;
        page.failing = failing.unwrap_or_default();
        visit.missed(&page.failing.silent_nodes);
    }
    if page.domain.is_empty() {
        cut(&mut page.hosted.rows, &mut page.hosted.left_out);
        cut(&mut page.failing.forwards, &mut page.failing.left_out);
    } else {
        fill(&mut page, &mut visit).await;
    }
    page.frame = visit.frame();
    show(&page)
}

/// Counts what is not shown.
fn cut<T>(rows: &mut Vec<T>, left_out: &mut u64) {
    *left_out += rows.len().saturating_sub(ROWS_SHOWN) as u64;
    rows.truncate(ROWS_SHOWN);
}

/// What concerns one domain.
async fn fill(page: &mut Customers, visit: &mut Visit) {
    let domain = page.domain.clone();
    let is_of = |address: &str| {
        let of = address.rsplit_once('@').map(|(_, of)| of);
        of.is_some_and(|of| of.eq_ignore_ascii_case(&domain))
    };
    page.hosted.rows.retain(|row| row.key == domain);
    if !page.hosted.rows.is_empty() {
        page.hosted.left_out = 0;
    }
    page.failing.forwards.retain(|row| is_of(&row.recipient));
    let trace = ask::Trace {
        what: Some(domain.clone()),
        limit: MAILS_SEEN,
        ..ask::Trace::default()
    };
    let traced = visit.ask(trace).await.unwrap_or_default();
    visit.missed(&traced.silent_nodes);
    let mut seen: BTreeMap<_, Seen> = BTreeMap::new();
    for message in traced.messages {
        let at = message.at;
        for leg in message.legs.into_iter().filter(|leg| is_of(&leg.recipient)) {
            let forward = (leg.recipient.to_lowercase(), leg.target.clone());
            // The latest comes first.
            let seen = seen.entry(forward).or_insert_with(|| Seen {
                at,
                last: leg,
                mails: 0,
            });
            seen.mails += 1;
        }
    }
    page.seen = seen.into_values().collect();
    match domain.parse() {
        Ok(domain) => configured(page, visit, domain).await,
        Err(_) => visit
            .frame
            .troubles
            .push(format!("`{domain}` is no domain")),
    }
}

/// What is written of a domain; its DNS, which may take long, only if that is asked for.
async fn configured(page: &mut Customers, visit: &mut Visit, domain: Domain) {
    let show = ask::DomainShow {
        domain: domain.clone(),
    };
    page.details = visit.ask(show).await;
    if page.details.is_some() {
        let list = ask::ForwardList {
            domain: domain.clone(),
            cursor: visit.fields.text("cursor").map(ToOwned::to_owned),
            limit: FORWARDS_SHOWN,
        };
        let list = visit.ask(list).await.unwrap_or_default();
        page.next = list.next;
        let address = |forward: &Forward| format!("{}@{domain}", forward.local).to_lowercase();
        let named: Vec<_> = list.forwards.iter().map(address).collect();
        let came = |seen: &Seen| (seen.last.recipient.to_lowercase(), seen.mails);
        let came: Vec<_> = page.seen.iter().map(came).collect();
        let row = |(forward, address): (Forward, &String)| {
            let came = came.iter().filter(|(recipient, _)| {
                recipient == address || forward.local == "@" && !named.contains(recipient)
            });
            let mails = came.map(|(_, mails)| mails).sum();
            Row { forward, mails }
        };
        page.forwards = list.forwards.into_iter().zip(&named).map(row).collect();
    }
    if visit.fields.text("dns").is_some() {
        let findings = visit.ask(ask::DomainDns { domain }).await;
        page.findings = findings.unwrap_or_default();
    }
}

const ROWS_ASKED: u32 = 1000;
const ROWS_SHOWN: usize = 50;
const FORWARDS_SHOWN: u32 = 200;
const MAILS_SEEN: u32 = 200;
