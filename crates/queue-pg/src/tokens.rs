//! Names for values that outlive their messages. A name is made of the value and its end, so that all nodes give it the same one,
//! and a sender who comes again takes no more room.

use data_encoding::BASE32_NOPAD;
use envelope::Timestamp;
use serde_json::json;
use sha1::{Digest, Sha1};
use spool::{Error, Token};

use crate::cluster::Cluster;
use crate::connect::Parameters;
use crate::engine::{PgSpool, Shared};
use crate::rows::clean;
use crate::time::{millis, timestamp};

/// Says nothing of the value: who has the name of one learns no other's.
pub(crate) fn name(value: &str, expires: Timestamp) -> Token {
    let digest = Sha1::new()
        .chain_update(millis(expires).to_be_bytes())
        .chain_update(value)
        .finalize();
    let mut name = BASE32_NOPAD.encode(&digest[..NAME_OCTETS]);
    name.insert(0, 'P');
    Token {
        name: name.into(),
        value: value.into(),
        expires,
    }
}

impl Shared {
    pub(crate) async fn recalled(&self, name: &str) -> Result<Option<String>, Error> {
        let now = self.time.now();
        let rows = self.database.ask(RECALL, &[&name, &now]).await?;
        if let Some(row) = rows.first() {
            return Ok(Some(row.get(0)));
        }
        // A primary that was replaced, and does not know it, has no name that was given out since: a bounce would be refused for good.
        // It cannot commit any more, so this does.
        let asked: Parameters<'_> = &[&name, &now, &self.node];
        let rows = self.database.ask(RECALL_SURELY, asked).await?;
        Ok(rows.first().and_then(|row| row.get(0)))
    }
}

impl PgSpool {
    /// All names that have not expired, and what they stand for.
    pub async fn tokens(&self) -> Result<Vec<Token>, Error> {
        let (now, mut all) = (self.shared.time.now(), Vec::<Token>::new());
        loop {
            let last = all.last().map_or("", |token| &*token.name);
            let rows = self.shared.database.ask(PAGE, &[&last, &now]).await?;
            if rows.is_empty() {
                return Ok(all);
            }
            all.extend(rows.iter().map(|row| Token {
                name: row.get::<_, &str>(0).into(),
                value: row.get::<_, &str>(1).into(),
                expires: timestamp(row.get(2)),
            }));
        }
    }

    /// Keeps names of another spool's, durably.
    pub async fn keep_tokens(&self, tokens: &[Token]) -> Result<(), Error> {
        for some in tokens.chunks(1000) {
            let rows = some.iter().map(token_json).collect();
            let rows = serde_json::Value::Array(rows);
            self.shared.database.ask(KEEP, &[&rows]).await?;
        }
        Ok(())
    }
}

impl Cluster {
    /// Whether its queue is being moved away: that was begun, and not ended.
    pub async fn is_moving(&self) -> Result<bool, Error> {
        Ok(!self.0.ask(IS_MOVING, &[]).await?.is_empty())
    }

    /// Notes that it is, or is not any more.
    pub async fn set_moving(&self, is_moving: bool) -> Result<(), Error> {
        let change = if is_moving { MOVE } else { MOVED };
        self.0.ask(change, &[]).await.map(drop)
    }

    /// Notes that all of it was, and what stood on the board too.
    pub async fn set_moved(&self) -> Result<(), Error> {
        self.0.ask(MOVED_ALL, &[]).await.map(drop)
    }
}

/// As a row of `tokens`.
pub(crate) fn token_json(token: &Token) -> serde_json::Value {
    let value = clean(&token.value);
    json!({"name": token.name, "value": value, "expires": millis(token.expires)})
}

/// 104 bits, as 21 digits.
const NAME_OCTETS: usize = 13;
const PAGE: &str = "SELECT name, value, expires FROM tokens WHERE name > $1 AND expires > $2 AND value <> '' ORDER BY name LIMIT 5000";
const KEEP: &str = "INSERT INTO tokens (name, value, expires)
    SELECT name, value, expires FROM json_populate_recordset(null::tokens, $1) ON CONFLICT (name) DO NOTHING";
/// A name that stands for no sender, and does not expire.
const MOVE: &str =
    "INSERT INTO tokens VALUES ('moving', '', 9223372036854775807) ON CONFLICT (name) DO NOTHING";
const MOVED: &str = "DELETE FROM tokens WHERE name = 'moving'";
const MOVED_ALL: &str = "WITH n AS (DELETE FROM notes) DELETE FROM tokens WHERE name = 'moving'";
const IS_MOVING: &str = "SELECT FROM tokens WHERE name = 'moving'";
const RECALL: &str = "SELECT value FROM tokens WHERE name = $1 AND expires > $2";
const RECALL_SURELY: &str = "SELECT (SELECT value FROM tokens WHERE name = $1 AND expires > $2) FROM nodes WHERE name = $3 FOR KEY SHARE";
