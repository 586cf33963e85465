//! A relay's life on a spool: several workers at once that take mail in, settle legs in every way, act as the operator,
//! and write each deed into the ledger.

use std::ops::Range;
use std::sync::Arc;
use std::time::Duration;

use bytes::Bytes;
use envelope::{BodyKind, Claim, Leg, LegId, Message, MessageId, ReversePath, Timestamp};
use parking_lot::Mutex;
use queue::{LogSpool, LogWriter};
use spool::{Action, Arrival, BodyWriter, Dsn, Error, Filter, Spool, Token, Update, Want};
use testkit::nouns;

use super::ledger::{self, Begun, Ledger};
use crate::luck::Luck;
use crate::memory::Memory;

pub(crate) const START: u64 = 1_800_000_000_000;
/// A due time that no worker reaches: ballast that the compactor has to move.
const FAR: u64 = 1_000_000_000;

pub(crate) fn at(millis: u64) -> Timestamp {
    Timestamp::from_unix_millis(START + millis)
}

/// One worker. Its messages carry its number, so that each leg has one master.
pub(crate) struct Worker {
    pub(crate) life: u64,
    pub(crate) number: u64,
    pub(crate) spool: Arc<LogSpool>,
    pub(crate) memory: Memory,
    pub(crate) ledger: Arc<Mutex<Ledger>>,
    pub(crate) luck: Luck,
    pub(crate) made: u64,
}

pub(crate) fn worker_of(id: MessageId) -> u64 {
    (id.bits() >> 32 & 0xff) as u64
}

fn host(worker: u64) -> String {
    format!("h{worker}.example")
}

impl Worker {
    pub(crate) async fn run(mut self, steps: usize) {
        for _ in 0..steps {
            match self.luck.below(100) {
                0..32 => self.commit(50..3000).await,
                32..36 => self.commit(17_000..80_000).await,
                36..38 => self.abandon().await,
                38..86 => self.settle().await,
                _ => self.operate().await,
            }
        }
    }

    fn next_id(&mut self) -> MessageId {
        self.made += 1;
        let unique = u128::from(self.life << 40 | self.number << 32 | self.made);
        MessageId::new(at(0), unique)
    }

    fn message(&mut self, id: MessageId, octets: usize) -> (Message, Arc<Vec<u8>>) {
        let seed = self.luck.next() as usize >> 20 | 1;
        let body: Vec<u8> = (0..octets)
            .map(|i| (i.wrapping_mul(seed) >> 7) as u8)
            .collect();
        let message = Message {
            body: BodyKind::EightBitMime,
            ..Message::new(id, at(0), ReversePath::Null, octets as u64)
        };
        (message, Arc::new(body))
    }

    fn legs(&self, n: usize) -> Vec<Leg> {
        let leg = |i| {
            let target = format!("u{i}@{}", host(self.number));
            nouns::leg(&target)
        };
        (0..n).map(leg).collect()
    }

    async fn commit(&mut self, octets: Range<usize>) {
        let octets = octets.start + self.luck.below(octets.len());
        let id = self.next_id();
        let (message, body) = self.message(id, octets);
        let n = 1 + self.luck.below(3);
        let legs = self.legs(n);
        let mut writer = self.spool.begin(id).await.expect("room");
        for piece in body.chunks(7000) {
            writer.write(piece.to_vec()).await.expect("written");
        }
        let now = self.memory.moment();
        let begun = self.ledger.lock().commit(id, n as u32, body, None, now);
        let token = self.luck.chance(40).then(|| self.keep(&mut writer));
        let done = self
            .spool
            .commit(writer, Arrival::new(message, legs, at(0)))
            .await;
        done.expect("committed");
        if let Some(token) = token {
            self.ledger.lock().kept(&token, self.memory.moment());
        }
        self.done(begun);
    }

    /// A token goes with the message: now and then one that others have brought before, in one of two files.
    fn keep(&mut self, writer: &mut LogWriter) -> Token {
        let value = match self.luck.chance(20) {
            true => "often".to_owned(),
            false => format!("v{}", self.luck.next()),
        };
        let expires = at(10 * FAR).plus(Duration::from_secs(3600 * self.luck.below(2) as u64));
        let token = self.spool.token(&value, expires);
        writer.keep(token.clone());
        let now = self.memory.moment();
        self.ledger.lock().keep(&token, now);
        token
    }

    /// A client that goes away in the middle of a large body.
    async fn abandon(&mut self) {
        let id = self.next_id();
        let mut writer = self.spool.begin(id).await.expect("room");
        let octets = 17_000 + self.luck.below(30_000);
        writer.write(vec![7; octets]).await.expect("written");
    }

