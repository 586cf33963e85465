//! DMARC: policies, alignment, and authors that nobody can tell for sure.

use super::*;
use crate::Dmarc;
use crate::Verdict::*;

/// What DMARC says of a message by `from`, sent by `spf` and signed by `dkim`.
async fn dmarc(from: &str, spf: Spf<'_>, dkim: &str, zone: &Fixed) -> Dmarc {
    let message = format!("From: {from}\r\nSubject: x\r\n\r\nhello\r\n");
    let message = match dkim {
        "" => message,
        domain => signed(
            &message,
            "DKIM-Signature",
            &format!("v=1; a=ed25519-sha256; d={domain}; s=e; h=from; bh={{bh}}"),
        ),
    };
    read(message.as_bytes()).verify(zone, spf, NOW).await.dmarc
}

#[tokio::test]
async fn policies() {
    for [from, name, text, action, owner] in rows(include_str!("dmarc-policies.txt")) {
        let zone = Fixed::new().with_txt(format!("_dmarc.{name}"), &*text);
        let zone = zone.with_txt("real.x.test", "here");
        let got = dmarc(&from, Spf::Other, "", &zone).await;
        let owner_got = got.owner.as_ref().map_or("", |owner| owner.as_str());
        let (verdict, action) = match &*action {
            "" => (None, "none"),
            action => (Fail, action),
        };
        assert_eq!(
            (got.verdict, got.policy.name(), owner_got),
            (verdict, action, &*owner),
            "{from} {text}"
        );
    }
}

#[tokio::test]
async fn several_records() {
    let record = |zone: Fixed, text: &str| zone.with_txt("_dmarc.x.test", text);
    let one = record(Fixed::new(), "v=DMARC1; p=reject");
    // Any other text beside it is nobody's business.
    let beside = record(record(one.clone(), "note"), "v=spf1 -all");
    assert_eq!(
        dmarc("a@x.test", Spf::Other, "", &beside).await.verdict,
        Fail
    );
    let two = record(one, "v=DMARC1; p=none");
    assert_eq!(dmarc("a@x.test", Spf::Other, "", &two).await.verdict, None);
}

#[tokio::test]
async fn alignment() {
    let zone = zone().with_txt("_dmarc.own.author.test", "v=DMARC1; p=reject; psd=n");
    for [from, tags, spf, dkim, verdict] in rows(include_str!("dmarc-alignment.txt")) {
        let zone = zone
            .clone()
            .with_txt("_dmarc.author.test", format!("v=DMARC1; p=reject; {tags}"));
        let domain = spf.parse();
        let spf = domain.as_ref().map_or(Spf::Other, Spf::Pass);
        let got = dmarc(&from, spf, &dkim, &zone).await;
        assert_eq!(got.verdict.name(), verdict, "{from} {tags} {spf:?} {dkim}");
    }
}

#[tokio::test]
async fn what_dns_does_not_say_is_no_failure() {
    let author = "author.test".parse().unwrap();
    let zone = zone().with_txt("_dmarc.author.test", "v=DMARC1; p=reject");
    assert_eq!(
        dmarc("a@author.test", Spf::TempError(&author), "", &zone)
            .await
            .verdict,
        TempError
    );
    assert_eq!(
        dmarc(
            "a@author.test",
            Spf::TempError(&author),
            "author.test",
            &zone
        )
        .await
        .verdict,
        Pass
    );
    let other = "list.test".parse().unwrap();
    assert_eq!(
        dmarc("a@author.test", Spf::TempError(&other), "", &zone)
            .await
            .verdict,
        Fail
    );
    let down = zone.with_trouble("e._domainkey.author.test".parse().unwrap(), "timeout");
    assert_eq!(
        dmarc("a@author.test", Spf::Other, "author.test", &down)
            .await
            .verdict,
        TempError
    );
}

fn author(header: &[u8]) -> Option<String> {
    let header = Header::parse(header.to_vec()).unwrap();
    crate::author::domain(&header)
        .ok()
        .map(|domain| domain.to_string())
}

