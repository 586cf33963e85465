//! Rules at EHLO and HELO.
//!
//! A name that is neither a domain nor an address literal is *not* refused: too many senders of good mail give
//! their short host name (RFC 5321 §4.1.4 forbids refusing for a name that does not verify). Only what no name
//! can look like is: it would end up in our Received header.

use crate::case::Case;
use crate::decision::Opinion;
use crate::question::Known;
use crate::replies;
use crate::rules::{NO_OBJECTION, Rules};

pub(super) const RULES: Rules = Rules {
    objections: &[("hello-malformed", malformed)],
    grounds: NO_OBJECTION,
};

fn malformed(case: &Case) -> Known<Opinion> {
    let graphic = |c: char| !c.is_whitespace() && !c.is_control() && !"<>()\"\\;,".contains(c);
    let fits = (1..=NAME_OCTETS_MAX).contains(&case.hello.len());
    let malformed = !fits || !case.hello.chars().all(graphic);
    Ok(Opinion::object_if(malformed, replies::hello_malformed))
}

/// RFC 5321 §4.5.3.1.2: a domain has at most 255 octets.
const NAME_OCTETS_MAX: usize = 255;

#[cfg(test)]
mod tests {
    use crate::tests::decided;
    use crate::{Case, Stage};

    #[track_caller]
    fn check(name: &str, accepted: bool) {
        let case = Case {
            hello: name.to_owned(),
            ..Case::default()
        };
        let expected = if accepted {
            "no-objection: grant"
        } else {
            "hello-malformed: object: 501 5.5.4 the name after EHLO or HELO is malformed"
        };
        assert_eq!(decided(Stage::Hello, &case), expected, "{name:?}");
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
