//! Recipients that stand for many targets: a message goes to so many, and the rest to the next one.

use testkit::mail;
use testkit::net::Net;
use testkit::sender::Plain;

use crate::relay;

#[tokio::test]
async fn a_message_goes_to_ten_thousand_targets_at_most() {
    let net = Net::new().await;
    let mut forwards = "one@example.test one@target.test\n".to_owned();
    for list in 0..11 {
        let targets: Vec<_> = (0..1000)
            .map(|n| format!("u{list}x{n}@target.test"))
            .collect();
        forwards += &format!("list{list}@example.test {}\n", targets.join(", "));
    }
    let relay = relay(&net, &forwards).start().await;
    let mut client = Plain::hello(relay.address()).await;
    for _ in 0..2 {
        client.expect("MAIL FROM:<a@sender.test>", "250").await;
        for list in 0..10 {
            let rcpt = format!("RCPT TO:<list{list}@example.test>");
            client.expect(&rcpt, "250").await;
        }
        for over in ["list10", "one"] {
            let rcpt = format!("RCPT TO:<{over}@example.test>");
            client.expect(&rcpt, "452 4.5.3").await;
        }
        client.expect("RCPT TO:<none@example.test>", "550").await;
        client.expect("RSET", "250").await;
    }
    // The rest, in a transaction of its own.
    let to = ["<list10@example.test>", "<one@example.test>"];
    client
        .transaction("<a@sender.test>", &to, &mail::short("one"))
        .await;
    relay.wait_for_count(1001, "forwarded").await;
}
