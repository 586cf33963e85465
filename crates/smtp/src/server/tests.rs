//! Dialogs of the server side, in lock step and with everything the client says cut in two at every point.
//!
//! `C:` is a line of the client, `C~` raw bytes with `\r`, `\n`, `\0` as escapes, `S:` a reply line, of which a final
//! `...` matches any rest. The gate knows alice and bob at example.test.

mod auth;

use std::sync::Arc;
use std::time::{Duration, Instant};

use envelope::{EnhancedStatus, ForwardPath, Reply, Verdict};

use super::*;

fn settings() -> Settings {
    Settings {
        hostname: "mx.example.test".to_owned(),
        size_max: 1000,
        overrun_max: 1000,
        recipients_max: 2,
        transactions_max: 3,
        normalize_newlines: false,
        tls_available: true,
        tls_implicit: false,
        errors_max: 5,
        idle_commands_max: 5,
        timeouts: Timeouts::default(),
    }
}

/// A driver with a simple gate.
struct Driver {
    session: Session,
    now: Instant,
    /// Facts and bodies, as they came.
    log: Vec<String>,
    body: Vec<u8>,
    output: Vec<u8>,
    /// What the session refused by itself.
    refused: Vec<String>,
    /// What a write of the draft ends with.
    full: bool,
}

impl Driver {
    #[expect(
        clippy::disallowed_methods,
        reason = "a test needs some time to begin with"
    )]
    fn new(settings: Settings) -> Self {
        let now = Instant::now();
        let is_submission = settings.tls_implicit;
        let mut session = Session::new(Arc::new(settings), now);
        if is_submission {
            session.allow_auth();
        }
        let mut driver = Self {
            session,
            now,
            log: Vec::new(),
            refused: Vec::new(),
            body: Vec::new(),
            output: Vec::new(),
            full: false,
        };
        driver.run();
        driver
    }

    fn feed(&mut self, bytes: &[u8]) {
        self.session.handle_bytes(self.now, bytes);
        self.run();
    }

    /// A dialog in lock step; what the client says of each turn comes in pieces of this size.
    #[track_caller]
    fn check_turns(&mut self, dialog: &str, size: usize, log: &[&str]) {
        for turn in parse(dialog) {
            turn.client.chunks(size).for_each(|piece| self.feed(piece));
            let output = std::mem::take(&mut self.output);
            let context = String::from_utf8_lossy(&turn.client);
            compare(&output, &turn.server, &context);
        }
        assert_eq!(self.log, log, "{dialog}");
    }

    fn run(&mut self) {
        while let Some(event) = self.session.poll_event() {
            self.handle(event);
        }
        self.output.append(self.session.output());
    }

    fn handle(&mut self, event: Event) {
        match event {
            Event::Connect | Event::Hello(_) | Event::Mail(_) | Event::Data => {
                self.session.answer(self.now, Verdict::Accept);
            }
            Event::Xclient(xclient) => {
                let address = xclient.address.map(|address| address.to_string());
                self.log
                    .push(format!("client {}", address.as_deref().unwrap_or("same")));
                let denied = Reply::new(554, EnhancedStatus::permanent(7, 1), "Go away");
                let verdict = match address.as_deref() {
                    Some("192.0.2.66") => Verdict::Refuse(denied),
                    _ => Verdict::Accept,
                };
                self.session.answer(self.now, verdict);
            }
            Event::Auth(Credentials {
                mechanism,
                user,
                password,
            }) => {
                let mechanism = mechanism.name();
                let password = String::from_utf8_lossy(&password).into_owned();
                self.log.push(format!("{mechanism} {user:?} {password:?}"));
                self.session.answer(self.now, login(&password));
            }
            Event::Rcpt(recipient) => {
                let verdict = gate(&recipient.forward_path);
                self.session.answer(self.now, verdict);
            }
            Event::Body(bytes) if self.full => {
                assert!(!bytes.is_empty());
                let full = Reply::new(452, EnhancedStatus::transient(3, 1), "Full");
                self.session.refuse_body(full);
            }
            Event::Body(bytes) => self.body.extend(bytes),
            Event::BodyEnd => {
                let body = String::from_utf8_lossy(&std::mem::take(&mut self.body)).into_owned();
                self.log.push(format!("body {body:?}"));
                let safe = Reply::new(250, EnhancedStatus::success(0, 0), "Queued");
                self.session.answer_body(self.now, safe);
            }
            Event::BodyNormalized { newlines } => self.log.push(format!("normalized {newlines}")),
            Event::BodyAbandoned => {
                self.body.clear();
                self.log.push("abandoned".to_owned());
            }
            Event::StartTls => {
                self.log.push("tls".to_owned());
                self.session.handle_tls_started(self.now);
            }
            Event::Reset => self.log.push("reset".to_owned()),
            Event::Refused(Refusal {
                stage, rule, typed, ..
            }) => self.refused.push(format!("{stage} {rule} {typed}")),
            Event::Closed => self.log.push("closed".to_owned()),
        }
    }
}

fn login(password: &str) -> Verdict {
    let status = |detail| EnhancedStatus::permanent(7, detail);
    match password {
        "secret" => Verdict::Accept,
        _ => Verdict::Refuse(Reply::new(535, status(8), "No")),
    }
}

