//! Dialogs of the client side: what the peer says is fed cut in two at every point of every turn.
//!
//! `S:` is a line of the peer, `S~` raw bytes with escapes, `C:` and `C~` what we are to write then. The driver sends
//! its transactions one after the other when ready, then QUIT.

use std::collections::VecDeque;
use std::sync::Arc;
use std::time::{Duration, Instant};

use envelope::{BodyKind, Notify, OriginalRecipient, Outcome, Return, ReversePath};

use super::*;

#[derive(Clone, Default)]
struct Plan {
    transactions: VecDeque<(Transaction, Vec<&'static str>)>,
    tls: bool,
    lmtp: bool,
    /// Lines of AUTH to send.
    auth: VecDeque<&'static str>,
    settings: Option<Settings>,
}

struct Driver {
    session: Session,
    now: Instant,
    plan: Plan,
    body: Vec<&'static str>,
    /// Outcomes and what else happened.
    log: Vec<String>,
}

impl Driver {
    #[expect(
        clippy::disallowed_methods,
        reason = "a test needs some time to begin with"
    )]
    fn new(mut plan: Plan) -> Self {
        let now = Instant::now();
        let settings = plan.settings.take().unwrap_or_else(|| Settings {
            hello_name: "us.example".to_owned(),
            ..Settings::default()
        });
        let session = match plan.lmtp {
            true => Session::lmtp(Arc::new(settings), now),
            false => Session::new(Arc::new(settings), now),
        };
        Self {
            session,
            now,
            plan,
            body: Vec::new(),
            log: Vec::new(),
        }
    }

    fn feed(&mut self, bytes: &[u8]) {
        self.session.handle_bytes(self.now, bytes);
        self.run();
    }

    fn run(&mut self) {
        loop {
            while let Some(event) = self.session.poll_event() {
                self.handle(event);
            }
            if !self.session.wants_body() {
                return;
            }
            if self.body.is_empty() {
                self.session.finish_body(self.now);
            } else {
                let piece = self.body.remove(0);
                self.session.send_body(self.now, piece.as_bytes());
            }
        }
    }

    fn handle(&mut self, event: Event) {
        match event {
            Event::Ready | Event::TlsRefused(_) => self.next(),
            Event::AuthChallenge(text) => {
                self.log.push(format!("asked {text}"));
                self.next();
            }
            Event::TlsGo => {
                self.log.push("tls".to_owned());
                self.session.handle_tls_started(self.now);
            }
            Event::BodyWanted => self.log.push("body".to_owned()),
            Event::Done(outcomes) => self.log.extend(outcomes.iter().map(outcome_text)),
            Event::Closed(diagnosis) => {
                self.log
                    .push(format!("closed: {} {}", diagnosis.status, diagnosis.text));
            }
        }
    }

    fn next(&mut self) {
        if std::mem::take(&mut self.plan.tls) {
            return self.session.start_tls(self.now);
        }
        if let Some(line) = self.plan.auth.pop_front() {
            return self.session.authenticate(self.now, line);
        }
        match self.plan.transactions.pop_front() {
            Some((transaction, body)) => {
                self.body = body;
                self.session.send(self.now, transaction);
            }
            None => self.session.quit(self.now),
        }
    }
}

fn outcome_text(outcome: &Outcome) -> String {
    let kind = match outcome {
        Outcome::Delivered(diagnosis) if diagnosis.dsn_relayed => "delivered (dsn)",
        Outcome::Delivered(_) => "delivered",
        Outcome::Deferred(_) => "deferred",
        Outcome::Failed(_) => "failed",
    };
    let diagnosis = outcome.diagnosis();
    let reply = diagnosis.reply.as_ref().map(|reply| format!(": {reply}"));
    format!(
        "{kind} {} {}{}",
        diagnosis.status,
        diagnosis.text,
        reply.unwrap_or_default()
    )
}

fn transaction(recipients: &[&str]) -> Transaction {
    let recipients = recipients.iter().map(|address| TransactionRecipient {
        target: address.parse().unwrap(),
        notify: None,
        original: None,
    });
    Transaction {
        reverse_path: ReversePath::Mailbox("s@x.example".parse().unwrap()),
        recipients: recipients.collect(),
        body: BodyKind::SevenBit,
        smtputf8: false,
        size: 6,
        ret: None,
        envid: None,
        require_tls: false,
        rcpt_only: false,
    }
}

fn plan(recipients: &[&str]) -> Plan {
    plan_of(transaction(recipients), vec![".a\r\n", "b\r\n"])
}

fn plan_of(transaction: Transaction, body: Vec<&'static str>) -> Plan {
    Plan {
        transactions: VecDeque::from([(transaction, body)]),
        ..Plan::default()
    }
}

struct Turn {
    server: Vec<u8>,
    client: Vec<u8>,
}

