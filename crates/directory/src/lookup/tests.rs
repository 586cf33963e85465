//! Sources that are asked for one address, over HTTP.

use testkit::lookup::Lookup;

use super::Unless::{Refused, Sent, Target};
use super::health::TRY_AGAIN;
use super::*;

fn settings(service: &Lookup, cache: Duration) -> Settings {
    Settings {
        name: "service".to_owned(),
        url: service.url(),
        questions: Questions::Lookup {
            address: String::new(),
            domain: String::new(),
            cache,
        },
        timeout: Duration::from_secs(1),
        connections: 4,
    }
}

async fn service() -> (Lookup, Lookups) {
    let service = Lookup::start().await;
    let lookups = of(settings(&service, Duration::from_secs(60)));
    (service, lookups)
}

fn of(settings: Settings) -> Lookups {
    let mut lookups = Lookups::default();
    lookups.add(settings).unwrap();
    lookups
}

async fn find(lookups: &Lookups, address: &str, unless: Unless) -> Result<String, Failed> {
    let mut known = BTreeMap::new();
    let check = |line: &str| forwarder::table::Table::key_of(line, &|_, _| Ok(()));
    let address = address.parse().unwrap();
    lookups.find(&address, unless, &check, &mut known).await?;
    let lines = known.values().map(|line| line.to_string());
    Ok(lines.collect::<Vec<_>>().join("; "))
}

#[tokio::test]
async fn an_address_is_asked_for_as_the_file_is_searched_and_once() {
    let (service, lookups) = service().await;
    service.forwards("alice@x.example", "a@y.example");
    service.says(
        "address=@x.example",
        r#"{"targets": ["c@y.example", "d@y.example"], "options": {"srs": "off"}}"#,
    );
    let catch_all = "@x.example c@y.example, d@y.example srs=off; x.example :domain:";
    assert_eq!(
        find(&lookups, "Alice@X.example", Refused).await.unwrap(),
        "alice@x.example a@y.example; x.example :domain:"
    );
    assert_eq!(
        service.asked(),
        ["domain=x.example", "address=alice@x.example"]
    );
    assert!(
        find(&lookups, "alice+tag@x.example", Refused)
            .await
            .unwrap()
            .starts_with("alice@x.example a@y.example")
    );
    assert_eq!(service.asked(), ["address=alice+tag@x.example"]);
    assert_eq!(
        find(&lookups, "bob@x.example", Refused).await.unwrap(),
        catch_all
    );
    assert_eq!(
        service.asked(),
        ["address=bob@x.example", "address=@x.example"]
    );
    assert_eq!(
        find(&lookups, "bob@x.example", Refused).await.unwrap(),
        catch_all
    );
    assert_eq!(
        find(&lookups, "bob@other.example", Refused).await.unwrap(),
        ""
    );
    assert_eq!(
        find(&lookups, "bob@other.example", Refused).await.unwrap(),
        ""
    );
    assert_eq!(service.asked(), ["domain=other.example"]);
}

#[tokio::test]
async fn equal_questions_at_the_same_time_are_one() {
    let (service, lookups) = service().await;
    service.forwards("alice@x.example", "a@y.example");
    let all = (0..50).map(|_| find(&lookups, "alice@x.example", Refused));
    let all = join_all(all).await;
    assert!(
        all.iter()
            .all(|found| found == all.first().unwrap() && found.is_ok())
    );
    assert_eq!(service.asked().len(), 2);
}

#[tokio::test]
async fn what_cannot_be_asked_is_neither_known_nor_unknown() {
    let (service, lookups) = service().await;
    service.forwards("alice@x.example", "a@y.example");
    assert_eq!(
        find(&lookups, "bob@gone.example", Sent).await,
        Ok(String::new())
    );
    service.fails(Some("500 Internal Server Error"));
    let failed = find(&lookups, "alice@x.example", Refused)
        .await
        .unwrap_err();
    assert_eq!(failed.0, "HTTP status 500 Internal Server Error");
    let news = |error: Option<&str>| News {
        name: "service".to_owned(),
        error: error.map(str::to_owned),
    };
    assert_eq!(
        lookups.news(),
        [news(Some("HTTP status 500 Internal Server Error"))]
    );
    assert_eq!(lookups.news(), []);
    // Within a second nobody is made to wait for it.
    assert!(service.asked().len() <= 2);
    service.fails(None);
    assert!(find(&lookups, "alice@x.example", Refused).await.is_err());
    assert_eq!(service.asked(), [""; 0]);
    tokio::time::sleep(TRY_AGAIN).await;
    assert!(find(&lookups, "alice@x.example", Refused).await.is_ok());
    assert_eq!(lookups.news(), [news(None)]);
    // A target elsewhere stays elsewhere; as a recipient it might have become ours.
    lookups.0[0].answers.invalidate_all();
    service.falls_silent();
    assert_eq!(
        find(&lookups, "bob@gone.example", Sent).await,
        Ok(String::new())
    );
    let failed = find(&lookups, "bob@gone.example", Refused).await;
    assert!(failed.unwrap_err().0.contains("timed out"));
}

