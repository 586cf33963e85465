//! The forwards file: any bytes are a table or a list of mistakes; and the header scan and the trace header.

use std::net::IpAddr;

use arbitrary::Arbitrary;
use envelope::{Mailbox, MessageId, Timestamp, Tls};
use forwarder::table::{CHAIN_MAX, Resolution, TARGETS_MAX, Table, TableErrors};
use forwarder::trace::{self, Facts};
use forwarder::{HeaderScan, table};

use crate::input::{Pieces, assert_clean, plan};

/// `data` is a forwards file.
pub(crate) fn check(data: &[u8]) {
    let text = String::from_utf8_lossy(data).into_owned();
    match Table::parse("forwards", data.to_vec()) {
        Ok(table) => check_table(&table, &text),
        Err(errors) => check_errors(&errors, &text),
    }
}

fn check_table(table: &Table, text: &str) {
    let stats = table.stats();
    assert!(stats.lines <= text.lines().count());
    assert!(stats.memory_octets <= 4096 + text.len() * 64);
    // Everything in the file that looks like an address is looked up, also with a suffix.
    let words = text.split(|c: char| c.is_whitespace() || c == ',');
    for word in words.take(WORDS_MAX) {
        let suffixed = word.replacen('@', "+x@", 1);
        for word in [word, &suffixed] {
            if let Ok(mailbox) = word.parse::<Mailbox>() {
                check_resolution(table, &mailbox);
            }
        }
    }
}

fn check_resolution(table: &Table, mailbox: &Mailbox) {
    match table.resolve(mailbox, Timestamp::default()) {
        Resolution::Targets(expansion) => {
            assert!((1..=TARGETS_MAX).contains(&expansion.targets.len()));
            for table::Target {
                mailbox: to, via, ..
            } in &expansion.targets
            {
                assert!((1..=CHAIN_MAX).contains(&via.len()), "{via:?}");
                assert_eq!(via.first(), Some(mailbox));
                let hosted = to.domain().is_some_and(|domain| table.hosts(domain));
                assert!(!hosted, "{to} is hosted and not the end");
                assert_clean(&to.to_string());
            }
        }
        Resolution::Refused(reply) => {
            assert!((400..=599).contains(&reply.code), "{reply:?}");
            assert_clean(&reply.text.replace('\t', " "));
        }
        Resolution::NotHosted => {
            assert!(!mailbox.domain().is_some_and(|domain| table.hosts(domain)));
        }
        Resolution::Unknown | Resolution::Discard(_) => {}
    }
}

/// Messages go to a terminal and to the log.
fn check_errors(errors: &TableErrors, text: &str) {
    assert!(!errors.errors.is_empty() && errors.errors.len() <= TableErrors::SHOWN_MAX);
    assert!(errors.errors.len() <= errors.count);
    for error in &errors.errors {
        assert!(
            (1..=text.split('\n').count()).contains(&error.line),
            "{error}"
        );
        assert!(error.column >= 1);
        // A tab may be in a word: within quotes.
        assert_clean(&error.text.replace('\t', " "));
        assert_clean(error.hint.as_deref().unwrap_or_default());
    }
}

#[derive(Debug, Arbitrary)]
struct Plan {
    split: u64,
    flags: u8,
}

/// `data` is how to split, and a message; its first line is also what a client calls itself.
pub(crate) fn check_header(data: &[u8]) {
    let Some((plan, message)) = plan::<Plan>(data) else {
        return;
    };
    let scans = [plan.split, 0].map(|split| {
        let mut scan = HeaderScan::default();
        for piece in Pieces::new(message, split) {
            scan.feed(piece);
        }
        scan.finish();
        scan
    });
    let [scan, whole] = &scans;
    assert_eq!(scan.hops(), whole.hops(), "split changes it");
    let overflowed = scan.hops() == u32::MAX;
    assert!(overflowed || scan.hops() as usize == count_received(message));
    let header = String::from_utf8_lossy(message);
    let values = header.lines().filter_map(|line| line.split_once(':'));
    for (_, value) in values.take(WORDS_MAX) {
        if let Ok(address) = value.trim().parse::<Mailbox>() {
            assert_eq!(
                scan.was_delivered_to(&address),
                whole.was_delivered_to(&address)
            );
        }
    }
    check_trace(&header, plan.flags);
}

/// The simplest definition: unfold, split, look at the name.
fn count_received(message: &[u8]) -> usize {
    let mut fields: Vec<Vec<u8>> = Vec::new();
    for line in message.split(|b| *b == b'\n') {
        match line {
            b"" | b"\r" => break,
            [b' ' | b'\t', ..] if !fields.is_empty() => {
                fields
                    .last_mut()
                    .into_iter()
                    .for_each(|f| f.extend_from_slice(line));
            }
            _ => fields.push(line.to_vec()),
        }
    }
    let is_received = |field: &&Vec<u8>| {
        let head = &field[..field.len().min(FIELD_OCTETS_MAX)];
        let name = head.split(|b| *b == b':').next().unwrap_or_default();
        head.contains(&b':') && name.trim_ascii_end().eq_ignore_ascii_case(b"received")
    };
    fields.iter().filter(is_received).count()
}

fn check_trace(text: &str, flags: u8) {
    let name: Option<&str> = text.lines().next();
    let has = |bit: u8| flags >> bit & 1 != 0;
    let Ok(hostname) = "mx.example".parse() else {
        return;
    };
    let client_name = text.split_whitespace().find_map(|word| word.parse().ok());
    let recipient = text.split_whitespace().find_map(|word| word.parse().ok());
    let written = trace::received(&Facts {
        hello: name.unwrap_or_default(),
        client: IpAddr::from([192, 0, 2, flags]),
        client_name: client_name.as_ref(),
        hostname: &hostname,
        extended: has(0),
        tls: has(1).then_some(Tls {
            version: text,
            cipher: name.unwrap_or_default(),
        }),
        authenticated: has(2),
        hides_client: has(4),
        smtputf8: has(3),
        id: MessageId::from_bits(u128::from(flags)),
        recipient: recipient.as_ref(),
        arrived: Timestamp::from_unix_millis(u64::from(flags) << 40),
    });
    let Some(lines) = written.strip_suffix("\r\n") else {
        panic!("{written:?} does not end its line")
    };
    assert!(
        lines.split("\r\n").all(|line| line.len() <= 998),
        "{written:?}"
    );
    let unfolded = lines.replace("\r\n\t", " ");
    let start = if has(4) {
        "Received: by "
    } else {
        "Received: from "
    };
    assert!(unfolded.starts_with(start), "{written:?}");
    assert_clean(&unfolded);
    assert!(has(3) || written.is_ascii(), "{written:?}");
    let mut scan = HeaderScan::default();
    scan.feed(written.as_bytes());
    scan.finish();
    assert_eq!(scan.hops(), 1);
}

/// Enough to meet every line of a fuzzed file.
const WORDS_MAX: usize = 200;
/// As `forwarder::scan` has it.
const FIELD_OCTETS_MAX: usize = 1024;
