//! The board: notes and questions in tables. A NOTIFY has the others look at once; one that is lost costs a heartbeat.
//!
//! What is new is what later transactions have put up. One that began early may commit late: so each look begins with the earliest
//! that was still running at the look before, and what that one has given already is passed over.

use std::collections::HashSet;
use std::sync::{Arc, LazyLock};
use std::time::{Duration, Instant};

use envelope::{Share, Timestamp};
use parking_lot::Mutex;
use spool::{Boxed, Error, Note, Question, Reply, Rule};
use tokio::sync::watch;
use tokio_postgres::Row;

use crate::connect::Parameters;
use crate::engine::Shared;
use crate::hints::TELL_BOARD;
use crate::time::{NOT_GIVEN_UP, span, timestamp};

/// The board of one node.
pub(crate) struct Board {
    shared: Arc<Shared>,
    read: tokio::sync::Mutex<Read>,
    place: Mutex<Share>,
    /// Questions that were handed out to be answered.
    asked: Mutex<HashSet<i64>>,
}

/// What a look has found; none: nothing that is new.
type Found<T> = Result<Option<T>, Error>;

/// How far the notes are read.
#[derive(Default)]
struct Read {
    /// None: not at all.
    since: Option<i64>,
    /// What was read of what may be read again.
    seen: HashSet<(String, String, i64)>,
}

impl Board {
    pub(crate) fn new(shared: Arc<Shared>) -> Self {
        Self {
            shared,
            read: tokio::sync::Mutex::default(),
            place: Mutex::default(),
            asked: Mutex::default(),
        }
    }

    async fn rows(&self, statement: &str, more: Parameters<'_>) -> Result<Vec<Row>, Error> {
        self.shared.database.ask(statement, more).await
    }

    /// Has the others look. What was done is done if they do not hear of it.
    async fn tell(&self) {
        if let Err(error) = self.rows(TELL_BOARD, &[&self.shared.node]).await {
            tracing::debug!(%error, "the other nodes look at their next heartbeat only");
        }
    }

