//! The dispatcher with all its parts against scripted servers on loopback.

#![expect(
    clippy::unwrap_used,
    clippy::expect_used,
    reason = "a test: its helpers may panic too"
)]

mod callouts;
mod support;

use std::collections::HashSet;
use std::net::{IpAddr, Ipv4Addr, Ipv6Addr, SocketAddr};
use std::sync::Arc;
use std::sync::atomic::{AtomicBool, Ordering};
use std::time::Duration;

use delivery::SiteEvent;
use dns::{Fixed, Mx, Resolver};
use envelope::Domain;
use support::server::{Script, Server, Tls};
use support::work::Mail;
use support::{Relay, resolver, settings, start, start_with};

#[tokio::test]
async fn one_message() {
    let (server, relay) = start(Script::default()).await;
    relay.work.add(&Mail {
        body: ".first line\r\nhello\r\n",
        trace: "Delivered-To: a@to.test\r\n",
        ..Mail::default()
    });
    assert_eq!(
        relay.work.outcomes(1).await,
        ["a@to.test: delivered 2.0.0 | 250 2.0.0 taken"]
    );
    relay.stop().await;
    let heard = server.heard();
    assert_eq!(
        heard.messages[0].body,
        "Delivered-To: a@to.test\r\n..first line\r\nhello\r\n"
    );
    // Pipelined: one segment for the commands, one for the body, and QUIT at the end.
    assert_eq!(
        heard.reads,
        [
            "EHLO us.test\r\n",
            "MAIL FROM:<sender@from.test>\r\nRCPT TO:<a@to.test>\r\nDATA\r\n",
            "QUIT\r\n"
        ]
    );
}

#[tokio::test]
async fn recipients_share_a_transaction_and_have_their_own_outcomes() {
    let script = Script {
        rcpt: |line| match line {
            "RCPT TO:<bad@to.test>" => "550 5.1.1 no such user",
            "RCPT TO:<later@to.test>" => "450 4.2.1 try later",
            _ => "250 2.1.5 ok",
        },
        ..Script::default()
    };
    let (server, relay) = start(script).await;
    relay.work.add(&Mail {
        to: &["a@to.test", "bad@to.test", "later@to.test", "b@also.test"],
        ..Mail::default()
    });
    let mut outcomes = relay.work.outcomes(4).await;
    outcomes.sort();
    assert_eq!(
        outcomes,
        [
            "a@to.test: delivered 2.0.0 | 250 2.0.0 taken",
            "b@also.test: delivered 2.0.0 | 250 2.0.0 taken",
            "bad@to.test: failed 5.1.1 | 550 5.1.1 no such user",
            "later@to.test: deferred 4.2.1 | 450 4.2.1 try later",
        ]
    );
    relay.stop().await;
    // Two hosts were looked up apart, so one or two transactions; never four.
    assert!(server.heard().messages.len() <= 2);
}

#[tokio::test]
async fn a_connection_is_used_again() {
    let (server, relay) = start_with(Script::default(), |settings| settings.concurrency = 1).await;
    for _ in 0..50 {
        relay.work.add(&Mail::default());
    }
    relay.work.outcomes(50).await;
    // It waits for more, and takes it.
    relay.work.add(&Mail::default());
    relay.work.outcomes(51).await;
    assert_eq!(server.heard().connections, 1);
    relay.stop().await;
    assert_eq!(server.heard().messages.len(), 51);
}

#[tokio::test]
async fn a_connection_that_died_of_age_costs_no_attempt() {
    let script = Script {
        transactions_max: 3,
        ..Script::default()
    };
    let (server, relay) = start_with(script, |settings| settings.concurrency = 1).await;
    for _ in 0..20 {
        relay.work.add(&Mail::default());
    }
    let outcomes = relay.work.outcomes(20).await;
    let delivered = "a@to.test: delivered 2.0.0 | 250 2.0.0 taken";
    assert!(outcomes.iter().all(|o| o == delivered), "{outcomes:?}");
    relay.stop().await;
    assert_eq!(server.heard().connections, 7);
}

/// A server that takes two messages a connection, and says so at the third.
async fn check_messages_max(refusal: &'static str) {
    let script = Script {
        mail_max: (2, refusal),
        ..Script::default()
    };
    let (server, relay) = start_with(script, |settings| settings.concurrency = 1).await;
    for _ in 0..7 {
        relay.work.add(&Mail::default());
    }
    let outcomes = relay.work.outcomes(7).await;
    let delivered = "a@to.test: delivered 2.0.0 | 250 2.0.0 taken";
    assert!(outcomes.iter().all(|o| o == delivered), "{outcomes:?}");
    relay.stop().await;
    let heard = server.heard();
    assert_eq!(heard.connections, 4, "{refusal}");
    // It was told once, and is known then.
    let asked = heard.reads.iter().filter(|read| read.starts_with("MAIL"));
    assert_eq!(asked.count(), 8, "{refusal}");
}

