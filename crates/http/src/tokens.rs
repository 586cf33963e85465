//! Who may do what: bearer tokens, of which only hashes are kept.
//!
//! A line of the file is `NAME SHA256-HEX SCOPE,SCOPE…`; `#` begins a comment. A token is 256 random bits, so a plain hash keeps it.

use std::collections::BTreeSet;
use std::fmt;
use std::str::FromStr;
use std::sync::Arc;
use std::sync::atomic::{AtomicU64, Ordering};
use std::time::Duration;

use arc_swap::ArcSwap;
use aws_lc_rs::constant_time::verify_slices_are_equal;
use aws_lc_rs::digest::{SHA256, digest};
use axum::http::StatusCode;
use data_encoding::{BASE64URL_NOPAD, HEXLOWER, HEXLOWER_PERMISSIVE};
use envelope::{Actor, Domain};
use tokio::sync::Semaphore;
use tokio::time::sleep;

use crate::problem::Problem;

envelope::named! {
    /// What a token is good for. None includes another.
    pub enum Scope {
        /// To look at everything but messages themselves.
        Read = "read",
        /// To change what is queued, sent and frozen.
        Queue = "queue",
        /// To read messages.
        Content = "content",
        /// To reload, and to drain.
        Admin = "admin",
        /// To change forwards and domains.
        Forwards = "forwards",
    }
}

/// What a token is given: a scope, or `forwards:example.org`, to look at the forwards of that domain and change them.
#[derive(Debug, Clone, PartialEq, Eq)]
pub enum Grant {
    /// For everything of this kind.
    All(Scope),
    /// For this domain.
    ForwardsOf(Domain),
}

impl FromStr for Grant {
    type Err = String;

    fn from_str(text: &str) -> Result<Self, String> {
        let of = text.strip_prefix("forwards:").map(str::parse);
        match of {
            Some(Ok(domain)) => Ok(Self::ForwardsOf(domain)),
            Some(Err(wrong)) => Err(wrong.to_string()),
            None => text
                .parse()
                .map(Self::All)
                .map_err(|wrong: <Scope as FromStr>::Err| wrong.to_string()),
        }
    }
}

impl fmt::Display for Grant {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        match self {
            Self::All(scope) => scope.fmt(f),
            Self::ForwardsOf(domain) => write!(f, "forwards:{domain}"),
        }
    }
}

/// A token, as far as it is known.
#[derive(Debug)]
pub struct Token {
    name: Arc<str>,
    hash: Vec<u8>,
    grants: Vec<Grant>,
}

/// A line that is none.
#[derive(Debug, Clone, PartialEq, Eq, thiserror::Error)]
#[error(
    "{line}: {text}\n\nhint: a line is `NAME SHA256 SCOPE,SCOPE`; `onward http token NAME --scope read` writes one"
)]
pub struct TokenError {
    line: usize,
    text: String,
}

/// All tokens of now, and who tries others. Clones share it.
#[derive(Clone)]
pub struct Tokens(Arc<Shared>);

struct Shared {
    tokens: ArcSwap<Vec<Token>>,
    wrong: AtomicU64,
    slowed: Semaphore,
}

impl Token {
    /// Those of a file.
    pub fn parse_all(text: &str) -> Result<Vec<Self>, TokenError> {
        let mut names = BTreeSet::new();
        let mut tokens = Vec::new();
        for (at, text) in text.lines().enumerate() {
            let text = text.split('#').next().unwrap_or_default().trim();
            if text.is_empty() {
                continue;
            }
            let line = at + 1;
            let token = Self::parse(text).map_err(|text| TokenError { line, text })?;
            if !names.insert(Arc::clone(&token.name)) {
                let text = format!("`{}` is there twice", token.name);
                return Err(TokenError { line, text });
            }
            tokens.push(token);
        }
        Ok(tokens)
    }

    fn parse(line: &str) -> Result<Self, String> {
        let parts: Vec<_> = line.split_whitespace().collect();
        let [name, hash, scopes] = parts[..] else {
            return Err(format!("{} words instead of three", parts.len()));
        };
        if !is_name(name) {
            return Err(format!("`{name}` is no name"));
        }
        let hash = HEXLOWER_PERMISSIVE.decode(hash.as_bytes()).ok();
        let hash = hash.filter(|hash| hash.len() == SHA256.output_len());
        let scope = |text: &str| {
            let scope = text.parse::<Grant>();
            scope.map_err(|wrong| format!("`{text}`: {wrong}"))
        };
        Ok(Self {
            name: name.into(),
            hash: hash.ok_or("the second word is no SHA-256 in hexadecimal digits")?,
            grants: scopes.split(',').map(scope).collect::<Result<_, _>>()?,
        })
    }
}

