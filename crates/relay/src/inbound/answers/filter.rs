//! What content filters say of a message.

use filter::{Failed, Opinion, Verdict};
use futures_util::future::join_all;
use journal::Event;
use policy::{Filtered, Judgement, Name};
use spool::Spool;
use tokio::time::Instant;

use super::Inquiry;
use crate::filters::{Defined, Letter, OnFailure};

impl<S: Spool> Inquiry<'_, S> {
    /// For each filter; all are asked at once.
    pub(super) async fn filtered(&self, filters: &[Name]) -> Vec<(Name, Filtered)> {
        let ask = |name| async move {
            let defined = self.sources.routing.filters.get(name);
            let said = match self.sources.known.letter.zip(defined) {
                Some((letter, defined)) => self.judged(name, defined, letter).await,
                None => only(Judgement::NotAsked),
            };
            (Name::clone(name), said)
        };
        join_all(filters.iter().map(ask)).await
    }

    async fn judged(&self, name: &Name, defined: &Defined, letter: &Letter<'_>) -> Filtered {
        let begun = Instant::now();
        let said = defined.filter.ask(&letter.facts, (letter.body)());
        let said = said.await;
        self.inbound.filters.count(name, &said);
        self.inbound.journal.record(Event::Filtered {
            id: letter.facts.id,
            filter: name.to_string(),
            opinion: said.as_ref().map_or("failed", |said| said.verdict.as_str()),
            score: words(&said, |said| said.score.clone()),
            symbols: words(&said, |said| said.symbols.clone()),
            remarks: words(&said, |said| said.remarks.join("; ")),
            error: said.as_ref().err().map(ToString::to_string),
            took: begun.elapsed(),
        });
        match (said, defined.on_failure) {
            (Ok(opinion), _) => meant(opinion),
            (Err(_), OnFailure::Accept) => only(Judgement::Pass),
            (Err(_), OnFailure::Defer) => only(Judgement::Unknown),
        }
    }
}

/// For the log; none where there are none.
fn words(said: &Result<Opinion, Failed>, of: fn(&Opinion) -> String) -> Option<String> {
    let words = said.as_ref().ok().map(of);
    words.filter(|words| !words.is_empty())
}

/// What an opinion is to `policy`.
fn meant(opinion: Opinion) -> Filtered {
    Filtered {
        judgement: match opinion.verdict {
            Verdict::Accept => Judgement::Pass,
            Verdict::Reject(reply) | Verdict::Defer(reply) => Judgement::Refuse(reply),
            Verdict::Hold(why) => Judgement::Hold(why),
            Verdict::Discard => Judgement::Discard,
        },
        fields: opinion.fields,
    }
}

fn only(judgement: Judgement) -> Filtered {
    Filtered {
        judgement,
        fields: String::new(),
    }
}
