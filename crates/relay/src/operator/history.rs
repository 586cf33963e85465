//! What happened to which message: asked of the history, on threads where waiting for a disk holds nobody up.

use control::ask::{Changes, ForwardsFailing, Stats, StatsHours, Trace};
use control::{
    Answers, Change, FailingForwards, Fault, HistoryHealth, HourRow, StatsPage, Traced,
    TracedMessage,
};
use envelope::{Actor, MessageId};
use history::{Desk, Error};
use spool::Spool;

use super::Operator;

impl<S: Spool> Answers<Trace> for Operator<S> {
    async fn answer(&self, ask: Trace, _by: Actor) -> Result<Traced, Fault> {
        put(&self.history, move |desk| desk.trace(&ask)).await
    }
}

impl<S: Spool> Answers<Stats> for Operator<S> {
    async fn answer(&self, ask: Stats, _by: Actor) -> Result<StatsPage, Fault> {
        put(&self.history, move |desk| desk.stats(&ask)).await
    }
}

impl<S: Spool> Answers<StatsHours> for Operator<S> {
    async fn answer(&self, ask: StatsHours, _by: Actor) -> Result<Vec<HourRow>, Fault> {
        put(&self.history, move |desk| desk.stats_hours(&ask)).await
    }
}

impl<S: Spool> Answers<Changes> for Operator<S> {
    async fn answer(&self, ask: Changes, _by: Actor) -> Result<Vec<Change>, Fault> {
        put(&self.history, move |desk| desk.changes(&ask)).await
    }
}

impl<S: Spool> Answers<ForwardsFailing> for Operator<S> {
    async fn answer(&self, ask: ForwardsFailing, _by: Actor) -> Result<FailingForwards, Fault> {
        put(&self.history, move |desk| desk.forwards_failing(&ask)).await
    }
}

impl<S: Spool> Operator<S> {
    /// What is known of a message; nothing without a history.
    pub(super) async fn history_of(&self, id: MessageId) -> Option<TracedMessage> {
        let ask = Trace {
            what: Some(id.to_string()),
            limit: 1,
            ..Trace::default()
        };
        let traced = put(&self.history, move |desk| desk.trace(&ask)).await;
        traced.ok()?.messages.pop()
    }

    pub(super) async fn health_of_history(&self) -> HistoryHealth {
        let health = put(&self.history, |desk| Ok(desk.health())).await;
        health.unwrap_or_default()
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
