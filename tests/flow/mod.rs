//! Flows: one scenario a file. Each has its own DNS, addresses, relay and spool, and waits for events, never for time.

mod bad_input;
mod bodies;
mod chain;
mod commands;
mod dead_mx;
mod defer;
mod dsn_options;
mod forward;
mod long_sender;
mod loops;
mod mx;
mod networks;
mod queue_commands;
mod refused;
mod reload;
mod restart;
mod smuggling;
mod srs_bounce;
mod table;
mod tls;