fn gate(path: &ForwardPath) -> Verdict {
    match path.to_string().as_str() {
        "<postmaster>" | "<alice@example.test>" | "<bob@example.test>" => Verdict::Accept,
        _ => Verdict::Refuse(Reply::new(
            550,
            EnhancedStatus::permanent(1, 1),
            "No such user",
        )),
    }
}

fn unescape(text: &str) -> Vec<u8> {
    let text = text.replace("\\r", "\r").replace("\\n", "\n");
    text.replace("\\0", "\0").into_bytes()
}

/// A run of client bytes and the reply lines that follow.
#[derive(Default)]
struct Turn {
    client: Vec<u8>,
    server: Vec<String>,
}

fn parse(dialog: &str) -> Vec<Turn> {
    let mut turns = vec![Turn::default()];
    for line in dialog
        .lines()
        .map(str::trim_start)
        .filter(|line| !line.is_empty())
    {
        let (kind, text) = line.split_at(2);
        let text = text.strip_prefix(' ').unwrap_or(text);
        if kind != "S:" && turns.last().is_some_and(|turn| !turn.server.is_empty()) {
            turns.push(Turn::default());
        }
        let Some(turn) = turns.last_mut() else {
            unreachable!("never empty")
        };
        match kind {
            "C:" => turn.client.extend(format!("{text}\r\n").bytes()),
            "C~" => turn.client.extend(unescape(text)),
            "S:" => turn.server.push(text.to_owned()),
            _ => panic!("{line:?}"),
        }
    }
    turns
}

#[track_caller]
fn compare(output: &[u8], expected: &[String], context: &str) {
    let output = String::from_utf8(output.to_vec()).unwrap();
    let lines: Vec<&str> = output.split_terminator("\r\n").collect();
    assert_eq!(
        lines.len(),
        expected.len(),
        "{context}: {lines:#?} for {expected:#?}"
    );
    for (line, expected) in lines.iter().zip(expected) {
        let matches = match expected.strip_suffix("...") {
            Some(prefix) => line.starts_with(prefix),
            None => line == expected,
        };
        assert!(matches, "{context}: {line:?} for {expected:?}");
    }
}

/// In lock step only.
#[track_caller]
fn check_turns(settings: Settings, dialog: &str, log: &[&str]) {
    Driver::new(settings).check_turns(dialog, usize::MAX, log);
}

/// In lock step, and cut at every point, and byte by byte.
#[track_caller]
fn check_with(settings: Settings, dialog: &str, log: &[&str]) {
    check_turns(settings.clone(), dialog, log);
    let turns = parse(dialog);
    let client: Vec<u8> = turns.iter().flat_map(|turn| turn.client.clone()).collect();
    let server: Vec<String> = turns.into_iter().flat_map(|turn| turn.server).collect();
    let cuts = (0..=client.len()).map(|at| vec![&client[..at], &client[at..]]);
    for (at, parts) in cuts.chain([client.chunks(1).collect()]).enumerate() {
        let mut driver = Driver::new(settings.clone());
        parts.iter().for_each(|part| driver.feed(part));
        compare(&driver.output, &server, &format!("cut at {at}"));
        assert_eq!(driver.log, log, "cut at {at}");
    }
}

#[track_caller]
fn check(dialog: &str, log: &[&str]) {
    check_with(settings(), dialog, log);
}

const START: &str = "
    S: 220 mx.example.test ESMTP Onward
    C: HELO client
    S: 250 mx.example.test
    C: MAIL FROM:<s@x.example>
    S: 250 2.1.0 Sender ok
    C: RCPT TO:<alice@example.test>
    S: 250 2.1.5 Recipient ok
";

const EHLO: &str = "
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
    S: 250-STARTTLS
    S: 250 LIMITS RCPTMAX=2 MAILMAX=3
";

#[track_caller]
fn check_after(start: &str, dialog: &str, log: &[&str]) {
    check(&format!("{start}{dialog}"), log);
}

#[test]
fn a_whole_session() {
    check_after(
        EHLO,
        "C: MAIL FROM:<s@x.example> SIZE=10 BODY=8BITMIME RET=HDRS ENVID=a+2Bb
         S: 250 2.1.0 ...
         C: RCPT TO:<alice@example.test> NOTIFY=SUCCESS ORCPT=rfc822;a@b
         S: 250 2.1.5 ...
         C: RCPT TO:<nobody@example.test>
         S: 550 5.1.1 No such user
         C: DATA
         S: 354 End data with <CR><LF>.<CR><LF>
         C: ..a
         C: b.
         C: .
         S: 250 2.0.0 Queued
         C: MAIL FROM:<>
         S: 250 2.1.0 ...
         C: RCPT TO:<postmaster>
         S: 250 2.1.5 ...
         C: DATA
         S: 354 ...
         C: .
         S: 250 2.0.0 Queued
         C: QUIT
         S: 221 2.0.0 Bye",
        &["body \".a\\r\\nb.\\r\\n\"", "body \"\"", "closed"],
    );
}