    async fn write(&self, notes: Vec<Note>, rule: Rule) -> Result<(), Error> {
        if notes.is_empty() {
            return Ok(());
        }
        let column = |of: fn(&Note) -> &str| notes.iter().map(of).collect::<Vec<_>>();
        let (kinds, names) = (column(|note| &note.kind), column(|note| &note.name));
        let texts: Vec<_> = notes.iter().map(|note| note.text.as_deref()).collect();
        let passing: Vec<_> = notes.iter().map(|note| note.is_passing).collect();
        let (run, time) = (self.shared.run(), &self.shared.time);
        let (now, end) = (time.now(), time.given_up());
        let (begins, replaces) = (rule != Rule::IfUp, rule != Rule::IfNew);
        let put: Parameters<'_> = &[
            &kinds, &names, &texts, &passing, &run, &now, &begins, &replaces, &end,
        ];
        let done = self.rows(&PUT, put).await?;
        self.tell().await;
        match done.first().is_some_and(|row| row.get(0)) {
            true => Ok(()),
            false => Err(Error::Unknown("the database was too late".to_owned())),
        }
    }

    /// The notes that are new, and where this node stands.
    async fn look(&self) -> Found<Vec<Note>> {
        let mut read = self.read.lock().await;
        let is_first = read.since.is_none();
        let (run, now) = (self.shared.run(), self.shared.time.now());
        let since = read.since.unwrap_or(i64::MIN);
        let rows = self.rows(NEWS, &[&since]).await?;
        let (mut notes, mut seen) = (Vec::new(), HashSet::new());
        // One row is always there, and has no note if there is none.
        let next = rows.first().map_or(since, |row| row.get("next"));
        for row in &rows {
            let (Some(kind), Some(name)) = (row.get("kind"), row.get("name")) else {
                continue;
            };
            let note = Note {
                kind,
                name,
                text: row.get("text"),
                is_passing: row.get("passing"),
                is_own: row.get::<_, i64>("run") == run,
            };
            let key = (note.kind.clone(), note.name.clone(), row.get("xact"));
            if !read.seen.contains(&key) {
                notes.push(note);
            }
            seen.insert(key);
        }
        let before = now.saturating_sub(span(self.shared.pace.dead));
        let reading: Parameters<'_> = &[&self.shared.node, &run, &before];
        let nodes = self.rows(PLACE, reading).await?;
        let nodes: Vec<&str> = nodes.iter().map(|row| row.get(0)).collect();
        let number = nodes.iter().position(|name| *name == self.shared.node);
        *self.place.lock() = Share {
            number: number.unwrap_or(0) as u32,
            nodes: nodes.len().max(1) as u32,
        };
        // Back in time: it is another database, restored or promoted.
        read.since = Some(if next < since { i64::MIN } else { next });
        read.seen = seen;
        Ok(Some(notes).filter(|notes| is_first || !notes.is_empty()))
    }

    /// A question that waits for this node's answer.
    async fn waiting(&self) -> Found<Question> {
        let since = self.shared.time.now().saturating_sub(span(ANSWER_MAX));
        let (run, node) = (self.shared.run(), &self.shared.node);
        let rows = self.rows(QUESTIONS, &[&since, &run, node]).await?;
        let mut asked = self.asked.lock();
        asked.retain(|id| rows.iter().any(|row| row.get::<_, i64>(0) == *id));
        let new = rows.iter().find(|row| asked.insert(row.get(0)));
        Ok(new.map(|row| Question {
            id: row.get(0),
            text: row.get(1),
        }))
    }

    /// Until somebody tells of something, or the next heartbeat.
    async fn heard(&self, heard: &mut watch::Receiver<()>, longest: Duration) {
        let _ = tokio::time::timeout(longest, heard.changed()).await;
    }

    async fn until<'a, T, F: Future<Output = Found<T>>>(
        &'a self,
        look: impl Fn(&'a Self) -> F,
    ) -> T {
        let mut heard = self.shared.heard.subscribe();
        loop {
            heard.mark_unchanged();
            match look(self).await {
                Ok(Some(found)) => return found,
                Ok(None) => {}
                Err(error) => tracing::debug!(%error, "cannot read what other nodes say"),
            }
            self.heard(&mut heard, self.shared.pace.beat).await;
        }
    }

    async fn asked(&self, text: String) -> Result<Vec<Reply>, Error> {
        let (id, now) = (rand::random::<i64>(), self.shared.time.now());
        let (node, run) = (&self.shared.node, self.shared.run());
        let mut heard = self.shared.heard.subscribe();
        let before = now.saturating_sub(span(self.shared.pace.lost));
        let others = self.rows(OTHERS, &[node, &before]).await?;
        // What those know that are gone is missing all the same.
        let (alive, gone): (Vec<_>, Vec<_>) = others.iter().partition(|row| row.get(1));
        let names = |rows: Vec<&Row>| {
            rows.into_iter()
                .map(|row| row.get::<_, String>(0))
                .collect()
        };
        let (mut silent, gone): (Vec<String>, Vec<String>) = (names(alive), names(gone));
        self.rows(ASK, &[&id, &run, &now, &text]).await?;
        self.tell().await;
        let (began, mut replies) = (Instant::now(), Vec::new());
        while !silent.is_empty() && began.elapsed() < ANSWER_MAX {
            self.heard(&mut heard, ANSWERS_EVERY).await;
            for row in self.rows(ANSWERS, &[&id, &silent]).await? {
                let (node, text): (String, String) = (row.get(0), row.get(1));
                silent.retain(|name| *name != node);
                let text = Some(text);
                replies.push(Reply { node, text });
            }
        }
        self.rows(ASKED, &[&id]).await?;
        let silent = silent.into_iter().chain(gone);
        replies.extend(silent.map(|node| Reply { node, text: None }));
        Ok(replies)
    }
}

impl spool::Board for Board {
    fn name(&self) -> &str {
        &self.shared.node
    }

