//! One line of the forwards file: key, action, options.
//!
//! ```text
//! line    = key blanks action *( blanks option ) [ blanks "#" comment ]
//! key     = address / "@" domain / pattern / domain      ; a pattern has one unquoted "*" in its local part
//! action  = targets / ":discard:" / ":reject:" [ code [ status ] text ] / ":domain:"
//! targets = target *( "," [ blanks ] target )
//! target  = address / "@" domain                             ; the recipient's own local part in that domain
//! ```
//!
//! The text of `:reject:` goes to the end of the line. Local parts are folded: see [`fold`].

use envelope::{Domain, EnhancedStatus, Host, LocalPart, Mailbox, NotARefusal, Reply};

use super::options::{Check, Options};
use super::words::Words;
use crate::fold::fold;

/// A line as typed and checked.
#[derive(Debug)]
pub(super) struct Line {
    /// Where it begins in the text of its table.
    pub(super) at: u32,
    /// That text is the one of the table beneath.
    pub(super) is_beneath: bool,
    pub(super) key: Key,
    pub(super) action: Action,
    pub(super) options: Options,
}

/// What a line is about.
#[derive(Debug, PartialEq, Eq)]
pub(super) struct Key {
    pub(super) form: Form,
    pub(super) domain: Domain,
}

/// Which addresses of the domain. Texts are folded, without quotes.
#[derive(Debug, PartialEq, Eq)]
pub(super) enum Form {
    /// One local part.
    Local(String),
    /// All that begin and end so.
    Pattern { prefix: String, suffix: String },
    /// All that have no line of their own.
    CatchAll,
    /// The domain itself: its options.
    Domain,
}

/// What happens to its mail.
#[derive(Debug)]
pub(super) enum Action {
    Targets(Vec<Goal>),
    Discard,
    Reject(Reply),
    /// Nothing: it is a domain's line.
    Domain,
}

/// One target as typed.
#[derive(Debug)]
pub(super) enum Goal {
    /// A mailbox.
    Address(Mailbox),
    /// `@domain`: the local part of whoever is looked up, kept as it is, in another domain.
    SameLocalPart(Domain),
}

impl Goal {
    /// The mailbox for this recipient; `None` where both together make too long an address.
    pub(super) fn of(&self, recipient: &Mailbox) -> Option<Mailbox> {
        match self {
            Self::Address(mailbox) => Some(mailbox.clone()),
            Self::SameLocalPart(domain) => {
                let local = recipient.local_part().clone();
                Mailbox::new(local, Host::Domain(domain.clone())).ok()
            }
        }
    }
}

/// What is wrong, where in the line (in octets, from 0), and what to do.
#[derive(Debug)]
pub(super) struct Mistake {
    pub(super) at: usize,
    pub(super) text: String,
    pub(super) hint: Option<String>,
    /// Where the line begins that this one repeats. Its number is counted only if the mistake is told.
    pub(super) repeats: Option<u32>,
}

impl Mistake {
    pub(super) fn new(at: usize, text: impl Into<String>) -> Self {
        Self {
            at,
            text: text.into(),
            hint: None,
            repeats: None,
        }
    }

    pub(super) fn hint(mut self, hint: impl Into<String>) -> Self {
        self.hint = Some(hint.into());
        self
    }
}

impl Line {
    /// Parses a line without its end; `None` if it is blank or a comment.
    pub(super) fn parse(text: &str, check: Check<'_>) -> Result<Option<Self>, Mistake> {
        let mut words = Words::of(text);
        let Some((key_at, key_word)) = words.next_word() else {
            return Ok(None);
        };
        check_text(text)?;
        let mut key = Key::parse(key_word, key_at)?;
        let Some((at, word)) = words.peek_word() else {
            let text = format!("nothing said about `{key_word}`");
            return Err(
                Mistake::new(words.at, text).hint("write a target, `:discard:` or `:reject:`")
            );
        };
        let action = if word.starts_with(':') {
            words.next_word();
            parse_action(word, at, &mut words)?
        } else {
            Action::Targets(parse_targets(&mut words)?)
        };
        key.agree_with(&action, key_word, key_at)?;
        let mut options = Options::default();
        while let Some((at, word)) = words.next_word() {
            options.set(word, at, check)?;
        }
        if key.form == Form::Domain && (options.enabled, options.expires) != (None, None) {
            let text = "`enabled` and `expires` are of an address, not of a domain";
            return Err(Mistake::new(key_at, text));
        }
        Ok(Some(Self {
            at: 0,
            is_beneath: false,
            key,
            action,
            options,
        }))
    }
}

