//! The server session against any client: bytes in any split, every question answered by the input.
//!
//! The driver checks what the documentation of `smtp::server` promises: which draft is open, what a body holds, that nothing follows the
//! close, that the session never stops reading without saying so.

use std::sync::Arc;
use std::time::Instant;

use arbitrary::Arbitrary;
use envelope::{EnhancedStatus, Envelope, Reply, Verdict};
use smtp::server::{Event, Session, Settings};

use crate::dot;
use crate::input::{Pieces, assert_clean, has_bare_newline, plan};
use crate::reply::assert_replies;

#[derive(Debug, Clone, Arbitrary)]
struct Plan {
    flags: u8,
    split: u64,
    /// Two bits for each question, again from the start when they are used up; zeros accept everything.
    answers: [u8; 16],
}

/// `data` is the plan, and what the client sends.
pub(crate) fn check(data: &[u8]) {
    let Some((plan, wire)) = plan::<Plan>(data) else {
        return;
    };
    let run = Driver::new(&plan).run(wire);
    if plan.compares() {
        let whole = Plan {
            split: 0,
            ..plan.clone()
        };
        run.assert_same(&Driver::new(&whole).run(wire));
    }
}

/// In the comparison a login is as good as any: but AUTH may look at what else has come, as STARTTLS does.
fn session(plan: &Plan, now: Instant) -> Session {
    let settings = Settings {
        tls_implicit: plan.has(TLS) && plan.split % 2 == 1,
        ..plan.settings()
    };
    let mut session = Session::new(Arc::new(settings), now);
    if plan.has(TLS) && !plan.compares() {
        session.allow_auth();
    }
    session.allow_xclient();
    session
}

impl Plan {
    fn has(&self, flag: u8) -> bool {
        self.flags & flag != 0
    }

    /// Whether the split must make no difference: not where the session may look at what else has come.
    fn compares(&self) -> bool {
        self.has(COMPARE)
    }

    fn settings(&self) -> Settings {
        Settings {
            hostname: "mx.example".to_owned(),
            size_max: SIZE_MAX,
            // How much of a too large body came with the piece that showed it depends on the split.
            overrun_max: if self.compares() { u64::MAX } else { 300 },
            recipients_max: RECIPIENTS_MAX,
            transactions_max: 4,
            normalize_newlines: self.has(NORMALIZE),
            tls_available: self.has(TLS) && !self.compares(),
            errors_max: 8,
            idle_commands_max: 6,
            ..Settings::default()
        }
    }
}

/// A connection and what is known about it from outside.
struct Driver<'a> {
    plan: &'a Plan,
    session: Session,
    now: Instant,
    asked: usize,
    /// What came of the open body.
    draft: Option<Vec<u8>>,
    output: Vec<u8>,
    closed: bool,
    /// What happened, but for the pieces of bodies.
    story: Vec<String>,
}

impl<'a> Driver<'a> {
    fn new(plan: &'a Plan) -> Self {
        let now = Instant::now();
        Self {
            session: session(plan, now),
            plan,
            now,
            asked: 0,
            draft: None,
            output: Vec::new(),
            closed: false,
            story: Vec::new(),
        }
    }

    fn run(mut self, wire: &[u8]) -> Self {
        self.settle();
        for (number, piece) in Pieces::new(wire, self.plan.split).enumerate() {
            if number == 3 && self.plan.has(SHUTDOWN) && !self.plan.compares() {
                self.session.handle_shutdown(self.now);
                self.settle();
            }
            self.session.handle_bytes(self.now, piece);
            self.settle();
        }
        if self.plan.has(CLIENT_CLOSES) {
            self.session.handle_closed();
        } else {
            let due = self.session.poll_timeout();
            self.session.handle_timeout(due);
        }
        self.settle();
        assert!(self.closed, "neither a close nor a timeout ended it");
        assert_eq!(self.draft, None, "a draft that nobody will ever end");
        assert_replies(&self.output);
        let output_octets = self.output.len();
        self.session.handle_bytes(self.now, b"NOOP\r\n");
        self.settle();
        assert_eq!(
            self.output.len(),
            output_octets,
            "words behind the last word"
        );
        self
    }

    /// Takes all events, and what is to be written.
    fn settle(&mut self) {
        while let Some(event) = self.session.poll_event() {
            assert!(!self.closed, "{event:?} behind Closed");
            self.event(event);
        }
        self.output.append(self.session.output());
        assert!(
            self.session.wants_input() != self.closed,
            "open and not listening, or closed and listening"
        );
    }

    fn event(&mut self, event: Event) {
        match event {
            Event::Body(bytes) => return self.body(&bytes),
            Event::BodyNormalized { newlines } => {
                assert!(self.plan.has(NORMALIZE) && newlines > 0);
            }
            Event::BodyAbandoned => {
                assert!(self.draft.take().is_some(), "abandons no draft");
            }
            Event::Closed => self.closed = true,
            Event::Refused(ref refusal) => assert!(refusal.reply.code >= 400),
            Event::Reset => assert_eq!(self.session.envelope(), None),
            Event::StartTls => self.start_tls(),
            Event::BodyEnd => return self.body_end(),
            Event::Data => return self.data(),
            Event::Connect => self.answer(),
            Event::Hello(ref hello) => {
                assert_clean(&hello.name);
                self.answer();
            }
            Event::Xclient(ref xclient) => {
                assert_clean(xclient.user.as_deref().unwrap_or_default());
                self.answer();
            }
            Event::Auth(ref credentials) => {
                assert_clean(&credentials.user);
                self.answer();
            }
            Event::Mail(ref envelope) => {
                assert_eq!(self.session.envelope(), None, "MAIL within a transaction");
                assert_envelope(envelope);
                self.answer();
            }
            Event::Rcpt(_) => {
                self.answer();
                if let Some(envelope) = self.session.envelope() {
                    assert_envelope(envelope);
                }
            }
        }
        self.story.push(format!("{event:?}"));
    }

