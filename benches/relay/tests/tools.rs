//! The source against the destination, with nothing between: every mode, every script.

use std::net::SocketAddr;
use std::time::{Duration, Instant};

use crate::load::{Idle, Load, Progress, Sent, Sizes, send};
use crate::sink::{Door, Phase, Received, Script, Sink, SinkSettings};

pub(super) const PATIENCE: Duration = Duration::from_secs(30);

/// A sink of one site.
pub(super) fn sink(script: Script) -> Sink {
    Sink::start(SinkSettings {
        binds: vec!["127.0.0.1:0".parse().unwrap()],
        script,
        seed: 1,
    })
    .unwrap()
}

/// A load of small messages over four connections.
pub(super) fn load(to: SocketAddr, messages: u64) -> Load {
    let senders = "SRS0=hash=tt=a.example=sender{n}@b.example"
        .parse()
        .unwrap();
    let recipients = "user{n}-{i}@c{zipf:100}.example".parse().unwrap();
    Load {
        connections: 4,
        messages,
        sizes: Sizes::Fixed(3000),
        time_limit: PATIENCE,
        retry_after: Duration::from_millis(5),
        ..Load::new(to, senders, recipients)
    }
}

pub(super) fn run(load: &Load) -> Sent {
    send(load, &Progress::default()).unwrap()
}

/// Waits until `reached`, at most for as long as anything may take.
#[track_caller]
pub(super) fn until(reached: impl Fn() -> bool) {
    let begun = Instant::now();
    while !reached() {
        assert!(begun.elapsed() < PATIENCE);
        std::thread::sleep(Duration::from_millis(1));
    }
}

/// Waits for all that must come, and wants nothing damaged, lost or twice.
#[track_caller]
pub(super) fn all_well(sink: &Sink, sent: &Sent) -> Received {
    let is_there = sink.wait_for(sent, PATIENCE);
    let received = sink.report(sent);
    assert!(is_there, "{sent:?}\n{received:?}");
    assert_eq!(received.distinct, sent.ledger.copies(), "{received:?}");
    assert_eq!(received.latency.summary().count, received.distinct);
    let bad = (received.lost, received.duplicates, received.damaged);
    assert_eq!(bad, (0, 0, 0), "{received:?}");
    received
}

/// Sends a hundred messages as `change` wants it to a sink with this script; all must be accepted and arrive.
#[track_caller]
fn check(script: Script, change: impl FnOnce(&mut Load)) -> (Sink, Sent) {
    let sink = sink(script);
    let mut load = load(sink.addresses()[0], 100);
    change(&mut load);
    let sent = run(&load);
    assert_eq!(sent.accepted, load.messages, "{sent:?}");
    let undone = (sent.deferred, sent.refused, sent.broken, sent.unsent);
    assert_eq!(undone, (0, 0, 0, 0));
    let received = all_well(&sink, &sent);
    let copies = load.messages * load.recipients_per_message as u64;
    assert_eq!(received.distinct, copies);
    (sink, sent)
}

#[test]
fn every_mode_of_sending() {
    for mode in 0..8 {
        let script = Script {
            starttls: true,
            ..Script::default()
        };
        let (sink, sent) = check(script, |load| {
            load.pipelining = mode & 1 > 0;
            load.chunking = mode & 2 > 0;
            load.starttls = mode & 4 > 0;
            load.recipients_per_message = 3;
        });
        assert_eq!((sent.connected, sent.retried), (4, 0), "mode {mode}");
        assert_eq!(sent.latency.summary().count, 100);
        let counts = sink.counts();
        assert_eq!((counts.messages, counts.srs0), (100, 100));
        assert_eq!(sink.report(&sent).srs_share, 1.0);
    }
}

#[test]
fn what_is_offered_is_a_script_s_to_say() {
    let script = Script {
        pipelining: false,
        chunking: false,
        ..Script::default()
    };
    check(script, |load| load.chunking = true);
    let sink = sink(Script::default());
    let mut load = load(sink.addresses()[0], 1);
    load.starttls = true;
    let sent = run(&load);
    assert_eq!(sent.unsent, 1);
    assert!(sent.first_error.unwrap().contains("STARTTLS"));
}

