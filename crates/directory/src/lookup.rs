//! A question for each recipient, and the answers of the last seconds.
//!
//! An address is asked for as the forwards file is searched: whole, without its plus-suffix, and as the catch-all of its domain;
//! before that its domain, whose answer most questions share. Equal questions at the same time are one. A source that is down is
//! tried by one question at a time, and all others are told so at once.

mod health;

use std::collections::BTreeMap;
use std::sync::Arc;
use std::time::Duration;

use envelope::Mailbox;
use futures_util::future::join_all;
use moka::Expiry;
use moka::future::Cache;
use parking_lot::Mutex;
use tokio::sync::Semaphore;
use tokio::time::{Instant, timeout};

pub use health::{Down, News};

use health::Health;

use crate::http::Http;
use crate::render::{Check, Rows};
use crate::sql::Database;
use crate::{Failed, Questions, Settings, SettingsError, Trouble, Way};

/// All sources that are looked up, in their order: the first that has an address decides.
#[derive(Debug, Default)]
pub struct Lookups(Vec<Arc<Source>>);

#[derive(Debug)]
struct Source {
    settings: Settings,
    asked: Asked,
    answers: Cache<Question, Option<Arc<str>>>,
    /// Domains that it did not have when it last said so: mail goes there while it is down, too.
    elsewhere: Cache<String, ()>,
    /// Those that it had, and since when it has them no more.
    hosted: Cache<String, Option<Instant>>,
    health: Mutex<Health>,
    /// Each question that is under way has a connection.
    slots: Semaphore,
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

/// What mail for an address is, unless that turns out to be ours; and so what is believed of its domain while a source is down.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub enum Unless {
    /// Refused, or of a domain that is ours by the table: nothing is believed.
    Refused,
    /// Sent on for a client: its domain is elsewhere if the source said so in the last day.
    Sent,
    /// Sent on by a line that names the address: elsewhere if the source did not say in the last day that it is here. So whom the
    /// table knows gets his mail, whatever a source does.
    Target,
}

#[derive(Debug, Clone, PartialEq, Eq, Hash)]
enum Question {
    Address(String),
    Domain(String),
}

impl Lookups {
    /// One more, behind the others. Connects to nothing yet.
    pub fn add(&mut self, settings: Settings) -> Result<(), SettingsError> {
        self.0.push(Arc::new(Source::new(settings)?));
        Ok(())
    }

    /// In the place of others: a source that is asked as before goes on with what it knows.
    pub fn after(&self, before: &Self) -> Self {
        let next = |new: &Arc<Source>| {
            let mut same = before.0.iter();
            match same.find(|old| old.settings.name == new.settings.name) {
                Some(old) if old.settings == new.settings => return Arc::clone(old),
                Some(old) => new.health.lock().told = old.health.lock().told,
                None => {}
            }
            Arc::clone(new)
        };
        Self(self.0.iter().map(next).collect())
    }

    /// Those that cannot be asked, as far as anybody has tried.
    pub fn down(&self) -> impl Iterator<Item = Down> {
        let down = |source: &Arc<Source>| source.health.lock().down(&source.settings.name);
        self.0.iter().filter_map(down)
    }

    /// Whether there is nothing to ask.
    pub fn is_empty(&self) -> bool {
        self.0.is_empty()
    }

    /// Asks each of an address and a domain that nobody has: whether it answers, both of its questions.
    pub async fn probe(&self) -> Vec<(String, Result<(), Failed>)> {
        let probe = async |source: &Arc<Source>| {
            let domain = Question::Domain(NOBODYS.to_owned());
            let answered = match source.answer(&domain).await {
                Ok(_) => {
                    let address = Question::Address(format!("postmaster@{NOBODYS}"));
                    source.answer(&address).await
                }
                failed => failed,
            };
            (source.settings.name.clone(), answered.map(drop))
        };
        join_all(self.0.iter().map(probe)).await
    }

    /// What is new since it was last asked for.
    pub fn news(&self) -> Vec<News> {
        let news = |source: &Arc<Source>| source.health.lock().news(&source.settings.name);
        self.0.iter().filter_map(news).collect()
    }

