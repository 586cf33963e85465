//! Who is logged in: a cookie with a random id stands for a token, until it ends or the token does.

use std::collections::HashMap;
use std::sync::Arc;
use std::time::{Duration, Instant};

use askama::Template;
use aws_lc_rs::constant_time::verify_slices_are_equal;
use aws_lc_rs::digest::{SHA256, digest};
use axum::extract::{Request, State};
use axum::http::header::{COOKIE, HOST, LOCATION, ORIGIN, SET_COOKIE};
use axum::http::{HeaderMap, StatusCode, Uri};
use axum::response::{IntoResponse, Response};
use data_encoding::BASE64URL_NOPAD;
use envelope::Actor;
use parking_lot::Mutex;

use super::visit::{Fields, Frame, Visit};
use super::{Wrong, show};
use crate::desk::Desk;
use crate::problem::Problem;
use crate::tokens::{Scope, Tokens, random};

/// All of now, by the hash of their ids.
#[derive(Default)]
pub(crate) struct Sessions(Mutex<HashMap<Vec<u8>, Session>>);

struct Session {
    /// The token's hash: when that is known no more, this is over.
    token: Vec<u8>,
    until: Instant,
    told: Option<String>,
}

/// Somebody who is logged in.
pub(crate) struct Visitor {
    pub(crate) by: Actor,
    pub(crate) scopes: Vec<Scope>,
    /// Each form has it, and nobody else can know it.
    pub(crate) csrf: String,
    session: Vec<u8>,
}

impl Sessions {
    /// A new one; its id. If there are too many, the one that ends first makes room.
    fn begin(&self, token: Vec<u8>) -> String {
        let id = random();
        let now = Instant::now();
        let mut sessions = self.0.lock();
        if sessions.len() >= SESSIONS_MAX {
            sessions.retain(|_, session| session.until > now);
        }
        if sessions.len() >= SESSIONS_MAX {
            let first = sessions.iter().min_by_key(|(_, session)| session.until);
            if let Some(first) = first.map(|(key, _)| key.clone()) {
                sessions.remove(&first);
            }
        }
        let session = Session {
            token,
            until: now + LASTS,
            told: None,
        };
        sessions.insert(hash(&["session", &id]), session);
        id
    }

    /// Whose request this is.
    pub(crate) fn visitor(&self, headers: &HeaderMap, tokens: &Tokens) -> Option<Visitor> {
        let id = cookie(headers)?;
        let key = hash(&["session", id]);
        let mut sessions = self.0.lock();
        let session = sessions.get(&key);
        let session = session.filter(|session| session.until > Instant::now());
        let Some((by, scopes)) = session.and_then(|session| tokens.known(&session.token)) else {
            sessions.remove(&key);
            return None;
        };
        Some(Visitor {
            by,
            scopes,
            csrf: BASE64URL_NOPAD.encode(&hash(&["form", id])),
            session: key,
        })
    }

    /// What the next page says first.
    pub(crate) fn tell(&self, visitor: &Visitor, text: String) {
        if let Some(session) = self.0.lock().get_mut(&visitor.session) {
            session.told = Some(text);
        }
    }

    pub(crate) fn told(&self, visitor: &Visitor) -> Option<String> {
        self.0.lock().get_mut(&visitor.session)?.told.take()
    }
}

impl Visitor {
    /// Whether a form is one of this visitor's pages.
    pub(crate) fn owns(&self, form: &Fields) -> bool {
        let given = form.text("csrf").unwrap_or_default();
        verify_slices_are_equal(given.as_bytes(), self.csrf.as_bytes()).is_ok()
    }
}

#[derive(Template)]
#[template(path = "login.html")]
struct Login {
    frame: Frame,
    back: String,
}

/// `GET /login`.
pub(crate) async fn form(uri: Uri) -> Response {
    show(&Login {
        frame: Frame::default(),
        back: local(&Fields::of_query(&uri).or_empty("back")),
    })
}

/// `POST /login`.
pub(crate) async fn log_in(
    State(desk): State<Arc<Desk>>,
    request: Request,
) -> Result<Response, Wrong> {
    check_origin(request.headers())?;
    let is_encrypted = desk.is_encrypted || is_forwarded_encrypted(request.headers());
    let form = Fields::of_form(request).await?;
    let token = desk.tokens.enter(form.text("token").unwrap_or_default());
    let id = desk.sessions.begin(token.await?);
    let secure = if is_encrypted { "; Secure" } else { "" };
    let max_age = LASTS.as_secs();
    let cookie =
        format!("{NAME}={id}; Path=/; HttpOnly; SameSite=Strict; Max-Age={max_age}{secure}");
    let back = local(&form.or_empty("back"));
    Ok((
        StatusCode::SEE_OTHER,
        [(SET_COOKIE, cookie), (LOCATION, back)],
    )
        .into_response())
}

/// `POST /logout`.
pub(crate) async fn log_out(
    State(desk): State<Arc<Desk>>,
    request: Request,
) -> Result<Response, Wrong> {
    let (visit, _) = Visit::with_form(&desk, request).await?;
    desk.sessions.0.lock().remove(&visit.visitor.session);
    let over = format!("{NAME}=; Path=/; HttpOnly; SameSite=Strict; Max-Age=0");
    let head = [(SET_COOKIE, over), (LOCATION, "/login".to_owned())];
    Ok((StatusCode::SEE_OTHER, head).into_response())
}

