//! Each system that is on this machine forwards under an SRS address, and takes a bounce to that address back to the sender.

use std::io::{BufRead as _, BufReader, Write as _};
use std::net::{SocketAddr, TcpListener, TcpStream};
use std::sync::mpsc::{Receiver, channel};
use std::thread;
use std::time::Duration;

use crate::system::{Running, Setup, System};

#[test]
fn onward() {
    check(System::Onward);
}

#[test]
fn postfix() {
    check(System::Postfix);
}

#[test]
fn exim() {
    check(System::Exim);
}

#[test]
fn opensmtpd() {
    check(System::OpenSmtpd);
}

#[track_caller]
fn check(system: System) {
    if let Err(missing) = system.find() {
        println!("skipped: {system}: {}\n{}", missing.reason, missing.advice);
        return;
    }
    let folder = tempfile::tempdir().unwrap();
    let (sink, received) = sink();
    let running = system
        .start(&Setup {
            folder: folder.path().to_owned(),
            forwards: vec![
                ("joe@in.example".to_owned(), "joe@out.example".to_owned()),
                ("@all.example".to_owned(), "box@out.example".to_owned()),
            ],
            routes: vec![("*".to_owned(), sink), ("out.example".to_owned(), sink)],
            connections_in: 10,
            connections_out: 5,
            message_size: 1 << 20,
            retry_quickly: true,
            tls: None,
            checks: None,
            extra: "",
        })
        .unwrap();
    there_and_back(&running, &received);
    // All of 127.0.0.0/8 is local to OpenSMTPD.
    if system != System::OpenSmtpd {
        refuses(&running);
    }
    let cost = running.cost().unwrap();
    assert!(
        cost.cpu > Duration::ZERO && cost.memory > 1 << 20,
        "{cost:?}"
    );
    assert!(
        cost.memory_peak >= cost.memory && cost.processes > 0,
        "{cost:?}"
    );
    assert_eq!(running.queued().unwrap(), 0);
    running.retry_all().unwrap();
    running.stop().unwrap();
}

/// Mail to a forwarded address, a bounce to the SRS address that it came under, and mail to a catch-all.
fn there_and_back(running: &Running, received: &Receiver<(String, String)>) {
    let next = || received.recv_timeout(Duration::from_secs(20)).unwrap();
    let send = |from, to| send(running.address(), from, to).unwrap_or_default();
    assert!(send("alice@sender.example", "joe@in.example"));
    let (from, to) = next();
    assert!(from.starts_with("SRS0="), "{from}");
    assert!(from.contains("sender.example=alice"), "{from}");
    assert_eq!(to, "joe@out.example");

    assert!(send("", &from));
    assert_eq!(next(), (String::new(), "alice@sender.example".to_owned()));

    assert!(send("alice@sender.example", "any@all.example"));
    assert_eq!(next().1, "box@out.example");
}

fn refuses(running: &Running) {
    let send = |from, to| send(running.address(), from, to).unwrap_or_default();
    assert!(
        !send("alice@sender.example", "who@elsewhere.example"),
        "an open relay"
    );
    assert!(
        !send("", "SRS0=AAAA=AA=sender.example=alice@srs.example"),
        "a forged bounce"
    );
}

/// Sends one message; was it accepted?
fn send(server: SocketAddr, from: &str, to: &str) -> Option<bool> {
    let mut stream = TcpStream::connect(server).ok()?;
    stream
        .set_read_timeout(Some(Duration::from_secs(10)))
        .ok()?;
    let mut replies = BufReader::new(stream.try_clone().ok()?).lines();
    let mut reply = move || {
        let line = replies.find(|line| line.as_ref().is_ok_and(|line| line.get(3..4) != Some("-")));
        line?.ok()
    };
    reply()?;
    for (command, good) in [
        ("EHLO client.example".to_owned(), "250"),
        (format!("MAIL FROM:<{from}>"), "250"),
        (format!("RCPT TO:<{to}>"), "250"),
        ("DATA".to_owned(), "354"),
        ("From: a@sender.example\r\nDate: Sat, 21 Nov 2026 12:00:00 +0000\r\nMessage-ID: <1@sender.example>\r\n\r\nhi\r\n.".to_owned(), "250"),
        ("QUIT".to_owned(), "221"),
    ] {
        stream.write_all(format!("{command}\r\n").as_bytes()).ok()?;
        if !reply()?.starts_with(good) {
            return Some(false);
        }
    }
    Some(true)
}

/// A destination that takes everything, and tells the envelope of each message.
fn sink() -> (SocketAddr, Receiver<(String, String)>) {
    let listener = TcpListener::bind("127.0.0.1:0").unwrap();
    let address = listener.local_addr().unwrap();
    let (tell, received) = channel();
    thread::spawn(move || {
        for stream in listener.incoming() {
            let tell = tell.clone();
            thread::spawn(move || {
                let mut stream = stream.unwrap();
                let lines = BufReader::new(stream.try_clone().unwrap()).lines();
                let mut say = |text: &str| stream.write_all(text.as_bytes());
                let (mut from, mut to, mut data) = (String::new(), String::new(), false);
                let path =
                    |line: &str| line.split(['<', '>']).nth(1).unwrap_or_default().to_owned();
                say("220 sink.example\r\n").unwrap();
                for line in lines.map_while(Result::ok) {
                    let verb = line.get(..4).unwrap_or_default().to_ascii_uppercase();
                    if data && line != "." {
                        continue;
                    }
                    if data {
                        tell.send((from.clone(), to.clone())).unwrap();
                    } else if verb == "MAIL" {
                        from = path(&line);
                    } else if verb == "RCPT" {
                        to = path(&line);
                    }
                    data = verb == "DATA";
                    if say(if data { "354 go\r\n" } else { "250 ok\r\n" }).is_err() {
                        break;
                    }
                }
            });
        }
    });
    (address, received)
}