#[test]
fn sequence() {
    check_turns(
        settings(),
        "S: 220 ...
         C: MAIL FROM:<a@b.c>
         S: 503 5.5.1 ...
         C: RCPT TO:<a@b.c>
         S: 503 5.5.1 ...
         C: DATA
         S: 503 5.5.1 ...
         C: STARTTLS
         S: 503 5.5.1 ...
         C: NOOP
         S: 250 2.0.0 Ok
         C: RSET
         S: 250 2.0.0 Ok
         C: VRFY alice
         S: 252 2.5.0 ...
         C: HELP
         S: 214-2.0.0 ...
         S: 214 2.0.0 ...
         C: QUIT
         S: 221 ...
         C: NOOP",
        &["closed"],
    );
    check_after(
        START,
        "C: MAIL FROM:<a@b.c>
         S: 503 5.5.1 ...
         C: RSET
         S: 250 2.0.0 Ok
         C: RCPT TO:<alice@example.test>
         S: 503 5.5.1 ...
         C: MAIL FROM:<a@b.c>
         S: 250 ...
         C: EHLO again
         S: 250-mx...
         S: 250-PIPELINING
         S: 250-SIZE ...
         S: 250-8BITMIME
         S: 250-SMTPUTF8
         S: 250-CHUNKING
         S: 250-DSN
         S: 250-ENHANCEDSTATUSCODES
         S: 250-STARTTLS
         S: 250 LIMITS ...
         C: RCPT TO:<alice@example.test>
         S: 503 5.5.1 ...",
        &["reset", "reset"],
    );
}

#[test]
fn data_without_recipients() {
    let dialog = |rcpt: &str, reply: &str| {
        format!(
            "S: 220 ...
             C: HELO c
             S: 250 ...
             C: MAIL FROM:<a@b.c>
             S: 250 ...
             {rcpt}
             C: DATA
             S: {reply}"
        )
    };
    check(&dialog("", "503 5.5.1 ..."), &[]);
    let refused = "C: RCPT TO:<nobody@example.test>\nS: 550 5.1.1 ...";
    check(&dialog(refused, "554 5.5.1 No valid recipients"), &[]);
}

#[test]
fn a_body_behind_a_refused_data_is_no_command() {
    let mut driver = Driver::new(settings());
    driver.feed(b"HELO c\r\nMAIL FROM:<a@b.c>\r\nDATA\r\nMAIL FROM:<evil@x.example>\r\n.\r\n");
    let expected = ["220 ...", "250 ...", "250 ...", "503 ...", "421 4.5.0 ..."].map(str::to_owned);
    compare(&driver.output, &expected, "coalesced");
    assert_eq!(driver.log, ["closed"]);
}

#[test]
fn command_errors() {
    let row = |command: &str, reply: &str| {
        check_after(EHLO, &format!("C: {command}\nS: {reply}"), &[]);
    };
    row("FOO", "500 5.5.2 Command not recognised");
    row("", "500 5.5.2 ...");
    row("EXPN list", "502 5.5.1 ...");
    row("AUTH PLAIN", "502 5.5.1 ...");
    row("EHLO", "501 5.5.4 Syntax: EHLO hostname");
    row("MAIL <a@b.c>", "501 5.5.4 Syntax: MAIL FROM:<address>");
    row("MAIL FROM:a@b.c", "501 5.1.7 ...");
    row("MAIL FROM:<a@b.c> FOO=1", "555 5.5.4 ...");
    row("MAIL FROM:<a@b.c> BODY=BINARYMIME", "504 5.5.4 ...");
    row("MAIL FROM:<a@b.c> SIZE=x", "501 5.5.4 ...");
    row(
        "MAIL FROM:<a@b.c> SIZE=1001",
        "552 5.3.4 Message over 1000 octets",
    );
    row("MAIL FROM:<ü@b.c>", "553 5.6.7 ...");
    check_after(
        START,
        "C: RCPT TO:<a@b.c> NOTIFY=NEVER\nS: 555 5.5.4 ...",
        &[],
    );
    check_after(START, "C: RCPT TO:<>\nS: 501 5.1.3 ...", &[]);
    check_after(START, "C: RCPT TO:<ü@b.c>\nS: 553 5.6.7 ...", &[]);
}

/// Nobody knows where the next command begins: answered as soon as it shows, and over.
#[test]
fn lines_that_end_the_session() {
    let long = format!(
        "C~ {}\nS: 500 5.5.2 Line too long\nC: NOOP",
        "a".repeat(2047)
    );
    check_after(EHLO, &long, &["closed"]);
    let broken = "S: 500 5.5.2 Lines end with CRLF, and this one has a bare CR, a bare LF or a NUL";
    for line in [
        "NOOP\\n",
        "NOOP\\nNOOP\\r\\n",
        "NOOP\\rNOOP",
        "NOOP\\0",
        "\\n",
        "QUIT\\n",
    ] {
        check_after(EHLO, &format!("C~ {line}\n{broken}\nC: NOOP"), &["closed"]);
    }
    check_after(START, &format!("C~ RSET\\n\n{broken}"), &["closed"]);
}

/// An endless line is not read on, and takes no memory.
#[test]
fn an_endless_line() {
    let mut driver = Driver::new(settings());
    driver.feed(&[b'a'; 64 * 1024]);
    assert_eq!(driver.log, ["closed"]);
    assert!(!driver.session.wants_input());
}