#[test]
fn connections_of_few_messages() {
    let (sink, sent) = check(Script::default(), |load| load.per_connection = Some(10));
    assert!((10..=13).contains(&sent.connected), "{}", sent.connected);
    assert_eq!(sink.counts().connections, sent.connected);
}

#[test]
fn sizes_of_real_mail() {
    let (sink, sent) = check(Script::default(), |load| {
        load.sizes = Sizes::Real;
        load.messages = 500;
    });
    let mean = sent.octets / 500;
    assert!((25_000..200_000).contains(&mean), "{mean}");
    assert_eq!(sink.counts().octets, sent.octets);
}

#[test]
fn sizes_are_exact() {
    for octets in 1024..1124 {
        let (_, sent) = check(Script::default(), |load| {
            load.sizes = Sizes::Fixed(octets);
            load.messages = 1;
        });
        // A cut between CR and LF is moved by one.
        assert!(sent.octets == octets as u64 || sent.octets + 1 == octets as u64);
    }
}

#[test]
fn deferred_mail_is_sent_again() {
    for phase in [Phase::Mail, Phase::Rcpt, Phase::Data, Phase::Dot] {
        for chunking in [false, true] {
            let (sink, sent) = check(Script::deferring(phase, 0.3), |load| {
                load.retry = true;
                load.recipients_per_message = 2;
                load.chunking = chunking && phase != Phase::Data;
            });
            assert!(sent.retried > 10, "{phase:?}: {}", sent.retried);
            assert!(sink.counts().deferred >= sent.retried);
        }
    }
}

#[test]
fn refused_mail_is_not() {
    let sink = sink(Script::refusing(Phase::Dot, 0.5));
    let load = Load {
        retry: true,
        ..load(sink.addresses()[0], 200)
    };
    let sent = run(&load);
    assert_eq!(sent.accepted + sent.refused, 200);
    assert!((60..140).contains(&sent.refused), "{}", sent.refused);
    assert_eq!((sent.retried, sink.counts().refused), (0, sent.refused));
    assert_eq!(all_well(&sink, &sent).distinct, sent.accepted);
}

#[test]
fn some_recipients_are_refused() {
    let sink = sink(Script::refusing(Phase::Rcpt, 0.5));
    let load = Load {
        recipients_per_message: 4,
        ..load(sink.addresses()[0], 100)
    };
    let sent = run(&load);
    assert_eq!(sent.accepted + sent.refused, 100);
    let received = all_well(&sink, &sent);
    assert!((120..280).contains(&received.distinct), "{received:?}");
}

#[test]
fn cut_connections_leave_doubt_but_no_loss() {
    let mut script = Script::default();
    script.at_mut(Phase::Dot).drop = 0.2;
    let sink_of_cuts = sink(script.clone());
    let sent = run(&load(sink_of_cuts.addresses()[0], 100));
    assert_eq!(sent.accepted + sent.broken, 100);
    assert!((5..40).contains(&sent.broken), "{}", sent.broken);
    assert_eq!(all_well(&sink_of_cuts, &sent).distinct, sent.accepted);
    let (sink, sent) = check(script, |load| load.retry = true);
    assert_eq!(sink.counts().dropped, sent.retried);
}

#[test]
fn greylisting_everywhere_then_release() {
    let script = Script {
        greylist: Some(Duration::from_secs(3600)),
        ..Script::default()
    };
    let sink = sink(script);
    let load = Load {
        retry: true,
        ..load(sink.addresses()[0], 50)
    };
    let sent = std::thread::scope(|scope| {
        let sending = scope.spawn(|| run(&load));
        until(|| sink.counts().deferred >= 60);
        sink.set_script(&Script::default());
        sending.join().unwrap()
    });
    assert_eq!((sent.accepted, sink.counts().deferred), (50, sent.retried));
    all_well(&sink, &sent);
    let script = Script {
        greylist: Some(Duration::from_millis(200)),
        ..Script::default()
    };
    let (_, sent) = check(script, |load| load.retry = true);
    assert!(sent.retried >= 100 && sent.elapsed >= Duration::from_millis(200));
}

