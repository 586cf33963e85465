//! Received names the client by its PTR record, if that points back; DNS in trouble costs no message.

use testkit::mail;
use testkit::net::Net;
use testkit::sender::Plain;

use crate::relay;

#[tokio::test]
async fn received_names_the_client() {
    let net = Net::new().await;
    let sink = net.sink("target.test", "").await;
    net.dns.add(
        "7.2.0.192.in-addr.arpa PTR mail.client.test
         mail.client.test A 192.0.2.7
         mail.client.test AAAA 2001:db8::7
         7.0.0.0.0.0.0.0.0.0.0.0.0.0.0.0.0.0.0.0.0.0.0.0.8.b.d.0.1.0.0.2.ip6.arpa PTR mail.client.test
         8.2.0.192.in-addr.arpa PTR mail.bank.test
         mail.bank.test A 192.0.2.99
         9.2.0.192.in-addr.arpa SERVFAIL
         10.2.0.192.in-addr.arpa DROP",
    );
    let relay = relay(&net, "alice@example.test alice@target.test\n")
        .listener("bind = \"127.0.0.1:0\"\nproxy_protocol_from = [\"127.0.0.0/8\"]")
        .start()
        .await;
    for (family, client, named) in [
        ("TCP4", "192.0.2.7", "(mail.client.test [192.0.2.7])"),
        (
            "TCP6",
            "2001:db8::7",
            "(mail.client.test [IPv6:2001:db8::7])",
        ),
        ("TCP4", "192.0.2.8", "([192.0.2.8])"),
        ("TCP4", "192.0.2.9", "([192.0.2.9])"),
        ("TCP4", "192.0.2.10", "([192.0.2.10])"),
        ("TCP4", "192.0.2.11", "([192.0.2.11])"),
    ] {
        let mut plain = Plain::connect_silently(relay.address()).await;
        let header = format!("PROXY {family} {client} {client} 4711 25\r\n");
        plain.raw(header.as_bytes()).await;
        assert!(plain.reply().await.starts_with("220 "));
        plain.expect("EHLO client.test", "250").await;
        let sent = mail::short("one");
        let to = ["<alice@example.test>"];
        plain.transaction("<origin@sender.test>", &to, &sent).await;
        let got = sink.message().await.data;
        let fields = mail::added_on_top(&got, &sent);
        let received = fields.iter().find(|(name, _)| name == "Received");
        let (_, received) = received.expect("a Received field");
        assert!(received.contains(named), "{client}: {received}");
        plain.expect("MAIL FROM:<origin@sender.test>", "250").await;
        plain.expect("RCPT TO:<nobody@example.test>", "550").await;
        for kind in ["received", "refused"] {
            let event = relay.wait_for(&format!("{kind} client={client}")).await;
            let name = event.text("client_name");
            assert_eq!(
                name == "mail.client.test",
                named.contains("mail"),
                "{event}"
            );
            assert!(event.text("listener").ends_with(":25"), "{event}");
        }
    }
}
