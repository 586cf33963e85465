//! What the sink finds when a relay is bad: one that loses, doubles and damages mail on purpose, and one that tells the sender.

use std::io::{BufRead as _, BufReader, Read, Write as _};
use std::net::{SocketAddr, TcpListener, TcpStream};
use std::thread::JoinHandle;

use super::tools::{load, run, sink, until};
use crate::load::Load;
use crate::sink::Script;

/// What the relay does with a message, by its number modulo 50.
#[derive(Clone, Copy, PartialEq)]
enum Deed {
    Good,
    Lose,
    Double,
    Damage,
    Notify,
}

fn deed(number: usize) -> Deed {
    match number % 50 {
        3 | 4 => Deed::Lose,
        10 => Deed::Double,
        20..=22 => Deed::Damage,
        30..34 => Deed::Notify,
        _ => Deed::Good,
    }
}

/// A relay of one connection, one recipient a message, that says yes to everything.
fn relay(to: SocketAddr) -> (SocketAddr, JoinHandle<()>) {
    let listener = TcpListener::bind("127.0.0.1:0").unwrap();
    let address = listener.local_addr().unwrap();
    let thread = std::thread::spawn(move || {
        let client = listener.accept().unwrap().0;
        let mut next = Next::new(to);
        serve(client, &mut next);
    });
    (address, thread)
}

fn serve(mut client: TcpStream, next: &mut Next) {
    let mut lines = BufReader::new(client.try_clone().unwrap());
    let mut say = |text: &str| client.write_all(text.as_bytes()).unwrap();
    say("220 bad.example\r\n");
    let (mut from, mut to) = (String::new(), String::new());
    for number in 0.. {
        loop {
            let mut line = String::new();
            lines.read_line(&mut line).unwrap();
            let path = line.split(['<', '>']).nth(1).unwrap_or_default().to_owned();
            match line.get(..4) {
                Some("MAIL") => from = path,
                Some("RCPT") => to = path,
                Some("DATA") => break,
                Some("EHLO") => {}
                _ => return,
            }
            say("250 ok\r\n");
        }
        say("354 go\r\n");
        let mut data = Vec::new();
        while !data.ends_with(b"\r\n.\r\n") {
            lines.read_until(b'\n', &mut data).unwrap();
        }
        pass(next, number, &from, &to, data);
        say("250 accepted\r\n");
    }
}

fn pass(next: &mut Next, number: usize, from: &str, to: &str, mut data: Vec<u8>) {
    match deed(number) {
        Deed::Lose => return,
        Deed::Double => next.send(from, to, &data),
        Deed::Damage => {
            let last = data.len() - 6;
            data[last] ^= 1;
        }
        Deed::Notify => {
            let mut notice = b"Subject: failed\r\n\r\nAction: failed\r\n\r\n".to_vec();
            notice.extend_from_slice(&data);
            return next.send("", from, &notice);
        }
        Deed::Good => {}
    }
    next.send(from, to, &data);
}

/// A plain connection to the sink.
struct Next(BufReader<TcpStream>);

impl Next {
    fn new(to: SocketAddr) -> Self {
        let stream = TcpStream::connect(to).unwrap();
        stream.set_nodelay(true).unwrap();
        let mut next = Self(BufReader::new(stream));
        next.expect("220");
        next.command("HELO bad.example\r\n", "250");
        next
    }

    fn send(&mut self, from: &str, to: &str, data: &[u8]) {
        self.command(&format!("MAIL FROM:<{from}>\r\n"), "250");
        self.command(&format!("RCPT TO:<{to}>\r\n"), "250");
        self.command("DATA\r\n", "354");
        self.0.get_mut().write_all(b"Received: badly\r\n").unwrap();
        self.0.get_mut().write_all(data).unwrap();
        self.expect("250");
    }

    fn command(&mut self, text: &str, code: &str) {
        self.0.get_mut().write_all(text.as_bytes()).unwrap();
        self.expect(code);
    }

    fn expect(&mut self, code: &str) {
        let mut line = String::new();
        self.0.by_ref().read_line(&mut line).unwrap();
        assert!(line.starts_with(code), "{line}");
    }
}

#[test]
fn losses_duplicates_and_damage_are_found() {
    let sink = sink(Script::default());
    let (address, relay) = relay(sink.addresses()[0]);
    let load = Load {
        connections: 1,
        ..load(address, 100)
    };
    let sent = run(&load);
    assert_eq!(sent.accepted, 100, "{sent:?}");
    relay.join().unwrap();
    // 4 lost and 8 reported to the sender: what came is the rest.
    until(|| sink.copies(1) >= 88);
    let received = sink.report(&sent);
    assert_eq!((sent.ledger.copies(), received.distinct), (100, 88));
    assert_eq!((received.lost, received.notified), (4, 8));
    assert_eq!((received.duplicates, received.damaged), (2, 6));
    assert_eq!(received.srs_share, 1.0);
    let runs = sink.runs();
    assert_eq!((runs[0].gaps, runs[0].duplicates), (12, 2));
    assert!(!sink.wait_for(&sent, std::time::Duration::from_millis(50)));
}