#[test]
fn limits_of_connections() {
    let script = Script {
        connections_max: Some(2),
        ..Script::slow(Duration::from_millis(2))
    };
    let (sink, _) = check(script, |_| {});
    let counts = sink.counts();
    assert!(
        counts.turned_away >= 2 && counts.open_max >= 3,
        "{counts:?}"
    );
    let script = Script {
        messages_max: Some(7),
        ..Script::default()
    };
    let (_, sent) = check(script, |load| load.retry = true);
    assert!(sent.connected >= 15, "{}", sent.connected);
    let script = Script {
        recipients_max: Some(2),
        ..Script::default()
    };
    let (_, sent) = check(script, |load| {
        load.retry = true;
        load.messages = 10;
        load.recipients_per_message = 5;
    });
    assert_eq!(sent.retried, 20);
}

#[test]
fn slow_sites_and_slow_readers() {
    let wait = Duration::from_millis(100);
    let (_, sent) = check(Script::slow(wait), |load| load.messages = 8);
    assert!(sent.latency.summary().p50 >= 100_000 && sent.elapsed >= wait * 2);
    let script = Script {
        read_rate: Some(400_000),
        ..Script::default()
    };
    let (_, sent) = check(script, |load| {
        load.messages = 4;
        load.sizes = Sizes::Fixed(100_000);
    });
    assert!(sent.latency.summary().p50 >= 200_000, "{sent:?}");
}

#[test]
fn doors() {
    let sink = sink(Script::default());
    let load = load(sink.addresses()[0], 10);
    sink.set_door(0, Door::Closed).unwrap();
    let progress = Progress::default();
    let refused = Load {
        time_limit: Duration::from_millis(300),
        ..load.clone()
    };
    let sent = send(&refused, &progress).unwrap();
    assert_eq!((sent.unsent, sink.counts().connections), (10, 0));
    assert!(sent.first_error.unwrap().contains("refused"));
    sink.set_door(0, Door::Reset).unwrap();
    assert_eq!(send(&refused, &progress).unwrap().accepted, 0);
    let counts = sink.counts();
    assert!(counts.connections > 4 && counts.turned_away == counts.connections);
    sink.set_door(0, Door::Open).unwrap();
    let sent = run(&load);
    assert_eq!(all_well(&sink, &sent).distinct, 10);
}

#[test]
fn bounces_go_to_reverse_paths_that_were_collected() {
    let sink = sink(Script::default());
    sink.collect_reverse_paths(20);
    let to = sink.addresses()[0];
    all_well(&sink, &run(&load(to, 50)));
    let bounce_to = sink.reverse_paths();
    assert_eq!(bounce_to.len(), 20);
    assert!(bounce_to.iter().all(|path| path.starts_with("SRS0=")));
    let bounces = Load {
        null_share: 0.5,
        bounce_to,
        run: 2,
        ..load(to, 400)
    };
    let sent = run(&bounces);
    all_well(&sink, &sent);
    let null = sink.counts().null;
    assert!((140..260).contains(&null), "{null}");
    assert_eq!(sink.report(&sent).srs_share, 1.0);
    sink.forget(2);
    assert_eq!((sink.copies(1), sink.copies(2)), (50, 0));
}

#[test]
fn idle_connections_are_held() {
    let sink = sink(Script::default());
    let idle = Idle::open(sink.addresses()[0], 200, 3, PATIENCE).unwrap();
    assert_eq!((idle.connections(), idle.still_open()), (200, 200));
    assert_eq!(sink.counts().open, 200);
    drop(sink);
    assert_eq!(idle.still_open(), 0);
}

#[test]
fn settings_that_contradict_themselves() {
    #[track_caller]
    fn refused(change: impl FnOnce(&mut Load)) {
        let mut load = load("127.0.0.1:1".parse().unwrap(), 1);
        change(&mut load);
        assert!(send(&load, &Progress::default()).is_err());
    }
    refused(|load| load.connections = 0);
    refused(|load| load.per_connection = Some(0));
    refused(|load| load.recipients_per_message = 0);
    refused(|load| load.null_share = 0.5);
    refused(|load| load.pace = crate::load::Pace::Open { per_second: 0.0 });
    refused(|load| {
        load.null_share = 1.0;
        load.bounce_to = vec!["a@b>\r\nRSET".to_owned()];
    });
}
