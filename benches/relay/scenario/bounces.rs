//! Scenario bounces.

use crate::runner::Bench;

pub(crate) fn run(_bench: &mut Bench) {}
