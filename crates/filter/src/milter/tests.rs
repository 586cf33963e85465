//! Whole conversations with a scripted milter.

use bytes::Bytes;
use envelope::{Domain, Envelope, ForwardPath, MessageId, Notify, Recipient, ReversePath, Tls};
use futures_util::{StreamExt as _, stream};
use testkit::milter::Milter;

use super::*;
use crate::filter::{Definition, Filter, Kind};

const MESSAGE: &str =
    "Received: from us\r\n\tby us\r\nFrom: a@sender.test\r\nSubject:\r\n x\r\n\ty\r\n\r\nbody\r\n";

fn envelope(recipients: &[&str]) -> Envelope {
    let mut envelope = Envelope::new(ReversePath::Mailbox("a@sender.test".parse().unwrap()));
    let recipients = recipients
        .iter()
        .map(|to| Recipient::new(ForwardPath::Mailbox(to.parse().unwrap())));
    envelope.recipients = recipients.collect();
    envelope
}

fn facts<'a>(envelope: &'a Envelope, hostname: &'a Domain) -> Facts<'a> {
    Facts {
        id: MessageId::from_bits(1),
        hostname,
        client: "[2001:db8::7]:4711".parse().unwrap(),
        client_name: None,
        hello: "client.test",
        tls: Some(Tls {
            version: "TLSv1.3",
            cipher: "TLS_AES_128_GCM_SHA256",
        }),
        user: Some("ann"),
        envelope,
        size: 0,
    }
}

/// In pieces of ten octets.
fn body(message: &str) -> Body {
    let pieces = message.as_bytes().chunks(10);
    let pieces: Vec<_> = pieces
        .map(|piece| Ok(Bytes::copy_from_slice(piece)))
        .collect();
    stream::iter(pieces).boxed()
}

async fn ask_about(
    address: &str,
    envelope: &Envelope,
    message: &str,
    timeout: Duration,
) -> Result<Opinion, Failed> {
    let filter = Filter::new(Definition {
        name: "test".into(),
        kind: Kind::Milter,
        address: address.parse().unwrap(),
        password: String::new(),
        timeout,
        size_max: u64::MAX,
    });
    let hostname = "mx.example.test".parse().unwrap();
    let facts = facts(envelope, &hostname);
    filter.unwrap().ask(&facts, body(message)).await
}
/// What a milter with this script says of a message to two recipients.
async fn opinion(script: &str) -> Result<Opinion, Failed> {
    let milter = Milter::start(script).await;
    let envelope = envelope(&["b@example.test", "c@example.test"]);
    ask_about(&milter.address(), &envelope, MESSAGE, testkit::PATIENCE).await
}

#[track_caller]
fn compare(opinion: Result<Opinion, Failed>, expected: &str) {
    let said = match opinion {
        Ok(Opinion {
            verdict,
            fields,
            remarks,
            ..
        }) => {
            let verdict = match verdict {
                Verdict::Reject(reply) | Verdict::Defer(reply) => reply.to_string(),
                other => format!("{other:?}"),
            };
            format!("{verdict} {fields:?} {remarks:?}")
        }
        Err(failed) => format!("failed: {failed}"),
    };
    assert_eq!(said, expected);
}

