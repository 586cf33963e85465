//! Each field of each kind of notice, read back by mail-parser.

use bounce::{Composed, Kind};
use mail_parser::{Message, MessageParser, MimeHeaders, PartType};

use crate::samples::{MAIL, Sample, leg};

/// Lines of the notice keep to RFC 5322, whatever went in.
#[track_caller]
fn check_lines(composed: &Composed) {
    for line in composed.bytes.split(|b| *b == b'\n') {
        assert!(line.len() <= 999, "{}", line.escape_ascii());
    }
    let feeds = composed.bytes.iter().filter(|b| **b == b'\n').count();
    let returns = composed.bytes.iter().filter(|b| **b == b'\r').count();
    let pairs = composed.bytes.windows(2).filter(|w| w == b"\r\n").count();
    assert_eq!((feeds, returns), (pairs, pairs));
    assert!(!composed.bytes.contains(&0));
}

/// The bytes of the numbered part (1 words, 2 status, 3 excerpt), decoded.
fn part<'a>(message: &'a Message<'_>, number: usize) -> (String, &'a [u8]) {
    let PartType::Multipart(children) = &message.parts[0].body else {
        panic!("not a multipart");
    };
    let part = &message.parts[children[number - 1] as usize];
    let kind = part.content_type().unwrap();
    let name = format!("{}/{}", kind.c_type, kind.c_subtype.as_deref().unwrap());
    let bytes = match &part.body {
        // mail-parser does not keep the decoded bytes of a nested message: its raw ones are the same here.
        PartType::Message(nested) => nested.raw_message(),
        _ => part.contents(),
    };
    (name, bytes)
}

/// `(name, value)` of each field in the second part, unfolded.
fn status_fields(message: &Message<'_>) -> Vec<(String, String)> {
    let (_, bytes) = part(message, 2);
    let text = String::from_utf8(bytes.to_vec())
        .unwrap()
        .replace("\r\n ", " ");
    let field = |line: &str| {
        let (name, value) = line.split_once(": ")?;
        Some((name.to_owned(), value.to_owned()))
    };
    text.lines().filter_map(field).collect()
}

#[track_caller]
fn check_fields(sample: &Sample, expected: &[(&str, &str)]) {
    let composed = sample.compose().unwrap();
    check_lines(&composed);
    let message = MessageParser::default().parse(&composed.bytes).unwrap();
    let fields = status_fields(&message);
    let fields: Vec<_> = fields
        .iter()
        .map(|(n, v)| (n.as_str(), v.as_str()))
        .collect();
    assert_eq!(fields, expected);
}

#[test]
fn header() {
    for kind in [Kind::Failed, Kind::Delayed, Kind::Relayed] {
        let composed = Sample::new(kind).compose().unwrap();
        check_lines(&composed);
        let message = MessageParser::default().parse(&composed.bytes).unwrap();
        let from = message.from().unwrap().first().unwrap();
        assert_eq!(from.name(), Some("Mail Delivery System"));
        assert_eq!(from.address(), Some("MAILER-DAEMON@mx1.example.net"));
        let to = message.to().unwrap().first().unwrap();
        assert_eq!(to.address(), Some("sender@origin.example"));
        assert_eq!(composed.recipient.to_string(), "sender@origin.example");
        assert_eq!(message.date().unwrap().to_rfc3339(), "2026-11-21T13:34:57Z");
        assert!(message.message_id().unwrap().ends_with("@mx1.example.net"));
        assert_eq!(
            message.in_reply_to().as_text(),
            Some("lunch-1@origin.example")
        );
        assert_eq!(
            message.references().as_text(),
            Some("lunch-1@origin.example")
        );
        let header = |name| message.header_raw(name).map(str::trim);
        assert_eq!(header("Auto-Submitted"), Some("auto-replied"));
        assert_eq!(header("MIME-Version"), Some("1.0"));
        assert_eq!(header("Content-Transfer-Encoding"), None);
        let kind = message.content_type().unwrap();
        assert_eq!(
            (kind.ctype(), kind.subtype()),
            ("multipart", Some("report"))
        );
        assert_eq!(kind.attribute("report-type"), Some("delivery-status"));
        assert_eq!(message.parts[0].sub_parts().unwrap().len(), 3);
        assert_eq!(part(&message, 1).0, "text/plain");
        assert_eq!(part(&message, 2).0, "message/delivery-status");
    }
}

#[test]
fn failed() {
    let reply =
        "smtp; 550 5.1.1 <alice@example.org>: no mailbox for alice see https://help.example/1";
    check_fields(
        &Sample::new(Kind::Failed),
        &[
            ("Reporting-MTA", "dns; mx1.example.net"),
            ("Original-Envelope-Id", "order=17"),
            ("Arrival-Date", "Sat, 21 Nov 2026 12:34:56 +0000"),
            ("X-Onward-Id", "01M7Z1MH4N0000000000000001"),
            ("Original-Recipient", "rfc822; alice+old@example.com"),
            ("Final-Recipient", "rfc822; alice@example.org"),
            ("Action", "failed"),
            ("Status", "5.1.1"),
            ("Diagnostic-Code", reply),
            ("Last-Attempt-Date", "Sat, 21 Nov 2026 13:34:56 +0000"),
        ],
    );
}

