//! `docs/questions.md`: every command in it does what it is there for, beside a running relay.

use testkit::daemon::Setup;
use testkit::net::Net;
use testkit::program::Finished;
use testkit::sender::send;

use crate::relay;

const MAIL: &[u8] = b"From: news@sender.example\r\nTo: shop@customer.example\r\nMessage-ID: <hello@sender.example>\r\nSubject: hello\r\n\r\nhello\r\n";

#[tokio::test]
async fn every_command_of_the_page_answers() {
    let net = Net::new().await;
    let _sink = net
        .sink("mailbox.example", "rcpt: 450 4.7.1 slow down")
        .await;
    let _gone = net
        .sink("gone.example", "rcpt: 550 5.1.1 no such user")
        .await;
    let forwards =
        "shop@customer.example shop@mailbox.example\nold@customer.example old@gone.example\n";
    let relay = relay(&net, forwards)
        .set("queue.retry", "[\"1h\"]")
        .start()
        .await;
    let to = ["shop@customer.example"];
    send(relay.address(), "news@sender.example", &to, MAIL).await;
    relay.wait_for("deferred").await;
    let dead = ["old@customer.example"];
    send(relay.address(), "news@sender.example", &dead, MAIL).await;
    relay.wait_for("failed").await;
    let page = include_str!("../../docs/questions.md");
    let rows: Vec<[&str; 2]> = page.lines().filter_map(row).collect();
    let numbers: Vec<_> = rows
        .iter()
        .map(|[number, _]| (*number).to_owned())
        .collect();
    let expected: Vec<_> = (1..=25).map(|number: u32| number.to_string()).collect();
    assert_eq!(numbers, expected);
    let backup = relay.setup().path("backup");
    let postfix = relay.setup().path("postfix");
    std::fs::create_dir(&postfix).expect("a folder");
    let main_cf = "myhostname = mx1.example.net\nvirtual_alias_maps =\nalias_maps =\n";
    relay.setup().write("postfix/main.cf", main_cf);
    let mut asked = 0;
    for [number, command] in rows {
        if command.starts_with("see ") || command.starts_with("`systemctl ") {
            continue;
        }
        let command = command
            .trim_matches('`')
            .replace("/var/backups/onward", &backup.to_string_lossy())
            .replace("/etc/postfix", &postfix.to_string_lossy());
        let (command, input) = match command.strip_suffix(" < mail.eml") {
            Some(command) => (command, MAIL),
            None => (&*command, &b""[..]),
        };
        let mut words = words(command).into_iter();
        assert_eq!(words.next(), Some("onward"), "{command}");
        let arguments: Vec<_> = words.collect();
        let finished = when_there(relay.setup(), &arguments, input).await;
        assert_eq!(finished.code, Some(0), "{number}: {command}: {finished}");
        assert!(!finished.stdout.is_empty(), "{number}: {command}");
        asked += 1;
    }
    assert_eq!(asked, 23);
    relay.wait_for("operator-asked action=remove").await;
}

/// What a command says once there is something to say: the history comes a moment later.
pub(super) async fn when_there(setup: &Setup, arguments: &[&str], input: &[u8]) -> Finished {
    let mut tries = 0..200;
    loop {
        assert!(tries.next().is_some(), "{arguments:?}: nothing matches");
        let finished = setup.run_with(arguments, input).await;
        let early = finished.stderr.contains("no history was written yet");
        if finished.code != Some(3) && !early {
            return finished;
        }
    }
}

/// Number and command of a row.
fn row(line: &str) -> Option<[&str; 2]> {
    let mut cells = line.strip_prefix("| ")?.split(" | ");
    let number = cells.next()?;
    number.parse::<u32>().ok()?;
    Some([number, cells.nth(1)?])
}

/// As a shell parts them.
pub(super) fn words(command: &str) -> Vec<&str> {
    let parts = command.split('\'').enumerate();
    let words = parts.map(|(number, part)| match number % 2 {
        0 => part.split_whitespace().collect(),
        _ => vec![part],
    });
    words.flatten().collect()
}
