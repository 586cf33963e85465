//! Does the world agree with the configuration?

use std::time::Duration;

use askama::Template;
use axum::response::{IntoResponse, Redirect, Response};
use control::{Finding, Health, Status, ask};

use super::now::status;
use super::show;
use super::visit::{Frame, Visit};
use super::words::{number, octets, when};

#[derive(Template)]
#[template(path = "setup.html")]
struct Setup {
    frame: Frame,
    findings: Vec<Finding>,
    good: usize,
    status: Option<Status>,
}

pub(crate) async fn page(mut visit: Visit) -> Response {
    if visit.fields.text("again").is_some() {
        visit.desk.forget("doctor");
        return Redirect::to("/setup").into_response();
    }
    let fresh = Duration::from_mins(10);
    let findings = visit.recent("doctor", ask::Doctor::default(), fresh).await;
    let mut findings = findings.unwrap_or_default();
    findings.sort_by_key(|finding| finding.status);
    show(&Setup {
        status: status(&mut visit).await,
        frame: visit.frame(),
        good: findings
            .iter()
            .filter(|finding| finding.status == Health::Good)
            .count(),
        findings,
    })
}