impl Tokens {
    /// These.
    pub fn new(tokens: Vec<Token>) -> Self {
        Self(Arc::new(Shared {
            tokens: ArcSwap::from_pointee(tokens),
            wrong: AtomicU64::new(0),
            slowed: Semaphore::new(SLOWED_MAX),
        }))
    }

    /// From now on these.
    pub fn replace(&self, tokens: Vec<Token>) {
        self.0.tokens.store(Arc::new(tokens));
    }

    /// How often a wrong one was tried.
    pub(crate) fn wrong(&self) -> u64 {
        self.0.wrong.load(Ordering::Relaxed)
    }

    /// Whose token this is, if it may be used for `scope`. A wrong one waits; where many wait, it is sent away.
    pub(crate) async fn admit(&self, given: Option<&str>, scope: Scope) -> Result<Actor, Problem> {
        let admitted = self.admit_for(given, scope, None).await;
        admitted.map(|(actor, _)| actor)
    }

    /// The same, if a token for the forwards of this domain will do; and whether it is no more than that.
    pub(crate) async fn admit_for(
        &self,
        given: Option<&str>,
        scope: Scope,
        domain: Option<&str>,
    ) -> Result<(Actor, bool), Problem> {
        let Some(given) = given else {
            return Err(Problem::new(StatusCode::UNAUTHORIZED, "no token was given")
                .with_hint("send `Authorization: Bearer TOKEN`; `onward http token` makes one"));
        };
        let granted = self.granted(digest(&SHA256, given.as_bytes()).as_ref());
        let Some((actor, grants)) = granted else {
            return Err(self.refuse().await);
        };
        let domain = domain.and_then(|domain| domain.parse().ok());
        let of_domain = domain.map(Grant::ForwardsOf);
        if grants.contains(&Grant::All(scope)) {
            Ok((actor, false))
        } else if of_domain.is_some_and(|one| grants.contains(&one)) {
            Ok((actor, true))
        } else {
            Err(lacks(&actor, scope))
        }
    }

    /// The hash of a token that is one, by which it is [`known`](Self::known); a wrong one is treated as by [`admit`](Self::admit).
    pub(crate) async fn enter(&self, given: &str) -> Result<Vec<u8>, Problem> {
        let hash = digest(&SHA256, given.as_bytes());
        match self.known(hash.as_ref()) {
            Some(_) => Ok(hash.as_ref().to_vec()),
            None => Err(self.refuse().await),
        }
    }

    /// Whose token has this hash, and what it is good for everywhere.
    pub(crate) fn known(&self, hash: &[u8]) -> Option<(Actor, Vec<Scope>)> {
        let (actor, grants) = self.granted(hash)?;
        let scope = |grant| match grant {
            Grant::All(scope) => Some(scope),
            Grant::ForwardsOf(_) => None,
        };
        Some((actor, grants.into_iter().filter_map(scope).collect()))
    }

    /// Every one is compared, and each in constant time: how long it takes says nothing.
    fn granted(&self, hash: &[u8]) -> Option<(Actor, Vec<Grant>)> {
        let tokens = self.0.tokens.load();
        let mut found = None;
        for token in tokens.iter() {
            if verify_slices_are_equal(&token.hash, hash).is_ok() {
                found = Some(token);
            }
        }
        let name = |token: &Token| Actor::Token(Arc::clone(&token.name));
        found.map(|token| (name(token), token.grants.clone()))
    }

    async fn refuse(&self) -> Problem {
        let count = self.0.wrong.fetch_add(1, Ordering::Relaxed) + 1;
        // A flood of them does not flood the log.
        if count.is_power_of_two() {
            tracing::warn!(count, "a wrong HTTP token was tried");
        }
        match self.0.slowed.try_acquire() {
            Ok(_slot) => {
                sleep(SLOWED).await;
                Problem::new(StatusCode::UNAUTHORIZED, "the token is wrong")
            }
            Err(_) => Problem::new(StatusCode::TOO_MANY_REQUESTS, "too many wrong tokens")
                .with_hint("try again in a second"),
        }
    }
}

pub(crate) fn lacks(actor: &Actor, scope: Scope) -> Problem {
    let text = format!("the token `{actor}` lacks the scope `{scope}`");
    Problem::new(StatusCode::FORBIDDEN, text)
}

/// Whether a token can be called so: a word that begins with a letter, so that it is never taken for a user's number.
pub fn is_name(text: &str) -> bool {
    let is_plain = |c: char| c.is_ascii_alphanumeric() || "-_.".contains(c);
    text.len() <= NAME_OCTETS_MAX
        && text.starts_with(|c: char| c.is_ascii_alphabetic())
        && text.chars().all(is_plain)
}