#[test]
fn authors() {
    for [header, is_known] in rows(include_str!("authors.txt")) {
        let expected = (is_known == "yes").then(|| "author.test".to_owned());
        assert_eq!(
            author(format!("{header}\r\n").as_bytes()),
            expected,
            "{header}"
        );
    }
    assert_eq!(
        author("From: a@bücher.test\r\n".as_bytes()).unwrap(),
        "xn--bcher-kva.test"
    );
    assert_eq!(author(b"From: \xff <a@author.test>\r\n"), Option::None);
    let long = format!("From: {}<a@author.test>\r\n", "x ".repeat(4000));
    assert_eq!(author(long.as_bytes()), Option::None);
}

/// An odd From proves nobody, but does not get past the policy of whom it looks like either.
#[tokio::test]
async fn odd_authors() {
    let zone = zone().with_txt("_dmarc.author.test", "v=DMARC1; p=reject");
    let zone = zone.with_txt("_dmarc.careful.test", "v=DMARC1; p=quarantine");
    for (from, expected) in [
        ("[Bank] <a@author.test>", "fail reject author.test"),
        ("\"a b\"@author.test", "fail reject author.test"),
        ("us: a@author.test;", "fail reject author.test"),
        ("<@x.test:a@author.test>", "fail reject author.test"),
        ("a@author.test, b@author.test", "fail reject author.test"),
        (
            "a@none.test\r\nFrom: a@author.test",
            "fail reject author.test",
        ),
        (
            "a@careful.test\r\nFrom : a@author.test",
            "fail reject author.test",
        ),
        ("a@author.test\r\nno field", "fail reject author.test"),
        ("[Bank] <a@careful.test>", "fail quarantine careful.test"),
        ("[Bank] <a@none.test>", "permerror none "),
        (
            "a@author.test\r\nFrom: a@1.test\r\nFrom: a@2.test\r\nFrom: a@3.test\r\nFrom: a@4.test",
            "fail reject author.test",
        ),
        (
            "a@1.test, a@2.test\r\nFrom: a@3.test\r\nFrom: a@4.test, a@author.test",
            "fail reject author.test",
        ),
        // RFC 9989: several domains are exempt.
        ("a@author.test, b@none.test", "permerror none "),
        ("", "permerror none "),
    ] {
        let show = |dmarc: Dmarc| {
            let from = dmarc.from.map(|from| from.to_string()).unwrap_or_default();
            let (verdict, policy) = (dmarc.verdict.name(), dmarc.policy.name());
            assert!(!dmarc.reason.is_empty());
            format!("{verdict} {policy} {from}")
        };
        assert_eq!(
            show(dmarc(from, Spf::Other, "", &zone).await),
            expected,
            "{from}"
        );
    }
    // What is proved all the same is not refused.
    let signed = dmarc("[Bank] <a@author.test>", Spf::Other, "author.test", &zone);
    assert_eq!(signed.await.verdict, PermError);
    let author = "author.test".parse().unwrap();
    let sent = dmarc("us: a@author.test;", Spf::Pass(&author), "", &zone);
    assert_eq!(sent.await.verdict, PermError);
}

#[tokio::test]
async fn espoofer() {
    let zone = Fixed::new().with_txt("e._domainkey.attack.test", ED.record().unwrap());
    let zone = zone.with_txt("_dmarc.attack.test", "v=DMARC1; p=reject");
    let zone = zone.with_txt("_dmarc.legitimate.test", "v=DMARC1; p=reject");
    let attack = "attack.test".parse().unwrap();
    for [case, header, signer, expected] in rows(include_str!("espoofer.txt")) {
        let message = format!("{}\r\n\r\nHi\r\n", header.replace("\tFrom", " From"));
        let tags = format!("v=1; a=ed25519-sha256; {signer}; h=from; bh={{bh}}");
        let message = signed(&message, "DKIM-Signature", &tags);
        let results = read(message.as_bytes())
            .verify(&zone, Spf::Pass(&attack), NOW)
            .await;
        assert_eq!(results.dmarc.verdict.name(), expected, "{case}");
        let is_forged = |signed: &crate::Signed| {
            signed.verdict == Pass && signed.domain.as_ref() != Some(&attack)
        };
        assert!(!results.dkim.iter().any(is_forged), "{case}");
    }
    // a2, a5, a6: what SPF would read in two ways is no reverse path.
    for sender in [
        "(any@legitimate.test",
        "any@legitimate.test(a.attack.test",
        "any@legitimate.test'@any.attack.test",
    ] {
        assert!(sender.parse::<envelope::Mailbox>().is_err(), "{sender}");
    }
}
