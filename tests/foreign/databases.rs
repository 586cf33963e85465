//! Forwards from a real PostgreSQL and a real MariaDB: the panels that use them, and half a million rows.

use std::fs::{self, Permissions};
use std::os::unix::fs::PermissionsExt as _;
use std::path::PathBuf;
use std::time::{Duration, Instant};

use tempfile::TempDir;
use testkit::net::Net;
use testkit::postgres::Postgres;
use testkit::program::{self, Running};
use testkit::sender::Plain;
use toml::Value;

use crate::flow::panels::{check, with};
use testkit::program::free;

/// MariaDB, in a folder of its own, at a port of its own.
struct MariaDb {
    folder: TempDir,
    port: u16,
    _running: Running,
}

impl MariaDb {
    async fn start() -> Self {
        let (folder, port) = (folder(), free().port());
        let data = folder.path().join("data").display().to_string();
        let user = if program::are_root() {
            "--user=root"
        } else {
            "--skip-name-resolve"
        };
        let datadir = format!("--datadir={data}");
        let init = [
            "--no-defaults",
            user,
            &datadir,
            "--auth-root-authentication-method=normal",
            "--skip-test-db",
        ];
        program::run("/usr/bin/mariadb-install-db", &init, b"")
            .await
            .success();
        let socket = format!("--socket={data}/socket");
        let port_text = format!("--port={port}");
        let serve = [
            "--no-defaults",
            user,
            &datadir,
            &socket,
            &port_text,
            "--bind-address=127.0.0.1",
        ];
        let running = program::start("/usr/sbin/mariadbd", &serve);
        let server = Self {
            folder,
            port,
            _running: running,
        };
        server.wait().await;
        server
    }

    async fn wait(&self) {
        let began = Instant::now();
        while self.say("", "SELECT 1;").await.code != Some(0) {
            assert!(began.elapsed() < testkit::PATIENCE, "it does not start");
            tokio::time::sleep(Duration::from_millis(200)).await;
        }
    }

    async fn say(&self, database: &str, statements: &str) -> program::Finished {
        let socket = format!(
            "--socket={}",
            self.folder.path().join("data/socket").display()
        );
        let words = ["--no-defaults", &socket, "-u", "root", "-D", database];
        let words = if database.is_empty() {
            &words[..4]
        } else {
            &words
        };
        program::run("/usr/bin/mariadb", words, statements.as_bytes()).await
    }

    /// A database with these statements in it, and its URL.
    async fn database(&self, name: &str, statements: &str) -> String {
        let make = format!(
            "CREATE DATABASE {name} CHARACTER SET utf8mb4; CREATE USER IF NOT EXISTS onward@'127.0.0.1' IDENTIFIED BY 'pw'; GRANT SELECT ON {name}.* TO onward@'127.0.0.1';"
        );
        self.say("", &make).await.success();
        self.say(name, statements).await.success();
        format!("mysql://onward:pw@127.0.0.1:{}/{name}", self.port)
    }
}

/// A PostgreSQL that need not survive a loss of power.
async fn postgres() -> Postgres {
    Postgres::start(&["fsync=off"]).await
}

/// One of its databases with these statements in it, and its URL.
async fn database(server: &Postgres, name: &str, statements: &str) -> String {
    let url = server.database(name).await;
    server.say(name, statements).await.success();
    url
}

/// That its server's own user can enter.
fn folder() -> TempDir {
    let folder = tempfile::tempdir().expect("a folder");
    fs::set_permissions(folder.path(), Permissions::from_mode(0o777)).expect("a folder");
    folder
}

fn panel(name: &str) -> String {
    fs::read_to_string(PathBuf::from("tests/panels").join(format!("{name}.sql"))).expect("a panel")
}

#[tokio::test]
#[ignore = "foreign: PostgreSQL"]
async fn panels_with_postgres() {
    let server = postgres().await;
    for name in ["postfixadmin", "iredmail"] {
        check(name, &database(&server, name, &panel(name)).await).await;
    }
}

