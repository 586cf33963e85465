//! Test tools: SMTP dialogs, fake DNS, a scripted destination, the daemon in a box, senders, mail diff.
//!
//! A flow reads: [`net::Net`] gives DNS and addresses, [`net::Net::sink`] a destination, [`daemon::Relay`] the
//! binary under test, [`sender`] the mail; then the test waits for a log event or for the sink's messages.
//! All of it is for tests only, so what must not happen panics with a message that says what was expected.
//!
//! It shares no protocol code with the relay (but for the dialogs, whose object *is* the relay's session): the sink
//! and the plain sender are small implementations of their own, so that a mistake cannot cancel itself out.

pub mod acme;
pub mod campaign;
pub mod daemon;
pub mod dialog;
pub mod dns;
pub mod filter;
pub mod https;
pub mod link;
pub mod lookup;
pub mod mail;
pub mod milter;
pub mod net;
pub mod nouns;
pub mod postgres;
pub mod program;
pub mod sender;
pub mod signed;
pub mod sink;
pub mod tls;

use std::time::Duration;

/// How long anything in a test may take before it counts as not happening. Generous: the machine may be busy.
pub const PATIENCE: Duration = Duration::from_secs(30);
