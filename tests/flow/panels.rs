//! Forwards from the databases of control panels, by the queries in `etc/sql/`: read whole, and looked up.
//!
//! `tests/panels/` has a small database of each, with what they have in common: several targets, a mailbox, a disabled row, nonsense,
//! a catch-all, an alias domain, domains that are switched off or have no address.

use std::fs;
use std::path::Path;
use std::time::{Duration, Instant};

use rusqlite::Connection;
use testkit::daemon::{Relay, Setup};
use testkit::net::Net;
use testkit::sender::Plain;
use toml::Value;

use crate::relay;

/// The tables of a panel's file, with this database in the place of theirs.
fn tables(panel: &str, url: &str) -> [Value; 2] {
    let text = fs::read_to_string(format!("etc/sql/{panel}.toml")).expect("a panel");
    let text = match url.starts_with("sqlite:") {
        // The only function that not all have.
        true => text.replace("UNIX_TIMESTAMP()", "unixepoch()"),
        false => text,
    };
    let file: toml::Table = text.parse().expect("TOML");
    let mut tables = file["forwards"]["source"]
        .as_array()
        .expect("sources")
        .clone();
    for table in &mut tables {
        let table = table.as_table_mut().expect("a table");
        table.insert("url".into(), url.into());
    }
    tables.try_into().expect("two tables")
}

pub(crate) fn with(net: &Net, source: &Value) -> Setup {
    let sources = Value::Array(vec![source.clone()]).to_string();
    relay(net, "").set("forwards.source", &sources)
}

/// What a snapshot has become, as the copy in the spool has it.
fn text(relay: &Relay) -> String {
    let copy =
        fs::read_to_string(relay.setup().path("spool").join("forwards.last")).expect("a copy");
    copy.lines()
        .filter(|line| !line.is_empty() && !line.starts_with('#'))
        .fold(String::new(), |all, line| all + line + "\n")
}

/// What each address is answered, and where it goes.
async fn answers(relay: &Relay, panel: &str) {
    let mut plain = Plain::hello(relay.address()).await;
    plain.expect("MAIL FROM:<origin@sender.test>", "250").await;
    for (to, reply) in [
        ("ann@x.example", "250"),
        ("Ann+tag@X.example", "250"),
        ("box@x.example", "550 5.1.1"),
        ("ann@also.example", "250"),
        ("box@also.example", "550"),
        ("ann@off.example", "550 5.7.1"),
        ("ann@not.example", "550 5.7.1"),
        ("nobody@empty.example", "550"),
    ] {
        plain.expect(&format!("RCPT TO:<{to}>"), reply).await;
    }
    for (to, target) in [
        ("ann@x.example", "b@t.example"),
        ("ann@also.example", "a@t.example"),
        ("both@x.example", "c@t.example"),
        ("gone@x.example", "all@t.example"),
    ] {
        let said = relay.run(&["explain", "--to", to]).await;
        assert!(said.contains(target), "{panel}: {to}: {said}");
    }
}

/// A panel's database at this URL: read whole, then looked up.
pub(crate) async fn check(panel: &str, url: &str) {
    let net = Net::new().await;
    let [snapshot, lookup] = tables(panel, url);
    let whole = with(&net, &snapshot).start().await;
    let domains = match panel {
        "mailinabox" => "",
        "vimbadmin" | "ispconfig" => {
            "also.example :domain:\nempty.example :domain:\nx.example :domain:\n"
        }
        _ => "empty.example :domain:\nx.example :domain:\n",
    };
    let (first, last) = match panel {
        "postfixadmin" | "iredmail" | "mailcow" => ("", "@also.example @x.example\n"),
        _ => ("@also.example @x.example\n", ""),
    };
    let more = match panel {
        "mailcow" => "junk@x.example :discard:\nk3x@x.example ann@x.example\n",
        _ => "",
    };
    let expected = format!(
        "{domains}{first}@x.example all@t.example\nann@x.example a@t.example, b@t.example\nboth@x.example c@t.example\nbox@x.example :reject: 550 5.1.1 this address is not forwarded\n{more}{last}"
    );
    assert_eq!(text(&whole), expected, "{panel}");
    answers(&whole, panel).await;
    let said = whole.setup().run(&["check"]).await.stdout;
    assert!(
        said.contains("1 rows or targets left out: \"bad@x.example"),
        "{panel}: {said}"
    );
    whole.stop().await;
    let asked = with(&net, &lookup).start().await;
    answers(&asked, panel).await;
    asked.stop().await;
}