fn parse(dialog: &str) -> Vec<Turn> {
    let mut turns: Vec<Turn> = Vec::new();
    for line in dialog
        .lines()
        .map(str::trim_start)
        .filter(|line| !line.is_empty())
    {
        let (kind, text) = line.split_at(2);
        let text = text.strip_prefix(' ').unwrap_or(text);
        let bytes = match kind {
            "S:" | "C:" => format!("{text}\r\n"),
            _ => text.replace("\\r", "\r").replace("\\n", "\n"),
        };
        let from_server = kind.starts_with('S');
        if turns
            .last()
            .is_none_or(|turn| from_server && !turn.client.is_empty())
        {
            turns.push(Turn {
                server: Vec::new(),
                client: Vec::new(),
            });
        }
        let Some(turn) = turns.last_mut() else {
            unreachable!("just pushed")
        };
        let side = if from_server {
            &mut turn.server
        } else {
            &mut turn.client
        };
        side.extend(bytes.bytes());
    }
    turns
}

#[track_caller]
fn check(plan: &Plan, dialog: &str, log: &[&str]) {
    let turns = parse(dialog);
    let longest = turns
        .iter()
        .map(|turn| turn.server.len())
        .max()
        .unwrap_or(0);
    for cut in 0..=longest {
        let mut driver = Driver::new(plan.clone());
        for turn in &turns {
            let (first, second) = turn.server.split_at(cut.min(turn.server.len()));
            driver.feed(first);
            driver.feed(second);
            let output = std::mem::take(driver.session.output());
            let (got, expected) = (
                String::from_utf8_lossy(&output),
                String::from_utf8_lossy(&turn.client),
            );
            assert_eq!(got, expected, "cut at {cut}");
        }
        assert_eq!(driver.log, log, "cut at {cut}");
    }
}

const PIPELINING: &str = "
    S: 220 mx.example ESMTP
    C: EHLO us.example
    S: 250-mx.example
    S: 250-PIPELINING
    S: 250 ENHANCEDSTATUSCODES
";

const BYE: &str = "
    C: QUIT
    S: 221 2.0.0 Bye
";

const CLOSED: &str = "closed: 2.0.0 while sending QUIT";

#[test]
fn one_group_with_pipelining() {
    check(
        &plan(&["a@x.test", "b@x.test", "c@x.test"]),
        &format!(
            "{PIPELINING}
             C: MAIL FROM:<s@x.example>
             C: RCPT TO:<a@x.test>
             C: RCPT TO:<b@x.test>
             C: RCPT TO:<c@x.test>
             C: DATA
             S: 250 2.1.0 Ok
             S: 250 2.1.5 Ok
             S: 550-5.1.1 No
             S: 550 5.1.1 such user
             S: 450 Greylisted
             S: 354 go
             C: ..a
             C: b
             C: .
             S: 250 2.6.0 Queued as 1
             {BYE}"
        ),
        &[
            "body",
            "delivered 2.6.0 while waiting for the reply to the end of the message: 250 2.6.0 Queued as 1",
            "failed 5.1.1 while sending RCPT TO: 550 5.1.1 No such user",
            "deferred 4.0.0 while sending RCPT TO: 450 Greylisted",
            CLOSED,
        ],
    );
}

#[test]
fn step_by_step_without() {
    check(
        &plan(&["a@x.test", "b@x.test"]),
        &format!(
            "S: 220-mx
             S: 220 .
             C: EHLO us.example
             S: 502 what
             C: HELO us.example
             S: 250 PIPELINING
             C: MAIL FROM:<s@x.example>
             S: 250 ok
             C: RCPT TO:<a@x.test>
             S: 251 ok
             C: RCPT TO:<b@x.test>
             S: 552 Too many
             C: DATA
             S: 354 go
             C: ..a
             C: b
             C: .
             S: 554 5.7.1 Spam
             {BYE}"
        ),
        &[
            "body",
            "failed 5.7.1 while waiting for the reply to the end of the message: 554 5.7.1 Spam",
            "deferred 4.0.0 while sending RCPT TO: 552 Too many",
            CLOSED,
        ],
    );
}

#[test]
fn mail_refused() {
    check(
        &plan(&["a@x.test"]),
        &format!(
            "{PIPELINING}
             C: MAIL FROM:<s@x.example>
             C: RCPT TO:<a@x.test>
             C: DATA
             S: 451 4.7.1 Later
             S: 503 5.5.1 MAIL first
             S: 503 5.5.1 MAIL first
             {BYE}"
        ),
        &[
            "deferred 4.7.1 while sending MAIL FROM: 451 4.7.1 Later",
            CLOSED,
        ],
    );
    check(
        &plan(&["a@x.test", "b@x.test"]),
        &format!(
            "S: 220 mx
             C: EHLO us.example
             S: 250 mx
             C: MAIL FROM:<s@x.example>
             S: 550 5.7.1 No
             {BYE}"
        ),
        &[
            "failed 5.7.1 while sending MAIL FROM: 550 5.7.1 No",
            "failed 5.7.1 while sending MAIL FROM: 550 5.7.1 No",
            CLOSED,
        ],
    );
}