    fn body(&mut self, bytes: &[u8]) {
        assert!(!bytes.is_empty(), "a piece of nothing");
        let Some(draft) = &mut self.draft else {
            panic!("a body without a draft")
        };
        draft.extend_from_slice(bytes);
        assert!(draft.len() as u64 <= SIZE_MAX, "over the size");
        if !self.plan.compares() && draft.len() % 16 == 5 && self.choice() == 3 {
            self.draft = None;
            self.session.refuse_body(refusal(452));
        }
    }

    fn data(&mut self) {
        assert_eq!(self.draft, None, "two drafts at once");
        assert!(
            self.session
                .envelope()
                .is_some_and(|e| !e.recipients.is_empty()),
            "a body for nobody"
        );
        self.story.push("Data".to_owned());
        let verdict = match self.verdict() {
            Verdict::Refuse(_) if self.plan.compares() => Verdict::Accept,
            verdict => verdict,
        };
        if verdict == Verdict::Accept {
            self.draft = Some(Vec::new());
        }
        self.session.answer(self.now, verdict);
    }

    fn body_end(&mut self) {
        let Some(body) = self.draft.take() else {
            panic!("the end of no draft")
        };
        assert!(!has_bare_newline(&body), "a bare newline got through");
        // Sent on by a simple client, it is one message and ends at the same place.
        let dotted = [&b"\r\n"[..], &body].concat();
        let dotted = String::from_utf8_lossy(&dotted).replace("\r\n.", "\r\n..");
        let next_hop = dotted.strip_prefix("\r\n").unwrap_or_default().to_owned();
        assert_eq!(
            dot::end_of(next_hop.as_bytes()),
            None,
            "an end within the body"
        );
        self.story.push(format!("body {body:?}"));
        match self.choice() {
            0 | 1 => {
                let id = Reply::new(250, EnhancedStatus::success(0, 0), "queued as 1");
                self.session.answer_body(self.now, id);
            }
            2 => self.session.answer(self.now, Verdict::Close(refusal(421))),
            _ => self.session.answer_body(self.now, refusal(451)),
        }
    }

    /// What was said in clear is forgotten, and the 220 is the last of it.
    fn start_tls(&mut self) {
        self.output.append(self.session.output());
        let text = String::from_utf8_lossy(&self.output);
        let last = text.lines().next_back().unwrap_or_default();
        assert!(last.starts_with("220 "), "STARTTLS answered by {last:?}");
        assert!(!self.session.wants_input(), "listens before the handshake");
        // Even a driver that passes on octets sent before the handshake must not turn them into a command.
        self.session.handle_bytes(self.now, b"NOOP\r\nMAIL");
        self.session.handle_tls_started(self.now);
        assert_eq!(self.session.hello(), None);
        assert_eq!(self.session.output().len(), 0, "a reply to clear text");
    }

    fn answer(&mut self) {
        let verdict = self.verdict();
        self.session.answer(self.now, verdict);
    }

    fn verdict(&mut self) -> Verdict {
        match self.choice() {
            0 | 3 => Verdict::Accept,
            1 => Verdict::Refuse(refusal(550)),
            _ => Verdict::Close(refusal(421)),
        }
    }

    fn choice(&mut self) -> u8 {
        let at = self.asked % (self.plan.answers.len() * 4);
        self.asked += 1;
        self.plan.answers[at / 4] >> (at % 4 * 2) & 3
    }

    fn assert_same(&self, other: &Self) {
        // What lies behind AUTH or a refused DATA already is no command; whether it does is a matter of the split.
        let told = "must be the last of its group";
        // Of a body that is too large and has a bare newline too, either is told: what shows first.
        let outputs = [&self.output, &other.output].map(|output| {
            let text = String::from_utf8_lossy(output);
            let kind = |line: &str| match line {
                line if line.starts_with("552 5.3.4 Message over") => "refused".to_owned(),
                line if line.starts_with("554 5.6.0 Lines end") => "refused".to_owned(),
                line => line.to_owned(),
            };
            text.lines().map(kind).collect::<Vec<_>>().join("\n")
        });
        if outputs.iter().any(|output| output.contains(told)) {
            return;
        }
        assert_eq!(self.story, other.story, "the split changes what happens");
        assert_eq!(outputs[0], outputs[1], "the split changes what is said");
    }
}

#[track_caller]
fn assert_envelope(envelope: &Envelope) {
    assert!(envelope.recipients.len() <= RECIPIENTS_MAX);
    assert!(envelope.declared_size.unwrap_or(0) <= SIZE_MAX);
    assert_clean(&envelope.reverse_path.to_string());
    assert_clean(envelope.envid.as_deref().unwrap_or_default());
    for recipient in &envelope.recipients {
        assert_clean(&recipient.forward_path.to_string());
        if let Some(original) = &recipient.original {
            assert_clean(&original.kind);
            assert_clean(&original.address);
        }
    }
}

/// A reply whose text tries to look like another reply.
fn refusal(code: u16) -> Reply {
    let status = match code / 100 {
        4 => EnhancedStatus::transient(7, 0),
        _ => EnhancedStatus::permanent(7, 0),
    };
    Reply::new(code, status, "no\r\n250 ok\0\u{85}\n\n\rEHLO")
}

const SIZE_MAX: u64 = 400;
const RECIPIENTS_MAX: usize = 3;

// Bits of `Plan::flags`.
const TLS: u8 = 1;
const COMPARE: u8 = 2;
const SHUTDOWN: u8 = 4;
const CLIENT_CLOSES: u8 = 8;
const NORMALIZE: u8 = 16;
