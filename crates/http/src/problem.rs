//! Why a request did not work: `application/problem+json` (RFC 9457).

use axum::http::header::{CONTENT_TYPE, RETRY_AFTER, WWW_AUTHENTICATE};
use axum::http::{HeaderValue, StatusCode};
use axum::response::{IntoResponse, Response};
use control::{Fault, FaultKind};
use serde_json::json;

/// What is told.
#[derive(Debug)]
pub(crate) struct Problem {
    pub(crate) status: StatusCode,
    pub(crate) detail: String,
    pub(crate) hint: Option<String>,
}

impl Problem {
    pub(crate) fn new(status: StatusCode, detail: impl Into<String>) -> Self {
        Self {
            status,
            detail: detail.into(),
            hint: None,
        }
    }

    pub(crate) fn with_hint(mut self, hint: impl Into<String>) -> Self {
        self.hint = Some(hint.into());
        self
    }
}

/// The request was understood; what it asks for is not there, or cannot be done.
impl From<Fault> for Problem {
    fn from(fault: Fault) -> Self {
        let status = match fault.kind {
            FaultKind::Missing => StatusCode::NOT_FOUND,
            FaultKind::Stale => StatusCode::PRECONDITION_FAILED,
            FaultKind::Refused => StatusCode::UNPROCESSABLE_ENTITY,
        };
        Self {
            status,
            detail: fault.message,
            hint: fault.hint,
        }
    }
}

impl IntoResponse for Problem {
    fn into_response(self) -> Response {
        let mut body = json!({
            "title": self.status.canonical_reason(),
            "status": self.status.as_u16(),
            "detail": self.detail,
        });
        if let Some(hint) = self.hint {
            body["hint"] = hint.into();
        }
        if let Some((file, line)) = place(&self.detail) {
            (body["file"], body["line"]) = (file.into(), line.into());
        }
        let head = [(CONTENT_TYPE, "application/problem+json")];
        let mut response = (self.status, head, body.to_string()).into_response();
        let more = match self.status {
            StatusCode::UNAUTHORIZED => Some((WWW_AUTHENTICATE, "Bearer")),
            StatusCode::TOO_MANY_REQUESTS | StatusCode::SERVICE_UNAVAILABLE => {
                Some((RETRY_AFTER, "1"))
            }
            _ => None,
        };
        if let Some((name, value)) = more {
            let value = HeaderValue::from_static(value);
            response.headers_mut().insert(name, value);
        }
        response
    }
}

/// The file and line of `forwards:3:7: not an address`.
fn place(detail: &str) -> Option<(&str, u64)> {
    let (place, _) = detail.lines().next()?.split_once(": ")?;
    let mut parts = place.splitn(3, ':');
    let (file, line) = (parts.next()?, parts.next()?.parse().ok()?);
    Some((file, line))
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn where_a_mistake_is() {
        let place_of = |detail| place(detail);
        assert_eq!(place_of("/etc/f:3:7: no\nmore"), Some(("/etc/f", 3)));
        assert_eq!(place_of("/etc/f:3: no"), Some(("/etc/f", 3)));
        assert_eq!(place_of("`hostname`: no"), None);
        assert_eq!(place_of("no"), None);
    }
}