/// A database of SQLite with these statements in it.
fn database(folder: &Path, statements: &str) -> (Connection, String) {
    let path = folder.join("panel.sqlite");
    let connection = Connection::open(&path).expect("a database");
    connection.execute_batch(statements).expect("SQL");
    (connection, format!("sqlite:{}", path.display()))
}

#[tokio::test]
async fn every_panel() {
    for panel in [
        "postfixadmin",
        "vimbadmin",
        "mailcow",
        "ispconfig",
        "iredmail",
        "mailinabox",
    ] {
        let folder = tempfile::tempdir().unwrap();
        let statements = fs::read_to_string(format!("tests/panels/{panel}.sql")).unwrap();
        let (_database, url) = database(folder.path(), &statements);
        check(panel, &url).await;
    }
}

/// Where a panel has an index, a look-up reads no table whole. (The databases of the others here have not theirs.)
#[test]
fn look_ups_use_the_indexes() {
    for panel in ["postfixadmin", "iredmail", "mailinabox"] {
        let folder = tempfile::tempdir().unwrap();
        let statements = fs::read_to_string(format!("tests/panels/{panel}.sql")).unwrap();
        let (database, url) = database(folder.path(), &statements);
        let [_, lookup] = tables(panel, &url);
        for question in ["address", "domain"] {
            let query = lookup[question].as_str().expect("a query");
            let plan = format!("EXPLAIN QUERY PLAN {}", query.replace("$1", "'@x.example'"));
            let mut plan = database.prepare(&plan).unwrap();
            let steps = plan.query_map([], |row| row.get::<_, String>(3)).unwrap();
            let steps: Vec<_> = steps.map(Result::unwrap).collect();
            // None is by domain there, as its file says.
            let scans = usize::from(panel == "mailinabox" && question == "domain");
            let scan = |step: &&String| step.starts_with("SCAN");
            assert_eq!(
                steps.iter().filter(scan).count(),
                scans,
                "{panel}: {steps:?}"
            );
        }
    }
}

/// A wrong password or query shows before anybody's mail waits for it.
#[tokio::test]
async fn check_tries_a_look_up() {
    let net = Net::new().await;
    let folder = tempfile::tempdir().unwrap();
    let (_database, url) = database(folder.path(), "CREATE TABLE f (a TEXT, t TEXT);");
    for (column, wanted) in [
        ("a", "ok   source       db: answers"),
        ("b", "risk source       db: "),
    ] {
        let source = format!(
            "[{{ kind = 'sql', name = 'db', url = '{url}', address = 'SELECT a, t FROM f WHERE {column} = $1', domain = 'SELECT a FROM f WHERE a = $1' }}]"
        );
        let source: Value = source.parse::<Value>().unwrap()[0].clone();
        let said = with(&net, &source).run(&["check"]).await.stdout;
        assert!(said.contains(wanted), "{said}");
    }
}