    fn put(&self, notes: Vec<Note>, rule: Rule) -> Boxed<'_, Result<(), Error>> {
        Box::pin(self.write(notes, rule))
    }

    fn now(&self) -> Timestamp {
        timestamp(self.shared.time.now())
    }

    fn news(&self) -> Boxed<'_, Vec<Note>> {
        Box::pin(self.until(Self::look))
    }

    fn place(&self) -> Share {
        *self.place.lock()
    }

    fn ask(&self, text: String) -> Boxed<'_, Result<Vec<Reply>, Error>> {
        Box::pin(self.asked(text))
    }

    fn question(&self) -> Boxed<'_, Question> {
        Box::pin(self.until(Self::waiting))
    }

    fn answer(&self, question: i64, text: String) -> Boxed<'_, Result<(), Error>> {
        Box::pin(async move {
            let (node, now) = (&self.shared.node, self.shared.time.now());
            self.rows(ANSWER, &[&question, node, &now, &text]).await?;
            self.tell().await;
            Ok(())
        })
    }
}

/// Says whether it came in time.
static PUT: LazyLock<String> = LazyLock::new(|| {
    format!(
        "WITH put AS (
            INSERT INTO notes (kind, name, text, passing, run, at, xact)
            SELECT kind, name, text, passing, $5, $6, pg_current_xact_id()::text::int8
            FROM unnest($1::text[], $2::text[], $3::text[], $4::bool[]) AS n (kind, name, text, passing)
            WHERE {NOT_GIVEN_UP} $9::int8 AND ($7 OR EXISTS (
                SELECT FROM notes AS up WHERE up.kind = n.kind AND up.name = n.name AND up.text IS NOT NULL))
            ORDER BY kind, name
            ON CONFLICT (kind, name) DO UPDATE
            SET text = excluded.text, passing = excluded.passing, run = $5, at = $6, xact = excluded.xact
            WHERE $8 AND ($7 OR notes.text IS NOT NULL))
        SELECT {NOT_GIVEN_UP} $9::int8"
    )
});
const NEWS: &str = "SELECT kind, name, text, passing, run, xact, next
    FROM (SELECT pg_snapshot_xmin(pg_current_snapshot())::text::int8) AS s (next) LEFT JOIN notes ON xact >= $1";
const PLACE: &str = "WITH me AS (INSERT INTO readers SELECT $1::text, $2::int8
        WHERE NOT EXISTS (SELECT FROM readers WHERE name = $1 AND run = $2) ON CONFLICT (name) DO UPDATE SET run = $2)
    SELECT name FROM nodes WHERE name = $1 OR (run IN (SELECT run FROM readers WHERE readers.name = nodes.name)
        AND run <> 0 AND NOT draining AND heartbeat > $3) ORDER BY name";
const OTHERS: &str = "SELECT name, nodes.run = readers.run AND heartbeat > $2 FROM nodes JOIN readers USING (name) WHERE name <> $1";
const ASK: &str =
    "INSERT INTO questions (id, run, at, text) VALUES ($1, $2, $3, $4) ON CONFLICT DO NOTHING";
const QUESTIONS: &str = "SELECT id, text FROM questions WHERE at > $1 AND run <> $2
    AND NOT EXISTS (SELECT FROM answers WHERE question = id AND node = $3)";
const ANSWER: &str =
    "INSERT INTO answers (question, node, at, text) VALUES ($1, $2, $3, $4) ON CONFLICT DO NOTHING";
const ANSWERS: &str = "SELECT node, text FROM answers WHERE question = $1 AND node = ANY ($2)";
const ASKED: &str =
    "WITH q AS (DELETE FROM questions WHERE id = $1) DELETE FROM answers WHERE question = $1";
/// An operator waits no longer for a node that is busy, or dead.
const ANSWER_MAX: Duration = Duration::from_secs(5);
/// In case that a hint is lost.
const ANSWERS_EVERY: Duration = Duration::from_millis(250);
