//! `onward http …`.

use clap::{Args, Subcommand};
use http_door::Grant;

#[derive(Debug, Subcommand)]
pub(crate) enum Http {
    /// Make a token for the HTTP API, and print it this once: only its hash is kept, in the file `http.token`
    Token(NewToken),
}

#[derive(Debug, Args)]
pub(crate) struct NewToken {
    /// What the mail log calls whoever uses it
    pub(crate) name: String,
    /// What it is good for: `read` (look at everything but messages), `queue` (change what is queued, sent and frozen), `content` (read
    /// messages), `forwards` (change forwards and domains), `forwards:DOMAIN` (look at its forwards and change them),
    /// `admin` (reload, drain)
    #[arg(long, value_name = "SCOPE,…", value_delimiter = ',', required = true)]
    pub(crate) scope: Vec<Grant>,
}