#[tokio::test]
#[ignore = "foreign: MariaDB"]
async fn panels_with_mariadb() {
    let server = MariaDb::start().await;
    for name in [
        "postfixadmin",
        "vimbadmin",
        "mailcow",
        "ispconfig",
        "iredmail",
    ] {
        check(name, &server.database(name, &panel(name)).await).await;
    }
}

/// Prints how long half a million rows take, and a recipient that is looked up: `cargo test --release --features sql --test onward --
/// --ignored --nocapture half_a_million`.
#[tokio::test]
#[ignore = "foreign: PostgreSQL, MariaDB"]
async fn half_a_million_rows() {
    let (postgres, mariadb) = tokio::join!(postgres(), MariaDb::start());
    let table = "CREATE TABLE f (address VARCHAR(100) PRIMARY KEY, targets VARCHAR(100));\n";
    let address = "CONCAT('user', n, '@d', n % 1000, '.example'), CONCAT('box', n, '@t.example')";
    let insert = format!("{table}INSERT INTO f SELECT {address} FROM");
    let urls = [
        database(
            &postgres,
            "many",
            &format!("{insert} generate_series(1, {ROWS}) AS s(n);"),
        )
        .await,
        mariadb
            .database(
                "many",
                &format!("{insert} (SELECT seq AS n FROM seq_1_to_{ROWS}) s;"),
            )
            .await,
        sqlite(&insert, mariadb.folder.path().join("many.sqlite")),
    ];
    for url in urls {
        let kind = url.split(':').next().unwrap_or_default().to_owned();
        let net = Net::new().await;
        let source = format!(
            "{{ kind = 'sql', name = 'many', url = '{url}', query = 'SELECT address, targets FROM f' }}"
        );
        let relay = with(&net, &source.parse::<Value>().expect("TOML"))
            .start()
            .await;
        let began = Instant::now();
        let said = relay.run(&["reload"]).await;
        println!("{kind}: {ROWS} rows in {:?}", began.elapsed());
        assert!(
            said.contains(&format!("source many: {ROWS} lines")),
            "{said}"
        );
        relay.stop().await;
        let source = format!(
            "{{ kind = 'sql', name = 'many', url = '{url}', address = 'SELECT address, targets FROM f WHERE address = $1', domain = \"SELECT address FROM f WHERE $1 LIKE 'd%.example' LIMIT 1\" }}"
        );
        let relay = with(&net, &source.parse::<Value>().expect("TOML"))
            .start()
            .await;
        let mut plain = Plain::hello(relay.address()).await;
        let mut times = Vec::new();
        for n in 1..=2000 {
            if n % 50 == 1 {
                plain.expect("RSET", "250").await;
                plain.expect("MAIL FROM:<origin@sender.test>", "250").await;
            }
            let began = Instant::now();
            plain
                .expect(&format!("RCPT TO:<user{n}@d{}.example>", n % 1000), "250")
                .await;
            times.push(began.elapsed());
        }
        times.sort_unstable();
        println!("{kind}: RCPT p50 {:?}, p99 {:?}", times[1000], times[1980]);
        relay.stop().await;
    }
}

fn sqlite(insert: &str, path: PathBuf) -> String {
    let connection = rusqlite::Connection::open(&path).expect("a database");
    let (table, insert) = insert.split_once('\n').expect("two statements");
    let numbers =
        format!("WITH RECURSIVE s(n) AS (SELECT 1 UNION ALL SELECT n + 1 FROM s WHERE n < {ROWS})");
    let insert = insert.replace("SELECT", &format!("{numbers} SELECT"));
    let statements = format!("{table}\n{insert} s;");
    connection.execute_batch(&statements).expect("rows");
    format!("sqlite:{}", path.display())
}

/// What counts is a release build; the others only see that it works.
const ROWS: usize = if cfg!(debug_assertions) {
    5_000
} else {
    500_000
};