#[tokio::test]
async fn what_a_milter_is_told() {
    let milter = Milter::start("").await;
    let mut envelope = envelope(&["b@example.test"]);
    envelope.declared_size = Some(99);
    envelope.smtputf8 = true;
    envelope.recipients[0].notify = Some(Notify::NEVER);
    let opinion = ask_about(&milter.address(), &envelope, MESSAGE, testkit::PATIENCE).await;
    compare(opinion, r#"Accept "" []"#);
    let id = MessageId::from_bits(1);
    let expected = [
        r"O\x00\x00\x00\x06\x00\x00\x01!\x00\x1f\xf7\xff".to_owned(),
        concat!(
            r"DCj\x00mx.example.test\x00{daemon_name}\x00mx.example.test\x00v\x00Onward 0.1.0\x00{client_addr}\x002001:db8::7\x00",
            r"{client_name}\x00unknown\x00{client_ptr}\x00unknown\x00{client_port}\x004711\x00_\x00unknown [2001:db8::7]\x00"
        )
        .to_owned(),
        r"C[2001:db8::7]\x006\x12g2001:db8::7\x00".to_owned(),
        r"DH{tls_version}\x00TLSv1.3\x00{cipher}\x00TLS_AES_128_GCM_SHA256\x00{cipher_bits}\x00128\x00".to_owned(),
        r"Hclient.test\x00".to_owned(),
        format!(
            r"DMi\x00{id}\x00{{auth_type}}\x00PLAIN\x00{{auth_authen}}\x00ann\x00{{mail_addr}}\x00a@sender.test\x00{{mail_host}}\x00sender.test\x00{{mail_mailer}}\x00smtp\x00"
        ),
        r"M<a@sender.test>\x00SIZE=99\x00SMTPUTF8\x00".to_owned(),
        format!(
            r"DRi\x00{id}\x00{{rcpt_addr}}\x00b@example.test\x00{{rcpt_host}}\x00example.test\x00{{rcpt_mailer}}\x00smtp\x00"
        ),
        r"R<b@example.test>\x00NOTIFY=NEVER\x00".to_owned(),
        format!(r"DTi\x00{id}\x00"),
        r"T".to_owned(),
        r"LFrom\x00a@sender.test\x00".to_owned(),
        r"LSubject\x00\n x\n\ty\x00".to_owned(),
        format!(r"DNi\x00{id}\x00"),
        r"N".to_owned(),
        r"Bbody\r\n".to_owned(),
        format!(r"DEi\x00{id}\x00"),
        r"E".to_owned(),
    ];
    let heard = milter.heard();
    // The body comes in the pieces in which it is read.
    let body: String = heard
        .iter()
        .filter_map(|packet| packet.strip_prefix('B'))
        .collect();
    assert_eq!(body, r"body\r\n");
    let rest = |all: &[String]| -> Vec<String> {
        all.iter()
            .filter(|packet| !packet.starts_with(['B', 'Q']))
            .cloned()
            .collect()
    };
    assert_eq!(rest(&heard), rest(&expected));
}

#[tokio::test]
async fn what_it_may_leave_out() {
    // Nothing but RCPT and DATA, and no answers to RCPT; its own list of macros for the end.
    let milter =
        Milter::start(r"O O\x00\x00\x00\x06\x00\x00\x01\xff\x00\x1f\xf0\x77\x00\x00\x00\x05j\x00")
            .await;
    let envelope = envelope(&["b@example.test", "c@example.test"]);
    let opinion = ask_about(&milter.address(), &envelope, MESSAGE, testkit::PATIENCE).await;
    compare(opinion, r#"Accept "" []"#);
    let letters: Vec<_> = milter
        .heard()
        .iter()
        .map(|packet| packet.chars().take(2).collect::<String>())
        // It may come any time.
        .filter(|letters| letters != "Q")
        .collect();
    assert_eq!(letters.join(" "), r"O\ DC DH DM DR R< DR R< DT T DN DE E");
    assert_eq!(milter.heard()[11], r"DEj\x00mx.example.test\x00");
}

#[tokio::test]
async fn verdicts() {
    for (script, expected) in [
        ("E a", r#"Accept "" []"#),
        ("C a\nH r", r#"Accept "" []"#),
        (
            "C r",
            r#"550 5.7.1 message refused by its recipient's content filter "" []"#,
        ),
        ("L y554 5.7.1 no\\x00", r#"554 5.7.1 no "" []"#),
        ("B s\nE y451 4.7.1 later\\x00", r#"451 4.7.1 later "" []"#),
        ("E d", r#"Discard "" []"#),
        ("E qodd\\x00 | c", r#"Hold("odd") "" []"#),
        (
            "E qodd\\x00 | r",
            r#"550 5.7.1 message refused by its recipient's content filter "" []"#,
        ),
        (
            "E p | p | 4",
            r#"451 4.7.1 the recipient's content filter asks to try again later "" []"#,
        ),
        // Of two recipients.
        (
            "R r\nR c",
            r#"Accept "" ["not refused for <b@example.test> alone: 550 5.7.1 message refused by its recipient's content filter"]"#,
        ),
        (
            "R y550 5.1.1 who\\x00\nR y550 5.1.2 where\\x00",
            r#"550 5.1.1 who "" []"#,
        ),
        (
            "R y550 5.1.1 who\\x00\nR y450 4.2.1 not yet\\x00",
            r#"450 4.2.1 not yet "" []"#,
        ),
        ("R a\nE r", r#"Accept "" []"#),
        (
            "R s\nE r",
            r#"550 5.7.1 message refused by its recipient's content filter "" []"#,
        ),
    ] {
        compare(opinion(script).await, expected);
    }
}

#[tokio::test]
async fn fields_go_on_top() {
    let script = r"E hX-Last\x00one\n\ttwo\x00 | i\x00\x00\x00\x00X-First\x00 a\x00 | i\x00\x00\x00\x01X-Top\x00b\x00 | hBad Name\x00x\x00 | c";
    let expected =
        r#"Accept "X-Top: b\r\nX-First:  a\r\nX-Last: one\r\n\ttwo\r\n" ["not added: Bad Name"]"#;
    compare(opinion(script).await, expected);
    // As it stands, with HDR_LEADSPC.
    let options = "O O\\x00\\x00\\x00\\x06\\x00\\x00\\x01\\xff\\x00\\x10\\x00\\x00\n";
    let script = format!("{options}E hX-A\\x00 a\\x00 | hX-B\\x00b\\x00 | c");
    compare(opinion(&script).await, r#"Accept "X-A: a\r\nX-B:b\r\n" []"#);
}

#[tokio::test]
async fn what_would_change_the_message_is_not_done() {
    let script = r"E bnew\r\n | m\x00\x00\x00\x01Subject\x00\x00 | +<x@y.test>\x00 | c";
    let expected = r#"Accept "" ["not done: change of body", "not done: removal of field Subject", "not done: further recipient <x@y.test>"]"#;
    compare(opinion(script).await, expected);
}

/// As Sendmail has it, and as rspamd marks spam.
#[tokio::test]
async fn a_change_of_a_field_that_is_not_there_adds_it() {
    let script = r"E m\x00\x00\x00\x01X-Spam\x00Yes\x00 | m\x00\x00\x00\x01SUBJECT\x00x\x00 | c";
    let expected = r#"Accept "X-Spam: Yes\r\n" ["not done: change of field SUBJECT"]"#;
    compare(opinion(script).await, expected);
}

#[tokio::test]
async fn bad_days() {
    let refuses = "(does it need to change or remove fields? that is not offered)";
    for (script, expected) in [
        (
            "O close",
            format!("failed: closed before its answer {refuses}"),
        ),
        ("O r", format!("failed: refuses to work for us {refuses}")),
        (
            "O O\\x00\\x00",
            "failed: its options are cut short".to_owned(),
        ),
        ("E close", "failed: closed before its answer".to_owned()),
        (
            "E ~\\x00\\x00\\x00\\x09yhalf | close",
            "failed: bytes remaining on stream".to_owned(),
        ),
        (
            "E ~\\x7f\\xff\\xff\\xffc",
            "failed: frame size too big".to_owned(),
        ),
        (
            "E ~\\x00\\x00\\x00\\x00",
            "failed: sends an empty packet".to_owned(),
        ),
        ("E !", "failed: answers `!`".to_owned()),
        (
            "L hX-A\\x00b\\x00",
            "failed: wants the message changed before its end".to_owned(),
        ),
    ] {
        compare(opinion(script).await, &expected);
    }
    let nobody = ask_about(
        "inet:127.0.0.1:1",
        &envelope(&[]),
        MESSAGE,
        testkit::PATIENCE,
    )
    .await;
    compare(nobody, "failed: Connection refused (os error 111)");
}

/// Its time limit counts from the beginning, and each PROGRESS begins it anew.
#[tokio::test(start_paused = true)]
async fn time() {
    let hostname = "mx.example.test".parse().unwrap();
    let envelope = envelope(&["b@example.test"]);
    let facts = facts(&envelope, &hostname);
    for (script, expected, seconds) in [
        ("H wait 15\nT hang", "failed: no answer within 20s", 20),
        ("E wait 15 | p | hang", "failed: no answer within 20s", 35),
        (
            "E wait 15 | p | wait 15 | p | wait 15 | c",
            r#"Accept "" []"#,
            45,
        ),
    ] {
        let begun = Instant::now();
        let (ours, theirs) = tokio::io::duplex(4096);
        let limit = Duration::from_secs(20);
        let asked = talk(Box::new(ours), &facts, body(MESSAGE), limit, begun + limit);
        tokio::select! {
            opinion = asked => compare(opinion, expected),
            done = testkit::milter::speak(theirs, script) => panic!("{done:?}"),
        }
        assert_eq!(begun.elapsed().as_secs(), seconds, "{script}");
    }
}

#[tokio::test]
async fn endless_progress_ends() {
    let progress = "p | ".repeat(ANSWERS_MAX + 1);
    compare(
        opinion(&format!("E {progress}c")).await,
        "failed: never stops answering",
    );
}
