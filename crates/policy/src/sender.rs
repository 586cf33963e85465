//! What can be found out about a sender: by SPF, lists, blocklists, its own mail server, and what it has signed.
//!
//! The nouns in which the driver answers. None of them says what follows: that, the rules do.

use envelope::{DmarcPolicy, Reply};

use crate::measures::Name;

/// What SPF says (RFC 7208).
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct SpfFound {
    /// The result.
    pub result: SpfResult,
    /// Of whom.
    pub identity: Identity,
    /// Whose record was asked: the domain of the reverse path, or the name in EHLO.
    pub domain: String,
    /// How it came to that: which term of whose record, or what is wrong.
    pub reason: String,
    /// What its owner says about a fail (`exp=`): somebody else's words.
    pub explanation: Option<String>,
    /// Beside a reverse path, what the record of the name in EHLO says of the client: to be told, not to decide.
    pub hello: Option<SpfResult>,
}

envelope::named! {
    /// A result of SPF (RFC 7208 §2.6).
    pub enum SpfResult {
        /// The client may send for the domain.
        Pass = "pass",
        /// It may not.
        Fail = "fail",
        /// It probably may not.
        SoftFail = "softfail",
        /// The domain says nothing about it.
        Neutral = "neutral",
        /// The domain has no record.
        None = "none",
        /// DNS did not answer.
        TempError = "temperror",
        /// The record is broken.
        PermError = "permerror",
    }
}

/// Whom an SPF result is about.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Hash)]
pub enum Identity {
    /// The reverse path.
    MailFrom,
    /// The name in EHLO, where the reverse path is null.
    Hello,
}

/// What a blocklist says of a client or a sender.
#[derive(Debug, Clone, PartialEq, Eq)]
pub enum Blocklisted {
    /// Nothing.
    No,
    /// It is listed, and this is the operator's reply.
    Yes(Reply),
    /// It could not be asked, or does not talk to us.
    Unknown,
}

/// What the sender's own mail server says of the sender.
#[derive(Debug, Clone, PartialEq, Eq)]
pub enum Callout {
    /// It takes mail for it.
    Exists,
    /// It does not.
    Refused {
        /// The server that said so; none: no server takes mail for it.
        server: Option<String>,
        /// What it said, or why there is no server.
        reason: String,
    },
    /// It could not be found out, and why.
    Unknown(String),
    /// It is not to be asked.
    Exempt,
}

/// A result of DMARC (RFC 9989).
#[derive(Debug, Clone, PartialEq, Eq)]
pub enum DmarcFound {
    /// The From domain has no policy.
    None,
    /// SPF or DKIM proves the From domain.
    Pass,
    /// Neither does.
    Fail {
        /// What the owner asks for.
        policy: DmarcPolicy,
        /// Who asks for it: the domain that the policy was found at.
        owner: String,
    },
    /// DNS did not answer.
    TempError,
    /// The record or the From field is broken, and how.
    PermError(&'static str),
    /// The header is too large to find the From field in it.
    Unreadable,
}

/// What the rules have asked about the sender of a transaction.
#[derive(Debug, Clone, Default)]
pub struct Findings {
    /// SPF.
    pub spf: Option<SpfFound>,
    /// Each list that was asked, and whether sender or client is on it.
    pub listed: Vec<(Name, bool)>,
    /// Each blocklist that was asked.
    pub dnsbl: Vec<(Name, Blocklisted)>,
    /// The sender's own server.
    pub callout: Option<Callout>,
    /// DMARC, at the end of the body.
    pub dmarc: Option<DmarcFound>,
}