    async fn settle(&mut self) {
        let want = Want {
            max: 1 + self.luck.below(8),
            per_host: 8,
            lease: Duration::from_secs(600),
        };
        let mine = host(self.number).parse().expect("a host");
        for claim in self.spool.claim(&want).await.expect("claims") {
            match *claim.leg.target.host() == mine {
                true => self.settle_one(claim).await,
                // Another worker's, who knows its ledger, and may have removed it meanwhile.
                false => match self.spool.release(claim.lease).await {
                    Ok(()) | Err(Error::Fenced(_)) => {}
                    Err(error) => panic!("not released: {error}"),
                },
            }
        }
        if self.number == 0 {
            let lease = Duration::from_secs(600);
            let bounced = self.spool.overdue(3, lease).await;
            for overdue in bounced.expect("overdue legs") {
                self.notice(overdue.claim, true).await;
            }
        }
    }

    async fn settle_one(&mut self, claim: Claim) {
        let leg = claim.lease.leg;
        match self.luck.below(20) {
            0..11 => {
                let begun = self.begin(leg, None, false);
                let done = self.spool.complete(claim.lease, None).await;
                done.expect("completed");
                self.done(begun);
            }
            11..15 => self.defer(claim).await,
            15 | 16 => self.notice(claim, true).await,
            17 => self.notice(claim, false).await,
            18 => self.spool.release(claim.lease).await.expect("released"),
            // Its owner dies: nobody gets it in this life.
            _ => {}
        }
    }

    async fn defer(&mut self, claim: Claim) {
        let leg = claim.lease.leg;
        let attempts = claim.attempts + 1;
        let due = if self.luck.chance(4) { FAR } else { 10 };
        let to = self.moved(leg, attempts);
        let begun = self.begin(leg, to, false);
        let update = Update {
            attempts,
            last: Some(nouns::deferral("450 busy")),
            ..Update::default()
        };
        let done = self.spool.reschedule(claim.lease, at(due), update).await;
        done.expect("rescheduled");
        self.done(begun);
    }

    /// A notice in one transaction with the end of its leg, or with its leg's new state.
    async fn notice(&mut self, claim: Claim, ends: bool) {
        let leg = claim.lease.leg;
        let id = self.next_id();
        let octets = match self.luck.chance(10) {
            true => 20_000,
            false => 500,
        };
        let (message, body) = self.message(id, octets);
        let dsn = Dsn {
            arrival: Arrival::new(message, self.legs(1), at(0)),
            body: Bytes::from((*body).clone()),
        };
        let attempts = claim.attempts + 1;
        let to = self.moved(leg, attempts).filter(|_| !ends);
        let now = self.memory.moment();
        let begun = self.ledger.lock().commit(id, 1, body, Some((leg, to)), now);
        let done = match ends {
            true => self.spool.complete(claim.lease, Some(dsn)).await,
            false => {
                let update = Update {
                    attempts,
                    warned: true,
                    last: Some(nouns::deferral("450 busy")),
                    dsn: Some(dsn),
                };
                self.spool.reschedule(claim.lease, at(10), update).await
            }
        };
        done.expect("noticed");
        self.done(begun);
    }

    async fn operate(&mut self) {
        let open: Vec<_> = {
            let ledger = self.ledger.lock();
            let mine = |(id, leg): &(LegId, ledger::Leg)| {
                worker_of(id.message) == self.number && !leg.bounced
            };
            ledger.open().filter(mine).collect()
        };
        if open.is_empty() {
            return;
        }
        let (leg, state) = open[self.luck.below(open.len())];
        let (action, to) = match self.luck.below(7) {
            0..3 => (
                Action::Hold,
                Some(ledger::Leg {
                    held: true,
                    ..state
                }),
            ),
            3 | 4 => (
                Action::Release,
                Some(ledger::Leg {
                    held: false,
                    ..state
                }),
            ),
            5 => (Action::Remove, None),
            _ => {
                let bounced = ledger::Leg {
                    held: false,
                    bounced: true,
                    ..state
                };
                (Action::Bounce, Some(bounced))
            }
        };
        let begun = self.begin(leg, to, true);
        let filter = Filter::only(leg);
        let done = self.spool.admin(&filter, action, None, usize::MAX).await;
        done.expect("done as the operator said");
        self.done(begun);
    }

    fn moved(&self, leg: LegId, attempts: u32) -> Option<ledger::Leg> {
        let leg = self.ledger.lock().leg(leg)?;
        Some(ledger::Leg { attempts, ..leg })
    }

    fn begin(&self, leg: LegId, to: Option<ledger::Leg>, durable: bool) -> Begun {
        let now = self.memory.moment();
        self.ledger.lock().change(leg, to, durable, now)
    }

    fn done(&self, begun: Begun) {
        let now = self.memory.moment();
        self.ledger.lock().done(begun, now);
    }
}
