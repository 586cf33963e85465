//! `onward trace`: asks the history what became of messages, and tells it: the verdict first, then the way.

use std::collections::BTreeMap;
use std::io::{self, Read};
use std::iter;

use control::{MailStatus, Traced, TracedAttempt, TracedLeg, TracedMessage, TracedRefusal};
use envelope::MessageId;
use history::Desk;
use journal::shown;
use mail_parser::MessageParser;

use crate::Exit;
use crate::cli::Trace;
use crate::history_cli::{Error, History, list, reach, silent};
use crate::print::{Printer, plural, span};

/// Runs the command.
pub(crate) async fn run(history: &History, args: &Trace, print: Printer) -> Result<Exit, Error> {
    let names = match args.what.as_deref() {
        Some("-") => pasted(io::stdin().lock())?.into_iter().map(Some).collect(),
        what => vec![what.map(str::to_owned)],
    };
    let mut traced = Traced::default();
    for name in names {
        traced = history.ask(args.ask(name), Desk::trace).await?;
        if !traced.messages.is_empty() {
            break;
        }
    }
    print.value(&traced, |print, traced| tell(print, traced, args));
    Ok(Exit::found(!traced.messages.is_empty()))
}

/// What a mail can be found by, the surest first: the ids that we, or hosts like us, have put into its Received fields, then
/// its Message-ID.
fn pasted(input: impl Read) -> Result<Vec<String>, Error> {
    let mut header = Vec::new();
    input.take(PASTED_OCTETS_MAX).read_to_end(&mut header)?;
    // Whoever pastes may have taken an empty line along.
    let parsed = MessageParser::default().parse_headers(header.trim_ascii_start());
    let parsed = parsed.ok_or(Error::NoNames)?;
    let received = parsed.header_values("Received");
    let ids = received.filter_map(|value| value.as_received()?.id());
    let ours = ids
        .filter(|id| id.parse::<MessageId>().is_ok())
        .take(IDS_MAX);
    let message_id = parsed.message_id().map(|id| format!("<{id}>"));
    let names: Vec<_> = ours.map(str::to_owned).chain(message_id).collect();
    match names.is_empty() {
        true => Err(Error::NoNames),
        false => Ok(names),
    }
}

fn tell(print: Printer, traced: &Traced, args: &Trace) {
    let messages = &traced.messages;
    let several = if messages.len() > 1 {
        messages
    } else {
        &[][..]
    };
    let heads = ["at", "message", "status", "client", "from", "to"];
    list(print, heads, several.iter().map(row), traced.is_cut);
    if messages.len() <= TOLD_MAX {
        for message in messages {
            if messages.len() > 1 {
                print.line("");
            }
            let lines = iter::once(verdict(message)).chain(way(message));
            lines.for_each(|line| print.line(shown::line(&line)));
        }
    }
    reach(print, messages.is_empty(), traced.oldest, args.since);
    silent(print, &traced.silent_nodes);
}

fn row(message: &TracedMessage) -> [String; 6] {
    let to = match message.legs.as_slice() {
        [] => message.recipient.clone().unwrap_or_default(),
        [leg] => leg.recipient.clone(),
        [leg, more @ ..] => format!("{} and {} more", leg.recipient, more.len()),
    };
    [
        message.at.to_string(),
        message
            .id
            .map_or_else(|| "-".to_owned(), |id| id.to_string()),
        message.status.to_string(),
        message.client.clone().unwrap_or_default(),
        message.sender.clone().unwrap_or_default(),
        to,
    ]
}

/// What became of it, in a line.
fn verdict(message: &TracedMessage) -> String {
    if let Some(TracedRefusal { stage, rule, reply }) = &message.refused {
        return format!("refused at {stage} by rule {rule}: {reply}");
    }
    match message.legs.as_slice() {
        [] => message.status.to_string(),
        [leg] => end(leg),
        legs => {
            let mut counts = BTreeMap::<_, u64>::new();
            for leg in legs {
                *counts.entry(leg.status).or_default() += 1;
            }
            let counts = counts
                .iter()
                .map(|(status, legs)| format!("{legs} {status}"));
            let counts = counts.collect::<Vec<_>>().join(", ");
            format!("{}: {counts}", plural(legs.len() as u64, "leg"))
        }
    }
}

