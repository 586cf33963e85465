//! `[tls] acme`: from no certificate to the next one, with a server that means well, and with one that does not.

use std::net::{SocketAddr, TcpListener};
use std::time::Duration;

use testkit::acme::{Acme, Mood, refusal};
use testkit::daemon::{Relay, Setup};
use testkit::net::Net;
use testkit::program::free;
use testkit::sender::Plain;
use testkit::tls::Identity;
use x509_parser::parse_x509_certificate;

use crate::{origin_sends, relay};

const FORWARDS: &str = "alice@example.test alice@target.test\n";
const NAME: &str = "mx.fwd.test";

/// A relay that asks this server, and answers `by` one way there.
fn asking(net: &Net, server: &Acme, by: &str, at: SocketAddr) -> Setup {
    asking_at(net, server.root_pem(), &server.directory(), by, at)
}

/// The same of the server with this directory, which shows a certificate by that root.
pub(crate) fn asking_at(net: &Net, root: &str, directory: &str, by: &str, at: SocketAddr) -> Setup {
    let setup = relay(net, FORWARDS);
    setup.write("root.pem", root);
    setup
        .set("delivery.ca", "\"root.pem\"")
        .set("tls.acme.terms_agreed", "true")
        .set("tls.acme.contact", "\"you@example.test\"")
        .set("tls.acme.directory", &format!("\"{directory}\""))
        .set(&format!("tls.acme.{by}"), &format!("\"{at}\""))
}

/// Who has signed what is shown, and the key in it.
pub(crate) async fn shown(relay: &Relay, name: &str) -> (String, Vec<u8>) {
    let der = Plain::hello(relay.address()).await.certificate(name).await;
    let (_, parsed) = parse_x509_certificate(&der).expect("a certificate");
    let key = parsed.public_key().raw.to_vec();
    (parsed.issuer().to_string(), key)
}

const CA: &str = "CN=rcgen self signed cert";
const ITSELF: &str = "CN=mx.fwd.test";

#[tokio::test]
async fn from_none_to_the_next_without_a_refused_connection() {
    let (net, at) = (Net::new().await, free());
    let sink = net.sink("target.test", "").await;
    let server = Acme::start(at).await;
    server.issues_for(Duration::from_secs(9), None);
    let relay = asking(&net, &server, "http", at).start().await;
    let issued = relay
        .wait_for("certificate-issued domains=mx.fwd.test")
        .await;
    let (issuer, key) = shown(&relay, NAME).await;
    assert_eq!(issuer, CA);
    // Nobody listens there but during an order.
    assert!(TcpListener::bind(at).is_ok());
    let status = relay.run_json(&["status"]).await;
    assert_eq!(
        status["issuing"]["expires"],
        issued.text("expires"),
        "{status}"
    );
    let mut connections = 0;
    while relay.count("certificate-issued") < 2 {
        let (issuer, same) = shown(&relay, NAME).await;
        assert_eq!((issuer.as_str(), &same), (CA, &key));
        connections += 1;
        assert!(connections < 10_000, "no renewal");
    }
    origin_sends(&relay, "alice@example.test", "one").await;
    assert!(!sink.message().await.data.is_empty());
    // It is kept: a restart asks nobody, and has it at once.
    server.issues_for(Duration::from_hours(24), None);
    relay.wait_for_count(3, "certificate-issued").await;
    let (setup, issued) = (relay.stop().await, server.issued());
    let relay = setup.start().await;
    assert_eq!(shown(&relay, NAME).await, (CA.to_owned(), key));
    let doctor = relay.setup().run(&["doctor"]).await.stdout;
    assert!(
        doctor.contains("the next certificate is asked for at "),
        "{doctor}"
    );
    assert_eq!(server.issued(), issued);
    let checked = relay.setup().run(&["check"]).await.stdout;
    assert!(checked.contains("the last one holds until "), "{checked}");
}

#[tokio::test]
async fn two_names_by_tls_and_a_file_first() {
    let (net, at) = (Net::new().await, free());
    let server = Acme::start(at).await;
    let setup = asking(&net, &server, "tls_alpn", at)
        .set("tls.acme.domains", "[\"mx.fwd.test\", \"smtp.fwd.test\"]")
        .set("tls.certificate", "\"cert.pem\"")
        .set("tls.key", "\"key.pem\"");
    let identity = Identity::new("smtp.fwd.test");
    setup.write("cert.pem", &identity.certificate_pem);
    setup.write_private("key.pem", &identity.key_pem);
    let relay = setup.start().await;
    relay
        .wait_for("certificate-issued domains=mx.fwd.test,smtp.fwd.test")
        .await;
    let (_, issued) = shown(&relay, "mx.fwd.test").await;
    let (_, of_file) = shown(&relay, "smtp.fwd.test").await;
    assert_ne!(issued, of_file);
    // The files are read again, and what was issued stays.
    let other = Identity::new("smtp.fwd.test");
    relay.setup().write("cert.pem", &other.certificate_pem);
    relay.setup().write_private("key.pem", &other.key_pem);
    let said = relay.run(&["reload"]).await;
    assert!(said.contains("certificates: 1"), "{said}");
    assert_eq!(shown(&relay, "mx.fwd.test").await.1, issued);
    assert_ne!(shown(&relay, "smtp.fwd.test").await.1, of_file);
    // Who asks for it does not change before a restart, and that is said.
    let config = std::fs::read_to_string(relay.setup().path("onward.toml")).expect("a file");
    let config = config.replace("\"mx.fwd.test\", \"smtp.fwd.test\"", "\"mx.fwd.test\"");
    relay.setup().write("onward.toml", &config);
    relay.reload();
    relay
        .wait_for("reloaded needs_restart=tls.acme.domains")
        .await;
}

