//! Tests of the rewriter, first of all against what other programs write.

use super::*;
use crate::form::looks_like_srs;
use crate::settings::{Alphabet, Separator};

const SECRET: &str = "tops3cr3t";
/// 21 November 2026, stamp `JK`.
const TODAY: u64 = 1_795_266_072;

fn srs() -> Srs {
    Srs::new(Settings::new([SECRET])).unwrap()
}

fn day(after: u64) -> Day {
    Day::from_unix_secs(TODAY + after * DAY_SECS)
}

fn split(address: &str) -> (&str, &str) {
    address.rsplit_once('@').unwrap()
}

fn standard(local: &str) -> String {
    // Our own alphabet differs in the tag alone, which is the first part.
    let (head, rest) = local.split_at(5);
    let (tag, rest) = rest.split_once('=').unwrap();
    format!("{head}{}={rest}", tag.replace('-', "+").replace('_', "/"))
}

/// Sender, and the local part that Mail::SRS 0.31 (Debian's libmail-srs-perl) and postsrsd 1.10 (which contains
/// libsrs2) both made of it with the secret `tops3cr3t` on the day of [`TODAY`]; they agreed on every line.
///
/// Made on that day by
/// `perl -MMail::SRS -ne 'BEGIN { $s = Mail::SRS->new(Secret => ["tops3cr3t"]) } chomp; print $s->forward($_, "x.example"), "\n"'`
/// and by `get ADDRESS` on the forward port of `postsrsd -s secret -d x.example -f 20001 -r 20002`.
/// Both also read back what we write, but for tags with `-` or `_`.
const VECTORS: &[(&str, &str)] = &[
    ("alice@first.example", "SRS0=ASa2=JK=first.example=alice"),
    ("test@otherdomain.com", "SRS0=yYcF=JK=otherdomain.com=test"),
    (
        "Alice.Smith@First.Example",
        "SRS0=mXAM=JK=First.Example=Alice.Smith",
    ),
    (
        "bob=builder@first.example",
        "SRS0=HS02=JK=first.example=bob=builder",
    ),
    ("a+b@first.example", "SRS0=0WJB=JK=first.example=a+b"),
    ("a@b.example", "SRS0=FU0P=JK=b.example=a"),
    // The two characters that we write otherwise.
    ("user5@first.example", "SRS0=lTB/=JK=first.example=user5"),
    ("user39@first.example", "SRS0=qz+e=JK=first.example=user39"),
    // SRS1 over SRS0 with each separator, with what Exim writes, and with rubbish.
    (
        "SRS0=opaque+string=x@first.example",
        "SRS1=8LOR=first.example==opaque+string=x",
    ),
    (
        "SRS0+aB1c=XY=orig.example=user@first.example",
        "SRS1=bq1p=first.example=+aB1c=XY=orig.example=user",
    ),
    (
        "srs0-1f2e=XY=orig.example=user@exim.example",
        "SRS1=7Xcc=exim.example=-1f2e=XY=orig.example=user",
    ),
    (
        "SRS0=1f2e=XY=orig.example=user@exim.example",
        "SRS1=Pnnd=exim.example==1f2e=XY=orig.example=user",
    ),
    // SRS1 over SRS1.
    (
        "SRS1=XXXX=first.example==aB1c=XY=orig.example=user@second.example",
        "SRS1=tMyi=first.example==aB1c=XY=orig.example=user",
    ),
    (
        "SRS1+XXXX=first.example=+aB1c=XY=orig.example=u@second.example",
        "SRS1=lMJV=first.example=+aB1c=XY=orig.example=u",
    ),
    (
        "srs1=xxxx=First.Example=-aB1c=XY=orig.example=User@second.example",
        "SRS1=gIUf=First.Example=-aB1c=XY=orig.example=User",
    ),
];

#[test]
fn writes_what_others_write() {
    for (sender, expected) in VECTORS {
        let (local, domain) = split(sender);
        let got = srs().forward(local, domain, day(0)).unwrap();
        assert_eq!(standard(&got), *expected, "{sender}");
        assert!(!got[5..9].contains(['+', '/']), "{got}");
        let mixed = Srs::new(Settings {
            alphabet: Alphabet::Standard,
            ..Settings::new([SECRET])
        });
        let got = mixed.unwrap().forward(local, domain, day(0)).unwrap();
        assert_eq!(got, *expected, "{sender}");
    }
}

