//! Tests of the header scan: every text is fed whole and split at every point.

use super::*;

#[track_caller]
fn check(text: &[u8], received: u32, delivered: &[&str], done: bool) {
    for split in 0..=text.len() {
        let mut scan = HeaderScan::default();
        scan.feed(&text[..split]);
        scan.feed(&text[split..]);
        assert_eq!(scan.done, done, "split at {split}");
        scan.finish();
        assert_eq!(scan.received, received, "split at {split}");
        assert_eq!(scan.delivered.len(), delivered.len(), "split at {split}");
        for address in delivered {
            let address: Mailbox = address.parse().unwrap();
            assert!(
                scan.was_delivered_to(&address),
                "{address}, split at {split}"
            );
        }
    }
}

#[test]
fn characters_outside_ascii() {
    for (message, expected) in [
        ("Subject: x\r\n\r\nü\r\n", false),
        ("Subject: ü\r\n\r\nx\r\n", true),
        ("\r\nSubject: ü\r\n", false),
    ] {
        for cut in 0..=message.len() {
            let mut scan = HeaderScan::default();
            scan.feed(&message.as_bytes()[..cut]);
            scan.feed(&message.as_bytes()[cut..]);
            assert_eq!(scan.non_ascii(), expected, "{message:?} cut at {cut}");
        }
    }
    let mut scan = HeaderScan::default();
    scan.feed(
        "Delivered-To: \"b\\\\u{fc}cher\"@x.example\r\nDelivered-To: ä@x.example\r\n\r\n"
            .as_bytes(),
    );
    for address in ["Bücher@x.example", "bu\u{308}cher@x.example", "Ä@x.example"] {
        assert!(
            scan.was_delivered_to(&address.parse().unwrap()),
            "{address}"
        );
    }
}

#[track_caller]
fn check_message_id(header: &str, has_one: bool, expected: Option<&str>) {
    for split in 0..=header.len().min(100) {
        let mut scan = HeaderScan::default();
        scan.feed(&header.as_bytes()[..split]);
        scan.feed(&header.as_bytes()[split..]);
        scan.finish();
        assert_eq!(scan.has_message_id(), has_one, "{header:?}");
        assert_eq!(scan.message_id().as_deref(), expected, "{header:?}");
    }
}

#[test]
fn the_first_message_id() {
    check_message_id("From: x\r\n\r\nMessage-ID: <a@b>\r\n", false, None);
    check_message_id("Message-ID:\r\n\r\n", true, None);
    let two = "message-id :\r\n\t<a@b>\r\nMessage-ID: <c@d>\r\n\r\n";
    check_message_id(two, true, Some("<a@b>"));
    let long = format!("Message-ID: {}\r\n\r\n", "x".repeat(5000));
    check_message_id(&long, true, Some(&"x".repeat(998)));
}

#[test]
fn tls_that_is_not_required() {
    for (header, expected) in [
        ("TLS-Required: No\r\n\r\n", true),
        ("tls-required:\r\n no \r\nSubject: x\r\n\r\n", true),
        ("TLS-Required: Yes\r\n\r\n", false),
        ("TLS-Required: No, thanks\r\n\r\n", false),
        (
            "Subject: TLS-Required: No\r\n\r\nTLS-Required: No\r\n",
            false,
        ),
    ] {
        for cut in 0..=header.len() {
            let mut scan = HeaderScan::default();
            scan.feed(&header.as_bytes()[..cut]);
            scan.feed(&header.as_bytes()[cut..]);
            scan.finish();
            assert_eq!(scan.tls_not_required(), expected, "{header:?}");
        }
    }
}

#[test]
fn fields_in_any_case_folded_or_not() {
    let header = b"Received: from a\r\n\tby b;\r\n x\r\nRECEIVED : c\r\nX-Received: d\r\n\
        Subject: Received: e\r\n Received: f\r\nDelivered-To: Alice@Example.ORG\r\n\
        delivered-to:\r\n <\"bob\"@example.org>\r\nFrom: x@y.example\r\n\r\nReceived: body\r\n\
        Delivered-To: body@example.org\r\n";
    check(header, 2, &["ALICE@example.org", "bob@example.org"], true);
}

#[test]
fn ends_at_the_empty_line_or_with_the_message() {
    check(b"Received: a\r\n\r\nReceived: b\r\n", 1, &[], true);
    check(b"Received: a\n\nReceived: b\n", 1, &[], true);
    check(b"\r\nReceived: b\r\n", 0, &[], true);
    check(b"Received: a\r\nReceived: b", 2, &[], false);
    check(b"", 0, &[], false);
}

#[test]
fn what_is_no_field_is_passed_over() {
    check(
        b"no colon\r\n: no name\r\nDelivered-To: nobody\r\nDelivered-To: \xff@x.example\r\n\r\n",
        0,
        &[],
        true,
    );
    check(
        b" Received: folded onto nothing\r\nReceived: a\r\n\r\n",
        1,
        &[],
        true,
    );
}

/// Found by fuzzing: a bare CR at the start of a line was forgotten when the next chunk began behind it.
#[test]
fn a_bare_cr_at_the_start_of_a_line_is_text() {
    check(b"\rReceived: a\r\n\r\n", 0, &[], true);
    check(b"X: b\r\n\rReceived: a\r\nReceived: c\r\n", 1, &[], false);
    check(b"X: b\r\n\r\r\nReceived: c\r\n", 1, &[], false);
}

#[test]
fn memory_is_bounded() {
    let mut scan = HeaderScan::default();
    scan.feed(b"Delivered-To: ");
    for _ in 0..10_000 {
        scan.feed(&[b'x'; 1000]);
    }
    assert!(scan.field.capacity() <= 2 * FIELD_OCTETS_MAX);
    scan.feed(b"@x.example\r\n");
    for n in 0..=DELIVERED_MAX {
        assert!(!scan.overflowed);
        scan.feed(format!("Delivered-To: a{n}@x.example\r\n").as_bytes());
    }
    scan.feed(b"\r\n");
    assert!(scan.overflowed);
    assert_eq!(scan.hops(), u32::MAX);
    assert_eq!(scan.delivered.len(), DELIVERED_MAX);
}

/// Told as soon as it can be, and never taken back.
#[track_caller]
fn check_header(message: &str, expected: bool) {
    let told = |end: usize| has_header(&message.as_bytes()[..end]);
    let first = (0..=message.len()).find_map(told);
    assert_eq!(first, Some(expected), "{message:.40?}");
    for end in 0..=message.len() {
        let told = told(end);
        assert!(told.is_none_or(|told| told == expected), "{message:.40?}");
    }
}

#[test]
fn a_header_of_its_own() {
    check_header("Subject: x\r\n\r\n", true);
    check_header("Subject : x\r\n\r\n", true);
    check_header("\r\nno header, and no need of one\r\n", true);
    check_header("From ann@example.org Sat Nov 21\r\nSubject: x\r\n", true);
    check_header(">From ann@example.org\r\n", true);
    check_header(" goes on with our Received\r\n", false);
    check_header("\tlikewise\r\n", false);
    check_header("Hello, this is no field\r\n", false);
    check_header("Hello\r\n", false);
    check_header(": no name\r\n", false);
    check_header("Grüße: 8 bit\r\n", false);
    check_header("\rx", false);
    check_header(&"x".repeat(2000), false);
}
