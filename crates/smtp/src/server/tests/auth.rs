//! AUTH: each reply, and what of it may be shown.

use data_encoding::BASE64;

use super::*;

/// After EHLO on a connection that began with TLS.
const TLS: &str = "
    S: 220 mx.example.test ESMTP Onward
    C: EHLO client
    S: 250-mx.example.test
    S: 250-PIPELINING
    S: 250-SIZE 1000
    S: 250-8BITMIME
    S: 250-SMTPUTF8
    S: 250-CHUNKING
    S: 250-DSN
    S: 250-ENHANCEDSTATUSCODES
    S: 250-REQUIRETLS
    S: 250-AUTH PLAIN LOGIN
    S: 250 LIMITS RCPTMAX=2 MAILMAX=3
";

fn under_tls() -> Settings {
    Settings {
        tls_available: false,
        tls_implicit: true,
        ..settings()
    }
}

/// In lock step, whole and in pieces. Gives what the session refused by itself.
#[track_caller]
fn check_auth(settings: &Settings, dialog: &str, log: &[&str]) -> Vec<String> {
    let mut refused = Vec::new();
    for size in [usize::MAX, 1, 2, 7] {
        let mut driver = Driver::new(settings.clone());
        driver.check_turns(dialog, size, log);
        refused = driver.refused;
    }
    refused
}

#[track_caller]
fn check(dialog: &str, log: &[&str], refused: &[&str]) {
    let got = check_auth(&under_tls(), &format!("{TLS}{dialog}"), log);
    assert_eq!(got, refused, "{dialog}");
}

// `\0ann\0secret`, `ann\0ann\0secret`, `bob\0ann\0secret`; `ann` and `secret`.
#[test]
fn logging_in() {
    let right = ["PLAIN \"ann\" \"secret\""];
    check(
        "C: AUTH PLAIN AGFubgBzZWNyZXQ=\nS: 235 2.7.0 Logged in\nC: auth login\nS: 503 5.5.1 You are logged in already",
        &right,
        &["auth out-of-sequence auth"],
    );
    check(
        "C: auth plain\nS: 334 \nC: YW5uAGFubgBzZWNyZXQ=\nS: 235 2.7.0 ...\nC: MAIL FROM:<a@b.c>\nS: 250 2.1.0 ...",
        &right,
        &[],
    );
    for dialog in [
        "C: AUTH LOGIN\nS: 334 VXNlcm5hbWU6\nC: YW5u\nS: 334 UGFzc3dvcmQ6\nC: c2VjcmV0\nS: 235 2.7.0 ...",
        "C: AUTH LOGIN YW5u\nS: 334 UGFzc3dvcmQ6\nC: c2VjcmV0\nS: 235 2.7.0 ...",
    ] {
        check(dialog, &["LOGIN \"ann\" \"secret\""], &[]);
    }
}

#[test]
fn refusals() {
    check(
        "C: AUTH PLAIN AGFubgB4\nS: 535 5.7.8 No\nC: AUTH LOGIN YW5u\nS: 334 UGFzc3dvcmQ6\nC:\nS: 535 5.7.8 No",
        &["PLAIN \"ann\" \"x\"", "LOGIN \"ann\" \"\""],
        &[],
    );
    let wrong = "S: 501 5.5.2 Not base64, or no user name and password in it";
    for given in [
        "=",
        "AGFubgBz!",
        "AGFubgBzZWNyZXQ",
        "YW5u",
        "AABz",
        "AGEKYgBz",
        "AP8Acw==",
    ] {
        check(
            &format!("C: AUTH PLAIN {given}\n{wrong}"),
            &[],
            &["auth bad-credentials AUTH"],
        );
    }
    check(
        &format!("C: AUTH LOGIN =\n{wrong}"),
        &[],
        &["auth bad-credentials AUTH"],
    );
    for (dialog, refused) in [
        (
            "C: AUTH PLAIN Ym9iAGFubgBzZWNyZXQ=\nS: 535 5.7.8 A user cannot log in for another",
            "acts-for-another",
        ),
        (
            "C: AUTH PLAIN\nS: 334 \nC: *\nS: 501 5.7.0 Login cancelled",
            "login-cancelled",
        ),
        (
            "C: AUTH CRAM-MD5\nS: 504 5.5.4 The mechanisms are PLAIN and LOGIN",
            "bad-parameter",
        ),
        ("C: AUTH\nS: 501 5.5.4 ...", "bad-syntax"),
    ] {
        check(dialog, &[], &[&format!("auth {refused} AUTH")]);
    }
    check(
        "C: MAIL FROM:<a@b.c>\nS: 250 2.1.0 ...\nC: AUTH PLAIN AGFubgBzZWNyZXQ=\nS: 503 5.5.1 ...",
        &[],
        &["auth out-of-sequence AUTH"],
    );
}

