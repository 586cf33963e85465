//! What the server side says. All its words are here; the gate's and the spool's own replies come from outside.
//!
//! Every reply has an enhanced status, except the greeting and the replies to EHLO and HELO (RFC 2034 §4) and the
//! 354. Which code belongs where is RFC 5321 §4.2.4, §4.3.2; the statuses are RFC 3463 and RFC 5248.

use envelope::{EnhancedStatus, Reply};

use super::{Hello, Settings};
use crate::command::CommandError;
use crate::line::LineError;
use crate::params::ParamError;
use crate::xclient::XclientError;

envelope::replies! {
    sender_ok = 250 success(1, 0) "Sender ok";
    recipient_ok = 250 success(1, 5) "Recipient ok";
    logged_in = 235 success(7, 0) "Logged in";
    ok = 250 success(0, 0) "Ok";
    bye = 221 success(0, 0) "Bye";
    start_tls = 220 success(0, 0) "Ready to start TLS";
    /// VRFY tells nothing about who exists (RFC 5321 §7.3).
    cannot_verify = 252 success(5, 0) "Send the mail and see";
    help = 214 success(0, 0) "EHLO HELO MAIL RCPT DATA BDAT RSET NOOP QUIT VRFY HELP STARTTLS\nSee RFC 5321";

    /// HELO's clients were offered no parameters.
    params_without_ehlo = 555 permanent(5, 4) "Parameters need EHLO";
    /// RFC 6531 §3.5.
    needs_smtputf8 = 553 permanent(6, 7) "Address needs SMTPUTF8";
    refused_client = 503 permanent(5, 1) "Only QUIT is possible here";
    hello_first = 503 permanent(5, 1) "Send EHLO first";
    within_transaction = 503 permanent(5, 1) "A transaction is open: send RSET first";
    /// As Postfix says it; the client is on no list of `xclient_from`.
    no_xclient = 550 permanent(7, 0) "XCLIENT is not allowed from your address";
    mail_first = 503 permanent(5, 1) "Send MAIL first";
    nested_mail = 503 permanent(5, 1) "A transaction is open already";
    recipients_first = 503 permanent(5, 1) "Send RCPT first";
    /// RFC 3030 §2: between chunks only BDAT or RSET.
    within_chunks = 503 permanent(5, 1) "Send the last BDAT, or RSET, first";

    tls_already = 503 permanent(5, 1) "TLS is active already";
    tls_not_now = 503 permanent(5, 1) "STARTTLS belongs behind EHLO and before MAIL";
    tls_not_offered = 502 permanent(5, 1) "TLS is not available";
    /// RFC 3207 §4: nothing may follow before the handshake. Whoever put it there is not to be served.
    bytes_behind_starttls = 554 permanent(5, 0) "STARTTLS must be the last of its group";

    /// RFC 4954 §6 keeps it for what must not go in clear.
    auth_needs_tls = 538 permanent(7, 11) "Log in under TLS only: send STARTTLS first";
    /// RFC 8689 §3: it is offered under TLS only.
    requiretls_needs_tls = 530 permanent(7, 10) "REQUIRETLS is possible under TLS only: send STARTTLS first";
    auth_already = 503 permanent(5, 1) "You are logged in already";
    auth_not_now = 503 permanent(5, 1) "AUTH comes after EHLO and before MAIL";
    unknown_mechanism = 504 permanent(5, 4) "The mechanisms are PLAIN and LOGIN";
    auth_cancelled = 501 permanent(7, 0) "Login cancelled";
    bad_credentials = 501 permanent(5, 2) "Not base64, or no user name and password in it";
    /// Nobody here acts for somebody else (RFC 4616 §2).
    acts_for_another = 535 permanent(7, 8) "A user cannot log in for another";
    auth_line_too_long = 500 permanent(5, 6) "Line too long";
    /// What is sent ahead could be a password, and would be taken for a command when the login fails.
    bytes_behind_auth = 554 permanent(5, 0) "AUTH must be the last of its group";
    /// RFC 2920 §3.1: what follows a DATA without waiting for the 354 may be a message, not commands.
    bytes_behind_data = 421 transient(5, 0) "DATA must be the last of its group";

    no_valid_recipients = 554 permanent(5, 1) "No valid recipients";
    too_many_recipients = 452 transient(5, 3) "Too many recipients";
    too_many_errors = 421 transient(7, 0) "Too many errors";
    too_many_idle_commands = 421 transient(7, 0) "Too many commands without a message";
    too_many_transactions = 421 transient(7, 0) "Too many messages on one connection";

    timeout = 421 transient(4, 2) "Timeout";
    shutting_down = 421 transient(3, 2) "Shutting down, try again later";
}

/// The name of the rule behind a refusal of ours, for the log. None for what is none, and for the ends of a session that
/// are told of otherwise: a timeout, a shutdown.
pub(super) fn rule(reply: &Reply) -> Option<&'static str> {
    let status = reply.status?;
    Some(match (reply.code, status.subject, status.detail) {
        (500, ..) if *reply == bad_line(LineError::TooLong) => "line-too-long",
        (500, ..) if *reply == bad_line(LineError::Broken) => "bare-newline",
        (500, 5, 6) => "line-too-long",
        (500, ..) => "unknown-command",
        (502, ..) => "not-implemented",
        (503, ..) => "out-of-sequence",
        (550, 7, 0) => "xclient-not-allowed",
        (501, 7, 0) => "login-cancelled",
        (501, 5, 2) => "bad-credentials",
        (535, ..) => "acts-for-another",
        (530 | 538, ..) => "needs-tls",
        (501, 1, 7) => "bad-sender",
        (501, 1, 3) => "bad-recipient",
        (501, ..) => "bad-syntax",
        (504 | 555, ..) => "bad-parameter",
        (553, ..) => "needs-smtputf8",
        (552, ..) => "too-large",
        (452, ..) => "too-many-recipients",
        (554, 5, 1) => "no-valid-recipients",
        (554, 6, _) => "bare-newline",
        (421, 7, _) => "too-many",
        (421 | 554, 5, 0) => "not-the-last-of-its-group",
        _ => return None,
    })
}

