//! Who is told, what is never shown, and what the notice needs on its way.

use bounce::{Kind, wants};
use envelope::{BodyKind, Notify, Return, ReversePath};

use crate::samples::{Sample, leg};

const KINDS: [Kind; 3] = [Kind::Failed, Kind::Delayed, Kind::Relayed];

/// Which kinds the sender hears of, in the order of `KINDS`.
#[track_caller]
fn check_wants(notify: Option<Notify>, expected: [bool; 3]) {
    for (kind, expected) in KINDS.into_iter().zip(expected) {
        let mut sample = Sample::new(kind);
        sample.legs[0].notify = notify;
        assert_eq!(wants(kind, &sample.legs[0]), expected, "{kind:?}");
        assert_eq!(sample.compose().is_some(), expected, "{kind:?}");
    }
}

#[test]
fn notify() {
    let only = |success, failure, delay| {
        Some(Notify {
            success,
            failure,
            delay,
        })
    };
    check_wants(None, [true, true, false]);
    check_wants(Some(Notify::NEVER), [false, false, false]);
    check_wants(only(false, true, false), [true, false, false]);
    check_wants(only(false, false, true), [false, true, false]);
    check_wants(only(true, false, false), [false, false, true]);
}

#[test]
fn null_senders_are_told_nothing() {
    for kind in KINDS {
        let mut sample = Sample::new(kind);
        sample.message.reverse_path = ReversePath::Null;
        assert_eq!(sample.compose(), None);
    }
}

#[test]
fn only_recipients_with_a_wish_are_named() {
    let mut sample = Sample::new(Kind::Failed);
    sample.legs.push(leg("bob@example.org", "bob@example.net"));
    sample.legs[0].notify = Some(Notify::NEVER);
    let text = sample.text();
    assert!(text.contains("Final-Recipient: rfc822; bob@example.org"));
    assert!(!text.contains("Final-Recipient: rfc822; alice@example.org"));
}

#[test]
fn all_recipients_that_share_a_leg_are_named() {
    let mut sample = Sample::new(Kind::Failed);
    let merged = &mut sample.legs[0].merged;
    let named = ["bob@example.org", "carol@example.org"];
    merged.named = named.map(|name| name.parse().unwrap()).into();
    assert!(!sample.text().contains("Further"));
    sample.legs[0].merged.more = 300;
    let text = sample.text();
    for name in named {
        let group =
            format!("Final-Recipient: rfc822; {name}\r\nAction: failed\r\nStatus: 5.1.1\r\n");
        assert!(text.contains(&group), "{text}");
    }
    let words = "  alice@example.org\r\n  bob@example.org\r\n  carol@example.org\r\n  and 300 more of your recipients\r\n";
    assert!(text.contains(words), "{text}");
    assert_eq!(text.matches("Diagnostic-Code: smtp; 550 5.1.1").count(), 3);
    let more = "X-Onward-Further-Recipients: 300\r\n";
    assert_eq!(text.matches(more).count(), 1, "{text}");
    assert!(!text.to_lowercase().contains("jane"), "{text}");
}

#[test]
fn targets_are_never_shown() {
    for kind in KINDS {
        let text = Sample::new(kind).text().to_lowercase();
        assert!(text.contains("alice@example.org"));
        assert!(!text.contains("jane"), "{text}");
        assert!(!text.contains("@private.example"), "{text}");
        assert!(!text.contains("srs0="), "{text}");
    }
}

/// One reply to a transaction may name a target of another leg, even of one whose sender wants no notice.
/// Without a forward there is nothing to hide, and the host helps to find who refused.
#[test]
fn the_remote_host_is_named_only_when_it_is_no_secret() {
    let mut sample = Sample::new(Kind::Failed);
    for (target, named) in [("alice@example.org", true), ("jane@private.example", false)] {
        sample.legs[0].target = target.parse().unwrap();
        let bytes = sample.compose().unwrap().bytes;
        let text = String::from_utf8_lossy(&bytes);
        assert_eq!(text.contains("Remote-MTA: dns; mx."), named, "{text}");
        assert_eq!(text.contains(".example said:"), named, "{text}");
    }
}

#[test]
fn targets_of_other_legs_are_never_shown() {
    let mut sample = Sample::new(Kind::Failed);
    sample
        .legs
        .push(leg("bob@example.org", "bobby@secret.example"));
    sample.legs[1].notify = Some(Notify::NEVER);
    let reply = sample.diagnosis.reply.as_mut().unwrap();
    reply.text = "bobby@secret.example and jane@private.example".to_owned();
    let text = sample.text();
    assert!(!text.contains("bobby") && !text.contains("jane"), "{text}");
}

#[track_caller]
fn check_needs(sample: &Sample, body: BodyKind, smtputf8: bool) {
    let composed = sample.compose().unwrap();
    assert_eq!((composed.body, composed.smtputf8), (body, smtputf8));
    assert!(smtputf8 || body == BodyKind::EightBitMime || composed.bytes.is_ascii());
}

#[test]
fn needs() {
    let mut sample = Sample::new(Kind::Failed);
    check_needs(&sample, BodyKind::SevenBit, false);
    sample.mail = b"Subject: gr\xFC\xDFe\r\n\r\n\xFC\r\n".to_vec();
    check_needs(&sample, BodyKind::EightBitMime, false);
    sample.message.ret = Some(Return::Headers);
    check_needs(&sample, BodyKind::SevenBit, false);
    let mut sample = Sample::new(Kind::Failed);
    sample.message.smtputf8 = true;
    check_needs(&sample, BodyKind::SevenBit, false);
    sample.message.reverse_path = ReversePath::Mailbox("jürgen@origin.example".parse().unwrap());
    check_needs(&sample, BodyKind::EightBitMime, true);
    let mut sample = Sample::new(Kind::Failed);
    sample.diagnosis.reply.as_mut().unwrap().text = "Postfach unbekannt: ü".to_owned();
    check_needs(&sample, BodyKind::SevenBit, false);
}

/// A sender that guesses our boundary and writes it into the message.
#[test]
fn the_boundary_is_not_in_the_content() {
    let guess = "=_01M7Z52DQX0000000000000007_000000000000002a";
    assert!(
        Sample::new(Kind::Failed).text().contains(guess),
        "the guess is a good one"
    );
    let mut sample = Sample::new(Kind::Failed);
    sample.mail = format!("A: b\r\n\r\n--{guess}--\r\n").into_bytes();
    let text = sample.text();
    assert!(
        text.contains("boundary=\"=_01M7Z52DQX0000000000000007_000000000000002b\""),
        "{text}"
    );
    assert_eq!(text.matches(guess).count(), 1);
}
