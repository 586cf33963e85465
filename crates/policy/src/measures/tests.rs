//! What profiles and lines choose, row by row.

use super::*;

fn profiles() -> Profiles {
    let names = |names: &[&str]| names.iter().map(|name| Name::from(*name)).collect();
    let mut profiles = Profiles::new(Names {
        lists: names(&["banks", "friends"]),
        dnsbls: names(&["zen", "dbl"]),
        keys: names(&["main", "short"]),
        seals: names(&["main"]),
        filters: names(&["rspamd"]),
        egresses: names(&["bulk"]),
    });
    profiles.add("default", []).unwrap();
    let strict = [
        ("spf", "reject".to_owned()),
        ("dnsbl", "zen,dbl".to_owned()),
    ];
    profiles.add("strict", strict).unwrap();
    profiles
}

#[track_caller]
fn check(options: &[(&str, &str)], expected: &str) {
    let profiles = profiles();
    for (name, value) in options {
        assert_eq!(profiles.check(name, value), Ok(()), "{name}={value}");
    }
    let Measures {
        spf,
        dmarc,
        dnsbl,
        sender_block,
        spf_force,
        verify_sender,
        sign,
        ..
    } = &*profiles.measures(options);
    let got = format!(
        "{spf:?} {dmarc:?} {dnsbl:?} {sender_block:?} {spf_force:?} {verify_sender} {sign:?}"
    );
    assert_eq!(got, expected);
}

#[test]
fn what_a_line_chooses() {
    check(&[], "Mark Mark [] [] [] false None");
    check(
        &[("profile", "strict")],
        r#"Reject Mark ["zen", "dbl"] [] [] false None"#,
    );
    check(
        &[("dnsbl", "off"), ("profile", "strict"), ("dmarc", "hold")],
        "Reject Hold [] [] [] false None",
    );
    check(
        &[
            ("spf", "off"),
            ("sender_block", "friends,banks"),
            ("spf_force", "banks"),
            ("verify_sender", "reject"),
            ("sign", "main"),
        ],
        r#"Off Mark [] ["friends", "banks"] ["banks"] true Some("main")"#,
    );
}

/// `explain` shows them so.
#[test]
fn every_measure_is_shown() {
    let all = "spf=reject dmarc=hold verify_sender=reject sender_block=friends sender_exempt=banks spf_force=banks dnsbl=zen sign=main seal=main filter=rspamd egress=bulk";
    let options: Vec<_> = all
        .split(' ')
        .filter_map(|option| option.split_once('='))
        .collect();
    assert_eq!(profiles().measures(&options).to_string(), all);
}

#[test]
fn without_a_default_profile_nothing_is_done() {
    let nothing: [(&str, &str); 0] = [];
    assert_eq!(*Profiles::default().measures(&nothing), Measures::default());
}

#[track_caller]
fn refused(name: &str, value: &str, expected: &str) {
    let wrong = profiles().check(name, value).unwrap_err();
    assert_eq!(format!("{wrong} | {}", wrong.hint()), expected);
}

#[test]
fn what_no_line_may_have() {
    refused(
        "profile",
        "lax",
        "no [[profile]] is called `lax` | correct the name, or add a [[profile]] with it to the configuration",
    );
    refused(
        "dnsbl",
        "zen,spam",
        "no [[dnsbl]] is called `spam` | correct the name, or add a [[dnsbl]] with it to the configuration",
    );
    refused(
        "seal",
        "main,other",
        "no [[dkim]] is called `main,other` | correct the name, or add a [[dkim]] with it to the configuration",
    );
    refused(
        "seal",
        "short",
        "the [[dkim]] `short` cannot seal | verifiers of ARC know RSA keys only",
    );
    refused(
        "spf",
        "hold",
        "unknown value `hold` | write `off`, `mark` or `reject`",
    );
    assert_eq!(profiles().check("spam", "x"), Err(Wrong::Unknown));
}

#[test]
fn what_no_profile_may_have() {
    let mut profiles = profiles();
    let twice = Err(("name", Wrong::Twice("strict".to_owned())));
    assert_eq!(profiles.add("strict", []), twice);
    let name = |text: &str| Err(("name", Wrong::NotAName(text.to_owned())));
    for text in ["", "off", "a b", "a,b", "a=b", "a#"] {
        assert_eq!(profiles.add(text, []), name(text));
    }
}