#[tokio::test]
async fn a_server_that_wants_a_new_connection_gets_one_at_once() {
    check_messages_max("421 4.7.0 too many messages on this connection").await;
    check_messages_max("450 4.7.0 too many messages on this connection").await;
}

/// A site that takes nothing is offered it over one connection at a time, however much there is.
async fn check_takes_nothing(rcpt: fn(&str) -> &'static str) {
    let script = Script {
        rcpt,
        ..Script::default()
    };
    let (server, relay) = start(script).await;
    (0..30).for_each(|_| relay.work.add(&Mail::default()));
    relay.work.outcomes(30).await;
    relay.stop().await;
    assert_eq!(server.heard().open_max, 1, "{}", rcpt(""));
}

#[tokio::test]
async fn a_site_that_takes_nothing_gets_no_second_connection() {
    check_takes_nothing(|_| "450 4.7.1 greylisted").await;
    check_takes_nothing(|_| "421 4.3.2 shutting down").await;
}

#[tokio::test]
async fn what_a_new_connection_is_refused_too_is_deferred() {
    let script = Script {
        mail_max: (0, "450 4.3.2 not now"),
        ..Script::default()
    };
    let (server, relay) = start_with(script, |settings| settings.concurrency = 1).await;
    (0..3).for_each(|_| relay.work.add(&Mail::default()));
    let deferred = "a@to.test: deferred 4.3.2 | 450 4.3.2 not now";
    assert_eq!(relay.work.outcomes(3).await, [deferred; 3]);
    relay.stop().await;
    // The first refusal is of a fresh connection; each later one is asked about once more.
    assert_eq!(server.heard().connections, 3);
}

/// A server for each address, all on the same port.
async fn start_at(
    addresses: impl IntoIterator<Item = IpAddr>,
    port: u16,
    script: &Script,
) -> Vec<Server> {
    let mut servers = Vec::new();
    for address in addresses {
        servers.push(Server::start_at(SocketAddr::new(address, port), script.clone()).await);
    }
    servers
}

#[tokio::test]
async fn servers_that_accept_and_say_nothing_do_not_stop_the_others() {
    let healthy = Server::start(Script::default()).await;
    let port = healthy.address.port();
    let silent = Script {
        greeting: "wait",
        ..Script::default()
    };
    let one = start_at([IpAddr::from([127, 0, 2, 1])], port, &silent).await;
    let many = (1..=12).map(|n| IpAddr::from([127, 0, 3, n]));
    let many = start_at(many, port, &silent).await;
    let late = start_at([IpAddr::from([127, 0, 2, 2])], port, &Script::default()).await;

    let mut settings = settings(port);
    settings.connections = 20;
    settings.timeouts.greeting = Duration::from_mins(5);
    settings.patience = Duration::from_millis(300);
    let mut dns = resolver(&[healthy.address]);
    dns = dns.with_address("late.test".parse().unwrap(), late[0].address.ip());
    let mut silent = Vec::new();
    for n in 0..25 {
        silent.push((format!("one{n}.test"), one[0].address.ip()));
    }
    let many = many.iter().map(|server| server.address.ip());
    silent.extend(
        many.enumerate()
            .map(|(n, ip)| (format!("many{n}.test"), ip)),
    );
    for (name, address) in &silent {
        dns = dns.with_address(name.parse().unwrap(), *address);
    }
    let relay = Relay::start(settings, dns);
    let add = |to: &str| {
        relay.work.add(&Mail {
            to: &[to],
            ..Mail::default()
        });
    };
    // Twenty-five names of one address keep nobody waiting, though no site is known yet.
    for (name, _) in &silent[..25] {
        add(&format!("a@{name}"));
    }
    add("a@to.test");
    let delivered = |to: &str| format!("{to}: delivered 2.0.0 | 250 2.0.0 taken");
    assert_eq!(relay.work.outcomes(1).await, [delivered("a@to.test")]);
    // Many addresses do, but for a short time, and only a site that is not known.
    for (name, _) in &silent[25..] {
        add(&format!("a@{name}"));
    }
    add("a@late.test");
    add("a@to.test");
    // Five of the silent ones are left: nobody waits for their connections.
    let outcomes = relay.work.outcomes(35).await;
    relay.stop().await;
    let given_up = "deferred 4.4.0 no connection yet, and other mail is waiting for a turn";
    let count = |matches: &dyn Fn(&str) -> bool| outcomes.iter().filter(|o| matches(o)).count();
    assert_eq!(count(&|o| o == delivered("a@late.test")), 1, "{outcomes:?}");
    assert_eq!(count(&|o| o == delivered("a@to.test")), 2);
    assert!(count(&|o| o.ends_with(given_up)) >= 30);
    assert!(one[0].heard().open_max <= 2);
}

