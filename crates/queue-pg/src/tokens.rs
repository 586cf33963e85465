//! Names for values that outlive their messages. A name is made of the value and its end, so that all nodes give it the same one,
//! and a sender who comes again takes no more room.

use data_encoding::BASE32_NOPAD;
use envelope::Timestamp;
use sha1::{Digest, Sha1};
use spool::{Error, Token};

use crate::connect::twice;
use crate::engine::Shared;
use crate::time::millis;

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
        twice(|| async {
            let client = self.database.get().await?;
            let row = client.row(RECALL, &[&name, &now]).await?;
            client.done();
            Ok(row.map(|row| row.get(0)))
        })
        .await
    }
}

/// 104 bits, as 21 digits.
const NAME_OCTETS: usize = 13;
const RECALL: &str = "SELECT value FROM tokens WHERE name = $1 AND expires > $2";
