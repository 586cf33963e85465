//! The description of the API (OpenAPI 3.1), made of the table of paths and of the types of questions and answers.

use std::collections::BTreeMap;
use std::sync::LazyLock;

use control::ask;
use serde_json::{Map, Value, json};

use crate::route::{OUTSIDE, ROUTES, Route, Verb};

/// The whole document.
pub(crate) static TEXT: LazyLock<String> = LazyLock::new(|| document().to_string());

fn document() -> Value {
    let schemas = ask::schemas();
    let mut paths = BTreeMap::<&str, Map<_, _>>::new();
    for route in &ROUTES {
        let (asked, answer) = &schemas[&route.ask.replace('_', "")];
        let path = paths.entry(route.path).or_default();
        path.insert(
            route.verb.name().to_owned(),
            operation(route, asked, answer),
        );
    }
    paths.insert("/events", Map::from_iter([("get".to_owned(), events())]));
    json!({
        "openapi": "3.1.0",
        "info": {"title": "Onward", "version": "1", "description": ABOUT},
        "servers": [{"url": "/api/v1"}],
        "security": [{"token": []}],
        "paths": paths,
        "components": {
            "securitySchemes": {"token": {"type": "http", "scheme": "bearer"}},
            "schemas": {"Problem": {"type": "object", "properties": {
                "title": {"type": "string"},
                "status": {"type": "integer"},
                "detail": {"type": "string"},
                "hint": {"type": "string"},
                "file": {"type": "string"},
                "line": {"type": "integer"},
            }}},
        },
    })
}

fn operation(route: &Route, asked: &Value, answer: &Value) -> Value {
    let in_header = |name| json!({"name": name, "in": "header", "schema": {"type": "string"}});
    let in_path = |name: &str| route.path.contains(&format!("{{{name}}}"));
    let mut parameters = Vec::new();
    let mut in_body = Map::new();
    for (name, schema) in fields(route, asked) {
        if in_path(&name) {
            parameters
                .push(json!({"name": name, "in": "path", "required": true, "schema": schema}));
        } else if name == "if_match" {
            parameters.push(in_header("If-Match"));
        } else if route.verb == Verb::Get {
            parameters.push(json!({"name": name, "in": "query", "schema": schema}));
        } else {
            in_body.insert(name, schema);
        }
    }
    if route.verb != Verb::Get {
        parameters.push(in_header("Idempotency-Key"));
    }
    let answer = match route.ask {
        "queue_cat" => json!({"message/rfc822": {}}),
        _ => json!({"application/json": {"schema": answer}}),
    };
    let problem = json!({"schema": {"$ref": "#/components/schemas/Problem"}});
    let mut operation = json!({
        "operationId": route.ask,
        "summary": route.about,
        "description": format!("Scope: `{}`", route.scope),
        "parameters": parameters,
        "responses": {
            "200": {"description": "Done", "content": answer},
            "default": {"description": "Not done", "content": {"application/problem+json": problem}},
        },
    });
    if !in_body.is_empty() {
        let mut content = json!({});
        if let Some(text) = in_body.get("text") {
            content["text/plain"] = json!({"schema": text});
        }
        let body = json!({"type": "object", "properties": in_body, "additionalProperties": false});
        content["application/json"] = json!({"schema": body});
        operation["requestBody"] = json!({"content": content});
    }
    operation
}

/// The one path that is no question.
fn events() -> Value {
    let parameter = |name, about| json!({"name": name, "in": "query", "description": about, "schema": {"type": "string"}});
    json!({
        "operationId": "events",
        "summary": "The mail log as it is written: each event as its line in JSON, or how many were `missed`",
        "description": "Scope: `read`",
        "parameters": [
            parameter("event", "Only these, by their names in the mail log, with commas between"),
            parameter("site", "Only those about this site or sites below it"),
        ],
        "responses": {"200": {"description": "Server-sent events", "content": {"text/event-stream": {}}}},
    })
}

/// The fields of a request, wherever they are written.
fn fields(route: &Route, asked: &Value) -> Map<String, Value> {
    let of = |schema: &Value| {
        schema["properties"]
            .as_object()
            .cloned()
            .unwrap_or_default()
    };
    let mut fields = of(asked);
    if let Some(within) = route.within {
        let inner = fields.remove(within).unwrap_or_default();
        fields.retain(|name, _| OUTSIDE.contains(&&**name));
        fields.extend(of(&inner));
    }
    fields
}

const ABOUT: &str = "What the commands of onward ask, with a bearer token of the scope that is named. Lists are of pages: `next` \
    of an answer is the `cursor` of the next one.";

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn each_path_is_described() {
        let document = document();
        for route in &ROUTES {
            let operation = &document["paths"][route.path][route.verb.name()];
            let said = operation.to_string();
            for part in route.path.split(['{', '}']).skip(1).step_by(2) {
                assert!(said.contains(&format!("\"name\":\"{part}\"")), "{said}");
            }
            let answer = &operation["responses"]["200"]["content"];
            assert!(
                route.ask == "queue_cat"
                    || answer["application/json"]["schema"]["type"].is_string(),
                "{}: {answer}",
                route.path
            );
        }
        let list = document["paths"]["/queue"]["get"]["parameters"].to_string();
        for name in ["to", "older_than_secs", "cursor", "limit"] {
            assert!(list.contains(&format!("\"name\":\"{name}\"")), "{list}");
        }
        let act = &document["paths"]["/queue/act"]["post"]["requestBody"]["content"];
        let fields = &act["application/json"]["schema"]["properties"];
        assert_eq!(fields["action"]["enum"][0], "retry", "{fields}");
    }
}
