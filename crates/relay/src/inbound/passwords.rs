//! Passwords compared with hashes, off the async threads and few at a time: a flood of guesses neither stops mail nor keeps
//! honest users out.
//!
//! * Right passwords are remembered for some minutes, as a keyed digest together with the user and the hash: whoever polls pays once,
//!   and nobody whose line in the file changes is remembered.
//! * All others wait in a bounded queue; beyond it a password cannot be checked now. A user who comes from where they logged in
//!   before waits before all strangers. What is known of them is lost with the process.

use std::collections::VecDeque;
use std::net::IpAddr;
use std::panic::{AssertUnwindSafe, catch_unwind};
use std::sync::Arc;
use std::thread;
use std::time::Duration;

use aws_lc_rs::hmac::{HMAC_SHA256, Key, sign};
use moka::sync::Cache;
use parking_lot::Mutex;
use policy::Name;
use tokio::sync::oneshot;
use tokio::task::spawn_blocking;
use zeroize::Zeroizing;

use crate::users::Hash;

/// What compares, and what it remembers.
pub(super) struct Passwords {
    key: Key,
    /// Digests.
    right: Cache<Box<[u8]>, ()>,
    /// Users, and networks that they logged in from.
    known: Cache<(Name, IpAddr), ()>,
    queue: Arc<Queue>,
}

struct Queue {
    waiting: Mutex<Waiting>,
    at_once_max: usize,
    verify: Verify,
}

#[derive(Default)]
struct Waiting {
    known: VecDeque<Attempt>,
    strangers: VecDeque<Attempt>,
    /// Threads at work.
    running: usize,
}

struct Attempt {
    hash: Hash,
    password: Zeroizing<Box<[u8]>>,
    reply: oneshot::Sender<bool>,
}

/// Tests have another, which takes as long as they like.
type Verify = Box<dyn Fn(&Hash, &[u8]) -> bool + Send + Sync>;

impl Passwords {
    /// Half of the cores: mail goes on beside it.
    pub(super) fn new() -> Self {
        let cores = thread::available_parallelism().map_or(1, usize::from);
        Self::with(cores.div_ceil(2), Box::new(Hash::verify))
    }

    fn with(at_once_max: usize, verify: Verify) -> Self {
        let mut key = [0; 32];
        rand::fill(&mut key);
        Self {
            key: Key::new(HMAC_SHA256, &key),
            right: Cache::builder()
                .max_capacity(REMEMBERED_MAX)
                .time_to_live(RIGHT_FOR)
                .build(),
            known: Cache::builder()
                .max_capacity(REMEMBERED_MAX)
                .time_to_live(KNOWN_FOR)
                .build(),
            queue: Arc::new(Queue {
                waiting: Mutex::default(),
                at_once_max,
                verify,
            }),
        }
    }

    /// Whether this is the user's password; `None`: too many wait already.
    pub(super) async fn check(
        &self,
        (user, network): (&Name, Option<IpAddr>),
        hash: &Hash,
        password: &[u8],
    ) -> Option<bool> {
        let digest = self.digest(user, hash, password);
        if self.right.contains_key(&digest) {
            return Some(true);
        }
        let from = network.map(|network| (Name::clone(user), network));
        let is_known = from
            .as_ref()
            .is_some_and(|from| self.known.contains_key(from));
        let (reply, answer) = oneshot::channel();
        let attempt = Attempt {
            hash: hash.clone(),
            password: Zeroizing::new(password.into()),
            reply,
        };
        self.queue.push(attempt, is_known)?;
        let is_right = answer.await.ok()?;
        if is_right {
            self.right.insert(digest, ());
            if let Some(from) = from {
                self.known.insert(from, ());
            }
        }
        Some(is_right)
    }

    fn digest(&self, user: &Name, hash: &Hash, password: &[u8]) -> Box<[u8]> {
        // Neither a name nor a hash has this octet.
        let text = [
            user.as_bytes(),
            b"\0",
            hash.as_str().as_bytes(),
            b"\0",
            password,
        ]
        .concat();
        sign(&self.key, &Zeroizing::new(text)).as_ref().into()
    }
}

impl Queue {
    /// Puts one into its lane, and a thread to work if one more may be; `None`: the lane is full.
    fn push(self: &Arc<Self>, attempt: Attempt, is_known: bool) -> Option<()> {
        let mut waiting = self.waiting.lock();
        let lane = match is_known {
            true => &mut waiting.known,
            false => &mut waiting.strangers,
        };
        if lane.len() >= WAITING_MAX {
            // Clients that are gone make room.
            lane.retain(|attempt| !attempt.reply.is_closed());
        }
        if lane.len() >= WAITING_MAX {
            return None;
        }
        lane.push_back(attempt);
        if waiting.running < self.at_once_max {
            waiting.running += 1;
            let queue = Arc::clone(self);
            spawn_blocking(move || queue.work());
        }
        Some(())
    }

    /// Until nobody waits.
    fn work(&self) {
        while let Some(attempt) = self.next() {
            if attempt.reply.is_closed() {
                continue;
            }
            let verify = || (self.verify)(&attempt.hash, &attempt.password);
            // After a panic the reply is dropped: the password could not be checked.
            if let Ok(is_right) = catch_unwind(AssertUnwindSafe(verify)) {
                let _ = attempt.reply.send(is_right);
            }
        }
    }