/// Whether a form was sent from a page of ours, as far as the browser says.
pub(crate) fn check_origin(headers: &HeaderMap) -> Result<(), Problem> {
    let text = |name| headers.get(name).map(|value| value.to_str().unwrap_or("?"));
    let is_ours = match (text("sec-fetch-site"), text(ORIGIN.as_str())) {
        (Some(site), _) => site == "same-origin" || site == "none",
        (None, Some(origin)) => {
            let authority = origin.split_once("://").map(|(_, authority)| authority);
            authority.is_some() && authority == text(HOST.as_str())
        }
        (None, None) => true,
    };
    let elsewhere = || Problem::new(StatusCode::FORBIDDEN, "this form was sent from elsewhere");
    is_ours.then_some(()).ok_or_else(elsewhere)
}

/// A path of ours, if it is one.
pub(crate) fn local(path: &str) -> String {
    let is_plain = |c: char| c.is_ascii_graphic() && c != '\\';
    let is_local = path.starts_with('/') && !path.starts_with("//") && path.chars().all(is_plain);
    if is_local { path } else { "/" }.to_owned()
}

/// What a server in front of us says. Who lies about it keeps others from nothing.
fn is_forwarded_encrypted(headers: &HeaderMap) -> bool {
    let proto = headers.get("x-forwarded-proto");
    proto.is_some_and(|proto| proto == "https")
}

fn cookie(headers: &HeaderMap) -> Option<&str> {
    let cookies = headers.get_all(COOKIE).iter();
    let mut cookies = cookies.filter_map(|line| line.to_str().ok()?.split(';').find_map(own));
    cookies.next()
}

fn own(cookie: &str) -> Option<&str> {
    let (name, id) = cookie.trim().split_once('=')?;
    (name == NAME).then_some(id)
}

fn hash(parts: &[&str]) -> Vec<u8> {
    digest(&SHA256, parts.join(":").as_bytes())
        .as_ref()
        .to_vec()
}

const NAME: &str = "onward";
const LASTS: Duration = Duration::from_hours(12);
/// Each is of somebody who has a token.
const SESSIONS_MAX: usize = 4096;

#[cfg(test)]
mod tests {
    use axum::http::HeaderValue;

    use super::*;
    use crate::tokens::{Token, make};

    #[test]
    fn who_comes_with_which_cookie() {
        let (token, line) = make("panel", &["read".parse().unwrap()]);
        let tokens = Tokens::new(Token::parse_all(&line).unwrap());
        let known = || digest(&SHA256, token.as_bytes()).as_ref().to_vec();
        let sessions = Sessions::default();
        let id = sessions.begin(known());
        let of = |cookie: &str| {
            let mut headers = HeaderMap::new();
            headers.insert(COOKIE, HeaderValue::from_str(cookie).unwrap());
            sessions.visitor(&headers, &tokens)
        };
        let visitor = of(&format!("a=b; {NAME}={id}")).unwrap();
        assert_eq!(visitor.by.to_string(), "panel");
        assert_ne!(visitor.csrf, id);
        assert!(of(&format!("{NAME}=")).is_none() && of("other=1").is_none());
        // The token of this one is not known.
        let stranger = sessions.begin(vec![0; 32]);
        assert!(of(&format!("{NAME}={stranger}")).is_none());
        for _ in 0..SESSIONS_MAX {
            sessions.begin(known());
        }
        assert_eq!(sessions.0.lock().len(), SESSIONS_MAX);
        assert!(of(&format!("{NAME}={id}")).is_none(), "the first made room");
    }

    #[test]
    fn a_form_from_elsewhere() {
        let check = |pairs: &[(&'static str, &'static str)]| {
            let pairs = pairs.iter().map(|(name, value)| {
                let name: axum::http::HeaderName = name.parse().unwrap();
                (name, HeaderValue::from_static(value))
            });
            check_origin(&pairs.collect()).is_ok()
        };
        assert!(check(&[]));
        assert!(check(&[("host", "mx:8025"), ("origin", "http://mx:8025")]));
        assert!(!check(&[
            ("host", "mx:8025"),
            ("origin", "http://evil.test")
        ]));
        assert!(!check(&[("host", "mx:8025"), ("origin", "null")]));
        assert!(check(&[
            ("sec-fetch-site", "same-origin"),
            ("origin", "null")
        ]));
        assert!(!check(&[("sec-fetch-site", "same-site")]));
        assert!(!check(&[("sec-fetch-site", "cross-site"), ("host", "mx")]));
    }

    #[test]
    fn where_a_page_leads_back_to() {
        assert_eq!(local("/queue?error=4.7"), "/queue?error=4.7");
        for away in [
            "//evil.test",
            "/\\evil.test",
            "https://evil.test",
            "/a\r\nb",
            "",
            "a",
        ] {
            assert_eq!(local(away), "/", "{away}");
        }
    }
}
