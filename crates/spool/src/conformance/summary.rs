//! The queue counted.

use envelope::{Claim, Diagnosis, EnhancedStatus, Glob, LegId};

use super::operating::put_by_ann;
use super::{Engine, at, claim, id, number, open, put};
use crate::{Action, Ages, By, Filter, Spool, Update};

/// Whatever state they are in, with a filter and without; a restart changes nothing.
pub async fn a_summary_counts_by_name_and_age<E: Engine>(engine: &E) {
    let (spool, clock) = open(engine).await;
    put(
        &spool,
        1,
        10,
        &["a@x.example", "b@x.example", "c@y.example"],
    )
    .await;
    put_by_ann(&spool).await;
    put(&spool, 3, 10, &["a@z.example"]).await;
    let claims = claim(&spool).await;
    let due = |claim: &&Claim| {
        claim.lease.leg
            == LegId {
                message: id(1),
                number: 0,
            }
    };
    let lease = claims.iter().find(due).map(|claim| claim.lease.clone());
    let status = EnhancedStatus::transient(2, 2);
    let update = Update {
        attempts: 1,
        last: Some(Diagnosis::local(status, "full: box 17")),
        ..Update::default()
    };
    let moved = spool.reschedule(lease.expect("it is due"), at(500), update);
    assert_eq!(moved.await, Ok(()));
    for claim in claims.iter().filter(|claim| number(claim.lease.leg) == 3) {
        let hold = spool
            .admin(&Filter::only(id(3)), Action::Hold, None, 9)
            .await;
        assert_eq!(hold.expect("done").matched, 1);
        assert_eq!(spool.release(claim.lease.clone()).await, Ok(()));
    }
    clock.set(at(7));
    check_summaries(&spool).await;
    // Some are leased still; the next start frees them.
    drop(spool);
    check_summaries(&engine.open(&clock).await).await;
}

async fn check_summaries(spool: &impl Spool) {
    let all = Filter::default;
    let x = Filter {
        to: Some("x.example".parse().expect("a pattern")),
        ..all()
    };
    let failed = Filter {
        error: Some(Glob::new("4.2.2 full:*")),
        ..all()
    };
    type Row<'a> = (Filter, By, &'a [(&'a str, u64)]);
    let rows: [Row<'_>; 6] = [
        (
            all(),
            By::Host,
            &[("x.example", 3), ("y.example", 2), ("z.example", 1)],
        ),
        (all(), By::Sender, &[("a.example", 4), ("<>", 2)]),
        (all(), By::Error, &[("", 5), ("4.2.2 full: box *", 1)]),
        (x.clone(), By::Host, &[("x.example", 3)]),
        (x, By::Sender, &[("a.example", 2), ("<>", 1)]),
        (failed, By::Error, &[("4.2.2 full: box *", 1)]),
    ];
    for (filter, by, expected) in rows {
        let summary = spool.summary(&filter, by, 9).await.expect("a summary");
        let names = summary
            .rows
            .iter()
            .map(|(name, ages)| (&**name, ages.legs()));
        assert_eq!(names.collect::<Vec<_>>(), expected, "{by:?} {filter:?}");
        let legs: u64 = expected.iter().map(|(_, legs)| legs).sum();
        assert_eq!(
            (summary.total.legs(), summary.total.buckets[1]),
            (legs, legs)
        );
        assert_eq!(summary.total.oldest, Some(at(0)));
        assert_eq!(summary.others, (0, Ages::default()));
    }
    let summary = spool.summary(&all(), By::Host, 1).await.expect("a summary");
    let others = (summary.others.0, summary.others.1.legs());
    assert_eq!(
        (summary.rows.len(), others, summary.total.legs()),
        (1, (2, 3), 6)
    );
}
