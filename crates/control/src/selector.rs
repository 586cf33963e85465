//! Which legs: ids, `all`, or conditions that must all hold.

use std::collections::HashSet;
use std::fmt;
use std::net::IpAddr;

use envelope::{AddressGlob, Host, IdPart, SenderPattern};
use serde::{Deserialize, Serialize};

use crate::data::LegState;
use crate::text;

/// A choice of legs. A leg is meant when it is one of `ids` (or there are none) *and* every condition given holds.
///
/// For a list, an empty selector means the whole queue. For an action it is refused, so that a forgotten
/// argument never empties the queue: there, everything has to be asked for with `all`.
#[derive(Debug, Clone, Default, PartialEq, Eq, Serialize, Deserialize)]
#[serde(default, deny_unknown_fields)]
pub struct Selector {
    /// Messages (all their legs) or single legs, each in full or by a beginning that no other has; none = any.
    #[serde(with = "text::list", skip_serializing_if = "Vec::is_empty")]
    pub ids: Vec<IdPart>,
    /// Every leg is meant. Allowed only without ids; further conditions narrow it down.
    #[serde(skip_serializing_if = "is_false")]
    pub all: bool,
    /// Recipient or target is this address, or within this domain; several with `*`.
    #[serde(with = "text::option", skip_serializing_if = "Option::is_none")]
    pub to: Option<AddressGlob>,
    /// The reverse path as it came in is this address, within this domain, or null.
    #[serde(with = "text::option", skip_serializing_if = "Option::is_none")]
    pub from: Option<SenderPattern<AddressGlob>>,
    /// Stands so.
    #[serde(skip_serializing_if = "Option::is_none")]
    pub state: Option<LegState>,
    /// Came in more than this many seconds ago.
    #[serde(skip_serializing_if = "Option::is_none")]
    pub older_than_secs: Option<u64>,
    /// Came in less than this many seconds ago.
    #[serde(skip_serializing_if = "Option::is_none")]
    pub younger_than_secs: Option<u64>,
    /// What the last attempt came to has this in it: status and words, as a summary names them; `*` stands for anything.
    #[serde(skip_serializing_if = "Option::is_none")]
    pub error: Option<String>,
    /// Its mail is taken by this site, as `onward site` names sites.
    #[serde(skip_serializing_if = "Option::is_none")]
    pub site: Option<String>,
    /// What `site` stands for, as the daemon fills in.
    #[serde(skip)]
    pub hosts: HashSet<Host>,
    /// Its header has this Message-ID, as the history knows.
    #[serde(skip_serializing_if = "Option::is_none")]
    pub message_id: Option<String>,
    /// It came from this client, as the history knows.
    #[serde(skip_serializing_if = "Option::is_none")]
    pub client: Option<IpAddr>,
}

/// As it travels: JSON.
impl fmt::Display for Selector {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.write_str(&serde_json::to_string(self).map_err(|_| fmt::Error)?)
    }
}

impl Selector {
    /// Whether nothing at all was said.
    pub fn is_empty(&self) -> bool {
        *self == Self::default()
    }
}

#[expect(
    clippy::trivially_copy_pass_by_ref,
    reason = "serde calls it with a reference"
)]
pub(crate) fn is_false(flag: &bool) -> bool {
    !flag
}
