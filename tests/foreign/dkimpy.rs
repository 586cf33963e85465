//! dkimpy as the verifier of our signatures and ARC sets, and as a hop between them.

use authentic::{Chain, Checked, Key, Kind, Parsed, Reader, Verdict, seal, sign};
use serde_json::json;
use testkit::program;

/// Python's verdict on each message: `DKIM ARC SETS`.
const VERIFY: &str = r#"
import dkim, json, sys
for case in json.load(sys.stdin):
    records = {name + ".": record.encode() for name, record in case["records"].items()}
    ask = lambda name, timeout=5: records.get(name.decode() if isinstance(name, bytes) else name)
    message = case["message"].encode()
    good = dkim.verify(message, dnsfunc=ask)
    cv, sets, reason = dkim.arc_verify(message, dnsfunc=ask)
    print(good, cv.decode(), len(sets))
"#;

/// Another relay's ARC set: for a chain that holds, or for the first one.
const SEAL: &str = r#"
import dkim, sys
key, cv = sys.argv[1].encode(), sys.argv[2].encode()
# It takes an older field of the same name for one more result of its own.
name = cv + b".hop.test"
message = b"Authentication-Results: " + name + b"; arc=" + cv + b"\r\n" + sys.stdin.buffer.read()
sys.stdout.buffer.write(b"".join(dkim.arc_sign(message, b"s1", b"hop.test", key, name)) + message)
"#;

/// Debian's Python, which has Debian's dkimpy.
const PYTHON: &str = "/usr/bin/python3";

/// Odd ends of bodies are where canonical forms go wrong.
const BODIES: [&str; 10] = [
    "",
    "\r\n",
    "\r\n\r\n",
    "a",
    "a\r\n",
    "a\r\n\r\n\r\n",
    "a \t b \r\n \r\n\t\r\n",
    " \r\n",
    "x\r\n\r\n\ty",
    "Grüße \r\n.\r\n..\r\n",
];

fn key(domain: &str, kind: Kind) -> (Key, String) {
    let (domain, selector) = (
        domain.parse().expect("a domain"),
        "s1".parse().expect("a name"),
    );
    Key::generate(domain, selector, kind).expect("a key")
}

fn read(message: &str) -> Parsed {
    let mut reader = Reader::signing();
    reader.feed(message.as_bytes());
    reader.finish()
}

fn message(body: &str) -> String {
    format!(
        "Received: from a\r\n\tby b; x\r\nFrom: =?utf-8?q?J=C3=B6rg?=  <a@sender.test>\r\nTo: b@target.test,\r\n  c@target.test\r\nsubject:  two   words \r\nSubject:\r\n\r\n{body}"
    )
}

fn now() -> u64 {
    spool::Clock::real().now().unix_secs()
}

fn sealed(key: &Key, message: &str, verdict: Verdict, instance: u8) -> Option<String> {
    let chain = Chain {
        verdict,
        reason: "",
        instance,
        domain: None,
        is_closed: false,
    };
    let hostname = "mx.fwd.test".parse().expect("a domain");
    let spf = Checked::new("spf", "pass").with("smtp.mailfrom", "a@sender.test");
    let arc = Checked::new("arc", verdict.name());
    let set = seal(key, &read(message), &chain, &hostname, &[spf, arc], now())?;
    Some(set + message)
}

/// The verdict on each of these, which must all be this.
async fn verified(keys: &[&Key], messages: &[String], expected: &str) {
    let records = keys.iter().map(|key| (key.record_name(), key.record()));
    let records: std::collections::HashMap<_, _> = records.collect();
    let case = |message| json!({"message": message, "records": records});
    let cases = messages
        .iter()
        .map(case)
        .collect::<serde_json::Value>()
        .to_string();
    let said = program::run(PYTHON, &["-c", VERIFY], cases.as_bytes()).await;
    let said = said.success().stdout;
    let lines: Vec<_> = said.lines().collect();
    assert_eq!(lines, vec![expected; messages.len()]);
}

#[tokio::test]
#[ignore = "needs python3-dkim: ./test.sh installs and runs"]
async fn signatures_verify() {
    for kind in [Kind::Rsa2048, Kind::Ed25519] {
        let (key, _) = key("fwd.test", kind);
        let signed = BODIES.map(|body| {
            let message = message(body);
            sign(&key, &read(&message), now()).expect("a signature") + &message
        });
        verified(&[&key], &signed, "True none 0").await;
        let added = signed.map(|signed| format!("Subject: another\r\n{signed}"));
        verified(&[&key], &added, "False none 0").await;
    }
}

#[tokio::test]
#[ignore = "needs python3-dkim: ./test.sh installs and runs"]
async fn three_hops_seal() {
    let (key, _) = key("fwd.test", Kind::Rsa2048);
    let sealed = BODIES.map(|body| {
        let first = sealed(&key, &message(body), Verdict::None, 0).expect("a set");
        let second = sealed(&key, &format!("Received: x\r\n{first}"), Verdict::Pass, 1);
        sealed(&key, &second.expect("a set"), Verdict::Pass, 2).expect("a set")
    });
    verified(&[&key], &sealed, "False pass 3").await;
    let changed = sealed.map(|sealed| sealed + "more\r\n");
    verified(&[&key], &changed, "False fail 3").await;
}

#[tokio::test]
#[ignore = "needs python3-dkim: ./test.sh installs and runs"]
async fn a_foreign_hop_seals_between_ours() {
    let (ours, _) = key("fwd.test", Kind::Rsa2048);
    let (theirs, pem) = key("hop.test", Kind::Rsa2048);
    let foreign = async |message: &str, cv: &str| {
        let arguments = ["-c", SEAL, &*pem, cv];
        let hop = program::run(PYTHON, &arguments, message.as_bytes());
        hop.await.success().stdout
    };
    let keys = [&ours, &theirs];
    let first = foreign(&message("a\r\n"), "none").await;
    let second = sealed(&ours, &first, Verdict::Pass, 1).expect("a set");
    let third = foreign(&second, "pass").await;
    let fourth = sealed(&ours, &third, Verdict::Pass, 3).expect("a set");
    verified(&keys, &[first], "False pass 1").await;
    verified(&keys, &[second], "False pass 2").await;
    verified(&keys, &[third], "False pass 3").await;
    verified(&keys, std::slice::from_ref(&fourth), "False pass 4").await;
    // What a hop behind has broken is not sealed over, and no new chain begins.
    let broken = fourth.replace("two   words", "others");
    verified(&keys, std::slice::from_ref(&broken), "False fail 4").await;
    for (verdict, instance) in [(Verdict::Fail, 4), (Verdict::None, 0)] {
        assert_eq!(sealed(&ours, &broken, verdict, instance), None);
    }
}
