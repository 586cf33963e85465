//! Callouts against the scripted servers.

use std::sync::Arc;
use std::time::{Duration, Instant};

use delivery::{CalloutSettings, Callouts, Finding, Route, Routes, Settings};
use dns::{Fixed, Resolver};
use envelope::{Diagnosis, Mailbox};
use tokio::task::JoinSet;

use crate::support::server::{Script, Server};
use crate::support::{resolver, settings, within};

fn mailbox(text: &str) -> Mailbox {
    text.parse().unwrap()
}

/// The finding in words, and whether a callout was made.
async fn ask<R: Resolver>(callouts: &Callouts<R>, sender: &str) -> (String, bool) {
    let (finding, asked) = within(callouts.verify(&mailbox(sender))).await;
    let reason = finding
        .diagnosis()
        .map(Diagnosis::words)
        .unwrap_or_default();
    let words = format!("{} {reason}", finding.as_str());
    (words.trim().to_owned(), asked)
}

/// `to.test` and `also.test` are at this server.
async fn start(script: Script, settings: CalloutSettings) -> (Server, Callouts<Fixed>) {
    start_with(script, settings, |_| {}).await
}

async fn start_with(
    script: Script,
    callout: CalloutSettings,
    change: impl FnOnce(&mut Settings),
) -> (Server, Callouts<Fixed>) {
    let server = Server::start(script).await;
    let resolver = resolver(&[server.address])
        .with_null_mx("null.test".parse().unwrap())
        .with_trouble("ill.test".parse().unwrap(), "SERVFAIL");
    let mut delivery = settings(server.address.port());
    change(&mut delivery);
    let callouts = Callouts::new(callout, &delivery, resolver);
    (server, callouts)
}

fn soon() -> CalloutSettings {
    CalloutSettings {
        timeout: Duration::from_millis(300),
        ..CalloutSettings::default()
    }
}

#[tokio::test]
async fn a_sender_is_asked_about_once_and_no_message_is_sent() {
    let (server, callouts) = start(Script::default(), CalloutSettings::default()).await;
    let unknown = callouts.known(&mailbox("a@to.test"));
    assert_eq!(unknown.as_str(), "unknown");
    let exists = "exists while sending RCPT TO: 250 2.1.5 ok".to_owned();
    assert_eq!(ask(&callouts, "a@to.test").await, (exists.clone(), true));
    assert_eq!(ask(&callouts, "a@to.test").await, (exists, false));
    assert_eq!(callouts.known(&mailbox("a@to.test")).as_str(), "exists");
    within(async {
        while server.heard().open > 0 {
            tokio::task::yield_now().await;
        }
    })
    .await;
    assert_eq!(
        server.heard().reads,
        [
            "EHLO us.test\r\n",
            "MAIL FROM:<>\r\nRCPT TO:<a@to.test>\r\n",
            "RSET\r\n",
            "QUIT\r\n"
        ]
    );
}

#[tokio::test]
async fn only_what_is_said_of_the_address_is_held_against_it() {
    let script = Script {
        rcpt: |line| match line {
            "RCPT TO:<no@to.test>" => "550 5.1.1 no such user",
            "RCPT TO:<grey@to.test>" => "450 4.7.1 come back later",
            "RCPT TO:<us@to.test>" => "550 5.7.1 no callouts here",
            _ => "250 2.1.5 ok",
        },
        ..Script::default()
    };
    let (server, callouts) = start(script, CalloutSettings::default()).await;
    for (sender, expected) in [
        (
            "no@to.test",
            "refused while sending RCPT TO: 550 5.1.1 no such user",
        ),
        (
            "grey@to.test",
            "unknown while sending RCPT TO: 450 4.7.1 come back later",
        ),
        (
            "us@to.test",
            "unknown while sending RCPT TO: 550 5.7.1 no callouts here",
        ),
        // One address does not silence the others.
        ("yes@to.test", "exists while sending RCPT TO: 250 2.1.5 ok"),
    ] {
        assert_eq!(ask(&callouts, sender).await, (expected.to_owned(), true));
    }
    for (sender, expected) in [
        ("a@null.test", "refused null.test takes no mail (null MX)"),
        ("a@nowhere.test", "refused no such domain: nowhere.test"),
        ("a@ill.test", "unknown cannot look up ill.test: SERVFAIL"),
    ] {
        assert_eq!(ask(&callouts, sender).await, (expected.to_owned(), false));
    }
    assert_eq!(server.heard().connections, 4);
}

/// Two senders of one site, and one connection: what was met concerns both.
async fn check_left_alone(script: Script, expected: &str) {
    let (server, callouts) = start(script, soon()).await;
    let begun = Instant::now();
    let (finding, asked) = ask(&callouts, "a@to.test").await;
    assert!(asked && finding.contains(expected), "{finding}");
    assert!(begun.elapsed() < Duration::from_secs(5));
    let (finding, asked) = ask(&callouts, "b@also.test").await;
    assert!(!asked && finding.contains(expected), "{finding}");
    assert_eq!(server.heard().connections, 1);
}

#[tokio::test]
async fn a_site_that_wants_no_callouts_is_left_alone() {
    let wait = Script {
        greeting: "wait",
        ..Script::default()
    };
    check_left_alone(wait, "unknown").await;
    let no_null = Script {
        mail: |_| "550 5.1.1 no null senders",
        ..Script::default()
    };
    check_left_alone(no_null, "unknown while sending MAIL FROM: 550").await;
    let blocked = Script {
        greeting: "554 5.7.1 you are on a list",
        ..Script::default()
    };
    check_left_alone(blocked, "unknown while waiting for the greeting: 554").await;
    let never = Script {
        greeting: "521 no mail here",
        ..Script::default()
    };
    check_left_alone(never, "unknown while waiting for the greeting: 521").await;
}

