//! Notices: whatever a sender wrote and a host replied, they are valid messages that name no private target.

use arbitrary::{Arbitrary, Unstructured};
use bounce::{Composed, Excerpt, Kind, Notice, Report, compose};
use envelope::{
    BodyKind, Diagnosis, EnhancedStatus, Leg, Mailbox, Message, MessageId, Notify,
    OriginalRecipient, Reply, Return, ReversePath, Timestamp,
};

use crate::input::{assert_clean, find, has_bare_newline};

#[derive(Debug, Arbitrary)]
struct Plan<'a> {
    flags: u8,
    kind: u8,
    millis: u64,
    entropy: u64,
    envid: &'a str,
    legs: [PlannedLeg<'a>; 2],
}

#[derive(Debug, Arbitrary)]
struct PlannedLeg<'a> {
    flags: u8,
    status: u16,
    /// `TARGETS`, `RECIPIENTS`: by number.
    target: u8,
    recipient: u8,
    code: u16,
    /// Each `T` in it becomes the private target in one of its spellings.
    reply: &'a str,
    text: &'a str,
    host: &'a str,
    original: &'a str,
}

/// `data` is the plan, and the message that did not get through.
pub(crate) fn check(data: &[u8]) {
    let mut input = Unstructured::new(data);
    let Ok(plan) = input.arbitrary::<Plan<'_>>() else {
        return;
    };
    let original = input.take_rest();
    let message = plan.message();
    let legs: Vec<_> = plan
        .legs
        .iter()
        .map(|leg| (leg.leg(), leg.diagnosis()))
        .collect();
    let reports: Vec<_> = legs
        .iter()
        .take(1 + usize::from(plan.flags >> 7))
        .map(|(leg, diagnosis)| Report {
            leg,
            diagnosis,
            last_attempt: (plan.flags & 1 != 0).then_some(message.arrived),
            will_retry_until: (plan.flags & 2 != 0).then_some(message.arrived),
        })
        .collect();
    let (Ok(reporting_mta), Ok(postmaster)) =
        ("mx.example".parse(), "postmaster@mx.example".parse())
    else {
        unreachable!("both are sound")
    };
    let notice = Notice {
        id: MessageId::new(message.arrived, 1),
        kind: [Kind::Failed, Kind::Delayed, Kind::Relayed][usize::from(plan.kind % 3)],
        reporting_mta: &reporting_mta,
        postmaster: &postmaster,
        message: &message,
        reports: &reports,
        now: message.arrived,
        entropy: plan.entropy,
    };
    let excerpt = Excerpt {
        bytes: original,
        complete: plan.flags & 4 != 0,
    };
    let Some(composed) = compose(&notice, excerpt) else {
        return;
    };
    assert!(!message.reverse_path.is_null(), "a notice to nobody");
    check_form(&composed, &message);
    let ours = check_header(&composed.bytes);
    let shown = unfolded(ours);
    // What the sender's side wrote itself, it knows.
    let mut given_back = unfolded(original).replace(['\r', '\n', '\0'], "");
    let named = legs.iter().filter_map(|(leg, _)| leg.original.as_ref());
    for text in named
        .map(|original| &original.address)
        .chain(&message.envid)
    {
        given_back.push('\n');
        given_back.push_str(&unfolded(text.as_bytes()));
    }
    for report in reports {
        check_private(report.leg, &shown, &given_back);
    }
}

impl Plan<'_> {
    fn message(&self) -> Message {
        let sender = RECIPIENTS[usize::from(self.kind >> 4) % RECIPIENTS.len()];
        Message {
            smtputf8: self.flags & 16 != 0,
            ret: (self.flags & 32 != 0).then_some(Return::Full),
            envid: (self.flags & 64 != 0).then(|| printable(self.envid, 100)),
            ..Message::new(
                MessageId::from_bits(u128::from(self.entropy)),
                Timestamp::from_unix_millis(self.millis),
                match self.flags & 8 {
                    0 => ReversePath::Mailbox(mailbox(sender)),
                    _ => ReversePath::Null,
                },
                1,
            )
        }
    }
}

impl PlannedLeg<'_> {
    fn target(&self) -> &'static str {
        TARGETS[usize::from(self.target) % TARGETS.len()]
    }

    fn leg(&self) -> Leg {
        let recipient = mailbox(RECIPIENTS[usize::from(self.recipient) % RECIPIENTS.len()]);
        Leg {
            original: (self.flags & 2 != 0).then(|| OriginalRecipient {
                kind: "rfc822".into(),
                address: printable(self.original, 500),
            }),
            notify: (self.flags & 4 != 0).then_some(Notify {
                success: true,
                failure: self.flags & 8 != 0,
                delay: self.flags & 16 != 0,
            }),
            ..Leg::new(
                ReversePath::Null,
                match self.flags & 1 {
                    0 => mailbox(self.target()),
                    _ => recipient.clone(),
                },
                recipient,
            )
        }
    }

    fn diagnosis(&self) -> Diagnosis {
        let status = EnhancedStatus::permanent(self.status % 1000, self.status / 1000);
        Diagnosis {
            status,
            text: self.told(self.text),
            reply: (self.flags & 32 != 0).then(|| Reply {
                code: 200 + self.code % 400,
                status: (self.flags & 64 != 0).then_some(status),
                text: self.told(self.reply),
            }),
            // Where a recipient's mail goes that is not forwarded is public, even if another's is forwarded there.
            host: (self.flags & 128 != 0).then(|| match self.flags & 1 {
                0 => self.told(self.host),
                _ => "mx.example.org[192.0.2.1]:25".to_owned(),
            }),
            dsn_relayed: false,
        }
    }

    /// What a host says when it knows the target; the spellings take turns.
    fn told(&self, text: &str) -> String {
        let target = mailbox(self.target());
        let bare = format!("{}@{}", target.local_part().as_str(), target.host());
        let spellings = [
            target.to_string(),
            bare.to_uppercase(),
            target.host().to_string(),
            format!("mx.{}", target.host()),
        ];
        let mut turn = spellings.iter().cycle();
        let mut out = String::new();
        for c in text.chars() {
            match c {
                'T' => out.push_str(turn.next().map_or("", String::as_str)),
                c => out.push(c),
            }
        }
        out
    }
}

