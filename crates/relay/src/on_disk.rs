//! Work that waits for the disk, away from the threads that carry the mail.

use std::io;

use tokio::task::spawn_blocking;

/// Does it there; a panic is an error like any other.
pub(crate) async fn on_disk<T: Send + 'static>(
    work: impl FnOnce() -> io::Result<T> + Send + 'static,
) -> io::Result<T> {
    spawn_blocking(work).await.map_err(io::Error::other)?
}
