//! The demo's story: one message through the relay, and the bounce that finds its way back.
//!
//! Every line printed is what was seen: addresses from the wire, bytes compared, times measured.

use std::net::SocketAddr;
use std::path::PathBuf;
use std::time::{Duration, Instant};

use envelope::{Mailbox, ReversePath};
use mail_parser::MessageParser;
use mail_send::SmtpClient;
use mail_send::smtp::message::Parameters;
use tokio::sync::mpsc::UnboundedReceiver;
use tokio::time::timeout;

use super::destination::Arrived;
use crate::Failure;
use crate::print::Printer;

/// Who listens where.
pub(super) struct Scene {
    pub(super) relay: SocketAddr,
    pub(super) destination: SocketAddr,
    pub(super) spool: PathBuf,
}

/// Tells it.
pub(super) async fn tell(
    scene: &Scene,
    arrivals: &mut UnboundedReceiver<Arrived>,
    print: Printer,
) -> Result<(), Failure> {
    print.line(format_args!(
        "Onward on {}, a destination on {}, the spool in {}",
        scene.relay,
        scene.destination,
        scene.spool.display()
    ));
    print.line(
        "\n1. bob@sender.example writes to alice@example.org. Their provider's MX is this relay.",
    );
    let start = Instant::now();
    let reply = send(scene.relay, SENDER, RECIPIENT, LETTER, print)
        .await
        .map_err(no_client)?;
    print.line(format_args!(
        "   <- {reply}   (on disk before this was said)"
    ));

    print.line("\n2. The forwards file says alice@mail.example.com. SRS rewrites the sender, so that SPF passes there.");
    let letter = wait_for("the delivery", arrivals).await?;
    show_envelope(scene.destination, &letter, print);
    show_letter(&letter, start.elapsed(), print);

    print.line("\n3. Later, mail.example.com finds the mailbox full and bounces, to the only sender it knows.");
    let srs_address = letter
        .envelope
        .reverse_path
        .mailbox()
        .map(Mailbox::to_string)
        .unwrap_or_default();
    let reply = send(scene.relay, "", &srs_address, BOUNCE, print)
        .await
        .map_err(no_client)?;
    print.line(format_args!(
        "   <- {reply}   (the tag is ours, and in time)"
    ));

    print.line(
        "\n4. The relay takes the address apart and sends the bounce to the original sender.",
    );
    let bounce = wait_for("the bounce", arrivals).await?;
    show_envelope(scene.destination, &bounce, print);
    print.line(format_args!("   <- delivered: {}", subject(&bounce.bytes)));
    Ok(())
}

/// What else there is to try.
pub(super) fn invite(scene: &Scene, print: Printer) {
    let server = scene.relay;
    let from = "--from you@sender.example";
    print.line(format_args!(
        "\nThe relay runs on; Ctrl-C ends it. In another terminal, try (Debian: apt install swaks):\n\
         \n  swaks --server {server} {from} --to alice@example.org    # forwarded\
         \n  swaks --server {server} {from} --to team@example.org     # two targets, one body\
         \n  swaks --server {server} {from} --to full@example.org     # 552 over there: you get a bounce\
         \n  swaks --server {server} {from} --to busy@example.org     # 451 over there: tried again in 10 s\
         \n  swaks --server {server} {from} --to old@example.org      # refused, as the forwards file says\
         \n  swaks --server {server} {from} --to x@elsewhere.example  # refused: no open relay\
         \n\nEach message that passes:"
    ));
}

/// One message at the destination, in two lines.
pub(super) fn show_arrived(arrived: &Arrived, print: Printer) {
    let recipients: Vec<_> = arrived
        .envelope
        .recipients
        .iter()
        .map(|r| r.forward_path.to_string())
        .collect();
    print.line(format_args!(
        "    destination got: MAIL FROM:{} RCPT TO:{} {} octets, subject \"{}\"",
        arrived.envelope.reverse_path,
        recipients.join(","),
        arrived.bytes.len(),
        subject(&arrived.bytes)
    ));
}