/// Of two for one name the one that is valid is shown; then the one that ends later.
#[tokio::test]
async fn a_file_that_has_expired_gives_way() {
    let (net, at) = (Net::new().await, free());
    let server = Acme::start(at).await;
    let setup = asking(&net, &server, "http", at)
        .set("tls.certificate", "\"cert.pem\"")
        .set("tls.key", "\"key.pem\"");
    let expired = Identity::expired(NAME);
    setup.write("cert.pem", &expired.certificate_pem);
    setup.write_private("key.pem", &expired.key_pem);
    let relay = setup.start().await;
    relay.wait_for("certificate-issued").await;
    let key = |of: &Identity| {
        let der = of.der();
        let (_, parsed) = parse_x509_certificate(&der).expect("a certificate");
        parsed.public_key().raw.to_vec()
    };
    assert_ne!(shown(&relay, NAME).await.1, key(&expired));
    for words in [["check"], ["doctor"]] {
        let said = relay.setup().run(&words).await.stdout;
        assert!(said.contains("has expired"), "{said}");
    }
    let longer = Identity::new(NAME);
    relay.setup().write("cert.pem", &longer.certificate_pem);
    relay.setup().write_private("key.pem", &longer.key_pem);
    relay.run(&["reload"]).await;
    assert_eq!(shown(&relay, NAME).await.1, key(&longer));
}

/// What is wrong with the folder keeps no mail from coming, and is said; nobody is asked for what could not be kept.
#[tokio::test]
async fn a_folder_that_cannot_be_used_stops_no_mail() {
    let (net, at) = (Net::new().await, free());
    let sink = net.sink("target.test", "").await;
    let server = Acme::start(at).await;
    let setup = asking(&net, &server, "http", at);
    std::fs::create_dir_all(setup.path("spool")).unwrap();
    setup.write("spool/acme", "a file");
    let relay = setup.start().await;
    let failed = relay.wait_for("certificate-failed").await;
    assert!(failed.text("error").contains("spool/acme"), "{failed:?}");
    origin_sends(&relay, "alice@example.test", "one").await;
    sink.message().await;
    assert_eq!(shown(&relay, NAME).await.0, ITSELF);
    for (words, expected) in [(["check"], "risk acme"), (["doctor"], "no certificate: ")] {
        let said = relay.setup().run(&words).await.stdout;
        assert!(said.contains(expected), "{said}");
    }
    let status = relay.run_json(&["status"]).await;
    assert_eq!(status["events"]["certificate-failed"], 1, "{status}");
    assert_eq!(server.issued(), 0);
    // What is damaged is made anew.
    let setup = relay.stop().await;
    std::fs::remove_file(setup.path("spool/acme")).unwrap();
    std::fs::create_dir(setup.path("spool/acme")).unwrap();
    for file in ["key.pem", "account", "pem"] {
        let server = server.directory().replace("https://", "");
        let server = server.replace([':', '/'], "_");
        let name = match file {
            "key.pem" => file.to_owned(),
            kind => format!("{server}.{kind}"),
        };
        std::fs::write(setup.path("spool/acme").join(name), b"\xff\xfe").unwrap();
    }
    let relay = setup.start().await;
    relay.wait_for("certificate-issued").await;
    assert_eq!(shown(&relay, NAME).await.0, CA);
}

/// A server that was set up anew: the account is made again, and the key stays.
#[tokio::test]
async fn a_server_that_has_forgotten_us() {
    let (net, at) = (Net::new().await, free());
    let server = Acme::start(at).await;
    let setup = asking(&net, &server, "http", at);
    let relay = setup.start().await;
    relay.wait_for("certificate-issued").await;
    let (_, key) = shown(&relay, NAME).await;
    let setup = relay.stop().await;
    server.forgets();
    let relay = setup
        .set("tls.acme.domains", "[\"mx.fwd.test\", \"b.fwd.test\"]")
        .start()
        .await;
    let failed = relay.wait_for("certificate-failed").await;
    assert!(failed.text("error").contains("accountDoesNotExist"));
    assert!(!failed.text("expires").is_empty(), "the old one is shown");
    let relay = relay.stop().await.start().await;
    relay
        .wait_for("certificate-issued domains=b.fwd.test")
        .await;
    assert_eq!(shown(&relay, "b.fwd.test").await, (CA.to_owned(), key));
}

