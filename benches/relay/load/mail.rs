//! The next message: its envelope from the templates, its stamp, and which text follows.
//!
//! Everything is drawn from the seed and the sequence number alone, so that a second attempt sends the same message, and a run
//! can be repeated whatever order its connections came in.

use std::io::IoSlice;
use std::ops::Range;

use rand::rngs::SmallRng;
use rand::{RngExt, SeedableRng};

use super::Load;
use super::body::{self, Bodies, Cut};
use super::source::Job;
use crate::stamp::Stamp;

/// Makes messages.
#[derive(Debug)]
pub(super) struct Composer {
    load: Load,
    bodies: Bodies,
}

/// A message under way; its buffers are used again for the next.
#[derive(Debug, Default)]
pub(super) struct Message {
    /// The reverse path, empty for the null one.
    pub(super) sender: Vec<u8>,
    /// The recipients of this attempt.
    pub(super) recipients: Vec<Recipient>,
    addresses: Vec<u8>,
    /// Message-ID and stamp.
    head: Vec<u8>,
    cut: Option<Cut>,
}

/// One recipient of a message.
#[derive(Debug, Clone)]
pub(super) struct Recipient {
    /// Its index among all of the message.
    pub(super) index: u16,
    address: Range<usize>,
}

impl Composer {
    /// Renders the texts.
    pub(super) fn new(load: &Load) -> Self {
        Self {
            load: load.clone(),
            bodies: Bodies::new(load.sizes, load.signer.as_deref(), load.seed),
        }
    }

    /// The settings.
    pub(super) fn load(&self) -> &Load {
        &self.load
    }

    /// Makes the message of a job.
    pub(super) fn compose(&self, job: &Job, message: &mut Message) {
        let load = &self.load;
        let mut rng = SmallRng::seed_from_u64(load.seed ^ job.sequence.wrapping_mul(SPREAD));
        message.sender.clear();
        message.addresses.clear();
        message.recipients.clear();
        let cut = self.bodies.draw(&mut rng);
        if load.null_share > 0.0 && rng.random::<f64>() < load.null_share {
            let to = &load.bounce_to[rng.random_range(0..load.bounce_to.len())];
            message.add(0, |addresses| addresses.extend_from_slice(to.as_bytes()));
        } else {
            load.senders
                .write(&mut message.sender, job.sequence, 0, &mut rng);
            for index in 0..load.recipients_per_message {
                message.add(index as u16, |addresses| {
                    load.recipients
                        .write(addresses, job.sequence, index, &mut rng);
                });
            }
        }
        if let Some(only) = &job.only {
            message
                .recipients
                .retain(|recipient| only.contains(&recipient.index));
        }
        let stamp = Stamp {
            run: load.run,
            sequence: job.sequence,
            intended_micros: job.intended_micros,
            checksum: cut.checksum,
            octets: cut.octets(),
        };
        body::write_head(&mut message.head, &stamp, load.signer.is_none());
        message.cut = Some(cut);
    }

    /// What follows the 354: the message with its dots stuffed, and the end of the data.
    pub(super) fn data<'a>(&'a self, message: &'a Message) -> [IoSlice<'a>; 3] {
        let text = message.cut.map(|cut| self.bodies.stuffed(cut));
        [
            IoSlice::new(&message.head),
            IoSlice::new(text.unwrap_or_default()),
            IoSlice::new(b"\r\n.\r\n"),
        ]
    }

    /// What follows BDAT: the message as it is.
    pub(super) fn chunk<'a>(&'a self, message: &'a Message) -> [IoSlice<'a>; 3] {
        let text = message.cut.map(|cut| self.bodies.plain(cut));
        [
            IoSlice::new(&message.head),
            IoSlice::new(text.unwrap_or_default()),
            IoSlice::new(b"\r\n"),
        ]
    }
}

impl Message {
    /// Octets of the message.
    pub(super) fn octets(&self) -> u64 {
        self.head.len() as u64 + self.cut.map_or(0, |cut| cut.octets())
    }

    /// A recipient's address.
    pub(super) fn address(&self, recipient: &Recipient) -> &[u8] {
        &self.addresses[recipient.address.clone()]
    }

    fn add(&mut self, index: u16, write: impl FnOnce(&mut Vec<u8>)) {
        let start = self.addresses.len();
        write(&mut self.addresses);
        let address = start..self.addresses.len();
        self.recipients.push(Recipient { index, address });
    }
}

/// Spreads sequence numbers over all seeds (the golden ratio).
const SPREAD: u64 = 0x9e37_79b9_7f4a_7c15;