impl Key {
    /// The key of a line that is known to have one: reads no further.
    pub(super) fn of_line(text: &str) -> Option<Self> {
        let (at, word) = Words::of(text).next_word()?;
        Self::parse(word, at).ok()
    }

    fn parse(word: &str, at: usize) -> Result<Self, Mistake> {
        let Some(split) = word.rfind('@') else {
            let domain = parse_domain(word, at)?;
            return Ok(Self {
                form: Form::Domain,
                domain,
            });
        };
        let local = &word[..split];
        let domain = parse_domain(&word[split + 1..], at + split + 1)?;
        let form = match local.split_once('*') {
            _ if local.is_empty() => Form::CatchAll,
            Some((prefix, suffix)) if !local.starts_with('"') => {
                check_pattern(prefix, suffix, word, at)?;
                Form::Pattern {
                    prefix: fold(prefix),
                    suffix: fold(suffix),
                }
            }
            _ => Form::Local(fold(parse_address(word, at)?.local_part().as_str())),
        };
        Ok(Self { form, domain })
    }

    /// An address that the line is about; for a pattern or a catch-all one that hardly has a line of its own.
    pub(super) fn an_address(&self) -> Option<Mailbox> {
        let local = match &self.form {
            Form::Local(local) => local.clone(),
            Form::Pattern { prefix, suffix } => format!("{prefix}{ANY_LOCAL_PART}{suffix}"),
            Form::CatchAll => ANY_LOCAL_PART.to_owned(),
            Form::Domain => return None,
        };
        let local = LocalPart::from_unquoted(&local).ok()?;
        Mailbox::new(local, Host::Domain(self.domain.clone())).ok()
    }

    /// A domain without `@` takes `:domain:` and nothing else, and nothing else takes that.
    fn agree_with(&mut self, action: &Action, word: &str, at: usize) -> Result<(), Mistake> {
        match (&self.form, action) {
            (Form::Domain, Action::Domain) => Ok(()),
            (Form::Domain, _) => {
                let hint = format!(
                    "`@{word}` is its catch-all; options of a domain are written `{word} :domain: …`"
                );
                Err(Mistake::new(at, "not an address").hint(hint))
            }
            // `@example.net :domain:` can only mean the domain.
            (_, Action::Domain) if word.starts_with('@') => {
                self.form = Form::Domain;
                Ok(())
            }
            (_, Action::Domain) => Err(Mistake::new(at, "`:domain:` after an address")
                .hint(format!("write `{} :domain: …`", self.domain))),
            _ => Ok(()),
        }
    }
}

fn check_text(text: &str) -> Result<(), Mistake> {
    if text.len() > LINE_OCTETS_MAX {
        let text = format!("line over {LINE_OCTETS_MAX} octets");
        return Err(Mistake::new(0, text).hint("forward to an address that has several lines"));
    }
    match text.find(|c: char| c.is_control() && c != '\t') {
        Some(at) => Err(Mistake::new(at, "control character")),
        None => Ok(()),
    }
}

fn check_pattern(prefix: &str, suffix: &str, word: &str, at: usize) -> Result<(), Mistake> {
    if suffix.contains('*') {
        let text = "more than one `*` in a pattern";
        return Err(Mistake::new(at, text).hint("one `*` stands for any text, even an empty one"));
    }
    if prefix.is_empty() && suffix.is_empty() {
        let hint = format!("a catch-all is written `{}`", &word[1..]);
        return Err(Mistake::new(at, "pattern that fits everything").hint(hint));
    }
    // An address that fits the pattern must be one: any letter in the place of `*` shows it.
    parse_address(&word.replacen('*', "x", 1), at).map(drop)
}

