//! TXT records of one message: each name is asked for once, all that are known to be needed at the same time.

use std::collections::{BTreeMap, BTreeSet};
use std::time::Duration;

use dns::Resolver;
use futures_util::future::join_all;
use tokio::time::timeout;

type Answer = Result<Vec<Vec<u8>>, dns::Error>;

/// What DNS said so far.
#[derive(Debug, Clone, Default)]
pub(crate) struct Texts(BTreeMap<String, Answer>);

impl Texts {
    pub(crate) async fn ask(
        &mut self,
        resolver: &impl Resolver,
        names: impl IntoIterator<Item = String>,
    ) {
        let names: BTreeSet<_> = names
            .into_iter()
            .filter(|name| !self.0.contains_key(name))
            .collect();
        let asked = names.into_iter().map(async |name| {
            let answer = timeout(LOOKUP_MAX, resolver.txt(&name)).await;
            let late = |_| Err(dns::Error::Trouble("time-out".to_owned()));
            (name, answer.unwrap_or_else(late))
        });
        self.0.extend(join_all(asked).await);
    }

    /// What DNS said of a name. One that was not asked for has no records.
    pub(crate) fn get(&self, name: &str) -> Result<&[Vec<u8>], &dns::Error> {
        match self.0.get(name) {
            Some(answer) => answer.as_deref(),
            None => Err(&dns::Error::NoRecords),
        }
    }
}

/// For one name. Whoever adds a signature with a key that DNS never finds must not keep the other answers away.
const LOOKUP_MAX: Duration = Duration::from_secs(3);
