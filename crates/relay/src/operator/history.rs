//! What happened to which message: asked of the history, on threads where waiting for a disk holds nobody up, and of those of the
//! other nodes where there are some.

use std::collections::BTreeMap;
use std::time::Duration;

use control::ask::{Changes, ForwardsFailing, Stats, StatsHours, Trace};
use control::{
    Answers, Ask, Change, FailingForwards, Fault, HistoryHealth, HourRow, PAGE_ROWS_MAX, Request,
    StatsPage, Traced, TracedMessage,
};
use envelope::{Actor, MessageId};
use futures_util::future::try_join_all;
use history::{Desk, Error, merge};
use serde::Serialize;
use spool::Spool;

use super::Operator;
use super::nodes::{Nodes, json};

/// The questions: each is put to the history of this node, or to those of all.
macro_rules! answers {
    ($($ask:ident => $answer:ty, $put:ident;)*) => {$(
        impl<S: Spool> Answers<$ask> for Operator<S> {
            async fn answer(&self, ask: $ask, _by: Actor) -> Result<$answer, Fault> {
                match self.histories() {
                    Some(histories) => histories.$put(ask).await,
                    None => put(&self.history, move |desk| desk.$put(&ask)).await,
                }
            }
        }
    )*};
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

    fn histories(&self) -> Option<Histories<'_>> {
        Some(Histories {
            own: &self.history,
            nodes: Nodes::of(&*self.spool)?,
        })
    }
}

/// What this node alone says to a question of another, as JSON.
pub(super) async fn answer_node(history: &Desk, question: Request) -> String {
    let desk = history.clone().within(TIME_MAX);
    let answer = tokio::task::spawn_blocking(move || match question {
        Request::Trace(ask) => Ok(said(desk.trace(&ask))),
        Request::Stats(ask) => Ok(said(desk.stats(&ask))),
        Request::StatsHours(ask) => Ok(said(desk.stats_hours(&ask))),
        Request::Changes(ask) => Ok(said(desk.changes(&ask))),
        Request::ForwardsFailing(ask) => Ok(said(desk.forwards_failing(&ask))),
        _ => Err(Fault::new("a node does not answer others for that")),
    });
    let answer = answer.await.map_err(Fault::of).flatten();
    answer.unwrap_or_else(|fault| json(&Err::<(), _>(fault)))
}

fn said(answer: Result<impl Serialize, Error>) -> String {
    json(&answer.map_err(Fault::of))
}

/// The histories of all nodes.
struct Histories<'a> {
    own: &'a Desk,
    nodes: Nodes,
}

impl Histories<'_> {
    async fn trace(self, ask: Trace) -> Result<Traced, Fault> {
        let parts = merge::parts(&ask).into_iter();
        let found = try_join_all(parts.map(|part| self.ask(part, Desk::trace))).await?;
        let found = found.into_iter().flat_map(BTreeMap::into_values);
        let mut whole = merge::traced(found);
        let ids = whole.messages.iter().filter_map(|message| message.id);
        let all = Trace {
            ids: ids.take(PAGE_ROWS_MAX as usize).collect(),
            limit: PAGE_ROWS_MAX,
            ..Trace::default()
        };
        // Not all who know something of a message could know that it was meant.
        if !all.ids.is_empty() && all != ask {
            let said = self.ask(all, Desk::trace).await?;
            whole = merge::traced(said.into_values().chain([whole]));
        }
        merge::keep_meant(&ask, &mut whole);
        whole.silent_nodes = self.nodes.silent();
        Ok(whole)
    }

    async fn stats(self, ask: Stats) -> Result<StatsPage, Fault> {
        let limit = ask.limit;
        let all = Stats {
            limit: PAGE_ROWS_MAX,
            ..ask
        };
        let said = self.ask(all, Desk::stats).await?;
        let mut page = merge::stats(said.into_values(), limit);
        page.silent_nodes = self.nodes.silent();
        Ok(page)
    }

    async fn stats_hours(self, ask: StatsHours) -> Result<Vec<HourRow>, Fault> {
        let said = self.ask(ask, Desk::stats_hours).await?;
        Ok(merge::hours(said.into_values()))
    }

    async fn changes(self, ask: Changes) -> Result<Vec<Change>, Fault> {
        let limit = ask.limit;
        Ok(merge::changes(self.ask(ask, Desk::changes).await?, limit))
    }

    async fn forwards_failing(self, ask: ForwardsFailing) -> Result<FailingForwards, Fault> {
        let mut all = ForwardsFailing {
            limit: PAGE_ROWS_MAX,
            ..ask
        };
        let said = self.ask(all.clone(), Desk::forwards_failing).await?;
        let mut whole = merge::failing(said.into_values(), PAGE_ROWS_MAX);
        let found = whole.forwards.drain(..);
        all.of = found.map(|row| (row.recipient, row.target)).collect();
        if !all.of.is_empty() {
            // Where one fails on this node, another may deliver.
            let said = self.ask(all, Desk::forwards_failing).await?;
            whole = merge::failing(said.into_values().chain([whole]), ask.limit);
        }
        whole.silent_nodes = self.nodes.silent();
        Ok(whole)
    }

    /// What each says, by its name; this node has none.
    async fn ask<A: Ask + Clone>(
        &self,
        ask: A,
        look: fn(&Desk, &A) -> Result<A::Answer, Error>,
    ) -> Result<BTreeMap<Option<String>, A::Answer>, Fault> {
        let question = ask.clone();
        let own = put(self.own, move |desk| look(&desk, &ask));
        self.nodes.ask(question, own).await
    }
}

async fn put<T: Send + 'static>(
    desk: &Desk,
    question: impl FnOnce(Desk) -> Result<T, Error> + Send + 'static,
) -> Result<T, Fault> {
    let desk = desk.clone();
    let answer = tokio::task::spawn_blocking(move || question(desk)).await;
    answer.map_err(Fault::of)?.map_err(Fault::of)
}

/// Another node waits no longer than some seconds.
const TIME_MAX: Duration = Duration::from_secs(3);

#[cfg(test)]
mod tests;