#[tokio::test]
async fn sessions_of_many_servers_are_resumed() {
    let server = Server::start(Script {
        extensions: &["STARTTLS", "PIPELINING"],
        tls: Tls::Works(certificate()),
        ..Script::default()
    })
    .await;
    let mut settings = settings(server.address.port());
    settings.messages_per_connection = 1;
    let names: Vec<_> = (0..60).map(|n| format!("mx{n}.test")).collect();
    let dns = names.iter().fold(Fixed::new(), |dns, name| {
        dns.with_address(name.parse().unwrap(), server.address.ip())
    });
    let relay = Relay::start(settings, dns);
    for round in 1..=2 {
        for name in &names {
            let to = format!("a@{name}");
            relay.work.add(&Mail {
                to: &[&to],
                ..Mail::default()
            });
        }
        relay.work.outcomes(round * names.len()).await;
    }
    relay.stop().await;
    let heard = server.heard();
    assert_eq!((heard.handshakes, heard.resumed), (120, 60));
}

#[tokio::test]
async fn concurrency_is_limited_and_ramps_up() {
    let (server, relay) = start_with(Script::default(), |settings| settings.concurrency = 4).await;
    for _ in 0..500 {
        relay.work.add(&Mail::default());
    }
    relay.work.outcomes(500).await;
    relay.stop().await;
    let heard = server.heard();
    assert_eq!(heard.messages.len(), 500);
    assert!((2..=4).contains(&heard.open_max), "{}", heard.open_max);
}

#[tokio::test]
async fn a_peer_that_closes_after_each_message_gets_several_connections_too() {
    let script = Script {
        extensions: &["PIPELINING", "LIMITS MAILMAX=1"],
        ..Script::default()
    };
    let (server, relay) = start_with(script, |settings| settings.concurrency = 4).await;
    for _ in 0..200 {
        relay.work.add(&Mail::default());
    }
    let outcomes = relay.work.outcomes(200).await;
    assert!(
        outcomes.iter().all(|o| o.contains("delivered")),
        "{outcomes:?}"
    );
    relay.stop().await;
    let heard = server.heard();
    assert_eq!((heard.connections, heard.messages.len()), (200, 200));
    assert!((2..=4).contains(&heard.open_max), "{}", heard.open_max);
}

#[tokio::test]
async fn a_large_body_streams_through() {
    let (server, relay) = start(Script::default()).await;
    let body = ".23456789 123456789 123456789\r\n".repeat(200_000);
    relay.work.add(&Mail {
        body: &body,
        ..Mail::default()
    });
    relay.work.outcomes(1).await;
    relay.stop().await;
    let heard = &server.heard().messages[0].body;
    assert!(
        heard.replace("\r\n..", "\r\n.")[1..] == body,
        "body changed"
    );
}

#[tokio::test]
async fn the_next_host_when_one_is_busy_dead_or_silent() {
    for greeting in ["421 4.3.2 busy", "554 5.3.2 no mail here", ""] {
        let script = Script {
            greeting,
            ..Script::default()
        };
        let first = Server::start(script).await;
        let port = first.address.port();
        let second: SocketAddr = format!("127.0.0.2:{port}").parse().unwrap();
        let second = Server::start_at(second, Script::default()).await;
        // Nothing listens on 127.0.0.3.
        let dead = format!("127.0.0.3:{port}").parse().unwrap();
        let relay = Relay::start(
            settings(port),
            resolver(&[first.address, dead, second.address]),
        );
        relay.work.add(&Mail::default());
        let outcomes = relay.work.outcomes(1).await;
        assert_eq!(outcomes, ["a@to.test: delivered 2.0.0 | 250 2.0.0 taken"]);
        relay.stop().await;
        assert_eq!(first.heard().connections, 1);
        assert_eq!(second.heard().messages.len(), 1);
    }
}

