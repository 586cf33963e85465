//! Commands as we write them. Parameters are written only for a peer that has the extension (RFC 5321 §2.2.1).
//!
//! Nothing written can break its line: addresses are `envelope` types, which hold no control character, and the rest
//! is xtext or a number.

use envelope::{BodyKind, Return};

use super::{Transaction, TransactionRecipient};
use crate::extensions::Capabilities;
use crate::xtext;

pub(super) fn mail(
    transaction: &Transaction,
    peer: &Capabilities,
    smtputf8: bool,
    out: &mut Vec<u8>,
) {
    let mut line = format!("MAIL FROM:{}", transaction.reverse_path);
    if peer.size_extension && transaction.size > 0 {
        line += &format!(" SIZE={}", transaction.size);
    }
    if peer.eight_bit_mime && transaction.body == BodyKind::EightBitMime {
        line += " BODY=8BITMIME";
    }
    if smtputf8 {
        line += " SMTPUTF8";
    }
    if transaction.require_tls {
        line += " REQUIRETLS";
    }
    if peer.dsn {
        match transaction.ret {
            Some(Return::Full) => line += " RET=FULL",
            Some(Return::Headers) => line += " RET=HDRS",
            None => {}
        }
        if let Some(envid) = &transaction.envid {
            line += " ENVID=";
            xtext::encode(envid, &mut line);
        }
    }
    end(&line, out);
}

pub(super) fn rcpt(
    recipient: &TransactionRecipient,
    peer: &Capabilities,
    smtputf8: bool,
    out: &mut Vec<u8>,
) {
    let mut line = format!("RCPT TO:<{}>", recipient.target);
    if peer.dsn {
        if let Some(notify) = &recipient.notify {
            line += &format!(" NOTIFY={notify}");
        }
        if let Some(original) = &recipient.original {
            line += &format!(" ORCPT={};", original.kind);
            if original.kind.eq_ignore_ascii_case("utf-8") {
                xtext::encode_utf8_address(&original.address, smtputf8, &mut line);
            } else {
                xtext::encode(&original.address, &mut line);
            }
        }
    }
    end(&line, out);
}

pub(super) fn end(line: &str, out: &mut Vec<u8>) {
    debug_assert!(
        !line.contains(char::is_control),
        "a command of ours breaks its line: {line:?}"
    );
    out.extend_from_slice(line.as_bytes());
    out.extend_from_slice(b"\r\n");
}
