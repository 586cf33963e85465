//! What the books prove: nothing acknowledged is missing, nothing is damaged, and each duplicate has its window.
//!
//! The windows are those of the table in `spool/README.md`. A duplicate that fits none is a finding, like a loss.

use std::collections::{BTreeMap, BTreeSet};
use std::time::Duration;

use super::ledger::{Books, Copy, Entry};
use super::sink::DAMAGED;
use super::world::{Place, World};

/// What came of a number of runs. Everything counts once for each place: a mailbox, or a DSN about an address.
#[derive(Debug, Clone, Default, PartialEq, Eq)]
pub struct Account {
    /// Messages that clients began to offer.
    pub messages: usize,
    /// Messages that a client heard 250 for.
    pub acknowledged: usize,
    /// Offers that ended whole but without a 250 heard; the client offered the message again.
    pub unheard: usize,
    /// Offers that broke off before their end.
    pub cut: usize,
    /// Half-written batches that the relay cut off the log when it started again.
    pub tails: usize,
    /// Mailboxes reached.
    pub delivered: usize,
    /// DSNs that reached their sender.
    pub bounced: usize,
    /// Duplicates since a client heard no 250 and offered the message again (crash table, rows 2, 3 and 5).
    pub duplicates_unheard: usize,
    /// Duplicates since the next hop had said 250 and the relay was killed before it had read that (row 6).
    pub duplicates_unread: usize,
    /// Duplicates although the relay had logged the delivery: it had not yet noted the end (row 6), or lost the note.
    pub duplicates_end: usize,
    /// Second DSNs about an address that an earlier one named beside others: killed before the ends of these were noted (row 8a).
    pub duplicates_told: usize,
    /// The longest time from a sink's 250 to the kill that made a duplicate of it.
    pub widest: Duration,
    /// Duplicates that no window explains. Each is a finding too.
    pub unexplained: usize,
    /// Duplicates since something stood still when the first came, so that its end could not be noted: who sent both, and when.
    pub named: Vec<String>,
    /// Places that an acknowledged message has not reached. Each is a finding too.
    pub lost: usize,
    /// Messages that arrived changed. Each is a finding too.
    pub damaged: usize,
    /// Everything that must not be, in words.
    pub findings: Vec<String>,
}

impl Account {
    /// Copies beyond the first.
    pub fn duplicates(&self) -> usize {
        self.duplicates_unheard
            + self.duplicates_unread
            + self.duplicates_end
            + self.duplicates_told
            + self.named.len()
            + self.unexplained
    }

    /// Adds what came of further runs.
    pub(super) fn add(&mut self, more: Self) {
        self.messages += more.messages;
        self.acknowledged += more.acknowledged;
        self.unheard += more.unheard;
        self.cut += more.cut;
        self.tails += more.tails;
        self.delivered += more.delivered;
        self.bounced += more.bounced;
        self.duplicates_unheard += more.duplicates_unheard;
        self.duplicates_unread += more.duplicates_unread;
        self.duplicates_end += more.duplicates_end;
        self.duplicates_told += more.duplicates_told;
        self.widest = self.widest.max(more.widest);
        self.named.extend(more.named);
        self.unexplained += more.unexplained;
        self.lost += more.lost;
        self.damaged += more.damaged;
        self.findings.extend(more.findings);
    }
}

/// Reads the books, after a drain.
pub(super) fn prove(books: &Books, world: &World) -> Account {
    let mut account = Account {
        messages: books.messages.len(),
        findings: books.findings.clone(),
        ..Account::default()
    };
    let damaged = |finding: &&String| finding.starts_with(DAMAGED);
    account.damaged = books.findings.iter().filter(damaged).count();
    let mut proof = Proof {
        books,
        world,
        account,
    };
    for (&id, entry) in &books.messages {
        proof.message(id, entry);
    }
    proof.account
}

struct Proof<'a> {
    books: &'a Books,
    world: &'a World,
    account: Account,
}

