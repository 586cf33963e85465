//! Password hashes: the kinds that the tools of a mail server make.
//!
//! `$argon2id$`, `$6$` and `$5$` (SHA-crypt), `$2b$` with its older names `$2a$` and `$2y$` (bcrypt), and `$y$` (yescrypt); each
//! also behind a scheme of Dovecot's, as in `{SHA512-CRYPT}$6$…`. What a hash costs is looked at when it is read: a single line of
//! the file must not take the memory of the relay, or a core for minutes.

use argon2::{Argon2, PasswordHash, PasswordVerifier};
use bcrypt::HashParts;
use sha_crypt::ShaCrypt;
use yescrypt::Yescrypt;

/// The hash of a password.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct Hash {
    kind: Kind,
    text: Box<str>,
}

#[derive(Debug, Clone, Copy, PartialEq, Eq)]
enum Kind {
    Argon2id,
    ShaCrypt,
    Bcrypt,
    Yescrypt,
}

/// Why a text is not used as a hash. It is never part of the message: it may be a password.
#[derive(Debug, Clone, PartialEq, Eq, thiserror::Error)]
pub enum NotAHash {
    /// It begins like none.
    #[error("no password hash of a known kind")]
    Unknown,
    /// It begins like a hash of this kind.
    #[error("damaged {0} hash")]
    Damaged(&'static str),
    /// To compare one password with it takes too long, or too much memory.
    #[error("{what} of a password hash is {is}, at most {max} is taken")]
    Costly {
        /// What is too large.
        what: &'static str,
        /// How large it is.
        is: u64,
        /// How large it may be.
        max: u64,
    },
}

impl Hash {
    /// Reads a hash, with or without Dovecot's `{SCHEME}`.
    pub fn parse(text: &str) -> Result<Self, NotAHash> {
        let behind = text.strip_prefix('{').and_then(|text| text.split_once('}'));
        let text = behind.map_or(text, |(_, hash)| hash);
        let fields: Vec<&str> = text.split('$').collect();
        let kind = match fields[..] {
            ["", "argon2id", ..] => argon2id(text)?,
            ["", kind @ ("5" | "6"), ref rest @ ..] => sha_crypt(kind, rest)?,
            ["", "2a" | "2b" | "2y", ..] => bcrypt(text)?,
            ["", "y", ref rest @ ..] => yescrypt(rest)?,
            _ => return Err(NotAHash::Unknown),
        };
        Ok(Self {
            kind,
            text: text.into(),
        })
    }

    /// As it was written, without a scheme.
    pub fn as_str(&self) -> &str {
        &self.text
    }