#[tokio::test]
async fn a_target_is_elsewhere_unless_it_is_known_to_be_here() {
    let (service, lookups) = service().await;
    service.fails(Some("500 Internal Server Error"));
    let target = |address| find(&lookups, address, Target);
    for _ in 0..2 {
        assert_eq!(target("bob@y.example").await, Ok(String::new()));
    }
    let sent = find(&lookups, "bob@y.example", Sent).await;
    assert!(sent.is_err());
    service.fails(None);
    service.forwards("alice@x.example", "a@y.example");
    service.says(
        "domain=odd.example",
        "{\"options\": {\"srs\": \"nonsense\"}}",
    );
    tokio::time::sleep(TRY_AGAIN).await;
    // It is asked again by who cannot do without it.
    let ours = find(&lookups, "alice@x.example", Refused).await;
    assert!(ours.unwrap().starts_with("alice@x.example a@y.example"));
    assert!(target("bob@odd.example").await.is_err());
    lookups.0[0].answers.invalidate_all();
    service.fails(Some("500 Internal Server Error"));
    assert!(target("alice@x.example").await.is_err());
    assert_eq!(target("bob@y.example").await, Ok(String::new()));
}

#[tokio::test]
async fn nonsense_is_no_answer() {
    let (service, lookups) = service().await;
    service.forwards("alice@x.example", "nonsense");
    service.says("address=bob@x.example", "{\"targets\": 7}");
    service.says(
        "address=self@x.example",
        "{\"targets\": [\"self@x.example\"]}",
    );
    for address in ["alice@x.example", "bob@x.example"] {
        tokio::time::sleep(TRY_AGAIN).await;
        assert!(find(&lookups, address, Refused).await.is_err(), "{address}");
    }
    tokio::time::sleep(TRY_AGAIN).await;
    assert!(
        find(&lookups, "self@x.example", Refused)
            .await
            .unwrap()
            .contains(":reject: 550")
    );
}

#[tokio::test]
async fn one_odd_question_puts_nobody_else_off() {
    let (service, lookups) = service().await;
    service.forwards("alice@x.example", "a@y.example");
    service.fails(Some("400 Bad Request"));
    assert!(find(&lookups, "odd@x.example", Refused).await.is_err());
    service.fails(None);
    assert!(find(&lookups, "alice@x.example", Refused).await.is_ok());
    assert_eq!(lookups.news(), []);
}

#[tokio::test]
async fn while_it_hangs_only_one_question_waits() {
    let (service, lookups) = service().await;
    assert!(find(&lookups, "bob@gone.example", Refused).await.is_ok());
    service.falls_silent();
    assert!(find(&lookups, "alice@x.example", Refused).await.is_err());
    tokio::time::sleep(TRY_AGAIN).await;
    let began = Instant::now();
    let first = find(&lookups, "a@x.example", Refused);
    let others = async {
        tokio::task::yield_now().await;
        for number in 0..20 {
            let address = format!("{number}@y{number}.example");
            assert!(find(&lookups, &address, Refused).await.is_err());
        }
        lookups.0[0].answers.invalidate_all();
        assert!(find(&lookups, "bob@gone.example", Sent).await.is_ok());
        began.elapsed()
    };
    let (failed, waited) = tokio::join!(first, others);
    assert!(
        failed.is_err() && waited < Duration::from_millis(900),
        "{waited:?}"
    );
}