#[test]
fn paths_without_brackets() {
    let send = |driver: &mut Driver| {
        driver.feed(b"HELO c\r\nMAIL FROM:a@b.c\r\nRCPT TO:alice@example.test\r\n")
    };
    let mut stranger = Driver::new(settings());
    send(&mut stranger);
    let refused = ["220 ...", "250 ...", "501 5.1.7 ...", "501 5.1.3 ..."].map(str::to_owned);
    compare(&stranger.output, &refused, "a stranger");
    let mut known = Driver::new(settings());
    known.session.allow_unbracketed_paths();
    send(&mut known);
    let taken = ["220 ...", "250 ...", "250 2.1.0 ...", "250 2.1.5 ..."].map(str::to_owned);
    compare(&known.output, &taken, "a known client");
}

/// A value that only a notice would have used is no reason to refuse the mail, or the bounce.
#[test]
fn an_orcpt_that_cannot_be_read() {
    let mut driver = Driver::new(settings());
    driver.feed(
        "EHLO c\r\nMAIL FROM:<> AUTH=<>\r\n\
         RCPT TO:<alice@example.test> ORCPT=rfc822;SRS0=a=b=c.d=e@f.g\r\n\
         RCPT TO:<bob@example.test> ORCPT=utf-8;ü@c.d\r\n"
            .as_bytes(),
    );
    let envelope = driver.session.envelope().unwrap();
    assert_eq!(envelope.recipients.len(), 2);
    assert!(envelope.recipients.iter().all(|r| r.original.is_none()));
    assert_eq!(envelope.dropped, ["AUTH", "ORCPT"]);
}

#[test]
fn smtputf8() {
    check_after(
        EHLO,
        "C: MAIL FROM:<ü@b.c> SMTPUTF8
         S: 250 ...
         C: RCPT TO:<ä@example.test>
         S: 550 5.1.1 ...",
        &[],
    );
}

#[test]
fn smuggling_is_refused_at_the_true_end() {
    for (form, line) in [
        ("\\n.\\n", 2),
        ("\\n.\\r\\n", 2),
        ("\\r.\\r", 2),
        ("\\r\\n.\\n", 3),
        ("\\r\\n.\\r\\r\\n", 3),
        ("\\r\\n.\\r", 3),
        ("\\r.\\r\\n", 2),
    ] {
        check_after(
            START,
            &format!(
                "C: DATA
                 S: 354 ...
                 C~ \\r\\na{form}MAIL FROM:<evil@x.example>\\r\\n
                 C: RCPT TO:<bob@example.test>
                 C: .
                 S: 554 5.6.0 Lines end with CRLF, and line {line} of the message has a bare CR or LF
                 C: MAIL FROM:<smuggled@x.example>"
            ),
            &["abandoned", "closed"],
        );
    }
}

/// Where the operator wants it, the line ends are mended; an end of data is still none without its CRLFs.
#[test]
fn normalized_newlines() {
    let settings = Settings {
        normalize_newlines: true,
        ..settings()
    };
    let body = "S: 250 2.0.0 Queued\nC: NOOP\nS: 250 ...";
    check_with(
        settings.clone(),
        &format!("{START}C: DATA\nS: 354 ...\nC~ a\\n.\\r\\nb\\rc\\r\\n.\\r\\n\n{body}"),
        &["normalized 2", "body \"a\\r\\n.\\r\\nb\\r\\nc\\r\\n\""],
    );
    check_with(
        settings,
        &format!("{START}C~ BDAT 2\\r\\na\\r\nS: 250 ...\nC~ BDAT 3 LAST\\r\\n\\nb\\r\n{body}"),
        &["normalized 1", "body \"a\\r\\nb\\r\\n\""],
    );
}

#[test]
fn too_large() {
    let dialog = |lines: usize, end: &str| {
        let line = format!("C: {}\n", "x".repeat(98));
        format!("{START}C: DATA\nS: 354 ...\n{}{end}", line.repeat(lines))
    };
    check_turns(
        settings(),
        &dialog(10, "C: .\nS: 250 ..."),
        &[&format!(
            "body {:?}",
            format!("{}\r\n", "x".repeat(98)).repeat(10)
        )],
    );
    check(
        &dialog(11, "C: .\nS: 552 5.3.4 ...\nC: NOOP\nS: 250 ..."),
        &["abandoned"],
    );
    check_turns(
        settings(),
        &dialog(30, "S: 552 5.3.4 ..."),
        &["abandoned", "closed"],
    );
}

#[test]
fn chunks() {
    check_after(
        START,
        "C~ BDAT 6\\r\\na\\r\\n.\\r\\n
         S: 250 2.0.0 6 octets received
         C: BDAT 0
         S: 250 2.0.0 0 octets received
         C: RCPT TO:<bob@example.test>
         S: 503 5.5.1 ...
         C~ BDAT 3 LAST\\r\\n..b
         S: 250 2.0.0 Queued
         C: BDAT 0 LAST
         S: 503 5.5.1 ...
         C: NOOP
         S: 250 ...",
        &["body \"a\\r\\n.\\r\\n..b\""],
    );
    check_after(
        START,
        "C~ BDAT 0 LAST\\r\\n\nS: 250 2.0.0 Queued",
        &["body \"\""],
    );
}

