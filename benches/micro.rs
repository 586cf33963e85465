//! Micro-benchmarks of what runs for every message: SRS, SPF, the dot decoder, the command parser, verification, limits, a durable append.
//!
//! `cargo bench --bench micro`; figures are of one thread. The append writes to the folder for temporary files, so that
//! its time is that of this disk's fdatasync, with one writer: batches only pay with several.

#![expect(
    clippy::unwrap_used,
    reason = "a benchmark that cannot go on must stop"
)]

use std::hint::black_box;
use std::net::{Ipv4Addr, SocketAddr};
use std::time::Duration;

use authentic::{Key, Kind, Reader};
use bytes::Bytes;
use counters::{Counters, Freezes};
use criterion::{Criterion, Throughput, criterion_group, criterion_main};
use dns::{Hickory, Resolver as _};
use envelope::{Leg, Mailbox, Message, ReversePath, Timestamp};
use queue::{LogSpool, Settings};
use smtp::dot::Decoder;
use spool::{Arrival, BodyWriter, IdSource, Spool};
use srs::{Day, Srs};
use testkit::dns::Dns;

fn srs(c: &mut Criterion) {
    let srs = Srs::new(srs::Settings::new(["a secret of some length"])).unwrap();
    let today = Day::from_unix_secs(1_795_264_496);
    c.bench_function("srs/encode+decode", |b| {
        b.iter(|| {
            let local = srs
                .forward(black_box("bob.smith"), black_box("sender.example"), today)
                .unwrap();
            srs.reverse(black_box(&local), today).unwrap()
        });
    });
}

/// A record with two includes, the last with many networks: what large providers have.
fn spf(c: &mut Criterion) {
    let networks: String = (0..16).map(|n| format!(" ip4:198.18.{n}.0/24")).collect();
    let last = format!("v=spf1{networks} ip4:192.0.2.0/24 ~all");
    let records = [
        "v=spf1 ip4:203.0.113.0/24 include:_spf.example.net ~all",
        "v=spf1 include:_last.example.net ~all",
        &last,
    ];
    let evaluate = || {
        let client = "192.0.2.7".parse().unwrap();
        let query = spf::Query::mail_from(client, "mx.example.org", "alice", "example.org");
        let mut evaluation = spf::Evaluation::new(query);
        for record in records {
            let spf::Step::Ask(mut lookups) = evaluation.step() else {
                unreachable!("each record leads to the next")
            };
            let answer = spf::Answer::Txt(vec![record.into()]);
            evaluation.answer(lookups.remove(0), answer);
        }
        match evaluation.step() {
            spf::Step::Done(output) => output,
            spf::Step::Ask(_) => unreachable!("the last record decides"),
        }
    };
    assert_eq!(evaluate().verdict, spf::Verdict::Pass);
    c.bench_function("spf/evaluate, two includes", |b| b.iter(evaluate));
}

fn dots(c: &mut Criterion) {
    let line = b"The quick brown fox jumps over the lazy dog, and then it does so once more...\r\n";
    let mut body = line.repeat((1 << 20) / line.len());
    body.extend_from_slice(b"..a line that begins with a dot\r\n.\r\n");
    let mut group = c.benchmark_group("dot");
    group.throughput(Throughput::Bytes(body.len() as u64));
    let mut out = Vec::with_capacity(body.len());
    group.bench_function("decode", |b| {
        b.iter(|| {
            out.clear();
            Decoder::default().decode(black_box(&body), &mut out)
        });
    });
    group.finish();
}

fn commands(c: &mut Criterion) {
    let mut group = c.benchmark_group("command");
    for (name, line) in [
        (
            "mail",
            &b"MAIL FROM:<bob@sender.example> SIZE=10240 BODY=8BITMIME"[..],
        ),
        ("rcpt", b"RCPT TO:<alice@example.org>"),
        ("data", b"DATA"),
    ] {
        group.bench_function(name, |b| {
            b.iter(|| smtp::command::parse(black_box(line)).unwrap())
        });
    }
    group.finish();
}