#[tokio::test]
async fn both_families_and_our_source_address() {
    let server = Server::start(Script::default()).await;
    let ip = |text: &str| text.parse::<IpAddr>().unwrap();
    let resolver = Fixed::new()
        .with_mx("to.test".parse().unwrap(), 1, "mx.test".parse().unwrap())
        .with_address("mx.test".parse().unwrap(), ip("::1"))
        .with_address("mx.test".parse().unwrap(), ip("127.0.0.1"));
    let mut settings = settings(server.address.port());
    settings.bind = vec![ip("::1"), ip("127.0.0.9")];
    let relay = Relay::start(settings, resolver);
    relay.work.add(&Mail::default());
    let outcomes = relay.work.outcomes(1).await;
    assert_eq!(outcomes, ["a@to.test: delivered 2.0.0 | 250 2.0.0 taken"]);
    assert_eq!(server.heard().peers[0].ip(), ip("127.0.0.9"));
    relay.stop().await;
}

/// One host that greets like this: the outcome, and whether the site counts as down.
async fn check_greeting(greeting: &'static str, expected: &str, down: bool) {
    let script = Script {
        greeting,
        ..Script::default()
    };
    let (_, relay) = start(script).await;
    relay.work.add(&Mail::default());
    assert_eq!(relay.work.outcomes(1).await, [expected]);
    assert_eq!(!relay.stop().await.events(0).await.is_empty(), down);
}

#[tokio::test]
async fn a_host_that_refuses_us_may_take_the_mail_later() {
    check_greeting(
        "554 5.7.1 you are not welcome",
        "a@to.test: deferred 4.7.1 | 554 5.7.1 you are not welcome",
        true,
    )
    .await;
    check_greeting(
        "521 5.3.2 no mail here, ever",
        "a@to.test: failed 5.3.2 | 521 5.3.2 no mail here, ever",
        false,
    )
    .await;
}

#[tokio::test]
async fn a_refused_ehlo_and_helo_defer_too() {
    let script = Script {
        hello: Some("550 5.7.1 bad name"),
        ..Script::default()
    };
    let (_, relay) = start(script).await;
    relay.work.add(&Mail::default());
    let refused = "a@to.test: deferred 4.7.1 | 550 5.7.1 bad name";
    assert_eq!(relay.work.outcomes(1).await, [refused]);
    relay.stop().await;
}

#[tokio::test]
async fn one_host_without_mail_beside_one_that_is_away_defers() {
    let script = Script {
        greeting: "521 5.3.2 no mail here, ever",
        ..Script::default()
    };
    let server = Server::start(script).await;
    let dead = format!("127.0.0.3:{}", server.address.port());
    let hosts = [dead.parse().unwrap(), server.address];
    let relay = Relay::start(settings(server.address.port()), resolver(&hosts));
    relay.work.add(&Mail::default());
    let outcomes = relay.work.outcomes(1).await;
    assert!(outcomes[0].contains("deferred 4.4.1"), "{outcomes:?}");
    relay.stop().await;
}

#[tokio::test]
async fn a_dead_site_costs_one_connection_and_comes_back() {
    // It closes without a greeting, and counts how often.
    let script = Script {
        greeting: "",
        ..Script::default()
    };
    let server = Server::start(script).await;
    let address = server.address;
    let mut settings = settings(address.port());
    settings.probe_first = Duration::from_millis(400);
    settings.probe_longest = Duration::from_millis(400);
    let healthy = Server::start_at(
        format!("127.0.0.2:{}", address.port()).parse().unwrap(),
        Script::default(),
    )
    .await;
    let resolver =
        resolver(&[address]).with_address("ok.test".parse().unwrap(), healthy.address.ip());
    let relay = Relay::start(settings, resolver);
    for _ in 0..3000 {
        relay.work.add(&Mail::default());
    }
    relay.work.add(&Mail {
        to: &["b@also.test"],
        ..Mail::default()
    });
    let down = relay.work.events(1).await;
    assert!(
        matches!(&down[0], SiteEvent::Down { site, .. } if site == "mx0.test"),
        "{down:?}"
    );
    assert_eq!(server.heard().connections, 1);
    // Mail for others goes on.
    relay.work.add(&Mail {
        to: &["c@ok.test"],
        ..Mail::default()
    });
    let outcomes = relay.work.outcomes(2).await;
    assert!(
        outcomes[0].starts_with("a@to.test: deferred 4.4.2"),
        "{outcomes:?}"
    );
    assert!(
        outcomes[1].starts_with("c@ok.test: delivered"),
        "{outcomes:?}"
    );
    let trouble = relay.dispatcher.trouble(&"to.test".parse().unwrap());
    assert!(trouble.is_some());
    // Two probes later: one leg and one connection each, however many wait.
    relay.work.events(3).await;
    assert_eq!(server.heard().connections, 3);
    assert_eq!(relay.work.outcomes(4).await.len(), 4);
    assert_eq!(relay.work.waiting(), 2998);
    let claims = relay.work.claims.load(Ordering::Relaxed);
    assert!(claims < 100, "{claims} claims: it turns in circles");
    relay.stop().await;
}