#[test]
fn chunks_that_fail() {
    // Out of sequence: read over, then answered.
    check_after(
        EHLO,
        "C~ BDAT 6 LAST\\r\\nQUIT\\r\\n\nS: 503 5.5.1 ...\nC: NOOP\nS: 250 ...",
        &[],
    );
    // A bare CR at the very end.
    check_after(
        START,
        "C~ BDAT 2 LAST\\r\\na\\r\nS: 554 5.6.0 ...\nC: NOOP",
        &["abandoned", "closed"],
    );
    check_after(
        START,
        "C~ BDAT 2\\r\\na\\n\nS: 554 5.6.0 ...\nC~ BDAT 6 LAST\\r\\nQUIT\\r\\n",
        &["abandoned", "closed"],
    );
    check_after(
        START,
        "C: BDAT x LAST\nS: 501 5.5.4 ...\nC: NOOP",
        &["closed"],
    );
    check_after(
        START,
        "C: BDAT 2001 LAST\nS: 552 5.3.4 ...\nC: NOOP",
        &["closed"],
    );
    check_after(
        START,
        "C~ BDAT 2\\r\\nabRSET\\r\\n\nS: 250 ...\nS: 250 ...",
        &["abandoned", "reset"],
    );
    // No recipient stands: all chunks fail, none is taken for a message of its own.
    check(
        "S: 220 ...
         C: EHLO c
         S: 250-...
         S: 250-...
         S: 250-...
         S: 250-...
         S: 250-...
         S: 250-...
         S: 250-...
         S: 250-...
         S: 250-...
         S: 250 ...
         C: MAIL FROM:<a@b.c>
         S: 250 ...
         C: RCPT TO:<nobody@example.test>
         S: 550 ...
         C~ BDAT 4\\r\\nab\\r\\n
         S: 554 5.5.1 ...
         C: RCPT TO:<alice@example.test>
         S: 503 5.5.1 ...
         C~ BDAT 4 LAST\\r\\nab\\r\\n
         S: 554 5.5.1 ...",
        &["reset"],
    );
}

#[test]
fn recipients_limit() {
    check_after(
        START,
        "C: RCPT TO:<bob@example.test>
         S: 250 ...
         C: RCPT TO:<postmaster>
         S: 452 4.5.3 Too many recipients
         C: DATA
         S: 354 ...
         C: .
         S: 250 ...",
        &["body \"\""],
    );
}

#[test]
fn limits_that_close() {
    let errors = "C: FOO\nS: 500 ...\n".repeat(5);
    check(
        &format!("S: 220 ...\n{errors}S: 421 4.7.0 Too many errors"),
        &["closed"],
    );
    let idle = "C: NOOP\nS: 250 ...\n".repeat(6);
    check(&format!("S: 220 ...\n{idle}S: 421 4.7.0 ..."), &["closed"]);
    let empty = "C: BDAT 0\nS: 250 ...\n".repeat(6);
    check_after(
        START,
        &format!("{empty}S: 421 4.7.0 ..."),
        &["abandoned", "closed"],
    );
    let mail = "C: MAIL FROM:<a@b.c>\nS: 250 ...\nC: RSET\nS: 250 ...\n".repeat(3);
    let end = "C: MAIL FROM:<a@b.c>\nS: 421 4.7.0 ...";
    let dialog = format!("S: 220 ...\nC: HELO c\nS: 250 ...\n{mail}{end}");
    check(&dialog, &["reset", "reset", "reset", "closed"]);
}

#[test]
fn starttls() {
    check_turns(
        settings(),
        &format!(
            "{EHLO}C: STARTTLS
             S: 220 2.0.0 Ready to start TLS
             C: MAIL FROM:<a@b.c>
             S: 503 5.5.1 ...
             C: EHLO c
             S: 250-mx...
             S: 250-PIPELINING
             S: 250-SIZE ...
             S: 250-8BITMIME
             S: 250-SMTPUTF8
             S: 250-CHUNKING
             S: 250-DSN
             S: 250-ENHANCEDSTATUSCODES
             S: 250-REQUIRETLS
             S: 250 LIMITS ...
             C: STARTTLS
             S: 503 5.5.1 ..."
        ),
        &["tls"],
    );
    check_turns(
        settings(),
        &format!("{START}C: STARTTLS\nS: 503 5.5.1 ..."),
        &[],
    );
    let no_tls = Settings {
        tls_available: false,
        ..settings()
    };
    check_turns(
        no_tls,
        "S: 220 ...\nC: HELO c\nS: 250 ...\nC: STARTTLS\nS: 502 5.5.1 ...",
        &[],
    );
}

