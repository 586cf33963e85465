//! Against a table of DNS and a policy host in memory, with a clock that is turned by hand.

use std::sync::atomic::{AtomicU64, Ordering};

use dns::Fixed;

use super::*;

/// The policy host: what it says, and how often it was asked.
#[derive(Default)]
struct Host {
    says: Mutex<Option<Result<String, Fault>>>,
    asked: AtomicU64,
    /// How often hosts were asked that are silent.
    in_vain: AtomicU64,
    clock: AtomicU64,
}

/// A relay that has started, with what it knows.
struct World {
    host: Arc<Host>,
    policies: Arc<Policies<Fixed>>,
}

impl World {
    fn new(dns: Fixed) -> Self {
        let host = Arc::new(Host::default());
        host.clock.store(1_000_000_000_000, Ordering::SeqCst);
        Self::start(dns, host, Vec::new())
    }

    fn start(dns: Fixed, host: Arc<Host>, kept: Vec<Kept>) -> Self {
        let (asked, clock) = (Arc::clone(&host), Arc::clone(&host));
        let fetch = move |of: Domain| -> Fetching {
            let host = Arc::clone(&asked);
            if of.as_str().starts_with("silent") {
                host.in_vain.fetch_add(1, Ordering::SeqCst);
                return Box::pin(async {
                    tokio::time::sleep(WAIT * 2).await;
                    Err(fault())
                });
            }
            host.asked.fetch_add(1, Ordering::SeqCst);
            Box::pin(async move {
                let says = host.says.lock().clone();
                match says {
                    Some(says) => says.map(String::into_bytes),
                    None => std::future::pending().await,
                }
            })
        };
        let now = move || Timestamp::from_unix_millis(clock.clock.load(Ordering::SeqCst));
        let policies = Arc::new(Policies::new(dns, Box::new(fetch), kept, now));
        Self { host, policies }
    }

    /// After a restart with other records.
    fn again(&self, dns: Fixed) -> Self {
        let kept = self.policies.kept();
        let lines = kept.iter().map(|kept| kept.to_string().parse().unwrap());
        Self::start(dns, Arc::clone(&self.host), lines.collect())
    }

    fn serves(&self, mode: &str, max_age: u64) {
        let text =
            format!("version: STSv1\nmode: {mode}\nmx: mx.{mode}.example\nmax_age: {max_age}");
        *self.host.says.lock() = Some(Ok(text));
    }

    fn fails(&self) {
        *self.host.says.lock() = Some(Err(fault()));
    }

    fn turn(&self, by: Duration) {
        let by = u64::try_from(by.as_millis()).unwrap();
        self.host.clock.fetch_add(by, Ordering::SeqCst);
    }

    /// The policy's mode and whether there is a fault, and how often the host was asked so far.
    async fn check(&self, expected: &str, asked: u64) {
        let found = self.policies.of(&domain("a.example")).await;
        let mode = found
            .kept
            .as_ref()
            .map_or("-", |kept| kept.policy.mode.name());
        let fault = if found.fault.is_some() { " fault" } else { "" };
        assert_eq!(format!("{mode}{fault}"), expected);
        assert_eq!(
            self.host.asked.load(Ordering::SeqCst),
            asked,
            "times fetched"
        );
    }
}

fn domain(name: &str) -> Domain {
    name.parse().unwrap()
}

fn fault() -> Fault {
    Fault {
        failure: TlsFailure::StsPolicyFetchError,
        text: "down".to_owned(),
    }
}

fn record(id: &str) -> Fixed {
    Fixed::new().with_txt("_mta-sts.a.example", format!("v=STSv1; id={id}"))
}

const MINUTE: Duration = Duration::from_mins(1);
const DAY: Duration = Duration::from_hours(24);
const WEEK_SECS: u64 = 604_800;

#[tokio::test]
async fn without_a_record_nobody_is_asked() {
    let world = World::new(Fixed::new());
    world.check("-", 0).await;
    assert!(world.policies.known.lock().is_empty());
}

#[tokio::test]
async fn a_policy_holds_until_its_end() {
    let world = World::new(record("1"));
    world.serves("enforce", WEEK_SECS);
    world.check("enforce", 1).await;
    world.fails();
    world.turn(DAY * 6);
    world.check("enforce", 1).await;
    world.turn(DAY);
    world.check("- fault", 2).await;
}

#[tokio::test]
async fn another_id_has_it_fetched_again_and_the_old_one_holds_meanwhile() {
    let world = World::new(record("1"));
    world.serves("enforce", WEEK_SECS);
    world.check("enforce", 1).await;
    let world = world.again(record("2"));
    world.fails();
    world.check("enforce fault", 2).await;
    world.turn(MINUTE * 5);
    world.serves("testing", WEEK_SECS);
    world.check("testing", 3).await;
    world.check("testing", 3).await;
}

#[tokio::test]
async fn what_is_known_outlives_a_restart_a_record_and_a_host() {
    let world = World::new(record("1"));
    world.serves("enforce", WEEK_SECS);
    world.check("enforce", 1).await;
    world.fails();
    let trouble = Fixed::new().with_trouble(domain("_mta-sts.a.example"), "SERVFAIL");
    for dns in [record("1"), Fixed::new(), trouble] {
        world.again(dns).check("enforce", 1).await;
    }
    world.turn(DAY * 7);
    world.again(Fixed::new()).check("-", 1).await;
    assert_eq!(world.policies.kept(), []);
}

