//! `onward site …` and `onward drain`.

use clap::{Args, Subcommand};

/// SITE is the name of a site (that of its best MX), a domain whose mail it takes, the end of its MX names
/// (`google.com`), or a part of them (`google`).
#[derive(Debug, Subcommand)]
pub(crate) enum Site {
    /// List the sites that mail goes to, and what is ordered of them
    List,
    /// Show a site: can it be reached, what does it answer, what waits for it and why
    Show {
        /// Which
        site: String,
    },
    /// Send nothing to a site, neither what is queued nor what comes in; a restart keeps it
    ///
    /// What is under way goes on. Senders are told of the delay, and mail expires, as ever.
    Pause {
        /// Which; also one that no mail has gone to yet
        site: String,
        /// End it after so long, such as `1h` (default: until it is resumed)
        #[arg(long = "for", value_name = "SPAN")]
        span: Option<humantime::Duration>,
        /// Why, for the log and for others who look
        #[arg(long, value_name = "TEXT", default_value = "")]
        reason: String,
    },
    /// End a pause: mail goes out in order, over one connection at first
    Resume {
        /// As it was named for the pause
        site: String,
        /// Why, for the log
        #[arg(long, value_name = "TEXT", default_value = "")]
        reason: String,
    },
    /// Send less to a site than it would take; a restart keeps it
    Limit(SiteLimit),
}

#[derive(Debug, Args)]
#[group(id = "what", required = true, multiple = true)]
pub(crate) struct SiteLimit {
    /// Which; also one that no mail has gone to yet
    pub(crate) site: String,
    /// Connections at once
    #[arg(long, value_name = "N", group = "what")]
    pub(crate) connections: Option<u32>,
    /// Messages a minute, such as `60/m`
    #[arg(long, value_name = "N/m", group = "what", value_parser = per_minute)]
    pub(crate) rate: Option<u32>,
    /// End it
    #[arg(long, group = "what", conflicts_with_all = ["connections", "rate"])]
    pub(crate) off: bool,
    /// Why, for the log and for others who look
    #[arg(long, value_name = "TEXT", default_value = "")]
    pub(crate) reason: String,
}

#[derive(Debug, Args)]
pub(crate) struct Drain {
    /// Wait so long at most until nothing is left to be done now; the exit code is 1 if that is not enough
    #[arg(long, value_name = "SPAN", conflicts_with = "end")]
    pub(crate) wait: Option<humantime::Duration>,
    /// Take mail again
    #[arg(long)]
    pub(crate) end: bool,
    /// Why, for the log
    #[arg(long, value_name = "TEXT", default_value = "")]
    pub(crate) reason: String,
}

fn per_minute(text: &str) -> Result<u32, String> {
    let number = text
        .strip_suffix("/m")
        .and_then(|number| number.parse().ok());
    number.ok_or_else(|| "messages a minute, such as `60/m`".to_owned())
}
