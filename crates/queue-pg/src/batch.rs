//! Natural batches: while some work is under way, the next gathers, and goes as one.
//!
//! It is asked for again for as long as the database is away. What that does not take keeps nothing else out: it is tried by itself;
//! and what takes too long together is tried in parts.

use std::collections::VecDeque;
use std::future::Future;
use std::sync::Arc;
use std::time::Duration;

use spool::Error;
use tokio::sync::{Mutex, mpsc, oneshot};
use tokio::time::Instant;
use tokio_util::sync::CancellationToken;

use crate::connect::{AGAIN_AFTER, is_passing};
use crate::settings::WORK_MAX;

/// Something to be done with others of its kind, by means of `S`. It may be done twice.
pub(crate) trait Job<S>: Send + Sync + Sized + 'static {
    type Done: Send + 'static;
    /// For how long it is asked for again.
    const PATIENCE: Duration;

    /// Octets to send, more or less.
    fn weight(&self) -> usize;

    /// Does some in one transaction; what became of each, in order.
    fn attempt(
        by: &S,
        batch: &[&Self],
    ) -> impl Future<Output = Result<Vec<Result<Self::Done, Error>>, Error>> + Send;
}

/// A job, and who waits for it.
type Waiting<I, O> = (I, oneshot::Sender<Result<O, Error>>);

/// Takes jobs.
pub(crate) struct Batcher<I, O>(mpsc::Sender<Waiting<I, O>>);

impl<I, O: Send + 'static> Batcher<I, O> {
    pub(crate) fn start<S>(by: &Arc<S>, stopped: &CancellationToken) -> Self
    where
        S: Send + Sync + 'static,
        I: Job<S, Done = O>,
    {
        let (sender, receiver) = mpsc::channel::<Waiting<I, O>>(WAITING_MAX);
        let receiver = Arc::new(Mutex::new(receiver));
        for _ in 0..WORKERS {
            let (receiver, by, stopped) = (Arc::clone(&receiver), Arc::clone(by), stopped.clone());
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
                    work(&*by, jobs).await;
                }
            });
        }
        Self(sender)
    }

    /// Does it, with whatever else waits.
    pub(crate) async fn run(&self, work: I) -> Result<O, Error> {
        let (answer, receiver) = oneshot::channel();
        let sent = self.0.send((work, answer)).await;
        sent.map_err(|_| Error::Closed)?;
        receiver.await.map_err(|_| Error::Closed)?
    }
}

/// Does all of these, part by part. A part that fails comes again after the others.
async fn work<S: Sync, I: Job<S>>(by: &S, jobs: Vec<Waiting<I, I::Done>>) {
    let began = Instant::now();
    let mut parts = VecDeque::from([(jobs, WEIGHT_MAX)]);
    while let Some((mut jobs, most)) = parts.pop_front() {
        let mut weight = 0;
        let fits = |(job, _): &&Waiting<I, _>| {
            weight += job.weight();
            weight <= most
        };
        let fitting = jobs.iter().take_while(fits).count().max(1);
        let rest = jobs.split_off(fitting);
        if !rest.is_empty() {
            parts.push_front((rest, most));
        }
        let batch: Vec<&I> = jobs.iter().map(|(job, _)| job).collect();
        let weight: usize = batch.iter().map(|job| job.weight()).sum();
        let tried = Instant::now();
        match I::attempt(by, &batch).await {
            Ok(results) => {
                for (job, result) in jobs.into_iter().zip(results) {
                    match result {
                        // An attempt that was given up may have been at it just then: it is done now, or never.
                        Err(error) if is_passing(&error) && most > ALONE => {
                            parts.push_back((vec![job], ALONE));
                        }
                        result => answer(job, result),
                    }
                }
            }
            Err(error) if !is_passing(&error) && batch.len() > 1 => parts.push_back((jobs, ALONE)),
            Err(error) if is_passing(&error) && began.elapsed() < I::PATIENCE => {
                tracing::debug!(%error, "the shared spool: trying again");
                let was_long = tried.elapsed() >= WORK_MAX;
                parts.push_back((jobs, if was_long { weight / 2 } else { most }));
                tokio::time::sleep(AGAIN_AFTER).await;
            }
            Err(error) => {
                if is_passing(&error) {
                    // The database is away: so for all of them.
                    jobs.extend(parts.drain(..).flat_map(|(jobs, _)| jobs));
                }
                for job in jobs {
                    answer(job, Err(error.clone()));
                }
            }
        }
    }
}

fn answer<I, O>((_, answer): Waiting<I, O>, result: Result<O, Error>) {
    // Who asked may have gone away.
    let _ = answer.send(result);
}

/// While one waits for its fsync and its standby, another is under way.
const WORKERS: usize = 3;
/// Jobs in one transaction: it stays within some megabytes.
const BATCH_MAX: usize = 200;
/// Those that wait; who comes then waits to be let in.
const WAITING_MAX: usize = 1000;
/// Octets in one transaction: it takes its time on a slow link.
const WEIGHT_MAX: usize = 4 << 20;
/// One at a time.
const ALONE: usize = 0;

#[cfg(test)]
mod tests {
    use super::*;

    /// Takes as many seconds as it weighs, or is refused.
    #[derive(Debug)]
    struct Weighs(usize, bool);

    /// The batches that were tried.
    type Tried = Mutex<Vec<Vec<usize>>>;

    impl Job<Tried> for Weighs {
        type Done = Duration;
        const PATIENCE: Duration = Duration::from_secs(45);

        fn weight(&self) -> usize {
            self.0
        }

        async fn attempt(
            by: &Tried,
            batch: &[&Self],
        ) -> Result<Vec<Result<Duration, Error>>, Error> {
            let weights: Vec<usize> = batch.iter().map(|it| it.0).collect();
            let takes = Duration::from_secs(weights.iter().sum::<usize>() as u64);
            by.lock().await.push(weights);
            tokio::time::sleep(takes.min(WORK_MAX)).await;
            match () {
                () if takes > WORK_MAX => Err(Error::Unknown("late".to_owned())),
                () if batch.iter().any(|it| it.1) => Err(Error::Refused("no".to_owned())),
                () => Ok(batch.iter().map(|_| Ok(takes)).collect()),
            }
        }
    }

    async fn check(jobs: &[(usize, bool)], done: &[bool], tried: &[&[usize]]) {
        let by = Tried::default();
        let (jobs, answers): (Vec<_>, Vec<_>) = jobs
            .iter()
            .map(|(weight, refused)| {
                let (sender, receiver) = oneshot::channel();
                ((Weighs(*weight, *refused), sender), receiver)
            })
            .unzip();
        work(&by, jobs).await;
        for (answer, done) in answers.into_iter().zip(done) {
            assert_eq!(answer.await.unwrap().is_ok(), *done);
        }
        assert_eq!(*by.lock().await, tried);
    }

    #[tokio::test(start_paused = true)]
    async fn what_is_too_much_keeps_nobody_out() {
        check(&[(1, false), (2, false)], &[true, true], &[&[1, 2]]).await;
        let (is_done, small) = ([true, false, true], (1, false));
        let refused = [small, (1, true), small];
        check(&refused, &is_done, &[&[1, 1, 1], &[1], &[1], &[1]]).await;
        let huge = [small, (20, false), small];
        let tried: [&[usize]; 7] = [&[1, 20, 1], &[1], &[20], &[1], &[20], &[20], &[20]];
        check(&huge, &is_done, &tried).await;
        let many = [(4, false); 4];
        check(&many, &[true; 4], &[&[4; 4], &[4; 2], &[4; 2]]).await;
    }
}