#[tokio::test]
async fn a_site_that_comes_back_gets_all_that_waited() {
    let free = Server::start(Script::default()).await;
    let dead: SocketAddr = format!("127.0.0.2:{}", free.address.port())
        .parse()
        .unwrap();
    let mut settings = settings(dead.port());
    settings.probe_first = Duration::from_millis(300);
    let relay = Relay::start(settings, resolver(&[dead]));
    for _ in 0..200 {
        relay.work.add(&Mail::default());
    }
    relay.work.events(1).await;
    assert_eq!(
        relay.work.outcomes(1).await,
        ["a@to.test: deferred 4.4.1 connection refused"]
    );
    let server = Server::start_at(dead, Script::default()).await;
    let outcomes = relay.work.outcomes(200).await;
    let delivered = |o: &&String| o.contains("delivered 2.0.0");
    assert_eq!(outcomes.iter().filter(delivered).count(), 199);
    let events = relay.work.events(2).await;
    assert!(matches!(&events[1], SiteEvent::Up { .. }), "{events:?}");
    assert_eq!(relay.dispatcher.trouble(&"to.test".parse().unwrap()), None);
    relay.stop().await;
    assert_eq!(server.heard().messages.len(), 199);
}

#[tokio::test]
async fn a_site_that_rests_is_probed_when_somebody_wants_it() {
    let free = Server::start(Script::default()).await;
    let dead: SocketAddr = format!("127.0.0.2:{}", free.address.port())
        .parse()
        .unwrap();
    let mut settings = settings(dead.port());
    settings.probe_first = Duration::from_hours(1);
    let relay = Relay::start(settings, resolver(&[dead]));
    for _ in 0..20 {
        relay.work.add(&Mail::default());
    }
    relay.work.outcomes(1).await;
    let hosts = HashSet::from(["to.test".parse().unwrap()]);
    relay.dispatcher.probe_now(&hosts);
    relay.work.outcomes(2).await;
    assert_eq!(
        relay.work.events(2).await.len(),
        2,
        "one probe, and no more"
    );
    let server = Server::start_at(dead, Script::default()).await;
    relay.dispatcher.probe_now(&hosts);
    relay.work.outcomes(20).await;
    relay.stop().await;
    assert_eq!(server.heard().messages.len(), 18);
}

#[tokio::test]
async fn tls_when_it_works_and_clear_text_when_it_does_not() {
    let extensions = &["STARTTLS", "PIPELINING"][..];
    let server = Server::start(Script {
        extensions,
        tls: Tls::Works(certificate()),
        ..Script::default()
    })
    .await;
    let relay = Relay::start(settings(server.address.port()), resolver(&[server.address]));
    relay.work.add(&Mail::default());
    let delivered = ["a@to.test: delivered 2.0.0 | 250 2.0.0 taken"];
    assert_eq!(relay.work.outcomes(1).await, delivered);
    relay.stop().await;
    let heard = server.heard();
    assert_eq!((heard.connections, heard.handshakes), (1, 1));

    let server = Server::start(Script {
        extensions,
        ..Script::default()
    })
    .await;
    let mut settings = settings(server.address.port());
    settings.messages_per_connection = 1;
    let relay = Relay::start(settings, resolver(&[server.address]));
    relay.work.add(&Mail::default());
    assert_eq!(relay.work.outcomes(1).await, delivered);
    // The failed handshake, and clear text over a new connection.
    assert_eq!(server.heard().connections, 2);
    relay.work.add(&Mail::default());
    relay.work.outcomes(2).await;
    // Known by now: no second attempt.
    assert_eq!(server.heard().connections, 3);
    relay.stop().await;
}

#[tokio::test]
async fn a_host_that_can_take_it_is_preferred() {
    let small = Server::start(Script {
        extensions: &["SIZE 1000"],
        ..Script::default()
    })
    .await;
    let port = small.address.port();
    let large = Server::start_at(
        format!("127.0.0.2:{port}").parse().unwrap(),
        Script {
            extensions: &["SIZE 100000", "SMTPUTF8", "8BITMIME"],
            ..Script::default()
        },
    )
    .await;
    let relay = Relay::start(settings(port), resolver(&[small.address, large.address]));
    let delivered = "a@to.test: delivered 2.0.0 | 250 2.0.0 taken";
    relay.work.add(&Mail::default());
    assert_eq!(relay.work.outcomes(1).await, [delivered]);
    let body = "0123456789\r\n".repeat(1000);
    relay.work.add(&Mail {
        body: &body,
        ..Mail::default()
    });
    assert_eq!(relay.work.outcomes(2).await[1], delivered);
    let body = "0123456789\r\n".repeat(10_000);
    relay.work.add(&Mail {
        body: &body,
        ..Mail::default()
    });
    let outcome = &relay.work.outcomes(3).await[2];
    assert!(outcome.starts_with("a@to.test: failed 5.3.4"), "{outcome}");
    relay.work.add(&Mail {
        smtputf8: true,
        ..Mail::default()
    });
    assert_eq!(relay.work.outcomes(4).await[3], delivered);
    relay.stop().await;
    assert_eq!(small.heard().messages.len(), 1);
    assert_eq!(large.heard().messages.len(), 2);
}

