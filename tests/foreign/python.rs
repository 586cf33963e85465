//! Python's smtplib as the sender, and Python's email package as the reader of our DSNs.

use testkit::net::Net;
use testkit::program;

use crate::relay;

const SEND: &str = r#"
import smtplib, sys
from email.message import EmailMessage
host, port = sys.argv[1].rsplit(":", 1)
with smtplib.SMTP(host, int(port), local_hostname="python.test") as smtp:
    smtp.ehlo()
    for name in ("size", "8bitmime", "pipelining", "dsn", "smtputf8", "chunking", "enhancedstatuscodes"):
        assert smtp.has_extn(name), name
    text = EmailMessage()
    text["From"], text["To"], text["Subject"] = "origin@sender.test", "alice@example.test", "Grüße"
    text.set_content("ä" * 200 + "\n.\n..\n", cte="8bit")
    refused = smtp.send_message(text, "origin@sender.test", ["alice@example.test", "nobody@example.test"],
                                mail_options=["BODY=8BITMIME"], rcpt_options=["NOTIFY=FAILURE"])
    assert list(refused) == ["nobody@example.test"] and refused["nobody@example.test"][0] == 550, refused
    assert smtp.verify("alice@example.test")[0] == 252
    smtp.sendmail("jörg@sender.test", ["ülf@example.test"], b"Subject: utf8\r\n\r\nhello\r\n", ["SMTPUTF8"])
"#;

const READ: &str = r#"
import email, email.policy, sys
dsn = email.message_from_bytes(sys.stdin.buffer.read(), policy=email.policy.default)
assert dsn.get_content_type() == "multipart/report", dsn.get_content_type()
assert dsn.get_param("report-type") == "delivery-status"
text, status, original = dsn.iter_parts()
assert not dsn.defects and not text.defects and not original.defects
message, recipient = status.get_payload()
assert message["Reporting-MTA"] == "dns; mx.fwd.test", message["Reporting-MTA"]
assert recipient["Final-Recipient"] == "rfc822; alice@example.test", recipient["Final-Recipient"]
assert recipient["Action"] == "failed" and recipient["Status"] == "5.2.2"
inner = original.get_payload(0) if original.is_multipart() else email.message_from_string(original.get_content(), policy=email.policy.default)
assert inner["Subject"] == "Grüße", inner["Subject"]
print(text.get_content())
"#;

#[tokio::test]
#[ignore = "needs python3: ./test.sh installs and runs"]
async fn smtplib_sends_and_email_reads_the_dsn() {
    let net = Net::new().await;
    let target = net.sink("target.test", "").await;
    let origin = net.sink("sender.test", "").await;
    let forwards = "alice@example.test alice@target.test\nülf@example.test ülf@target.test\n";
    let relay = relay(&net, forwards).start().await;
    let server = relay.address().to_string();
    program::run("python3", &["-c", SEND, &server], b"")
        .await
        .success();
    let got = target.messages(2).await;
    let alice = got
        .iter()
        .find(|got| got.to() == ["alice@target.test"])
        .expect("alice's");
    assert!(
        alice
            .text()
            .contains(&format!("{}\r\n.\r\n..\r\n", "ä".repeat(200))),
        "{}",
        alice.text()
    );
    assert!(alice.from_parameters.contains(&"BODY=8BITMIME".to_owned()));

    target.script("rcpt: 552 5.2.2 mailbox full");
    program::run("python3", &["-c", SEND, &server], b"")
        .await
        .success();
    let dsns = origin.messages(2).await;
    let dsn = dsns
        .iter()
        .find(|got| got.to() == ["origin@sender.test"])
        .expect("origin's");
    program::run("python3", &["-c", READ], &dsn.data)
        .await
        .success();
}
