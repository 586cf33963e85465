//! A milter that says anything: its packets read the same in any pieces, and what goes on to a peer, a log or a message is clean.

use std::collections::VecDeque;
use std::pin::Pin;
use std::str::FromStr;
use std::task::{Context, Poll};

use arbitrary::Arbitrary;
use envelope::{Envelope, ForwardPath, MessageId, Recipient, ReversePath};
use filter::{Facts, Failed, Opinion, Verdict};
use tokio::io::{AsyncRead, AsyncWrite, ReadBuf};

use crate::input::{Pieces, assert_clean, plan};

#[derive(Debug, Arbitrary)]
struct Plan {
    split: u64,
}

/// `data` is how to split, and all that a milter sends.
pub(crate) fn check(data: &[u8]) {
    let Some((Plan { split }, wire)) = plan(data) else {
        return;
    };
    let said = ask(Pieces::new(wire, split));
    assert_eq!(said, ask(Pieces::new(wire, 0)), "the pieces change it");
    match said {
        Ok(opinion) => assert_opinion(&opinion),
        Err(failed) => assert_clean(&failed.to_string()),
    }
}

fn assert_opinion(opinion: &Opinion) {
    match &opinion.verdict {
        Verdict::Reject(reply) => assert!((500..600).contains(&reply.code), "{reply:?}"),
        Verdict::Defer(reply) => assert!(
            (400..500).contains(&reply.code) && reply.code != 421,
            "{reply:?}"
        ),
        Verdict::Hold(reason) => assert_clean(reason),
        Verdict::Accept | Verdict::Discard => {}
    }
    if let Verdict::Reject(reply) | Verdict::Defer(reply) = &opinion.verdict {
        crate::reply::assert_reply(reply);
    }
    opinion
        .remarks
        .iter()
        .for_each(|remark| assert_clean(remark));
    assert!(opinion.fields.len() <= 16 << 10 && opinion.remarks.len() <= 10);
    let Some(lines) = opinion.fields.strip_suffix("\r\n") else {
        return assert!(opinion.fields.is_empty(), "{:?}", opinion.fields);
    };
    for line in lines.split("\r\n") {
        assert!(line.len() <= 998 && !line.trim().is_empty(), "{line:?}");
        assert!(
            line.bytes().all(|b| matches!(b, b'\t' | b' '..=b'~')),
            "{line:?}"
        );
        assert!(
            line.starts_with([' ', '\t']) || line.contains(':'),
            "{line:?}"
        );
    }
}

fn ask(pieces: Pieces<'_>) -> Result<Opinion, Failed> {
    let mailbox = parsed("a@sender.test");
    let mut envelope = Envelope::new(ReversePath::Mailbox(mailbox));
    let recipient = ForwardPath::Mailbox(parsed("b@example.test"));
    envelope.recipients = vec![Recipient::new(recipient.clone()), Recipient::new(recipient)];
    let facts = Facts {
        id: MessageId::from_bits(1),
        hostname: &parsed("mx.example.test"),
        client: parsed("192.0.2.7:4711"),
        client_name: None,
        hello: "client.test",
        tls: None,
        user: None,
        envelope: &envelope,
        size: 0,
    };
    let body = futures_util::stream::iter([Ok("Received: x\r\nA: b\r\n\r\nbody\r\n".into())]);
    let milter = Milter(pieces.map(<[u8]>::to_vec).collect());
    let asked = filter::fuzzing::ask_milter(milter, &facts, Box::pin(body));
    match tokio::runtime::Builder::new_current_thread()
        .enable_time()
        .build()
    {
        Ok(runtime) => runtime.block_on(asked),
        Err(error) => panic!("no runtime: {error}"),
    }
}

fn parsed<T: FromStr>(text: &str) -> T {
    text.parse().unwrap_or_else(|_| panic!("{text} is none"))
}

/// Gives its pieces, then ends; what it is told is lost.
struct Milter(VecDeque<Vec<u8>>);

impl AsyncRead for Milter {
    fn poll_read(
        mut self: Pin<&mut Self>,
        _: &mut Context<'_>,
        buffer: &mut ReadBuf<'_>,
    ) -> Poll<std::io::Result<()>> {
        if let Some(mut piece) = self.0.pop_front() {
            let rest = piece.split_off(piece.len().min(buffer.remaining()));
            buffer.put_slice(&piece);
            if !rest.is_empty() {
                self.0.push_front(rest);
            }
        }
        Poll::Ready(Ok(()))
    }
}

impl AsyncWrite for Milter {
    fn poll_write(
        self: Pin<&mut Self>,
        _: &mut Context<'_>,
        bytes: &[u8],
    ) -> Poll<std::io::Result<usize>> {
        Poll::Ready(Ok(bytes.len()))
    }

    fn poll_flush(self: Pin<&mut Self>, _: &mut Context<'_>) -> Poll<std::io::Result<()>> {
        Poll::Ready(Ok(()))
    }

    fn poll_shutdown(self: Pin<&mut Self>, _: &mut Context<'_>) -> Poll<std::io::Result<()>> {
        Poll::Ready(Ok(()))
    }
}