#[tokio::test]
async fn what_no_host_can_take_fails_cleanly() {
    let server = Server::start(Script {
        extensions: &["SIZE 10"],
        ..Script::default()
    })
    .await;
    let relay = Relay::start(settings(server.address.port()), resolver(&[server.address]));
    relay.work.add(&Mail::default());
    let outcomes = relay.work.outcomes(1).await;
    assert!(
        outcomes[0].starts_with("a@to.test: failed 5.3.4"),
        "{outcomes:?}"
    );
    relay.work.add(&Mail {
        to: &["ü@to.test"],
        body: "x\r\n",
        ..Mail::default()
    });
    let outcomes = relay.work.outcomes(2).await;
    assert!(
        outcomes[1].starts_with("ü@to.test: failed 5.6.7"),
        "{outcomes:?}"
    );
    relay.stop().await;
}

#[tokio::test]
async fn the_peer_s_limit_of_recipients_is_kept() {
    let server = Server::start(Script {
        extensions: &["PIPELINING", "LIMITS RCPTMAX=2"],
        ..Script::default()
    })
    .await;
    let relay = Relay::start(settings(server.address.port()), resolver(&[server.address]));
    relay.work.add(&Mail {
        to: &[
            "a@to.test",
            "b@to.test",
            "c@to.test",
            "d@to.test",
            "e@to.test",
        ],
        ..Mail::default()
    });
    let outcomes = relay.work.outcomes(5).await;
    assert!(
        outcomes.iter().all(|o| o.contains("delivered")),
        "{outcomes:?}"
    );
    relay.stop().await;
    let mut sizes: Vec<_> = server
        .heard()
        .messages
        .iter()
        .map(|m| m.rcpt.len())
        .collect();
    sizes.sort_unstable();
    assert_eq!(sizes, [1, 2, 2]);
}

#[tokio::test]
async fn early_close_and_lost_bodies() {
    let server = Server::start(Script {
        mail: |_| "",
        ..Script::default()
    })
    .await;
    let relay = Relay::start(settings(server.address.port()), resolver(&[server.address]));
    relay.work.add(&Mail::default());
    let outcomes = relay.work.outcomes(1).await;
    assert!(
        outcomes[0].starts_with("a@to.test: deferred 4.4.2"),
        "{outcomes:?}"
    );
    relay.work.add(&Mail::default());
    relay.work.lose_bodies();
    let outcomes = relay.work.outcomes(2).await;
    assert!(
        outcomes[1].starts_with("a@to.test: deferred 4.3.0"),
        "{outcomes:?}"
    );
    relay.stop().await;
}

#[tokio::test]
async fn a_refusal_in_the_middle_of_the_body_is_heard() {
    use tokio::io::{AsyncReadExt, AsyncWriteExt};
    let listener = tokio::net::TcpListener::bind("127.0.0.1:0").await.unwrap();
    let address = listener.local_addr().unwrap();
    tokio::spawn(async move {
        let (mut stream, _) = listener.accept().await.unwrap();
        let mut bytes = vec![0; 100_000];
        for reply in [
            "220 mx.test",
            "250 mx.test",
            "250 ok",
            "250 ok",
            "354 go on",
        ] {
            let reply = format!("{reply}\r\n");
            stream.write_all(reply.as_bytes()).await.unwrap();
            assert_ne!(stream.read(&mut bytes).await.unwrap(), 0);
        }
        let refusal = b"552 5.2.2 mailbox full\r\n";
        stream.write_all(refusal).await.unwrap();
        // Closes with most of the body unread: a reset.
    });
    let relay = Relay::start(settings(address.port()), resolver(&[address]));
    let body = "0123456789\r\n".repeat(1_000_000);
    relay.work.add(&Mail {
        body: &body,
        ..Mail::default()
    });
    let outcomes = relay.work.outcomes(1).await;
    assert_eq!(
        outcomes,
        ["a@to.test: failed 5.2.2 | 552 5.2.2 mailbox full"]
    );
    relay.stop().await;
}

