//! XCLIENT: a listed proxy names the client, which is judged, logged and trusted as if it had come itself.

use testkit::net::Net;
use testkit::sender::Plain;

use crate::relay;

const FORWARDS: &str = "alice@example.test alice@target.test\n";

#[tokio::test]
async fn a_listed_proxy_names_the_client() {
    let net = Net::new().await;
    let table = "bind = \"127.0.0.1:0\"\nxclient_from = [\"127.0.0.0/8\"]";
    let relay = relay(&net, FORWARDS)
        .set("policy.trusted", "[\"198.51.100.7\"]")
        .listener(table)
        .start()
        .await;
    let (mut plain, _) = Plain::connect(relay.address()).await;
    for (address, client, reply) in [
        ("192.0.2.7", "192.0.2.7:4711", "550 5.7.1"),
        ("IPV6:2001:db8::7", "[2001:db8::7]:4711", "550 5.7.1"),
        // That is what listing means.
        ("198.51.100.7", "", "250"),
        ("192.0.2.7", "", "550 5.7.1"),
    ] {
        let xclient = format!("XCLIENT ADDR={address} PORT=4711 NAME=[UNAVAILABLE]");
        plain.expect(&xclient, "220").await;
        plain.expect("EHLO client.test", "250").await;
        plain.expect("MAIL FROM:<origin@sender.test>", "250").await;
        plain.expect("RCPT TO:<x@elsewhere.test>", reply).await;
        plain.expect("XCLIENT ADDR=192.0.2.8", "503").await;
        plain.expect("RSET", "250").await;
        if !client.is_empty() {
            relay.wait_for(&format!("refused client={client}")).await;
        }
    }
}
