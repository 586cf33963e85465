//! Connections that are opened, say EHLO, and then say nothing: what an idle client costs a server.

use std::io;
use std::net::{SocketAddr, TcpStream};
use std::sync::Arc;
use std::time::Duration;

use tokio::io::AsyncWriteExt as _;
use tokio::sync::Semaphore;
use tokio::task::JoinSet;

use super::client;
use super::replies::Replies;
use crate::descriptors;

/// Open connections; dropped, it closes them. It has no thread and costs nothing.
#[derive(Debug)]
pub(crate) struct Idle {
    connections: Vec<TcpStream>,
    first_error: Option<String>,
}

impl Idle {
    /// Opens up to `count` connections from `sources` addresses (0: the system's choice), for at most `limit`.
    ///
    /// # Errors
    /// When the system gives no runtime. Connections that fail are no error: see [`Idle::connections`] and [`Idle::first_error`].
    pub(crate) fn open(
        to: SocketAddr,
        count: usize,
        sources: u16,
        limit: Duration,
    ) -> io::Result<Self> {
        descriptors::raise_limit();
        let runtime = tokio::runtime::Builder::new_current_thread()
            .enable_all()
            .build()?;
        let mut idle = Self {
            connections: Vec::with_capacity(count),
            first_error: None,
        };
        let opening = idle.open_all(to, count, sources);
        let in_time = runtime.block_on(async { tokio::time::timeout(limit, opening).await });
        if in_time.is_err() {
            let late = || "not all connections were open in time".to_owned();
            idle.first_error.get_or_insert_with(late);
        }
        Ok(idle)
    }

    /// How many were opened, and greeted.
    pub(crate) fn connections(&self) -> usize {
        self.connections.len()
    }

    /// How many the server has neither closed nor said anything on.
    pub(crate) fn still_open(&self) -> usize {
        let is_open = |stream: &&TcpStream| {
            let peeked = stream.peek(&mut [0]);
            peeked.is_err_and(|error| error.kind() == io::ErrorKind::WouldBlock)
        };
        self.connections.iter().filter(is_open).count()
    }

    /// Why not all were opened.
    pub(crate) fn first_error(&self) -> Option<&str> {
        self.first_error.as_deref()
    }

    async fn open_all(&mut self, to: SocketAddr, count: usize, sources: u16) {
        let at_once = Arc::new(Semaphore::new(AT_ONCE));
        let mut opening = JoinSet::new();
        for number in 0..count {
            let at_once = Arc::clone(&at_once);
            opening.spawn(async move {
                let _permit = at_once.acquire().await;
                greet(to, sources, number).await
            });
        }
        while let Some(ended) = opening.join_next().await {
            match ended.map_err(io::Error::other).flatten() {
                Ok(stream) => self.connections.push(stream),
                Err(error) => {
                    self.first_error.get_or_insert_with(|| error.to_string());
                }
            }
        }
    }
}

/// A connection that has said EHLO.
async fn greet(to: SocketAddr, sources: u16, number: usize) -> io::Result<TcpStream> {
    let mut stream = client::connect(to, sources, number).await?;
    let mut replies = Replies::default();
    for (command, expected) in [("", 220), ("EHLO load.example\r\n", 250)] {
        stream.write_all(command.as_bytes()).await?;
        if replies.next(&mut stream).await? != expected {
            return Err(io::Error::other(replies.text()));
        }
    }
    stream.into_std()
}

/// More at the same time would fill the server's backlog.
const AT_ONCE: usize = 100;
