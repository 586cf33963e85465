//! Who there is in the campaign: the relay's addresses, where each leads, and how that place behaves.
//!
//! A *place* is what one copy of a message must reach: a mailbox at a sink, or, for an address whose target
//! refuses, the sender's mailbox with a DSN about it.

use std::collections::HashMap;
use std::fmt::Write as _;

use super::draw::Dice;

/// An index into the relay's addresses.
pub(super) type AddressNumber = u16;
/// An index into the places.
pub(super) type Place = u16;

/// How the mailbox's host behaves.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub(super) enum Behaviour {
    /// Takes it.
    Accepts,
    /// Takes its time after the end of data.
    Slow,
    /// 450 to a message's first RCPT.
    DefersAtRcpt,
    /// 451 to a message's first end of data.
    DefersAtDot,
    /// 421 instead of a greeting, now and then.
    Flaky,
    /// 550 to RCPT.
    RejectsAtRcpt,
    /// 554 to the end of data.
    RejectsAtDot,
}

/// Addresses, places, and the ways between.
pub(super) struct World {
    addresses: Vec<Address>,
    places: Vec<String>,
    mailboxes: HashMap<String, (Place, Behaviour)>,
    reports: HashMap<String, Place>,
    /// The relay's clients get the verdicts of destinations.
    pub(super) online: bool,
}

struct Address {
    text: String,
    targets: Vec<String>,
    places: Vec<Place>,
    behaviour: Behaviour,
}

impl World {
    pub(super) fn new(online: bool) -> Self {
        let mut world = Self {
            addresses: Vec::new(),
            places: Vec::new(),
            mailboxes: HashMap::new(),
            reports: HashMap::new(),
            online,
        };
        for (name, behaviour, count, copies) in ROWS {
            for number in 0..count {
                world.add(name, behaviour, number, copies);
            }
        }
        world
    }

    fn add(&mut self, name: &str, behaviour: Behaviour, number: usize, copies: usize) {
        let text = format!("{name}{number}@{HOSTED}");
        let targets: Vec<_> = (0..copies)
            .map(|copy| format!("box@{name}{number}-{copy}.test"))
            .collect();
        let bad = matches!(
            behaviour,
            Behaviour::RejectsAtRcpt | Behaviour::RejectsAtDot
        );
        let mut places = Vec::new();
        for target in &targets {
            let what = if bad {
                format!("DSN about {text}")
            } else {
                target.clone()
            };
            let place = Place::try_from(self.places.len()).expect("few places");
            self.places.push(what);
            self.mailboxes.insert(target.clone(), (place, behaviour));
            if bad {
                self.reports.insert(text.clone(), place);
            }
            places.push(place);
        }
        self.addresses.push(Address {
            text,
            targets,
            places,
            behaviour,
        });
    }

    /// The relay's forwards file.
    pub(super) fn forwards(&self) -> String {
        let answer = if self.online { "destination" } else { "queue" };
        let mut file = format!("{HOSTED} :domain: answer={answer}\n");
        for address in &self.addresses {
            let _ = writeln!(file, "{} {}", address.text, address.targets.join(", "));
        }
        file
    }

    /// All domains of mailboxes, and whether their host is a flaky one.
    pub(super) fn domains(&self) -> impl Iterator<Item = (&str, bool)> {
        self.addresses.iter().flat_map(|address| {
            let flaky = address.behaviour == Behaviour::Flaky;
            let domain = |target: &'_ String| target.find('@').map_or(0, |at| at + 1);
            address
                .targets
                .iter()
                .map(move |target| (&target[domain(target)..], flaky))
        })
    }

    /// A random address: two of three accept mail.
    pub(super) fn draw(&self, dice: &mut Dice) -> AddressNumber {
        let fine = ROWS[0].2;
        let end = if dice.below(3) < 2 {
            fine
        } else {
            self.addresses.len()
        };
        AddressNumber::try_from(dice.below(end as u64)).expect("few addresses")
    }

    pub(super) fn address(&self, number: AddressNumber) -> &str {
        &self.addresses[usize::from(number)].text
    }

    /// Where a message to these addresses must go.
    pub(super) fn places(&self, recipients: &[AddressNumber]) -> Vec<Place> {
        recipients
            .iter()
            .flat_map(|&number| self.addresses[usize::from(number)].places.iter().copied())
            .collect()
    }

    /// The place and the behaviour of a mailbox at a sink.
    pub(super) fn mailbox(&self, address: &str) -> Option<(Place, Behaviour)> {
        self.mailboxes.get(address).copied()
    }

    /// The place that a DSN about this address reaches.
    pub(super) fn report(&self, address: &str) -> Option<Place> {
        self.reports.get(address).copied()
    }

    /// Its name, for people.
    pub(super) fn name(&self, place: Place) -> &str {
        &self.places[usize::from(place)]
    }

    /// Whether it is reached by a DSN.
    pub(super) fn is_report(&self, place: Place) -> bool {
        self.name(place).starts_with("DSN")
    }
}

/// The domain that the relay forwards for.
const HOSTED: &str = "example.test";

/// Name, behaviour, addresses, targets of each. Those that accept mail come first: see [`World::draw`].
const ROWS: [(&str, Behaviour, usize, usize); 8] = [
    ("fine", Behaviour::Accepts, 40, 1),
    ("pair", Behaviour::Accepts, 6, 2),
    ("slow", Behaviour::Slow, 4, 1),
    ("late", Behaviour::DefersAtRcpt, 8, 1),
    ("tardy", Behaviour::DefersAtDot, 6, 1),
    ("flaky", Behaviour::Flaky, 4, 1),
    ("bad", Behaviour::RejectsAtRcpt, 5, 1),
    ("worse", Behaviour::RejectsAtDot, 4, 1),
];