#[test]
fn nobody_accepted() {
    let refused = "failed 5.1.1 while sending RCPT TO: 550 5.1.1 No";
    let group = format!(
        "{PIPELINING}
         C: MAIL FROM:<s@x.example>
         C: RCPT TO:<a@x.test>
         C: DATA
         S: 250 ok
         S: 550 5.1.1 No"
    );
    let sane = format!("{group}\nS: 554 5.5.1 No valid recipients\nC: RSET\nS: 250 ok\n{BYE}");
    check(&plan(&["a@x.test"]), &sane, &[refused, CLOSED]);
    // RFC 2920 §3.1: a 354 all the same gets an empty message.
    let odd = format!("{group}\nS: 354 go\nC: .\nS: 250 ok\n{BYE}");
    check(&plan(&["a@x.test"]), &odd, &[refused, CLOSED]);
    let step_by_step = format!(
        "S: 220 mx
         C: EHLO us.example
         S: 250 mx
         C: MAIL FROM:<s@x.example>
         S: 250 ok
         C: RCPT TO:<a@x.test>
         S: 550 5.1.1 No
         C: RSET
         S: 250 ok
         {BYE}"
    );
    check(&plan(&["a@x.test"]), &step_by_step, &[refused, CLOSED]);
}

#[test]
fn data_refused() {
    check(
        &plan(&["a@x.test"]),
        &format!(
            "{PIPELINING}
             C: MAIL FROM:<s@x.example>
             C: RCPT TO:<a@x.test>
             C: DATA
             S: 250 ok
             S: 250 ok
             S: 451 4.3.0 Later
             C: RSET
             S: 250 ok
             {BYE}"
        ),
        &["deferred 4.3.0 while sending DATA: 451 4.3.0 Later", CLOSED],
    );
}

#[test]
fn a_second_message() {
    let mut two = plan(&["a@x.test"]);
    two.transactions
        .push_back((transaction(&["b@x.test"]), vec!["c\r\n"]));
    let rest = |end: &str| {
        format!(
            "C: MAIL FROM:<s@x.example>
             C: RCPT TO:<a@x.test>
             C: DATA
             S: 250 ok
             S: 250 ok
             S: 354 go
             C: ..a
             C: b
             C: .
             S: 250 2.0.0 ok
             {end}"
        )
    };
    let again = format!(
        "C: MAIL FROM:<s@x.example>
         C: RCPT TO:<b@x.test>
         C: DATA
         S: 250 ok
         S: 250 ok
         S: 354 go
         C: c
         C: .
         S: 250 2.0.0 ok
         {BYE}"
    );
    let delivered =
        "delivered 2.0.0 while waiting for the reply to the end of the message: 250 2.0.0 ok";
    check(
        &two,
        &format!("{PIPELINING}{}", rest(&again)),
        &["body", delivered, "body", delivered, CLOSED],
    );
    // A peer that takes one message only is left in time (RFC 9422).
    let one =
        "S: 220 mx\nC: EHLO us.example\nS: 250-mx\nS: 250-PIPELINING\nS: 250 LIMITS MAILMAX=1\n";
    check(
        &two,
        &format!("{one}{}", rest(BYE)),
        &["body", delivered, CLOSED],
    );
}

#[test]
fn parameters() {
    let mut full = transaction(&["jü@x.test", "b@x.test"]);
    full.body = BodyKind::EightBitMime;
    full.ret = Some(Return::Headers);
    full.envid = Some("a+b".into());
    full.recipients[0].notify = Some(Notify {
        success: true,
        ..Notify::NEVER
    });
    full.recipients[0].original = Some(OriginalRecipient {
        kind: "utf-8".into(),
        address: "ü@y".into(),
    });
    full.recipients[1].original = Some(OriginalRecipient {
        kind: "rfc822".into(),
        address: "c=d@y".into(),
    });
    let ok = "while waiting for the reply to the end of the message: 250 ok";
    check(
        &plan_of(full.clone(), vec!["a\r\n"]),
        &format!(
            "S: 220 mx
             C: EHLO us.example
             S: 250-mx
             S: 250-PIPELINING
             S: 250-SIZE 100
             S: 250-8BITMIME
             S: 250-SMTPUTF8
             S: 250 DSN
             C: MAIL FROM:<s@x.example> SIZE=6 BODY=8BITMIME SMTPUTF8 RET=HDRS ENVID=a+2Bb
             C: RCPT TO:<jü@x.test> NOTIFY=SUCCESS ORCPT=utf-8;ü@y
             C: RCPT TO:<b@x.test> ORCPT=rfc822;c+3Dd@y
             C: DATA
             S: 250 ok
             S: 250 ok
             S: 250 ok
             S: 354 ok
             C: a
             C: .
             S: 250 ok
             {BYE}"
        ),
        &[
            "body",
            &format!("delivered (dsn) 2.0.0 {ok}"),
            &format!("delivered 2.0.0 {ok}"),
            CLOSED,
        ],
    );
    // A peer with nothing: the recipient that needs SMTPUTF8 fails, the other goes, 8-bit as it is.
    check(
        &plan_of(full, vec!["a\r\n"]),
        &format!(
            "{PIPELINING}
             C: MAIL FROM:<s@x.example>
             C: RCPT TO:<b@x.test>
             C: DATA
             S: 250 ok
             S: 250 ok
             S: 354 ok
             C: a
             C: .
             S: 250 ok
             {BYE}"
        ),
        &[
            "body",
            "failed 5.6.7 message or address needs SMTPUTF8, which the peer has not",
            &format!("delivered 2.0.0 {ok}"),
            CLOSED,
        ],
    );
}

