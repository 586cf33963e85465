//! Reading again what may change while the relay runs: forwards, secrets, relay domains, certificate.
//!
//! All of it is read and checked before any of it is used: a mistake anywhere leaves everything as it was.
//! The other settings need a restart.

use std::fs;
use std::path::{Path, PathBuf};
use std::sync::Arc;

use smtp_in::tls;

use crate::config::{self, Config};
use crate::log::{Event, Log};
use crate::routing::{self, Routing, Shared};

/// What can be read again, and where it goes.
pub(crate) struct Reload {
    pub(crate) config: PathBuf,
    pub(crate) routing: Shared,
    pub(crate) tls: Option<tls::Holder>,
    pub(crate) log: Log,
}

/// Why nothing was changed.
#[derive(Debug, thiserror::Error)]
pub(crate) enum Error {
    #[error(transparent)]
    Config(#[from] config::Error),
    #[error(transparent)]
    Routing(#[from] routing::Error),
    #[error(transparent)]
    Tls(#[from] TlsError),
}

/// Why there is no TLS: which file, and what is wrong with it.
#[derive(Debug, thiserror::Error)]
pub(crate) enum TlsError {
    #[error(
        "cannot read {path}: {source}\n\nhint: `tls.certificate` and `tls.key` in the configuration name the files"
    )]
    Unreadable {
        path: PathBuf,
        source: std::io::Error,
    },
    #[error("{path}: {source}")]
    Invalid { path: PathBuf, source: tls::Error },
}

impl Reload {
    /// Reads everything again; says line by line what there is now.
    pub(crate) fn run(&self) -> Result<Vec<String>, Error> {
        let result = self.try_run();
        match &result {
            Ok(_) => self.log.write(Event::Reloaded {
                forwards: self.routing().table.stats().lines as u64,
            }),
            Err(error) => self.log.write(Event::ReloadFailed {
                error: error.to_string(),
            }),
        }
        result
    }

    /// The routing of now.
    pub(crate) fn routing(&self) -> Arc<Routing> {
        self.routing.load_full()
    }

    fn try_run(&self) -> Result<Vec<String>, Error> {
        let config = Config::load(&self.config)?;
        let routing = Routing::load(&config)?;
        let certificates = load_tls(&config)?;
        let mut lines = vec![format!("forwards: {} lines", routing.table.stats().lines)];
        self.routing.store(Arc::new(routing));
        if let Some(holder) = &self.tls
            && !certificates.is_empty()
        {
            lines.push(format!("certificates: {}", certificates.len()));
            holder.replace(certificates);
        }
        Ok(lines)
    }
}

/// Reads all certificates and their keys.
pub(crate) fn load_tls(config: &Config) -> Result<Vec<tls::Certificate>, TlsError> {
    config.tls.iter().map(load_certificate).collect()
}

/// Reads one certificate and its key.
pub(crate) fn load_certificate(files: &config::Tls) -> Result<tls::Certificate, TlsError> {
    let read = |path: &Path| {
        fs::read(path).map_err(|source| TlsError::Unreadable {
            path: path.to_owned(),
            source,
        })
    };
    tls::load(&read(&files.certificate)?, &read(&files.key)?).map_err(|source| {
        let path = match source.input() {
            tls::Input::Certificate => &files.certificate,
            tls::Input::Key => &files.key,
        };
        TlsError::Invalid {
            path: path.clone(),
            source,
        }
    })
}