    /// Nobody comes in between the look and the end of the thread: both are under one lock.
    fn next(&self) -> Option<Attempt> {
        let mut waiting = self.waiting.lock();
        let next = waiting.known.pop_front();
        let next = next.or_else(|| waiting.strangers.pop_front());
        waiting.running -= usize::from(next.is_none());
        next
    }
}

/// So that a mail program that polls costs nothing; a password that was changed elsewhere is gone soon.
const RIGHT_FOR: Duration = Duration::from_secs(5 * 60);
const KNOWN_FOR: Duration = Duration::from_secs(30 * 24 * 3600);
/// At some 100 octets each: 10 MB.
const REMEMBERED_MAX: u64 = 100_000;
/// In each lane. With hashes of 100 ms the last of them waits 10 s, which mail programs do.
const WAITING_MAX: usize = 100;

#[cfg(test)]
mod tests {
    use parking_lot::Condvar;

    use super::*;

    /// Compares as soon as the test lets it; every password but `wrong` is right.
    #[derive(Default)]
    struct Gate {
        open: Mutex<usize>,
        opened: Condvar,
    }

    impl Gate {
        fn passwords() -> (Arc<Self>, Passwords) {
            let gate = Arc::new(Self::default());
            let waits = Arc::clone(&gate);
            let verify = move |_: &Hash, password: &[u8]| {
                assert_ne!(password, b"panic");
                let mut open = waits.open.lock();
                waits.opened.wait_while(&mut open, |open| *open == 0);
                *open -= 1;
                password != b"wrong"
            };
            (gate, Passwords::with(1, Box::new(verify)))
        }

        fn let_pass(&self, attempts: usize) {
            *self.open.lock() += attempts;
            self.opened.notify_all();
        }
    }

    fn hash(salt: &str) -> Hash {
        Hash::parse(&format!("$6${salt}${}", "x".repeat(86))).unwrap()
    }

    fn network(number: usize) -> Option<IpAddr> {
        Some(IpAddr::from([10, 0, (number >> 8) as u8, number as u8]))
    }

    #[tokio::test]
    async fn a_flood_of_guesses_keeps_no_honest_user_out() {
        let (gate, passwords) = Gate::passwords();
        let passwords = Arc::new(passwords);
        let (ann, hash) = (Name::from("ann"), hash("a"));
        let home = network(0);
        gate.let_pass(1);
        assert_eq!(
            passwords.check((&ann, home), &hash, b"right").await,
            Some(true)
        );
        // One guess is compared, as many as may wait, and the rest are told at once.
        let mut guesses = Vec::new();
        for number in 1..=10_000 {
            let (passwords, hash) = (Arc::clone(&passwords), hash.clone());
            let guess = async move {
                let user = Name::from(format!("user{number}"));
                passwords
                    .check((&user, network(number)), &hash, b"wrong")
                    .await
            };
            guesses.push(tokio::spawn(guess));
        }
        let refused = || guesses.iter().filter(|guess| guess.is_finished()).count();
        while refused() < 10_000 - WAITING_MAX - 1 {
            tokio::task::yield_now().await;
        }
        // Who was right a moment ago is remembered, from anywhere.
        assert_eq!(
            passwords.check((&ann, network(7)), &hash, b"right").await,
            Some(true)
        );
        // Later the digest is gone, but it is known where ann comes from: she is next.
        passwords.right.invalidate_all();
        let known = passwords.check((&ann, home), &hash, b"right");
        let mut known = Box::pin(known);
        tokio::select! {
            biased;
            _ = &mut known => panic!("not compared yet"),
            () = std::future::ready(()) => {}
        }
        gate.let_pass(2);
        assert_eq!(known.await, Some(true));
        assert!(refused() <= 10_000 - WAITING_MAX);
        gate.let_pass(10_000);
        for guess in guesses {
            assert_ne!(guess.await.unwrap(), Some(true));
        }
        while passwords.queue.waiting.lock().running > 0 {
            tokio::task::yield_now().await;
        }
    }

    #[tokio::test]
    async fn what_is_remembered_is_user_hash_and_password() {
        let (gate, passwords) = Gate::passwords();
        let (ann, bob) = (Name::from("ann"), Name::from("bob"));
        gate.let_pass(1);
        let passwords = &passwords;
        let check = async |user: &Name, hash: Hash, password: &[u8]| {
            passwords.check((user, None), &hash, password).await
        };
        assert_eq!(check(&ann, hash("a"), b"right").await, Some(true));
        assert_eq!(check(&ann, hash("a"), b"right").await, Some(true));
        assert_eq!(*gate.open.lock(), 0);
        // Each of these is compared.
        gate.let_pass(4);
        assert_eq!(check(&ann, hash("changed"), b"wrong").await, Some(false));
        assert_eq!(check(&ann, hash("changed"), b"right").await, Some(true));
        assert_eq!(check(&bob, hash("a"), b"right").await, Some(true));
        assert_eq!(check(&ann, hash("a"), b"wrong").await, Some(false));
        assert_eq!(*gate.open.lock(), 0);
    }

    #[tokio::test]
    async fn a_panic_is_no_refusal_and_takes_no_thread() {
        let (gate, passwords) = Gate::passwords();
        let ann = Name::from("ann");
        assert_eq!(
            passwords.check((&ann, None), &hash("a"), b"panic").await,
            None
        );
        gate.let_pass(1);
        assert_eq!(
            passwords.check((&ann, None), &hash("a"), b"right").await,
            Some(true)
        );
    }
}
