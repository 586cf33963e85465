//! Hints between nodes that the queue has changed, or the board, by LISTEN and NOTIFY. One that is lost costs a few seconds: each heartbeat looks
//! at the whole.
//!
//! A NOTIFY is never part of a commit: the database lets one transaction at a time have one.

use std::future::poll_fn;
use std::sync::Arc;
use std::time::Duration;

use spool::Error;
use tokio_postgres::AsyncMessage;
use tokio_util::sync::CancellationToken;

use crate::connect::{timed, trouble};
use crate::engine::Shared;

/// Tells the others, now and then, while there is something to tell.
pub(crate) async fn tell(shared: Arc<Shared>, stopped: CancellationToken) {
    loop {
        tokio::select! {
            () = stopped.cancelled() => return,
            () = shared.told.notified() => {}
        }
        if let Err(error) = shared.database.ask(TELL, &[&shared.node]).await {
            tracing::debug!(%error, "cannot tell the other nodes of a change");
        }
        tokio::time::sleep(TELL_EVERY).await;
    }
}

/// Has this node look when another one tells it to.
pub(crate) async fn listen(shared: Arc<Shared>, stopped: CancellationToken) {
    while !stopped.is_cancelled() {
        tokio::select! {
            () = stopped.cancelled() => return,
            heard = hear(&shared) => if let Err(error) = heard {
                tracing::debug!(%error, "cannot listen to the other nodes");
            }
        }
        tokio::time::sleep(LISTEN_AGAIN).await;
    }
}

async fn hear(shared: &Shared) -> Result<(), Error> {
    let connect = async { shared.database.hosts.connect().await.map_err(trouble) };
    let (client, mut connection) = timed(connect).await?;
    let messages = async {
        while let Some(message) = poll_fn(|context| connection.poll_message(context)).await {
            if let AsyncMessage::Notification(notification) = message.map_err(trouble)?
                && notification.payload() != shared.node
            {
                match notification.channel() {
                    "onward_board" => {
                        shared.heard.send_replace(());
                    }
                    _ if notification.payload().is_empty() => shared.beat_asked.notify_one(),
                    _ => shared.look_asked.notify_one(),
                }
            }
        }
        Ok(())
    };
    let listen = async {
        // Again and again: a host that stands still keeps its connections open, and says nothing.
        loop {
            let listen = client.batch_execute("LISTEN onward; LISTEN onward_board");
            timed(async { listen.await.map_err(trouble) }).await?;
            tokio::time::sleep(shared.pace.beat * LISTEN_EVERY).await;
        }
    };
    tokio::select! {
        ended = messages => ended,
        failed = listen => failed,
    }
}

/// To all who listen; by whom: nobody, if it is an order to a node.
pub(crate) const TELL: &str = "SELECT pg_notify('onward', $1)";
/// Of something on the board.
pub(crate) const TELL_BOARD: &str = "SELECT pg_notify('onward_board', $1)";
const TELL_EVERY: Duration = Duration::from_millis(500);
/// Heartbeats between two looks whether anybody is there to be heard.
const LISTEN_EVERY: u32 = 5;
const LISTEN_AGAIN: Duration = Duration::from_secs(2);
