//! Which failures count, what a frozen user's mail does, and who is told: once, whatever breaks off in between.

use std::path::Path;

use aws_lc_rs::hmac;
use counters::{Freezes, Limit, Mark, Then};
use data_encoding::HEXLOWER;
use delivery::{BodyError, Work};
use envelope::{Lease, LegId, MessageId, Peer, ReversePath};
use spool::{Arrival, BodyWriter, Entry};
use tokio::io::{AsyncReadExt as _, AsyncWriteExt as _};
use tokio::net::TcpListener;

use super::*;
use crate::counting::Counting;
use crate::outbound::tests::Fixture;
use crate::outbound::{Alerts, Secret, alerts::Told};
use crate::tests::{lines, now, routing};

fn fixture(alerts: Alerts) -> Fixture {
    let limit = |key| Limit {
        name: "cracked".into(),
        key,
        of: Of::Failures,
        max: 2,
        per: std::time::Duration::from_hours(1),
        then: Then::Freeze,
        usual: 0,
        passes_known: false,
    };
    let limits: Vec<_> = Kind::ALL.iter().copied().map(limit).collect();
    let routing = crate::Routing {
        limits: limits.into(),
        alerts,
        trusted: ["198.51.100.0/24".parse().unwrap()].into_iter().collect(),
        ..routing("hosted@h.test home@c.test\n@h.test :discard:\n")
    };
    Fixture::with(routing, dns::Fixed::new())
}

fn by_mail() -> Fixture {
    fixture(Alerts {
        mail: Some("ops@ops.test".parse().unwrap()),
        ..Alerts::default()
    })
}

fn by(user: Option<&str>, id: MessageId) -> Message {
    let sender = ReversePath::Mailbox("Ann@x.test".parse().unwrap());
    Message {
        user: user.map(Into::into),
        peer: user.map(|user| Peer {
            address: match user {
                "webmail" => "198.51.100.7".parse().unwrap(),
                _ => "::ffff:192.0.2.1".parse().unwrap(),
            },
            hello: "pc".into(),
        }),
        ..Message::new(id, now(), sender, 10)
    }
}

#[track_caller]
fn check(origin: Origin, user: Option<&str>, recipient: &str, target: &str, frozen: &[&str]) {
    let outbound = fixture(Alerts::default()).outbound;
    let id = outbound.ids.next(now());
    let message = Arc::new(Message {
        origin,
        ..by(user, id)
    });
    let claim = Claim {
        lease: Lease {
            leg: LegId {
                message: id,
                number: 0,
            },
            owner: 1,
            token: 1,
            expires: now(),
        },
        leg: envelope::Leg::new(
            message.reverse_path.clone(),
            target.parse().unwrap(),
            recipient.parse().unwrap(),
        ),
        message,
        attempts: 0,
        warned: false,
        deadline: now(),
    };
    for _ in 0..2 {
        outbound.count_failure(&claim, now());
        assert!(outbound.counting.freezes.is_empty());
    }
    outbound.count_failure(&claim, now());
    let keys = outbound.counting.frozen(|_| true);
    let keys: Vec<_> = keys.iter().map(|freeze| freeze.key.to_string()).collect();
    assert_eq!(keys, frozen);
}

#[tokio::test]
async fn failures_of_mail_that_was_sent_count() {
    let (gone, user) = ("gone@d.test", Some("Ann"));
    let all = [
        "client:192.0.2.1",
        "sender:ann@x.test",
        "sender_domain:x.test",
        "site:d.test",
        "user:ann",
    ];
    check(Origin::Authenticated, user, gone, gone, &all);
    // Its address sends for many, also for those who log in from there.
    check(Origin::TrustedClient, None, gone, gone, &all[1..4]);
    let by_webmail = [&all[1..4], &["user:webmail"]].concat();
    check(
        Origin::Authenticated,
        Some("webmail"),
        gone,
        gone,
        &by_webmail,
    );
}

