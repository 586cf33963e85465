//! The operator's side over HTTP: another door to the questions of `control`, with bearer tokens; metrics; and pages for people.
//!
//! What can be asked stands in one table (`route`): a path is a name for an [`Ask`](control::Ask), and its answer is what the
//! control socket would say, as JSON. Errors are `application/problem+json` (RFC 9457).
//!
//! Nothing here decides, reads a file, or knows the queue. Every body, wait, connection and piece of work has a limit.

mod answer;
mod bind;
mod desk;
mod door;
mod feed;
mod metrics;
mod openapi;
mod pages;
mod problem;
mod repeats;
mod route;
mod tokens;

pub use bind::{Bind, BindError, NotABind};
pub use door::Door;
pub use tokens::{Grant, Scope, Token, TokenError, Tokens, is_name, make};
