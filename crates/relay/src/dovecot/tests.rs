//! Rows of what Dovecot says, and a Dovecot on good and bad days.

use tempfile::TempDir;
use tokio::net::UnixListener;

use super::*;

/// A Dovecot that does as the test says, on a socket of its own.
struct Fake {
    folder: TempDir,
    listener: UnixListener,
}

impl Fake {
    fn new() -> Self {
        let folder = tempfile::tempdir().unwrap();
        let listener = UnixListener::bind(folder.path().join("auth")).unwrap();
        Self { folder, listener }
    }

    fn client(&self) -> Dovecot {
        Dovecot::new(self.folder.path().join("auth"), Journal::default())
    }

    /// The next connection, up to the end of the greetings.
    async fn greet(&self) -> BufReader<UnixStream> {
        let mut stream = self.accept().await;
        send(&mut stream, GREETING).await;
        assert_eq!(hear(&mut stream).await, "VERSION\t1\t2");
        assert!(hear(&mut stream).await.starts_with("CPID\t"));
        stream
    }

    async fn accept(&self) -> BufReader<UnixStream> {
        BufReader::new(self.listener.accept().await.unwrap().0)
    }
}

async fn send(stream: &mut BufReader<UnixStream>, text: &str) {
    stream.write_all(text.as_bytes()).await.unwrap();
}

async fn hear(stream: &mut BufReader<UnixStream>) -> String {
    let mut line = Vec::new();
    read_line(stream, &mut line).await.unwrap();
    String::from_utf8(line).unwrap()
}

fn login(user: &str) -> Login<'_> {
    Login {
        user,
        password: b"secret",
        client: None,
    }
}

fn unknown(reason: &str) -> Checked {
    Checked::Unknown(format!("Dovecot: {reason}"))
}

#[test]
fn what_a_line_says() {
    let right = |user: &str| Some(Checked::Right(user.to_owned()));
    for (line, expected) in [
        (
            "OK\t7\tuser=ann@example.org\tuid=1",
            right("ann@example.org"),
        ),
        ("OK\t7\tx=1\tuser=ann", right("ann")),
        ("OK\t7", Some(unknown("names no user"))),
        ("OK\t7\tuser=", Some(unknown("names no user"))),
        ("OK\t7\tuser=a\u{1}tb", Some(unknown("names no user"))),
        ("FAIL\t7\tuser=ann", Some(Checked::Wrong)),
        (
            "FAIL\t7\tuser=ann\treason=temp\tauthz",
            Some(Checked::Wrong),
        ),
        ("FAIL\t7\tuser=ann\tuser_disabled", Some(Checked::Wrong)),
        (
            "FAIL\t7\ttemp",
            Some(unknown("a failure for the time being")),
        ),
        (
            "FAIL\t7\tcode=temp_fail\treason=no database",
            Some(unknown("no database")),
        ),
        (
            "CONT\t7\tabc",
            Some(unknown("asks for more than a password")),
        ),
        ("OK\t-7\tuser=ann", None),
        ("OK\tuser=ann", None),
        ("SPID\t7", None),
        ("OK", None),
        ("", None),
    ] {
        let expected = expected.map(|checked| (7, checked));
        assert_eq!(answer(line), expected, "{line:?}");
    }
}

#[test]
fn how_a_login_is_asked_about() {
    let client = Some("2001:db8::1".parse().unwrap());
    let line = command(Login {
        client,
        ..login("ann\t")
    });
    let expected =
        "PLAIN\tservice=smtp\tsecured\tnologin\trip=2001:db8::1\tresp=AGFubgkAc2VjcmV0\n";
    assert_eq!(&**line, expected);
}

/// Dovecot holds back refusals: a right login behind a wrong one does not wait for it.
#[tokio::test]
async fn answers_come_in_any_order_over_one_connection() {
    let fake = Fake::new();
    let dovecot = fake.client();
    let server = async {
        let mut stream = fake.greet().await;
        for number in ["1", "2", "3"] {
            assert!(
                hear(&mut stream)
                    .await
                    .starts_with(&format!("AUTH\t{number}\tPLAIN\t"))
            );
        }
        // Others' numbers, and a line of a later version, are nobody's answer.
        send(
            &mut stream,
            "OK\t9\tuser=eve\nNEWS\t2\nOK\t3\tuser=c\nFAIL\t2\ttemp\n",
        )
        .await;
        send(&mut stream, "FAIL\t1\tuser=a\n").await;
        stream
    };
    let logins = async {
        tokio::join!(
            dovecot.check(login("a")),
            dovecot.check(login("b")),
            dovecot.check(login("c")),
        )
    };
    let (_stream, (a, b, c)) = tokio::join!(server, logins);
    assert_eq!(a, Checked::Wrong);
    assert_eq!(b, unknown("a failure for the time being"));
    assert_eq!(c, Checked::Right("c".to_owned()));
}

