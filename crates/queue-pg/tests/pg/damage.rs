//! Rows that this program cannot have written: each is put on hold, and costs the others nothing.

use std::time::Duration;

use spool::Spool;

use crate::support::{Database, claim_soon, put};

#[tokio::test]
#[ignore = "foreign: PostgreSQL"]
async fn what_cannot_be_read_is_held_and_the_rest_goes_on() {
    let database = Database::new().await;
    let spool = database.node("mx1").await;
    put(&spool, 10, "whole@x.example bad@x.example")
        .await
        .unwrap();
    let message = put(&spool, 10, "a@x.example b@x.example").await.unwrap();
    let late = put(&spool, 10, "late@x.example").await.unwrap();
    let other = put(&spool, 10, "a@y.example").await.unwrap();
    let damage = format!(
        "UPDATE onward.legs SET number = -1 WHERE target LIKE 'bad@%';
        UPDATE onward.messages SET reverse_path = 'x' WHERE id = '{:032x}';
        UPDATE onward.legs SET original = 'x', target = 'x', due = 9000000000000, warn_at = 1 WHERE message = '{:032x}'",
        message.bits(),
        late.bits()
    );
    database.ask(&damage).await;
    let mut claimed = claim_soon(&spool).await;
    claimed.sort_by_key(|claim| claim.lease.leg);
    let targets: Vec<_> = claimed
        .iter()
        .map(|claim| claim.leg.target.to_string())
        .collect();
    assert_eq!(targets, ["whole@x.example", "a@y.example"]);
    assert_eq!(claimed[1].lease.leg.message, other);
    let lease = Duration::from_mins(1);
    assert!(spool.overdue(10, lease).await.unwrap().is_empty());
    let held =
        "SELECT left(last->>'text', 13) FROM onward.legs WHERE held ORDER BY message, number";
    let said = database.ask(held).await;
    let address = "damaged: mail";
    let said: Vec<_> = said.lines().collect();
    assert_eq!(said, ["damaged: numb", address, address, address]);
    // Nobody comes back to them.
    database
        .ask("UPDATE onward.legs SET owner = NULL, lease_end = NULL, due = 1")
        .await;
    assert_eq!(claim_soon(&spool).await.len(), 2);
    assert_eq!(spool.counts().await.unwrap().held, 4);
}