/// A message of 10 KiB with one signature (RSA-2048) and a DMARC policy: read, and verified with the answers that DNS gives from its cache.
fn verification(c: &mut Criterion) {
    let domain = || "sender.example".parse().unwrap();
    let (key, _) = Key::generate(domain(), "s1".parse().unwrap(), Kind::Rsa2048).unwrap();
    let line = b"The quick brown fox jumps over the lazy dog, and then it does so once more...\r\n";
    let unsigned = [
        &b"From: Bob <bob@sender.example>\r\n\r\n"[..],
        &line.repeat(125),
    ]
    .concat();
    let now = 1_795_264_496;
    let mut reader = Reader::signing();
    reader.feed(&unsigned);
    let signature = authentic::sign(&key, &reader.finish(), now).unwrap();
    let message = [signature.as_bytes(), &unsigned].concat();
    let read = || {
        let mut reader = Reader::default();
        reader.feed(black_box(&message));
        reader.finish()
    };
    let runtime = tokio::runtime::Runtime::new().unwrap();
    let records = format!(
        "_dmarc.sender.example TXT v=DMARC1; p=reject\n{} TXT {}\n",
        key.record_name(),
        key.record().unwrap()
    );
    let nowhere = SocketAddr::from((Ipv4Addr::LOCALHOST, 0));
    let dns = runtime
        .block_on(Dns::start_at(nowhere, 3600, &records))
        .unwrap();
    let resolver = runtime.block_on(async {
        Hickory::new(&dns::Settings {
            servers: vec![dns.address()],
            ..dns::Settings::default()
        })
        .unwrap()
    });
    let parsed = read();
    let verify = || parsed.verify(&resolver, authentic::Spf::Other, now);
    let found = runtime.block_on(verify());
    assert_eq!(found.dmarc.verdict, authentic::Verdict::Pass);
    c.bench_function("authentic/read 10 KiB", |b| b.iter(read));
    c.bench_function("authentic/verify", |b| {
        b.iter(|| runtime.block_on(verify()))
    });
    c.bench_function("dns/cached TXT", |b| {
        b.iter(|| runtime.block_on(resolver.txt("_dmarc.sender.example")))
    });
    c.bench_function("dns/cached NXDOMAIN", |b| {
        b.iter(|| runtime.block_on(resolver.txt("_dmarc.example")))
    });
}

/// Of a client, beside a million others that are counted and 100,000 that are frozen.
fn limits(c: &mut Criterion) {
    let limit = counters::Limit {
        name: "flood".into(),
        key: counters::Kind::Client,
        of: counters::Of::Messages,
        max: 100,
        per: Duration::from_hours(1),
        then: counters::Then::Defer,
        usual: 0,
        passes_known: false,
    };
    let client = |n: u32| counters::Key::client(Ipv4Addr::from_bits(n).into());
    let (counters, freezes) = (Counters::new(), Freezes::in_memory());
    let now = Duration::from_secs(1);
    for n in 0..1_000_000 {
        counters.take(&limit, &client(n), 1, now);
    }
    for n in 0..100_000 {
        freezes.freeze(&client(n), "flood", Timestamp::from_unix_millis(0));
    }
    let mut n = 0;
    let mut next = || {
        n = (n + 7919) % 1_000_000;
        client(n)
    };
    c.bench_function("limit/look", |b| {
        b.iter(|| counters.fits(&limit, &next(), 1, now));
    });
    c.bench_function("limit/take", |b| {
        b.iter(|| counters.take(&limit, &next(), 1, now));
    });
    c.bench_function("limit/frozen", |b| b.iter(|| freezes.find(&next())));
}

fn append(c: &mut Criterion) {
    let folder = tempfile::tempdir().unwrap();
    let now = Timestamp::from_unix_millis(1_795_264_496_000);
    let settings = Settings {
        min_free_bytes: 0,
        min_free_inodes: 0,
        ..Settings::new(folder.path())
    };
    let spool = LogSpool::open(settings).unwrap();
    let ids = IdSource::new();
    let body = Bytes::from(vec![b'x'; 10 << 10]);
    let runtime = tokio::runtime::Runtime::new().unwrap();
    let mut group = c.benchmark_group("spool");
    group.throughput(Throughput::Elements(1));
    group.bench_function("commit 10 KiB, one writer", |b| {
        b.iter(|| {
            runtime.block_on(async {
                let id = ids.next(now);
                let mut writer = spool.begin(id).await.unwrap();
                writer.write(body.clone()).await.unwrap();
                spool
                    .commit(writer, Arrival::new(message(id, now), vec![leg()], now))
                    .await
                    .unwrap();
                // So that the queue does not grow with the number of runs.
                let only = spool::Filter::only(id);
                spool
                    .admin(&only, spool::Action::Remove, None, usize::MAX)
                    .await
                    .unwrap()
            })
        });
    });
    group.finish();
    spool.close();
}

fn message(id: envelope::MessageId, now: Timestamp) -> Message {
    Message::new(
        id,
        now,
        ReversePath::Mailbox(mailbox("bob@sender.example")),
        10 << 10,
    )
}

fn leg() -> Leg {
    Leg {
        trace: "Delivered-To: alice@example.org\r\n".into(),
        ..Leg::new(
            ReversePath::Mailbox(mailbox("SRS0=abcd=2W=sender.example=bob@fwd.example.net")),
            mailbox("alice@mail.example.com"),
            mailbox("alice@example.org"),
        )
    }
}

fn mailbox(text: &str) -> Mailbox {
    text.parse().unwrap()
}

criterion_group!(
    benches,
    srs,
    spf,
    dots,
    commands,
    verification,
    limits,
    append
);
criterion_main!(benches);
