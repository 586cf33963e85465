//! What we know behind the names of Sendmail's macros (Postfix's MILTER_README).

use envelope::{Mailbox, Recipient};

use crate::facts::Facts;

/// What stands behind a name, if it is known; `recipient` at RCPT. Names of several letters stand in braces.
pub(super) fn value(
    name: &str,
    facts: &Facts<'_>,
    recipient: Option<&Recipient>,
) -> Option<String> {
    let sender = facts.envelope.reverse_path.mailbox();
    let recipient = recipient.map(|to| to.forward_path.mailbox());
    let client = || bare(facts.client_name, "unknown");
    let host = |of: &Mailbox| Some(of.domain()?.to_string());
    match name.trim_start_matches('{').trim_end_matches('}') {
        "j" | "daemon_name" => Some(facts.hostname.to_string()),
        "v" => Some(concat!("Onward ", env!("CARGO_PKG_VERSION")).to_owned()),
        "i" => Some(facts.id.to_string()),
        "_" => Some(format!("{} [{}]", client(), facts.client.ip())),
        "client_addr" => Some(facts.client.ip().to_string()),
        "client_port" => Some(facts.client.port().to_string()),
        "client_name" | "client_ptr" => Some(client()),
        "tls_version" => Some(facts.tls?.version.to_owned()),
        "cipher" => Some(facts.tls?.cipher.to_owned()),
        "cipher_bits" => {
            let is_128 = facts.tls?.cipher.contains("_128_");
            Some(if is_128 { "128" } else { "256" }.to_owned())
        }
        "auth_authen" => facts.user.map(str::to_owned),
        // Milters look whether there is one. LOGIN is another way to write the same.
        "auth_type" => facts.user.map(|_| "PLAIN".to_owned()),
        "mail_addr" => Some(bare(sender, "")),
        "mail_host" => sender.and_then(host),
        "rcpt_addr" => Some(bare(recipient?, "postmaster")),
        "rcpt_host" => recipient?.and_then(host),
        "mail_mailer" | "rcpt_mailer" => Some("smtp".to_owned()),
        _ => None,
    }
}

fn bare(of: Option<impl ToString>, none: &str) -> String {
    of.map_or_else(|| none.to_owned(), |of| of.to_string())
}
