//! A failed message of a stranger: who is told, when SPF is first looked at as the notice is due.

use testkit::net::Net;

use crate::{origin_sends, relay};

/// With this SPF record of the sender's domain and `[bounce] to`, the mail log has this line, and the other kind none.
async fn check(record: &str, to: &str, line: &str) {
    let net = Net::new().await;
    net.dns.add(record);
    let _target = net.sink("target.test", "rcpt: 550 5.1.1 unknown").await;
    let _origin = net.sink("sender.test", "").await;
    let setup = relay(&net, "alice@example.test alice@target.test\n");
    let relay = setup.set("bounce.to", to).start().await;
    origin_sends(&relay, "alice@example.test", "one").await;
    relay.wait_for(line).await;
    let told = line.starts_with("bounced");
    let counts = (relay.count("bounced"), relay.count("not-bounced"));
    assert_eq!(counts, (usize::from(told), usize::from(!told)));
}

#[tokio::test]
async fn notices_go_to_whom_spf_proves() {
    let passes = "sender.test TXT v=spf1 ip4:127.0.0.1 -all";
    check(passes, "\"proved\"", "bounced to=<origin@sender.test>").await;
    let unproved = "not-bounced reason=neither";
    check("", "\"proved\"", unproved).await;
    check("", "\"unproved\"", "bounced").await;
    let fails = "sender.test TXT v=spf1 -all";
    for to in ["\"proved\"", "\"unproved\""] {
        check(fails, to, "not-bounced reason=forged").await;
    }
}