#[test]
fn nothing_in_clear_survives_starttls() {
    let dialog = format!("{EHLO}C: STARTTLS\nC: MAIL FROM:<evil@x.example>\nS: 554 5.5.0 ...");
    check_turns(settings(), &dialog, &["closed"]);
    // What comes between the 220 and the handshake is not even kept.
    let mut session = ready_for_tls();
    session.handle_bytes(
        session.clock.session,
        b"EHLO evil\r\nMAIL FROM:<evil@x.example>\r\n",
    );
    assert!(!session.wants_input());
    session.handle_tls_started(session.clock.session);
    assert_eq!(session.poll_event(), None);
    assert!(session.input.unread().is_empty() && session.hello().is_none());
}

fn ready_for_tls() -> Session {
    let mut driver = Driver::new(settings());
    driver.feed(b"EHLO c\r\n");
    let now = driver.now;
    driver.session.handle_bytes(now, b"STARTTLS\r\n");
    assert_eq!(driver.session.poll_event(), Some(Event::StartTls));
    driver.session
}

#[test]
fn one_question_at_a_time() {
    let mut driver = Driver::new(Settings {
        size_max: 1 << 20,
        ..settings()
    });
    driver.feed(b"HELO c\r\n");
    let now = driver.now;
    let session = &mut driver.session;
    session.handle_bytes(
        now,
        b"MAIL FROM:<a@b.c>\r\nRCPT TO:<alice@example.test>\r\n",
    );
    assert!(matches!(session.poll_event(), Some(Event::Mail(_))));
    assert_eq!(session.poll_event(), None);
    assert!(session.question.is_some() && !session.wants_input());
    assert_eq!(session.envelope(), None);
    session.answer(now, Verdict::Accept);
    assert!(matches!(session.poll_event(), Some(Event::Rcpt(_))));
    assert!(
        session
            .envelope()
            .is_some_and(|envelope| envelope.recipients.is_empty())
    );
    session.answer(now, Verdict::Accept);
    assert!(session.question.is_none() && session.wants_input());
    assert!(
        session
            .envelope()
            .is_some_and(|envelope| envelope.recipients.len() == 1)
    );
    session.handle_bytes(now, b"DATA\r\n");
    assert_eq!(session.poll_event(), Some(Event::Data));
    session.handle_bytes(now, &[b'x'; limits::INPUT_OCTETS_MAX]);
    assert!(!session.wants_input());
    session.answer(now, Verdict::Accept);
    let body = session.poll_event();
    assert_eq!(
        body,
        Some(Event::Body(vec![b'x'; limits::INPUT_OCTETS_MAX]))
    );
    assert!(session.wants_input());
}

#[test]
fn verdicts_that_close() {
    let busy = || Reply::new(421, EnhancedStatus::transient(7, 0), "Busy");
    let now = Driver::new(settings()).now;
    let mut session = Session::new(Arc::new(settings()), now);
    assert_eq!(session.poll_event(), Some(Event::Connect));
    session.answer(now, Verdict::Close(busy()));
    assert_eq!(session.output(), b"421 4.7.0 Busy\r\n");
    assert_eq!(
        (session.poll_event(), session.poll_event()),
        (Some(Event::Closed), None)
    );

    let mut session = Session::new(Arc::new(settings()), now);
    session.answer(
        now,
        Verdict::Refuse(Reply::new(554, EnhancedStatus::permanent(7, 1), "No")),
    );
    session.handle_bytes(now, b"EHLO c\r\nBDAT 6 LAST\r\nQUIT\r\nNOOP\r\nQUIT\r\n");
    let output = String::from_utf8(session.output().clone()).unwrap();
    let codes: Vec<&str> = output.lines().map(|line| &line[..3]).collect();
    assert_eq!(codes, ["554", "503", "503", "503", "221"]);
}

#[test]
fn a_draft_that_cannot_be_kept() {
    for parts in [
        vec!["DATA\r\n", "a\r\n", "b\r\n.\r\n"],
        vec!["DATA\r\n", "a\r\n.\r\n"],
        vec!["BDAT 2\r\nab", "BDAT 0 LAST\r\n"],
        vec!["BDAT 3\r\na\r\nBDAT 3\r\nb\r\nBDAT 0 LAST\r\n"],
    ] {
        let mut driver = Driver::new(settings());
        driver.full = true;
        driver.feed(b"HELO c\r\nMAIL FROM:<a@b.c>\r\nRCPT TO:<alice@example.test>\r\n");
        driver.output.clear();
        parts.iter().for_each(|part| driver.feed(part.as_bytes()));
        driver.feed(b"NOOP\r\n");
        let output = String::from_utf8_lossy(&driver.output).into_owned();
        let last_two: Vec<&str> = output.lines().rev().take(2).collect();
        assert_eq!(last_two[0], "250 2.0.0 Ok", "{output}");
        assert!(last_two[1].starts_with("452 4.3.1"), "{output}");
        assert!(driver.session.envelope().is_none());
    }
}