    /// Puts the lines about this address to those that are known, by their keys.
    pub async fn find(
        &self,
        address: &Mailbox,
        unless: Unless,
        check: Check<'_>,
        known: &mut BTreeMap<String, Arc<str>>,
    ) -> Result<(), Failed> {
        let Some(domain) = address.domain().map(|domain| domain.as_str().to_owned()) else {
            return Ok(());
        };
        for source in &self.0 {
            let Some(options) = source.domain(&domain, unless, check).await? else {
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
        let answers = Cache::builder().max_capacity(ANSWERS_MAX);
        Ok(Self {
            asked,
            answers: answers.expire_after(Keep(*cache)).build(),
            elsewhere: of_a_day(),
            hosted: of_a_day(),
            health: Mutex::default(),
            slots: Semaphore::new(settings.connections as usize),
            settings,
        })
    }

    /// The line of the domain, if it is hosted.
    async fn domain(
        &self,
        domain: &str,
        unless: Unless,
        check: Check<'_>,
    ) -> Result<Option<Arc<str>>, Failed> {
        // But for the one that tries it, nobody waits for a source that is down to hear what is known.
        let is_elsewhere = match unless {
            Unless::Refused => false,
            Unless::Sent => self.elsewhere.contains_key(domain),
            Unless::Target => !self.hosted.contains_key(domain),
        };
        if is_elsewhere && self.health.lock().rests() {
            return Ok(None);
        }
        let found = self.ask(Question::Domain(domain.to_owned()), check).await;
        match found {
            Ok(None) => {
                self.is_gone(domain).await?;
                self.elsewhere.insert(domain.to_owned(), ()).await;
            }
            Ok(Some(_)) => self.hosted.insert(domain.to_owned(), None).await,
            // Nonsense about a domain is said by a source that has it.
            Err(_) if is_elsewhere && self.health.lock().is_down() => return Ok(None),
            Err(_) => {}
        }
        found
    }

    /// A domain that was here a moment ago may come back: its table is being restored, a replica has not caught up. Its mail is put
    /// off for some minutes before it is refused for good.
    async fn is_gone(&self, domain: &str) -> Result<(), Failed> {
        let Some(since) = self.hosted.get(domain).await else {
            return Ok(());
        };
        let since = match since {
            Some(since) => since,
            None => {
                let now = Instant::now();
                self.hosted.insert(domain.to_owned(), Some(now)).await;
                now
            }
        };
        match since.elapsed() < MISSED_FOR {
            true => Err(Failed(format!("{domain} was hosted until now"))),
            false => Ok(()),
        }
    }

    async fn ask(&self, question: Question, check: Check<'_>) -> Result<Option<Arc<str>>, Failed> {
        // A reload may have taken away what its options name.
        if let Some(Some(line)) = self.answers.get(&question).await
            && check(&line).is_err()
        {
            self.answers.invalidate(&question).await;
        }
        let answer = self.ask_anew(&question, check);
        let answer = self.answers.try_get_with_by_ref(&question, answer).await;
        answer.map_err(|error| Failed::clone(&error))
    }

    async fn ask_anew(
        &self,
        question: &Question,
        check: Check<'_>,
    ) -> Result<Option<Arc<str>>, Failed> {
        // However many come at once: nobody's time begins before there is a connection for it, and that says nothing of the source.
        let slot = timeout(self.settings.timeout, self.slots.acquire()).await;
        let _slot = slot.map_err(|_| Failed("too many questions at once".to_owned()))?;
        self.health.lock().may_ask(self.settings.timeout)?;
        let Some(rows) = self.answer(question).await? else {
            return Ok(None);
        };
        let mut rendered = rows.render(check);
        match rendered.text.pop() {
            // Without the line feed.
            Some(_) => Ok(Some(rendered.text.into())),
            // It is there, and says nothing that makes sense: not a reason to refuse mail for good.
            None => Err(Failed(rendered.examples.join("; "))),
        }
    }

    async fn answer(&self, question: &Question) -> Result<Option<Rows>, Failed> {
        let within = self.settings.timeout;
        let answer = timeout(within, self.rows(question)).await;
        let answer = answer.unwrap_or_else(|_| {
            Err(Failed(format!("no answer within {} s", within.as_secs())).into())
        });
        self.health.lock().note(match &answer {
            Err(Trouble::Source(error)) => Some(error.clone()),
            _ => None,
        });
        answer.map_err(Failed::from)
    }

    async fn rows(&self, question: &Question) -> Result<Option<Rows>, Trouble> {
        let (mut rows, mut count) = (Rows::default(), 0);
        let take = |row| {
            count += 1;
            match question {
                Question::Address(key) => rows.add_at(key, row),
                Question::Domain(domain) => rows.add_domain_at(domain, row),
            }
        };
        match &self.asked {
            Asked::Sql {
                database,
                address,
                domain,
            } => {
                let (query, bound) = match question {
                    Question::Address(key) => (address, key),
                    Question::Domain(name) => (domain, name),
                };
                database.rows(query, Some(bound), take).await?;
            }
            Asked::Http(http) => {
                let (kind, of) = match question {
                    Question::Address(key) => ("address", key),
                    Question::Domain(name) => ("domain", name),
                };
                http.ask(kind, of).await?.into_iter().for_each(take);
            }
        }
        Ok((count > 0).then_some(rows))
    }
}

/// For how long an answer holds. That there is none, only for seconds: the mail that a new address asks for comes at once.
struct Keep(Duration);

impl Expiry<Question, Option<Arc<str>>> for Keep {
    fn expire_after_create(
        &self,
        _: &Question,
        line: &Option<Arc<str>>,
        _: std::time::Instant,
    ) -> Option<Duration> {
        Some(match line {
            Some(_) => self.0,
            None => self.0.min(NONE_FOR),
        })
    }
}

/// Something about domains.
fn of_a_day<T: Clone + Send + Sync + 'static>() -> Cache<String, T> {
    let cache = Cache::builder().max_capacity(ANSWERS_MAX);
    cache.time_to_live(DAY).build()
}

/// Of each source. Whoever guesses addresses fills it, and no more.
const ANSWERS_MAX: u64 = 100_000;
const DAY: Duration = Duration::from_hours(24);
/// RFC 2606 §2 keeps it from everybody.
const NOBODYS: &str = "onward-check.invalid";
const NONE_FOR: Duration = Duration::from_secs(5);
/// How long a domain that is no longer there is believed to come back.
const MISSED_FOR: Duration = Duration::from_mins(10);

#[cfg(test)]
mod tests;
