//! What holds for our own users, as typed.

use std::path::PathBuf;

use serde::Deserialize;

/// Who they are, and what is done with their mail.
#[derive(Debug, Clone, PartialEq, Deserialize)]
#[serde(default, deny_unknown_fields)]
pub(crate) struct Auth {
    /// Empty: no file.
    pub(crate) users: PathBuf,
    /// Empty: Dovecot is not asked.
    pub(crate) dovecot: PathBuf,
    /// Empty: none.
    pub(crate) profile: String,
    pub(crate) hide_client: bool,
}

impl Default for Auth {
    fn default() -> Self {
        Self {
            users: PathBuf::new(),
            dovecot: PathBuf::new(),
            profile: String::new(),
            hide_client: true,
        }
    }
}

impl Auth {
    /// The file of users, if there is one.
    pub(crate) fn file(&self) -> Option<&PathBuf> {
        Some(&self.users).filter(|path| !path.as_os_str().is_empty())
    }

    /// The socket of Dovecot, likewise.
    pub(crate) fn socket(&self) -> Option<&PathBuf> {
        Some(&self.dovecot).filter(|path| !path.as_os_str().is_empty())
    }
}
