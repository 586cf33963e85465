//! One whole notice of each kind, as it goes out. `BLESS=1 cargo test -p bounce` writes what is seen here anew.

use std::path::Path;

use bounce::Kind;

use crate::samples::Sample;

/// Compares with `samples/NAME.eml`, which has LF line ends so that diffs are readable.
#[track_caller]
#[expect(
    clippy::disallowed_methods,
    reason = "the crate is pure, its test reads samples"
)]
fn check(name: &str, sample: &Sample) {
    let text = sample.text();
    assert_eq!(text.matches('\n').count(), text.matches("\r\n").count());
    let text = text.replace("\r\n", "\n");
    let path = Path::new(env!("CARGO_MANIFEST_DIR"))
        .join("tests/notices")
        .join(name);
    if std::env::var("BLESS").is_ok() {
        std::fs::write(&path, &text).unwrap();
    }
    let expected = std::fs::read(&path).unwrap();
    assert_eq!(text, String::from_utf8(expected).unwrap(), "{name}");
}

#[test]
fn failed() {
    check("failed.eml", &Sample::new(Kind::Failed));
}

#[test]
fn delayed() {
    check("delayed.eml", &Sample::new(Kind::Delayed));
}

#[test]
fn relayed() {
    check("relayed.eml", &Sample::new(Kind::Relayed));
}

#[test]
fn international() {
    let mut sample = Sample::new(Kind::Failed);
    sample.message.smtputf8 = true;
    sample.legs[0].recipient = "jürgen@example.org".parse().unwrap();
    sample.mail = "Subject: Grüße\r\n\r\nHallo\r\n".into();
    check("international.eml", &sample);
}