#[test]
fn what_the_peer_cannot_take_is_not_begun() {
    let start = "S: 220 mx\nC: EHLO us.example\nS: 250-mx\nS: 250 SIZE 5\n";
    check(
        &plan(&["a@x.test"]),
        &format!("{start}{BYE}"),
        &[
            "failed 5.3.4 message of 6 octets is over the peer's limit of 5",
            CLOSED,
        ],
    );
    let mut utf8 = transaction(&["a@x.test"]);
    utf8.smtputf8 = true;
    check(
        &plan_of(utf8, vec![]),
        &format!("{PIPELINING}{BYE}"),
        &[
            "failed 5.6.7 message or address needs SMTPUTF8, which the peer has not",
            CLOSED,
        ],
    );
    let mut private = transaction(&["a@x.test"]);
    private.require_tls = true;
    let start = "S: 220 mx\nC: EHLO us.example\nS: 250-mx\nS: 250 REQUIRETLS\n";
    check(
        &plan_of(private.clone(), vec![]),
        &format!("{start}C: MAIL FROM:<s@x.example> REQUIRETLS\nS: 450 later\n{BYE}"),
        &["deferred 4.0.0 while sending MAIL FROM: 450 later", CLOSED],
    );
    check(
        &plan_of(private, vec![]),
        &format!("{PIPELINING}{BYE}"),
        &[
            "failed 5.7.30 message has to be protected all the way (REQUIRETLS), which the peer does not offer",
            CLOSED,
        ],
    );
    let mut eight = transaction(&["a@x.test"]);
    eight.body = BodyKind::EightBitMime;
    let mut strict = plan_of(eight, vec![]);
    strict.settings = Some(Settings {
        hello_name: "us.example".to_owned(),
        eight_bit_anyway: false,
        ..Settings::default()
    });
    check(
        &strict,
        &format!("{PIPELINING}{BYE}"),
        &[
            "failed 5.6.3 message is 8-bit and the peer has no 8BITMIME",
            CLOSED,
        ],
    );
}

#[test]
fn an_early_421() {
    let later = "4.3.2 while sending RCPT TO: 421 4.3.2 Closing";
    check(
        &plan(&["a@x.test", "b@x.test"]),
        &format!(
            "{PIPELINING}
             C: MAIL FROM:<s@x.example>
             C: RCPT TO:<a@x.test>
             C: RCPT TO:<b@x.test>
             C: DATA
             S: 250 ok
             S: 550 5.1.1 No
             S: 421 4.3.2 Closing"
        ),
        &[
            "failed 5.1.1 while sending RCPT TO: 550 5.1.1 No",
            &format!("deferred {later}"),
            "closed: 4.3.2 while sending RCPT TO",
        ],
    );
    check(
        &plan(&["a@x.test"]),
        "S: 421 4.7.0 Busy",
        &["closed: 4.7.0 while waiting for the greeting"],
    );
    check(
        &plan(&["a@x.test"]),
        "S: 554 5.7.1 Go away\nC: QUIT",
        &["closed: 5.7.1 while waiting for the greeting"],
    );
}

#[test]
fn a_refusal_in_the_middle_of_the_body() {
    let mut driver = in_body();
    driver.session.send_body(driver.now, b"a\r\n");
    driver
        .session
        .handle_bytes(driver.now, b"552 5.3.4 Too much\r\n");
    assert!(!driver.session.wants_body());
    driver.session.send_body(driver.now, b"b\r\n");
    driver.session.finish_body(driver.now);
    driver.run();
    assert!(!driver.session.output().ends_with(b".\r\n"));
    assert_eq!(
        driver.log,
        [
            "failed 5.3.4 while sending the message: 552 5.3.4 Too much",
            "closed: 5.3.4 while sending the message"
        ]
    );
}

