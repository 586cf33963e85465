//! The client session against a hostile server: any bytes at any time, any shape of transaction.
//!
//! The driver checks that each recipient of each transaction gets exactly one outcome, that only whole commands go out, and that the
//! body goes out unchanged, with its end in the right place.

use std::sync::Arc;
use std::time::Instant;

use arbitrary::Arbitrary;
use envelope::{
    BodyKind, Diagnosis, Host, LocalPart, Mailbox, Notify, OriginalRecipient, Outcome, Return,
    ReversePath,
};
use smtp::client::{Event, Session, Settings, Transaction, TransactionRecipient};

use crate::dot;
use crate::input::{Pieces, assert_clean, plan};
use crate::reply::assert_reply;

#[derive(Debug, Arbitrary)]
struct Plan {
    flags: u8,
    options: u8,
    recipients: u8,
    body: u8,
    split: u64,
    /// Becomes a local part, quoted where it has to be.
    local: [u8; 20],
}

/// `data` is the plan, and what the server sends.
pub(crate) fn check(data: &[u8]) {
    let Some((plan, wire)) = plan::<Plan>(data) else {
        return;
    };
    let mut driver = Driver::new(&plan);
    driver.settle();
    for piece in Pieces::new(wire, plan.split) {
        driver.session.handle_bytes(driver.now, piece);
        driver.settle();
    }
    match driver.session.poll_timeout() {
        Some(due) if plan.has(TIMES_OUT) => driver.session.handle_timeout(due),
        _ => driver.session.handle_closed(driver.now),
    }
    driver.settle();
    assert!(driver.closed, "neither a close nor a timeout ended it");
    assert_eq!(driver.open, None, "a transaction without outcomes");
}

impl Plan {
    fn has(&self, flag: u8) -> bool {
        self.flags & flag != 0
    }

    fn may(&self, option: u8) -> bool {
        self.options & option != 0
    }

    fn body(&self) -> &'static [u8] {
        BODIES[usize::from(self.body) % BODIES.len()]
    }

    fn transaction(&self) -> Transaction {
        let mailbox = self.mailbox();
        let recipient = |n: u8| TransactionRecipient {
            target: match n {
                0 => mailbox.clone(),
                _ => plain(),
            },
            notify: self.may(NOTIFY).then_some(Notify::NEVER),
            original: self.may(ORIGINAL).then(|| OriginalRecipient {
                kind: if n == 0 { "utf-8" } else { "rfc822" }.into(),
                address: mailbox.to_string().into(),
            }),
        };
        Transaction {
            reverse_path: match self.may(NULL_SENDER) {
                true => ReversePath::Null,
                false => ReversePath::Mailbox(mailbox.clone()),
            },
            recipients: (0..=self.recipients % 5).map(recipient).collect(),
            body: match self.may(EIGHT_BIT) {
                true => BodyKind::EightBitMime,
                false => BodyKind::SevenBit,
            },
            smtputf8: self.may(SMTPUTF8),
            size: self.body().len() as u64,
            ret: self.may(RETURN).then_some(Return::Headers),
            envid: self.may(RETURN).then(|| mailbox.to_string().into()),
            require_tls: self.may(REQUIRE_TLS),
            rcpt_only: self.has(RCPT_ONLY),
        }
    }

    fn mailbox(&self) -> Mailbox {
        let text = String::from_utf8_lossy(&self.local);
        let text = text.trim_end_matches('\0');
        let host = "mx.example".parse().map(Host::Domain);
        match (LocalPart::from_unquoted(text), host) {
            (Ok(local), Ok(host)) => Mailbox::new(local, host).unwrap_or_else(|_| plain()),
            _ => plain(),
        }
    }
}

/// What is known about the transaction that is under way.
#[derive(Debug, PartialEq, Eq)]
struct Open {
    recipients: usize,
    /// The body is being asked for, or was.
    wanted: bool,
    /// Pieces that were handed in.
    given: usize,
    finished: bool,
    aborted: bool,
    /// What went out of it.
    wire: Vec<u8>,
}