#[tokio::test]
async fn an_answer_that_says_nothing_hosts_no_domain() {
    let (service, lookups) = service().await;
    for (json, wrong) in [
        ("{}", "without `options`"),
        ("{\"found\":false}", "unknown field"),
    ] {
        service.says("domain=mail.example", json);
        let failed = find(&lookups, "a@mail.example", Refused).await.unwrap_err();
        assert!(failed.0.contains(wrong), "{failed}");
        tokio::time::sleep(TRY_AGAIN).await;
    }
    // The pages of a web server, while the service is away.
    service.fails(Some("404 Not Found"));
    assert!(find(&lookups, "a@other.example", Refused).await.is_err());
}

#[tokio::test(start_paused = true)]
async fn a_domain_that_is_gone_may_come_back() {
    let (service, lookups) = service().await;
    service.forwards("alice@x.example", "a@y.example");
    assert!(find(&lookups, "alice@x.example", Refused).await.is_ok());
    service.forgets("domain=x.example");
    lookups.0[0].answers.invalidate_all();
    let gone = find(&lookups, "alice@x.example", Sent).await.unwrap_err();
    assert_eq!(gone.0, "x.example was hosted until now");
    tokio::time::advance(MISSED_FOR).await;
    assert_eq!(
        find(&lookups, "alice@x.example", Sent).await,
        Ok(String::new())
    );
}

#[test]
fn what_a_source_must_have() {
    let wrong = |url: &str, address: &str| {
        let settings = Settings {
            name: String::new(),
            url: url.to_owned(),
            questions: Questions::Lookup {
                address: address.to_owned(),
                domain: "SELECT $1".to_owned(),
                cache: TRY_AGAIN,
            },
            timeout: TRY_AGAIN,
            connections: 1,
        };
        Lookups::default().add(settings).unwrap_err()
    };
    assert_eq!(
        wrong("sqlite:x", "SELECT 1"),
        SettingsError::NoPlaceholder("address")
    );
    assert_eq!(wrong("sqlite:x", ""), SettingsError::Missing("address"));
    assert!(matches!(
        wrong("oracle:x", "SELECT $1"),
        SettingsError::Url(_)
    ));
    assert!(matches!(wrong("http://", ""), SettingsError::Url(_)));
    if cfg!(not(feature = "sql")) {
        assert_eq!(wrong("sqlite:x", "SELECT $1"), SettingsError::NoSql);
    }
}

#[tokio::test]
async fn a_source_goes_on_with_what_it_knows() {
    let (service, old) = service().await;
    service.forwards("alice@x.example", "a@y.example");
    assert!(find(&old, "alice@x.example", Refused).await.is_ok());
    assert!(find(&old, "bob@gone.example", Sent).await.is_ok());
    service.asked();
    let same = of(settings(&service, Duration::from_secs(60))).after(&old);
    assert!(find(&same, "alice@x.example", Refused).await.is_ok());
    assert_eq!(service.asked(), [""; 0]);
    same.0[0].answers.invalidate_all();
    service.fails(Some("503 Service Unavailable"));
    assert!(find(&same, "alice@x.example", Refused).await.is_err());
    assert!(find(&same, "bob@gone.example", Sent).await.is_ok());
    let down: Vec<_> = same.down().map(|down| (down.name, down.error)).collect();
    let error = "HTTP status 503 Service Unavailable".to_owned();
    assert_eq!(down, [("service".to_owned(), error)]);
    assert_eq!(same.news().len(), 1);
    // One that is asked otherwise knows nothing, but that it answers is news.
    service.fails(None);
    let other = of(settings(&service, Duration::from_secs(30))).after(&same);
    assert_eq!(other.down().count(), 0);
    assert_eq!(other.news(), []);
    assert!(find(&other, "alice@x.example", Refused).await.is_ok());
    assert_eq!(other.news().len(), 1);
    assert_eq!(service.asked().pop().unwrap(), "address=alice@x.example");
}

#[tokio::test]
async fn a_known_line_may_not_be_one_any_more() {
    let (service, lookups) = service().await;
    service.forwards("alice@x.example", "a@y.example");
    assert!(find(&lookups, "alice@x.example", Refused).await.is_ok());
    service.asked();
    let address = "alice@x.example".parse().unwrap();
    let check = |line: &str| match line.starts_with('a') {
        true => Err("no such profile".to_owned()),
        false => Ok(line.to_owned()),
    };
    let mut known = BTreeMap::new();
    let found = lookups.find(&address, Refused, &check, &mut known).await;
    assert!(found.is_err());
    assert_eq!(service.asked(), ["address=alice@x.example"]);
}
