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
    /// Whether a token for the forwards of `{domain}` alone will do, too.
    pub(crate) by_domain: bool,
    pub(crate) verb: Verb,
    /// The question's name on the control socket.
    pub(crate) ask: &'static str,
    /// What it does, for the description of the API.
    pub(crate) about: &'static str,
    /// The field of the question that holds all others but [`OUTSIDE`].
    pub(crate) within: Option<&'static str>,
    /// What a field is when it is not given.
    default: Option<(&'static str, &'static str)>,
}

envelope::named! {
    /// How it is asked.
    pub(crate) enum Verb {
        /// It only looks.
        Get = "get",
        /// It does something.
        Post = "post",
        /// It makes something so.
        Put = "put",
        /// It takes something away.
        Delete = "delete",
    }
}

pub(crate) static ROUTES: [Route; 35] = [
    get("/status", "status", "The daemon at a glance"),
    list("/queue", "queue_list", "Legs in the queue, by conditions").within("filter"),
    list(
        "/queue/summary",
        "queue_summary",
        "The queue in sums, by site, domain or error",
    )
    .within("filter"),
    act(
        "/queue/act",
        "queue_act",
        "Retry, hold, release, remove or bounce legs",
    ),
    get("/messages/{id}", "queue_show", "A message in the queue"),
    CONTENT,
    get(
        "/sites",
        "site_list",
        "All sites that delivery knows, and what is ordered of them",
    ),
    get("/sites/{site}", "site_show", "Sites at length"),
    act("/sites/{site}/pause", "site_pause", "Send nothing there"),
    act("/sites/{site}/resume", "site_resume", "End a pause"),
    act("/sites/{site}/limit", "site_limit", "Send less there"),
    list(
        "/freezes",
        "freeze_list",
        "Who is frozen, because of which limit",
    ),
    act("/freezes/lift", "freeze_lift", "End freezes"),
    list("/trace", "trace", "What happened to messages"),
    list("/stats", "stats", "Sums over the history"),
    get(
        "/stats/hours",
        "stats_hours",
        "What became of mail, hour by hour",
    ),
    list("/changes", "changes", "Who changed what"),
    list(
        "/forwards/failing",
        "forwards_failing",
        "Forwards whose mail fails",
    ),
    list("/domains", "domain_list", "Hosted domains, by their names"),
    get(
        "/domains/{domain}",
        "domain_show",
        "A domain, and its options",
    )
    .by_domain(),
    change(
        Verb::Put,
        "/domains/{domain}",
        "domain_put",
        "Make a domain of the own store, or give it these options",
    ),
    change(
        Verb::Delete,
        "/domains/{domain}",
        "domain_delete",
        "Remove a domain from the own store, with its forwards",
    ),
    get(
        "/domains/{domain}/dns",
        "domain_dns",
        "Whether mail for it and bounces come to us, and SPF of its rewritten senders",
    )
    .by_domain(),
    get(
        "/domains/{domain}/export",
        "forwards_export",
        "Its forwards as lines of a file",
    )
    .by_domain(),
    list("/domains/{domain}/forwards", "forward_list", "Its forwards").by_domain(),
    change(
        Verb::Put,
        "/domains/{domain}/forwards",
        "forwards_put",
        "These forwards in the place of all that it has",
    )
    .by_domain(),
    get(
        "/domains/{domain}/forwards/{local}",
        "forward_show",
        "A forward; `@` is the catch-all",
    )
    .by_domain(),
    change(
        Verb::Put,
        "/domains/{domain}/forwards/{local}",
        "forward_put",
        "Make a forward, or put this one in its place",
    )
    .by_domain()
    .within("forward"),
    change(
        Verb::Delete,
        "/domains/{domain}/forwards/{local}",
        "forward_delete",
        "Remove a forward",
    )
    .by_domain(),
    EXPLAIN,
    get(
        "/doctor",
        "doctor",
        "Whether the world agrees with the configuration",
    ),
    get(
        "/tls/{domain}",
        "tls_report",
        "Today's report of TLS with a domain's hosts",
    ),
    get("/drain", "drained", "How far a drain is"),
    admin("/drain", "drain", "Take no more mail, or take mail again"),
    admin(
        "/reload",
        "reload",
        "Read configuration, forwards, certificates and secrets again",
    ),
];

const CONTENT: Route = Route {
    scope: Scope::Content,
    default: Some(("part", "whole")),
    ..get(
        "/messages/{id}/content",
        "queue_cat",
        "The message itself, or a part of it",
    )
};

const EXPLAIN: Route = Route {
    scope: Scope::Read,
    ..act(
        "/explain",
        "explain",
        "What would be decided on a mail, and why",
    )
    .within("mail")
};