#[test]
fn reads_what_others_write() {
    for (sender, written) in VECTORS {
        let (local, domain) = split(sender);
        for form in [
            (*written).to_owned(),
            written.replacen('=', "+", 1),
            written.replacen('=', "-", 1),
        ] {
            let got = srs().reverse(&form, day(0)).unwrap();
            match got {
                Reversed::Srs0 {
                    local: l,
                    domain: d,
                } => assert_eq!((&*l, &*d), (local, domain)),
                // The name in front is not kept by anybody, the rest is, from the first separator on.
                Reversed::Srs1 {
                    local: l,
                    domain: d,
                } => {
                    assert!(local.ends_with(&l[4..]) && l.starts_with("SRS0"), "{l}");
                    assert!(d == domain || local.contains(&d), "{d}");
                }
                Reversed::Token(id) => panic!("{form} is no token {id}"),
            }
        }
    }
}

#[test]
fn longer_tags_and_other_separators() {
    // From postsrsd with `-n 8`, and with `-a+`.
    let with = |tag_octets, separator| {
        Srs::new(Settings {
            tag_octets,
            separator,
            ..Settings::new([SECRET])
        })
        .unwrap()
    };
    let long = with(8, Separator::Equals);
    let got = long.forward("test", "otherdomain.com", day(0)).unwrap();
    assert_eq!(standard(&got), "SRS0=yYcFGE+B=JK=otherdomain.com=test");
    assert!(
        srs().reverse(&got, day(0)).is_ok(),
        "a longer tag is no worse"
    );
    assert!(
        long.reverse("SRS0=yYcF=JK=otherdomain.com=test", day(0))
            .is_ok()
    );
    let strict = Settings {
        tag_octets: 8,
        tag_octets_min: 8,
        ..Settings::new([SECRET])
    };
    let strict = Srs::new(strict).unwrap();
    assert_eq!(
        strict.reverse("SRS0=yYcF=JK=otherdomain.com=test", day(0)),
        Err(ReverseError::BadTag)
    );
    let plus = with(4, Separator::Plus);
    assert_eq!(
        plus.forward("alice", "first.example", day(0)).unwrap(),
        "SRS0+ASa2=JK=first.example=alice"
    );
    assert_eq!(
        plus.forward("SRS0=opaque+string=x", "first.example", day(0))
            .unwrap(),
        "SRS1+8LOR=first.example==opaque+string=x"
    );
}

#[track_caller]
fn check_reverse(local: &str, today: Day, expected: Result<(&str, &str), ReverseError>) {
    let got = srs().reverse(local, today);
    let expected = expected.map(|(local, domain)| Reversed::Srs0 {
        local: local.into(),
        domain: domain.into(),
    });
    assert_eq!(got, expected, "{local:.80}");
}

#[test]
fn day_21_is_valid_and_22_is_not() {
    let local = "SRS0=ASa2=JK=first.example=alice";
    let sender = ("alice", "first.example");
    check_reverse(local, day(0), Ok(sender));
    check_reverse(local, day(21), Ok(sender));
    check_reverse(local, day(22), Err(ReverseError::Expired { days: 22 }));
    check_reverse(local, day(400), Err(ReverseError::Expired { days: 400 }));
    // The stamp's day comes again.
    check_reverse(local, day(1024), Ok(sender));
    // One day of skew.
    check_reverse(local, day(1024 - 1), Ok(sender));
    check_reverse(local, day(1024 - 2), Err(ReverseError::Future));
    check_reverse(local, day(1024 - 400), Err(ReverseError::Future));
}

#[test]
fn skew_and_age_are_settings() {
    let with = |max_age_days, skew_days| {
        Srs::new(Settings {
            max_age_days,
            skew_days,
            ..Settings::new([SECRET])
        })
    };
    let local = "SRS0=ASa2=JK=first.example=alice";
    let exact = with(0, 0).unwrap();
    assert!(exact.reverse(local, day(0)).is_ok());
    assert_eq!(
        exact.reverse(local, day(1)),
        Err(ReverseError::Expired { days: 1 })
    );
    assert_eq!(exact.reverse(local, day(1023)), Err(ReverseError::Future));
    let midnight = 86_400 * 7;
    for made in [midnight, midnight + 86_399] {
        assert_eq!(exact.expires(made), midnight + 86_400);
        assert_eq!(with(21, 1).unwrap().expires(made), midnight + 22 * 86_400);
    }
    assert!(with(500, 10).is_ok());
    assert_eq!(with(501, 1).err(), Some(SettingsError::Age));
    assert_eq!(with(21, 11).err(), Some(SettingsError::Age));
}

