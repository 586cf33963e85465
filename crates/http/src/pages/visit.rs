//! One request for a page: who asks, what is asked, and what stands around the answer.

use std::collections::BTreeMap;
use std::sync::Arc;
use std::time::{Duration, Instant};

use axum::body::to_bytes;
use axum::extract::{FromRequestParts, Request};
use axum::http::request::Parts;
use axum::http::{StatusCode, Uri};
use axum::response::{IntoResponse, Redirect, Response};
use control::{Ask, Fault, StatsBy, StatsPage, ask, not_told};
use envelope::Timestamp;
use serde_json::{Map, Value};
use tokio::time::timeout;

use super::Wrong;
use super::now::DAY;
use super::session::{Visitor, check_origin};
use crate::desk::Desk;
use crate::problem::Problem;
use crate::route::typed;
use crate::tokens::{Scope, lacks};

/// What a page is made from.
pub(crate) struct Visit {
    pub(crate) desk: Arc<Desk>,
    pub(crate) visitor: Visitor,
    /// Of the query.
    pub(crate) fields: Fields,
    pub(crate) frame: Frame,
    /// What is not there by then, a page does without.
    patient_until: Instant,
}

/// What stands around every page.
#[derive(Default)]
pub(crate) struct Frame {
    /// Path and query.
    pub(crate) here: String,
    /// Nobody: there is nothing to go to.
    pub(crate) by: String,
    pub(crate) csrf: String,
    pub(crate) may_queue: bool,
    pub(crate) may_admin: bool,
    pub(crate) told: Option<String>,
    pub(crate) troubles: Vec<String>,
    /// Something of it is not there yet.
    pub(crate) is_counting: bool,
}

impl Frame {
    pub(crate) fn is_at(&self, path: &str) -> bool {
        self.here.split('?').next() == Some(path)
    }
}

/// Paths and names of all pages.
pub(crate) const PAGES: [(&str, &str); 8] = [
    ("/", "Now"),
    ("/find", "Find a mail"),
    ("/destinations", "Destinations"),
    ("/queue", "Queue"),
    ("/customers", "Customers"),
    ("/abuse", "Abuse"),
    ("/changes", "Changes"),
    ("/setup", "Setup"),
];

/// Of a page, which who may not look at anything is not shown.
impl FromRequestParts<Arc<Desk>> for Visit {
    type Rejection = Response;

    async fn from_request_parts(parts: &mut Parts, desk: &Arc<Desk>) -> Result<Self, Response> {
        let visit = Self::of(parts, desk).map_err(IntoResponse::into_response)?;
        let may_read = visit.check(Scope::Read);
        may_read.map_err(IntoResponse::into_response)?;
        Ok(visit)
    }
}

impl Visit {
    fn of(parts: &Parts, desk: &Arc<Desk>) -> Result<Self, Redirect> {
        let here = parts.uri.path_and_query();
        let here = here.map_or("/", |path| path.as_str()).to_owned();
        let Some(visitor) = desk.sessions.visitor(&parts.headers, &desk.tokens) else {
            let back: String = form_urlencoded::byte_serialize(here.as_bytes()).collect();
            return Err(Redirect::to(&format!("/login?back={back}")));
        };
        let frame = Frame {
            here,
            by: visitor.by.to_string(),
            csrf: visitor.csrf.clone(),
            may_queue: visitor.scopes.contains(&Scope::Queue),
            may_admin: visitor.scopes.contains(&Scope::Admin),
            ..Frame::default()
        };
        Ok(Self {
            desk: Arc::clone(desk),
            fields: Fields::of_query(&parts.uri),
            visitor,
            frame,
            patient_until: Instant::now() + PATIENCE,
        })
    }

    /// A page, and what was told to be said on it.
    pub(crate) fn frame(mut self) -> Frame {
        self.frame.told = self.desk.sessions.told(&self.visitor);
        self.frame
    }

    pub(crate) fn check(&self, scope: Scope) -> Result<(), Wrong> {
        match self.visitor.scopes.contains(&scope) {
            true => Ok(()),
            false => Err(Wrong(lacks(&self.visitor.by, scope))),
        }
    }

    /// An answer; where there is none, the page says why.
    pub(crate) async fn ask<A: Ask>(&mut self, ask: A) -> Option<A::Answer> {
        let answer = self.desk.ask(ask, self.visitor.by.clone()).await;
        self.noted(answer)
    }

