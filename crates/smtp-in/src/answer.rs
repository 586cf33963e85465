//! The visit answers the session's events. No socket is needed, so tests can run a dialog in memory.

use std::time::Instant;

use envelope::{Envelope, Verdict};
use smtp::server::{Event, Session};

use crate::visit::{Client, Visit};

/// Has the visit answer one event of the session. [`Event::StartTls`] and [`Event::Closed`] are left to the owner of the socket.
pub async fn answer<V: Visit>(
    session: &mut Session,
    client: &mut Client,
    visit: &mut V,
    event: Event,
) {
    let verdict = match event {
        Event::Connect => visit.connect(client).await,
        Event::Hello(hello) => {
            let verdict = visit.hello(client, &hello).await;
            if verdict == Verdict::Accept {
                client.hello = Some(hello);
            }
            verdict
        }
        Event::Xclient(xclient) => {
            client.become_another(xclient);
            visit.xclient(client).await
        }
        Event::Auth(credentials) => {
            let verdict = visit.auth(client, &credentials).await;
            if verdict == Verdict::Accept {
                client.user = Some((*credentials.user).into());
            }
            verdict
        }
        Event::Mail(envelope) => visit.mail(client, &envelope).await,
        Event::Rcpt(recipient) => visit.rcpt(client, open_envelope(session), &recipient).await,
        Event::Data => visit.data(client, open_envelope(session)).await,
        Event::Body(chunk) => {
            if let Err(reply) = visit.write(client, chunk).await {
                visit.reset();
                session.refuse_body(reply);
            }
            return;
        }
        Event::BodyEnd => {
            let reply = visit.commit(client, open_envelope(session)).await;
            return session.answer_body(Instant::now(), reply);
        }
        Event::BodyNormalized { newlines } => return visit.normalized(newlines),
        Event::BodyAbandoned | Event::Reset => return visit.reset(),
        Event::Refused(refusal) => return visit.refused(client, refusal),
        Event::StartTls | Event::Closed => return,
    };
    session.answer(Instant::now(), verdict);
}

fn open_envelope(session: &Session) -> &Envelope {
    let Some(envelope) = session.envelope() else {
        unreachable!("RCPT, DATA and the end of a body are asked about within a transaction");
    };
    envelope
}
