//! What an operator says of a source.

use std::time::Duration;

use reqwest::Url;

/// A source, and what is asked of it.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct Settings {
    /// What it is called in logs.
    pub name: String,
    /// `postgres://…`, `mysql://…`, `sqlite:…`, `http://…`, `https://…`.
    pub url: String,
    /// What is asked.
    pub questions: Questions,
    /// An answer that takes longer is none.
    pub timeout: Duration,
    /// How many connections there are at most.
    pub connections: u32,
}

/// What is asked.
#[derive(Debug, Clone, PartialEq, Eq)]
pub enum Questions {
    /// Everything at once.
    Snapshot {
        /// Rows of address, targets, and perhaps options.
        forwards: String,
        /// Rows of domain, and perhaps options; empty if there is no such query.
        domains: String,
        /// Rows of alias and target.
        aliases: String,
    },
    /// One address at a time.
    Lookup {
        /// As a snapshot's rows, of the address `$1`; empty over HTTP.
        address: String,
        /// Likewise.
        domain: String,
        /// How long an answer holds.
        cache: Duration,
    },
}

/// How a source is asked.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub enum Way {
    /// A database.
    Sql,
    /// A web service.
    Http,
}

/// Why a source cannot be used.
#[derive(Debug, Clone, PartialEq, Eq, thiserror::Error)]
pub enum SettingsError {
    /// Not a URL that we know the scheme of.
    #[error(
        "`url`: {0}\n\nhint: write postgres://USER:PASSWORD@HOST/DATABASE, mysql://…, sqlite:PATH, or http://…"
    )]
    Url(String),
    /// The program cannot ask databases.
    #[error(
        "this onward was built without SQL\n\nhint: the packages have it; from source: `cargo build --release --features sql`"
    )]
    NoSql,
    /// A look-up that does not say where the address goes.
    #[error("`{0}` has no `$1`\n\nhint: `$1` stands for what is looked up: WHERE address = $1")]
    NoPlaceholder(&'static str),
    /// A query that is missing.
    #[error("`{0}` is missing")]
    Missing(&'static str),
}

impl Settings {
    /// How it is asked.
    pub fn way(&self) -> Result<Way, SettingsError> {
        match self.url.split_once(':').map(|(scheme, _)| scheme) {
            Some("postgres" | "postgresql" | "mysql" | "mariadb" | "sqlite") => Ok(Way::Sql),
            Some("http" | "https") => match Url::parse(&self.url) {
                Ok(_) => Ok(Way::Http),
                Err(error) => Err(SettingsError::Url(error.to_string())),
            },
            _ => Err(SettingsError::Url(
                "not of a kind that can be asked".to_owned(),
            )),
        }
    }
}
