//! The users who may log in, from a file that an operator or a control panel keeps.
//!
//! ```text
//! # name : hash of the password [: options]
//! ann@example.org:$argon2id$v=19$m=65536,t=3,p=1$…
//! printer:$6$…:senders=printer@example.org,*.example.net profile=users
//! bob@example.org::senders=any               no hash: Dovecot knows the password
//! ```
//!
//! A `#` at the beginning of a line or after a blank begins a comment. Names are compared without regard to case, as Dovecot
//! does unless told otherwise. A name that is an address may send as any address of its domain, any other name as anybody, unless
//! `senders` says else. It does *not* read files or compare passwords.

mod hash;

use std::collections::BTreeMap;
use std::ops::Bound::{Excluded, Unbounded};
use std::sync::Arc;

use forwarder::table::{TableError, TableErrors};
use forwarder::{ReturnPath, fold};
use policy::{Measures, Name, Profiles, Senders};

use crate::lists::{BYTE_ORDER_MARK, without_comment};

pub use hash::{Hash, NotAHash, PASSWORD_OCTETS_MAX};

/// All of them.
#[derive(Debug, Default)]
pub struct Users {
    by_name: BTreeMap<Name, User>,
    /// What is done with the mail of those who have no profile of their own.
    measures: Arc<Measures>,
}

/// One line.
#[derive(Debug)]
pub struct User {
    /// What policy knows of the user.
    pub policy: Arc<policy::User>,
    /// None, if Dovecot knows the password.
    pub hash: Option<Hash>,
    /// Under which reverse path mail goes out, and bounces come back.
    pub return_path: Option<ReturnPath>,
}

/// What lines mean together with the rest of the configuration.
pub struct Context<'a> {
    /// What `profile=` can name.
    pub profiles: &'a Profiles,
    /// The measures of users who name none.
    pub measures: Arc<Measures>,
    /// Whether Dovecot is asked about users without a hash.
    pub asks_dovecot: bool,
}

/// What is wrong with a line: from which octet on, what, and what to write.
struct Mistake {
    at: usize,
    text: String,
    hint: &'static str,
}

impl Users {
    /// Reads the content of a file, all of it or nothing; `file` is its name in messages.
    pub fn parse(file: &str, content: &[u8], context: &Context<'_>) -> Result<Self, TableErrors> {
        let lines = content.strip_prefix(BYTE_ORDER_MARK).unwrap_or(content);
        let mut errors = TableErrors::default();
        let mut by_name = BTreeMap::new();
        for (line, number) in lines.split(|b| *b == b'\n').zip(1..) {
            let text = String::from_utf8_lossy(line);
            let user = User::parse(&text, context);
            let added = user.and_then(|user| user.map_or(Ok(()), |user| add(&mut by_name, user)));
            if let Err(mistake) = added {
                errors.push(|| TableError {
                    file: file.to_owned(),
                    line: number,
                    column: text[..mistake.at].chars().count() + 1,
                    text: mistake.text,
                    hint: Some(mistake.hint.to_owned()),
                });
            }
        }
        if errors.count > 0 {
            return Err(errors);
        }
        Ok(Self {
            by_name,
            measures: Arc::clone(&context.measures),
        })
    }

    /// How many there are.
    pub fn count(&self) -> usize {
        self.by_name.len()
    }

    /// The user of this name.
    pub fn find(&self, name: &str) -> Option<&User> {
        self.by_name.get(&*fold(name))
    }

    /// Every return path of a user.
    pub fn return_paths(&self) -> impl Iterator<Item = &ReturnPath> {
        let users = self.by_name.values();
        users.filter_map(|user| user.return_path.as_ref())
    }

    /// What policy knows of a user whom Dovecot knows by this name.
    pub fn of_dovecot(&self, name: &str) -> Arc<policy::User> {
        match self.find(name) {
            Some(user) => Arc::clone(&user.policy),
            None => Arc::new(plain(name, &self.measures)),
        }
    }

    /// A hash to compare with for one who is not here, so that it takes as long as for one who is: that of the next user, as
    /// kinds and costs may be mixed.
    pub fn decoy(&self, name: &str) -> Option<&Hash> {
        let name = fold(name);
        let behind = self.by_name.range::<str, _>((Excluded(&*name), Unbounded));
        let mut users = behind.chain(&self.by_name);
        users.find_map(|(_, user)| user.hash.as_ref())
    }
}

