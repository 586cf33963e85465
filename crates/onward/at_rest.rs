//! The queue of a relay that does not run, read from its spool: the same questions as a running one answers, and the same rows.
//!
//! Nothing is changed, and the spool is locked meanwhile. It reads the whole log for each question.

use std::io;
use std::path::PathBuf;

use bytes::Bytes;
use control::ask::{Ask, QueueList, QueueShow, QueueSummary};
use control::{Answers, Body, Client, ClientError, Fault, MessageDetails, Page, Part, Summary};
use envelope::{Actor, LegId, MessageId};
use queue::StartError;
use queue::verify::{Exported, export};
use relay::operator::{self, listing, listing::Listing};
use spool::{BodyReader, By, Clock, Entry, Error, Filter, OpenError, Tally};

use crate::config::Config;
use crate::print::Printer;
use crate::spool_cli::progress;

/// Where rows of the queue come from.
pub(crate) enum Source {
    Running(Client),
    AtRest(AtRest),
}

/// A spool that no relay has open.
pub(crate) struct AtRest(PathBuf);

impl Source {
    /// The running daemon; without one, the spool.
    pub(crate) async fn open(config: &Config, print: Printer) -> Result<Self, ClientError> {
        match Client::connect(&config.control.socket).await {
            Err(ClientError::NotRunning { .. })
                if !config.queue.is_shared() && config.spool.join("log").is_dir() =>
            {
                print.note("no relay is running: this is its spool at rest");
                Ok(Self::AtRest(AtRest(config.spool.clone())))
            }
            client => client.map(Self::Running),
        }
    }

    pub(crate) async fn ask<A: Ask>(&mut self, ask: A) -> Result<A::Answer, ClientError>
    where
        AtRest: Answers<A>,
    {
        match self {
            Self::Running(client) => client.ask(ask).await,
            Self::AtRest(spool) => Ok(spool.answer(ask, Actor::Uid(0)).await?),
        }
    }

    pub(crate) async fn queue_cat(
        &mut self,
        id: MessageId,
        part: Part,
        mut sink: impl FnMut(&[u8]) -> io::Result<()>,
    ) -> Result<(), ClientError> {
        let spool = match self {
            Self::Running(client) => return client.queue_cat(id, part, sink).await,
            Self::AtRest(spool) => spool,
        };
        let mut body = operator::Body::new(spool.body(id)?, part);
        while let Some(piece) = body.chunk().await? {
            sink(&piece)?;
        }
        Ok(())
    }
}

impl Answers<QueueList> for AtRest {
    async fn answer(&self, ask: QueueList, _by: Actor) -> Result<Page, Fault> {
        listing::list(self, ask, operator::row).await
    }
}

impl Answers<QueueSummary> for AtRest {
    async fn answer(&self, ask: QueueSummary, _by: Actor) -> Result<Summary, Fault> {
        listing::summary(self, ask, |host| host).await
    }
}

impl Answers<QueueShow> for AtRest {
    async fn answer(&self, ask: QueueShow, _by: Actor) -> Result<MessageDetails, Fault> {
        listing::show(self, ask, operator::row).await
    }
}

impl Listing for AtRest {
    async fn list(
        &self,
        filter: &Filter,
        cursor: Option<LegId>,
        n: usize,
    ) -> Result<spool::Page, Error> {
        let mut page = spool::Page::default();
        let full = self.each(filter, |entry| {
            if cursor.is_some_and(|cursor| entry.id <= cursor) {
                return true;
            }
            if page.entries.len() < n {
                page.entries.push(entry.clone());
                return true;
            }
            false
        })?;
        page.next = page.entries.last().filter(|_| full).map(|entry| entry.id);
        Ok(page)
    }

    async fn summary(&self, filter: &Filter, by: By, n: usize) -> Result<spool::Summary, Error> {
        let mut tally = Tally::new(Clock::real().now());
        self.each(filter, |entry| {
            let name = by.name(&entry.leg, &entry.message.reverse_path, entry.last.as_ref());
            tally.add(&name, entry.id.message.timestamp());
            true
        })?;
        Ok(tally.finish(n))
    }
}

impl AtRest {
    /// Shows all legs that a filter matches, until `visit` says that it has enough; says whether it had.
    fn each(&self, filter: &Filter, mut visit: impl FnMut(&Entry) -> bool) -> Result<bool, Error> {
        let now = Clock::real().now();
        let seen = self.visit(|found| {
            let mut legs = found.legs.iter().filter(|leg| filter.matches(leg, now));
            if legs.all(&mut visit) {
                Ok(())
            } else {
                Err(End::Enough)
            }
        });
        seen.map_err(|error| Error::Unknown(error.to_string()))
    }

    fn body(&self, id: MessageId) -> Result<Pieces, Fault> {
        let mut pieces = None;
        let visit = |found: &Exported<'_>| {
            if found.message.id != id {
                return Ok(());
            }
            let body = found.body().map(|piece| match piece.damage {
                None => Ok(piece.octets),
                Some(damage) => Err(damage.text),
            });
            pieces = Some(body.collect::<Result<Vec<_>, _>>());
            Err(End::Enough)
        };
        self.visit(visit).map_err(Fault::of)?;
        let pieces = pieces.ok_or_else(|| operator::not_queued(&id))?;
        Ok(Pieces(pieces.map_err(Fault::new)?.into_iter()))
    }

    /// Shows all messages to `visit`, which may have enough; says whether it had.
    fn visit(
        &self,
        visit: impl FnMut(&Exported<'_>) -> Result<(), End>,
    ) -> Result<bool, StartError> {
        let (now, progress) = (Clock::real().now(), &mut progress("reading the spool"));
        match export(&self.0, now, None, progress, visit) {
            Ok(_) => Ok(false),
            Err(End::Enough) => Ok(true),
            Err(End::Failed(error)) => Err(error),
        }
    }
}

/// Why a look at the spool ended early.
enum End {
    Enough,
    Failed(StartError),
}

impl From<StartError> for End {
    fn from(error: StartError) -> Self {
        Self::Failed(error)
    }
}

/// A body in memory.
#[derive(Clone)]
struct Pieces(std::vec::IntoIter<Bytes>);

impl BodyReader for Pieces {
    async fn chunk(&mut self) -> Result<Option<Bytes>, OpenError> {
        Ok(self.0.next())
    }
}