struct Driver<'a> {
    plan: &'a Plan,
    session: Session,
    now: Instant,
    pieces: Vec<&'static [u8]>,
    open: Option<Open>,
    transactions: usize,
    tls: bool,
    login: bool,
    closed: bool,
}

impl<'a> Driver<'a> {
    fn new(plan: &'a Plan) -> Self {
        let now = Instant::now();
        let settings = Settings {
            hello_name: "out.example".to_owned(),
            eight_bit_anyway: !plan.may(EIGHT_BIT_STRICT),
            ..Settings::default()
        };
        let settings = Arc::new(settings);
        Self {
            session: match plan.has(LMTP) {
                true => Session::lmtp(settings, now),
                false => Session::new(settings, now),
            },
            pieces: Pieces::new(plan.body(), plan.split).collect(),
            plan,
            now,
            open: None,
            transactions: 0,
            tls: false,
            login: false,
            closed: false,
        }
    }

    /// Takes all events, and sends as much of the body as it can now.
    fn settle(&mut self) {
        loop {
            while let Some(event) = self.session.poll_event() {
                assert!(!self.closed, "{event:?} behind Closed");
                self.event(event);
            }
            self.take_commands();
            let slowly = self.plan.has(SLOWLY);
            if !self.give_body() || slowly {
                break;
            }
        }
        while let Some(event) = self.session.poll_event() {
            assert!(!self.closed, "{event:?} behind Closed");
            self.event(event);
        }
        self.take_commands();
    }

    fn event(&mut self, event: Event) {
        match event {
            Event::Ready | Event::TlsRefused(_) => {
                assert_eq!(self.open, None, "ready within a transaction");
                self.next_step();
            }
            Event::AuthChallenge(text) => {
                assert_clean(&text.replace('\n', ""));
                self.session.authenticate(self.now, "YQ==");
            }
            Event::TlsGo => {
                self.tls = true;
                self.session.handle_tls_started(self.now);
            }
            Event::BodyWanted => {
                let Some(open) = &mut self.open else {
                    panic!("wants the body of nothing")
                };
                assert!(!open.wanted, "wants the body twice");
                open.wanted = true;
            }
            Event::Done(outcomes) => self.done(&outcomes),
            Event::Closed(diagnosis) => {
                assert_eq!(self.open, None, "closed without outcomes");
                assert_diagnosis(&diagnosis);
                self.closed = true;
            }
        }
    }

    fn next_step(&mut self) {
        // The output so far is commands; a body may follow.
        self.take_commands();
        let offers_tls = self.session.capabilities().starttls;
        if self.plan.has(STARTTLS) && offers_tls && !self.tls {
            self.tls = true;
            self.session.start_tls(self.now);
        } else if self.plan.has(LOGS_IN) && !self.login {
            self.login = true;
            self.session.authenticate(self.now, "AUTH LOGIN");
        } else if self.transactions < TRANSACTIONS_MAX {
            self.transactions += 1;
            let transaction = self.plan.transaction();
            self.open = Some(Open {
                recipients: transaction.recipients.len(),
                wanted: false,
                given: 0,
                finished: false,
                aborted: false,
                wire: Vec::new(),
            });
            self.session.send(self.now, transaction);
        } else {
            self.session.quit(self.now);
        }
    }

    /// One more piece of the body, or its end; false when there is nothing to do.
    fn give_body(&mut self) -> bool {
        let Some(open) = &mut self.open else {
            return false;
        };
        if !open.wanted || open.finished || open.aborted || !self.session.wants_body() {
            return false;
        }
        if self.plan.has(ABORTS) && open.given == self.pieces.len() / 2 {
            open.aborted = true;
            self.session.abort_body(self.now);
        } else if let Some(piece) = self.pieces.get(open.given) {
            open.given += 1;
            self.session.send_body(self.now, piece);
        } else {
            open.finished = true;
            self.session.finish_body(self.now);
        }
        open.wire.append(self.session.output());
        assert_dotted(open, self.plan.body());
        true
    }