impl User {
    /// What a line says; `None` if it is blank or a comment.
    fn parse(line: &str, context: &Context<'_>) -> Result<Option<Self>, Mistake> {
        let line = without_comment(line).trim_end();
        if line.is_empty() {
            return Ok(None);
        }
        let mistake = |at, text: String, hint| Mistake { at, text, hint };
        let Some((name, rest)) = line.split_once(':') else {
            return Err(mistake(0, "no `:`".to_owned(), LINE_HINT));
        };
        let is_printed = |c: char| !c.is_whitespace() && !c.is_control() && c != '\u{fffd}';
        if !(1..=NAME_OCTETS_MAX).contains(&name.len()) || !name.chars().all(is_printed) {
            let text = format!("a name is 1 to {NAME_OCTETS_MAX} octets of UTF-8 without blanks");
            return Err(mistake(0, text, LINE_HINT));
        }
        let (hash, options) = rest.split_once(':').unwrap_or((rest, ""));
        let hash_at = name.len() + 1;
        let wrong_hash = |error: NotAHash| mistake(hash_at, error.to_string(), HASH_HINT);
        let hash = match hash {
            "" if context.asks_dovecot => None,
            "" => {
                return Err(mistake(
                    hash_at,
                    "no password hash".to_owned(),
                    NO_HASH_HINT,
                ));
            }
            hash => Some(Hash::parse(hash).map_err(wrong_hash)?),
        };
        let mut user = plain(name, &context.measures);
        let mut return_path = None;
        set_options(&mut user, &mut return_path, options, context).map_err(
            |(option, text, hint)| {
                // Both are parts of the line.
                let at = option.as_ptr() as usize - line.as_ptr() as usize;
                mistake(at, text, hint)
            },
        )?;
        Ok(Some(Self {
            policy: Arc::new(user),
            hash,
            return_path,
        }))
    }
}

/// A user of whom no option says anything.
fn plain(name: &str, measures: &Arc<Measures>) -> policy::User {
    policy::User {
        name: fold(name).into(),
        senders: Senders::by_default(name),
        measures: Arc::clone(measures),
    }
}

/// An error names the option that is wrong.
fn set_options<'a>(
    user: &mut policy::User,
    return_path: &mut Option<ReturnPath>,
    options: &'a str,
    context: &Context<'_>,
) -> Result<(), (&'a str, String, &'static str)> {
    let mut seen = Vec::new();
    for option in options.split_whitespace() {
        let wrong = |text: String, hint| Err((option, text, hint));
        let (name, value) = option.split_once('=').unwrap_or((option, ""));
        if seen.contains(&name) {
            return wrong(format!("option `{name}` given twice"), "remove one");
        }
        seen.push(name);
        match name {
            "senders" => match Senders::parse(value) {
                Ok(senders) => user.senders = senders,
                Err(error) => return wrong(error.to_string(), SENDERS_HINT),
            },
            "profile" => match context.profiles.of_users(value) {
                Some(measures) => user.measures = measures,
                None => return wrong(format!("no [[profile]] is called `{value}`"), PROFILE_HINT),
            },
            "return_path" => match value.parse::<ReturnPath>() {
                Ok(path) => *return_path = Some(path),
                Err(error) => return wrong(error.to_string(), error.hint()),
            },
            _ => return wrong(format!("unknown option `{name}`"), OPTIONS_HINT),
        }
    }
    Ok(())
}

fn add(by_name: &mut BTreeMap<Name, User>, user: User) -> Result<(), Mistake> {
    let name = Name::clone(&user.policy.name);
    if by_name.contains_key(&name) {
        return Err(Mistake {
            at: 0,
            text: format!("user `{name}` given twice"),
            hint: "names are compared without regard to case: remove one of the lines",
        });
    }
    by_name.insert(name, user);
    Ok(())
}

/// As much as AUTH takes.
const NAME_OCTETS_MAX: usize = 255;
const LINE_HINT: &str = "a line is `name:hash` or `name:hash:options`";
const HASH_HINT: &str = "one begins with $argon2id$, $6$, $5$, $2b$ or $y$; `doveadm pw -s ARGON2ID`, `mkpasswd` and `openssl passwd -6` make one";
const NO_HASH_HINT: &str =
    "only with `[auth] dovecot` may Dovecot know the password; else `mkpasswd` makes a hash";
const SENDERS_HINT: &str =
    "`senders=any`, or names between commas: `example.org,*.example.org,ann@example.net`";
const PROFILE_HINT: &str = "correct the name, or add a [[profile]] with it";
const OPTIONS_HINT: &str =
    "options are `senders=`, `profile=` and `return_path=`, with blanks between them";

#[cfg(test)]
mod tests {
    use super::*;

    fn parse(content: &str, asks_dovecot: bool) -> Result<Users, TableErrors> {
        let context = Context {
            profiles: &Profiles::default(),
            measures: Arc::default(),
            asks_dovecot,
        };
        Users::parse("users", content.as_bytes(), &context)
    }

