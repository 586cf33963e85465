//! The histories of all nodes of a shared spool, asked as one.

use std::collections::BTreeMap;

use control::ask::{Changes, ForwardsFailing, Stats, StatsHours, Trace};
use control::{Ask, Change, FailingForwards, Fault, HourRow, PAGE_ROWS_MAX, StatsPage, Traced};
use futures_util::future::try_join_all;
use history::{Desk, Error, merge};
use spool::Spool;

use crate::nodes::Nodes;

/// The histories of all nodes.
pub(crate) struct Histories<'a> {
    pub(crate) own: &'a Desk,
    pub(crate) nodes: Nodes,
}

impl<'a> Histories<'a> {
    /// None: there is but one.
    pub(crate) fn of(own: &'a Desk, spool: &impl Spool) -> Option<Self> {
        let nodes = Nodes::of(spool)?;
        Some(Self { own, nodes })
    }
    pub(crate) async fn trace(self, ask: Trace) -> Result<Traced, Fault> {
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

    pub(crate) async fn stats(self, ask: Stats) -> Result<StatsPage, Fault> {
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

    pub(crate) async fn stats_hours(self, ask: StatsHours) -> Result<Vec<HourRow>, Fault> {
        let said = self.ask(ask, Desk::stats_hours).await?;
        Ok(merge::hours(said.into_values()))
    }

    pub(crate) async fn changes(self, ask: Changes) -> Result<Vec<Change>, Fault> {
        let limit = ask.limit;
        Ok(merge::changes(self.ask(ask, Desk::changes).await?, limit))
    }

    pub(crate) async fn forwards_failing(
        self,
        ask: ForwardsFailing,
    ) -> Result<FailingForwards, Fault> {
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

pub(crate) async fn put<T: Send + 'static>(
    desk: &Desk,
    question: impl FnOnce(Desk) -> Result<T, Error> + Send + 'static,
) -> Result<T, Fault> {
    let desk = desk.clone();
    let answer = tokio::task::spawn_blocking(move || question(desk)).await;
    answer.map_err(Fault::of)?.map_err(Fault::of)
}
