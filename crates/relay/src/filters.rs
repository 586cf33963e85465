//! The content filters that measures name: what a reload replaces, and what is remembered of how each does.
//!
//! That one fails is said once, and again when it answers; each message that it was asked about has its own line.

use std::collections::BTreeMap;
use std::io;

use control::FilterCounts;
use filter::{Body, Facts, Failed, Filter, Opinion, Verdict};
use futures_util::StreamExt;
use futures_util::stream::try_unfold;
use journal::{Event, Journal};
use parking_lot::Mutex;
use policy::Name;
use spool::BodyReader;

/// By the names that measures call them by.
pub type Filters = BTreeMap<Name, Defined>;

/// One of them.
#[derive(Debug)]
pub struct Defined {
    /// Whom to ask.
    pub filter: Filter,
    /// What becomes of mail that it cannot be asked about.
    pub on_failure: OnFailure,
}

envelope::named! {
    /// `on_failure = "accept" | "defer"`.
    #[derive(Default)]
    pub enum OnFailure {
        /// It is taken all the same.
        #[default]
        Accept = "accept",
        /// It is to come again.
        Defer = "defer",
    }
}

/// Reads a message from its first octet, once for each filter.
pub(crate) type Reading = Box<dyn Fn() -> Body + Send + Sync>;

/// A message as filters see it.
pub(crate) struct Letter<'a> {
    pub(crate) facts: Facts<'a>,
    pub(crate) body: Reading,
}

/// How they do.
pub(crate) struct Health {
    journal: Journal,
    counts: Mutex<BTreeMap<Name, FilterCounts>>,
}

impl Health {
    /// Nobody was asked yet.
    pub(crate) fn new(journal: Journal) -> Self {
        Self {
            journal,
            counts: Mutex::default(),
        }
    }

    /// Counts what came of asking.
    pub(crate) fn count(&self, filter: &Name, said: &Result<Opinion, Failed>) {
        let mut counts = self.counts.lock();
        let counts = counts.entry(Name::clone(filter)).or_default();
        counts.asked += 1;
        let name = filter.to_string();
        match said {
            Err(Failed(error)) => {
                counts.failed += 1;
                counts.failing += 1;
                if counts.failing == 1 {
                    let error = error.clone();
                    self.journal.record(Event::FilterDown { name, error });
                }
            }
            Ok(opinion) => {
                let refused = matches!(opinion.verdict, Verdict::Reject(_) | Verdict::Defer(_));
                counts.refused += u64::from(refused);
                let failed = std::mem::take(&mut counts.failing);
                if failed > 0 {
                    self.journal.record(Event::FilterUp { name, failed });
                }
            }
        }
    }

    /// Of each since the start.
    pub(crate) fn counts(&self) -> BTreeMap<String, FilterCounts> {
        let counts = self.counts.lock();
        let each = counts.iter();
        each.map(|(name, counts)| (name.to_string(), *counts))
            .collect()
    }
}

/// The octets of a message.
pub(crate) fn body<R: BodyReader>(reader: R) -> Body {
    let next = async |mut reader: R| {
        let chunk = reader.chunk().await.map_err(io::Error::other)?;
        Ok(chunk.map(|chunk| (chunk, reader)))
    };
    try_unfold(reader, next).boxed()
}