#[test]
fn timeouts() {
    let mut driver = Driver::new(settings());
    let start = driver.now;
    // Single bytes do not prolong a command.
    driver.now += Duration::from_secs(200);
    driver.feed(b"HE");
    assert_eq!(
        driver.session.poll_timeout(),
        start + Duration::from_mins(5)
    );
    driver.feed(b"LO c\r\nMAIL FROM:<a@b.c>\r\nRCPT TO:<alice@example.test>\r\nDATA\r\n");
    assert_eq!(
        driver.session.poll_timeout(),
        driver.now + Duration::from_mins(3)
    );
    driver.now += Duration::from_mins(2);
    driver.feed(b"a");
    driver.output.clear();
    assert_eq!(
        driver.session.poll_timeout(),
        driver.now + Duration::from_mins(3)
    );
    driver.session.handle_timeout(driver.now);
    assert_eq!(driver.session.poll_event(), None);
    driver.now += Duration::from_mins(3);
    driver.session.handle_timeout(driver.now);
    driver.run();
    assert_eq!(driver.output, b"421 4.4.2 Timeout\r\n");
    assert_eq!(driver.log, ["abandoned", "closed"]);
}

#[test]
fn shutdown() {
    let end = b"421 4.3.2 Shutting down, try again later\r\n";
    let mut idle = Driver::new(settings());
    idle.output.clear();
    idle.session.handle_shutdown(idle.now);
    idle.run();
    assert_eq!(
        (&*idle.output, &*idle.log),
        (&end[..], &["closed".to_owned()][..])
    );

    let mut busy = Driver::new(settings());
    busy.feed(b"HELO c\r\nMAIL FROM:<a@b.c>\r\n");
    busy.session.handle_shutdown(busy.now);
    busy.feed(b"RCPT TO:<alice@example.test>\r\nDATA\r\n");
    busy.output.clear();
    busy.feed(b".\r\nMAIL FROM:<a@b.c>\r\n");
    let output = String::from_utf8_lossy(&busy.output).into_owned();
    assert_eq!(
        output,
        format!("250 2.0.0 Queued\r\n{}", String::from_utf8_lossy(end))
    );
    assert_eq!(busy.log, ["body \"\"", "closed"]);
}

#[test]
fn a_client_that_goes() {
    let mut driver = Driver::new(settings());
    driver.feed(b"HELO c\r\nMAIL FROM:<a@b.c>\r\nRCPT TO:<alice@example.test>\r\nDATA\r\nhalf");
    driver.session.handle_closed();
    driver.run();
    assert_eq!(driver.log, ["abandoned", "closed"]);
    // An answer that comes too late is no bug.
    driver.session.answer(driver.now, Verdict::Accept);
}

/// Whatever comes in: no panic, and nothing is held without end.
#[test]
fn any_bytes() {
    let seed = b"EHLO c\r\nMAIL FROM:<a@b.c> SIZE=9\r\nRCPT TO:<alice@example.test>\r\nBDAT 3\r\nabcBDAT 2 LAST\r\n\r\n\
        MAIL FROM:<>\r\nRCPT TO:<bob@example.test>\r\nDATA\r\n..a\r\n.\r\nSTARTTLS\r\nQUIT\r\n";
    for at in 0..seed.len() {
        for byte in [0, b'\r', b'\n', b'.', b'<', b'9', b' ', 0x80, 0xff] {
            let mut input = seed.to_vec();
            input[at] = byte;
            let mut driver = Driver::new(settings());
            input.chunks(7).for_each(|part| driver.feed(part));
            assert!(driver.output.starts_with(b"220 ") && driver.output.ends_with(b"\r\n"));
        }
    }
}

#[track_caller]
fn check_refused(client: &str, expected: &[&str]) {
    for size in [1, client.len()] {
        let mut driver = Driver::new(settings());
        for piece in unescape(client).chunks(size) {
            driver.feed(piece);
        }
        assert_eq!(driver.refused, expected, "{client:.60}");
    }
}

#[test]
fn every_refusal_of_its_own_is_told() {
    const HELLO: &str = "EHLO x\\r\\n";
    const MAIL: &str = "EHLO x\\r\\nMAIL FROM:<a@b.test>\\r\\n";
    const BODY: &str = "RCPT TO:<bob@example.test>\\r\\nDATA\\r\\n";
    let check = |before: &str, client: &str, expected: &[&str]| {
        check_refused(&format!("{before}{client}"), expected);
    };
    check("", "MAIL FROM:<a@b>\\r\\n", &["mail out-of-sequence <a@b>"]);
    check(HELLO, "mail from: <@>\\r\\n", &["mail bad-sender <@>"]);
    check("", "EHLO x\\nMAIL", &["hello bare-newline EHLO"]);
    check("", "PASS x\\ry", &["command bare-newline PASS"]);
    let nul = "MAIL FROM:<a@b.test>\\0\\r\\n";
    check(HELLO, nul, &["mail bare-newline <a@b.test>"]);
    let cut = format!("command line-too-long {}", "x".repeat(320));
    check(HELLO, &"x".repeat(3000), &[&cut]);
    check(
        HELLO,
        "MAIL FROM:<a@b.test> SIZE=9999\\r\\n",
        &["mail too-large <a@b.test> SIZE=9999"],
    );
    check(
        HELLO,
        "MAIL FROM:<a@b.test> X=1\\r\\n",
        &["mail bad-parameter <a@b.test> X=1"],
    );
    check(MAIL, "RCPT TO:<@>\\r\\n", &["rcpt bad-recipient <@>"]);
    check(MAIL, "DATA\\r\\n", &["data out-of-sequence DATA"]);
    check(MAIL, "BDAT 1\\r\\nx", &["data out-of-sequence BDAT"]);
    let recipients = "RCPT TO:<bob@example.test>\\r\\n".repeat(3);
    let third = "rcpt too-many-recipients <bob@example.test>";
    check(MAIL, &recipients, &[third]);
    check(
        HELLO,
        "AUTH PLAIN c2VjcmV0\\r\\n",
        &["auth not-implemented AUTH"],
    );
    let long = "x".repeat(1001);
    for (body, rule) in [(long.as_str(), "too-large"), ("a\\nb", "bare-newline")] {
        let expected = format!("message {rule} ");
        check(MAIL, &format!("{BODY}{body}\\r\\n.\\r\\n"), &[&expected]);
    }
    let mut expected = vec!["command unknown-command FOO"; 5];
    expected.push("session too-many ");
    check("", &"FOO\\r\\n".repeat(5), &expected);
    // The gate's own words are the gate's to tell.
    check(MAIL, "RCPT TO:<eve@example.test>\\r\\n", &[]);
}