#[tokio::test]
async fn failures_of_forwarded_mail_never_count() {
    let (gone, user) = ("gone@d.test", Some("Ann"));
    for origin in Origin::ALL {
        check(origin, user, "hosted@h.test", "home@c.test", &[]);
        check(origin, user, "hosted@h.test", "hosted@h.test", &[]);
        if !matches!(origin, Origin::Authenticated | Origin::TrustedClient) {
            check(origin, None, gone, gone, &[]);
        }
    }
}

async fn put(outbound: &Outbound<queue::LogSpool>, user: Option<&str>) -> MessageId {
    let id = outbound.ids.next(now());
    let mut writer = outbound.spool.begin(id).await.unwrap();
    writer.write(&b"A: b\r\n\r\nb\r\n"[..]).await.unwrap();
    let message = by(user, id);
    let target: envelope::Mailbox = "gone@d.test".parse().unwrap();
    let leg = envelope::Leg::new(message.reverse_path.clone(), target.clone(), target);
    let arrival = Arrival::new(message, vec![leg], now());
    outbound.spool.commit(writer, arrival).await.unwrap();
    id
}

async fn queued(outbound: &Outbound<queue::LogSpool>) -> Vec<Entry> {
    let page = outbound.spool.list(&Filter::default(), None, 100).await;
    page.unwrap().entries
}

fn freeze(outbound: &Outbound<queue::LogSpool>, key: &str) {
    let key: Key = key.parse().unwrap();
    let limit = &outbound.routing.load().limits[key.kind() as usize];
    outbound.counting.freeze(&key, limit, now());
}

#[tokio::test]
async fn mail_of_a_frozen_user_stays() {
    let mut fixture = fixture(Alerts::default());
    let outbound = Arc::clone(&fixture.outbound);
    let first = put(&outbound, Some("Ann")).await;
    let others = put(&outbound, Some("Bob")).await;
    freeze(&outbound, "user:ann");
    outbound.follow_up(outbound.counting.take_new()).await;
    assert_eq!(
        lines(&mut fixture.events),
        [
            "frozen key=user:ann limit=cracked",
            "held leg=0 to=gone@d.test target=gone@d.test reason=\"its user is frozen\"",
        ]
    );
    // What is claimed although it came too late for that is put on hold, too.
    let late = put(&outbound, Some("ann")).await;
    let open = async |id| {
        let queued = queued(&outbound).await;
        let entry = queued.iter().find(|entry| entry.id.message == id).unwrap();
        outbound.open(&entry.message).await
    };
    assert!(matches!(open(late).await, Err(BodyError::NotNow(_))));
    assert!(open(others).await.is_ok());
    let all = queued(&outbound).await;
    let held = all.iter().filter(|entry| entry.state == State::Held);
    let held: Vec<_> = held.map(|entry| entry.id.message).collect();
    assert_eq!(held, [first, late]);
}

/// As after a crash: what is not on disk is forgotten.
fn crash(fixture: &mut Fixture, dir: &Path) {
    fixture.outbound.spool.close();
    fixture.reopen();
    let counting = Counting::new(Freezes::open(dir), None);
    Arc::get_mut(&mut fixture.outbound).unwrap().counting = Arc::new(counting);
}

/// Each step of telling, broken off behind it.
#[tokio::test]
async fn each_freeze_has_one_mail_whatever_breaks_off() {
    for (key, step) in
        (0..4).flat_map(|step| ["user:ann", "client:2001:db8::1"].map(|key| (key, step)))
    {
        let (mut fixture, dir) = (by_mail(), tempfile::tempdir().unwrap());
        crash(&mut fixture, dir.path());
        freeze(&fixture.outbound, key);
        let outbound = &fixture.outbound;
        outbound.write_freezes().await;
        let mark = async |mark| {
            let all = outbound.counting.frozen(|_| true);
            outbound.counting.mark(&all, mark);
            outbound.write_freezes().await;
        };
        match step {
            0 => {}
            1 => mark(Mark::Mailing(outbound.ids.next(now()))).await,
            2 => {
                assert_eq!(outbound.mail_freezes().await, Told::Some);
                // That it is queued was not written.
                let id = queued(outbound).await[0].id.message;
                outbound.counting.freezes.lift(&key.parse().unwrap());
                freeze(outbound, key);
                mark(Mark::Mailing(id)).await;
            }
            _ => assert_eq!(outbound.mail_freezes().await, Told::Some),
        }
        crash(&mut fixture, dir.path());
        let outbound = &fixture.outbound;
        outbound.resume_mailing().await;
        outbound.mail_freezes().await;
        assert_eq!(outbound.mail_freezes().await, Told::Nothing);
        assert_eq!(queued(outbound).await.len(), 1, "{key} {step}");
        assert!(outbound.counting.frozen(|_| true)[0].told.is_mailed);
        // It can be sent at once.
        let claims = fixture.claim(now()).await;
        assert_eq!(claims.len(), 1, "{key} {step}");
    }
}

