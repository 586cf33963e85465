//! dkimpy as the signer, and our verifier.

use authentic::{Key, Kind, Reader, Results, Spf, Verdict};
use dns::Fixed;
use serde_json::json;
use testkit::program;

/// Signs each body in each form with both algorithms, and seals each three times. Every message is printed as Latin-1.
const SIGN: &str = r#"
import base64, dkim, itertools, json, sys
given = json.load(sys.stdin)
rsa = given["rsa"].encode()
# dkimpy takes the seed alone: the last part of PKCS#8.
ed = base64.b64encode(base64.b64decode("".join(given["ed"].split("\n")[1:-2]))[16:48])
names = [b"from", b"to", b"subject", b"subject"]
def sign(message, forms, kind, key):
    return dkim.sign(message, kind + b"1", b"sender.test", key, canonicalize=forms, include_headers=names,
                     signature_algorithm=kind + b"-sha256") + message
def seal(message, cv):
    results = b"Authentication-Results: hop.test; arc=" + cv + b"\r\n"
    return b"".join(dkim.arc_sign(results + message, b"rsa1", b"sender.test", rsa, b"hop.test")) + message
signed, sealed = [], []
for body in given["bodies"]:
    message = (given["header"] + body).encode("latin-1")
    forms = [b"simple", b"relaxed"]
    for pair, (kind, key) in itertools.product(itertools.product(forms, forms), [(b"rsa", rsa), (b"ed25519", ed)]):
        signed.append(sign(message, pair, kind, key).decode("latin-1"))
    for cv in b"none", b"pass", b"pass":
        message = seal(message, cv)
    sealed.append(message.decode("latin-1"))
json.dump({"signed": signed, "sealed": sealed}, sys.stdout)
"#;

const HEADER: &str = "Received: from a\r\n\tby b; x\r\nFrom: Ann  <a@sender.test>\r\nTo: b@target.test,\r\n  c@target.test\r\nsubject:  two   words \r\nSubject:\r\n\r\n";

/// Odd ends and odd lines are where canonical forms go wrong. Blanks behind the last line end are left out: dkimpy keeps them in
/// the relaxed form, RFC 6376 §3.4.4 does not, and no DATA ends so.
const BODIES: [&str; 12] = [
    "",
    "\r\n",
    "\r\n\r\n",
    " \r\n",
    "a",
    "a\r\n",
    "a\r\n\r\n\r\n",
    "a\r\n \r\n\t\r\n",
    " a \t b \r\n \r\n\t\r\n",
    "x\r\n\r\n\ty",
    "\u{e4}\u{ff}\u{0} \r\n.\r\n..\r\n",
    "-- \r\n\r\n\r\n\r\nend  \r\n\r\n",
];

async fn verify(message: &str, zone: &Fixed) -> Results {
    let octets: Vec<u8> = message.chars().map(|c| c as u8).collect();
    let mut reader = Reader::default();
    reader.feed(&octets);
    let now = spool::Clock::real().now().unix_secs();
    reader.finish().verify(zone, Spf::Other, now).await
}

#[tokio::test]
#[ignore = "needs python3-dkim: ./test.sh installs and runs"]
async fn every_form_verifies() {
    let [(rsa, rsa_pem), (ed, ed_pem)] = [("rsa1", Kind::Rsa2048), ("ed255191", Kind::Ed25519)]
        .map(|(selector, kind)| {
            let name = |text: &str| text.parse().expect("a name");
            Key::generate(name("sender.test"), name(selector), kind).expect("a key")
        });
    let zone = [&rsa, &ed].into_iter().fold(Fixed::new(), |zone, key| {
        zone.with_txt(key.record_name(), key.record().expect("a record"))
    });
    let zone = zone.with_txt("_dmarc.sender.test", "v=DMARC1; p=reject");
    let given = json!({"rsa": rsa_pem, "ed": ed_pem, "header": HEADER, "bodies": BODIES});
    let made = program::run(
        "/usr/bin/python3",
        &["-c", SIGN],
        given.to_string().as_bytes(),
    )
    .await;
    let made: serde_json::Value = serde_json::from_str(&made.success().stdout).expect("JSON");
    let messages = |what: &str| -> Vec<String> {
        serde_json::from_value(made[what].clone()).expect("messages")
    };
    let signed = messages("signed");
    assert_eq!(signed.len(), BODIES.len() * 8);
    for message in signed {
        let results = verify(&message, &zone).await;
        assert_eq!(results.dkim[0].verdict, Verdict::Pass, "{message}");
        assert_eq!(results.dmarc.verdict, Verdict::Pass, "{message}");
        for changed in [
            message.clone() + "x",
            message.replace("two   words", "others"),
            message.replace("Ann  <", "Anne <"),
        ] {
            let results = verify(&changed, &zone).await;
            assert_eq!(results.dkim[0].verdict, Verdict::Fail, "{changed}");
            assert_eq!(results.dmarc.verdict, Verdict::Fail, "{changed}");
        }
    }
    for message in messages("sealed") {
        let arc = verify(&message, &zone).await.arc;
        assert_eq!((arc.verdict, arc.instance), (Verdict::Pass, 3), "{message}");
        let changed = verify(&message.replace("two   words", "others"), &zone)
            .await
            .arc;
        assert_eq!(changed.verdict, Verdict::Fail);
    }
}
