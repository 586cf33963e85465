//! The command parser: whatever a line is, an address that comes out of it can be written to another line.

use envelope::Mailbox;
use smtp::command::{self, Command};
use smtp::path;

use crate::input::assert_clean;

/// `data` is one line without its CRLF.
pub(crate) fn check(data: &[u8]) {
    let parsed = command::parse(data);
    match &parsed {
        Ok(Command::Mail(mail)) => {
            let written = mail.reverse_path.to_string();
            assert_clean(&written);
            assert_eq!(
                path::parse_reverse(&written),
                Ok((mail.reverse_path.clone(), ""))
            );
            let envid = mail.params.envid.map(smtp::xtext::Xtext::decode);
            assert_clean(envid.as_deref().unwrap_or_default());
        }
        Ok(Command::Rcpt(rcpt)) => {
            let written = rcpt.forward_path.to_string();
            assert_clean(&written);
            assert_eq!(
                path::parse_forward(&written),
                Ok((rcpt.forward_path.clone(), ""))
            );
            if let Some(original) = rcpt.params.original {
                let original = original.decode();
                assert_clean(&original.kind);
                assert_clean(&original.address);
            }
        }
        Ok(Command::Ehlo(name) | Command::Helo(name)) => {
            assert!(name.bytes().all(|b| b.is_ascii_graphic()), "{name:?}");
        }
        Ok(_) => {}
        // The client is told the error, so it must be clean text.
        Err(error) => assert_clean(&error.to_string()),
    }
    // The case of a verb, and blanks at the end, change nothing.
    let mut other = data.to_vec();
    let verb_octets = data.iter().take_while(|b| b.is_ascii_alphabetic()).count();
    other[..verb_octets].make_ascii_lowercase();
    other.extend_from_slice(b"  ");
    assert_eq!(command::parse(&other), parsed);
}

/// `data` is an address, or the text of a local part or domain alone.
pub(crate) fn check_mailbox(data: &[u8]) {
    let Ok(text) = std::str::from_utf8(data) else {
        return;
    };
    if let Ok(mailbox) = text.parse::<Mailbox>() {
        assert_mailbox(&mailbox);
    }
    if let Ok(domain) = text.parse::<envelope::Domain>() {
        assert!(domain.as_str().len() <= envelope::Domain::OCTETS_MAX);
        assert_eq!(domain.as_str().parse(), Ok(domain.clone()));
        assert_eq!(domain.as_str(), domain.as_str().to_ascii_lowercase());
    }
    let local = envelope::LocalPart::from_unquoted(text);
    let host = "host.example".parse();
    if let (Ok(local), Ok(host)) = (local, host) {
        assert_eq!(local.as_str(), text);
        assert_eq!(local.to_string().len(), local.written_octets());
        if let Ok(mailbox) = Mailbox::new(local, host) {
            assert_mailbox(&mailbox);
        }
    }
}

/// It is the same when written and parsed again, also in a path, and nothing in it ends the path early.
fn assert_mailbox(mailbox: &Mailbox) {
    let written = mailbox.to_string();
    assert_clean(&written);
    assert!(written.len() <= Mailbox::OCTETS_MAX, "{written:?}");
    assert_eq!(written.parse().as_ref(), Ok(mailbox));
    let in_path = format!("<{written}> X=1");
    let forward = path::parse_forward(&in_path).map(|(path, rest)| (path.to_string(), rest));
    assert_eq!(forward, Ok((format!("<{written}>"), " X=1")));
    let reverse = path::parse_reverse(&in_path);
    assert_eq!(
        reverse.as_ref().map(|(path, _)| path.mailbox()),
        Ok(Some(mailbox))
    );
}
