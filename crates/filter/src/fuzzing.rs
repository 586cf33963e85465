//! An entry for the fuzz targets (`crates/fuzz-targets`); no part of the API.

use std::time::Duration;

use tokio::io::{AsyncRead, AsyncWrite};
use tokio::time::Instant;

use crate::facts::{Body, Facts};
use crate::milter;
use crate::opinion::{Failed, Opinion};

/// Asks a milter at the other end of this stream.
pub async fn ask_milter(
    stream: impl AsyncRead + AsyncWrite + Unpin + Send + 'static,
    facts: &Facts<'_>,
    body: Body,
) -> Result<Opinion, Failed> {
    let limit = Duration::from_mins(1);
    milter::talk(Box::new(stream), facts, body, limit, Instant::now() + limit).await
}