/// CRLF lines of at most 998 octets, no NUL, and eight bits only where they are declared.
fn check_form(composed: &Composed, message: &Message) {
    let bytes = &composed.bytes;
    assert_eq!(Some(&composed.recipient), message.reverse_path.mailbox());
    assert!(!has_bare_newline(bytes) && bytes.ends_with(b"\r\n"));
    assert!(!bytes.contains(&0));
    let long = bytes.split(|b| *b == b'\n').find(|line| line.len() > 999);
    assert_eq!(long.map(String::from_utf8_lossy), None, "a long line");
    let eight_bit = composed.body == BodyKind::EightBitMime;
    assert_eq!(eight_bit, !bytes.is_ascii());
    assert!(!composed.smtputf8 || message.smtputf8 || !composed.recipient.is_ascii());
}

/// One header, and three parts with one boundary that stands nowhere else. Gives all but the third part, which is the
/// sender's own.
fn check_header(bytes: &[u8]) -> &[u8] {
    let Some(end) = find(bytes, b"\r\n\r\n") else {
        panic!("no end of the header")
    };
    let header = String::from_utf8_lossy(&bytes[..end]);
    for line in header.split("\r\n") {
        assert_clean(&line.replace('\t', " "));
        let name = line.split(':').next().unwrap_or_default();
        let known = FIELDS.contains(&name) || line.starts_with([' ', '\t']);
        assert!(known, "a field of somebody else: {line:?}");
    }
    let boundary = header.split("boundary=\"").nth(1);
    let Some(boundary) = boundary.and_then(|rest| rest.split('"').next()) else {
        panic!("no boundary in {header:?}")
    };
    let text = String::from_utf8_lossy(&bytes[end..]).into_owned();
    assert_eq!(text.matches(boundary).count(), 4, "three parts and the end");
    assert!(text.ends_with(&format!("\r\n--{boundary}--\r\n")));
    let mut parts = (0..bytes.len()).filter(|at| bytes[*at..].starts_with(boundary.as_bytes()));
    // The first is in the header.
    &bytes[..parts.nth(3).unwrap_or(bytes.len())]
}

/// The address and its domain appear only in what the sender wrote.
fn check_private(leg: &Leg, shown: &str, given_back: &str) {
    let (target, recipient) = (&leg.target, &leg.recipient);
    if target == recipient {
        return;
    }
    let mut secrets = vec![target.to_string()];
    if target.host() != recipient.host() {
        secrets.push(target.host().to_string());
    }
    for secret in secrets.iter().map(|secret| secret.to_lowercase()) {
        assert!(
            !shown.contains(&secret) || given_back.contains(&secret),
            "{secret} in {shown}"
        );
    }
}

/// In lower case, with folds and soft line breaks taken out: as a reader would put it together.
fn unfolded(bytes: &[u8]) -> String {
    let text = String::from_utf8_lossy(bytes).replace("=\r\n", "");
    text.replace("\r\n", "").to_lowercase()
}

/// As ENVID and ORCPT come out of the command parser.
fn printable(text: &str, octets_max: usize) -> Box<str> {
    let text: String = text.chars().filter(|c| !c.is_control()).collect();
    text[..text.floor_char_boundary(octets_max)].into()
}

fn mailbox(text: &str) -> Mailbox {
    let Ok(mailbox) = text.parse() else {
        unreachable!("{text} is an address")
    };
    mailbox
}

/// These must not appear in the text of a notice.
const TARGETS: [&str; 5] = [
    "zqx.private@hidden-kj.test",
    "\"zqx private\"@hidden-kj.test",
    "zqx+tag@hidden-kj.test",
    "züqx@hidden-kj.test",
    "zqx@[192.0.2.77]",
];
const RECIPIENTS: [&str; 5] = [
    "alice@example.org",
    "\"alice of  wonderland\"@example.org",
    "jürgen@example.org",
    "zqx@example.org",
    "a@[IPv6:2001:db8::1]",
];
const FIELDS: [&str; 12] = [
    "Date",
    "From",
    "To",
    "Subject",
    "Message-ID",
    "In-Reply-To",
    "References",
    "Auto-Submitted",
    "MIME-Version",
    "Content-Type",
    "Content-Transfer-Encoding",
    "Precedence",
];
