//! Writes a small spool of today's format, to be kept for tests of later versions:
//! `cargo run -p queue --example old_spool -- tests/spools/v1`.
//!
//! Five messages: plain; on hold; large enough for chunk records, to two targets; tried twice; removed. And a token. The zeros
//! behind each segment's end and the index (it is made anew) are left out.

use std::error::Error;
use std::fs;
use std::path::Path;
use std::time::Duration;

use envelope::{BodyKind, Leg, Message, MessageId, ReversePath, Timestamp};
use queue::{LogSpool, Settings};
use spool::{Action, Arrival, BodyWriter, Clock, Filter, Spool, Update, Want};
use testkit::nouns;

fn at(seconds: u64) -> Timestamp {
    Timestamp::from_unix_millis((1_750_000_000 + seconds) * 1000)
}

type Done<T> = Result<T, Box<dyn Error>>;

fn leg(target: &str) -> Done<Leg> {
    Ok(Leg {
        trace: "Delivered-To: alice@example.test\r\n".into(),
        ..Leg::new(
            ReversePath::Mailbox("SRS0=x=y=sender.test=origin@fwd.test".parse()?),
            target.parse()?,
            "alice@example.test".parse()?,
        )
    })
}

async fn put(spool: &LogSpool, n: u64, octets: usize, targets: &[&str]) -> Done<MessageId> {
    let id = MessageId::new(at(n), u128::from(n));
    let mut body = format!("Subject: message {n}\r\n\r\n").into_bytes();
    let line = format!("{:>76}\r\n", format!("line of message {n}"));
    while body.len() < octets {
        body.extend_from_slice(line.as_bytes());
    }
    let message = Message {
        body: BodyKind::EightBitMime,
        envid: Some("an-envelope-id".into()),
        ..Message::new(
            id,
            at(n),
            ReversePath::Mailbox("origin@sender.test".parse()?),
            body.len() as u64,
        )
    };
    let mut writer = spool.begin(id).await?;
    writer.write(body).await?;
    let legs = targets
        .iter()
        .map(|target| leg(target))
        .collect::<Done<_>>()?;
    spool
        .commit(writer, Arrival::new(message, legs, at(n)))
        .await?;
    Ok(id)
}

fn one(id: MessageId) -> Filter {
    Filter::only(id)
}

async fn fill(spool: &LogSpool) -> Done<()> {
    let tried = put(spool, 4, 300, &["alice@target.test"]).await?;
    for attempts in 1..=2 {
        let want = Want {
            max: 1,
            per_host: 1,
            lease: Duration::from_secs(60),
        };
        let claim = spool.claim(&want).await?.remove(0);
        assert_eq!(claim.message.id, tried);
        let update = Update {
            attempts,
            warned: false,
            last: Some(nouns::deferral("450 4.2.1 busy")),
            dsn: None,
        };
        spool.reschedule(claim.lease, at(10), update).await?;
    }
    put(spool, 1, 300, &["alice@target.test"]).await?;
    let held = put(spool, 2, 300, &["alice@target.test"]).await?;
    put(spool, 3, 20_000, &["alice@target.test", "bob@target.test"]).await?;
    let removed = put(spool, 5, 300, &["alice@target.test"]).await?;
    spool
        .admin(&one(held), Action::Hold, None, usize::MAX)
        .await?;
    spool
        .admin(&one(removed), Action::Remove, None, usize::MAX)
        .await?;
    Ok(())
}

#[tokio::main]
async fn main() -> Done<()> {
    let to = std::env::args().nth(1).ok_or("where to?")?;
    let dir = std::env::temp_dir().join(format!("onward-old-spool-{}", std::process::id()));
    let settings = Settings {
        segment_bytes: Settings::SEGMENT_BYTES_MIN,
        min_free_bytes: 0,
        clock: Clock::manual(at(20)),
        ..Settings::new(&dir)
    };
    let spool = LogSpool::open(settings)?;
    fill(&spool).await?;
    spool.close();
    let to = Path::new(&to);
    fs::create_dir_all(to.join("log"))?;
    fs::copy(dir.join("id"), to.join("id"))?;
    for file in fs::read_dir(dir.join("log"))? {
        let path = file?.path();
        if path.extension().is_some_and(|extension| extension == "seg") {
            let mut bytes = fs::read(&path)?;
            let used = bytes
                .iter()
                .rposition(|octet| *octet != 0)
                .map_or(0, |last| last + 1);
            bytes.truncate(used);
            fs::write(
                to.join("log").join(path.file_name().unwrap_or_default()),
                bytes,
            )?;
        }
    }
    fs::remove_dir_all(&dir)?;
    Ok(())
}