#[tokio::test]
async fn a_silent_greeting_times_out_and_a_running_transaction_may_finish_at_shutdown() {
    let listener = tokio::net::TcpListener::bind("127.0.0.1:0").await.unwrap();
    let address = listener.local_addr().unwrap();
    let mut settings = settings(address.port());
    settings.timeouts.greeting = Duration::from_millis(300);
    let relay = Relay::start(settings, resolver(&[address]));
    relay.work.add(&Mail::default());
    let outcomes = relay.work.outcomes(1).await;
    assert!(
        outcomes[0].starts_with("a@to.test: deferred 4.4.2"),
        "{outcomes:?}"
    );
    assert!(outcomes[0].contains("greeting"), "{outcomes:?}");
    relay.stop().await;

    let (server, relay) = start(Script::default()).await;
    let body = "0123456789\r\n".repeat(500_000);
    relay.work.add(&Mail {
        body: &body,
        ..Mail::default()
    });
    // As soon as it has begun.
    support::within(async {
        while !server
            .heard()
            .reads
            .iter()
            .any(|read| read.contains("DATA"))
        {
            tokio::task::yield_now().await;
        }
    })
    .await;
    let work = relay.stop().await;
    let delivered = "a@to.test: delivered 2.0.0 | 250 2.0.0 taken";
    assert_eq!(work.outcomes(1).await, [delivered]);
}

#[tokio::test]
async fn dns_decides() {
    let server = Server::start(Script::default()).await;
    let resolver = resolver(&[server.address])
        .with_null_mx("null.test".parse().unwrap())
        .with_trouble("ill.test".parse().unwrap(), "SERVFAIL");
    let relay = Relay::start(settings(server.address.port()), resolver);
    relay.work.add(&Mail {
        to: &["a@null.test", "a@nope.test", "a@ill.test", "a@[127.0.0.1]"],
        ..Mail::default()
    });
    let mut outcomes = relay.work.outcomes(4).await;
    outcomes.sort();
    assert_eq!(
        outcomes,
        [
            "a@[127.0.0.1]: delivered 2.0.0 | 250 2.0.0 taken",
            "a@ill.test: deferred 4.4.3 cannot look up ill.test: SERVFAIL",
            "a@nope.test: failed 5.1.2 no such domain: nope.test",
            "a@null.test: failed 5.1.10 null.test takes no mail (null MX)",
        ]
    );
    relay.stop().await;
}

#[tokio::test]
async fn shutdown_gives_back_what_was_not_done() {
    // Never answers the greeting in time.
    let listener = tokio::net::TcpListener::bind("127.0.0.1:0").await.unwrap();
    let address = listener.local_addr().unwrap();
    let mut settings = settings(address.port());
    settings.timeouts.greeting = Duration::from_secs(60);
    let relay = Relay::start(settings, resolver(&[address]));
    for _ in 0..100 {
        relay.work.add(&Mail::default());
    }
    let (_stream, _) = support::within(listener.accept()).await.unwrap();
    let work = relay.stop().await;
    assert_eq!(work.waiting(), 100);
    assert_eq!(work.outcomes(0).await, Vec::<String>::new());
}

#[tokio::test(flavor = "multi_thread", worker_threads = 4)]
async fn many_domains_at_many_sites_on_many_threads() {
    let first = Server::start(Script::default()).await;
    let port = first.address.port();
    let mut servers = vec![first];
    let mut resolver = Fixed::new();
    for site in 2..7 {
        let address = format!("127.0.0.{site}:{port}").parse().unwrap();
        servers.push(Server::start_at(address, Script::default()).await);
    }
    for domain in 0..60 {
        let server = &servers[domain % servers.len()];
        let exchange: Domain = format!("mx{}.test", domain % 6).parse().unwrap();
        resolver = resolver.with_mx(
            format!("d{domain}.test").parse().unwrap(),
            1,
            exchange.clone(),
        );
        if domain < 6 {
            resolver = resolver.with_address(exchange, server.address.ip());
        }
    }
    let mut settings = settings(port);
    settings.connections = 10;
    settings.idle = Duration::from_millis(50);
    let relay = Relay::start(settings, resolver);
    for message in 0..3000 {
        let to = format!("u@d{}.test", message % 60);
        relay.work.add(&Mail {
            to: &[&to],
            ..Mail::default()
        });
    }
    let outcomes = relay.work.outcomes(3000).await;
    assert!(outcomes.iter().all(|o| o.contains("delivered 2.0.0")));
    relay.stop().await;
    for server in &servers {
        let heard = server.heard();
        assert_eq!(heard.messages.len(), 500);
        assert!(heard.open_max <= 10, "{}", heard.open_max);
    }
}

