//! The embedded engine from outside: its trait, damage, failing disks, power cuts, and a model beside it.
//!
//! Tests that start other programs are in `processes`, a binary of their own.

mod conformance;
mod damage;
mod engine;
mod faults;
mod luck;
mod memory;
mod model;
mod power_cut;
mod private;
mod random_damage;
mod snapshot;
mod space;

mod summary;
mod support;