fn show_envelope(server: SocketAddr, arrived: &Arrived, print: Printer) {
    let recipients = arrived.envelope.recipients.iter();
    let recipients = recipients.map(|recipient| recipient.forward_path.to_string());
    show_commands(server, &arrived.envelope.reverse_path, recipients, print);
}

/// MAIL and RCPT as they go to a server, one below the other.
fn show_commands(
    server: SocketAddr,
    sender: &ReversePath,
    recipients: impl IntoIterator<Item = String>,
    print: Printer,
) {
    let server = server.to_string();
    print.line(format_args!("   -> {server}  MAIL FROM:{sender}"));
    for recipient in recipients {
        let indent = server.len();
        print.line(format_args!("      {:indent$}  RCPT TO:{recipient}", ""));
    }
}

/// The trace headers on top, and whether what is below them is what was sent.
fn show_letter(arrived: &Arrived, took: Duration, print: Printer) {
    let bytes = &arrived.bytes;
    let same = bytes.ends_with(LETTER.as_bytes());
    let verdict = if same {
        "not a byte changed below"
    } else {
        "CHANGED below"
    };
    print.line(format_args!(
        "   <- delivered {} octets in {} ms; {verdict} these headers:",
        bytes.len(),
        took.as_millis()
    ));
    let on_top = bytes
        .len()
        .saturating_sub(if same { LETTER.len() } else { 0 });
    String::from_utf8_lossy(&bytes[..on_top])
        .lines()
        .for_each(|line| print.line(format_args!("      {line}")));
}

fn subject(bytes: &[u8]) -> String {
    let parsed = MessageParser::default().parse_headers(bytes);
    let subject = parsed
        .as_ref()
        .and_then(|message| message.subject())
        .unwrap_or("(no subject)");
    subject.replace(char::is_control, " ")
}

/// Sends with a client that is not ours, showing the envelope; gives the reply to the data.
async fn send(
    to: SocketAddr,
    from: &str,
    recipient: &str,
    letter: &str,
    print: Printer,
) -> Result<String, mail_send::Error> {
    let none = Parameters::new();
    let sender = from.parse().map_or(ReversePath::Null, ReversePath::Mailbox);
    show_commands(to, &sender, [format!("<{recipient}>")], print);
    let mut client = SmtpClient::connect(to, PATIENCE).await?;
    client.read().await?;
    client.ehlo("client.example").await?;
    client.mail_from(from, &none).await?;
    client.rcpt_to(recipient, &none).await?;
    // mail-send ends every letter with a CRLF of its own.
    let reply = client.data(letter.trim_end().as_bytes()).await?;
    client.quit().await?;
    let [class, subject, detail] = reply.esc;
    Ok(format!(
        "{} {class}.{subject}.{detail} {}",
        reply.code(),
        reply.message()
    ))
}

fn no_client(error: mail_send::Error) -> String {
    format!("the demo's mail client: {error}")
}

async fn wait_for(
    what: &'static str,
    arrivals: &mut UnboundedReceiver<Arrived>,
) -> Result<Arrived, Failure> {
    let arrived = timeout(PATIENCE, arrivals.recv()).await.ok().flatten();
    let secs = PATIENCE.as_secs();
    let late = "the events above say how far it came";
    Ok(arrived.ok_or_else(|| format!("{what} did not happen within {secs} seconds; {late}"))?)
}

const PATIENCE: Duration = Duration::from_secs(10);
const SENDER: &str = "bob@sender.example";
const RECIPIENT: &str = "alice@example.org";
const LETTER: &str = "From: Bob <bob@sender.example>\r\n\
    To: Alice <alice@example.org>\r\n\
    Subject: Lunch on Friday?\r\n\
    Message-ID: <demo-1@sender.example>\r\n\
    \r\n\
    The place by the river, at noon.\r\n";
const BOUNCE: &str = "From: MAILER-DAEMON@mail.example.com\r\n\
    Subject: Undelivered Mail Returned to Sender\r\n\
    Auto-Submitted: auto-replied\r\n\
    \r\n\
    552 5.2.2 alice's mailbox is full\r\n";
