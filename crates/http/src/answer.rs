//! What a request is answered.

use std::sync::Arc;
use std::time::Duration;

use axum::Router;
use axum::body::to_bytes;
use axum::extract::rejection::RawPathParamsRejection;
use axum::extract::{RawPathParams, Request, State};
use axum::http::header::{
    AUTHORIZATION, CACHE_CONTROL, CONTENT_TYPE, ETAG, IF_MATCH, X_CONTENT_TYPE_OPTIONS,
};
use axum::http::{HeaderMap, HeaderValue, StatusCode};
use axum::middleware::{Next, from_fn};
use axum::response::{IntoResponse, Response};
use axum::routing::{MethodFilter, get, on};
use control::ask;
use envelope::Actor;
use serde::Deserialize;
use serde_json::{Map, Value};
use tokio::time::timeout;

use crate::desk::Desk;
use crate::feed::Wanted;
use crate::metrics;
use crate::openapi;
use crate::pages;
use crate::problem::Problem;
use crate::repeats::Begun;
use crate::route::{ROUTES, Route, Verb, typed};
use crate::tokens::Scope;

/// All paths.
pub(crate) fn router(desk: Arc<Desk>) -> Router {
    let mut router = Router::new();
    for route in &ROUTES {
        let method = match route.verb {
            Verb::Get => MethodFilter::GET,
            Verb::Post => MethodFilter::POST,
            Verb::Put => MethodFilter::PUT,
            Verb::Delete => MethodFilter::DELETE,
        };
        let answered = move |State(desk), params, request| answer(route, desk, params, request);
        router = router.route(&format!("/api/v1{}", route.path), on(method, answered));
    }
    router
        .route("/api/v1/events", get(followed))
        .route("/api/v1/openapi.json", get(described))
        .merge(pages::routes())
        .route("/healthz", get(|| async { "alive\n" }))
        .route("/readyz", get(ready))
        .route("/metrics", get(measured))
        .method_not_allowed_fallback(|| async { no(StatusCode::METHOD_NOT_ALLOWED) })
        .fallback(|| async { no(StatusCode::NOT_FOUND) })
        .layer(from_fn(bounded))
        .with_state(desk)
}

async fn answer(
    route: &Route,
    desk: Arc<Desk>,
    params: Result<RawPathParams, RawPathParamsRejection>,
    request: Request,
) -> Result<Response, Problem> {
    let mut named = params.iter().flatten();
    let domain = named.find(|(name, _)| *name == "domain" && route.by_domain);
    let domain = domain.map(|(_, domain)| domain);
    let (by, is_one_domain_s) = desk
        .tokens
        .admit_for(bearer(request.headers()), route.scope, domain)
        .await?;
    let wrong =
        |wrong: RawPathParamsRejection| Problem::new(StatusCode::BAD_REQUEST, wrong.body_text());
    let params = params.map_err(wrong)?;
    let headers = request.headers().clone();
    let request = route.request(fields(&params, request).await?)?;
    if is_one_domain_s {
        check_choices(&request)?;
    }
    let repeated = match route.verb {
        Verb::Get => None,
        _ => desk.repeats.begin(&headers, &by, &request)?,
    };
    if let control::Request::QueueCat(cat) = request {
        let head = [(CONTENT_TYPE, "message/rfc822")];
        return Ok((head, desk.open(cat, by).await?).into_response());
    }
    let answer = match repeated {
        Some(Begun::Done(answer)) => answer,
        Some(Begun::New(ticket)) => desk.perform(request, by, Some(ticket)).await?,
        None => desk.perform(request, by, None).await?,
    };
    let head = [(CONTENT_TYPE, "application/json")];
    let mut response = (head, answer.get().to_owned()).into_response();
    if let Ok(Tagged { etag }) = serde_json::from_str(answer.get())
        && let Ok(etag) = format!("\"{etag}\"").try_into()
    {
        response.headers_mut().insert(ETAG, etag);
    }
    Ok(response)
}

/// A token for one domain chooses how its mail goes on, and not what protects the relay and others.
fn check_choices(request: &control::Request) -> Result<(), Problem> {
    let forwards = match request {
        control::Request::ForwardPut(put) => std::slice::from_ref(&put.forward),
        control::Request::ForwardsPut(put) => &put.forwards,
        _ => return Ok(()),
    };
    let mut names = forwards.iter().flat_map(|forward| forward.options.keys());
    let Some(name) = names.find(|name| !CHOICES.contains(&name.as_str())) else {
        return Ok(());
    };
    let text = format!("a token for one domain may not choose `{name}`");
    let hint = format!("it may choose {}", CHOICES.join(", "));
    Err(Problem::new(StatusCode::FORBIDDEN, text).with_hint(hint))
}

/// An answer about something that whoever changes it may want to name the version of.
#[derive(Deserialize)]
struct Tagged<'a> {
    etag: &'a str,
}

async fn followed(State(desk): State<Arc<Desk>>, request: Request) -> Result<Response, Problem> {
    let token = bearer(request.headers());
    desk.tokens.admit(token, Scope::Read).await?;
    let wanted = Wanted::parse(request.uri().query().unwrap_or_default())?;
    let head = [(CONTENT_TYPE, "text/event-stream")];
    Ok((head, desk.feed.follow(wanted)?).into_response())
}