#[test]
fn delayed() {
    let mut sample = Sample::new(Kind::Delayed);
    sample.message.envid = None;
    sample.legs[0].original = None;
    check_fields(
        &sample,
        &[
            ("Reporting-MTA", "dns; mx1.example.net"),
            ("Arrival-Date", "Sat, 21 Nov 2026 12:34:56 +0000"),
            ("X-Onward-Id", "01M7Z1MH4N0000000000000001"),
            ("Final-Recipient", "rfc822; alice@example.org"),
            ("Action", "delayed"),
            ("Status", "4.2.2"),
            ("Diagnostic-Code", "smtp; 452 4.2.2 alice is over quota"),
            ("Last-Attempt-Date", "Sat, 21 Nov 2026 13:34:56 +0000"),
            ("Will-Retry-Until", "Thu, 26 Nov 2026 12:34:56 +0000"),
        ],
    );
}

#[test]
fn two_recipients_without_a_reply() {
    let mut sample = Sample::new(Kind::Relayed);
    sample.message.envid = None;
    sample.legs.push(leg("bob@example.org", "bob@example.org"));
    sample.diagnosis.reply = None;
    sample.diagnosis.host = None;
    sample.diagnosis.text = "handed to jane@private.example\r\nBcc: x".to_owned();
    sample.legs.iter_mut().for_each(|leg| leg.original = None);
    let recipient = |address| {
        [
            ("Final-Recipient", address),
            ("Action", "relayed"),
            ("Status", "2.1.5"),
            (
                "Diagnostic-Code",
                "x-onward; handed to alice@example.org Bcc: x",
            ),
            ("Last-Attempt-Date", "Sat, 21 Nov 2026 13:34:56 +0000"),
        ]
    };
    let head = [
        ("Reporting-MTA", "dns; mx1.example.net"),
        ("Arrival-Date", "Sat, 21 Nov 2026 12:34:56 +0000"),
        ("X-Onward-Id", "01M7Z1MH4N0000000000000001"),
    ];
    let alice = recipient("rfc822; alice@example.org");
    let bob = recipient("rfc822; bob@example.org");
    check_fields(&sample, &[&head[..], &alice, &bob].concat());
}

#[track_caller]
fn check_excerpt(sample: &Sample, content_type: &str, expected: &[u8]) {
    let composed = sample.compose().unwrap();
    check_lines(&composed);
    let message = MessageParser::default().parse(&composed.bytes).unwrap();
    let (name, bytes) = part(&message, 3);
    assert_eq!(name, content_type);
    assert_eq!(
        bytes.escape_ascii().to_string(),
        expected.escape_ascii().to_string()
    );
}

#[test]
fn excerpts() {
    let header_end = MAIL.windows(4).position(|w| w == b"\r\n\r\n").unwrap() + 2;
    let mut sample = Sample::new(Kind::Failed);
    check_excerpt(&sample, "message/rfc822", MAIL);
    sample.message.ret = None;
    check_excerpt(&sample, "text/rfc822-headers", &MAIL[..header_end]);
    let sample = Sample::new(Kind::Delayed);
    check_excerpt(&sample, "text/rfc822-headers", &MAIL[..header_end]);
}

/// Whatever a sender or a remote host makes up, the notice keeps its form and its three parts.
#[test]
fn hostile_input() {
    let long = "x".repeat(5000);
    let wide = "ü".repeat(5000);
    let texts = [
        "",
        "\0\r\n.\r\n\r\n--x",
        "a\nb\r\n\r\nBcc: c",
        "  ",
        &long,
        &wide,
    ];
    let mails: [&[u8]; 9] = [
        b"",
        b"\r\n",
        b"\n\n\n",
        b"\r\r\n\0",
        b": \r\n \r\n\t\r\n\r\n",
        b"\xFF\xFE\r\n\r\n\xC3",
        b"A: b\r\n\r\n\r\n--\r\n.\r\n",
        long.as_bytes(),
        wide.as_bytes(),
    ];
    for smtputf8 in [false, true] {
        for (text, mail) in texts
            .iter()
            .flat_map(|text| mails.map(|mail| (*text, mail)))
        {
            let mut sample = Sample::new(Kind::Failed);
            sample.message.smtputf8 = smtputf8;
            sample.diagnosis.reply.as_mut().unwrap().text = text.to_owned();
            sample.diagnosis.text = text.to_owned();
            sample.diagnosis.host = Some(text.to_owned());
            sample.mail = mail.to_vec();
            let composed = sample.compose().unwrap();
            check_lines(&composed);
            let message = MessageParser::default().parse(&composed.bytes).unwrap();
            assert_eq!(
                message.parts[0].sub_parts().unwrap().len(),
                3,
                "{text} {mail:?}"
            );
            assert_eq!(message.bcc(), None);
            let fields = status_fields(&message);
            let count = |name| fields.iter().filter(|(found, _)| found == name).count();
            assert_eq!(
                (count("Action"), count("Status"), count("Bcc")),
                (1, 1, 0),
                "{fields:?}"
            );
        }
    }
}
