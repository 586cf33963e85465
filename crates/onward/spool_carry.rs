//! Messages from one spool into another, one engine or two: brought there, read back there and compared, only then removed here.
//!
//! Cut off anywhere, it is done again: what is there already is compared and removed here. Nodes may work on the other spool: what
//! they have sent since is no more there, but a mark says that it was ([`Marks`]).

use std::sync::Arc;
use std::time::Duration;

use envelope::{LegId, MessageId, Timestamp};
use queue_pg::{Cluster, Settings};
use serde::Serialize;
use spool::{
    Action, BodyReader as _, BodyWriter as _, Entry, Filter, OpenError, Spool, Token, change_all,
};

use crate::Failure;
use crate::shared::nobody_works;
use crate::spool_cli::progress;

/// What came of it.
#[derive(Debug, Default, Serialize)]
pub(crate) struct Carried {
    pub(crate) messages: u64,
    pub(crate) legs: u64,
    pub(crate) octets: u64,
    /// Messages that an attempt before had brought already.
    pub(crate) there_already: u64,
    /// Messages that stay, and why.
    pub(crate) stay: Vec<Stays>,
    /// Legs that are left.
    pub(crate) left: u64,
}

#[derive(Debug, Serialize)]
pub(crate) struct Stays {
    pub(crate) message: String,
    pub(crate) text: String,
}

/// Remembers in the other spool what was brought there: as tokens, which outlive their messages.
#[derive(Debug, Clone, Copy)]
pub(crate) struct Marks {
    /// Drawn for this move: what came there by another is none of ours.
    pub(crate) of: MessageId,
    /// Whether this move was begun before.
    pub(crate) again: bool,
    pub(crate) until: Timestamp,
}

impl Marks {
    fn mark(&self, id: MessageId) -> Token {
        let name = MessageId::from_bits(self.of.bits() ^ id.bits()).to_string();
        Token {
            name: name[name.len() - spool::TOKEN_NAME_OCTETS_MAX..].into(),
            value: MARK.into(),
            expires: self.until,
        }
    }
}

/// The messages of a spool with all their legs, in order.
pub(crate) struct Mails<S> {
    spool: Arc<S>,
    cursor: Option<LegId>,
    gathered: Vec<Entry>,
    over: bool,
}

impl<S: Spool> Mails<S> {
    pub(crate) fn of(spool: &Arc<S>) -> Self {
        Self {
            spool: Arc::clone(spool),
            cursor: None,
            gathered: Vec::new(),
            over: false,
        }
    }

    /// The next; `None`: that was all.
    pub(crate) async fn some(&mut self) -> Result<Option<Vec<Vec<Entry>>>, spool::Error> {
        if self.over {
            return Ok(None);
        }
        let all = Filter::default();
        let page = self.spool.list(&all, self.cursor, PAGE).await?;
        self.cursor = page.next;
        self.over = page.next.is_none();
        self.gathered.extend(page.entries);
        // The last message may go on on the next page.
        let last = self.gathered.last().map(|entry| entry.id.message);
        let last = last.filter(|_| !self.over);
        let whole = |entry: &&Entry| Some(entry.id.message) != last;
        let whole = self.gathered.iter().take_while(whole).count();
        let legs: Vec<Entry> = self.gathered.drain(..whole).collect();
        let mails = legs.chunk_by(|a, b| a.id.message == b.id.message);
        Ok(Some(mails.map(<[Entry]>::to_vec).collect()))
    }
}

/// Carries all messages; `alone`: while no node works on this spool.
pub(crate) async fn carry_all<S: Spool, T: Spool>(
    (from, to): (&Arc<S>, &Arc<T>),
    marks: Option<Marks>,
    alone: Option<(&Cluster, &Settings)>,
) -> Result<Carried, Failure> {
    let (mut carried, mut mails) = (Carried::default(), Mails::of(from));
    let (total, mut done) = (from.counts().await?.legs(), 0);
    let mut progress = progress("moving mail");
    while let Some(some) = mails.some().await? {
        if let Some((cluster, aside)) = alone {
            nobody_works(cluster, aside).await?;
        }
        for some in some.chunks(AT_ONCE) {
            progress(done, total.max(done + 1));
            done += some.iter().map(|legs| legs.len() as u64).sum::<u64>();
            carry_some((from, to), marks, some, &mut carried).await?;
        }
    }
    progress(1, 1);
    carried.left = from.counts().await?.legs();
    Ok(carried)
}

