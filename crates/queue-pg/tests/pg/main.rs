//! The shared engine over a real PostgreSQL, which `./test.sh` installs.

mod board;
mod conformance;
mod crash;
mod damage;
mod nodes;
mod plans;
mod support;
