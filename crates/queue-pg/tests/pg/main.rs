//! The shared engine over a real PostgreSQL, which `./test.sh` installs.

mod conformance;
mod crash;
mod nodes;
mod support;
