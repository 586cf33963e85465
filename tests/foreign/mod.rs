//! Flows with real programs of other people: swaks, Python's smtplib and email, dkimpy, opendkim, rspamd, clamd, Dovecot, pebble, Patroni, Postfix's smtp-source, smtp-sink and posttls-finger, knot, unbound, Chromium;
//! and other people's test suites.
//!
//! They are ignored by plain `cargo test`; `./test.sh` installs the programs and runs them too.

mod chain;
mod chromium;
mod dane;
#[cfg(feature = "sql")]
mod databases;
mod dkimpy;
mod dkimpy_signs;
mod dovecot;
mod filters;
mod import;
mod opendkim;
#[cfg(feature = "postgres")]
mod patroni;
mod pebble;
mod postfix;
mod python;
mod rbldnsd;
#[cfg(feature = "postgres")]
mod several;
mod spf;
#[cfg(feature = "postgres")]
mod spool_between;
mod submission;
mod swaks;
#[cfg(feature = "postgres")]
mod together;