#[test]
fn folded_by_a_relay() {
    let (lower, upper) = (
        "srs0=asa2=jk=first.example=alice",
        "SRS0=ASA2=JK=FIRST.EXAMPLE=ALICE",
    );
    check_reverse(lower, day(0), Ok(("alice", "first.example")));
    check_reverse(upper, day(0), Ok(("ALICE", "FIRST.EXAMPLE")));
    // Our own signs in the URL-safe alphabet.
    check_reverse(
        "SRS0=lTB_=JK=first.example=user5",
        day(0),
        Ok(("user5", "first.example")),
    );
    check_reverse(
        "srs0=ltb_=jk=first.example=user5",
        day(0),
        Ok(("user5", "first.example")),
    );
}

#[test]
fn one_changed_character_is_noticed() {
    let local = "SRS0=ASa2=JK=first.example=alice";
    for at in 5..local.len() {
        let mut changed = local.as_bytes().to_vec();
        changed[at] = if changed[at] == b'q' { b'r' } else { b'q' };
        let changed = String::from_utf8(changed).unwrap();
        assert!(srs().reverse(&changed, day(0)).is_err(), "{changed}");
    }
}

#[test]
fn what_is_not_ours_or_not_whole() {
    for (local, error) in [
        ("alice", ReverseError::NotSrs),
        ("SRS0", ReverseError::NotSrs),
        ("SRS2=ASa2=JK=first.example=alice", ReverseError::NotSrs),
        ("SRS0=", ReverseError::Malformed),
        ("SRS0=ASa2", ReverseError::Malformed),
        ("SRS0=ASa2=JK=first.example", ReverseError::Malformed),
        ("SRS0=ASa2=J=first.example=alice", ReverseError::Malformed),
        ("SRS0=ASa2=J1=first.example=alice", ReverseError::Malformed),
        ("SRS0=ASa2=JKK=first.example=alice", ReverseError::Malformed),
        ("SRS0=ASa2=JK==alice", ReverseError::Malformed),
        ("SRS0=ASa2=JK=fi st.example=alice", ReverseError::Malformed),
        ("SRS0==JK=first.example=alice", ReverseError::BadTag),
        ("SRS0=ASa=JK=first.example=alice", ReverseError::BadTag),
        (
            "SRS0=ASa2ASa2ASa2ASa2ASa2ASa2ASa2ASa2=JK=first.example=a",
            ReverseError::BadTag,
        ),
        ("SRS0=éé=JK=first.example=alice", ReverseError::BadTag),
        // SRS1: without a tag, without an opaque part, with one that no SRS0 was cut from, forged.
        (
            "SRS1=first.example==ASa2=JK=orig.example=user",
            ReverseError::Malformed,
        ),
        ("SRS1=8LOR=first.example", ReverseError::Malformed),
        ("SRS1=8LOR=first.example=opaque", ReverseError::Malformed),
        (
            "SRS1=8LOR=other.example==opaque+string=x",
            ReverseError::BadTag,
        ),
        (
            "SRS1=8LOR=first.example=+opaque+string=x",
            ReverseError::BadTag,
        ),
    ] {
        assert_eq!(srs().reverse(local, day(0)), Err(error), "{local}");
    }
}

#[test]
fn over_long_input_costs_nothing() {
    let long = format!("SRS0=ASa2={}=first.example=alice", "A".repeat(50_000_000));
    assert_eq!(srs().reverse(&long, day(0)), Err(ReverseError::TooLong));
    assert_eq!(
        srs().reverse(&"SRS0=".repeat(181), day(0)),
        Err(ReverseError::TooLong)
    );
}

#[test]
fn all_secrets_verify_the_first_signs() {
    let rotated = Srs::new(Settings::new(["new", SECRET])).unwrap();
    assert!(
        rotated
            .reverse("SRS0=ASa2=JK=first.example=alice", day(0))
            .is_ok()
    );
    let fresh = rotated.forward("alice", "first.example", day(0)).unwrap();
    assert!(rotated.reverse(&fresh, day(0)).is_ok());
    assert_eq!(srs().reverse(&fresh, day(0)), Err(ReverseError::BadTag));
}

