//! Where a leg goes, and how.

use std::fmt;
use std::str::FromStr;

use crate::address::{AddressError, Host};
use crate::options::LegOptions;

/// The host of a leg's target, and the options that choose how its mail goes there. Legs of one destination are queued in one
/// order, and go to one site.
#[derive(Debug, Clone, PartialEq, Eq, Hash, PartialOrd, Ord)]
pub struct Destination {
    /// What stands behind the `@`.
    pub host: Host,
    /// See [`LegOptions::way`]; mostly none.
    pub way: LegOptions,
}

impl From<Host> for Destination {
    /// In the usual way.
    fn from(host: Host) -> Self {
        let way = LegOptions::default();
        Self { host, way }
    }
}

/// A host, in the usual way.
impl FromStr for Destination {
    type Err = AddressError;

    fn from_str(text: &str) -> Result<Self, AddressError> {
        text.parse::<Host>().map(Self::from)
    }
}

/// `host`, or `host tls=required`.
impl fmt::Display for Destination {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        self.host.fmt(f)?;
        match self.way.as_str() {
            "" => Ok(()),
            way => write!(f, " {way}"),
        }
    }
}