    /// Checks that only whole commands were written.
    fn take_commands(&mut self) {
        let output = std::mem::take(self.session.output());
        let mut rest = &output[..];
        while !rest.is_empty() {
            let end = crate::input::find(rest, b"\r\n");
            let Some(end) = end else {
                panic!("half a command: {:?}", String::from_utf8_lossy(rest))
            };
            let line = String::from_utf8_lossy(&rest[..end]);
            assert_clean(&line);
            rest = &rest[end + 2..];
            let known = VERBS.iter().any(|verb| line.starts_with(verb));
            // An empty message without recipients: RFC 2920 §3.1.
            assert!(known || line == ".", "{line:?}");
            let data = line == "DATA" && self.plan.has(RCPT_ONLY);
            assert!(!data, "a message where only RCPT was wanted");
        }
    }

    fn done(&mut self, outcomes: &[Outcome]) {
        self.take_commands();
        let Some(open) = self.open.take() else {
            panic!("outcomes of nothing")
        };
        assert_eq!(outcomes.len(), open.recipients, "outcomes and recipients");
        for outcome in outcomes {
            assert_diagnosis(outcome.diagnosis());
            if matches!(outcome, Outcome::Delivered(_)) {
                let asked = self.plan.has(RCPT_ONLY);
                assert!(open.finished || asked, "delivered without its end");
            }
        }
    }
}

/// The body has no end until we send it; then the end comes after the whole body.
fn assert_dotted(open: &Open, body: &[u8]) {
    let end = dot::end_of(&open.wire);
    if !open.finished {
        return assert_eq!(end, None, "an end within the body");
    }
    // A CR at the end is bare: then the end was not sent.
    if let Some(end) = end {
        assert_eq!(end, open.wire.len(), "words behind the end");
        let got = dot::undotted(&open.wire[..end - 3]);
        assert!(
            got == body || got.strip_suffix(b"\r\n") == Some(body),
            "another body"
        );
    }
}

#[track_caller]
fn assert_diagnosis(diagnosis: &Diagnosis) {
    assert_clean(&diagnosis.text);
    if let Some(reply) = &diagnosis.reply {
        assert_reply(reply);
    }
}

fn plain() -> Mailbox {
    let Ok(plain) = "plain@mx.example".parse() else {
        unreachable!("it is an address")
    };
    plain
}

const BODIES: [&[u8]; 10] = [
    b"Subject: a\r\n\r\ntext\r\n",
    b"",
    b".",
    b".\r\n",
    b"\r\n.\r\n.\r\n..\r\n",
    b"no end of line",
    b"a\r\n.\r\nMAIL FROM:<>\r\n",
    b"bare\nnewline\r\n",
    b"ends in CR\r",
    b"\xff\0\x80\r\n",
];
const VERBS: [&str; 12] = [
    "AUTH LOGIN",
    "YQ==",
    "LHLO out.example",
    "EHLO out.example",
    "HELO out.example",
    "MAIL FROM:<",
    "RCPT TO:<",
    "DATA",
    "RSET",
    "QUIT",
    "STARTTLS",
    "NOOP",
];
const TRANSACTIONS_MAX: usize = 3;

// Bits of `Plan::flags`.
const STARTTLS: u8 = 1;
const TIMES_OUT: u8 = 2;
const ABORTS: u8 = 4;
const SLOWLY: u8 = 16;
const RCPT_ONLY: u8 = 32;
const LMTP: u8 = 64;
const LOGS_IN: u8 = 128;

// Bits of `Plan::options`.
const EIGHT_BIT: u8 = 1;
const EIGHT_BIT_STRICT: u8 = 2;
const SMTPUTF8: u8 = 4;
const NULL_SENDER: u8 = 8;
const NOTIFY: u8 = 16;
const ORIGINAL: u8 = 32;
const RETURN: u8 = 64;
const REQUIRE_TLS: u8 = 128;
