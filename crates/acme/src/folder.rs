//! What is kept: the key, and for each server the account, the chain, and until when it wants to be left alone.
//!
//! ```text
//! key.pem                         the same for all servers, and over all renewals: TLSA records `3 1 1` are about it
//! ca.example_directory.account    JSON: the account's address and key
//! ca.example_directory.pem        the chain
//! ca.example_directory.wait       seconds since 1970, then the names that were asked for
//! ```
//!
//! Each is written whole or not at all, for its owner alone.

use std::fmt::Display;
use std::fs::{self, DirBuilder};
use std::io::ErrorKind;
use std::os::unix::fs::DirBuilderExt;
use std::path::{Path, PathBuf};

use envelope::Timestamp;
use instant_acme::AccountCredentials;
use rcgen::KeyPair;

use crate::Settings;

#[derive(Debug)]
pub(crate) struct Folder {
    path: PathBuf,
    /// What the files of this server begin with.
    server: String,
}

impl Folder {
    pub(crate) fn of(settings: &Settings) -> Self {
        let url = settings.directory.trim_start_matches("https://");
        let server = url.chars().map(|char| match char {
            'a'..='z' | 'A'..='Z' | '0'..='9' | '.' | '-' => char,
            _ => '_',
        });
        Self {
            path: settings.folder.clone(),
            server: server.take(NAME_MAX).collect(),
        }
    }

    /// Our key. One that cannot be used is replaced: so a broken file does not keep mail in clear.
    pub(crate) fn key(&self) -> Result<KeyPair, String> {
        let made = DirBuilder::new()
            .recursive(true)
            .mode(0o700)
            .create(&self.path);
        made.map_err(|error| trouble(&self.path, error))?;
        let (path, text) = (self.path.join(KEY), self.key_text()?);
        match text.as_deref().map(KeyPair::from_pem) {
            Some(Ok(key)) => return Ok(key),
            Some(Err(error)) => {
                tracing::error!("{}: {error}: a new key is made", path.display());
            }
            None => {}
        }
        let key = KeyPair::generate().map_err(|error| error.to_string())?;
        write(&path, &key.serialize_pem())?;
        Ok(key)
    }

    /// The key as it is kept, if there is one.
    pub(crate) fn key_text(&self) -> Result<Option<String>, String> {
        read(&self.path.join(KEY))
    }

    /// The chain, if there is one.
    pub(crate) fn chain(&self) -> Result<Option<String>, String> {
        read(&self.file("pem"))
    }

    pub(crate) fn keep_chain(&self, pem: &str) -> Result<(), String> {
        write(&self.file("pem"), pem)
    }

    /// One that cannot be read is made anew.
    pub(crate) fn account(&self) -> Option<AccountCredentials> {
        serde_json::from_str(&read(&self.file("account")).ok()??).ok()
    }

    pub(crate) fn keep_account(&self, credentials: &AccountCredentials) -> Result<(), String> {
        let path = self.file("account");
        let text = serde_json::to_string(credentials).map_err(|error| error.to_string())?;
        write(&path, &text)
    }

    /// The server does not know it any more.
    pub(crate) fn forget_account(&self) {
        let gone = fs::remove_file(self.file("account"));
        tracing::debug!(?gone, "the account is forgotten");
    }

    /// Until when the server wants to hear nothing of these names.
    pub(crate) fn wait(&self, domains: &[String]) -> Option<Timestamp> {
        let text = read(&self.file("wait")).ok()??;
        let mut words = text.split_whitespace();
        let secs: u64 = words.next()?.parse().ok()?;
        let is_of_these = words.eq(domains.iter().map(String::as_str));
        is_of_these.then(|| Timestamp::from_unix_millis(secs.saturating_mul(1000)))
    }

    pub(crate) fn keep_wait(&self, until: Timestamp, domains: &[String]) -> Result<(), String> {
        let text = format!("{} {}\n", until.unix_secs(), domains.join(" "));
        write(&self.file("wait"), &text)
    }

    fn file(&self, kind: &str) -> PathBuf {
        self.path.join(format!("{}.{kind}", self.server))
    }
}

/// Nothing if there is no such file; one that is damaged makes no sense to whoever reads on.
fn read(path: &Path) -> Result<Option<String>, String> {
    match fs::read(path) {
        Ok(text) => Ok(Some(String::from_utf8_lossy(&text).into_owned())),
        Err(error) if error.kind() == ErrorKind::NotFound => Ok(None),
        Err(error) => Err(trouble(path, error)),
    }
}

fn write(path: &Path, text: &str) -> Result<(), String> {
    linefile::replace(path, &[text.as_bytes()]).map_err(|error| trouble(path, error))?;
    Ok(())
}

fn trouble(path: &Path, error: impl Display) -> String {
    format!("{}: {error}", path.display())
}

const KEY: &str = "key.pem";
/// The system's limit is 255.
const NAME_MAX: usize = 200;