/// A new token, and the line of the file that makes it known.
pub fn make(name: &str, grants: &[Grant]) -> (String, String) {
    let token = format!("onward_{}", random());
    let hash = HEXLOWER.encode(digest(&SHA256, token.as_bytes()).as_ref());
    let grants: Vec<_> = grants.iter().map(ToString::to_string).collect();
    let line = format!("{name} {hash} {}\n", grants.join(","));
    (token, line)
}

/// 256 random bits, as text.
pub(crate) fn random() -> String {
    let mut bits = [0; 32];
    rand::fill(&mut bits);
    BASE64URL_NOPAD.encode(&bits)
}

const NAME_OCTETS_MAX: usize = 64;
/// For how long a wrong token waits.
const SLOWED: Duration = Duration::from_secs(1);
/// So many wait; far fewer than there may be connections.
const SLOWED_MAX: usize = 8;

#[cfg(test)]
mod tests {
    use super::*;

    #[tokio::test(start_paused = true)]
    async fn who_is_let_in() {
        let (panel, first) = make(
            "panel",
            &[Grant::All(Scope::Read), Grant::All(Scope::Queue)],
        );
        let (other, second) = make(
            "other",
            &[
                "forwards:a.example".parse().unwrap(),
                Grant::All(Scope::Admin),
            ],
        );
        let text = format!("# ours\n\n{first}{second}");
        let tokens = Tokens::new(Token::parse_all(&text).unwrap());
        let ask = async |given: &str, scope| match tokens.admit(Some(given), scope).await {
            Ok(actor) => actor.to_string(),
            Err(problem) => problem.status.as_u16().to_string(),
        };
        assert_eq!(ask(&panel, Scope::Read).await, "panel");
        assert_eq!(ask(&panel, Scope::Admin).await, "403");
        assert_eq!(ask(&other, Scope::Read).await, "403");
        for (domain, expected) in [
            ("A.Example", "other"),
            ("b.example", "403"),
            ("a.example/", "403"),
        ] {
            let asked = tokens
                .admit_for(Some(&other), Scope::Forwards, Some(domain))
                .await;
            let got = asked.map_or_else(
                |no| no.status.as_u16().to_string(),
                |(by, _)| by.to_string(),
            );
            assert_eq!(got, expected, "{domain}");
        }
        assert_eq!(ask("", Scope::Read).await, "401");
        assert_eq!(ask(&panel[1..], Scope::Read).await, "401");
        assert!(tokens.admit(None, Scope::Read).await.is_err());
        assert_eq!(tokens.wrong(), 2);
        tokens.replace(Vec::new());
        assert_eq!(ask(&panel, Scope::Read).await, "401");
    }

    #[tokio::test(start_paused = true)]
    async fn a_flood_of_wrong_tokens_waits_or_is_sent_away() {
        let (panel, line) = make("panel", &[Grant::All(Scope::Read)]);
        let tokens = Tokens::new(Token::parse_all(&line).unwrap());
        let tries = (0..1000).map(|_| tokens.admit(Some("wrong"), Scope::Read));
        let all = futures_util::future::join_all(tries);
        let began = tokio::time::Instant::now();
        let status = |result: &Result<_, Problem>| result.as_ref().err().map(|p| p.status);
        let all: Vec<_> = all.await.iter().map(status).collect();
        let is = |wanted| all.iter().filter(|one| **one == Some(wanted)).count();
        assert_eq!(is(StatusCode::UNAUTHORIZED), SLOWED_MAX);
        assert_eq!(is(StatusCode::TOO_MANY_REQUESTS), 1000 - SLOWED_MAX);
        assert_eq!((tokens.wrong(), began.elapsed()), (1000, SLOWED));
        assert!(tokens.admit(Some(&panel), Scope::Read).await.is_ok());
    }

    #[test]
    fn what_a_line_must_be() {
        let hash = "0".repeat(64);
        for (text, wrong) in [
            ("panel read".to_owned(), "1: 2 words"),
            (format!("\n7up {hash} read"), "2: `7up` is no name"),
            (format!("panel {} read", &hash[2..]), "no SHA-256"),
            (format!("panel {hash} read,all"), "`all`: expected one of"),
            (
                format!("a {hash} read\na {hash} read"),
                "2: `a` is there twice",
            ),
        ] {
            let error = Token::parse_all(&text).unwrap_err().to_string();
            assert!(error.contains(wrong), "{error}");
        }
    }
}