#[test]
fn after_quit_nothing_is_left_unless_something_lies_behind_it() {
    let parted = |bytes: &[u8]| {
        let mut driver = Driver::new(settings());
        driver.feed(bytes);
        driver.session.has_parted()
    };
    assert!(parted(b"QUIT\r\n"));
    assert!(parted(b"NOOP\r\nQUIT\r\n"));
    assert!(!parted(b"QUIT\r\nNOOP\r\n"));
    assert!(!parted(b"NOOP\r\n"));
    // Closed for other reasons, more may be on its way.
    assert!(!parted(b"BDAT x\r\n"));
}

/// A dialog of a client that may use XCLIENT.
#[track_caller]
fn check_xclient(dialog: &str, log: &[&str]) {
    let mut driver = Driver::new(settings());
    driver.session.allow_xclient();
    driver.session.allow_auth();
    driver.output.clear();
    driver.check_turns(dialog, usize::MAX, log);
}

#[test]
fn xclient_begins_anew() {
    // Pipelined, and before the first EHLO; a second one names another client.
    let dialog = "
        C: XCLIENT ADDR=192.0.2.1 PORT=1
        C: EHLO x
        S: 220 ...
        S: 250-...
        S: 250-PIPELINING
        S: 250-SIZE 1000
        S: 250-8BITMIME
        S: 250-SMTPUTF8
        S: 250-CHUNKING
        S: 250-DSN
        S: 250-ENHANCEDSTATUSCODES
        S: 250-STARTTLS
        S: 250-XCLIENT ADDR PORT NAME PROTO HELO DESTADDR DESTPORT LOGIN
        S: 250 LIMITS ...
        C: XCLIENT ADDR=IPV6:2001:db8::1 LOGIN=ann
        S: 220 ...
        C: MAIL FROM:<a@b.test>
        S: 503 5.5.1 Send EHLO first
    ";
    check_xclient(dialog, &["client 192.0.2.1", "client 2001:db8::1"]);
    let in_transaction = "
        C: HELO x
        S: 250 ...
        C: MAIL FROM:<a@b.test>
        S: 250 2.1.0 Sender ok
        C: XCLIENT ADDR=192.0.2.1
        S: 503 5.5.1 A transaction is open: send RSET first
        C: RCPT TO:<bob@example.test>
        S: 250 2.1.5 Recipient ok
    ";
    check_xclient(in_transaction, &[]);
}

#[test]
fn xclient_refused() {
    let dialog = "
        C: XCLIENT
        S: 501 5.5.4 Syntax: XCLIENT attribute=value ...
        C: XCLIENT ADDR=[UNAVAILABLE]
        S: 501 5.5.4 Bad XCLIENT value of ADDR
        C: XCLIENT ADDR=192.0.2.66
        S: 554 5.7.1 Go away
        C: XCLIENT ADDR=192.0.2.1
        S: 503 5.5.1 Only QUIT is possible here
    ";
    check_xclient(dialog, &["client 192.0.2.66"]);
    // Who is not listed is not offered it either; and nobody logs in where there are no users.
    let mut driver = Driver::new(settings());
    driver.output.clear();
    driver.feed(b"XCLIENT ADDR=192.0.2.1\r\nEHLO x\r\n");
    let said = String::from_utf8(std::mem::take(&mut driver.output)).unwrap();
    assert!(said.starts_with("550 5.7.0 XCLIENT is not allowed from your address\r\n250-"));
    assert!(!said[3..].contains("XCLIENT A"), "{said}");
    driver.session.allow_xclient();
    driver.feed(b"XCLIENT LOGIN=ann\r\n");
    assert!(driver.output.starts_with(b"501 5.5.4 Unknown"));
    assert!(driver.log.is_empty());
}

#[test]
fn xclient_takes_back_what_the_proxy_may() {
    let mut driver = Driver::new(settings());
    driver.session.allow_xclient();
    driver.session.allow_unbracketed_paths();
    driver.feed(b"XCLIENT ADDR=192.0.2.1\r\nEHLO x\r\n");
    driver.output.clear();
    driver.feed(b"MAIL FROM:a@b.test\r\n");
    assert!(driver.output.starts_with(b"501 5.1.7"));
}