#[tokio::test]
async fn a_snapshot_follows_its_database_and_outlives_it() {
    let net = Net::new().await;
    let folder = tempfile::tempdir().unwrap();
    let (connection, url) = database(folder.path(), "CREATE TABLE f (a TEXT, t TEXT);");
    for n in 0..10 {
        connection
            .execute(
                "INSERT INTO f VALUES (?1, 'x@t.example')",
                [format!("a{n}@x.example")],
            )
            .unwrap();
    }
    let source = format!(
        "[{{ kind = 'sql', name = 'db', url = '{url}', every = '1s', query = 'SELECT a, t FROM f' }}]"
    );
    let source: Value = source.parse::<Value>().unwrap()[0].clone();
    let relay = with(&net, &source).start().await;
    let rcpt = async |relay: &Relay, to: &str, reply: &str| {
        let mut plain = Plain::hello(relay.address()).await;
        plain.expect("MAIL FROM:<origin@sender.test>", "250").await;
        plain.expect(&format!("RCPT TO:<{to}>"), reply).await;
    };
    rcpt(&relay, "a0@x.example", "250").await;
    // A new row comes by itself; what loses too much, or all, does not, and is said once.
    connection
        .execute_batch("INSERT INTO f VALUES ('new@x.example', 'y@t.example')")
        .unwrap();
    relay.wait_for("reloaded").await;
    rcpt(&relay, "new@x.example", "250").await;
    connection
        .execute_batch("DELETE FROM f WHERE a LIKE 'a%'")
        .unwrap();
    let error = relay.wait_for("source-down source=db").await.text("error");
    assert!(error.contains("has lost 10 of 11 addresses"), "{error}");
    connection.execute_batch("DELETE FROM f").unwrap();
    relay.wait_for_count(2, "source-down source=db").await;
    rcpt(&relay, "a0@x.example", "250").await;
    let status = relay.run(&["status"]).await;
    assert!(
        status.contains("db: it has no forwards any more"),
        "{status}"
    );
    relay.run(&["reload", "--force"]).await;
    rcpt(&relay, "a0@x.example", "550").await;
    connection
        .execute_batch("INSERT INTO f VALUES ('last@x.example', 'y@t.example')")
        .unwrap();
    relay.wait_for_count(3, "reloaded").await;
    // The database is gone: so is nothing else.
    drop(connection);
    let setup = relay.stop().await;
    fs::remove_file(folder.path().join("panel.sqlite")).unwrap();
    let began = Instant::now();
    let relay = setup.start().await;
    assert!(began.elapsed() < Duration::from_secs(20));
    rcpt(&relay, "last@x.example", "250").await;
    relay.wait_for("source-down source=db").await;
    let found = relay.setup().run(&["doctor"]).await.stdout;
    let found = found.lines().find(|line| line.contains(" source "));
    let found = found.expect("a line about it");
    assert!(
        found.starts_with("BAD ") && found.contains("unable to open"),
        "{found}"
    );
    assert!(
        found.contains("what it said before holds: 1 line, last changed "),
        "{found}"
    );
}

/// A query that fails alone takes no domain away: a panel's update that empties one table, a right that is missing.
#[tokio::test]
async fn domains_of_a_snapshot_do_not_go_at_once() {
    let net = Net::new().await;
    let folder = tempfile::tempdir().unwrap();
    let tables = "CREATE TABLE f (a TEXT, t TEXT); CREATE TABLE d (d TEXT); CREATE TABLE al (a TEXT, d TEXT);
        INSERT INTO f VALUES ('a@x.example', 'x@t.example');
        INSERT INTO d VALUES ('x.example'), ('y.example'); INSERT INTO al VALUES ('also.example', 'x.example');";
    let (connection, url) = database(folder.path(), tables);
    let fill = "WITH RECURSIVE s(n) AS (SELECT 1 UNION ALL SELECT n + 1 FROM s WHERE n < 50)
        INSERT INTO f SELECT 'u' || n || '@x.example', 'x@t.example' FROM s";
    connection.execute_batch(fill).unwrap();
    let source = format!(
        "[{{ kind = 'sql', name = 'db', url = '{url}', every = '1s', query = 'SELECT a, t FROM f', domains = 'SELECT d FROM d', alias_domains = 'SELECT a, d FROM al' }}]"
    );
    let source: Value = source.parse::<Value>().unwrap()[0].clone();
    let relay = with(&net, &source).start().await;
    let before = text(&relay);
    let found = relay.setup().run(&["doctor"]).await.stdout;
    let lines = format!(
        "db: answers; {} lines in use, last changed ",
        before.lines().count()
    );
    assert!(found.contains(&lines), "{found}");
    assert!(
        before.contains("y.example :domain:\n") && before.contains("@also.example @x.example\n")
    );
    connection.execute_batch("DELETE FROM al").unwrap();
    let error = relay.wait_for("source-down source=db").await.text("error");
    let wanted =
        "0 of 1 alias domains are left, over `forwards.max_shrink` of 20%; the old ones stay";
    assert!(error.starts_with(wanted), "{error}");
    connection.execute_batch("DELETE FROM d WHERE d = 'x.example'; INSERT INTO al VALUES ('also.example', 'x.example')").unwrap();
    let error = relay.wait_for_count(2, "source-down source=db").await[1].text("error");
    assert!(error.starts_with("1 of 2 domains are left"), "{error}");
    let said = relay.run(&["reload"]).await;
    assert!(
        said.contains("source db: 1 of 2 domains are left"),
        "{said}"
    );
    // Over a restart, too.
    let relay = relay.stop().await.start().await;
    assert_eq!(text(&relay), before);
    relay.run(&["reload", "--force"]).await;
    assert!(!text(&relay).contains("x.example :domain:\n"));
}