#[tokio::test]
async fn all_who_ask_at_once_share_one_callout() {
    let (server, callouts) = start(Script::default(), CalloutSettings::default()).await;
    let sender = mailbox("a@to.test");
    let asked = tokio::join!(
        callouts.verify(&sender),
        callouts.verify(&sender),
        callouts.verify(&sender),
    );
    let asked = [asked.0, asked.1, asked.2];
    assert!(asked.iter().all(|(finding, _)| *finding == asked[0].0));
    assert_eq!(asked.iter().filter(|(_, asked)| *asked).count(), 1);
    assert_eq!(server.heard().connections, 1);
}

/// Each would take the whole time, one after the other.
#[tokio::test]
async fn those_who_wait_for_a_dead_dns_wait_once() {
    let callouts = Arc::new(Callouts::new(soon(), &settings(1), Silent));
    let (mut all, begun) = (JoinSet::new(), Instant::now());
    for _ in 0..30 {
        let callouts = Arc::clone(&callouts);
        all.spawn(async move { callouts.verify(&mailbox("a@to.test")).await });
    }
    let found = all.join_all().await;
    assert!(begun.elapsed() < 10 * soon().timeout);
    for (finding, _) in found {
        assert_eq!(finding.as_str(), "unknown");
    }
}

/// Never answers.
struct Silent;

impl Resolver for Silent {
    async fn mx(&self, _: &str) -> Result<dns::Answer<dns::Mx>, dns::Error> {
        std::future::pending().await
    }
    async fn ipv4(&self, _: &str) -> Result<Vec<std::net::Ipv4Addr>, dns::Error> {
        std::future::pending().await
    }
    async fn ipv6(&self, _: &str) -> Result<Vec<std::net::Ipv6Addr>, dns::Error> {
        std::future::pending().await
    }
    async fn txt(&self, _: &str) -> Result<Vec<Vec<u8>>, dns::Error> {
        std::future::pending().await
    }
    async fn names(&self, _: std::net::IpAddr) -> Result<Vec<envelope::Domain>, dns::Error> {
        std::future::pending().await
    }
}

#[tokio::test]
async fn few_callouts_at_once_to_a_site() {
    let (server, callouts) = start(Script::default(), CalloutSettings::default()).await;
    let senders = ["a@to.test", "b@to.test", "c@also.test", "d@also.test"];
    let [a, b, c, d] = senders.map(mailbox);
    let (one, two, three, four) = within(async {
        tokio::join!(
            callouts.verify(&a),
            callouts.verify(&b),
            callouts.verify(&c),
            callouts.verify(&d),
        )
    })
    .await;
    for (finding, asked) in [one, two, three, four] {
        assert!(
            asked && matches!(finding, Finding::Exists(_)),
            "{finding:?}"
        );
    }
    assert_eq!(server.heard().open_max, 2);
}

#[tokio::test]
async fn what_is_known_is_forgotten_after_its_time() {
    let settings = CalloutSettings {
        kept: Duration::from_millis(1),
        ..CalloutSettings::default()
    };
    let (server, callouts) = start(Script::default(), settings).await;
    for _ in 0..2 {
        assert!(ask(&callouts, "a@to.test").await.1);
        tokio::time::sleep(Duration::from_millis(2)).await;
        assert_eq!(callouts.known(&mailbox("a@to.test")).as_str(), "unknown");
    }
    assert_eq!(server.heard().connections, 2);
}

#[tokio::test]
async fn an_exempt_mx_is_not_asked() {
    let settings = CalloutSettings {
        exempt_mx: vec!["*.example".parse().unwrap(), "mx0.test".parse().unwrap()],
        ..CalloutSettings::default()
    };
    let (server, callouts) = start(Script::default(), settings).await;
    assert_eq!(
        ask(&callouts, "a@to.test").await,
        ("exempt".to_owned(), false)
    );
    assert_eq!(server.heard().connections, 0);
}

#[tokio::test]
async fn callouts_come_from_addresses_of_their_own() {
    let egress = |address: &str| {
        let egress = delivery::Egress {
            name: "verify".into(),
            sources: vec![delivery::Source {
                address: address.parse().unwrap(),
                hello: "verify.test".parse().unwrap(),
                weight: 1,
                connections: 10,
            }],
        };
        move |settings: &mut Settings| settings.egresses = vec![egress]
    };
    let by = || CalloutSettings {
        egress: Some("verify".into()),
        ..CalloutSettings::default()
    };
    let from = egress("127.0.0.77");
    let (server, callouts) = start_with(Script::default(), by(), from).await;
    assert!(ask(&callouts, "a@to.test").await.1);
    let heard = server.heard();
    assert_eq!(heard.peers[0].ip().to_string(), "127.0.0.77");
    assert_eq!(heard.reads[0], "EHLO verify.test\r\n");
    // And never from another.
    let (server, callouts) = start_with(Script::default(), by(), egress("::1")).await;
    assert_eq!(
        ask(&callouts, "a@to.test").await.0,
        "unknown our egress has no address of the family of its hosts"
    );
    assert_eq!(server.heard().connections, 0);
}

#[tokio::test]
async fn a_smarthost_is_not_asked() {
    let smarthost = Server::start(Script::default()).await;
    let host = smarthost.address.to_string();
    let star = |settings: &mut Settings| {
        settings.routes = Routes::new(vec![Route::parse("*", &[host], None, None).unwrap()]);
    };
    let (server, callouts) = start_with(Script::default(), soon(), star).await;
    assert!(ask(&callouts, "a@to.test").await.0.starts_with("exists"));
    assert_eq!(server.heard().connections, 1);
    assert_eq!(smarthost.heard().connections, 0);
}
