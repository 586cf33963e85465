//! clamd's `INSTREAM` (clamd(8)): is there a virus in it?

use std::future::pending;
use std::io;

use futures_util::TryStreamExt;
use tokio::io::{AsyncReadExt, AsyncWrite, AsyncWriteExt};

use crate::address::Address;
use crate::clean;
use crate::facts::Body;
use crate::opinion::{Failed, Opinion, Verdict};

pub(crate) async fn ask(address: &Address, body: Body) -> Result<Opinion, Failed> {
    let (read, mut write) = tokio::io::split(address.connect().await?);
    let mut answer = Vec::new();
    let mut read = read.take(ANSWER_OCTETS_MAX);
    // It answers before the end when it has seen enough, and closes: then our writing fails, and its answer counts.
    tokio::select! {
        read = read.read_to_end(&mut answer) => drop(read),
        failed = send(&mut write, body) => return Err(failed),
    }
    judge(&String::from_utf8_lossy(&answer))
}

/// Each chunk behind its length, and at the end one of no octets. Returns only when the message cannot be read.
async fn send(write: &mut (impl AsyncWrite + Unpin), mut body: Body) -> Failed {
    let mut is_open = write.write_all(b"zINSTREAM\0").await.is_ok();
    loop {
        let chunk = match body.try_next().await {
            Ok(chunk) if is_open => chunk.unwrap_or_default(),
            Ok(_) => pending().await,
            Err(error) => return Failed(format!("the message cannot be read: {error}")),
        };
        is_open = put(write, &chunk).await.is_ok() && !chunk.is_empty();
    }
}

async fn put(write: &mut (impl AsyncWrite + Unpin), chunk: &[u8]) -> io::Result<()> {
    // Chunks of the queue have about 1 MiB.
    write.write_all(&(chunk.len() as u32).to_be_bytes()).await?;
    write.write_all(chunk).await?;
    write.flush().await
}

/// `stream: OK`, `stream: NAME FOUND`, `… ERROR`.
fn judge(answer: &str) -> Result<Opinion, Failed> {
    let answer = answer.trim_end_matches(['\0', '\n']);
    if answer == "INSTREAM size limit exceeded. ERROR" {
        return Ok(Opinion::none(
            "not looked at: larger than its StreamMaxLength".to_owned(),
        ));
    }
    match answer.strip_prefix("stream: ") {
        Some("OK") => Ok(Opinion::of(Verdict::Accept)),
        Some(found) if found.ends_with(" FOUND") => {
            let name = clean::text(found.trim_end_matches(" FOUND"));
            let words = format!("message refused: it holds a virus ({name})");
            Ok(Opinion {
                symbols: name,
                ..Opinion::of(Verdict::reject(&words))
            })
        }
        _ if answer.is_empty() => Err(Failed("closed without an answer".to_owned())),
        _ => Err(Failed(format!("answers `{}`", clean::text(answer)))),
    }
}

/// An answer is one short line; one that is cut is no answer.
const ANSWER_OCTETS_MAX: u64 = 4096;
