//! The operator behind the door, whatever its type: what is asked is done as a task, so that a client that goes away leaves nothing
//! half done, and so many at once, so that clients that come and go do not pile work up.

use std::pin::Pin;
use std::sync::Arc;
use std::time::Duration;

use axum::body::{Body, Bytes};
use control::ask::QueueCat;
use control::{Ask, Body as _, Fault, Operator, Request};
use envelope::Actor;
use futures_util::stream;
use serde_json::value::RawValue;
use tokio::sync::{Mutex, Semaphore, watch};
use tokio::time::Instant;

use crate::feed::Feed;
use crate::metrics::Shown;
use crate::pages::{Recent, Sessions};
use crate::repeats::{Repeats, Ticket};
use crate::tokens::Tokens;

/// What every request needs.
pub(crate) struct Desk {
    operator: Box<dyn Erased>,
    slots: Arc<Semaphore>,
    /// For questions that others, elsewhere, are asked for.
    slow_slots: Arc<Semaphore>,
    /// What is at work ends with this.
    ended: watch::Sender<bool>,
    /// Why no mail is taken, if none is.
    pub(crate) unready: Fresh<Option<String>>,
    pub(crate) metrics: Fresh<Result<String, Fault>>,
    pub(crate) tokens: Tokens,
    pub(crate) shown: Shown,
    pub(crate) feed: Feed,
    pub(crate) repeats: Repeats,
    pub(crate) sessions: Sessions,
    pub(crate) recent: Recent,
    /// Whether connections are of TLS.
    pub(crate) is_encrypted: bool,
}

impl Desk {
    pub(crate) fn new<O: Operator>(
        operator: Arc<O>,
        feed: Feed,
        tokens: Tokens,
        is_encrypted: bool,
    ) -> Self {
        Self {
            operator: Box::new(operator),
            slots: Arc::new(Semaphore::new(REQUESTS_MAX)),
            slow_slots: Arc::new(Semaphore::new(SLOW_MAX)),
            ended: watch::Sender::default(),
            unready: Fresh::default(),
            metrics: Fresh::default(),
            tokens,
            shown: Shown::default(),
            feed,
            repeats: Repeats::default(),
            sessions: Sessions::default(),
            recent: Recent::default(),
            is_encrypted,
        }
    }

    /// What is being answered is not waited for any more.
    pub(crate) fn end(&self) {
        self.ended.send_replace(true);
    }

    /// See [`control::perform`]. The answer is kept under the ticket, if there is one, even if nobody waits for it any more.
    pub(crate) async fn perform(
        &self,
        request: Request,
        by: Actor,
        ticket: Option<Ticket>,
    ) -> Result<Box<RawValue>, Fault> {
        let slots = match request {
            Request::Doctor(_) | Request::Explain(_) => &self.slow_slots,
            _ => &self.slots,
        };
        let slot = Arc::clone(slots).acquire_owned().await;
        let mut ended = self.ended.subscribe();
        let performed = self.operator.perform(request, by);
        let task = tokio::spawn(async move {
            let _slot = slot;
            let answer = tokio::select! {
                answer = performed => answer?,
                _ = ended.wait_for(|ended| *ended) => return Err(Fault::new("the daemon stops")),
            };
            if let Some(ticket) = ticket {
                ticket.keep(&answer);
            }
            Ok(answer)
        });
        task.await.map_err(Fault::of)?
    }

    /// The same, typed.
    pub(crate) async fn ask<A: Ask>(&self, ask: A, by: Actor) -> Result<A::Answer, Fault> {
        let answer = self.perform(ask.into(), by, None).await?;
        serde_json::from_str(answer.get()).map_err(Fault::of)
    }

    /// A message, as fast as the client takes it.
    pub(crate) async fn open(&self, cat: QueueCat, by: Actor) -> Result<Body, Fault> {
        self.operator.open(cat, by).await
    }
}

/// What is found out once a second at most, however often it is asked for.
pub(crate) struct Fresh<T>(Mutex<Option<(Instant, T)>>);

impl<T> Default for Fresh<T> {
    fn default() -> Self {
        Self(Mutex::default())
    }
}

impl<T: Clone> Fresh<T> {
    pub(crate) async fn or(&self, found: impl Future<Output = T>) -> T {
        let mut kept = self.0.lock().await;
        match &*kept {
            Some((at, value)) if at.elapsed() < FRESH => value.clone(),
            _ => kept.insert((Instant::now(), found.await)).1.clone(),
        }
    }
}

type Pending<T> = Pin<Box<dyn Future<Output = Result<T, Fault>> + Send>>;

trait Erased: Send + Sync {
    fn perform(&self, request: Request, by: Actor) -> Pending<Box<RawValue>>;
    fn open(&self, cat: QueueCat, by: Actor) -> Pending<Body>;
}

impl<O: Operator> Erased for Arc<O> {
    fn perform(&self, request: Request, by: Actor) -> Pending<Box<RawValue>> {
        let operator = Self::clone(self);
        Box::pin(async move { control::perform(&*operator, request, by).await })
    }

    fn open(&self, cat: QueueCat, by: Actor) -> Pending<Body> {
        let operator = Self::clone(self);
        Box::pin(async move {
            let message = control::open(&*operator, cat, &by).await?;
            let pieces = stream::try_unfold(message, |mut message| async move {
                let piece = message.chunk().await?;
                Ok::<_, Fault>(piece.map(|piece| (Bytes::from(piece), message)))
            });
            Ok(Body::from_stream(pieces))
        })
    }
}

/// At work at once, as many as the control socket has connections.
const REQUESTS_MAX: usize = 16;
const SLOW_MAX: usize = 4;
const FRESH: Duration = Duration::from_secs(1);
