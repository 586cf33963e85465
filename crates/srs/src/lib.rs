//! The Sender Rewriting Scheme: SRS0 and SRS1, encode and decode, wire-compatible with Mail::SRS, libsrs2 and postsrsd.
//!
//! Who forwards mail sends it from a foreign address out of its own hosts, and SPF at the next hop fails. SRS
//! rewrites the sender into an address of the forwarder that holds the original one, signed and dated, so that a
//! bounce finds its way back and nobody else can use the forwarder as a relay:
//!
//! ```text
//! alice@first.example                       the sender
//! SRS0=tag=day=first.example=alice@us       the first forwarder's rewriting, SRS0
//! SRS1=tag=us==tag=day=first.example=alice@them    a second forwarder's: the first, and what it wrote, opaque
//! ```
//!
//! * `tag`: HMAC-SHA1 over the parts behind it in lower case, in base 64, cut to [`Settings::tag_octets`].
//! * `day`: days since 1970 modulo 1024, two digits of base 32. SRS1 has none: the first forwarder's dates it.
//! * SRS1 over SRS1 keeps the first forwarder and its opaque part, and replaces the tag alone: it never nests.
//!
//! Whoever sends mail for others can put an address of their own in front of the same parts: a [`Face`].
//!
//! Strings go in and come out, always *without* the quotes of SMTP and without the `@` and what follows it: the
//! caller parses and writes addresses. Some senders do not fit: see [`Srs::token`] for the way out.
//!
//! It does *not* read a clock ([`Day`] is passed in), a file, or random numbers; and it does not decide what is
//! to be rewritten: a null sender, or one that is already ours, is the caller's to leave alone.
//!
//! ```
//! use srs::{Day, Reversed, Settings, Srs};
//!
//! let srs = Srs::new(Settings::new(["tops3cr3t"]))?;
//! let today = Day::from_unix_secs(1_577_836_860);
//!
//! let local = srs.forward("test", "otherdomain.com", today)?;
//! assert_eq!(local, "SRS0=vmyz=2W=otherdomain.com=test");
//! assert_eq!(
//!     srs.reverse(&local, today)?,
//!     Reversed::Srs0 { local: "test".into(), domain: "otherdomain.com".into() },
//! );
//!
//! // The next forwarder wraps it without looking inside.
//! let them = Srs::new(Settings::new(["an0ther"]))?;
//! let wrapped = them.forward(&local, "us.example", today)?;
//! assert_eq!(
//!     them.reverse(&wrapped, today)?,
//!     Reversed::Srs1 { local, domain: "us.example".into() },
//! );
//! # Ok::<(), Box<dyn std::error::Error>>(())
//! ```

mod day;
mod error;
mod face;
mod form;
mod settings;
mod srs;
mod tag;

pub use day::Day;
pub use error::{ForwardError, ReverseError, SettingsError};
pub use face::{Face, FaceError};
pub use form::looks_like_srs;
pub use settings::{Alphabet, Separator, Settings};
pub use srs::{Reversed, Srs};