#[tokio::test]
async fn a_flood_of_freezes_is_one_mail() {
    let mut fixture = by_mail();
    let outbound = Arc::clone(&fixture.outbound);
    for n in 0..10_000 {
        freeze(&outbound, &format!("client:2001:db8:0:{n:x}::1"));
    }
    assert_eq!(outbound.mail_freezes().await, Told::Some);
    assert_eq!(outbound.mail_freezes().await, Told::Nothing);
    assert_eq!(
        lines(&mut fixture.events),
        ["alerted to=ops@ops.test freezes=10000"]
    );
    assert_eq!(queued(&outbound).await.len(), 1);
}

/// Answers one request; what came.
async fn answer(listener: &TcpListener, status: &str) -> String {
    let (mut stream, _) = listener.accept().await.unwrap();
    let mut request = String::new();
    let is_whole = |request: &str| {
        let body = request.split_once("\r\n\r\n").map_or("", |(_, body)| body);
        serde_json::from_str::<serde_json::Value>(body).is_ok()
    };
    while !is_whole(&request) {
        let mut piece = [0; 4096];
        let octets = stream.read(&mut piece).await.unwrap();
        request.push_str(std::str::from_utf8(&piece[..octets]).unwrap());
    }
    let reply = format!("HTTP/1.1 {status}\r\nContent-Length: 0\r\nLocation: /\r\n\r\n");
    stream.write_all(reply.as_bytes()).await.unwrap();
    request
}

#[tokio::test]
async fn a_webhook_is_told_until_it_has_heard() {
    let listener = TcpListener::bind("127.0.0.1:0").await.unwrap();
    let url = format!("http://{}/hook", listener.local_addr().unwrap());
    let fixture = fixture(Alerts {
        webhook: Some(url.parse().unwrap()),
        secret: Some(Secret::new(b"key")),
        ..Alerts::default()
    });
    let outbound = &fixture.outbound;
    assert_eq!(outbound.post_freezes().await, Told::Nothing);
    freeze(outbound, "client:2001:db8::1");
    for status in ["500 No", "302 There"] {
        let (told, _) = tokio::join!(outbound.post_freezes(), answer(&listener, status));
        assert_eq!(told, Told::Failed, "{status}");
    }
    let (told, request) = tokio::join!(outbound.post_freezes(), answer(&listener, "204 Yes"));
    assert_eq!(told, Told::Some);
    assert!(request.starts_with("POST /hook HTTP/1.1\r\n"), "{request}");
    let (head, body) = request.split_once("\r\n\r\n").unwrap();
    let tag = hmac::sign(&hmac::Key::new(hmac::HMAC_SHA256, b"key"), body.as_bytes());
    let tag = HEXLOWER.encode(tag.as_ref());
    assert!(
        head.contains(&format!("x-onward-signature: sha256={tag}")),
        "{head}"
    );
    let body: serde_json::Value = serde_json::from_str(body).unwrap();
    assert_eq!(body["event"], "frozen");
    let freeze = &body["freezes"][0];
    assert_eq!(freeze["key"], "client:2001:db8::/64");
    assert_eq!(freeze["rule"], "cracked: 2 failures in 1h");
    assert_eq!(outbound.post_freezes().await, Told::Nothing);
}