/// What only looks.
const fn get(path: &'static str, ask: &'static str, about: &'static str) -> Route {
    Route {
        path,
        scope: Scope::Read,
        by_domain: false,
        verb: Verb::Get,
        ask,
        about,
        within: None,
        default: None,
    }
}

/// The same in pages.
const fn list(path: &'static str, ask: &'static str, about: &'static str) -> Route {
    Route {
        default: Some(("limit", "100")),
        ..get(path, ask, about)
    }
}

const fn act(path: &'static str, ask: &'static str, about: &'static str) -> Route {
    Route {
        scope: Scope::Queue,
        verb: Verb::Post,
        ..get(path, ask, about)
    }
}

const fn admin(path: &'static str, ask: &'static str, about: &'static str) -> Route {
    Route {
        scope: Scope::Admin,
        ..act(path, ask, about)
    }
}

/// What changes forwards.
const fn change(verb: Verb, path: &'static str, ask: &'static str, about: &'static str) -> Route {
    Route {
        scope: Scope::Forwards,
        verb,
        ..get(path, ask, about)
    }
}

impl Route {
    const fn by_domain(self) -> Self {
        Self {
            by_domain: true,
            ..self
        }
    }

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
        request.map_err(|wrong| {
            Problem::new(StatusCode::BAD_REQUEST, wrong.to_string())
                .with_hint("/api/v1/openapi.json has all fields")
        })
    }
}

/// A value of the query as its field wants it. What it cannot be stays a text, which the field then refuses.
pub(crate) fn typed(name: &str, text: &str) -> Value {
    let other = || text.into();
    match name {
        "limit" | "older_than_secs" | "younger_than_secs" | "for_secs" | "connections"
        | "per_minute" => text.parse::<u64>().map_or_else(|_| other(), Value::from),
        "all" | "connect" | "dry_run" | "force" | "glance" | "on" | "own" | "release" => {
            text.parse::<bool>().map_or_else(|_| other(), Value::from)
        }
        "ids" => text.split(',').map(Value::from).collect(),
        _ => other(),
    }
}

/// Fields that are no conditions of a list, and not of a forward.
pub(crate) const OUTSIDE: [&str; 6] = ["by", "cursor", "limit", "domain", "if_match", "dry_run"];

#[cfg(test)]
mod tests {
    use serde_json::json;

    use super::*;

    /// What a path asks, as the control socket would be asked.
    #[track_caller]
    fn check(path: &str, verb: Verb, fields: Value, expected: Result<Value, &str>) {
        let route = ROUTES.iter().find(|r| r.path == path && r.verb == verb);
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
        check("/queue", Verb::Get, fields, Ok(list));
        let summary = json!({"do": "queue_summary", "by": "site", "filter": {}, "limit": 100});
        check(
            "/queue/summary",
            Verb::Get,
            json!({"by": "site"}),
            Ok(summary),
        );
        let pause = json!({"site": "google", "for_secs": 60, "do": "status"});
        let asked = json!({"do": "site_pause", "site": "google", "for_secs": 60, "reason": ""});
        check("/sites/{site}/pause", Verb::Post, pause, Ok(asked));
        let content =
            json!({"do": "queue_cat", "id": "7ZZZZZZZZZZZZZZZZZZZZZZZZZ", "part": "whole"});
        let id = json!({"id": "7ZZZZZZZZZZZZZZZZZZZZZZZZZ"});
        check("/messages/{id}/content", Verb::Get, id, Ok(content));
        let mail =
            json!({"to": "a@b.c", "from": "", "ip": "192.0.2.1", "hello": "h", "user": null});
        let explain = json!({"do": "explain", "mail": mail, "has_message": false});
        check("/explain", Verb::Post, mail, Ok(explain));
        check("/drain", Verb::Get, json!({}), Ok(json!({"do": "drained"})));
    }

    #[test]
    fn what_is_not_known_is_refused() {
        let act = |name: &str| json!({"action": "remove", "selector": {"all": true}, name: true});
        check(
            "/queue/act",
            Verb::Post,
            act("dryrun"),
            Err("unknown field `dryrun`"),
        );
        check(
            "/queue",
            Verb::Get,
            json!({"form": "a@b.c"}),
            Err("unknown field `form`"),
        );
        check(
            "/queue",
            Verb::Get,
            json!({"limit": "many"}),
            Err("invalid type"),
        );
        check(
            "/sites/{site}/pause",
            Verb::Post,
            json!({"site": "a", "for": 1}),
            Err("unknown field"),
        );
        check(
            "/reload",
            Verb::Post,
            json!({"dryrun": true}),
            Err("unknown field"),
        );
        check(
            "/stats",
            Verb::Get,
            json!({"by": "site"}),
            Err("missing field `since`"),
        );
        check("/drain", Verb::Post, json!({}), Err("missing field `on`"));
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
