//! The campaign's destinations: a sink for all domains that answers as each mailbox is set to behave.
//!
//! It keeps no mail: each message is compared with the ledger when it comes, booked, and dropped; a thousand runs
//! would not fit into memory. It knows a message by its reverse path, `m17@sender.test` within the SRS address, and so
//! recognises one whose bytes were damaged.

use std::collections::HashSet;
use std::sync::atomic::{AtomicUsize, Ordering};
use std::sync::{Arc, Mutex, PoisonError};
use std::time::{Duration, Instant};

use tokio::net::TcpListener;

use super::dsn;
use super::ledger::{Copy, Ledger};
use super::world::{Behaviour, Place, World};
use crate::sink::Received;
use crate::sink::script::Action;
use crate::sink::session::{self, Asked, Host, path_and_parameters};

/// What all connections to all addresses share.
pub(super) struct Shared {
    pub(super) world: World,
    pub(super) ledger: Ledger,
    /// Which mailboxes deferred which message already.
    late: Mutex<HashSet<(u64, Place)>>,
    connections: AtomicUsize,
}

impl Shared {
    pub(super) fn new(online: bool) -> Arc<Self> {
        Arc::new(Self {
            world: World::new(online),
            ledger: Ledger::default(),
            late: Mutex::default(),
            connections: AtomicUsize::new(0),
        })
    }

    /// Forgets all mail so far.
    pub(super) fn forget(&self) {
        let mut books = self.ledger.books();
        books.messages.clear();
        books.kills.clear();
        books.findings.clear();
        books.open = 0;
        self.late
            .lock()
            .unwrap_or_else(PoisonError::into_inner)
            .clear();
    }
}

/// Serves mail until the task is aborted. A flaky host turns away one connection in [`FLAKY_EVERY`].
pub(super) async fn listen(listener: TcpListener, shared: Arc<Shared>, is_flaky: bool) {
    let guest = move || Guest {
        run: shared.ledger.books().run,
        number: shared.connections.fetch_add(1, Ordering::Relaxed),
        shared: Arc::clone(&shared),
        is_flaky,
    };
    session::listen(listener, guest).await;
}

/// A connection.
struct Guest {
    shared: Arc<Shared>,
    run: u32,
    number: usize,
    is_flaky: bool,
}

impl Host for Guest {
    fn connection(&self) -> usize {
        self.number + 1
    }

    fn offer(&self) -> Vec<String> {
        let dsn = self.number.is_multiple_of(2).then_some("DSN");
        let offer = ["PIPELINING", "8BITMIME"].into_iter().chain(dsn);
        offer.map(str::to_owned).collect()
    }

    async fn answer(&self, asked: Asked<'_>) -> Vec<Action> {
        let reply = match (asked.phase, asked.message) {
            ("greeting", _) => {
                let is_away = self.is_flaky && self.number.is_multiple_of(FLAKY_EVERY);
                is_away.then_some("421 4.3.2 not now")
            }
            ("rcpt", Some(message)) => self.recipient(message, asked.line),
            ("dot", Some(message)) => self.end(message).await,
            _ => None,
        };
        let actions = reply.map(|reply| Action::Reply(vec![reply.to_owned()]));
        actions.into_iter().collect()
    }
}

