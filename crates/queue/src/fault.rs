//! Named points at which a test can have the process die, as a kill -9 would: each is a row of the crash table in
//! `spool/README.md`.
//!
//! Armed by the environment: `ONWARD_FAULT=commit.before_sync` or `ONWARD_FAULT=commit.before_sync:7` (the seventh time).
//! With a `!` before the name the thread panics there instead, as a bug in it would.
//! Without the feature `faults`, and in release builds, there is no code here at all.

/// Dies here if this point is armed and it is its time.
#[cfg(all(feature = "faults", debug_assertions))]
pub(crate) fn point(name: &str) {
    use std::sync::OnceLock;
    use std::sync::atomic::{AtomicU32, Ordering};

    static ARMED: OnceLock<Option<(String, u32)>> = OnceLock::new();
    static HITS: AtomicU32 = AtomicU32::new(0);

    let armed = ARMED.get_or_init(|| {
        let text = std::env::var("ONWARD_FAULT").ok()?;
        Some(match text.split_once(':') {
            Some((name, nth)) => (name.to_owned(), nth.parse().ok()?),
            None => (text, 1),
        })
    });
    if let Some((armed, nth)) = armed
        && armed.trim_start_matches('!') == name
        && HITS.fetch_add(1, Ordering::SeqCst) + 1 == *nth
    {
        assert!(!armed.starts_with('!'), "{name}: a panic was asked for");
        std::process::abort();
    }
}

/// Nothing, in a program that is not tested so.
#[cfg(not(all(feature = "faults", debug_assertions)))]
#[inline(always)]
pub(crate) fn point(_: &str) {}