fn end(leg: &TracedLeg) -> String {
    let (status, target) = (leg.status, &leg.target);
    let Some(last) = leg.attempts.last() else {
        return format!("{status} for {target}");
    };
    if status == MailStatus::Removed {
        return format!(
            "removed for {target} by an operator; before that: {}",
            said(last)
        );
    }
    let after = span(last.delay_ms);
    if status == MailStatus::Delivered {
        let head = format!("delivered to {target}");
        return with(head, [(" by ", last.host.clone()), (" ", Some(after))]) + " after it came in";
    }
    let said = said(last);
    if status != last.result {
        return format!("{status} for {target}; last try {after} after it came in: {said}");
    }
    let head = format!("{status} for {target} {after} after it came in: {said}");
    with(head, [("; next try ", last.next.map(|at| at.to_string()))])
}

/// What the host said, or what happened instead.
fn said(attempt: &TracedAttempt) -> String {
    let TracedAttempt { text, code, .. } = attempt;
    match &attempt.reply {
        // Of what went well nobody need know when it was said.
        Some(reply) if text.is_empty() || attempt.result == MailStatus::Delivered => reply.clone(),
        Some(reply) => format!("{text}: {reply}"),
        None => format!("{text} ({code})"),
    }
}

/// How it came in, what was found out about it, and where it went.
fn way(message: &TracedMessage) -> Vec<String> {
    let mut lines = Vec::new();
    for (name, value) in [
        ("message", message.id.map(|id| id.to_string())),
        ("received", Some(received(message))),
        ("from", message.sender.clone()),
        ("to", message.recipient.clone()),
        ("Message-ID", message.message_id.clone()),
        ("size", message.size.map(|octets| plural(octets, "octet"))),
        ("spf", message.spf.clone()),
        ("dkim", message.dkim.clone()),
        ("arc", message.arc.clone()),
        ("dmarc", message.dmarc.clone()),
        ("sender", message.origin.clone()),
    ] {
        lines.extend(value.map(|value| format!("  {name:<10} {value}")));
    }
    let notes = message.notes.iter();
    lines.extend(notes.map(|note| format!("  {:<10} {} {}", note.event, note.at, note.text)));
    lines.extend(message.legs.iter().flat_map(way_of));
    lines
}

/// Where a leg went.
pub(crate) fn way_of(leg: &TracedLeg) -> impl Iterator<Item = String> {
    let (number, recipient, target) = (leg.leg.number, &leg.recipient, &leg.target);
    let head = format!("  leg {number:<6} {recipient} → {target}");
    let others = (!leg.others.is_empty()).then(|| leg.others.join(", "));
    let facts = [
        (" from ", leg.sender.clone()),
        (", also for ", others),
        (", ", Some(leg.status.to_string())),
    ];
    iter::once(with(head, facts)).chain(leg.attempts.iter().map(attempt))
}

fn received(message: &TracedMessage) -> String {
    let at = message.at;
    let Some(client) = &message.client else {
        return match message.recipient {
            Some(_) => format!("{at} a notice of ours"),
            None => format!("{at} or before: the history has only its end"),
        };
    };
    let client = match &message.client_name {
        Some(name) => format!("({name} {client})"),
        None => format!("({client})"),
    };
    let facts = [
        (" from ", message.hello.clone()),
        (" ", Some(client)),
        (" at ", message.listener.clone()),
        (", ", message.tls.clone()),
        (", user ", message.user.clone()),
        (", in ", message.before_queue_ms.map(span)),
    ];
    with(at.to_string(), facts)
}

