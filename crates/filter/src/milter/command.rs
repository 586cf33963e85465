//! What we tell a milter: a packet is a length in four octets, a letter, and its data. A text ends with NUL.

use std::net::SocketAddr;

use envelope::{BodyKind, Envelope, Recipient};

use super::options::Stage;
use crate::facts::Facts;

pub(super) fn put_packet(letter: u8, data: &[u8], out: &mut Vec<u8>) {
    debug_assert!(data.len() <= DATA_OCTETS_MAX, "{} octets", data.len());
    out.extend_from_slice(&(1 + data.len() as u32).to_be_bytes());
    out.push(letter);
    out.extend_from_slice(data);
}

/// SMFIC_MACRO: what stands behind these names, for a stage.
pub(super) fn put_macros(stage: &Stage, macros: &[(&str, String)], out: &mut Vec<u8>) {
    let mut data = vec![stage.letter];
    for (name, value) in macros {
        put_text(name.as_bytes(), &mut data);
        put_text(value.as_bytes(), &mut data);
    }
    put_packet(b'D', &data, out);
}

/// The client's name, or its address in brackets as Sendmail says it; family, port, address.
pub(super) fn connect(facts: &Facts<'_>) -> Vec<u8> {
    let address = facts.client.ip().to_string();
    let name = facts.client_name.map(ToString::to_string);
    let mut data = texts([name.unwrap_or_else(|| format!("[{address}]"))]);
    data.push(match facts.client {
        SocketAddr::V4(_) => b'4',
        SocketAddr::V6(_) => b'6',
    });
    data.extend_from_slice(&facts.client.port().to_be_bytes());
    put_text(address.as_bytes(), &mut data);
    data
}

/// The path, and the parameters that tell of the message. Those of notices (RFC 3461) are nothing to judge by, but NOTIFY,
/// which spammers set.
pub(super) fn mail(envelope: &Envelope) -> Vec<u8> {
    let mut data = texts([envelope.reverse_path.to_string()]);
    if let Some(size) = envelope.declared_size {
        put_text(format!("SIZE={size}").as_bytes(), &mut data);
    }
    if envelope.body == BodyKind::EightBitMime {
        put_text(b"BODY=8BITMIME", &mut data);
    }
    if envelope.smtputf8 {
        put_text(b"SMTPUTF8", &mut data);
    }
    data
}

pub(super) fn rcpt(recipient: &Recipient) -> Vec<u8> {
    let notify = recipient.notify.map(|notify| format!("NOTIFY={notify}"));
    texts(
        [recipient.forward_path.to_string()]
            .into_iter()
            .chain(notify),
    )
}

/// A field with LF where it is folded. Of its value the first blank is left out, unless the milter takes it (HDR_LEADSPC).
pub(super) fn header(name: &[u8], value: &[u8], keeps_blank: bool) -> Vec<u8> {
    let value = value.strip_suffix(b"\r\n").unwrap_or(value);
    let value = value
        .strip_prefix(b" ")
        .filter(|_| !keeps_blank)
        .unwrap_or(value);
    let mut lines = Vec::with_capacity(value.len());
    for (at, octet) in value.iter().enumerate() {
        if *octet != b'\r' || value.get(at + 1) != Some(&b'\n') {
            lines.push(*octet);
        }
    }
    let mut data = Vec::with_capacity(name.len() + lines.len() + 2);
    put_text(name, &mut data);
    put_text(&lines, &mut data);
    data
}

pub(super) fn texts(all: impl IntoIterator<Item = String>) -> Vec<u8> {
    let mut data = Vec::new();
    for text in all {
        put_text(text.as_bytes(), &mut data);
    }
    data
}

/// A NUL inside would begin another text: it is left out.
fn put_text(text: &[u8], out: &mut Vec<u8>) {
    out.extend(text.iter().filter(|octet| **octet != 0));
    out.push(0);
}

/// What every milter takes. More (MDS_256K, MDS_1M) can be agreed upon, and gains nothing.
pub(super) const DATA_OCTETS_MAX: usize = 65_535;
