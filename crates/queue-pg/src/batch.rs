//! Natural batches: while some work is under way, the next gathers, and goes as one.

use std::future::Future;
use std::sync::Arc;

use spool::Error;
use tokio::sync::{Mutex, mpsc, oneshot};
use tokio_util::sync::CancellationToken;

/// Something to be done with others of its kind, and who waits for it.
pub(crate) struct Job<I, O> {
    pub(crate) work: I,
    answer: oneshot::Sender<Result<O, Error>>,
}

/// Takes jobs.
pub(crate) struct Batcher<I, O>(mpsc::Sender<Job<I, O>>);

impl<I: Send + 'static, O: Send + 'static> Batcher<I, O> {
    /// `workers` batches at a time. `run` gives a result for each, in order.
    pub(crate) fn start<F, D>(workers: usize, stopped: &CancellationToken, run: F) -> Self
    where
        F: Fn(Vec<I>) -> D + Send + Sync + 'static,
        D: Future<Output = Vec<Result<O, Error>>> + Send,
    {
        let (sender, receiver) = mpsc::channel::<Job<I, O>>(WAITING_MAX);
        let (receiver, run) = (Arc::new(Mutex::new(receiver)), Arc::new(run));
        for _ in 0..workers {
            let (receiver, run) = (Arc::clone(&receiver), Arc::clone(&run));
            let stopped = stopped.clone();
            tokio::spawn(async move {
                loop {
                    let mut jobs = Vec::new();
                    let gather = async {
                        let mut receiver = receiver.lock().await;
                        receiver.recv_many(&mut jobs, BATCH_MAX).await
                    };
                    tokio::select! {
                        () = stopped.cancelled() => return,
                        gathered = gather => if gathered == 0 { return },
                    }
                    let (work, answers): (Vec<I>, Vec<_>) =
                        jobs.into_iter().map(|job| (job.work, job.answer)).unzip();
                    let results = run(work).await;
                    for (answer, result) in answers.into_iter().zip(results) {
                        // Who asked may have gone away.
                        let _ = answer.send(result);
                    }
                }
            });
        }
        Self(sender)
    }

    /// Does it, with whatever else waits.
    pub(crate) async fn run(&self, work: I) -> Result<O, Error> {
        let (answer, receiver) = oneshot::channel();
        let sent = self.0.send(Job { work, answer }).await;
        sent.map_err(|_| Error::Closed)?;
        receiver.await.map_err(|_| Error::Closed)?
    }
}

/// Jobs in one transaction: it stays within some megabytes.
const BATCH_MAX: usize = 200;
/// Those that wait; who comes then waits to be let in.
const WAITING_MAX: usize = 1000;
