//! PROXY headers tell who the client is, and are required where they are allowed.

use testkit::net::Net;
use testkit::sender::Plain;

use crate::relay;

const FORWARDS: &str = "alice@example.test alice@target.test\n";

#[tokio::test]
async fn proxy_header_tells_the_client() {
    let net = Net::new().await;
    let table = "bind = \"127.0.0.1:0\"\nproxy_protocol_from = [\"127.0.0.0/8\"]";
    let relay = relay(&net, FORWARDS).listener(table).start().await;
    let v1 = b"PROXY TCP4 192.0.2.7 198.51.100.1 4711 25\r\n".to_vec();
    let mut v2 = b"\r\n\r\n\0\r\nQUIT\n\x21\x21\0\x24".to_vec();
    v2.extend_from_slice(&[0x20, 0x01, 0x0d, 0xb8, 0, 0, 0, 0, 0, 0, 0, 0, 0, 0, 0, 7]);
    v2.extend_from_slice(&[0x20, 0x01, 0x0d, 0xb8, 0, 0, 0, 0, 0, 0, 0, 0, 0, 0, 0, 1]);
    v2.extend_from_slice(&[0x12, 0x67, 0, 25]);
    for (header, client) in [(v1, "192.0.2.7:4711"), (v2, "[2001:db8::7]:4711")] {
        let mut plain = Plain::connect_silently(relay.address()).await;
        plain.raw(&header).await;
        assert!(plain.reply().await.starts_with("220 "));
        plain.expect("EHLO client.test", "250").await;
        plain.expect("MAIL FROM:<origin@sender.test>", "250").await;
        plain
            .expect("RCPT TO:<x@elsewhere.test>", "550 5.7.1")
            .await;
        relay.wait_for(&format!("refused client={client}")).await;
    }
    let mut without = Plain::connect_silently(relay.address()).await;
    without.raw(b"EHLO client.test\r\n").await;
    let answer = without.reply().await;
    assert!(!answer.starts_with("2"), "a header is required: {answer}");
}