impl Guest {
    fn recipient(&self, message: &Received, line: &str) -> Option<&'static str> {
        let (address, _) = path_and_parameters(line);
        let Some((place, behaviour)) = self.shared.world.mailbox(&address) else {
            // Only DSNs go to senders; anything else shows as a copy at no place.
            let is_report = sender_of(&message.from).is_none() && sender_of(&address).is_some();
            return (!is_report).then_some("550 5.1.1 nobody");
        };
        match behaviour {
            Behaviour::RejectsAtRcpt => Some("550 5.1.1 no such user"),
            Behaviour::DefersAtRcpt => {
                let is_first = is_first_try(
                    &self.shared,
                    sender_of(&message.from),
                    &[(place, behaviour)],
                );
                is_first.then_some("450 4.2.1 not yet")
            }
            _ => None,
        }
    }

    /// The end of the data. What is answered 250 is in the books before.
    async fn end(&self, message: &Received) -> Option<&'static str> {
        let to = message.to();
        let world = &self.shared.world;
        let mailboxes: Vec<_> = to.iter().filter_map(|to| world.mailbox(to)).collect();
        let any = |behaviour| mailboxes.iter().any(|&(_, its)| its == behaviour);
        let id = sender_of(&message.from);
        if any(Behaviour::RejectsAtDot) {
            return Some("554 5.6.0 not wanted");
        }
        if any(Behaviour::DefersAtDot) && is_first_try(&self.shared, id, &mailboxes) {
            return Some("451 4.3.0 not yet");
        }
        if any(Behaviour::Slow) {
            tokio::time::sleep(SLOW).await;
        }
        let reported = to.iter().find_map(|to| sender_of(to));
        match (id, reported) {
            (Some(id), _) => self.copies(id, &mailboxes, message),
            (None, Some(id)) => self.report(id, message),
            (None, None) => self.note(format!("mail from <> or a stranger to {to:?}")),
        }
        None
    }

    fn copies(&self, id: u64, mailboxes: &[(Place, Behaviour)], message: &Received) {
        let trace = match self.shared.ledger.trace_above(id, &message.data) {
            Ok(trace) => trace,
            Err(what) => return self.note(format!("{DAMAGED} m{id}: {what}")),
        };
        let origin = dsn::relay_id(trace).unwrap_or_default();
        let at = Instant::now();
        let copies = mailboxes.iter().map(|&(place, _)| Copy {
            place,
            origin: origin.clone(),
            name: origin.clone(),
            run: self.run,
            by: message.hello.clone(),
            at,
        });
        self.shared.ledger.arrived(id, copies);
    }

    fn report(&self, id: u64, message: &Received) {
        let Some(report) = dsn::read(&message.text()) else {
            return self.note(format!("a DSN to m{id} that cannot be read"));
        };
        let at = Instant::now();
        let mut copies = Vec::new();
        for recipient in report.failed {
            match self.shared.world.report(&recipient) {
                Some(place) => copies.push(Copy {
                    place,
                    origin: report.origin.clone(),
                    name: report.name.clone(),
                    run: self.run,
                    by: message.hello.clone(),
                    at,
                }),
                None => self.note(format!("m{id}: a DSN about {recipient}, which works")),
            }
        }
        self.shared.ledger.arrived(id, copies);
    }

    fn note(&self, finding: String) {
        self.shared.ledger.books().note(finding);
    }
}

/// True when one of these mailboxes sees the message for the first time.
fn is_first_try(shared: &Shared, id: Option<u64>, mailboxes: &[(Place, Behaviour)]) -> bool {
    let mut late = shared.late.lock().unwrap_or_else(PoisonError::into_inner);
    let id = id.unwrap_or(u64::MAX);
    let fresh = mailboxes
        .iter()
        .filter(|&&(place, _)| late.insert((id, place)));
    fresh.count() > 0
}

/// 17 of `m17@sender.test`, plain or at the end of an SRS0 address.
fn sender_of(address: &str) -> Option<u64> {
    let (local, _) = address.rsplit_once('@')?;
    let original = local.rsplit('=').next()?;
    original.strip_prefix('m')?.parse().ok()
}

/// How findings about changed bytes begin.
pub(super) const DAMAGED: &str = "damaged:";
/// A flaky host turns away one connection in this many.
const FLAKY_EVERY: usize = 4;
/// How long a slow host takes to answer the data: long enough that a kill often falls in between.
const SLOW: Duration = Duration::from_millis(30);

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn senders_are_known_by_their_srs_address() {
        assert_eq!(sender_of("SRS0=HaSh=TT=sender.test=m17@fwd.test"), Some(17));
        assert_eq!(sender_of("m17@sender.test"), Some(17));
        assert_eq!(sender_of("box@fine0-0.test"), None);
    }
}