#[test]
fn only_under_tls() {
    let mut driver = Driver::new(settings());
    driver.session.allow_auth();
    driver.feed(b"EHLO c\r\nAUTH PLAIN AGFubgBzZWNyZXQ=\r\n");
    let said = String::from_utf8_lossy(&driver.output);
    assert!(
        !said.contains("AUTH PLAIN") && said.contains("538 5.7.11 "),
        "{said}"
    );
    assert_eq!(driver.refused, ["auth needs-tls AUTH"]);
    let mut driver = Driver::new(under_tls());
    driver.session.auth = Auth::NotOffered;
    driver.feed(b"EHLO c\r\nAUTH PLAIN\r\n");
    let said = String::from_utf8_lossy(&driver.output);
    assert!(
        said.ends_with("502 5.5.1 Command not implemented\r\n"),
        "{said}"
    );
}

/// What a client sends ahead may be a password: it is no command, and nobody sees it.
#[test]
fn nothing_is_sent_ahead() {
    for ahead in [
        "AUTH LOGIN\r\nYW5u\r\n",
        "AUTH PLAIN AGFubgB4\r\nc2VjcmV0\r\n",
    ] {
        let mut driver = Driver::new(under_tls());
        driver.feed(format!("EHLO c\r\n{ahead}").as_bytes());
        let said = String::from_utf8_lossy(&driver.output);
        assert!(
            said.ends_with("554 5.5.0 AUTH must be the last of its group\r\n"),
            "{said}"
        );
        assert_eq!(driver.refused, ["session not-the-last-of-its-group "]);
    }
    check(
        "C: AUTH FOO\nS: 504 5.5.4 ...\nC: c2VjcmV0\nS: 500 5.5.2 ...\nC: FOO\nS: 500 5.5.2 ...",
        &[],
        &[
            "auth bad-parameter AUTH",
            "command unknown-command ",
            "command unknown-command ",
        ],
    );
}

#[test]
fn lines_of_an_exchange_have_a_limit_of_their_own() {
    let long = BASE64.encode(&[&b"\0ann\0"[..], &[b'x'; 9000]].concat());
    let mut driver = Driver::new(under_tls());
    driver.feed(b"EHLO c\r\nAUTH PLAIN\r\n");
    driver.feed(format!("{long}\r\n").as_bytes());
    assert!(String::from_utf8_lossy(&driver.output).ends_with("535 5.7.8 No\r\n"));
    driver.feed(b"AUTH PLAIN\r\n");
    let mut sent = 0;
    while driver.session.wants_input() {
        driver.feed(&[b'A'; 1000]);
        sent += 1000;
    }
    assert!(sent < 20_000, "{sent} octets of a password were read");
    assert!(String::from_utf8_lossy(&driver.output).ends_with("500 5.5.6 Line too long\r\n"));
    assert_eq!(driver.log.last().map(String::as_str), Some("closed"));
}

#[test]
fn a_secret_is_never_shown() {
    let mut driver = Driver::new(under_tls());
    driver.feed(b"EHLO c\r\n");
    let now = driver.now;
    driver
        .session
        .handle_bytes(now, b"AUTH PLAIN AGFubgBzZWNyZXQ=\r\n");
    let event = driver.session.poll_event();
    assert_eq!(format!("{event:?}"), "Some(Auth(PLAIN of \"ann\"))");
}
