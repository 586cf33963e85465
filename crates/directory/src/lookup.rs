//! A question for each recipient, and the answers of the last seconds.
//!
//! An address is asked for as the forwards file is searched: whole, without its plus-suffix, and as the catch-all of its domain;
//! before that its domain, whose answer most questions share. Equal questions at the same time are one. A source that is down is
//! tried once a second, and all others are told so at once.

use std::collections::BTreeMap;
use std::sync::Arc;
use std::time::Duration;

use envelope::Mailbox;
use moka::future::Cache;
use parking_lot::Mutex;
use tokio::time::{Instant, timeout};

use crate::http::Http;
use crate::render::{Check, Rows};
use crate::sql::Database;
use crate::{Failed, Questions, Settings, SettingsError, Way};

/// All sources that are looked up, in their order: the first that has an address decides.
#[derive(Debug, Default)]
pub struct Lookups(Vec<Source>);

/// That a source is down, and why; or that it answers again.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct News {
    /// Of which.
    pub name: String,
    /// Why it cannot be asked.
    pub error: Option<String>,
}

#[derive(Debug)]
struct Source {
    settings: Settings,
    asked: Asked,
    answers: Cache<Question, Option<Arc<str>>>,
    /// Domains that it did not have when it last said so: mail goes there while it is down, too.
    elsewhere: Cache<String, ()>,
    health: Mutex<Health>,
}

#[derive(Debug)]
enum Asked {
    Sql {
        database: Database,
        address: String,
        domain: String,
    },
    Http(Http),
}

#[derive(Debug, Clone, PartialEq, Eq, Hash)]
enum Question {
    Address(String),
    Domain(String),
}

#[derive(Debug, Default)]
struct Health {
    /// Since it failed last, and why.
    down: Option<(Instant, Failed)>,
    news: Option<News>,
}

impl Lookups {
    /// Connects to nothing yet.
    pub fn new(all: impl IntoIterator<Item = Settings>) -> Result<Self, SettingsError> {
        let sources = all.into_iter().map(Source::new);
        sources.collect::<Result<_, _>>().map(Self)
    }

    /// Whether there is nothing to ask.
    pub fn is_empty(&self) -> bool {
        self.0.is_empty()
    }

    /// What is new since it was last asked for.
    pub fn news(&self) -> Vec<News> {
        let news = self.0.iter().map(|source| source.health.lock().news.take());
        news.flatten().collect()
    }

    /// Puts the lines about this address to those that are known, by their keys. `goes_on`: mail for it leaves if it is not ours.
    pub async fn find(
        &self,
        address: &Mailbox,
        goes_on: bool,
        check: Check<'_>,
        known: &mut BTreeMap<String, Arc<str>>,
    ) -> Result<(), Failed> {
        let Some(domain) = address.domain().map(|domain| domain.as_str().to_owned()) else {
            return Ok(());
        };
        for source in &self.0 {
            let Some(options) = source.domain(&domain, goes_on, check).await? else {
                continue;
            };
            known.entry(domain.clone()).or_insert(options);
            for key in keys(address, &domain) {
                let line = source.ask(Question::Address(key.clone()), check).await?;
                if let Some(line) = line {
                    known.entry(key).or_insert(line);
                    return Ok(());
                }
            }
        }
        Ok(())
    }
}

/// What an address is looked up by, one after the other.
fn keys(address: &Mailbox, domain: &str) -> impl Iterator<Item = String> {
    let whole = address.to_string().to_lowercase();
    let plus = whole.split_once('+').map(|(local, _)| local);
    let plus = plus.filter(|local| !local.is_empty() && !local.starts_with('"'));
    let plus = plus.map(|local| format!("{local}@{domain}"));
    let catch_all = format!("@{domain}");
    [Some(whole), plus, Some(catch_all)].into_iter().flatten()
}

