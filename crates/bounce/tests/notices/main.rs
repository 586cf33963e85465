//! Notices as others see them: as text, through mail-parser, and through Python's email package.

#![expect(clippy::unwrap_used, reason = "helpers of tests")]

mod parsed;
mod python;
mod rules;
mod samples;
mod text;