/// A session that was asked for its body.
fn in_body() -> Driver {
    let mut driver = Driver::new(plan(&["a@x.test"]));
    driver.feed(b"220 mx\r\n");
    driver.feed(b"250-mx\r\n250 PIPELINING\r\n");
    driver
        .session
        .handle_bytes(driver.now, b"250 ok\r\n250 ok\r\n354 go\r\n");
    assert_eq!(driver.session.poll_event(), Some(Event::BodyWanted));
    driver
}

#[test]
fn a_body_that_cannot_be_read_is_never_ended() {
    let mut driver = in_body();
    driver.session.send_body(driver.now, b"half a li");
    driver.session.abort_body(driver.now);
    driver.run();
    assert!(driver.session.output().ends_with(b"half a li"));
    let text = "4.3.0 the message could not be read from the spool";
    assert_eq!(
        driver.log,
        [format!("deferred {text}"), format!("closed: {text}")]
    );
}

#[test]
fn a_bare_newline_never_goes_by_data() {
    for body in [
        vec!["a\n.\r\nMAIL FROM:<x>\r\n"],
        vec!["a\r", ".\r\n"],
        vec!["a\r"],
    ] {
        let mut driver = in_body();
        driver.body = body;
        driver.run();
        let output = String::from_utf8_lossy(driver.session.output()).into_owned();
        assert!(output.ends_with("\r\na"), "{output:?}");
        let text = "5.6.0 message has a bare CR or LF, which cannot be sent with DATA";
        assert_eq!(
            driver.log,
            [format!("failed {text}"), format!("closed: {text}")]
        );
    }
}

#[test]
fn tls() {
    let plan = Plan {
        tls: true,
        ..Plan::default()
    };
    let start = "S: 220 mx\nC: EHLO us.example\nS: 250-mx\nS: 250 STARTTLS\nC: STARTTLS\n";
    check(
        &plan,
        &format!("{start}S: 220 go\nC: EHLO us.example\nS: 250 mx\n{BYE}"),
        &["tls", CLOSED],
    );
    check(
        &plan,
        &format!("{start}S: 454 4.7.0 Not now\n{BYE}"),
        &[CLOSED],
    );
    // An answer that was slipped in before the handshake must not count behind it.
    let mut driver = Driver::new(plan);
    driver.feed(b"220 mx\r\n");
    driver.feed(b"250-mx\r\n250 STARTTLS\r\n");
    driver.feed(b"220 go\r\n250-evil\r\n250 AUTH\r\n");
    assert_eq!(
        driver.log,
        [
            "closed: 4.5.0 protocol error (bytes behind the reply to STARTTLS) while sending STARTTLS"
        ]
    );
}