fn parse_action(word: &str, at: usize, words: &mut Words<'_>) -> Result<Action, Mistake> {
    match word {
        ":discard:" => Ok(Action::Discard),
        ":domain:" => Ok(Action::Domain),
        ":reject:" => parse_reject(words).map(Action::Reject),
        _ => Err(Mistake::new(at, format!("unknown action `{word}`"))
            .hint("actions are `:discard:`, `:reject:` and `:domain:`")),
    }
}

/// `[code] [status] text`; each may be missing, but a status without a code makes no sense.
fn parse_reject(words: &mut Words<'_>) -> Result<Reply, Mistake> {
    let (at, text) = words.take_rest();
    let mut reply = match Reply::parse_refusal(text, REJECT_STATUS) {
        Ok(reply) => reply,
        Err(NotARefusal::NoCode) => {
            let (subject, detail) = REJECT_STATUS;
            Reply::new(550, EnhancedStatus::permanent(subject, detail), text)
        }
        Err(wrong) => {
            let hint = match wrong {
                NotARefusal::Status(..) => "both begin with the same digit",
                _ => "use 550, or 450 for the time being",
            };
            return Err(Mistake::new(at, wrong.to_string()).hint(hint));
        }
    };
    if reply.text.is_empty() {
        reply.text = REJECT_TEXT.to_owned();
    }
    Ok(reply)
}

fn parse_targets(words: &mut Words<'_>) -> Result<Vec<Goal>, Mistake> {
    let mut targets = Vec::with_capacity(1);
    loop {
        let (at, word) = words.next_target();
        if word.is_empty() {
            return Err(Mistake::new(at, "target missing")
                .hint("one comma between two targets, none at the end"));
        }
        if word.starts_with(':') {
            let text = format!("`{word}` among targets");
            return Err(Mistake::new(at, text).hint("`:discard:` and `:reject:` stand alone"));
        }
        if targets.len() == TARGETS_MAX {
            return Err(Mistake::new(at, format!("over {TARGETS_MAX} targets")));
        }
        targets.push(match word.strip_prefix('@') {
            Some(domain) => Goal::SameLocalPart(parse_domain(domain, at + 1)?),
            None => Goal::Address(parse_address(word, at)?),
        });
        if !words.next_comma() {
            return Ok(targets);
        }
    }
}

fn parse_address(word: &str, at: usize) -> Result<Mailbox, Mistake> {
    let mailbox: Mailbox = word.parse().map_err(|error| {
        Mistake::new(at, format!("`{word}`: {error}"))
            .hint("an address is written `local-part@domain`")
    })?;
    // A single label is most often a slip of the pen, and no mail of the Internet goes there.
    match mailbox.host() {
        Host::Domain(domain) if !domain.as_str().contains('.') => {
            Err(Mistake::new(at, format!("`{word}`: domain without a dot"))
                .hint("write the full domain"))
        }
        _ => Ok(mailbox),
    }
}

fn parse_domain(word: &str, at: usize) -> Result<Domain, Mistake> {
    let domain: Domain = word
        .parse()
        .map_err(|error| Mistake::new(at, format!("`{word}`: {error}")).hint(KEY_HINT))?;
    if domain.as_str().contains('.') {
        Ok(domain)
    } else {
        Err(Mistake::new(at, format!("`{word}`: domain without a dot")).hint(KEY_HINT))
    }
}

/// Room for a thousand targets and more.
const LINE_OCTETS_MAX: usize = 64 * 1024;
/// Targets of one line. One message to such a line is that many legs.
const TARGETS_MAX: usize = 1000;
const ANY_LOCAL_PART: &str = "any-local-part";
const REJECT_TEXT: &str = "this address takes no mail";
const REJECT_STATUS: (u16, u16) = (1, 1);
const KEY_HINT: &str = "a line begins with an address, `@domain`, or `domain :domain:`";