#[tokio::test]
async fn a_policy_of_none_ends_the_one_before() {
    let world = World::new(record("1"));
    world.serves("enforce", WEEK_SECS);
    world.check("enforce", 1).await;
    let world = world.again(record("2"));
    world.serves("none", WEEK_SECS);
    world.check("none", 2).await;
    assert_eq!(world.policies.known(&domain("a.example")).policy(), None);
}

#[tokio::test]
async fn after_a_failure_there_is_a_pause() {
    let world = World::new(record("1"));
    for says in [Err(fault()), Ok("<html>".to_owned())] {
        *world.host.says.lock() = Some(says);
        let asked = world.host.asked.load(Ordering::SeqCst) + 1;
        world.check("- fault", asked).await;
        world.turn(MINUTE * 4);
        world.check("- fault", asked).await;
        world.turn(MINUTE);
    }
    let world = world.again(record("1"));
    world.serves("enforce", WEEK_SECS);
    world.check("enforce", 3).await;
}

/// Its mail goes on without; what comes late counts then.
#[tokio::test(start_paused = true)]
async fn a_host_that_is_silent_is_waited_for_some_seconds() {
    let world = World::new(record("1"));
    let began = Instant::now();
    world.check("-", 1).await;
    world.check("-", 1).await;
    assert_eq!(began.elapsed(), WAIT * 2);
}

#[tokio::test]
async fn many_who_ask_at_once_cost_one_fetch() {
    let world = World::new(record("1"));
    world.serves("enforce", WEEK_SECS);
    let name = domain("a.example");
    let (one, two) = tokio::join!(world.policies.of(&name), world.policies.of(&name));
    assert_eq!(one, two);
    world.check("enforce", 1).await;
}

#[tokio::test]
async fn policies_are_fetched_anew_each_day_and_for_longer_then() {
    let world = World::new(record("1"));
    world.serves("enforce", WEEK_SECS);
    world.check("enforce", 1).await;
    world.policies.changed().await;
    for _ in 0..10 {
        world.turn(DAY - MINUTE);
        world.policies.refresh();
        world.turn(MINUTE);
        world.policies.refresh();
        world.policies.refresh();
        world.policies.changed().await;
    }
    world.check("enforce", 11).await;
    // One that fails costs nothing, and is tried again.
    world.fails();
    world.turn(DAY * 6);
    for asked in [12, 12, 13] {
        world.policies.refresh();
        world.check("enforce fault", asked).await;
        world.turn(MINUTE * 3);
    }
}

#[tokio::test]
async fn what_nobody_asks_for_may_end() {
    let world = World::new(record("1"));
    world.serves("enforce", 31_557_600);
    world.check("enforce", 1).await;
    world.turn(DAY * 30);
    world.policies.refresh();
    world.check("enforce", 1).await;
}

#[tokio::test]
async fn a_short_one_is_fetched_anew_at_half_its_time() {
    let world = World::new(record("1"));
    world.serves("testing", 7200);
    world.check("testing", 1).await;
    world.turn(MINUTE * 60);
    world.policies.refresh();
    world.policies.changed().await;
    world.policies.changed().await;
    world.check("testing", 2).await;
}

#[tokio::test]
async fn no_more_domains_are_remembered_than_there_is_room_for() {
    let line = "enforced.example 1 2001-09-09T01:46:00.000Z 604800 enforce mx.example";
    let kept: Kept = line.parse().unwrap();
    let world = World::start(record("1"), World::new(Fixed::new()).host, vec![kept]);
    world.fails();
    for n in 0..DOMAINS_MAX + 9 {
        world
            .policies
            .ask(&domain(&format!("{n}.example")), Some("1".into()));
    }
    assert_eq!(world.policies.known.lock().len(), DOMAINS_MAX);
    let enforced = world.policies.known(&domain("enforced.example"));
    assert!(enforced.policy().is_some_and(|policy| policy.is_enforced()));
}

/// The clock was ahead when it was written.
#[tokio::test]
async fn no_policy_of_the_future_holds_for_longer() {
    let world = World::new(record("1"));
    let line = "a.example 1 2041-09-09T01:46:00.000Z 60 enforce mx.example";
    let world = World::start(record("1"), world.host, vec![line.parse().unwrap()]);
    world.fails();
    world.check("enforce", 0).await;
    world.turn(MINUTE);
    world.check("- fault", 1).await;
}

/// Who makes us ask a thousand silent hosts keeps nobody from a policy for long, nor from one that is held.
#[tokio::test(start_paused = true)]
async fn silent_hosts_keep_no_policy_away() {
    let silent = |n| domain(&format!("silent{n}.example"));
    let with_record =
        |dns: Fixed, of: &str| dns.with_txt(format!("_mta-sts.{of}"), "v=STSv1; id=1");
    let mut dns = with_record(record("1"), "new.example");
    for n in 0..1000 {
        dns = with_record(dns, silent(n).as_str());
    }
    let world = World::new(dns);
    world.serves("enforce", WEEK_SECS);
    world.check("enforce", 1).await;
    let mut all = tokio::task::JoinSet::new();
    for n in 0..1000 {
        let policies = Arc::clone(&world.policies);
        all.spawn(async move { policies.of(&silent(n)).await });
    }
    tokio::task::yield_now().await;
    world.turn(DAY);
    world.policies.changed().await;
    world.policies.refresh();
    world.policies.changed().await;
    world.check("enforce", 2).await;
    all.join_all().await;
    tokio::time::sleep(WAIT * 2).await;
    let in_vain = world.host.in_vain.load(Ordering::SeqCst);
    assert_eq!(in_vain, FETCHES_MAX as u64);
    let new = world.policies.of(&domain("new.example")).await;
    assert!(new.policy().is_some());
}
