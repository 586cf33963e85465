//! `POST /do/ASK`: a form becomes a question of the API's table, and its answer one line on the page that it came from.

use std::sync::Arc;

use axum::extract::{Path, Request, State};
use axum::http::StatusCode;
use axum::response::{IntoResponse, Redirect, Response};
use serde_json::Value;

use super::session::local;
use super::visit::Visit;
use super::{Wrong, queue};
use crate::desk::Desk;
use crate::problem::Problem;
use crate::route::{ROUTES, Verb};

pub(crate) async fn give(
    State(desk): State<Arc<Desk>>,
    Path(ask): Path<String>,
    request: Request,
) -> Result<Response, Wrong> {
    let (visit, form) = Visit::with_form(&desk, request).await?;
    let unknown = || Problem::new(StatusCode::NOT_FOUND, "there is no such order");
    let mut routes = ROUTES.iter().filter(|route| route.verb == Verb::Post);
    let route = routes.find(|route| route.ask == ask).ok_or_else(unknown)?;
    visit.check(route.scope)?;
    let is_field = |name: &str| name != "csrf" && name != "back";
    let mut fields = form.typed(is_field);
    if ask == "queue_act" {
        let selector = form.typed(|name| queue::CHOICE.contains(&name));
        fields.retain(|name, _| !queue::CHOICE.contains(&name.as_str()));
        fields.insert("selector".to_owned(), selector.into());
    }
    let request = route.request(fields)?;
    let told = match desk.perform(request, visit.visitor.by.clone(), None).await {
        Ok(answer) => told(
            &ask,
            &serde_json::from_str(answer.get()).unwrap_or_default(),
        ),
        Err(fault) => format!("Not done: {fault}"),
    };
    desk.sessions.tell(&visit.visitor, told);
    let back = form.text("back").unwrap_or_default();
    Ok(Redirect::to(&local(back)).into_response())
}

fn told(ask: &str, answer: &Value) -> String {
    let count = |name: &str| answer[name].as_u64().unwrap_or_default();
    match ask {
        "queue_act" => format!(
            "Done with {} of {} legs{}.",
            count("done"),
            count("matched"),
            match count("pending") {
                0 => String::new(),
                pending => format!("; {pending} more are being delivered right now"),
            },
        ),
        "freeze_lift" => format!(
            "{} freezes ended, {} legs go out.",
            count("lifted"),
            count("released")
        ),
        "reload" => {
            let names = ["lines", "needs_restart"].into_iter();
            let lines = names.filter_map(|name| answer[name].as_array()).flatten();
            let lines: Vec<_> = lines.filter_map(Value::as_str).collect();
            format!("Read again:\n{}", lines.join("\n"))
        }
        "drain" if answer["on"] == true => "No new mail is taken.".to_owned(),
        "drain" => "New mail is taken.".to_owned(),
        _ if answer["now"].is_null() => "Ended.".to_owned(),
        _ => "Ordered.".to_owned(),
    }
}