impl Proof<'_> {
    fn message(&mut self, id: u64, entry: &Entry) {
        self.account.unheard += entry.unheard as usize;
        self.account.cut += entry.cut as usize;
        if entry.acknowledged {
            self.account.acknowledged += 1;
            for place in entry.unreached() {
                self.account.lost += 1;
                self.find(id, place, "acknowledged, but never arrived");
            }
        }
        let handed_over = usize::from(entry.acknowledged) + entry.unheard as usize;
        let origins: BTreeSet<_> = entry.copies.iter().map(|copy| &copy.origin).collect();
        let mut by_place: BTreeMap<Place, Vec<&Copy>> = BTreeMap::new();
        for copy in &entry.copies {
            by_place.entry(copy.place).or_default().push(copy);
        }
        for (place, copies) in by_place {
            if self.world.is_report(place) {
                self.account.bounced += 1;
            } else {
                self.account.delivered += 1;
            }
            if handed_over == 0 {
                self.find(id, place, "delivered, but it was never offered whole");
            }
            if !entry.places.contains(&place) {
                self.find(id, place, "delivered where it does not belong");
            }
            self.place(id, place, &copies, origins.len() <= handed_over);
        }
    }

    /// All copies at one place: one for each time that the message was handed over, and one of each.
    fn place(&mut self, id: u64, place: Place, copies: &[&Copy], offered_again: bool) {
        let mut by_origin: BTreeMap<&str, BTreeMap<&str, Vec<&Copy>>> = BTreeMap::new();
        for &copy in copies {
            let names = by_origin.entry(&copy.origin).or_default();
            names.entry(&copy.name).or_default().push(copy);
        }
        let all = &self.books.messages[&id].copies;
        let is_report = self.world.is_report(place);
        let tells_of_others = |name: &str| {
            let mut others = all.iter().filter(|copy| copy.place != place);
            is_report && others.any(|copy| copy.name == name)
        };
        let again = by_origin.len() - 1;
        if offered_again {
            self.account.duplicates_unheard += again;
        } else {
            self.account.unexplained += again;
            let what = "the relay took it more often than it was handed over";
            self.find(id, place, what);
        }
        for names in by_origin.values() {
            let told_again = names.len() - 1;
            let shared = names.keys().filter(|name| tells_of_others(name)).count();
            self.account.duplicates_told += told_again.min(shared);
            for _ in shared..told_again {
                self.account.unexplained += 1;
                self.find(id, place, "two DSNs about one failure (row 7)");
            }
            for same in names.values() {
                for pair in same.windows(2) {
                    self.again(id, place, pair[0], pair[1]);
                }
            }
        }
    }

    /// The same message twice: right if a kill came soon after the first, or something stood still then.
    fn again(&mut self, id: u64, place: Place, first: &Copy, second: &Copy) {
        if let Some((from, until)) = self.books.hurt {
            let by = |copy: &Copy| {
                let late = copy.at.saturating_duration_since(from).as_secs_f64();
                let early = from.saturating_duration_since(copy.at).as_secs_f64();
                format!("{} at {:+.1} s", copy.by, late - early)
            };
            let name = self.world.name(place);
            let what = format!("m{id} → {name}: by {}, by {}", by(first), by(second));
            if (from..=until).contains(&(first.at + END_WINDOW))
                || (from..=until).contains(&first.at)
            {
                self.account.named.push(what);
            } else {
                self.account.unexplained += 1;
                self.account.findings.push(what);
            }
            return;
        }
        let kill = self.books.kills.get(&first.run);
        let gap = kill.map(|kill| kill.saturating_duration_since(first.at));
        match gap {
            Some(gap) if second.run > first.run && gap <= END_WINDOW => {
                let known = (first.run, first.name.clone(), place);
                match self.books.known.contains(&known) {
                    true => self.account.duplicates_end += 1,
                    false => self.account.duplicates_unread += 1,
                }
                self.account.widest = self.account.widest.max(gap);
            }
            _ => {
                self.account.unexplained += 1;
                let what = format!(
                    "delivered in run {} and again in run {}; from the first to the kill: {gap:?}",
                    first.run, second.run
                );
                self.find(id, place, &what);
            }
        }
    }

    fn find(&mut self, id: u64, place: Place, what: &str) {
        let place = self.world.name(place);
        self.account
            .findings
            .push(format!("m{id} → {place}: {what}"));
    }
}

/// Row 6: a 250 waits in a socket until the relay has a moment for it; its end is noted at once then. The rest is for a
/// machine that is busy with other things; [`Account::widest`] tells how much of it was needed.
const END_WINDOW: Duration = Duration::from_millis(1_000);

#[cfg(test)]
mod tests {
    use std::time::Instant;

    use super::*;
    use crate::campaign::ledger::{Ledger, Offer};

