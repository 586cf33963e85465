//! Whether a user name and its password are right.

use policy::CredentialsFound;
use spool::Spool;

use super::Inquiry;

impl<S: Spool> Inquiry<'_, S> {
    pub(super) async fn credentials(&self) -> CredentialsFound {
        let Some(_) = self.sources.known.credentials else {
            return CredentialsFound::Unknown("there are none to check".to_owned());
        };
        CredentialsFound::Unknown("there are no users".to_owned())
    }
}