impl Source {
    fn new(settings: Settings) -> Result<Self, SettingsError> {
        let Questions::Lookup {
            address,
            domain,
            cache,
        } = &settings.questions
        else {
            return Err(SettingsError::Missing("address"));
        };
        let asked = match settings.way()? {
            Way::Http => Asked::Http(Http::new(&settings)?),
            Way::Sql => {
                for (name, query) in [("address", address), ("domain", domain)] {
                    if query.is_empty() {
                        return Err(SettingsError::Missing(name));
                    }
                    if !query.contains(['?']) && !query.contains("$1") {
                        return Err(SettingsError::NoPlaceholder(name));
                    }
                }
                Asked::Sql {
                    database: Database::new(&settings)?,
                    address: address.clone(),
                    domain: domain.clone(),
                }
            }
        };
        let answers = Cache::builder()
            .max_capacity(ANSWERS_MAX)
            .time_to_live(*cache);
        let elsewhere = Cache::builder()
            .max_capacity(ANSWERS_MAX)
            .time_to_live(ELSEWHERE_FOR);
        Ok(Self {
            asked,
            answers: answers.build(),
            elsewhere: elsewhere.build(),
            health: Mutex::default(),
            settings,
        })
    }

    /// The line of the domain, if it is hosted.
    async fn domain(
        &self,
        domain: &str,
        goes_on: bool,
        check: Check<'_>,
    ) -> Result<Option<Arc<str>>, Failed> {
        let found = self.ask(Question::Domain(domain.to_owned()), check).await;
        match &found {
            Ok(None) if goes_on => self.elsewhere.insert(domain.to_owned(), ()).await,
            Err(_) if goes_on && self.elsewhere.contains_key(domain) => return Ok(None),
            _ => {}
        }
        found
    }

    async fn ask(&self, question: Question, check: Check<'_>) -> Result<Option<Arc<str>>, Failed> {
        let answer = self.ask_anew(&question, check);
        let answer = self.answers.try_get_with_by_ref(&question, answer).await;
        answer.map_err(|error| Failed::clone(&error))
    }

    async fn ask_anew(
        &self,
        question: &Question,
        check: Check<'_>,
    ) -> Result<Option<Arc<str>>, Failed> {
        if let Some((at, error)) = &self.health.lock().down
            && at.elapsed() < TRY_AGAIN
        {
            return Err(error.clone());
        }
        let within = self.settings.timeout;
        let answer = timeout(within, self.rows(question)).await;
        let answer = answer
            .unwrap_or_else(|_| Err(Failed(format!("no answer within {} s", within.as_secs()))));
        let rows = self.note(answer)?;
        let Some(rows) = rows else { return Ok(None) };
        let mut rendered = rows.render(check);
        match rendered.text.pop() {
            // Without the line feed.
            Some(_) => Ok(Some(rendered.text.into())),
            // It is there, and says nothing that makes sense: not a reason to refuse mail for good.
            None => Err(Failed(rendered.examples.join("; "))),
        }
    }

    async fn rows(&self, question: &Question) -> Result<Option<Rows>, Failed> {
        let (mut rows, mut count) = (Rows::default(), 0);
        let mut take = |row| {
            count += 1;
            match question {
                Question::Address(key) => rows.add_at(key, row),
                Question::Domain(domain) => rows.add_domain_at(domain, row),
            }
        };
        match (&self.asked, question) {
            (
                Asked::Sql {
                    database, address, ..
                },
                Question::Address(key),
            ) => {
                database.rows(address, Some(key), take).await?;
            }
            (
                Asked::Sql {
                    database, domain, ..
                },
                Question::Domain(name),
            ) => {
                database.rows(domain, Some(name), take).await?;
            }
            (Asked::Http(http), Question::Address(key)) => {
                http.ask("address", key)
                    .await?
                    .into_iter()
                    .for_each(&mut take);
            }
            (Asked::Http(http), Question::Domain(name)) => {
                http.ask("domain", name)
                    .await?
                    .into_iter()
                    .for_each(&mut take);
            }
        }
        Ok((count > 0).then_some(rows))
    }

    /// Keeps whether it answers, and what is new about that.
    fn note<T>(&self, answer: Result<T, Failed>) -> Result<T, Failed> {
        let mut health = self.health.lock();
        let was_down = health.down.is_some();
        health.down = answer
            .as_ref()
            .err()
            .map(|error| (Instant::now(), error.clone()));
        if was_down != answer.is_err() {
            health.news = Some(News {
                name: self.settings.name.clone(),
                error: answer.as_ref().err().map(ToString::to_string),
            });
        }
        answer
    }
}

/// Of each source. Whoever guesses addresses fills it, and no more.
const ANSWERS_MAX: u64 = 100_000;
const ELSEWHERE_FOR: Duration = Duration::from_secs(24 * 60 * 60);
/// How long a source that is down is not asked.
const TRY_AGAIN: Duration = Duration::from_secs(1);

#[cfg(test)]
mod tests;
