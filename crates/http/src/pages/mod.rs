//! The dashboard: pages for people, over the same questions as the API. A page asks and shows; it decides nothing.
//!
//! Whoever logs in with a token sees and does what the token may. Pages come whole from here: what the script adds is that numbers
//! move by themselves. All text goes through [`Shown`], whatever template it stands in.

mod abuse;
mod changes;
mod chart;
mod customers;
mod destinations;
mod find;
mod now;
mod order;
mod queue;
mod recent;
mod session;
mod setup;
mod visit;
mod words;

use std::fmt;
use std::sync::Arc;

use askama::Template;
use askama::filters::{Escaper, Html as Markup};
use axum::Router;
use axum::extract::Request;
use axum::http::header::{
    CACHE_CONTROL, CONNECTION, CONTENT_SECURITY_POLICY, CONTENT_TYPE, REFERRER_POLICY,
};
use axum::http::{HeaderName, HeaderValue, StatusCode};
use axum::middleware::{Next, from_fn};
use axum::response::{Html, IntoResponse, Response};
use axum::routing::{get, post};

use crate::desk::Desk;
use crate::problem::Problem;
pub(crate) use recent::Recent;
pub(crate) use session::Sessions;
use visit::Frame;

/// All pages.
pub(crate) fn routes() -> Router<Arc<Desk>> {
    let file = |kind, text: &'static str| {
        get(async move || {
            let head = [(CONTENT_TYPE, kind), (CACHE_CONTROL, "max-age=300")];
            (head, text)
        })
    };
    Router::new()
        .route("/", get(now::page))
        .route("/now.json", get(now::numbers))
        .route("/find", get(find::page))
        .route("/destinations", get(destinations::page))
        .route("/queue", get(queue::page))
        .route("/customers", get(customers::page))
        .route("/abuse", get(abuse::page))
        .route("/changes", get(changes::page))
        .route("/setup", get(setup::page))
        .route("/do/{ask}", post(order::give))
        .route("/login", get(session::form).post(session::log_in))
        .route("/logout", post(session::log_out))
        .route(
            "/style.css",
            file("text/css", include_str!("../../templates/style.css")),
        )
        .route(
            "/script.js",
            file("text/javascript", include_str!("../../templates/script.js")),
        )
        .layer(from_fn(guarded))
}

/// Nothing of a page comes from elsewhere or is shown within another one. A connection is for one answer: open pages, each of which
/// asks now and then, take no place from others.
async fn guarded(request: Request, next: Next) -> Response {
    let mut response = next.run(request).await;
    let same_origin = HeaderName::from_static("cross-origin-opener-policy");
    for (name, value) in [
        (CONTENT_SECURITY_POLICY, POLICY),
        (REFERRER_POLICY, "same-origin"),
        (same_origin, "same-origin"),
        (CONNECTION, "close"),
    ] {
        let value = HeaderValue::from_static(value);
        response.headers_mut().insert(name, value);
    }
    response
}

/// How all text gets into a page: nothing in it is markup, turns the line round, or hides.
#[derive(Clone, Copy)]
pub(crate) struct Shown;

impl Escaper for Shown {
    fn write_escaped_str<W: fmt::Write>(&self, to: W, text: &str) -> fmt::Result {
        Markup.write_escaped_str(to, &journal::shown::lines(text))
    }
}

fn show(page: &impl Template) -> Response {
    match page.render() {
        Ok(html) => Html(html).into_response(),
        Err(error) => {
            Problem::new(StatusCode::INTERNAL_SERVER_ERROR, error.to_string()).into_response()
        }
    }
}

/// A problem, for people.
pub(crate) struct Wrong(pub(crate) Problem);

#[derive(Template)]
#[template(path = "wrong.html")]
struct WrongPage {
    frame: Frame,
    problem: Problem,
}

impl From<Problem> for Wrong {
    fn from(problem: Problem) -> Self {
        Self(problem)
    }
}

impl IntoResponse for Wrong {
    fn into_response(self) -> Response {
        let status = self.0.status;
        let page = WrongPage {
            frame: Frame::default(),
            problem: self.0,
        };
        (status, show(&page)).into_response()
    }
}

const POLICY: &str = "default-src 'none'; style-src 'self'; script-src 'self'; img-src 'self' data:; connect-src 'self'; form-action 'self'; frame-ancestors 'none'; base-uri 'none'";
