//! What happened to which message: asked of the history, on threads where waiting for a disk holds nobody up, and of those of the
//! other nodes where there are some.

use std::time::Duration;

use control::ask::{Changes, ForwardsFailing, SiteList, SiteShow, Stats, StatsHours, Trace};
use control::{
    Answers, Change, FailingForwards, Fault, HistoryHealth, HourRow, PAGE_ROWS_MAX, Request,
    StatsPage, Traced, TracedMessage,
};
use envelope::{Actor, MessageId};
use history::Desk;
use spool::Spool;

use super::Operator;
use crate::histories::{Histories, put};
use crate::nodes::json;

/// The questions: each is put to the history of this node, or to those of all.
macro_rules! answers {
    ($($ask:ident => $answer:ty, $put:ident;)*) => {
        $(impl<S: Spool> Answers<$ask> for Operator<S> {
            async fn answer(&self, ask: $ask, _by: Actor) -> Result<$answer, Fault> {
                match Histories::of(&self.history, &*self.spool) {
                    Some(histories) => histories.$put(ask).await,
                    None => put(&self.history, move |desk| desk.$put(&ask)).await,
                }
            }
        })*

        async fn answer_node(history: &Desk, question: Request) -> String {
            let desk = history.clone().within(TIME_MAX);
            match question {
                $(Request::$ask(ask) => json(&put(&desk, move |desk| desk.$put(&ask)).await),)*
                _ => json(&Err::<(), _>(Fault::new("a node does not answer others for that"))),
            }
        }
    };
}

answers! {
    Trace => Traced, trace;
    Stats => StatsPage, stats;
    StatsHours => Vec<HourRow>, stats_hours;
    Changes => Vec<Change>, changes;
    ForwardsFailing => FailingForwards, forwards_failing;
}

impl<S: Spool> Operator<S> {
    /// What is known of a message; nothing without a history.
    pub(super) async fn history_of(&self, id: MessageId) -> Option<TracedMessage> {
        let ask = Trace {
            ids: vec![id],
            limit: PAGE_ROWS_MAX,
            ..Trace::default()
        };
        self.answer(ask, Actor::Uid(0)).await.ok()?.messages.pop()
    }

    pub(super) async fn health_of_history(&self) -> HistoryHealth {
        let health = put(&self.history, |desk| Ok(desk.health())).await;
        health.unwrap_or_default()
    }
}

impl<S: Spool> Operator<S> {
    /// What this node alone says to a question of another, as JSON.
    pub(crate) async fn answer_node(&self, question: &str) -> String {
        match serde_json::from_str(question) {
            Ok(Request::SiteList(SiteList { .. })) => json(&self.own_sites().await),
            Ok(Request::SiteShow(SiteShow { site })) => json(&self.own_details(&site).await),
            Ok(request) => answer_node(&self.history, request).await,
            Err(error) => json(&Err::<(), _>(Fault::of(error))),
        }
    }
}

/// Another node waits no longer than some seconds.
const TIME_MAX: Duration = Duration::from_secs(3);

#[cfg(test)]
mod tests;
