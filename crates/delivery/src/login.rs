//! The name and password for the hosts of a route, and what is said with them (RFC 4954). The mechanisms are mail-send's; the
//! bytes go through our own session.
//!
//! It does *not* read files: what a file says comes in, again at each reload.

use std::fmt;
use std::hash::{Hash, Hasher};
use std::path::Path;
use std::sync::Arc;

use mail_send::Credentials;
use parking_lot::Mutex;
use smtp::Capabilities;
use smtp_proto::{AUTH_LOGIN, AUTH_PLAIN};

/// A login, known by its file. Clones share it, so that a reload changes it for all.
#[derive(Clone)]
pub struct Login(Arc<Known>);

struct Known {
    file: Box<Path>,
    credentials: Mutex<Credentials<String>>,
}

/// A text that is no login.
#[derive(Debug, Clone, Copy, PartialEq, Eq, thiserror::Error)]
#[error("not one line with `name:password`, of at most {OCTETS_MAX} octets")]
pub struct NotALogin;

/// One login at one host.
pub(crate) struct Exchange {
    mechanism: u64,
    credentials: Credentials<String>,
}

impl Login {
    /// From what `file` says: `name:password` on one line. The password may have colons.
    pub fn parse(file: &Path, text: &str) -> Result<Self, NotALogin> {
        Ok(Self(Arc::new(Known {
            file: file.into(),
            credentials: Mutex::new(credentials(text)?),
        })))
    }

    /// The file.
    pub fn file(&self) -> &Path {
        &self.0.file
    }

    /// Takes over the name and password of another one, from the next login on.
    pub fn replace(&self, other: &Self) {
        let new = other.0.credentials.lock().clone();
        *self.0.credentials.lock() = new;
    }

    /// By a mechanism that the host offers.
    pub(crate) fn exchange(&self, host: &Capabilities) -> Option<Exchange> {
        let mechanism = match (host.auth_plain, host.auth_login) {
            (true, _) => AUTH_PLAIN,
            (false, true) => AUTH_LOGIN,
            (false, false) => return None,
        };
        Some(Exchange {
            mechanism,
            credentials: self.0.credentials.lock().clone(),
        })
    }
}

impl Exchange {
    /// The first line. PLAIN says it all there (RFC 4954 §4, initial response).
    pub(crate) fn command(&self) -> String {
        match self.answer("") {
            Some(response) if self.mechanism == AUTH_PLAIN => format!("AUTH PLAIN {response}"),
            _ => "AUTH LOGIN".to_owned(),
        }
    }

    /// The line after a challenge; none if that makes no sense.
    pub(crate) fn answer(&self, challenge: &str) -> Option<String> {
        self.credentials.encode(self.mechanism, challenge).ok()
    }
}

impl PartialEq for Login {
    fn eq(&self, other: &Self) -> bool {
        self.file() == other.file()
    }
}

impl Eq for Login {}

impl Hash for Login {
    fn hash<H: Hasher>(&self, state: &mut H) {
        self.file().hash(state);
    }
}

impl fmt::Display for Login {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        self.file().display().fmt(f)
    }
}

/// Without name and password.
impl fmt::Debug for Login {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        write!(f, "Login({self})")
    }
}

fn credentials(text: &str) -> Result<Credentials<String>, NotALogin> {
    let line = text.strip_suffix('\n').unwrap_or(text);
    let line = line.strip_suffix('\r').unwrap_or(line);
    match line.split_once(':') {
        Some((name, password))
            if !name.is_empty()
                && !password.is_empty()
                && line.len() <= OCTETS_MAX
                && !line.contains(char::is_control) =>
        {
            Ok(Credentials::new(name.to_owned(), password.to_owned()))
        }
        _ => Err(NotALogin),
    }
}

/// In base64 this fits a command line (RFC 5321 §4.5.3.1.4), as the initial response of PLAIN must (RFC 4954 §4).
const OCTETS_MAX: usize = 370;

#[cfg(test)]
mod tests {
    use super::*;

    fn login(text: &str) -> Result<Login, NotALogin> {
        Login::parse(Path::new("f"), text)
    }

    #[test]
    fn files() {
        for text in ["n:p", "n:p\n", "n:p\r\n", "n:p:q", "ü@x.test: p "] {
            assert!(login(text).is_ok(), "{text:?}");
        }
        let long = format!("n:{}", "p".repeat(369));
        for text in ["", "n", "n:", ":p", "n:p\nm:q\n", "\nn:p", "n:p\0", &long] {
            assert_eq!(login(text), Err(NotALogin), "{text:?}");
        }
        let secret = login("n:secret").unwrap();
        assert!(!format!("{secret:?} {secret}").contains("secret"));
    }

    #[test]
    fn what_is_said() {
        let old = login("n:old").unwrap();
        old.replace(&login("n:p").unwrap());
        let exchange = |offered: &str| {
            let peer = Capabilities::parse(&format!("mx\n{offered}"));
            old.exchange(&peer)
        };
        let plain = exchange("AUTH LOGIN PLAIN").unwrap();
        assert_eq!(plain.command(), "AUTH PLAIN AG4AcA==");
        assert_eq!(plain.answer("").as_deref(), Some("AG4AcA=="));
        let steps = exchange("AUTH LOGIN").unwrap();
        assert_eq!(steps.command(), "AUTH LOGIN");
        assert_eq!(steps.answer("VXNlcm5hbWU6").as_deref(), Some("bg=="));
        assert_eq!(steps.answer("UGFzc3dvcmQ6").as_deref(), Some("cA=="));
        assert_eq!(steps.answer("bm9uc2Vuc2U="), None);
        assert_eq!(steps.answer("%"), None);
        assert!(exchange("AUTH CRAM-MD5").is_none());
    }
}
