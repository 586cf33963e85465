//! The other nodes of a shared spool: what an operator asks of one, it asks of all.

use std::collections::{BTreeMap, BTreeSet};
use std::sync::Arc;

use control::ask::{SiteList, SiteShow};
use control::{Ask, Fault, Request};
use parking_lot::Mutex;
use serde::Serialize;
use spool::{Board, Reply, Spool};

use super::{Operator, history};

/// All nodes, while they are asked something.
pub(super) struct Nodes {
    board: Arc<dyn Board>,
    /// Who did not answer.
    silent: Mutex<BTreeSet<String>>,
}

impl Nodes {
    /// None: there is but one.
    pub(super) fn of(spool: &impl Spool) -> Option<Self> {
        spool.board().map(Self::at)
    }

    pub(super) fn at(board: Arc<dyn Board>) -> Self {
        let silent = Mutex::default();
        Self { board, silent }
    }

    /// What each says, by its name; this node, which is asked at the same time, has none.
    pub(super) async fn ask<A: Ask>(
        &self,
        ask: A,
        own: impl Future<Output = Result<A::Answer, Fault>>,
    ) -> Result<BTreeMap<Option<String>, A::Answer>, Fault> {
        let question: Request = ask.into();
        let (own, replies) = tokio::join!(own, self.board.ask(json(&question)));
        let mut said = BTreeMap::from([(None, own?)]);
        let replies = replies.unwrap_or_else(|error| {
            tracing::warn!(%error, "cannot ask the other nodes");
            let (node, text) = ("any other".to_owned(), None);
            vec![Reply { node, text }]
        });
        for Reply { node, text } in replies {
            let answer = text.and_then(|text| serde_json::from_str(&text).ok());
            match answer.and_then(Result::<A::Answer, Fault>::ok) {
                Some(answer) => drop(said.insert(Some(node), answer)),
                None => drop(self.silent.lock().insert(node)),
            }
        }
        Ok(said)
    }

    /// Who did not answer anything.
    pub(super) fn silent(self) -> Vec<String> {
        self.silent.into_inner().into_iter().collect()
    }
}

impl<S: Spool> Operator<S> {
    /// What this node alone says to a question of another, as JSON.
    pub(crate) async fn answer_node(&self, question: &str) -> String {
        match serde_json::from_str(question) {
            Ok(Request::SiteList(SiteList { .. })) => json(&self.own_sites().await),
            Ok(Request::SiteShow(SiteShow { site })) => json(&self.own_details(&site).await),
            Ok(request) => history::answer_node(&self.history, request).await,
            Err(error) => json(&Err::<(), _>(Fault::of(error))),
        }
    }
}

pub(super) fn json(said: &impl Serialize) -> String {
    serde_json::to_string(said).unwrap_or_default()
}