    /// Whether this is the password. Takes a good part of a second: not for an async thread.
    pub fn verify(&self, password: &[u8]) -> bool {
        // SHA-crypt digests the password once a round: a long one would be a cost that the client chooses.
        if password.len() > PASSWORD_OCTETS_MAX {
            return false;
        }
        match self.kind {
            Kind::Argon2id => Argon2::default()
                .verify_password(password, &*self.text)
                .is_ok(),
            Kind::ShaCrypt => ShaCrypt::SHA512
                .verify_password(password, &*self.text)
                .is_ok(),
            Kind::Bcrypt => bcrypt::verify(password, &self.text).unwrap_or(false),
            Kind::Yescrypt => Yescrypt::default()
                .verify_password(password, &*self.text)
                .is_ok(),
        }
    }
}

fn argon2id(text: &str) -> Result<Kind, NotAHash> {
    let damaged = NotAHash::Damaged("$argon2id$");
    let hash = PasswordHash::new(text).map_err(|_| damaged.clone())?;
    let params = argon2::Params::try_from(&hash).map_err(|_| damaged.clone())?;
    let is_whole = hash.salt.is_some() && hash.hash.is_some();
    let is_known = matches!(hash.version, None | Some(16 | 19));
    if !is_whole || !is_known {
        return Err(damaged);
    }
    let (kib, passes) = (u64::from(params.m_cost()), u64::from(params.t_cost()));
    at_most("the memory (`m`, in KiB)", kib, ARGON2_KIB_MAX)?;
    at_most("`m` times `t`", kib * passes, ARGON2_WORK_MAX)?;
    Ok(Kind::Argon2id)
}

fn sha_crypt(kind: &str, rest: &[&str]) -> Result<Kind, NotAHash> {
    let (damaged, length) = match kind {
        "5" => (NotAHash::Damaged("$5$"), 43),
        _ => (NotAHash::Damaged("$6$"), 86),
    };
    let (rounds, salt, hash) = match rest {
        [salt, hash] => (None, salt, hash),
        [rounds, salt, hash] => (Some(rounds), salt, hash),
        _ => return Err(damaged),
    };
    if let Some(rounds) = rounds {
        let rounds = rounds.strip_prefix("rounds=");
        let rounds = rounds.and_then(|rounds| rounds.parse().ok());
        let rounds = rounds.filter(|rounds| *rounds >= u64::from(sha_crypt::Params::ROUNDS_MIN));
        at_most(
            "`rounds`",
            rounds.ok_or_else(|| damaged.clone())?,
            SHA_ROUNDS_MAX,
        )?;
    }
    // crypt(3) takes 16 octets of a salt.
    let is_whole = salt.len() <= 16 && is_crypt64(salt) && is_crypt64(hash) && hash.len() == length;
    is_whole.then_some(Kind::ShaCrypt).ok_or(damaged)
}

fn bcrypt(text: &str) -> Result<Kind, NotAHash> {
    let parts: HashParts = text.parse().map_err(|_| NotAHash::Damaged("$2b$"))?;
    at_most("the cost", parts.get_cost().into(), BCRYPT_COST_MAX)?;
    Ok(Kind::Bcrypt)
}

/// Only with the parameters that crypt(3) writes, one character each for flavour, `N` and `r`: others would name more of what it
/// may cost.
fn yescrypt(rest: &[&str]) -> Result<Kind, NotAHash> {
    let damaged = NotAHash::Damaged("$y$");
    let [params, salt, hash] = rest else {
        return Err(damaged);
    };
    let parsed = params.parse::<yescrypt::Params>();
    let parsed = parsed.ok().filter(|_| params.len() == 3);
    let parsed = parsed.ok_or_else(|| damaged.clone())?;
    // Nothing is equal to nothing: a hash that was cut off would fit every password.
    if !is_crypt64(salt) || !is_crypt64(hash) || hash.len() != 43 {
        return Err(damaged);
    }
    let octets = parsed.n().saturating_mul(128 * u64::from(parsed.r()));
    at_most("the memory (128 · `N` · `r`)", octets, YESCRYPT_OCTETS_MAX)?;
    Ok(Kind::Yescrypt)
}

fn is_crypt64(text: &str) -> bool {
    text.bytes()
        .all(|b| b.is_ascii_alphanumeric() || matches!(b, b'.' | b'/'))
}

fn at_most(what: &'static str, is: u64, max: u64) -> Result<(), NotAHash> {
    if is > max {
        return Err(NotAHash::Costly { what, is, max });
    }
    Ok(())
}

/// As crypt(3) of libxcrypt has it: a longer password fits no hash.
pub const PASSWORD_OCTETS_MAX: usize = 512;
/// 256 MiB: what `doveadm pw -s ARGON2ID -r 3` asks for.
const ARGON2_KIB_MAX: u64 = 256 << 10;
/// Four passes over so much, about a second of a core.
const ARGON2_WORK_MAX: u64 = 4 * ARGON2_KIB_MAX;
/// Half a second; tools make 5,000.
const SHA_ROUNDS_MAX: u64 = 1_000_000;
/// A second; tools make 5 to 12.
const BCRYPT_COST_MAX: u64 = 14;
/// As much as for Argon2.
const YESCRYPT_OCTETS_MAX: u64 = ARGON2_KIB_MAX << 10;

#[cfg(test)]
mod tests {
    use super::*;

