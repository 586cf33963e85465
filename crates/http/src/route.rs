//! The table of the API: each path is a name for one question of `control`.
//!
//! The fields of a question come from the path, the query and a body of JSON together: what is a field on the control socket is one
//! here, under the same name. An unknown one is an error, so that a mistyped `dry_run` does nothing.

use axum::http::StatusCode;
use control::Request;
use serde_json::{Map, Value};

use crate::problem::Problem;
use crate::tokens::Scope;

/// A path, and what it asks.
pub(crate) struct Route {
    /// Below `/api/v1`.
    pub(crate) path: &'static str,
    pub(crate) scope: Scope,
    /// POST instead of GET.
    pub(crate) is_post: bool,
    /// The question's name on the control socket.
    ask: &'static str,
    /// The field of the question that holds all others but [`OUTSIDE`].
    within: Option<&'static str>,
    /// What a field is when it is not given.
    default: Option<(&'static str, &'static str)>,
}

pub(crate) static ROUTES: [Route; 22] = [
    get("/status", "status"),
    list("/queue", "queue_list").within("filter"),
    list("/queue/summary", "queue_summary").within("filter"),
    post("/queue/act", "queue_act", Scope::Queue),
    get("/messages/{id}", "queue_show"),
    CONTENT,
    get("/sites", "site_list"),
    get("/sites/{site}", "site_show"),
    post("/sites/{site}/pause", "site_pause", Scope::Queue),
    post("/sites/{site}/resume", "site_resume", Scope::Queue),
    post("/sites/{site}/limit", "site_limit", Scope::Queue),
    list("/freezes", "freeze_list"),
    post("/freezes/lift", "freeze_lift", Scope::Queue),
    list("/trace", "trace"),
    list("/stats", "stats"),
    list("/forwards/failing", "forwards_failing"),
    post("/explain", "explain", Scope::Read).within("mail"),
    get("/doctor", "doctor"),
    get("/tls/{domain}", "tls_report"),
    get("/drain", "drained"),
    post("/drain", "drain", Scope::Admin),
    post("/reload", "reload", Scope::Admin),
];

const CONTENT: Route = Route {
    scope: Scope::Content,
    default: Some(("part", "whole")),
    ..get("/messages/{id}/content", "queue_cat")
};

/// What only looks.
const fn get(path: &'static str, ask: &'static str) -> Route {
    Route {
        path,
        scope: Scope::Read,
        is_post: false,
        ask,
        within: None,
        default: None,
    }
}

/// The same in pages.
const fn list(path: &'static str, ask: &'static str) -> Route {
    Route {
        default: Some(("limit", "100")),
        ..get(path, ask)
    }
}

const fn post(path: &'static str, ask: &'static str, scope: Scope) -> Route {
    Route {
        scope,
        is_post: true,
        ..get(path, ask)
    }
}

impl Route {
    const fn within(self, field: &'static str) -> Self {
        Self {
            within: Some(field),
            ..self
        }
    }

    /// The question with these fields.
    pub(crate) fn request(&self, mut fields: Map<String, Value>) -> Result<Request, Problem> {
        if let Some((name, text)) = self.default
            && !fields.contains_key(name)
        {
            fields.insert(name.to_owned(), typed(name, text));
        }
        if let Some(within) = self.within {
            let is_outside = |(name, _): &(String, Value)| OUTSIDE.contains(&&**name);
            let (outside, inside): (Map<_, _>, Map<_, _>) =
                fields.into_iter().partition(is_outside);
            fields = outside;
            fields.insert(within.to_owned(), inside.into());
        }
        fields.insert("do".to_owned(), self.ask.into());
        let request = serde_json::from_value(fields.into());
        request.map_err(|wrong| Problem::new(StatusCode::BAD_REQUEST, wrong.to_string()))
    }
}

