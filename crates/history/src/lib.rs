//! What happened to which message, kept for some days in SQLite: for `onward trace`, `onward stats`, `onward forwards failing`.
