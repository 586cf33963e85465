//! ARC chains. The groups of rows, and most rows, are those of ValiMail's public suite (cv, ams, as, aar), by what each of
//! them is about; the messages are ours.

use super::*;
use crate::Verdict;
use crate::Verdict::*;

const AAR: &str = "i={i}; mx.list.test; spf=pass; dkim=pass (a; odd=comment)";
const AMS: &str = "i={i}; a=rsa-sha256; c=relaxed/relaxed; d=list.test; s=s; t=12345; h=from:to:subject:arc-authentication-results; bh={bh}";
const SEAL: &str = "i={i}; a=rsa-sha256; cv={cv}; d=list.test; s=s; t=12345";

/// Puts a set on top, signed as its tags say.
fn set(message: &str, instance: usize, aar: &str, ams: &str, seal: &str) -> String {
    let cv = if instance == 1 { "none" } else { "pass" };
    let fill = |text: &str| {
        text.replace("{i}", &instance.to_string())
            .replace("{cv}", cv)
    };
    let message = format!("ARC-Authentication-Results: {}\r\n{message}", fill(aar));
    let message = signed(&message, "ARC-Message-Signature", &fill(ams));
    let parsed = read(message.as_bytes());
    let mut data = Vec::new();
    for i in 1..=instance {
        let is_of = |field: &Field<'_>| {
            let value = String::from_utf8_lossy(field.value).into_owned();
            tag(&value, "i").parse().unwrap_or(instance) == i
        };
        for name in [
            "arc-authentication-results",
            "arc-message-signature",
            "arc-seal",
        ] {
            for field in parsed.header().named(name).filter(is_of) {
                crate::relaxed_field(field, &mut data);
            }
        }
    }
    complete("ARC-Seal", &fill(seal), Canonical::Relaxed, data) + &message
}

fn chain(instances: usize) -> String {
    (1..=instances).fold(MESSAGE.to_owned(), |message, i| {
        set(&message, i, AAR, AMS, SEAL)
    })
}

async fn result(message: &str) -> (Verdict, &'static str) {
    let arc = verify(message, &zone()).await.arc;
    (arc.verdict, arc.reason)
}

#[tokio::test]
async fn chains_that_hold() {
    for message in [MESSAGE, "", "\r\nhello\r\n", "From: a@b.test\r\n"] {
        assert_eq!(result(message).await, (None, ""), "{message}");
    }
    for instances in [1, 2, 3, 5] {
        let results = verify(&chain(instances), &zone()).await.arc;
        assert_eq!((results.verdict, results.reason), (Pass, ""), "{instances}");
        assert_eq!(usize::from(results.instance), instances);
        assert_eq!(results.domain.unwrap().as_str(), "list.test");
    }
    // A handler changes the message, and says so with a set of its own.
    let changed = chain(1).replace("Subject: x", "Subject: [list] x") + "-- \r\nfooter\r\n";
    assert_eq!(result(&changed).await, (Fail, "body has changed"));
    assert_eq!(result(&set(&changed, 2, AAR, AMS, SEAL)).await, (Pass, ""));
    // The order of fields is free, and so are folds.
    let message = chain(2);
    let (first, rest) = message.split_once("\r\n").unwrap();
    let moved = rest
        .replacen("To:", &format!("{first}\r\nTo:"), 1)
        .replace("; d=", ";\r\n\td=");
    assert_eq!(result(&moved).await, (Pass, ""));
    // What the relaxed form forgives.
    for (old, new) in [
        ("From:", "FROM :"),
        ("To: ", "To:\t  "),
        ("Ann <", "Ann\r\n\t <"),
        ("Subject: x", "Subject: x \t"),
        ("ARC-", "arc-"),
        ("Seal:", "SEAL:  "),
        (" cv=", "   cv="),
        ("hello", "hello \t"),
        ("hello\r\n", "hello\r\n\r\n\r\n"),
        ("hello\r\n", "hello"),
    ] {
        assert!(message.contains(old), "{old}");
        let changed = message.replace(old, new);
        assert_eq!(result(&changed).await, (Pass, ""), "{changed}");
    }
}

#[tokio::test]
async fn chains_that_were_changed() {
    let message = chain(2);
    for [edit, reason] in rows(include_str!("arc-changes.txt")) {
        let changed = match edit.strip_prefix("- ") {
            Some(start) => {
                let lines = message.split_inclusive("\r\n");
                lines.filter(|line| !line.starts_with(start)).collect()
            }
            Option::None => edited(&message, &edit),
        };
        assert_eq!(result(&changed).await, (Fail, &*reason), "{edit}");
    }
    // A whole set twice: neither is the one that was sealed.
    let set: String = message.split_inclusive("\r\n").take(3).collect();
    let twice = result(&format!("{set}{message}")).await;
    assert_eq!(twice, (Fail, "ARC instances are not 1, 2, 3"));
    let closed = verify(&message.replace("cv=pass", "cv=fail"), &zone())
        .await
        .arc;
    assert!(closed.is_closed && closed.instance == 2);
    let zone = Fixed::new().with_trouble("s._domainkey.list.test".parse().unwrap(), "timeout");
    assert_eq!(verify(&message, &zone).await.arc.verdict, TempError);
    assert_eq!(verify(&message, &Fixed::new()).await.arc.verdict, Fail);
}

#[tokio::test]
async fn sets_that_say_odd_things() {
    for [part, edit, verdict, reason] in rows(include_str!("arc-sets.txt")) {
        let of = |name, text: &str| {
            if part == name {
                edited(text, &edit)
            } else {
                text.to_owned()
            }
        };
        let (aar, ams, seal) = (of("aar", AAR), of("ams", AMS), of("seal", SEAL));
        // As the first set, and as the last one of a chain.
        for message in [
            set(MESSAGE, 1, &aar, &ams, &seal),
            set(&chain(1), 2, &aar, &ams, &seal),
        ] {
            let (got, why) = result(&message).await;
            assert_eq!(
                (got.name(), why),
                (&*verdict, &*reason),
                "{part} {edit}: {message}"
            );
        }
    }
}

#[tokio::test]
async fn only_the_last_message_signature_has_to_hold() {
    let broken = set(MESSAGE, 1, AAR, &AMS.replace("{bh}", "AAAA"), SEAL);
    assert_eq!(result(&broken).await, (Fail, "body has changed"));
    assert_eq!(result(&set(&broken, 2, AAR, AMS, SEAL)).await, (Pass, ""));
}