fn attempt(attempt: &TracedAttempt) -> String {
    let TracedAttempt {
        attempt: number,
        at,
        result,
        site,
        host,
        source,
        tls,
        ..
    } = attempt;
    let is_other = |site: &String| host.as_ref().is_none_or(|host| !host.starts_with(site));
    let in_clear = || "in clear".to_owned();
    // Without a word of the host's there may have been no connection.
    let tls = attempt
        .reply
        .as_ref()
        .map(|_| tls.clone().unwrap_or_else(in_clear));
    let spans = site.as_ref().map(|_| {
        let sent = attempt.connect_ms + attempt.transmission_ms;
        let spans = [
            attempt.delay_ms.saturating_sub(sent),
            attempt.connect_ms,
            attempt.transmission_ms,
        ];
        let [queued, connect, transmission] = spans.map(span);
        format!("{queued}, connected in {connect}, sent in {transmission})")
    });
    let facts = [
        (" by ", host.clone()),
        (" of ", site.clone().filter(is_other)),
        (" from ", source.clone()),
        (", ", tls),
        (": ", Some(said(attempt))),
        (" (waited ", spans),
        (", next try ", attempt.next.map(|at| at.to_string())),
    ];
    with(format!("    try {number:<4} {at} {result}"), facts)
}

/// The text, and the facts that there are, each behind its words.
fn with<const N: usize>(text: String, facts: [(&str, Option<String>); N]) -> String {
    let known = facts
        .into_iter()
        .filter_map(|(words, fact)| Some((words, fact?)));
    known.fold(text, |text, (words, fact)| text + words + &fact)
}

/// So many messages are told whole.
const TOLD_MAX: usize = 3;
/// So many ids are looked for: mail passes through us once or twice.
const IDS_MAX: usize = 10;
/// A header is no larger.
const PASTED_OCTETS_MAX: u64 = 1 << 20;

#[cfg(test)]
mod tests {
    use serde_json::json;

    use super::*;

    #[track_caller]
    fn check_pasted(header: &str, expected: &[&str]) {
        for text in [header.to_owned(), header.replace('\n', "\r\n")] {
            assert_eq!(pasted(text.as_bytes()).unwrap_or_default(), expected);
        }
    }

    #[test]
    fn what_is_pasted_names_a_mail() {
        let (ours, other) = ("01M7Z1MH4N0000000000000007", "01M7Z1MH4N0000000000000008");
        let received = |id: &str| {
            format!(
                "Received: from a.test (a.test [192.0.2.1]) by mx.b.test with ESMTPS\n\tid {id}; Sat, 21 Nov 2026 12:34:56 +0000\n"
            )
        };
        let way = received("4711") + &received(ours);
        let message_id = "Message-Id: <a@b.test>\n";
        check_pasted(&format!("{way}{message_id}"), &[ours, "<a@b.test>"]);
        let text = format!("\n\n{message_id}{way}\n\nReceived: id {other}\n");
        check_pasted(&text, &[ours, "<a@b.test>"]);
        let for_one = format!(
            "Received: by b id {other}\n for <a@b.test>; Sat, 21 Nov 2026 12:34:56 +0000\n"
        );
        check_pasted(&(received(ours) + &for_one), &[ours, other]);
        check_pasted(&received("4711"), &[]);
        check_pasted("\n", &[]);
        check_pasted(&"Received: id\n".repeat(200_000), &[]);
    }

    fn message(change: serde_json::Value) -> TracedMessage {
        let mut message = json!({
            "id": "01M7Z1MH4N0000000000000007",
            "at": "2026-11-21T12:34:56.789Z",
            "status": "delivered",
            "client": "192.0.2.1:4711",
            "client_name": "mail.a.test",
            "hello": "a.test",
            "listener": "192.0.2.9:25",
            "tls": "TLSv1.3",
            "user": "ann",
            "sender": "<a@a.test>",
            "message_id": "<1@a.test>",
            "size": 1,
            "before_queue_ms": 12,
            "spf": "pass a.test",
            "origin": "proved",
            "notes": [{ "at": "2026-11-21T12:34:57.000Z", "event": "filtered", "text": "filter=rspamd opinion=accept" }],
        });
        let (Some(fields), serde_json::Value::Object(change)) = (message.as_object_mut(), change)
        else {
            unreachable!("both are objects")
        };
        fields.extend(change);
        serde_json::from_value(message).unwrap()
    }

    fn leg(number: u32, status: &str, attempts: serde_json::Value) -> serde_json::Value {
        json!({
            "leg": format!("01M7Z1MH4N0000000000000007.{number}"),
            "status": status,
            "recipient": "b@b.test",
            "target": "c@c.test",
            "sender": "<SRS0=x@b.test>",
            "attempts": attempts,
        })
    }