#[test]
fn a_broken_srs1_finds_back_to_who_wrote_it() {
    for local in [
        "SRS1=x",
        "SRS1=tag=first.example=opaque",
        "SRS1=tag=[1.2.3.4]==x",
    ] {
        let rewritten = srs().forward(local, "second.example", day(0)).unwrap();
        assert!(rewritten.starts_with("SRS0="), "{rewritten}");
        check_reverse(&rewritten, day(0), Ok((local, "second.example")));
    }
}

#[test]
fn strange_senders() {
    let whole = |local: &str, domain: &str| srs().forward(local, domain, day(0));
    for local in ["", "John Doe", "\"", "ü", "=", "a@b", "SRS0", "SRS0é"] {
        let rewritten = whole(local, "x.example").unwrap();
        check_reverse(&rewritten, day(0), Ok((local, "x.example")));
    }
    assert_eq!(whole("a", "[192.0.2.1]"), Err(ForwardError::Inexpressible));
    assert_eq!(whole("a", ""), Err(ForwardError::Inexpressible));
    assert_eq!(whole("a", "x=y"), Err(ForwardError::Inexpressible));
    assert_eq!(whole("a\0", "x.example"), Err(ForwardError::Inexpressible));
    // "SRS0=tttt=dd=x.example=" is 23 octets.
    assert_eq!(
        whole(&"a".repeat(41), "x.example").map(|local| local.len()),
        Ok(64)
    );
    assert_eq!(
        whole(&"a".repeat(42), "x.example"),
        Err(ForwardError::TooLong)
    );
    assert_eq!(
        whole(
            "SRS0=aaaa=bb=long-first-hop.example=someone",
            "second-hop.example.com"
        ),
        Err(ForwardError::TooLong)
    );
}

#[test]
fn tokens() {
    let srs = srs();
    let id = "ABCDEFGHIJKLMNOPQRSTUVW7";
    let token = srs.token(id, day(0));
    assert_eq!(token.len(), 39);
    assert!(looks_like_srs(&token));
    for form in [token.clone(), token.to_lowercase(), token.to_uppercase()] {
        let expected = Ok(Reversed::Token(id.into()));
        assert_eq!(srs.reverse(&form, day(21)), expected);
        assert_eq!(
            srs.reverse(&form, day(22)),
            Err(ReverseError::Expired { days: 22 })
        );
    }
    let other = Srs::new(Settings::new(["other"])).unwrap();
    let bad = Err(ReverseError::BadTag);
    assert_eq!(other.reverse(&token, day(0)), bad);
    // Another id, of any length, needs another tag.
    let shorter = token.replace(id, "ABC");
    assert_eq!(srs.reverse(&shorter, day(0)), bad);
    // The next forwarder wraps it and finds back to it.
    let wrapped = other.forward(&token, "us.example", day(0)).unwrap();
    assert_eq!(
        other.reverse(&wrapped, day(0)),
        Ok(Reversed::Srs1 {
            local: token,
            domain: "us.example".into()
        })
    );
    // A sender who calls himself like a token's inside is an ordinary sender.
    let posing = srs.forward("t", id, day(0)).unwrap();
    check_reverse(&posing, day(0), Ok(("t", id)));
}

#[test]
fn settings_that_make_no_sense() {
    let with = |change: fn(&mut Settings)| {
        let mut settings = Settings::new([SECRET]);
        change(&mut settings);
        Srs::new(settings).err()
    };
    assert_eq!(with(|s| s.secrets.clear()), Some(SettingsError::NoSecret));
    assert_eq!(
        with(|s| s.secrets.push(Vec::new())),
        Some(SettingsError::EmptySecret)
    );
    assert_eq!(with(|s| s.tag_octets = 3), Some(SettingsError::TagLength));
    assert_eq!(with(|s| s.tag_octets = 28), Some(SettingsError::TagLength));
    assert_eq!(
        with(|s| s.tag_octets_min = 5),
        Some(SettingsError::TagLength)
    );
    assert_eq!(
        with(|s| s.tag_octets_min = 3),
        Some(SettingsError::TagLength)
    );
    assert_eq!(with(|_| ()), None);
}

#[test]
fn no_secret_in_debug_output() {
    assert!(!format!("{:?}", srs()).contains(SECRET));
}