fn certificate() -> Arc<rustls::ServerConfig> {
    let made = rcgen::generate_simple_self_signed(["wrong.test".to_owned()]).unwrap();
    let key = rustls::pki_types::PrivatePkcs8KeyDer::from(made.signing_key.serialize_der());
    let provider = Arc::new(rustls::crypto::aws_lc_rs::default_provider());
    let config = rustls::ServerConfig::builder_with_provider(provider)
        .with_safe_default_protocol_versions()
        .unwrap()
        .with_no_client_auth()
        .with_single_cert(vec![made.cert.der().clone()], key.into())
        .unwrap();
    Arc::new(config)
}

/// A bug in the middle of an attempt: it costs that attempt, and the next message goes.
async fn check_broken(call: &'static str) {
    let (_, relay) = start(Script::default()).await;
    relay.work.break_next(call);
    relay.work.add(&Mail::default());
    let broken = "a@to.test: deferred 4.3.0 internal error";
    assert_eq!(relay.work.outcomes(1).await, [broken], "{call}");
    relay.work.add(&Mail::default());
    let outcomes = relay.work.outcomes(2).await;
    let delivered = "a@to.test: delivered 2.0.0 | 250 2.0.0 taken";
    assert_eq!(outcomes[1], delivered, "{call}");
    // An idle connection was not left behind either.
    relay.stop().await;
}

#[tokio::test]
async fn a_panic_costs_its_attempt_only() {
    check_broken("open").await;
    check_broken("settle").await;
}

#[tokio::test]
async fn a_panic_over_mail_without_a_host_costs_its_attempt_only() {
    let relay = Relay::start(settings(25), resolver(&[]));
    relay.work.break_next("settle");
    relay.work.add(&Mail::default());
    let broken = "a@to.test: deferred 4.3.0 internal error";
    assert_eq!(relay.work.outcomes(1).await, [broken]);
    relay.stop().await;
}

#[tokio::test]
async fn a_panic_in_a_claim_does_not_end_delivery() {
    let (_, relay) = start(Script::default()).await;
    relay.work.break_next("claim");
    relay.work.add(&Mail::default());
    let delivered = "a@to.test: delivered 2.0.0 | 250 2.0.0 taken";
    assert_eq!(relay.work.outcomes(1).await, [delivered]);
    relay.stop().await;
}

#[tokio::test]
async fn a_panic_in_a_lookup_defers_what_waited_for_it() {
    struct Broken(Fixed, AtomicBool);
    impl Resolver for Broken {
        async fn mx(&self, name: &str) -> Result<dns::Answer<Mx>, dns::Error> {
            assert!(
                !self.1.swap(false, Ordering::Relaxed),
                "as the test wants it"
            );
            self.0.mx(name).await
        }
        async fn ipv4(&self, name: &str) -> Result<Vec<Ipv4Addr>, dns::Error> {
            self.0.ipv4(name).await
        }
        async fn ipv6(&self, name: &str) -> Result<Vec<Ipv6Addr>, dns::Error> {
            self.0.ipv6(name).await
        }
        async fn txt(&self, _: &str) -> Result<Vec<Vec<u8>>, dns::Error> {
            unreachable!("delivery asks for none")
        }
        async fn names(&self, _: IpAddr) -> Result<Vec<Domain>, dns::Error> {
            unreachable!("delivery asks for none")
        }
    }
    let server = Server::start(Script::default()).await;
    let resolver = Broken(resolver(&[server.address]), AtomicBool::new(true));
    let relay = Relay::start(settings(server.address.port()), resolver);
    relay.work.add(&Mail::default());
    let broken = "a@to.test: deferred 4.3.0 internal error";
    assert_eq!(relay.work.outcomes(1).await, [broken]);
    relay.work.add(&Mail::default());
    let outcomes = relay.work.outcomes(2).await;
    assert!(outcomes[1].contains("delivered"), "{outcomes:?}");
    relay.stop().await;
}

#[tokio::test]
async fn what_a_peer_took_is_on_record_before_its_leave_is_waited_for() {
    // It wants QUIT after each message, and never answers that.
    let script = Script {
        extensions: &["LIMITS MAILMAX=1"],
        quit: "wait",
        ..Script::default()
    };
    let (_, relay) = start_with(script, |settings| {
        settings.timeouts.quit = Duration::from_secs(60);
        settings.drain = Duration::from_millis(100);
    })
    .await;
    relay.work.add(&Mail::default());
    let delivered = "a@to.test: delivered 2.0.0 | 250 2.0.0 taken";
    assert_eq!(relay.work.outcomes(1).await, [delivered]);
    let work = relay.stop().await;
    assert_eq!(work.waiting(), 0, "given back though it was delivered");
}