/// A login cannot be checked then; the next one finds Dovecot as it is by then, and both are said once.
#[tokio::test]
async fn dovecot_goes_and_comes_back() {
    let fake = Fake::new();
    let dovecot = fake.client();
    let mut events = dovecot.journal.subscribe();
    let server = async {
        // It dies while a login waits, then before its greeting is whole.
        let mut stream = fake.greet().await;
        hear(&mut stream).await;
        send(&mut stream, "OK\t1\tus").await;
        drop(stream);
        send(&mut fake.accept().await, "VERSION\t1\t2\n").await;
        let mut stream = fake.greet().await;
        hear(&mut stream).await;
        send(&mut stream, "OK\t1\tuser=a\n").await;
        stream
    };
    let logins = async {
        let first = dovecot.check(login("a")).await;
        assert_eq!(first, unknown("the connection broke before the answer"));
        let second = dovecot.check(login("a")).await;
        assert!(matches!(second, Checked::Unknown(_)), "{second:?}");
        assert_eq!(
            dovecot.check(login("a")).await,
            Checked::Right("a".to_owned())
        );
    };
    tokio::join!(server, logins);
    let down = events.try_next().unwrap().unwrap();
    let up = events.try_next().unwrap().unwrap();
    let path = dovecot.path.display().to_string();
    assert!(matches!(&down.event, Event::DovecotDown { error } if error.starts_with(&path)));
    assert!(matches!(&up.event, Event::DovecotUp { failed: 2 }));
    assert!(events.try_next().is_none());
}

#[tokio::test]
async fn no_socket() {
    let folder = tempfile::tempdir().unwrap();
    let dovecot = Dovecot::new(folder.path().join("none"), Journal::default());
    let checked = dovecot.check(login("a")).await;
    assert!(
        matches!(&checked, Checked::Unknown(why) if why.contains("No such file")),
        "{checked:?}"
    );
}

/// None of it is held to be a refusal, or kept in memory.
#[tokio::test]
async fn rubbish_is_no_refusal() {
    let endless = "x".repeat(1 << 20);
    for (hello, answer, reason) in [
        (
            "220 mail ESMTP\n".repeat(200),
            "",
            "it does not speak version 1",
        ),
        (
            "VERSION\t2\t0\nDONE\n".to_owned(),
            "",
            "it does not speak version 1",
        ),
        (
            "VERSION\t1\t2\nMECH\tLOGIN\nDONE\n".to_owned(),
            "",
            "it does not offer PLAIN",
        ),
        (endless.clone(), "", "a line without end"),
        (GREETING.to_owned(), &*endless, "the connection broke"),
        (GREETING.to_owned(), "FAIL\t1", "the connection broke"),
    ] {
        let fake = Fake::new();
        let dovecot = fake.client();
        let server = async {
            let mut stream = fake.accept().await;
            // The client may close at any octet of it.
            let _ = stream.write_all(hello.as_bytes()).await;
            let asked = async {
                loop {
                    if hear(&mut stream).await.starts_with("AUTH") {
                        return;
                    }
                }
            };
            if !answer.is_empty() {
                asked.await;
                let _ = stream.write_all(answer.as_bytes()).await;
            }
        };
        let ((), checked) = tokio::join!(server, dovecot.check(login("a")));
        let Checked::Unknown(why) = checked else {
            panic!("{reason}: {checked:?}");
        };
        assert!(why.contains(reason), "{reason}: {why}");
    }
}

/// The time limits are those of the client; the clock is the test's.
#[tokio::test(start_paused = true)]
async fn a_silent_dovecot_is_given_up_and_asked_anew() {
    let fake = Fake::new();
    let dovecot = fake.client();
    let server = async {
        let mut silent = fake.greet().await;
        hear(&mut silent).await;
        // Neither an answer nor the end: another connection takes its place.
        let mut stream = fake.greet().await;
        hear(&mut stream).await;
        send(&mut stream, "FAIL\t1\n").await;
        (silent, stream)
    };
    let logins = async {
        let first = dovecot.check(login("a")).await;
        assert!(matches!(first, Checked::Unknown(_)), "{first:?}");
        assert_eq!(dovecot.check(login("a")).await, Checked::Wrong);
    };
    tokio::join!(server, logins);
}

#[tokio::test(start_paused = true)]
async fn no_greeting() {
    let fake = Fake::new();
    let dovecot = fake.client();
    let (_stream, checked) = tokio::join!(fake.accept(), dovecot.check(login("a")));
    assert_eq!(checked, unknown("no answer within 5 s"));
}

const GREETING: &str =
    "VERSION\t1\t2\nMECH\tPLAIN\tplaintext\nSPID\t1\nCUID\t1\nCOOKIE\tc0\nDONE\n";
