//! What a sender asks for with NOTIFY, RET, ENVID and ORCPT (RFC 3461) is done here or passed on.

use testkit::mail;
use testkit::net::Net;
use testkit::sender::send_with;

use crate::relay;

const FORWARDS: &str = "alice@example.test alice@target.test\nbob@example.test bob@target.test\n";

#[tokio::test]
async fn failure_notice_follows_ret_envid_orcpt_and_never() {
    let net = Net::new().await;
    let _target = net.sink("target.test", "rcpt: 550 5.1.1 unknown").await;
    let origin = net.sink("sender.test", "").await;
    let relay = relay(&net, FORWARDS).start().await;
    let to = [
        "<alice@example.test> NOTIFY=FAILURE ORCPT=rfc822;first+2Bname@elsewhere.test",
        "<bob@example.test> NOTIFY=NEVER",
    ];
    let from = "<origin@sender.test> RET=HDRS ENVID=QQ+2B314";
    send_with(relay.address(), from, &to, &mail::short("one")).await;
    relay.wait_for("not-bounced").await;
    let text = origin.message().await.text();
    assert!(text.contains("Original-Envelope-Id: QQ+314"), "{text}");
    assert!(
        text.contains("Original-Recipient: rfc822; first+name@elsewhere.test"),
        "{text}"
    );
    assert!(!text.contains("bob@") && !text.contains("Hello,"), "{text}");
}

const ON_SUCCESS: [&str; 1] = ["<alice@example.test> NOTIFY=SUCCESS,FAILURE"];

#[tokio::test]
async fn success_is_reported_here_when_the_next_hop_cannot() {
    let net = Net::new().await;
    let target = net.sink("target.test", "offer: -DSN").await;
    let origin = net.sink("sender.test", "").await;
    let relay = relay(&net, FORWARDS).start().await;
    let from = "<origin@sender.test>";
    send_with(relay.address(), from, &ON_SUCCESS, &mail::short("one")).await;
    let got = target.message().await;
    assert_eq!(got.recipients[0].parameters, Vec::<String>::new());
    let text = origin.message().await.text();
    assert!(text.contains("Action: relayed"), "{text}");
    assert!(!text.contains("target.test"), "{text}");
}

#[tokio::test]
async fn the_wish_is_passed_on_when_the_next_hop_can() {
    let net = Net::new().await;
    let target = net.sink("target.test", "").await;
    let origin = net.sink("sender.test", "").await;
    let relay = relay(&net, FORWARDS).start().await;
    let from = "<origin@sender.test> RET=FULL ENVID=x";
    send_with(relay.address(), from, &ON_SUCCESS, &mail::short("two")).await;
    let got = target.message().await;
    for wanted in ["RET=FULL", "ENVID=x"] {
        assert!(got.from_parameters.contains(&wanted.to_owned()), "{got:?}");
    }
    let notify = &got.recipients[0].parameters;
    assert!(
        notify.contains(&"NOTIFY=SUCCESS,FAILURE".to_owned()),
        "{got:?}"
    );
    relay.wait_for("delivered target=alice@target.test").await;
    assert_eq!(origin.received(), []);
}
