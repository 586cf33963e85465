//! What was found out about a message: plain values for policy, and for the Authentication-Results field.

use envelope::{DmarcPolicy, Domain};

envelope::named! {
    /// A result in the words of RFC 8601 §2.7.
    pub enum Verdict {
        /// There is nothing to verify.
        None = "none",
        /// It holds.
        Pass = "pass",
        /// It does not.
        Fail = "fail",
        /// It may hold, but not by our rules: a weak key, a part of the body unsigned, expired.
        Policy = "policy",
        /// It makes no sense.
        Neutral = "neutral",
        /// DNS did not answer: later may be better.
        TempError = "temperror",
        /// It can never be verified.
        PermError = "permerror",
    }
}

/// What SPF says of the sender, as DMARC needs it. The caller names the domain that SPF looked at: of the reverse path,
/// or of HELO if that is null.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub enum Spf<'a> {
    /// The client may send for this domain.
    Pass(&'a Domain),
    /// DNS did not answer.
    TempError(&'a Domain),
    /// Everything else, not asked included.
    Other,
}

/// Everything that the header proves or does not.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct Results {
    /// The signatures that were looked at, in the order of the header.
    pub dkim: Vec<Signed>,
    /// The ARC chain.
    pub arc: Chain,
    /// DMARC for the author's domain.
    pub dmarc: Dmarc,
}

/// A DKIM signature and what came of it.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct Signed {
    /// What came of it.
    pub verdict: Verdict,
    /// Why it does not pass; empty if it does.
    pub reason: &'static str,
    /// Who signed (`d=`), if that can be read.
    pub domain: Option<Domain>,
    /// Which key (`s=`); empty if it cannot be read.
    pub selector: String,
    /// `rsa-sha256` or `ed25519-sha256`; empty for anything else.
    pub algorithm: &'static str,
    /// The first octets of the signature in base64 (RFC 6008), to tell signatures apart.
    pub signature: String,
    /// The key's owner is testing (`t=y`, RFC 6376 §3.6.1).
    pub is_test: bool,
}

/// An ARC chain and what came of it (RFC 8617 §5.2).
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct Chain {
    /// `None`, `Pass`, `Fail` or `TempError`.
    pub verdict: Verdict,
    /// Why it does not pass; empty if it does.
    pub reason: &'static str,
    /// The highest instance. 0 if there is none, or if the chain's form is broken so that it cannot be told.
    pub instance: u8,
    /// Who sealed last (`d=`).
    pub domain: Option<Domain>,
    /// An earlier handler found the chain broken and said so (`cv=fail`): nobody may add to it.
    pub is_closed: bool,
}

/// What DMARC says (RFC 9989).
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct Dmarc {
    /// `None`, `Pass`, `Fail`, `TempError` or `PermError`.
    pub verdict: Verdict,
    /// Why it does not pass; empty if it does.
    pub reason: &'static str,
    /// The author's domain (From), if there is exactly one; of an odd From, one that it looks like and that it fails for.
    pub from: Option<Domain>,
    /// What the policy asks for if the verdict is `Fail`; subdomain, missing domain and test mode are taken into account.
    pub policy: DmarcPolicy,
    /// Whose policy it is.
    pub owner: Option<Domain>,
}

impl Signed {
    /// A signature of which nothing can be said but this.
    pub fn unread(verdict: Verdict, reason: &'static str) -> Self {
        Self {
            verdict,
            reason,
            domain: None,
            selector: String::new(),
            algorithm: "",
            signature: String::new(),
            is_test: false,
        }
    }
}
