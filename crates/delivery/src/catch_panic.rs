//! Catching a panic where it happens: a bug that one message or one server brings out must not stop the others.

use std::future::poll_fn;
use std::panic::{AssertUnwindSafe, catch_unwind};
use std::pin::pin;
use std::task::Poll;

/// The work panicked; the panic's message is on standard error already.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub(crate) struct Panicked;

/// Does the work; after a panic in it, it is dropped. What it had borrowed is the caller's again, in the state of that moment:
/// the caller sees to it that this state makes sense.
pub(crate) async fn catch_panic<F: Future>(work: F) -> Result<F::Output, Panicked> {
    let mut work = pin!(work);
    poll_fn(
        move |context| match catch_unwind(AssertUnwindSafe(|| work.as_mut().poll(context))) {
            Ok(poll) => poll.map(Ok),
            Err(_) => Poll::Ready(Err(Panicked)),
        },
    )
    .await
}

#[cfg(test)]
mod tests {
    use super::*;

    #[tokio::test]
    async fn a_panic_is_a_value() {
        assert_eq!(catch_panic(async { 1 }).await, Ok(1));
        let mut seen = 0;
        let broken = async {
            seen += 1;
            tokio::task::yield_now().await;
            if seen > 0 {
                panic!("as the test wants it");
            }
        };
        assert_eq!(catch_panic(broken).await, Err(Panicked));
        assert_eq!(seen, 1);
    }
}