/// A value of the query as its field wants it. What it cannot be stays a text, which the field then refuses.
pub(crate) fn typed(name: &str, text: &str) -> Value {
    let other = || text.into();
    match name {
        "limit" | "older_than_secs" | "younger_than_secs" => {
            text.parse::<u64>().map_or_else(|_| other(), Value::from)
        }
        "all" | "connect" => text.parse::<bool>().map_or_else(|_| other(), Value::from),
        "ids" => text.split(',').map(Value::from).collect(),
        _ => other(),
    }
}

/// Fields of lists that are no conditions.
const OUTSIDE: [&str; 3] = ["by", "cursor", "limit"];

#[cfg(test)]
mod tests {
    use serde_json::json;

    use super::*;

    /// What a path asks, as the control socket would be asked.
    #[track_caller]
    fn check(path: &str, is_post: bool, fields: Value, expected: Result<Value, &str>) {
        let route = ROUTES
            .iter()
            .find(|r| r.path == path && r.is_post == is_post);
        let Value::Object(fields) = fields else {
            panic!("fields")
        };
        let request = route.unwrap().request(fields);
        match (request, expected) {
            (Ok(request), Ok(expected)) => {
                assert_eq!(serde_json::to_value(request).unwrap(), expected);
            }
            (Err(problem), Err(wrong)) => {
                let problem = format!("{problem:?}");
                assert!(problem.contains(wrong), "{problem}");
            }
            (got, expected) => panic!("{path}: {got:?} instead of {expected:?}"),
        }
    }

    #[test]
    fn what_a_path_asks() {
        let fields = json!({"to": "example.org", "limit": 5, "older_than_secs": 60});
        let filter = json!({"to": "example.org", "older_than_secs": 60});
        let list = json!({"do": "queue_list", "filter": filter, "cursor": null, "limit": 5});
        check("/queue", false, fields, Ok(list));
        let summary = json!({"do": "queue_summary", "by": "site", "filter": {}, "limit": 100});
        check("/queue/summary", false, json!({"by": "site"}), Ok(summary));
        let pause = json!({"site": "google", "for_secs": 60, "do": "status"});
        let asked = json!({"do": "site_pause", "site": "google", "for_secs": 60, "reason": ""});
        check("/sites/{site}/pause", true, pause, Ok(asked));
        let content =
            json!({"do": "queue_cat", "id": "7ZZZZZZZZZZZZZZZZZZZZZZZZZ", "part": "whole"});
        let id = json!({"id": "7ZZZZZZZZZZZZZZZZZZZZZZZZZ"});
        check("/messages/{id}/content", false, id, Ok(content));
        let mail =
            json!({"to": "a@b.c", "from": "", "ip": "192.0.2.1", "hello": "h", "user": null});
        let explain = json!({"do": "explain", "mail": mail, "has_message": false});
        check("/explain", true, mail, Ok(explain));
        check("/drain", false, json!({}), Ok(json!({"do": "drained"})));
    }

    #[test]
    fn what_is_not_known_is_refused() {
        let act = |name: &str| json!({"action": "remove", "selector": {"all": true}, name: true});
        check(
            "/queue/act",
            true,
            act("dryrun"),
            Err("unknown field `dryrun`"),
        );
        check(
            "/queue",
            false,
            json!({"form": "a@b.c"}),
            Err("unknown field `form`"),
        );
        check(
            "/queue",
            false,
            json!({"limit": "many"}),
            Err("invalid type"),
        );
        check(
            "/sites/{site}/pause",
            true,
            json!({"site": "a", "for": 1}),
            Err("unknown field"),
        );
        check(
            "/reload",
            true,
            json!({"dryrun": true}),
            Err("unknown field"),
        );
        check(
            "/stats",
            false,
            json!({"by": "site"}),
            Err("missing field `since`"),
        );
        check("/drain", true, json!({}), Err("missing field `on`"));
    }

    #[test]
    fn each_path_has_its_question() {
        for route in &ROUTES {
            let wrong = format!("{:?}", route.request(Map::new()));
            assert!(
                !wrong.contains("unknown variant"),
                "{}: {wrong}",
                route.path
            );
        }
    }
}
