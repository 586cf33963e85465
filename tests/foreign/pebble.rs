//! pebble, the ACME server that Let's Encrypt gives those who write clients: it refuses nonces at random, and follows the RFC to the letter.

use testkit::net::Net;
use testkit::program;
use testkit::tls::Identity;

use testkit::program::free;

use crate::flow::acme::{asking_at, shown};

async fn issues(by: &str, port: &str) {
    let (net, at, listen) = (Net::new().await, free(), free());
    net.publish("fwd.test", at);
    net.publish("b.fwd.test", at);
    let folder = tempfile::tempdir().expect("a temporary folder");
    let path = |name: &str| folder.path().join(name).display().to_string();
    let identity = Identity::new("127.0.0.1");
    std::fs::write(path("cert.pem"), &identity.certificate_pem).expect("a temporary folder");
    std::fs::write(path("key.pem"), &identity.key_pem).expect("a temporary folder");
    let config = format!(
        r#"{{"pebble": {{"listenAddress": "{listen}", "certificate": "{}", "privateKey": "{}", "{port}": {}}}}}"#,
        path("cert.pem"),
        path("key.pem"),
        at.port()
    );
    std::fs::write(path("config.json"), config).expect("a temporary folder");
    let _pebble = program::start(
        "/usr/bin/env",
        &[
            "PEBBLE_VA_NOSLEEP=1",
            "PEBBLE_WFE_NONCEREJECT=3",
            "pebble",
            "-strict",
            "-config",
            &path("config.json"),
            "-dnsserver",
            &net.dns.address().to_string(),
        ],
    );
    while std::net::TcpStream::connect(listen).is_err() {
        tokio::task::yield_now().await;
    }
    let directory = format!("https://{listen}/dir");
    let setup = asking_at(&net, &identity.certificate_pem, &directory, by, at);
    let names = "[\"mx.fwd.test\", \"mx.b.fwd.test\"]";
    let relay = setup.set("tls.acme.domains", names).start().await;
    relay.wait_for("certificate-issued").await;
    let (issuer, _) = shown(&relay, "mx.b.fwd.test").await;
    assert!(issuer.contains("Pebble Intermediate CA"), "{issuer}");
}

#[tokio::test]
#[ignore = "needs pebble: ./test.sh installs and runs"]
async fn issues_by_http() {
    issues("http", "httpPort").await;
}

#[tokio::test]
#[ignore = "needs pebble: ./test.sh installs and runs"]
async fn issues_by_tls_alpn() {
    issues("tls_alpn", "tlsPort").await;
}