/// Whatever a stranger sends is answered, and never taken for ours.
#[test]
fn damaged_addresses() {
    let mut seed = 1u64;
    let mut random = |below: usize| {
        seed = seed.wrapping_mul(6_364_136_223_846_793_005).wrapping_add(1);
        usize::try_from(seed >> 33).unwrap() % below
    };
    let (srs, other) = (srs(), Srs::new(Settings::new(["other"])).unwrap());
    let odd: Vec<char> = "=+-@\"\\ \u{0}üſ2AZ".chars().collect();
    let mut refused = 0;
    for (sender, written) in VECTORS.iter().cycle().take(20_000) {
        let mut local: Vec<char> = written.chars().collect();
        for _ in 0..1 + random(3) {
            let at = 5 + random(local.len() - 5);
            match random(3) {
                0 => local.insert(at, odd[random(odd.len())]),
                1 => local[at] = odd[random(odd.len())],
                _ => drop(local.drain(at..at + 1)),
            }
        }
        let local: String = local.into_iter().collect();
        // A change of four characters of tag may be a lucky one, once in a million.
        refused += usize::from(srs.reverse(&local, day(0)).is_err());
        let _ = (
            srs.forward(&local, split(sender).1, day(0)),
            other.reverse(&local, day(0)),
        );
    }
    assert!(refused > 19_500, "{refused}");
}

#[test]
fn faces() {
    let (srs, today) = (srs(), day(0));
    let face = |text| Face::new(text).unwrap();
    let faces = ["customer+", "customer+a+", "+", "b="].map(face);
    for (local, domain) in [
        ("alice", "first.example"),
        ("Bob=Builder", "First.Example"),
        ("John Doe", "x.example"),
        ("\u{fc}", "x.example"),
        ("SRS0=aaaa=bb=c.example=d", "x.example"),
        ("t", "ABC"),
    ] {
        for face in &faces {
            let made = srs.forward_as(Some(face), local, domain, today).unwrap();
            assert!(made.starts_with(face.as_str()) && !looks_like_srs(&made));
            let sender = Ok(Reversed::Srs0 {
                local: local.into(),
                domain: domain.into(),
            });
            assert_eq!(srs.reverse_as(face, &made, day(21)), sender, "{made}");
            assert_eq!(
                srs.reverse_as(face, &made, day(22)),
                Err(ReverseError::Expired { days: 22 })
            );
            let folded = srs.reverse_as(face, &made.to_ascii_uppercase(), today);
            assert!(folded.is_ok(), "{made}");
            check_other_faces(&srs, face, &faces, &made);
        }
    }
    let long = "a".repeat(64);
    let too_long = srs.forward_as(Some(&faces[0]), &long, "x.example", today);
    assert_eq!(too_long, Err(ForwardError::TooLong));
    let literal = srs.forward_as(Some(&faces[0]), "a", "[192.0.2.1]", today);
    assert_eq!(literal, Err(ForwardError::Inexpressible));
}

#[test]
fn tokens_under_a_face() {
    let (srs, today, id) = (srs(), day(0), "ABCDEFGHIJKLMNOPQRSTUVW7");
    let faces = ["customer+", "twenty.four.octets.long+"].map(|text| Face::new(text).unwrap());
    for face in &faces {
        let token = srs.token_as(Some(face), id, today);
        assert!(token.len() <= Srs::LOCAL_OCTETS_MAX, "{token}");
        let expected = Ok(Reversed::Token(id.into()));
        assert_eq!(srs.reverse_as(face, &token.to_lowercase(), today), expected);
        check_other_faces(&srs, face, &faces, &token);
    }
}

/// What one face signed is valid under no other, nor as SRS0, nor the other way round.
#[track_caller]
fn check_other_faces(srs: &Srs, face: &Face, faces: &[Face], made: &str) {
    let today = day(0);
    let rest = face.strip(made).unwrap();
    assert!(srs.reverse(made, today).is_err());
    let as_srs0 = srs.reverse(&format!("SRS0={rest}"), today);
    assert_eq!(as_srs0, Err(ReverseError::BadTag));
    for other in faces.iter().filter(|other| *other != face) {
        assert!(srs.reverse_as(other, made, today).is_err());
        let moved = format!("{}{rest}", other.as_str());
        assert_eq!(
            srs.reverse_as(other, &moved, today),
            Err(ReverseError::BadTag)
        );
    }
    let srs0 = srs.forward("alice", "first.example", today).unwrap();
    let moved = format!("{}{}", face.as_str(), &srs0[5..]);
    assert_eq!(
        srs.reverse_as(face, &moved, today),
        Err(ReverseError::BadTag)
    );
}
