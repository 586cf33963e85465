//! The shared engine over a real PostgreSQL, which `./test.sh` installs.

mod conformance;
mod crash;
mod damage;
mod nodes;
mod support;