const fn good(subject: u16, detail: u16) -> EnhancedStatus {
    EnhancedStatus::success(subject, detail)
}

const fn bad(subject: u16, detail: u16) -> EnhancedStatus {
    EnhancedStatus::permanent(subject, detail)
}

fn plain(code: u16, text: String) -> Reply {
    Reply {
        code,
        status: None,
        text,
    }
}

pub(super) fn greeting(settings: &Settings) -> Reply {
    plain(220, format!("{} ESMTP Onward", settings.hostname))
}

/// Extensions that depend on the state of the session.
#[derive(Debug, Clone, Copy)]
pub(super) struct Offers {
    pub(super) tls: bool,
    pub(super) require_tls: bool,
    pub(super) auth: bool,
    pub(super) xclient: bool,
    /// With a user.
    pub(super) xclient_login: bool,
}

/// RFC 5321 §4.1.1.1. HELO gets the name only: its clients know no extensions.
pub(super) fn hello(settings: &Settings, hello: &Hello, offers: Offers) -> Reply {
    let mut text = settings.hostname.clone();
    if hello.extended {
        text += &format!(
            "\nPIPELINING\nSIZE {}\n8BITMIME\nSMTPUTF8",
            settings.size_max
        );
        text += "\nCHUNKING\nDSN\nENHANCEDSTATUSCODES";
        if offers.tls {
            text += "\nSTARTTLS";
        }
        if offers.require_tls {
            text += "\nREQUIRETLS";
        }
        // Old clients of Microsoft's that read only `AUTH=LOGIN` know no TLS that we take: they get no line of their own.
        if offers.auth {
            text += "\nAUTH PLAIN LOGIN";
        }
        if offers.xclient {
            text += "\nXCLIENT ADDR PORT NAME PROTO HELO DESTADDR DESTPORT";
            text += if offers.xclient_login { " LOGIN" } else { "" };
        }
        // RFC 9422 §3: six digits at most.
        let recipients = settings.recipients_max.min(LIMIT_MAX);
        let transactions = settings.transactions_max.min(LIMIT_MAX as u32);
        text += &format!("\nLIMITS RCPTMAX={recipients} MAILMAX={transactions}");
    }
    plain(250, text)
}

pub(super) fn send_data() -> Reply {
    plain(354, "End data with <CR><LF>.<CR><LF>".to_owned())
}

/// A prompt of an AUTH exchange, in base64 (RFC 4954 §4).
pub(super) fn challenge(prompt: &str) -> Reply {
    plain(334, prompt.to_owned())
}

pub(super) fn chunk_ok(octets: u64) -> Reply {
    Reply::new(250, good(0, 0), format!("{octets} octets received"))
}

pub(super) fn bad_line(error: LineError) -> Reply {
    match error {
        LineError::TooLong => Reply::new(500, bad(5, 2), "Line too long"),
        LineError::Broken => Reply::new(
            500,
            bad(5, 2),
            "Lines end with CRLF, and this one has a bare CR, a bare LF or a NUL",
        ),
    }
}

pub(super) fn bad_command(error: CommandError) -> Reply {
    let (code, status) = match error {
        CommandError::Unknown => (500, bad(5, 2)),
        CommandError::NotImplemented => (502, bad(5, 1)),
        CommandError::Syntax(_) | CommandError::BadChunk => (501, bad(5, 4)),
        CommandError::Sender(_) => (501, bad(1, 7)),
        CommandError::Recipient(_) => (501, bad(1, 3)),
        CommandError::Param(ParamError::Bad) => (501, bad(5, 4)),
        CommandError::Param(ParamError::NotImplemented) => (504, bad(5, 4)),
        CommandError::Param(ParamError::Unknown) => (555, bad(5, 4)),
    };
    Reply::new(code, status, sentence(&error.to_string()))
}

pub(super) fn bad_xclient(error: XclientError) -> Reply {
    Reply::new(501, bad(5, 4), sentence(&error.to_string()))
}

pub(super) fn auth_not_offered() -> Reply {
    bad_command(CommandError::NotImplemented)
}

/// RFC 1870 §6.
pub(super) fn too_large(settings: &Settings) -> Reply {
    let text = format!("Message over {} octets", settings.size_max);
    Reply::new(552, bad(3, 4), text)
}

/// 554 rather than 550: it is the form of the message that fails, not a policy about it (RFC 5321 §4.2.4).
pub(super) fn bare_newline(line: u64) -> Reply {
    let text = format!("Lines end with CRLF, and line {line} of the message has a bare CR or LF");
    Reply::new(554, bad(6, 0), text)
}

fn sentence(text: &str) -> String {
    let mut chars = text.chars();
    let first = chars.next().map(|c| c.to_ascii_uppercase());
    first.into_iter().chain(chars).collect()
}

const LIMIT_MAX: usize = 999_999;
