//! Looking at the shared spool: is all of it whole, and what is in it. Nothing is changed, and nodes may be at work.

use envelope::{LegId, MessageId};
use spool::{BodyReader as _, Error, OpenError};
use tokio_postgres::Row;

use crate::body::PgReader;
use crate::claim::{leg_id, number};
use crate::cluster::Cluster;
use crate::rows::{Id, read_leg, read_message};

/// What was found.
#[derive(Debug, Clone, Default)]
pub struct Report {
    /// Messages that are queued.
    pub messages: u64,
    /// Their legs.
    pub legs: u64,
    /// Octets of their bodies.
    pub octets: u64,
    /// Everything that is not as it was written.
    pub damage: Vec<Damage>,
}

/// One thing that is wrong.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct Damage {
    /// The table.
    pub table: &'static str,
    /// The message it concerns.
    pub message: MessageId,
    /// What is wrong.
    pub text: String,
}

impl Report {
    fn damage(&mut self, table: &'static str, message: MessageId, text: impl Into<String>) {
        self.damage.push(Damage {
            table,
            message,
            text: text.into(),
        });
    }
}

impl Cluster {
    /// Reads every row and every body. `progress` is told now and then how many messages of how many are read.
    pub async fn verify(&self, mut progress: impl FnMut(u64, u64)) -> Result<Report, Error> {
        let (mut report, mut last) = (Report::default(), MessageId::from_bits(0));
        let all = self.0.ask("SELECT count(*) FROM messages", &[]).await?;
        let all: i64 = all.first().map_or(0, |row| row.get(0));
        loop {
            let rows = self.0.ask(MESSAGES, &[&Id(last)]).await?;
            for row in &rows {
                Id(last) = row.get("id");
                report.messages += 1;
                self.read(last, row, &mut report).await?;
            }
            progress(report.messages, all.unsigned_abs().max(report.messages));
            if rows.is_empty() {
                break;
            }
        }
        let mut last = LegId {
            message: MessageId::from_bits(0),
            number: 0,
        };
        let mut from = -1;
        loop {
            let rows = self.0.ask(LEGS, &[&Id(last.message), &from]).await?;
            for row in &rows {
                last = leg_id(row);
                from = number(last);
                report.legs += 1;
                if let Err(error) = read_leg(row) {
                    let text = format!("leg {last} cannot be read: {error}");
                    report.damage("legs", last.message, text);
                }
                if row.get("alone") {
                    let text = format!("leg {last} has no message");
                    report.damage("legs", last.message, text);
                }
            }
            if rows.is_empty() {
                break;
            }
        }
        for row in self.0.ask(ALONE, &[]).await? {
            let (Id(id), pieces): (_, i64) = (row.get(0), row.get(1));
            report.damage("bodies", id, format!("{pieces} pieces of no message"));
        }
        Ok(report)
    }

    /// Reads one message and its body.
    async fn read(&self, id: MessageId, row: &Row, report: &mut Report) -> Result<(), Error> {
        if row.get::<_, i64>("legs") == 0 {
            report.damage("messages", id, "has no legs: it never ends");
        }
        let message = match read_message(row) {
            Ok(message) => message,
            Err(error) => {
                report.damage("messages", id, format!("cannot be read: {error}"));
                return Ok(());
            }
        };
        match self.octets(id).await {
            Ok(octets) if octets == message.size => report.octets += octets,
            Ok(octets) => {
                let text = format!("has {octets} octets, not {}", message.size);
                report.damage("messages", id, text);
            }
            // It has ended meanwhile.
            Err(OpenError::NotFound) => {}
            Err(OpenError::Damaged(text)) => {
                if !matches!(PgReader::open(&self.0, id).await, Err(OpenError::NotFound)) {
                    report.damage("messages", id, text);
                }
            }
            Err(error) => return Err(Error::Unknown(error.to_string())),
        }
        Ok(())
    }

    async fn octets(&self, id: MessageId) -> Result<u64, OpenError> {
        let (mut reader, mut octets) = (PgReader::open(&self.0, id).await?, 0);
        while let Some(chunk) = reader.chunk().await? {
            octets += chunk.len() as u64;
        }
        Ok(octets)
    }
}

const MESSAGES: &str = "SELECT m.id, m.arrived, m.reverse_path AS sender, m.origin, m.peer, m.user_name, m.trace AS message_trace, m.size,
        m.eight_bit, m.smtputf8, m.ret, m.envid, (SELECT count(*) FROM legs WHERE message = m.id) AS legs
    FROM messages AS m WHERE m.id > $1 ORDER BY m.id LIMIT 1000";
const LEGS: &str = "SELECT l.*, NOT EXISTS (SELECT FROM messages WHERE id = l.message) AS alone
    FROM legs AS l WHERE (l.message, l.number) > ($1, $2) ORDER BY l.message, l.number LIMIT 1000";
const ALONE: &str = "SELECT message, count(*) FROM bodies AS b WHERE NOT EXISTS (SELECT FROM messages WHERE id = b.message)
        AND NOT EXISTS (SELECT FROM drafts WHERE message = b.message) GROUP BY message LIMIT 1000";
