//! What is done when a thread of the spool panics: the process ends.
//!
//! Such a panic is a bug (or one of sled's, on a page that is damaged). With the thread gone nobody would be answered any
//! more, while the process looks alive to whoever supervises it. Ending it costs no more than a kill does, which is in the
//! crash table: the log is the truth.

use std::panic::{AssertUnwindSafe, catch_unwind};

/// Runs a thread's work; if that panics, does `before_end` and ends the process.
pub(crate) fn guard(work: impl FnOnce(), before_end: impl FnOnce()) {
    // Nothing is used again that the panic may have left half done.
    if catch_unwind(AssertUnwindSafe(work)).is_err() {
        before_end();
        tracing::error!(
            "a thread of the spool has panicked: the process ends; start it again, nothing is lost"
        );
        std::process::abort();
    }
}