    /// Each made by another tool: `openssl passwd`, `mkpasswd`, `doveadm pw`, Python's `crypt`.
    #[test]
    fn hashes_of_other_tools() {
        for text in include_str!("hashes.txt")
            .lines()
            .filter(|line| !line.starts_with('#'))
        {
            let hash = Hash::parse(text).unwrap_or_else(|error| panic!("{text}: {error}"));
            assert!(hash.verify(PASSWORD.as_bytes()), "{text}");
            assert!(!hash.verify(b"wrong"), "{text}");
        }
    }

    #[track_caller]
    fn refused(text: &str, expected: &str) {
        let error = Hash::parse(text).unwrap_err().to_string();
        assert!(error.contains(expected), "{text}: {error}");
    }

    #[test]
    fn what_is_no_hash_or_too_dear() {
        let (salt43, salt86) = ("x".repeat(43), "x".repeat(86));
        for text in [
            "",
            "secret",
            "{PLAIN}secret",
            "{SHA256}abc=",
            "$1$a$b",
            "$argon2i$v=19$m=8,t=1,p=1$c2FsdHNhbHQ$c2FsdHNhbHQ",
        ] {
            refused(text, "no password hash of a known kind");
        }
        refused(
            "$argon2id$v=19$m=65536,t=3,p=1$DDrLXcRE8xFvOSrK3TDSQg",
            "damaged $argon2id$",
        );
        refused(
            "$argon2id$v=20$m=65536,t=3,p=1$DDrLXcRE8xFvOSrK3TDSQg$NHgxx8qxdDCqVKbCa7eKuL1HQujyoTBeddj6SoJlp1k",
            "damaged",
        );
        refused(
            "$argon2id$v=19$m=4194304,t=3,p=1$DDrLXcRE8xFvOSrK3TDSQg$NHgxx8qxdDCqVKbCa7eKuL1HQujyoTBeddj6SoJlp1k",
            "4194304, at most 262144",
        );
        refused(
            "$argon2id$v=19$m=65536,t=4000000000,p=1$DDrLXcRE8xFvOSrK3TDSQg$NHgxx8qxdDCqVKbCa7eKuL1HQujyoTBeddj6SoJlp1k",
            "`m` times `t`",
        );
        refused(
            &format!("$6$rounds=999999999$salt${salt86}"),
            "`rounds` of a password hash is 999999999, at most 1000000",
        );
        refused(&format!("$6$rounds=99$salt${salt86}"), "damaged $6$");
        refused(&format!("$6$salt${salt43}"), "damaged $6$");
        refused(&format!("$5$salt${salt86}"), "damaged $5$");
        refused(&format!("$5$seventeen-letters${salt43}"), "damaged $5$");
        refused("$5$salt$", "damaged $5$");
        refused("$2b$05$tooshort", "damaged $2b$");
        refused(
            "$2b$31$sFXQDbhk0ED39oo77DOWyePcbnN9FtXtqovEaf2oHrl8AaAl0b6NS",
            "the cost of a password hash is 31",
        );
        refused("$y$j9T$aSm6ug9so94jVsuWBBRZj.$", "damaged $y$");
        refused(&format!("$y$jFT$salt${salt43}"), "at most 268435456");
        refused(&format!("$y$j9T5.2$salt${salt43}"), "damaged $y$");
        refused(&format!("$y$$salt${salt43}"), "damaged $y$");
    }

    #[test]
    fn a_long_password_is_wrong() {
        let hash = Hash::parse(include_str!("hashes.txt").lines().nth(1).unwrap()).unwrap();
        let long = PASSWORD.repeat(1 + PASSWORD_OCTETS_MAX / PASSWORD.len());
        assert!(!hash.verify(long.as_bytes()));
    }

    const PASSWORD: &str = "naïve pass: $word#";
}
