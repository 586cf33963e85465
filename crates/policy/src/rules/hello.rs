//! Rules at EHLO and HELO.
//!
//! A name that is neither a domain nor an address literal is *not* refused: too many senders of good mail give
//! their short host name (RFC 5321 §4.1.4 forbids refusing for a name that does not verify). Only what no name
//! can look like is: it would end up in our Received header.

use envelope::Verdict;

use crate::facts::Hello;
use crate::replies;
use crate::rules::Rule;

pub(crate) const RULES: &[Rule<Hello>] = &[Rule {
    name: "hello-malformed",
    apply: malformed,
}];

fn malformed(facts: &Hello) -> Option<Verdict> {
    let graphic = |c: char| !c.is_whitespace() && !c.is_control() && !"<>()\"\\;,".contains(c);
    let well_formed =
        (1..=NAME_OCTETS_MAX).contains(&facts.name.len()) && facts.name.chars().all(graphic);
    (!well_formed).then(|| Verdict::Refuse(replies::hello_malformed()))
}

/// RFC 5321 §4.5.3.1.2: a domain has at most 255 octets.
const NAME_OCTETS_MAX: usize = 255;

#[cfg(test)]
mod tests {
    use super::*;
    use crate::facts::Standing;

    #[track_caller]
    fn check(name: &str, accepted: bool) {
        let standing = Standing::Stranger;
        let decision = crate::hello(&Hello {
            name: name.to_owned(),
            standing,
        });
        let expected = if accepted {
            crate::NO_OBJECTION
        } else {
            "hello-malformed"
        };
        assert_eq!(decision.rule, expected, "{name:?}");
        assert_eq!(decision.verdict == Verdict::Accept, accepted, "{name:?}");
    }

    #[test]
    fn names() {
        check("mail.example.org", true);
        check("[192.0.2.1]", true);
        check("[IPv6:2001:db8::1]", true);
        check("localhost", true);
        check("MY_LAPTOP", true);
        check("192.0.2.1", true);
        check("a..b", true);
        check("bücher.example", true);
        check(&"a".repeat(255), true);
        check(&"a".repeat(256), false);
        check("", false);
        check("two words", false);
        check("tab\there", false);
        check("cr\rlf\n", false);
        check("nul\0", false);
        check("c1\u{85}", false);
        check("(comment)", false);
        check("a;b", false);
        check("<a>", false);
    }
}