fn login(lines: &[&'static str]) -> Plan {
    Plan {
        auth: lines.iter().copied().collect(),
        ..plan(&["a@y.example"])
    }
}

#[test]
fn a_login_in_one_step() {
    let dialog = "
        S: 220 mx.example
        C: EHLO us.example
        S: 250-mx.example
        S: 250 AUTH PLAIN LOGIN
        C: AUTH PLAIN AGEAYg==
        S: 235 2.7.0 welcome
        C: MAIL FROM:<s@x.example>
        S: 550 no
        C: QUIT
        S: 221 bye
    ";
    let log = [
        "failed 5.0.0 while sending MAIL FROM: 550 no",
        "closed: 2.0.0 while sending QUIT",
    ];
    check(&login(&["AUTH PLAIN AGEAYg=="]), dialog, &log);
}

#[test]
fn a_login_in_steps_and_its_refusal() {
    let dialog = "
        S: 220 mx.example
        C: EHLO us.example
        S: 250-mx.example
        S: 250 AUTH LOGIN
        C: AUTH LOGIN
        S: 334 VXNlcm5hbWU6
        C: YQ==
        S: 334 UGFzc3dvcmQ6
        C: Yg==
        S: 535 5.7.8 wrong
        C: QUIT
    ";
    let log = [
        "asked VXNlcm5hbWU6",
        "asked UGFzc3dvcmQ6",
        "closed: 5.7.8 while logging in",
    ];
    check(&login(&["AUTH LOGIN", "YQ==", "Yg=="]), dialog, &log);
}

fn lmtp(recipients: &[&str]) -> Plan {
    Plan {
        lmtp: true,
        ..plan(recipients)
    }
}

const LHLO: &str = "
    S: 220 store.example LMTP
    C: LHLO us.example
    S: 250-store.example
    S: 250 PIPELINING
    C: MAIL FROM:<s@x.example>
";

/// RFC 2033 §4.2: a reply for each recipient that was accepted, in their order; one may fail and the others not.
#[test]
fn lmtp_has_a_verdict_for_each_recipient() {
    let rest = "
        C: RCPT TO:<a@y.example>
        C: RCPT TO:<b@y.example>
        C: RCPT TO:<c@y.example>
        C: RCPT TO:<d@y.example>
        C: DATA
        S: 250 ok
        S: 250 ok
        S: 550 5.1.1 unknown
        S: 250 ok
        S: 250 ok
        S: 354 go
        C: ..a
        C: b
        C: .
        S: 250 2.0.0 a saved
        S: 452 4.2.2 c is full
        S: 550 5.2.0 d wants none
        C: QUIT
        S: 221 bye
    ";
    let at_the_end = "while waiting for the reply to the end of the message";
    let log = [
        "body",
        &format!("delivered 2.0.0 {at_the_end}: 250 2.0.0 a saved"),
        "failed 5.1.1 while sending RCPT TO: 550 5.1.1 unknown",
        &format!("deferred 4.2.2 {at_the_end}: 452 4.2.2 c is full"),
        &format!("failed 5.2.0 {at_the_end}: 550 5.2.0 d wants none"),
        "closed: 2.0.0 while sending QUIT",
    ];
    let all = ["a@y.example", "b@y.example", "c@y.example", "d@y.example"];
    check(&lmtp(&all), &format!("{LHLO}{rest}"), &log);
}

#[test]
fn lmtp_that_breaks_off_between_verdicts() {
    let rest = "
        C: RCPT TO:<a@y.example>
        C: RCPT TO:<b@y.example>
        C: DATA
        S: 250 ok
        S: 250 ok
        S: 250 ok
        S: 354 go
        C: ..a
        C: b
        C: .
        S: 250 a saved
        S: 421 4.3.2 going down
    ";
    let at_the_end = "while waiting for the reply to the end of the message";
    let log = [
        "body",
        &format!("delivered 2.0.0 {at_the_end}: 250 a saved"),
        &format!("deferred 4.3.2 {at_the_end}: 421 4.3.2 going down"),
        &format!("closed: 4.3.2 {at_the_end}"),
    ];
    let plan = lmtp(&["a@y.example", "b@y.example"]);
    check(&plan, &format!("{LHLO}{rest}"), &log);
}

#[test]
fn lmtp_without_anybody() {
    let refused = "
        C: RCPT TO:<a@y.example>
        C: DATA
        S: 250 ok
        S: 550 5.1.1 unknown
    ";
    let plan = lmtp(&["a@y.example"]);
    let unknown = "failed 5.1.1 while sending RCPT TO: 550 5.1.1 unknown";
    let rest = "
        S: 503 no recipients
        C: RSET
        S: 250 ok
        C: QUIT
        S: 221 bye
    ";
    let log = [unknown, "closed: 2.0.0 while sending QUIT"];
    check(&plan, &format!("{LHLO}{refused}{rest}"), &log);
    let odd = "closed: 4.5.0 protocol error (3xx to DATA without recipients) while sending DATA";
    let dialog = format!("{LHLO}{refused}S: 354 go");
    check(&plan, &dialog, &[unknown, odd]);
}

/// There is no HELO to fall back to.
#[test]
fn lmtp_greeting_refused() {
    let dialog = "
        S: 220 mx.example ESMTP
        C: LHLO us.example
        S: 500 5.5.1 what
        C: QUIT
    ";
    let log = ["closed: 5.5.1 while sending EHLO"];
    check(&lmtp(&["a@y.example"]), dialog, &log);
}

#[test]
fn peers_that_break_the_protocol() {
    let row = |said: &str, what: &str, shown: &str| {
        let mut driver = Driver::new(plan(&["a@x.test"]));
        driver.feed(b"220 mx\r\n");
        driver.feed(b"250-mx\r\n250 PIPELINING\r\n");
        driver.feed(said.as_bytes());
        let text = format!(
            "4.5.0 protocol error ({what}) while sending MAIL FROM; the peer said: {shown}"
        );
        assert_eq!(
            driver.log,
            [format!("deferred {text}"), format!("closed: {text}")],
            "{said:?}"
        );
        driver.feed(b"250 more\r\n");
        driver.session.handle_closed(driver.now);
        assert_eq!(driver.session.poll_event(), None);
        assert_eq!(driver.session.poll_timeout(), None);
    };
    row("SSH-2.0-x\r\n", "not an SMTP reply", "SSH-2.0-x");
    let differ = "reply lines with different codes";
    row("250-a\r\n550 b\r\n", differ, "250 a 550 b");
    let long = "reply too long";
    let shown = format!("250 {}", "x\\n".repeat(198));
    row(&"250-x\r\n".repeat(1000), long, &shown);
    row(&"x".repeat(1_000_000), long, &"x".repeat(400));
}

/// A question about one address, and then another on the same connection.
#[test]
fn a_question_ends_behind_rcpt() {
    let question = |of| Transaction {
        reverse_path: ReversePath::Null,
        size: 0,
        rcpt_only: true,
        ..transaction(&[of])
    };
    let mut plan = plan_of(question("a@x.test"), vec!["never"]);
    let second = (question("b@x.test"), vec!["never"]);
    plan.transactions.push_back(second);
    check(
        &plan,
        &format!(
            "{PIPELINING}
             C: MAIL FROM:<>
             C: RCPT TO:<a@x.test>
             S: 250 2.1.0 Ok
             S: 250 2.1.5 Ok
             C: RSET
             S: 250 2.0.0 Ok
             C: MAIL FROM:<>
             C: RCPT TO:<b@x.test>
             S: 250 2.1.0 Ok
             S: 550 5.1.1 Unknown
             C: RSET
             S: 250 2.0.0 Ok
             {BYE}"
        ),
        &[
            "delivered 2.1.5 while sending RCPT TO: 250 2.1.5 Ok",
            "failed 5.1.1 while sending RCPT TO: 550 5.1.1 Unknown",
            CLOSED,
        ],
    );
}

/// `said` answers MAIL, RCPT and DATA in one group.
#[track_caller]
fn check_turned_away(said: &str, expected: bool) {
    check_turned_away_from(transaction(&["a@x.test"]), said, expected);
}

#[track_caller]
fn check_turned_away_from(transaction: Transaction, said: &str, expected: bool) {
    let mut driver = Driver::new(plan_of(transaction, Vec::new()));
    driver.feed(b"220 mx\r\n");
    driver.feed(b"250-mx\r\n250 PIPELINING\r\n");
    driver.feed(said.as_bytes());
    assert_eq!(driver.session.is_turned_away(), expected, "{said:?}");
}

#[test]
fn what_may_be_said_of_the_connection_alone() {
    check_turned_away("450 too many\r\n503 no\r\n503 no\r\n", true);
    check_turned_away("421 too many\r\n", true);
    check_turned_away("250 ok\r\n421 too many\r\n", true);
    check_turned_away("250 ok\r\n250 ok\r\n421 too many\r\n", true);
    check_turned_away("550 no\r\n503 no\r\n503 no\r\n", false);
    check_turned_away("250 ok\r\n450 grey\r\n503 no\r\n", false);
    check_turned_away("250 ok\r\n250 ok\r\n354 go\r\n421 late\r\n", false);
    check_turned_away("250 ok\r\n250 ok\r\n354 go\r\n250 ok\r\n", false);
    // What is said to MAIL tells nothing of a recipient that is only asked about.
    for (said, expected) in [
        ("550 no\r\n503 no\r\n", true),
        ("450 no\r\n503 no\r\n", true),
        ("250 ok\r\n421 no\r\n", true),
        ("250 ok\r\n550 no\r\n", false),
        ("250 ok\r\n450 no\r\n", false),
        ("250 ok\r\n250 ok\r\n", false),
    ] {
        let question = Transaction {
            rcpt_only: true,
            ..transaction(&["a@x.test"])
        };
        check_turned_away_from(question, said, expected);
    }
}

#[test]
fn a_greeting_that_stops_short_is_told() {
    let mut driver = Driver::new(Plan::default());
    driver.feed(b"554-5.7.1 Service refused\r\n554 see https://list.example/");
    driver.session.handle_closed(driver.now);
    driver.run();
    assert_eq!(
        driver.log,
        [
            "closed: 4.4.2 lost connection while waiting for the greeting; the peer said: 554 5.7.1 Service refused 554 see https://list.example/"
        ]
    );
}

#[test]
fn empty_lines_and_a_last_code_of_its_own() {
    check(
        &plan(&["a@x.test"]),
        &format!(
            "S: 220 hello
             S:
             C: EHLO us.example
             S: 250-mx
             S:
             S: 250 SIZE 100
             C: MAIL FROM:<s@x.example> SIZE=6
             S: 550-5.1.1 blocked
             S: 554 5.7.1 go away
             {BYE}"
        ),
        &[
            "failed 5.7.1 while sending MAIL FROM: 554 5.7.1 5.1.1 blocked go away",
            CLOSED,
        ],
    );
}

/// RFC 5321 §4.5.3.1.10: 552 to RCPT once said "too many recipients", which it cannot mean everywhere.
#[track_caller]
fn check_552(second: &str, expected: &[&str]) {
    let mut driver = Driver::new(plan(&["a@x.test", "b@x.test"]));
    driver.feed(b"220 mx\r\n");
    driver.feed(b"250-mx\r\n250 PIPELINING\r\n");
    driver.feed(format!("250 ok\r\n552 full\r\n{second}\r\n503 no\r\n").as_bytes());
    let outcomes = driver.log.iter().map(|line| &line[..line.len().min(14)]);
    assert_eq!(outcomes.collect::<Vec<_>>(), expected, "{second}");
}

#[test]
fn a_full_mailbox_is_not_one_recipient_too_many() {
    check_552("552 too many", &["failed 5.0.0 w", "deferred 4.0.0"]);
    check_552("552 5.5.3 too many", &["failed 5.0.0 w", "deferred 4.5.3"]);
    check_552("552 5.2.2 full", &["failed 5.0.0 w", "failed 5.2.2 w"]);
    check_552("552 5.3.4 too big", &["failed 5.0.0 w", "failed 5.3.4 w"]);
}

#[test]
fn a_reply_too_many() {
    check(
        &Plan::default(),
        "S: 220 mx\nC: EHLO us.example\nS: 250 mx\nC: QUIT\nS: 500 what\nS: 250 ok",
        &["closed: 5.0.0 while sending QUIT"],
    );
    let mut driver = Driver::new(Plan::default());
    driver
        .session
        .handle_bytes(driver.now, b"220 mx\r\n250 mx\r\n421 4.4.2 idle\r\n");
    // Ready was true for a moment only, and is not told.
    assert!(
        matches!(driver.session.poll_event(), Some(Event::Closed(d)) if d.status.to_string() == "4.4.2")
    );
}

#[test]
fn timeouts() {
    let timeouts = Timeouts::default();
    let mut driver = Driver::new(plan(&["a@x.test"]));
    assert_eq!(
        driver.session.poll_timeout(),
        Some(driver.now + timeouts.greeting)
    );
    driver.now += Duration::from_mins(1);
    driver.feed(b"220 mx\r\n");
    driver.feed(b"250-mx\r\n250 PIPELINING\r\n");
    driver.now += Duration::from_mins(1);
    // Half a reply prolongs nothing.
    driver.feed(b"25");
    assert_eq!(
        driver.session.poll_timeout(),
        Some(driver.now + Duration::from_mins(4))
    );
    driver.feed(b"0 ok\r\n250 ok\r\n");
    assert_eq!(driver.session.phrase(), "while sending DATA");
    assert_eq!(
        driver.session.poll_timeout(),
        Some(driver.now + timeouts.data)
    );
    driver.session.handle_timeout(driver.now);
    driver.now += timeouts.data;
    driver.session.handle_timeout(driver.now);
    driver.run();
    let text = "4.4.2 timed out while sending DATA";
    assert_eq!(
        driver.log,
        [format!("deferred {text}"), format!("closed: {text}")]
    );

    let mut driver = in_body();
    driver.now += Duration::from_mins(2);
    driver.session.send_body(driver.now, b"a\r\n");
    assert_eq!(
        driver.session.poll_timeout(),
        Some(driver.now + timeouts.body)
    );
    driver.session.finish_body(driver.now);
    assert_eq!(
        driver.session.poll_timeout(),
        Some(driver.now + timeouts.dot)
    );
}

#[test]
fn a_connection_that_breaks() {
    let mut driver = in_body();
    driver.session.handle_closed(driver.now);
    // Whoever goes on is told once more, not a panic.
    driver.session.send(driver.now, transaction(&["a@x.test"]));
    driver.session.quit(driver.now);
    driver.run();
    let text = "4.4.2 lost connection while sending the message";
    assert_eq!(
        driver.log,
        [
            format!("deferred {text}"),
            format!("closed: {text}"),
            "deferred 4.4.2 lost connection while idle".to_owned()
        ]
    );
}

/// Whatever the peer says: no panic, and never more or fewer outcomes than recipients.
#[test]
fn any_bytes() {
    let turns: [&[u8]; 5] = [
        b"220 mx\r\n",
        b"250-mx\r\n250-CHUNKING\r\n250-SIZE 9\r\n250 PIPELINING\r\n",
        b"250 ok\r\n250 ok\r\n550 5.1.1 no\r\n354 go\r\n",
        b"250 2.0.0 ok\r\n250 ok\r\n",
        b"221 bye\r\n",
    ];
    for number in 0..turns.len() {
        for at in 0..turns[number].len() {
            for byte in [0, b'\n', b'\r', b'-', b' ', b'2', b'3', b'4', b'5', 0xff] {
                let mut driver = Driver::new(plan(&["a@x.test", "b@x.test"]));
                for (turn, bytes) in turns.iter().enumerate() {
                    let mut bytes = bytes.to_vec();
                    if turn == number {
                        bytes[at] = byte;
                    }
                    driver.feed(&bytes);
                }
                driver.session.handle_closed(driver.now);
                driver.run();
                let outcomes = driver
                    .log
                    .iter()
                    .filter(|line| !line.starts_with("closed") && *line != "body")
                    .count();
                let begun = driver.plan.transactions.is_empty();
                assert_eq!(outcomes, if begun { 2 } else { 0 }, "{:?}", driver.log);
                assert!(
                    driver
                        .log
                        .last()
                        .is_some_and(|line| line.starts_with("closed"))
                );
            }
        }
    }
}