/// The server suggests when to renew (RFC 9773), and is told what is replaced.
#[tokio::test]
async fn renewed_when_the_server_suggests_it() {
    let (net, at) = (Net::new().await, free());
    let server = Acme::start(at).await;
    let window = Some((Duration::ZERO, Duration::from_millis(1)));
    server.issues_for(Duration::from_secs(20), window);
    let relay = asking(&net, &server, "http", at).start().await;
    let first = relay.wait_for("certificate-issued").await;
    relay.wait_for_count(2, "certificate-issued").await;
    assert_eq!(server.replaced(), 1);
    let status = relay.run_json(&["status"]).await;
    assert!(
        status["now"].as_str() < Some(&first.text("expires")),
        "{status}"
    );
}

/// What the server does, and what is said of it; mail goes on.
async fn bad_day(
    mood: Mood,
    at: SocketAddr,
    looks_at: SocketAddr,
    expected: &str,
) -> (Setup, Acme) {
    let net = Net::new().await;
    let sink = net.sink("target.test", "").await;
    let server = Acme::start(looks_at).await;
    server.is(mood);
    let relay = asking(&net, &server, "http", at).start().await;
    let failed = relay.wait_for("certificate-failed").await;
    assert!(failed.text("error").contains(expected), "{failed:?}");
    let (issuer, _) = shown(&relay, NAME).await;
    assert_eq!(issuer, ITSELF);
    origin_sends(&relay, "alice@example.test", "one").await;
    assert!(!sink.message().await.data.is_empty());
    let monitored = relay
        .setup()
        .run(&["status", "--check", "acme-failed<1"])
        .await;
    assert_eq!(monitored.code, Some(2), "{monitored}");
    let status = relay.run(&["status"]).await;
    assert!(status.contains(expected), "{status}");
    let doctor = relay.setup().run(&["doctor"]).await;
    let said = format!("no certificate: {}", failed.text("error"));
    assert!(
        doctor
            .stdout
            .contains(said.lines().next().unwrap_or_default()),
        "{doctor}"
    );
    (relay.stop().await, server)
}

#[tokio::test]
async fn a_server_that_refuses_is_left_alone_as_long_as_it_says() {
    let limited = refusal("429 Too Many Requests", "rateLimited", "Retry-After: 7200");
    let (setup, server) = bad_day(limited, free(), free(), "rateLimited").await;
    // Also by the next process.
    server.is(Mood::Well);
    let asked = server.asked().len();
    let relay = setup.start().await;
    let status = relay.run_json(&["status"]).await;
    let next = status["issuing"]["next"].as_str().expect("a time");
    let hour = |text: &str| text[11..13].parse::<u32>().expect("an hour");
    let now = status["now"].as_str().expect("a time");
    assert!(
        (1..=2).contains(&((24 + hour(next) - hour(now)) % 24)),
        "{status}"
    );
    assert_eq!(server.asked().len(), asked);
}

#[tokio::test]
async fn rubbish_is_not_shown() {
    let at = free();
    let html = "HTTP/1.1 200 OK\r\nContent-Length: 6\r\nConnection: close\r\n\r\n<html>";
    bad_day(Mood::Says(html.to_owned()), at, at, "JSON").await;
    let error = "HTTP/1.1 502 Bad Gateway\r\nContent-Length: 0\r\nConnection: close\r\n\r\n";
    bad_day(Mood::Says(error.to_owned()), at, at, "502 Bad Gateway").await;
    let issues = |text: &str| Mood::Issues(text.to_owned());
    bad_day(issues("<html>"), at, at, "cannot be read").await;
    let other = Identity::new("other.test").certificate_pem;
    bad_day(issues(&other), at, at, "is not for mx.fwd.test").await;
    let foreign = Identity::new(NAME).certificate_pem;
    bad_day(issues(&foreign), at, at, "does not match").await;
    let expired = Identity::expired(NAME).certificate_pem;
    bad_day(issues(&expired), at, at, "expired").await;
}

#[tokio::test]
async fn a_proof_that_nobody_can_see() {
    let expected = "mx.fwd.test is not proved to be ours";
    bad_day(Mood::Well, free(), free(), expected).await;
    let taken = TcpListener::bind("127.0.0.1:0").expect("loopback");
    let at = taken.local_addr().expect("an address");
    bad_day(Mood::Well, at, at, &format!("cannot listen on {at}")).await;
}

#[tokio::test]
async fn a_server_that_hangs_keeps_nobody_waiting() {
    let (net, at) = (Net::new().await, free());
    let sink = net.sink("target.test", "").await;
    let server = Acme::start(at).await;
    server.is(Mood::Hangs);
    let relay = asking(&net, &server, "http", at).start().await;
    while server.asked().is_empty() {
        tokio::task::yield_now().await;
    }
    assert_eq!(shown(&relay, NAME).await.0, ITSELF);
    origin_sends(&relay, "alice@example.test", "one").await;
    assert!(!sink.message().await.data.is_empty());
    // And a stop does not wait for it.
    relay.stop().await;
}