    fn attempt(number: u32, result: &str, reply: Option<&str>, text: &str) -> serde_json::Value {
        json!({
            "attempt": number,
            "at": "2026-11-21T12:35:00.000Z",
            "result": result,
            "site": "mx.c.test",
            "host": "mx2.c.test[192.0.2.2]:25",
            "code": "4.4.1",
            "reply": reply,
            "text": text,
            "delay_ms": 3211,
            "connect_ms": 100,
            "transmission_ms": 111,
        })
    }

    #[test]
    fn the_way_of_a_message() {
        let attempts = json!([
            attempt(1, "deferred", None, "connection refused"),
            attempt(2, "delivered", Some("250 2.0.0 ok"), ""),
        ]);
        let message = message(json!({ "legs": [leg(0, "delivered", attempts)] }));
        let mut lines = vec![verdict(&message)];
        lines.extend(way(&message));
        let expected = "\
delivered to c@c.test by mx2.c.test[192.0.2.2]:25 3s after it came in
  message    01M7Z1MH4N0000000000000007
  received   2026-11-21T12:34:56.789Z from a.test (mail.a.test 192.0.2.1:4711) at 192.0.2.9:25, TLSv1.3, user ann, in 12ms
  from       <a@a.test>
  Message-ID <1@a.test>
  size       1 octet
  spf        pass a.test
  sender     proved
  filtered   2026-11-21T12:34:57.000Z filter=rspamd opinion=accept
  leg 0      b@b.test → c@c.test from <SRS0=x@b.test>, delivered
    try 1    2026-11-21T12:35:00.000Z deferred by mx2.c.test[192.0.2.2]:25 of mx.c.test: connection refused (4.4.1) (waited 3s, connected in 100ms, sent in 111ms)
    try 2    2026-11-21T12:35:00.000Z delivered by mx2.c.test[192.0.2.2]:25 of mx.c.test, in clear: 250 2.0.0 ok (waited 3s, connected in 100ms, sent in 111ms)";
        assert_eq!(lines.join("\n"), expected);
    }

    #[track_caller]
    fn check_verdict(change: serde_json::Value, expected: &str) {
        assert_eq!(verdict(&message(change)), expected);
    }

    #[test]
    fn verdicts() {
        let refused = json!({ "stage": "rcpt", "rule": "hosted-unknown", "reply": "550 no" });
        check_verdict(
            json!({ "refused": refused }),
            "refused at rcpt by rule hosted-unknown: 550 no",
        );
        check_verdict(json!({ "status": "discarded" }), "discarded");
        let one = |status, attempts| json!({ "legs": [leg(0, status, attempts)] });
        check_verdict(one("queued", json!([])), "queued for c@c.test");
        let busy = attempt(1, "deferred", Some("450 busy"), "while sending RCPT TO");
        check_verdict(
            one("deferred", json!([busy])),
            "deferred for c@c.test 3s after it came in: while sending RCPT TO: 450 busy",
        );
        check_verdict(
            one(
                "removed",
                json!([attempt(1, "deferred", Some("450 busy"), "")]),
            ),
            "removed for c@c.test by an operator; before that: 450 busy",
        );
        let gone = attempt(1, "failed", Some("550 gone"), "");
        check_verdict(
            one("failed", json!([gone])),
            "failed for c@c.test 3s after it came in: 550 gone",
        );
        let busy = |status| {
            let mut busy = attempt(1, "deferred", Some("450 busy"), "");
            busy["next"] = json!("2026-11-21T12:36:00.000Z");
            one(status, json!([busy]))
        };
        check_verdict(
            busy("deferred"),
            "deferred for c@c.test 3s after it came in: 450 busy; next try 2026-11-21T12:36:00.000Z",
        );
        check_verdict(
            busy("held"),
            "held for c@c.test; last try 3s after it came in: 450 busy",
        );
        let two = ["delivered", "failed"].map(|status| leg(0, status, json!([])));
        check_verdict(json!({ "legs": two }), "2 legs: 1 delivered, 1 failed");
    }
}
