//! DKIM-Signature: what passes, and what does not.

use super::*;
use crate::Verdict;
use crate::Verdict::*;

const TAGS: &str =
    "v=1; a=rsa-sha256; c=relaxed/relaxed; d=author.test; s=s; h=from:to:subject; bh={bh}";

async fn result(message: &str, zone: &Fixed) -> (Verdict, &'static str) {
    let results = verify(message, zone).await;
    assert_eq!(results.dkim.len(), 1);
    (results.dkim[0].verdict, results.dkim[0].reason)
}

#[tokio::test]
async fn every_form_and_algorithm_passes() {
    let bodies = [
        "",
        "\r\n",
        "hi",
        "hi \r\n \r\n\t\r\n",
        " a  b\r\n\r\n\r\nc\t\r\n\r\n",
        ".dots\r\n..\r\n",
    ];
    for form in [
        "simple",
        "relaxed",
        "simple/simple",
        "simple/relaxed",
        "relaxed/simple",
        "relaxed/relaxed",
    ] {
        for (algorithm, selector) in [("rsa-sha256", "s"), ("ed25519-sha256", "e")] {
            for body in bodies {
                let message = format!("From:  Ann\r\n\t<ann@author.test> \r\nX: \r\n\r\n{body}");
                let tags = format!(
                    "v=1; a={algorithm}; c={form};\r\n\td=author.test; s={selector}; h=from : x:\r\n x; bh={{bh}}"
                );
                let message = signed(&message, "DKIM-Signature", &tags);
                assert_eq!(result(&message, &zone()).await, (Pass, ""), "{message}");
                let changed = message.replace("Ann\r\n", "Anne\r\n");
                assert_eq!(result(&changed, &zone()).await.0, Fail, "{changed}");
                let changed = format!("{message}more");
                assert_eq!(
                    result(&changed, &zone()).await,
                    (Fail, "body has changed"),
                    "{changed}"
                );
            }
        }
    }
}

#[tokio::test]
async fn changes_that_a_form_forgives() {
    let message = signed(MESSAGE, "DKIM-Signature", TAGS);
    let changed = message
        .replace("From: Ann <", "FROM:   Ann\r\n  <")
        .replace("hello", "hello  \t");
    assert_eq!(result(&(changed + "\r\n \r\n"), &zone()).await, (Pass, ""));
}

#[tokio::test]
async fn tags() {
    for [edit, verdict, reason] in rows(include_str!("dkim-tags.txt")) {
        let message = signed(MESSAGE, "DKIM-Signature", &edited(TAGS, &edit));
        let (got, why) = result(&message, &zone()).await;
        assert_eq!((got.name(), why), (&*verdict, &*reason), "{edit}");
    }
}

#[tokio::test]
async fn keys() {
    let record = RSA.record().unwrap();
    let p = record.split("p=").nth(1).unwrap();
    let tags = format!("{TAGS}; i=@mail.author.test");
    let message = signed(MESSAGE, "DKIM-Signature", &tags);
    for [text, verdict, reason] in rows(include_str!("dkim-keys.txt")) {
        let text = text
            .replace("{p}", p)
            .replace("{60000}", &"A".repeat(60_000));
        let zone = Fixed::new().with_txt("s._domainkey.author.test", text.clone());
        let (got, why) = result(&message, &zone).await;
        assert_eq!((got.name(), why), (&*verdict, &*reason), "{text}");
    }
    let other = Fixed::new().with_txt("s._domainkey.author.test", "note to ourselves");
    let both = other.with_txt("s._domainkey.author.test", record);
    assert_eq!(result(&message, &both).await, (Pass, ""));
    let name = "s._domainkey.author.test".parse().unwrap();
    let down = Fixed::new().with_trouble(name, "timeout");
    assert_eq!(result(&message, &down).await.0, TempError);
}

#[tokio::test]
async fn weak_keys_and_huge_ones_are_not_asked_for() {
    // The length of the signature tells the length of the key.
    for (octets, verdict, reason) in [
        (127, Policy, "RSA key below 1024 bits"),
        (128, PermError, "no key in DNS"),
        (512, PermError, "no key in DNS"),
        (513, Policy, "RSA key over 4096 bits"),
    ] {
        let message = signed(MESSAGE, "DKIM-Signature", TAGS);
        let (field, rest) = message.split_once("; b=").unwrap();
        let (_, rest) = rest.split_once("\r\n").unwrap();
        let message = format!("{field}; b={}\r\n{rest}", BASE64.encode(&vec![1; octets]));
        assert_eq!(
            result(&message, &Fixed::new()).await,
            (verdict, reason),
            "{octets}"
        );
    }
}

#[tokio::test]
async fn what_is_reported() {
    let message = signed(MESSAGE, "DKIM-Signature", TAGS);
    let zone = Fixed::new().with_txt("s._domainkey.author.test", RSA.record().unwrap() + "; t=y");
    let results = verify(&message, &zone).await;
    let signed = &results.dkim[0];
    assert_eq!(signed.domain.as_ref().unwrap().as_str(), "author.test");
    assert_eq!(
        (&*signed.selector, signed.algorithm, signed.is_test),
        ("s", "rsa-sha256", true)
    );
    let start = message.split("; b=").nth(1).unwrap();
    assert_eq!(signed.signature, start[..8]);
}