/// Carries some messages side by side, and removes those that are there.
async fn carry_some<S: Spool, T: Spool>(
    (from, to): (&Arc<S>, &Arc<T>),
    marks: Option<Marks>,
    some: &[Vec<Entry>],
    carried: &mut Carried,
) -> Result<(), Failure> {
    let mut begun = Vec::new();
    for legs in some {
        let (from, to, legs) = (Arc::clone(from), Arc::clone(to), legs.clone());
        begun.push(tokio::spawn(async move {
            carry(&*from, &*to, marks, legs).await
        }));
    }
    let (mut there, mut failed) = (Vec::new(), None);
    for (legs, task) in some.iter().zip(begun) {
        let id = legs[0].id.message;
        match task.await? {
            Ok(Came::Whole { octets, is_new }) => {
                carried.messages += 1;
                carried.legs += legs.len() as u64;
                carried.octets += octets;
                carried.there_already += u64::from(!is_new);
                there.push(id.into());
            }
            Ok(Came::Stays(text)) => carried.stay.push(Stays {
                message: id.to_string(),
                text,
            }),
            Err(error) => failed = Some(format!("{id} cannot be moved: {error}\n\nhint: {AGAIN}")),
        }
    }
    if !there.is_empty() {
        let moved = Filter {
            ids: there,
            ..Filter::default()
        };
        change_all(&**from, &moved, Action::Remove, drop).await?;
    }
    failed.map_or(Ok(()), |text| Err(text.into()))
}

/// What came of one message.
enum Came {
    /// It is there as it is here.
    Whole { octets: u64, is_new: bool },
    /// It is not, and why.
    Stays(String),
}

/// Octets and their checksum.
#[derive(Default)]
struct Sum(crc32fast::Hasher, u64);

impl Sum {
    fn add(&mut self, octets: &[u8]) {
        self.0.update(octets);
        self.1 += octets.len() as u64;
    }

    fn finish(self) -> (u32, u64) {
        (self.0.finalize(), self.1)
    }
}

async fn carry<S: Spool, T: Spool>(
    from: &S,
    to: &T,
    marks: Option<Marks>,
    legs: Vec<Entry>,
) -> Result<Came, Failure> {
    let message = Arc::clone(&legs[0].message);
    let mark = marks.map(|marks| marks.mark(message.id));
    let again = mark.as_ref().filter(|_| marks.is_some_and(|it| it.again));
    let was_there = match again {
        Some(mark) => to.recall(&mark.name).await?.is_some(),
        None => false,
    };
    let mut writer = to.begin(message.id).await?;
    let mut sum = Sum::default();
    // The trace goes with the message.
    let mut before = message.trace.len();
    let mut reader = match from.open_body(message.id).await {
        Err(OpenError::Damaged(why)) => return Ok(Came::Stays(why)),
        reader => reader?,
    };
    loop {
        let chunk = match reader.chunk().await {
            Err(OpenError::Damaged(why)) => return Ok(Came::Stays(why)),
            chunk => chunk?,
        };
        let Some(chunk) = chunk else { break };
        sum.add(&chunk);
        let skipped = before.min(chunk.len());
        before -= skipped;
        if !was_there && skipped < chunk.len() {
            writer.write(chunk.slice(skipped..)).await?;
        }
    }
    let mut is_new = false;
    if !was_there {
        mark.iter().cloned().for_each(|mark| writer.keep(mark));
        is_new = to.bring_back(writer, legs).await?;
    }
    let (read, octets) = sum.finish();
    match sum_of(to, message.id).await {
        Ok(found) if found == (read, octets) => {}
        Err(OpenError::NotFound) => {
            // A node of there has sent it, or ended it otherwise: then its mark is there.
            let known = match &mark {
                Some(mark) => to.recall(&mark.name).await?.is_some(),
                None => false,
            };
            if !known {
                return Ok(Came::Stays("what was brought there is gone".to_owned()));
            }
        }
        Ok((_, there)) => {
            let text =
                format!("what is there under its id is another ({there} octets, here {octets})");
            return Ok(Came::Stays(text));
        }
        Err(error) => return Err(error.into()),
    }
    Ok(Came::Whole { octets, is_new })
}

