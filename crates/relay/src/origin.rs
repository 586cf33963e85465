//! What SPF and DKIM prove of the sender of a stranger's message.
//!
//! It is the reverse path that counts, because that is where a notice goes. A list's mail may fail DMARC for its author, and the
//! list's own address is proved all the same.

use authentic::{Results, Verdict};
use envelope::{DmarcPolicy, Domain, Mailbox, Origin, ReversePath};
use policy::{SpfResult, Standing};

/// What its standing proves of the senders that a client names.
pub(crate) fn of_client(client: Standing) -> Origin {
    match client {
        Standing::Trusted => Origin::TrustedClient,
        Standing::Authenticated => Origin::Authenticated,
        Standing::Stranger => Origin::Stranger,
    }
}

/// Proved, forged, or neither. Without results DKIM was not looked at, and then nothing is called forged: SPF fails whenever
/// somebody else has forwarded the mail.
pub(crate) fn origin(sender: &ReversePath, spf: SpfResult, results: Option<&Results>) -> Origin {
    let Some(domain) = sender.mailbox().and_then(Mailbox::domain) else {
        return Origin::Stranger;
    };
    let is_signed = |results: &Results| {
        let mut passed = results.dkim.iter().filter(|is| is.verdict == Verdict::Pass);
        passed.any(|found| {
            found
                .domain
                .as_ref()
                .is_some_and(|by| speaks_for(by, domain))
        })
    };
    if spf == SpfResult::Pass || results.is_some_and(is_signed) {
        return Origin::Proved;
    }
    let fails = |results: &Results| {
        let dmarc = &results.dmarc;
        spf == SpfResult::Fail
            || dmarc.verdict == Verdict::Fail && dmarc.policy != DmarcPolicy::None
    };
    match results.is_some_and(fails) && !is_in_doubt(sender, spf, results) {
        true => Origin::Forged,
        false => Origin::Stranger,
    }
}

/// Whether DNS, had it answered, could have proved more.
pub(crate) fn is_in_doubt(sender: &ReversePath, spf: SpfResult, results: Option<&Results>) -> bool {
    let Some(domain) = sender.mailbox().and_then(Mailbox::domain) else {
        return false;
    };
    let may_pass = |results: &Results| {
        let all = &results.dkim;
        let mut in_doubt = all.iter().filter(|is| is.verdict == Verdict::TempError);
        in_doubt.any(|found| {
            found
                .domain
                .as_ref()
                .is_none_or(|by| speaks_for(by, domain))
        })
    };
    spf == SpfResult::TempError || results.is_some_and(may_pass)
}

/// Whether a signer is the domain, or above it: who holds a domain's DNS can speak for what is below. One below it cannot: that
/// may be a customer's.
fn speaks_for(signer: &Domain, domain: &Domain) -> bool {
    let below = domain.as_str().strip_suffix(signer.as_str());
    let is_above = below.is_some_and(|below| below.ends_with('.'));
    signer == domain || signer.as_str().contains('.') && is_above
}

#[cfg(test)]
mod tests {
    use authentic::{Chain, Dmarc, Signed};

    use super::*;

    fn results(dkim: (Verdict, &str), dmarc: (Verdict, DmarcPolicy)) -> Results {
        Results {
            dkim: vec![Signed {
                verdict: dkim.0,
                reason: "",
                domain: dkim.1.parse().ok(),
                selector: String::new(),
                algorithm: "",
                signature: String::new(),
                is_test: false,
            }],
            arc: Chain {
                verdict: Verdict::None,
                reason: "",
                instance: 0,
                domain: None,
                is_closed: false,
            },
            dmarc: Dmarc {
                verdict: dmarc.0,
                reason: "",
                from: None,
                policy: dmarc.1,
                owner: None,
            },
        }
    }

    #[track_caller]
    fn check(spf: SpfResult, results: Option<&Results>, expected: Origin, in_doubt: bool) {
        let sender = ReversePath::Mailbox("a@news.Example.org".parse().unwrap());
        let found = (
            origin(&sender, spf, results),
            is_in_doubt(&sender, spf, results),
        );
        assert_eq!(found, (expected, in_doubt));
        assert_eq!(origin(&ReversePath::Null, spf, results), Origin::Stranger);
    }

    #[test]
    fn spf_and_dmarc() {
        use Origin::{Forged, Proved, Stranger};
        let fails = |policy| results((Verdict::Fail, "example.org"), (Verdict::Fail, policy));
        let (none, reject) = (fails(DmarcPolicy::None), fails(DmarcPolicy::Reject));
        check(SpfResult::Pass, None, Proved, false);
        check(SpfResult::Pass, Some(&reject), Proved, false);
        for spf in [SpfResult::SoftFail, SpfResult::None, SpfResult::PermError] {
            check(spf, None, Stranger, false);
            check(spf, Some(&none), Stranger, false);
            check(spf, Some(&reject), Forged, false);
        }
        check(SpfResult::Fail, None, Stranger, false);
        check(SpfResult::Fail, Some(&none), Forged, false);
        check(SpfResult::TempError, None, Stranger, true);
        check(SpfResult::TempError, Some(&reject), Stranger, true);
    }

    #[test]
    fn signers() {
        let signed = |verdict, by| results((verdict, by), (Verdict::Fail, DmarcPolicy::Reject));
        for (by, expected) in [
            ("news.example.org", Origin::Proved),
            ("example.org", Origin::Proved),
            ("a.news.example.org", Origin::Forged),
            ("s.example.org", Origin::Forged),
            ("ample.org", Origin::Forged),
            ("org", Origin::Forged),
        ] {
            let results = signed(Verdict::Pass, by);
            check(SpfResult::Fail, Some(&results), expected, false);
        }
        let in_doubt = signed(Verdict::TempError, "example.org");
        check(SpfResult::Fail, Some(&in_doubt), Origin::Stranger, true);
        let unread = signed(Verdict::TempError, "");
        check(SpfResult::Fail, Some(&unread), Origin::Stranger, true);
        let others = signed(Verdict::TempError, "other.example");
        check(SpfResult::Fail, Some(&others), Origin::Forged, false);
    }
}
