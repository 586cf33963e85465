//! Policy is asked, and its questions are answered until it decides.

use std::net::IpAddr;
use std::sync::Arc;
use std::sync::atomic::Ordering;

use counters::Key;
use forwarder::{HeaderScan, LEGS_MAX, Plan, Route};
use futures_util::future::join_all;
use policy::{Answer, Case, Decision, Question, Stage, Standing, Step};
use smtp::server::Credentials;
use spool::Spool;

use super::client_name::ClientName;
use super::examined::Examined;
use super::{Inbound, Visit, answers, hello};
use crate::filters::Letter;
use crate::routing::Routing;

/// What answers are found in, beside the case and what all visits share.
pub(super) struct Sources<'a> {
    /// The snapshot of the transaction.
    pub(super) routing: &'a Routing,
    /// What the stage is about.
    pub(super) known: Known<'a>,
    /// Of the accepted recipients: what limits count them by.
    pub(super) recipients: &'a [Key],
    /// The client's.
    pub(super) name: &'a ClientName,
}

/// What the client has handed over for one stage.
#[derive(Default, Clone, Copy)]
pub(super) struct Known<'a> {
    /// At AUTH.
    pub(super) credentials: Option<&'a Credentials>,
    /// The message, at the end of its body, if it was read.
    pub(super) message: Option<&'a Examined>,
    /// And as filters see it, if it is real and one is to be asked.
    pub(super) letter: Option<&'a Letter<'a>>,
}

/// Questions with their answers, in the order in which they were asked.
pub(super) type Asked = Vec<(Question, Answer)>;

impl<S: Spool> Inbound<S> {
    /// The decision, and the route that was found on the way: if the recipient is accepted, the mail takes it. With a place to
    /// put questions and answers, it is only for an explanation: then nothing is counted.
    pub(super) async fn decide(
        &self,
        stage: Stage,
        case: &mut Case,
        sources: &Sources<'_>,
        mut asked: Option<&mut Asked>,
    ) -> (Decision, Option<Route>) {
        let mut found = None;
        loop {
            let questions = match policy::step(stage, case) {
                Step::Ask(questions) => questions,
                Step::Decide(decision) => return (decision, found),
            };
            let inquiry = answers::Inquiry {
                inbound: self,
                sources,
                case,
                route: found.as_ref(),
                counts: asked.is_none(),
            };
            let answers = questions.iter().map(|question| inquiry.find(question));
            let answers = join_all(answers).await;
            for (question, (answer, route)) in questions.into_iter().zip(answers) {
                found = route.or(found);
                if let Some(asked) = &mut asked {
                    asked.push((question, answer.clone()));
                }
                case.learn(answer);
            }
        }
    }

    /// What rules follow.
    pub(super) fn policy_settings(&self, routing: &Routing) -> policy::Settings {
        policy::Settings {
            blocks: Arc::clone(&routing.connect.block),
            srs_accepts_nonnull: self.accept_nonnull,
            targets_max: LEGS_MAX,
            hops_max: routing.forwarder.settings().received_max,
            tiers: !routing.tiers.is_empty(),
            limits: !routing.limits.is_empty() || !self.counting.freezes.is_empty(),
            pressure: routing.pressure && self.is_pressed(),
            drained: self.drained.load(Ordering::Relaxed),
        }
    }
}

impl<S: Spool> Visit<S> {
    /// Who the client is, and which settings hold for it.
    pub(super) fn meet(&mut self, client: &smtp_in::Client) {
        let routing = self.routing();
        self.case.hello = hello(client).unwrap_or_default();
        let user = self.case.client.user.take();
        self.case.client = client_of(&routing, client.peer.ip(), client.role);
        if let Some(user) = user {
            self.case.client.log_in(user);
        }
        self.case.limited = None;
        self.case.settings = self.inbound.policy_settings(&routing);
    }
}

/// What policy needs to know of a message that would go these ways and has this header.
pub(super) fn facts_of(plan: &Plan, scan: &HeaderScan) -> policy::Message {
    policy::Message {
        hops: scan.hops(),
        legs: plan.legs.len(),
        loops: plan.loops(scan).cloned().collect(),
        filtered: None,
    }
}

/// Who a client is to us.
pub(super) fn client_of(routing: &Routing, address: IpAddr, role: smtp_in::Role) -> policy::Client {
    let is_trusted = routing.trusted.contains(address);
    policy::Client {
        address: Some(address),
        is_trusted,
        role: match role {
            smtp_in::Role::Mx => policy::Role::Mx,
            smtp_in::Role::Submission => policy::Role::Submission,
        },
        standing: match is_trusted {
            true => Standing::Trusted,
            false => Standing::Stranger,
        },
        user: None,
        talked_early: false,
    }
}