    /// The same, as [`Desk::recent`] has it.
    pub(crate) async fn recent<A: Ask>(
        &mut self,
        name: &'static str,
        ask: A,
        fresh: Duration,
    ) -> Option<A::Answer> {
        let by = self.patient_until;
        match self.desk.recent(name, ask, fresh, by).await {
            Some(answer) => self.noted(answer),
            None => {
                self.frame.is_counting = true;
                None
            }
        }
    }

    /// Sums of the last day, the largest first. Each `by` is asked with one `limit` only.
    pub(crate) async fn sums(&mut self, now: Timestamp, by: StatsBy, limit: u32) -> StatsPage {
        let ask = ask::Stats {
            by,
            since: now.minus(DAY),
            reply: None,
            limit,
        };
        let sums = self.recent(by.name(), ask, Duration::from_mins(1)).await;
        let sums = sums.unwrap_or_default();
        if sums.is_cut {
            let trouble = format!("There was no time to add up all by {}.", by.name());
            self.frame.troubles.push(trouble);
        }
        self.missed(&sums.silent_nodes);
        sums
    }

    /// Says once which nodes did not answer.
    pub(crate) fn missed(&mut self, silent_nodes: &[String]) {
        let said = not_told(silent_nodes);
        let troubles = &mut self.frame.troubles;
        troubles.extend(said.filter(|said| !troubles.contains(said)));
    }

    pub(crate) fn noted<T>(&mut self, answer: Result<T, Fault>) -> Option<T> {
        let trouble = |fault: &Fault| self.frame.troubles.push(fault.to_string());
        answer.inspect_err(trouble).ok()
    }

    /// What a form asks for, if it is one of a page of this visitor.
    pub(crate) async fn with_form(
        desk: &Arc<Desk>,
        request: Request,
    ) -> Result<(Self, Fields), Wrong> {
        check_origin(request.headers())?;
        let (parts, body) = request.into_parts();
        let visit = Self::of(&parts, desk);
        let visit = visit.map_err(|_| Problem::new(StatusCode::UNAUTHORIZED, "log in first"))?;
        let form = Fields::of_form(Request::from_parts(parts, body)).await?;
        if !visit.visitor.owns(&form) {
            let stranger = Problem::new(StatusCode::FORBIDDEN, "this form is none of your pages");
            return Err(stranger.with_hint("open the page again").into());
        }
        Ok((visit, form))
    }
}

/// What was typed or chosen; empty fields are left out.
#[derive(Default)]
pub(crate) struct Fields(pub(crate) BTreeMap<String, String>);

impl Fields {
    fn parse(text: &[u8]) -> Self {
        let fields = form_urlencoded::parse(text).take(FIELDS_MAX);
        let fields = fields.map(|(name, text)| (name.into_owned(), text.trim().to_owned()));
        Self(fields.filter(|(_, text)| !text.is_empty()).collect())
    }

    pub(crate) fn of_query(uri: &Uri) -> Self {
        Self::parse(uri.query().unwrap_or_default().as_bytes())
    }

    pub(crate) async fn of_form(request: Request) -> Result<Self, Problem> {
        let body = timeout(FORM, to_bytes(request.into_body(), FORM_OCTETS_MAX)).await;
        match body {
            Ok(Ok(body)) => Ok(Self::parse(&body)),
            _ => Err(Problem::new(
                StatusCode::BAD_REQUEST,
                "this is no form of ours",
            )),
        }
    }

    pub(crate) fn text(&self, name: &str) -> Option<&str> {
        self.0.get(name).map(String::as_str)
    }

    /// Or nothing.
    pub(crate) fn or_empty(&self, name: &str) -> String {
        self.text(name).unwrap_or_default().to_owned()
    }

    /// As fields of a question.
    pub(crate) fn typed(&self, is_one: impl Fn(&str) -> bool) -> Map<String, Value> {
        let fields = self.0.iter().filter(|(name, _)| is_one(name));
        fields
            .map(|(name, text)| (name.clone(), typed(name, text)))
            .collect()
    }
}

const PATIENCE: Duration = Duration::from_millis(50);
const FIELDS_MAX: usize = 40;
const FORM_OCTETS_MAX: usize = 64 << 10;
/// For a form to come.
const FORM: Duration = Duration::from_secs(30);
