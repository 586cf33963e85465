//! The notices as Python's email package reads them.

use std::io::Write as _;
use std::process::{Command, Stdio};

use bounce::Kind;

use crate::samples::Sample;

/// Reads a notice from stdin, prints what matters of it; any defect that the parser notes is printed too.
const READ: &str = r#"
import email, email.policy, sys
m = email.message_from_binary_file(sys.stdin.buffer, policy=email.policy.default)
assert m.is_multipart() and m.get_content_type() == "multipart/report", m.get_content_type()
words, status, excerpt = m.get_payload()
print(m["From"], m["To"], m["Auto-Submitted"], sep=" | ")
print(words.get_content_type(), "alice@example.org" in words.get_content())
for group in status.get_payload():
    print(*(f"{k}={' '.join(v.split())}" for k, v in group.items() if k in ("Action", "Status", "Final-Recipient")), sep=" | ")
print(excerpt.get_content_type(), "Lunch" in excerpt.as_string())
print([d for part in m.walk() for d in part.defects])
"#;

#[track_caller]
#[expect(
    clippy::disallowed_methods,
    reason = "a test against a foreign program"
)]
fn check(sample: &Sample, expected: &str) {
    let mut python = Command::new("python3")
        .args(["-c", READ])
        .stdin(Stdio::piped())
        .stdout(Stdio::piped())
        .spawn()
        .unwrap();
    let bytes = sample.compose().unwrap().bytes;
    python.stdin.take().unwrap().write_all(&bytes).unwrap();
    let output = python.wait_with_output().unwrap();
    assert_eq!(String::from_utf8(output.stdout).unwrap(), expected);
}

#[test]
#[ignore = "needs python3; ./test.sh runs it"]
fn python_reads_every_kind() {
    let head = "Mail Delivery System <MAILER-DAEMON@mx1.example.net> | sender@origin.example | auto-replied\n\
                text/plain True\n\n";
    let rows = [
        (Kind::Failed, "failed", "5.1.1", "message/rfc822"),
        (Kind::Delayed, "delayed", "4.2.2", "text/rfc822-headers"),
        (Kind::Relayed, "relayed", "2.1.5", "text/rfc822-headers"),
    ];
    for (kind, action, status, excerpt) in rows {
        let fields = format!(
            "Final-Recipient=rfc822; alice@example.org | Action={action} | Status={status}\n"
        );
        check(
            &Sample::new(kind),
            &format!("{head}{fields}{excerpt} True\n[]\n"),
        );
    }
}