/// Nothing of it is secret.
async fn described() -> impl IntoResponse {
    ([(CONTENT_TYPE, "application/json")], openapi::TEXT.as_str())
}

/// Whether new mail is taken: alive, and not drained.
async fn ready(State(desk): State<Arc<Desk>>) -> Result<&'static str, Problem> {
    let by = Actor::Token("readyz".into());
    let why = async {
        match desk.ask(ask::Drained {}, by).await {
            Ok(drain) => drain.on.then(|| "drained: no mail is taken".to_owned()),
            Err(fault) => Some(fault.message),
        }
    };
    match desk.unready.or(why).await {
        None => Ok("ready\n"),
        Some(why) => Err(Problem::new(StatusCode::SERVICE_UNAVAILABLE, why)),
    }
}

async fn measured(State(desk): State<Arc<Desk>>, headers: HeaderMap) -> Result<Response, Problem> {
    let by = desk.tokens.admit(bearer(&headers), Scope::Read).await?;
    let text = async {
        let status = desk.ask(ask::Status {}, by.clone()).await?;
        let results = desk.ask(ask::Results {}, by.clone()).await?;
        let sites = desk.ask(ask::SiteList { own: true }, by).await?;
        let (sites, wrong) = (&sites.sites, desk.tokens.wrong());
        Ok(metrics::text(&status, &results, sites, &desk.shown, wrong))
    };
    let text = desk.metrics.or(text).await?;
    Ok(([(CONTENT_TYPE, metrics::CONTENT_TYPE)], text).into_response())
}

fn bearer(headers: &HeaderMap) -> Option<&str> {
    let (scheme, token) = headers.get(AUTHORIZATION)?.to_str().ok()?.split_once(' ')?;
    scheme.eq_ignore_ascii_case("bearer").then(|| token.trim())
}

/// All that is said: the query, the body (of text: the field `text`), the version that is meant, and before all the path.
async fn fields(params: &RawPathParams, request: Request) -> Result<Map<String, Value>, Problem> {
    let (head, body) = request.into_parts();
    let query = head.uri.query().unwrap_or_default();
    let query = form_urlencoded::parse(query.as_bytes());
    let mut fields: Map<_, _> = query
        .map(|(name, text)| (name.to_string(), typed(&name, &text)))
        .collect();
    let body = timeout(BODY, to_bytes(body, BODY_OCTETS_MAX)).await;
    let body = body.map_err(|_| no(StatusCode::REQUEST_TIMEOUT))?;
    let body = body.map_err(|_| no(StatusCode::PAYLOAD_TOO_LARGE))?;
    if is_text(&head.headers) {
        let text = String::from_utf8(body.into());
        let text = text.map_err(|_| Problem::new(StatusCode::BAD_REQUEST, "body: not UTF-8"))?;
        fields.insert("text".to_owned(), text.into());
    } else if !body.is_empty() {
        let said: Map<_, _> = serde_json::from_slice(&body)
            .map_err(|wrong| Problem::new(StatusCode::BAD_REQUEST, format!("body: {wrong}")))?;
        fields.extend(said);
    }
    if let Some(version) = head.headers.get(IF_MATCH) {
        let version = version.to_str().unwrap_or_default().trim_matches('"');
        fields.insert("if_match".to_owned(), version.into());
    }
    let named = params.iter();
    fields.extend(named.map(|(name, text)| (name.to_owned(), text.into())));
    Ok(fields)
}

fn is_text(headers: &HeaderMap) -> bool {
    let kind = headers.get(CONTENT_TYPE).map(HeaderValue::as_bytes);
    kind.is_some_and(|kind| kind.to_ascii_lowercase().starts_with(b"text/plain"))
}

/// Every request ends, and nothing of an answer is kept anywhere or taken for something else.
async fn bounded(request: Request, next: Next) -> Response {
    let response = timeout(REQUEST, next.run(request)).await;
    let late = |_| no(StatusCode::GATEWAY_TIMEOUT).into_response();
    let mut response = response.unwrap_or_else(late);
    for (name, value) in [
        (CACHE_CONTROL, "no-store"),
        (X_CONTENT_TYPE_OPTIONS, "nosniff"),
    ] {
        let entry = response.headers_mut().entry(name);
        entry.or_insert(HeaderValue::from_static(value));
    }
    response
}

/// What HTTP itself has to say.
fn no(status: StatusCode) -> Problem {
    let text = match status {
        StatusCode::NOT_FOUND => "there is nothing here",
        StatusCode::METHOD_NOT_ALLOWED => "this is asked with another method",
        StatusCode::PAYLOAD_TOO_LARGE => "the body is over 4 MiB",
        StatusCode::REQUEST_TIMEOUT => "the body did not come in time",
        _ => "no answer in time; some of what was asked for may have been done",
    };
    Problem::new(status, text)
}

const CHOICES: [&str; 4] = ["srs", "srs_domain", "answer", "tls"];
/// All forwards of a large domain.
const BODY_OCTETS_MAX: usize = 4 << 20;
/// For the body to come.
const BODY: Duration = Duration::from_secs(30);
/// For the answer: a little more than the operator has.
pub(crate) const REQUEST: Duration = Duration::from_secs(150);