/// Of a message as a spool has it: trace and body.
async fn sum_of<S: Spool>(spool: &S, id: MessageId) -> Result<(u32, u64), OpenError> {
    let (mut reader, mut sum) = (spool.open_body(id).await?, Sum::default());
    while let Some(chunk) = reader.chunk().await? {
        sum.add(&chunk);
    }
    Ok(sum.finish())
}

/// What is to be done when a move was cut off.
pub(crate) const AGAIN: &str = "when this is mended, run it again: nothing comes twice, and nothing is lost; until then start nothing on either spool that was stopped";
/// What a mark stands for: no address.
pub(crate) const MARK: &str = "moved";
/// A move that was cut off is gone on with before.
pub(crate) const MARKS_LAST: Duration = Duration::from_hours(7 * 24);
const AT_ONCE: usize = 32;
const PAGE: usize = 1000;

#[cfg(test)]
mod tests {
    use spool::memory::MemorySpool;
    use spool::{Arrival, Clock, Lifetime};

    use super::*;

    const NOW: Timestamp = Timestamp::from_unix_millis(1_796_000_000_000);

    fn empty() -> Arc<MemorySpool> {
        Arc::new(MemorySpool::new(Clock::manual(NOW), Lifetime::default()))
    }

    async fn put(spool: &MemorySpool, n: u64, legs: usize, body: &str) -> MessageId {
        let id = MessageId::new(NOW, u128::from(n));
        let mut writer = spool.begin(id).await.unwrap();
        writer.write(body.to_owned()).await.unwrap();
        let message = envelope::Message {
            trace: "Received: here\r\n".into(),
            ..envelope::Message::new(id, NOW, envelope::ReversePath::Null, 16 + body.len() as u64)
        };
        let leg = |n| {
            let to: envelope::Mailbox = format!("u{n}@x.test").parse().unwrap();
            envelope::Leg::new(envelope::ReversePath::Null, to.clone(), to)
        };
        let arrival = Arrival::new(message, (0..legs).map(leg).collect(), NOW);
        spool.commit(writer, arrival).await.unwrap();
        id
    }

    fn marks(again: bool) -> Option<Marks> {
        Some(Marks {
            of: MessageId::from_bits(0x1234_5678 << 80),
            again,
            until: NOW.plus(MARKS_LAST),
        })
    }

    async fn go(from: &Arc<MemorySpool>, to: &Arc<MemorySpool>, marks: Option<Marks>) -> Carried {
        carry_all((from, to), marks, None).await.unwrap()
    }

    /// More legs than a page has, of one message too.
    #[tokio::test]
    async fn all_is_there_and_nothing_here() {
        let (from, to) = (empty(), empty());
        for (n, legs) in [(1, 2500), (2, 1), (3, 999), (4, 1)] {
            put(&from, n, legs, "body").await;
        }
        let carried = go(&from, &to, None).await;
        let found = (carried.messages, carried.legs, carried.octets, carried.left);
        assert_eq!(found, (4, 3501, 80, 0));
        assert_eq!(to.counts().await.unwrap().legs(), 3501);
    }

    #[tokio::test]
    async fn what_is_there_already_is_compared() {
        let (from, to) = (empty(), empty());
        put(&from, 1, 1, "same").await;
        put(&to, 1, 1, "same").await;
        put(&from, 2, 1, "mine").await;
        put(&to, 2, 1, "yours").await;
        let carried = go(&from, &to, None).await;
        assert_eq!((carried.messages, carried.there_already), (1, 1));
        assert_eq!((carried.stay.len(), carried.left), (1, 1));
    }

    /// It was brought there, and the move was killed before it was removed here.
    #[tokio::test]
    async fn what_was_sent_from_there_does_not_come_again() {
        let (from, to) = (empty(), empty());
        let id = put(&from, 1, 1, "body").await;
        let legs = Mails::of(&from).some().await.unwrap().unwrap().remove(0);
        let came = carry(&*from, &*to, marks(false), legs).await.unwrap();
        assert!(matches!(came, Came::Whole { is_new: true, .. }));
        let sent = Filter::only(id);
        change_all(&*to, &sent, Action::Remove, drop).await.unwrap();
        let carried = go(&from, &to, marks(true)).await;
        assert_eq!((carried.messages, carried.left), (1, 0));
        assert_eq!(to.counts().await.unwrap().legs(), 0);
    }
}
