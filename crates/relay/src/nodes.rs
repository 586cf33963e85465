//! The other nodes of a shared spool: what an operator asks of one, it asks of all.

use std::collections::{BTreeMap, BTreeSet};
use std::sync::Arc;

use control::{Ask, Fault, Request};
use parking_lot::Mutex;
use serde::Serialize;
use spool::{Board, Reply, Spool};

/// All nodes, while they are asked something.
pub(crate) struct Nodes {
    board: Arc<dyn Board>,
    /// Who did not answer.
    silent: Mutex<BTreeSet<String>>,
}

impl Nodes {
    /// None: there is but one.
    pub(crate) fn of(spool: &impl Spool) -> Option<Self> {
        spool.board().map(Self::at)
    }

    pub(crate) fn at(board: Arc<dyn Board>) -> Self {
        let silent = Mutex::default();
        Self { board, silent }
    }

    /// What each says, by its name; this node, which is asked at the same time, has none.
    pub(crate) async fn ask<A: Ask>(
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
    pub(crate) fn silent(self) -> Vec<String> {
        self.silent.into_inner().into_iter().collect()
    }
}

pub(crate) fn json(said: &impl Serialize) -> String {
    serde_json::to_string(said).unwrap_or_default()
}