    /// Copies as (place, origin, name, run, milliseconds before that run's kill).
    #[track_caller]
    fn check(offers: &[Offer], copies: &[(Place, &str, &str, u32, u64)]) -> Account {
        let ledger = Ledger::default();
        ledger.open(1, b"x", &[0, 1]);
        for &offer in offers {
            ledger.offered(1, offer);
        }
        let kill = Instant::now() + Duration::from_secs(100);
        ledger.arrived(
            1,
            copies
                .iter()
                .map(|&(place, origin, name, run, before)| Copy {
                    place,
                    origin: origin.to_owned(),
                    name: name.to_owned(),
                    run,
                    by: String::new(),
                    at: kill - Duration::from_millis(before),
                }),
        );
        let mut books = ledger.books();
        books.kills.extend((0..3).map(|run| (run, kill)));
        let account = prove(&books, &World::new(false));
        let bad = account.lost + account.unexplained > 0;
        assert_eq!(bad, !account.findings.is_empty(), "{account:?}");
        account
    }

    #[test]
    fn losses_and_copies() {
        use Offer::{Acknowledged, Unheard};
        let whole = check(&[Acknowledged], &[(0, "a", "a", 1, 0), (1, "a", "a", 1, 0)]);
        assert_eq!((whole.delivered, whole.duplicates(), whole.lost), (2, 0, 0));
        assert_eq!(check(&[Acknowledged], &[(0, "a", "a", 1, 0)]).lost, 1);
        assert_eq!(check(&[Unheard], &[(0, "a", "a", 1, 0)]).lost, 0);
    }

    #[test]
    fn duplicates_have_windows() {
        use Offer::{Acknowledged, Unheard};
        let one = |offers: &[Offer], second: (Place, &str, &str, u32, u64), before| {
            let copies = [(0, "a", "a", 1, before), second, (1, "a", "a", 1, 0)];
            let account = check(offers, &copies);
            (
                account.duplicates_unheard,
                account.duplicates_unread,
                account.unexplained,
            )
        };
        let twice = [Unheard, Acknowledged];
        assert_eq!(one(&twice, (0, "b", "b", 2, 0), 5000), (1, 0, 0));
        assert_eq!(one(&twice[1..], (0, "b", "b", 2, 0), 5000), (0, 0, 1));
        assert_eq!(one(&twice, (0, "a", "a", 2, 0), 150), (0, 1, 0));
        assert_eq!(one(&twice, (0, "a", "a", 2, 0), 1500), (0, 0, 1));
        assert_eq!(one(&twice, (0, "a", "a", 1, 0), 150), (0, 0, 1), "same run");
        assert_eq!(one(&twice, (0, "a", "dsn", 2, 0), 0), (0, 0, 1));
    }

    /// Row 8a: of two DSNs about one address, one told of another address as well.
    #[test]
    fn a_shared_dsn_may_be_followed_by_another() {
        let world = World::new(false);
        let mut reports = (0..).filter(|&place| world.is_report(place));
        let (one, other) = (reports.next().unwrap(), reports.next().unwrap());
        let dsns = |shared: &str| {
            let copies = [(one, "a", "x", 1, 0), (one, "a", "y", 2, 0)];
            let account = check(
                &[Offer::Acknowledged],
                &[copies[0], copies[1], (other, "a", shared, 1, 0)],
            );
            (account.duplicates_told, account.unexplained)
        };
        assert_eq!((dsns("x"), dsns("z")), ((1, 0), (0, 1)));
    }

    #[test]
    fn a_delivery_that_the_relay_logged_is_its_own_to_remember() {
        let ledger = Ledger::default();
        ledger.open(1, b"x", &[0]);
        ledger.offered(1, Offer::Acknowledged);
        let at = Instant::now();
        let copy = |run| Copy {
            place: 0,
            origin: "a".to_owned(),
            name: "a".to_owned(),
            run,
            by: String::new(),
            at,
        };
        ledger.arrived(1, [copy(1), copy(2)]);
        let mut books = ledger.books();
        books.kills.insert(1, at);
        let unread = prove(&books, &World::new(false));
        books.known.insert((1, "a".to_owned(), 0));
        let known = prove(&books, &World::new(false));
        let counts = |account: &Account| (account.duplicates_unread, account.duplicates_end);
        assert_eq!((counts(&unread), counts(&known)), ((1, 0), (0, 1)));
    }

    #[test]
    fn mail_nobody_sent_is_found() {
        let ledger = Ledger::default();
        ledger.open(1, b"x", &[0]);
        ledger.offered(1, Offer::Cut);
        let copy = |place| Copy {
            place,
            origin: String::new(),
            name: String::new(),
            run: 0,
            by: String::new(),
            at: Instant::now(),
        };
        ledger.arrived(1, [copy(0), copy(5)]);
        ledger.arrived(2, [copy(0)]);
        let findings = prove(&ledger.books(), &World::new(false)).findings;
        // Never whole (twice), at the wrong place, more often than handed over (twice), unknown.
        assert_eq!(findings.len(), 6, "{findings:#?}");
    }
}
