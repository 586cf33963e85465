//! Everything at once, as the text of a forwards file.

use std::time::Duration;

use tokio::time::timeout;

use crate::render::Rows;
use crate::sql::Database;
use crate::{Failed, Questions, Settings, SettingsError, Way};

/// A database with forwards in it.
#[derive(Debug)]
pub struct Snapshot {
    database: Database,
    settings: Settings,
}

impl Snapshot {
    /// Connects to nothing yet.
    pub fn new(settings: Settings) -> Result<Self, SettingsError> {
        match (&settings.questions, settings.way()?) {
            (Questions::Snapshot { forwards, .. }, Way::Sql) if !forwards.is_empty() => {}
            _ => return Err(SettingsError::Missing("query")),
        }
        let database = Database::new(&settings)?;
        Ok(Self { database, settings })
    }

    /// What the database says now. A reader that cannot keep up, or a database that is slow, has until the time-out.
    pub async fn ask(&self) -> Result<Rows, Failed> {
        let within = self.settings.timeout;
        let rows = timeout(within, self.rows()).await;
        rows.map_err(|_| Failed(format!("no answer within {} s", within.as_secs())))?
    }

    /// Whether the database answers at all.
    pub async fn ping(&self) -> Result<(), Failed> {
        let within = self.settings.timeout.min(PING_WITHIN);
        let answer = timeout(within, self.database.rows("SELECT 'x'", None, drop)).await;
        let answer =
            answer.map_err(|_| Failed(format!("no answer within {} s", within.as_secs())))?;
        Ok(answer?)
    }

    async fn rows(&self) -> Result<Rows, Failed> {
        let mut rows = Rows::default();
        let Questions::Snapshot {
            forwards,
            domains,
            aliases,
        } = &self.settings.questions
        else {
            return Ok(rows);
        };
        self.database
            .rows(forwards, None, |row| rows.add(row))
            .await?;
        if !domains.is_empty() {
            self.database
                .rows(domains, None, |row| rows.add_domain(row))
                .await?;
        }
        if !aliases.is_empty() {
            self.database
                .rows(aliases, None, |row| rows.add_alias(row))
                .await?;
        }
        Ok(rows)
    }
}

const PING_WITHIN: Duration = Duration::from_secs(10);
