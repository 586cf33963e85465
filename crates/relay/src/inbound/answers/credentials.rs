//! Whether a user name and its password are right: the users file knows, or Dovecot of those without a hash there.

use std::sync::Arc;

use envelope::network_of;
use policy::{CredentialsFound, Name};
use smtp::server::Credentials;
use spool::Spool;

use super::Inquiry;
use crate::dovecot::{Checked, Dovecot, Login};
use crate::users::{Hash, PASSWORD_OCTETS_MAX, User};

impl<S: Spool> Inquiry<'_, S> {
    pub(super) async fn credentials(&self) -> CredentialsFound {
        let Some(credentials) = self.sources.known.credentials else {
            return CredentialsFound::Unknown("there are none to check".to_owned());
        };
        let (name, password) = (&*credentials.user, &**credentials.password);
        // No hash fits, and Dovecot closes the connection of all logins over a long line.
        if password.len() > PASSWORD_OCTETS_MAX {
            return CredentialsFound::Wrong;
        }
        let users = &self.sources.routing.users;
        let user = users.find(name);
        let hash = user.and_then(|user| user.hash.as_ref());
        match (hash, &self.inbound.dovecot) {
            (Some(hash), _) => self.compare(user, hash, credentials).await,
            (None, Some(dovecot)) => self.ask_dovecot(dovecot, name, password).await,
            // Names must not be found out by the time that an answer takes.
            (None, None) => match users.decoy(name) {
                Some(decoy) => self.compare(None, decoy, credentials).await,
                None => CredentialsFound::Wrong,
            },
        }
    }

    /// Without a user, no password is right.
    async fn compare(
        &self,
        user: Option<&User>,
        hash: &Hash,
        credentials: &Credentials,
    ) -> CredentialsFound {
        let name = user.map_or_else(
            || (*credentials.user).into(),
            |user| Name::clone(&user.policy.name),
        );
        let network = self.case.client.address.map(network_of);
        let passwords = &self.inbound.passwords;
        let checked = passwords.check((&name, network), hash, &credentials.password);
        match (checked.await, user) {
            (Some(true), Some(user)) => CredentialsFound::Right(Arc::clone(&user.policy)),
            (Some(_), _) => CredentialsFound::Wrong,
            (None, _) => {
                CredentialsFound::Unknown("too many passwords wait to be compared".to_owned())
            }
        }
    }

    async fn ask_dovecot(
        &self,
        dovecot: &Dovecot,
        user: &str,
        password: &[u8],
    ) -> CredentialsFound {
        let login = Login {
            user,
            password,
            client: self.case.client.address,
        };
        match dovecot.check(login).await {
            Checked::Right(name) => {
                CredentialsFound::Right(self.sources.routing.users.of_dovecot(&name))
            }
            Checked::Wrong => CredentialsFound::Wrong,
            Checked::Unknown(why) => CredentialsFound::Unknown(why),
        }
    }
}
