//! Mail that goes from one engine to another, and comes back.

use envelope::{Diagnosis, Leg, LegId};

use super::{Engine, at, body, claim, id, leg, message, minutes, number, open, read};
use crate::{
    Action, Arrival, BodyWriter, Clock, Deadlines, Entry, Filter, Lifetime, Spool, Update,
    memory::MemorySpool,
};

/// From there to here and back again: numbers, due times, attempts, warnings, holds, and what was said; after a restart too.
pub async fn what_comes_back_is_as_it_stood<E: Engine>(engine: &E) {
    let (spool, clock) = open(engine).await;
    let memory = MemorySpool::new(clock.clone(), Lifetime::default());
    let stood = fill(&memory, &clock).await;
    assert_eq!(stood.len(), 4);
    assert_eq!(bring(&spool, &stood).await, Ok(true));
    assert_eq!(seen(&list(&spool).await), seen(&stood));
    assert_eq!(bring(&spool, &stood[..1]).await, Ok(false), "it is queued");
    drop(spool);
    let spool = engine.open(&clock).await;
    let stood_here = list(&spool).await;
    assert_eq!(seen(&stood_here), seen(&stood));
    assert_eq!(read(&spool, 1).await, Ok(body(OCTETS)));
    let claimed = claim(&spool).await;
    let numbers = claimed.iter().map(|claim| claim.lease.leg.number);
    assert_eq!(numbers.collect::<Vec<_>>(), [4], "the others wait");
    let why = spool.overdue(9, minutes(1)).await.expect("a batch");
    let why = why.iter().map(|it| (it.claim.lease.leg.number, it.why));
    assert_eq!(why.collect::<Vec<_>>(), [(3, crate::Why::Bounced)]);
    remove(&memory).await;
    assert_eq!(list(&memory).await.len(), 0);
    assert_eq!(bring(&memory, &stood_here).await, Ok(true));
    assert_eq!(seen(&list(&memory).await), seen(&stood));
}

/// One leg has ended, one was tried and its sender told, one is held, one is to be bounced, one is due.
async fn fill(spool: &MemorySpool, clock: &Clock) -> Vec<Entry> {
    let mut writer = spool.begin(id(1)).await.expect("a writer");
    writer.write(body(OCTETS)).await.expect("written");
    let legs: Vec<Leg> = (0..5).map(|n| leg(&format!("u{n}@x.example"))).collect();
    let arrival = Arrival {
        deadlines: Some(Deadlines {
            warn: at(70),
            expire: at(80),
        }),
        held: [(
            2,
            Diagnosis::local("4.7.1".parse().expect("a status"), "held"),
        )]
        .into(),
        ..Arrival::new(message(1, OCTETS), legs, at(0))
    };
    spool.commit(writer, arrival).await.expect("committed");
    let claimed = claim(spool).await;
    for claim in claimed {
        let lease = claim.lease;
        let update = Update {
            attempts: 3,
            warned: true,
            last: Some(Diagnosis::local("4.2.1".parse().expect("a status"), "busy")),
            dsn: None,
        };
        let done = match lease.leg.number {
            0 => spool.complete(lease, None).await,
            1 => spool.reschedule(lease, at(66), update).await,
            _ => spool.release(lease).await,
        };
        done.expect("settled");
    }
    let bounced = LegId {
        message: id(1),
        number: 3,
    };
    let bounced = Filter::only(bounced);
    let done = spool.admin(&bounced, Action::Bounce, None, 9).await;
    done.expect("done");
    clock.set(at(5));
    list(spool).await
}

async fn bring<S: Spool>(spool: &S, legs: &[Entry]) -> Result<bool, crate::Error> {
    let mut writer = spool.begin(id(1)).await?;
    for chunk in body(OCTETS).chunks(100_000) {
        writer.write(chunk.to_vec()).await?;
    }
    spool.bring_back(writer, legs.to_vec()).await
}

async fn list<S: Spool>(spool: &S) -> Vec<Entry> {
    let page = spool.list(&Filter::default(), None, 99).await;
    page.expect("a page").entries
}

async fn remove<S: Spool>(spool: &S) {
    let all = Filter::default();
    let done = spool.admin(&all, Action::Remove, None, 99);
    done.await.expect("done");
}

/// All that is listed of each.
fn seen(entries: &[Entry]) -> Vec<String> {
    let all = entries.iter();
    all.map(|entry| format!("{} {entry:?}", number(entry.id)))
        .collect()
}

/// More than stands in one piece.
const OCTETS: usize = 3 << 20;
