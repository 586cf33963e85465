//! What every door does with a request: it is made safe, noted, and answered in time.

use std::future::Future;
use std::io;
use std::time::Duration;

use envelope::Actor;
use serde_json::value::RawValue;
use tokio::sync::watch;
use tokio::task::JoinSet;
use tokio::time::{sleep, timeout};

use crate::ask::{self, Explain, QueueCat, Request};
use crate::operator::{Body, Operator};
use crate::protocol::{Fault, PAGE_ROWS_MAX};
use crate::selector::Selector;

/// Takes connections until `shutdown` is done, each for a task of its own, which is told of the end; then waits a moment for those
/// at work. No task outlives it. One that was sent away is none.
pub async fn take_connections<C, A, T>(
    accept: impl Fn() -> A + Send,
    converse: impl Fn(C, watch::Receiver<()>) -> T + Send,
    shutdown: impl Future<Output = ()> + Send,
) where
    A: Future<Output = io::Result<Option<C>>> + Send,
    T: Future<Output = ()> + Send + 'static,
{
    let (running, stopping) = watch::channel(());
    let mut connections = JoinSet::new();
    tokio::pin!(shutdown);
    loop {
        let accepted = tokio::select! {
            () = &mut shutdown => break,
            accepted = accept() => accepted,
        };
        while connections.try_join_next().is_some() {}
        match accepted {
            Ok(Some(connection)) => {
                connections.spawn(converse(connection, stopping.clone()));
            }
            Ok(None) => {}
            Err(error) => {
                // Out of file descriptors, most likely: they do not come back any sooner by asking at once.
                tracing::warn!(%error, "cannot accept an operator's connection");
                sleep(ACCEPT_PAUSE).await;
            }
        }
    }
    drop(running);
    let ended = async { while connections.join_next().await.is_some() {} };
    let _ = timeout(DRAIN, ended).await;
}

/// Answers any request but one for a message, which [`open`] does; `explain` without the message that it is about.
pub async fn perform<O: Operator>(
    operator: &O,
    mut request: Request,
    by: Actor,
) -> Result<Box<RawValue>, Fault> {
    make_safe(&mut request)?;
    operator.asked(&request, &by);
    match request {
        Request::Explain(Explain { mail, .. }) => {
            let explained = in_time(operator.explain(mail, None::<&mut NoMessage>)).await;
            explained.and_then(|explanation| ask::value(&explanation))
        }
        request => in_time(ask::answer(operator, request, by)).await,
    }
}

/// Opens a message.
pub async fn open<O: Operator>(operator: &O, cat: QueueCat, by: &Actor) -> Result<O::Body, Fault> {
    let QueueCat { id, part } = cat;
    operator.asked(&Request::QueueCat(cat), by);
    in_time(operator.queue_cat(id, part)).await
}

enum NoMessage {}

impl Body for NoMessage {
    async fn chunk(&mut self) -> Result<Option<Vec<u8>>, Fault> {
        match *self {}
    }
}

fn make_safe(request: &mut Request) -> Result<(), Fault> {
    match request {
        Request::QueueAct(act) => check_selector(&act.selector, true)?,
        Request::QueueList(list) => {
            check_selector(&list.filter, false)?;
            list.limit = list.limit.clamp(1, PAGE_ROWS_MAX);
        }
        Request::DomainList(list) => list.limit = list.limit.clamp(1, PAGE_ROWS_MAX),
        Request::ForwardList(list) => list.limit = list.limit.clamp(1, PAGE_ROWS_MAX),
        Request::FreezeList(list) => list.limit = list.limit.clamp(1, PAGE_ROWS_MAX),
        Request::FreezeLift(lift) if lift.key.is_some() == lift.all => {
            return Err(nothing_selected("a key"));
        }
        _ => {}
    }
    Ok(())
}

/// A forgotten argument must not mean everything.
fn check_selector(selector: &Selector, is_action: bool) -> Result<(), Fault> {
    if is_action && selector.is_empty() {
        return Err(nothing_selected("ids or conditions"));
    }
    if selector.all && !selector.ids.is_empty() {
        return Err(
            Fault::new("`all` and ids exclude each other").with_hint("leave one of them out")
        );
    }
    Ok(())
}

fn nothing_selected(what: &str) -> Fault {
    Fault::new("nothing is selected").with_hint(format!("name {what}, or say `all`"))
}

/// A call that hangs must not keep its connection for ever.
pub(crate) async fn in_time<T>(call: impl Future<Output = Result<T, Fault>>) -> Result<T, Fault> {
    let late = || {
        Fault::new(format!(
            "no answer from the daemon's own parts within {} s",
            OPERATION.as_secs()
        ))
        .with_hint("see the daemon's log; some of what was asked for may have been done")
    };
    timeout(OPERATION, call)
        .await
        .unwrap_or_else(|_| Err(late()))
}

/// For the operator to do what was asked.
pub(crate) const OPERATION: Duration = Duration::from_secs(120);
/// For requests at work when the daemon stops.
const DRAIN: Duration = Duration::from_secs(2);
const ACCEPT_PAUSE: Duration = Duration::from_millis(200);