    #[track_caller]
    fn check_senders(users: &Users, name: &str, expected: &str) {
        let senders = &users.find(name).unwrap().policy.senders;
        assert_eq!(senders, &Senders::parse(expected).unwrap(), "{name}");
    }

    #[test]
    fn lines() {
        let content = format!(
            "\u{feff}# users\n\nann@Example.org:{HASH}\nprinter:{{SHA512-CRYPT}}{HASH}:senders=x@y.example # old\r\n\
             \u{fc}ber:{HASH}:senders=any\nbob::senders=a.example,*.b.example\ncarl@c.example:\n"
        );
        let users = parse(&content, true).unwrap();
        assert_eq!(users.count(), 5);
        check_senders(&users, "ANN@example.ORG", "example.org");
        check_senders(&users, "printer", "x@y.example");
        check_senders(&users, "\u{dc}BER", "any");
        check_senders(&users, "bob", "a.example,*.b.example");
        check_senders(&users, "carl@c.example", "c.example");
        assert!(users.find("ann").is_none() && users.find("").is_none());
        let has_hash = |name| users.find(name).unwrap().hash.is_some();
        assert!(has_hash("printer") && !has_hash("bob") && !has_hash("carl@c.example"));
        assert_eq!(
            &*users.find("ann@EXAMPLE.org").unwrap().policy.name,
            "ann@example.org"
        );
        // Dovecot may know users who have no line here.
        assert_eq!(&*users.of_dovecot("Dora@d.example").name, "dora@d.example");
        let dora = &users.of_dovecot("Dora@d.example").senders;
        assert_eq!(dora, &Senders::parse("d.example").unwrap());
    }

    #[test]
    fn a_decoy_for_every_name() {
        let users = parse(&format!("b:{HASH}\nc::\n"), true).unwrap();
        for name in ["", "a", "b", "bb", "c", "z"] {
            assert!(users.decoy(name).is_some(), "{name}");
        }
        assert!(Users::default().decoy("a").is_none());
    }

    #[track_caller]
    fn check_mistake(line: &str, column: usize, expected: &str) {
        let said = parse(&format!("# head\na:{HASH}\n{line}\n"), false)
            .unwrap_err()
            .to_string();
        assert!(
            said.starts_with(&format!("users:3:{column}: {expected}")),
            "{line}: {said}"
        );
        assert!(said.contains("\n\nhint: "), "{said}");
    }

    #[test]
    fn mistakes() {
        check_mistake("ann", 1, "no `:`");
        check_mistake(":x", 1, "a name is 1 to 255 octets");
        check_mistake(&format!("a b:{HASH}"), 1, "a name is 1 to 255 octets");
        check_mistake(&format!("A:{HASH}"), 1, "user `a` given twice");
        check_mistake("ann:", 5, "no password hash");
        check_mistake("\u{fc}ber::senders=any", 6, "no password hash");
        check_mistake("ann:{PLAIN}secret", 5, "no password hash of a known kind");
        check_mistake("ann:$6$rounds=5000$x$y", 5, "damaged $6$ hash");
        check_mistake(&format!("b:{HASH}:senders"), 102, "");
        check_mistake(
            &format!("b:{HASH}:senders=any senders=any"),
            114,
            "option `senders` given twice",
        );
        check_mistake(
            &format!("b:{HASH}:return_path=b@c.example"),
            102,
            "no `{original}@` in it",
        );
        check_mistake(
            &format!("b:{HASH}:profile=none"),
            102,
            "no [[profile]] is called `none`",
        );
        check_mistake(
            &format!("b:{HASH}:1000:1000::/home/b"),
            102,
            "unknown option `1000:1000::/home/b`",
        );
    }

    /// What may be a password is never repeated: logs and tickets keep it.
    #[test]
    fn a_message_has_no_secret() {
        for line in [
            "ann:{PLAIN}secret",
            "ann:secret",
            "ann:$9$secret",
            "ann:$6$secret",
        ] {
            let said = parse(line, false).unwrap_err().to_string();
            assert!(!said.contains("secret"), "{said}");
        }
    }

    /// `cargo test --release -p relay -- --ignored --nocapture hundred_thousand`.
    #[test]
    #[ignore = "measures; prints its figures"]
    fn a_hundred_thousand_users() {
        let line = |n: u32| format!("user{n}@d{}.example:{HASH}\n", n % 1000);
        let content: String = (0..100_000).map(line).collect();
        let began = std::time::Instant::now();
        let users = parse(&content, false).unwrap();
        println!("{} users in {:?}", users.count(), began.elapsed());
    }

    const HASH: &str = "$6$saltsalt$NA46XJi4mQCSec7lgsnSwOQJjYgYroVqtkGVc71qZmrP4kr1cbAsr53L4RG4T4lU9Fp51Uc5SiOHcU4zyQszA/";
}
