//! The users who may log in, from the file that `[auth]` names.

use forwarder::table::TableErrors;
use policy::Profiles;
use relay::users::{Context, Users};

use crate::config::Config;
use crate::files::{self, FileError};

/// Why there are none. Each text says where and what to do.
#[derive(Debug, thiserror::Error)]
pub(crate) enum Error {
    #[error(
        "`auth.profile`: no [[profile]] is called `{0}`\n\nhint: correct the name, or add a [[profile]] with it"
    )]
    Profile(String),
    #[error(transparent)]
    File(#[from] FileError),
    #[error("{0}")]
    Lines(#[from] TableErrors),
}

/// Reads them; without a file there are none but Dovecot's.
pub(crate) fn read(config: &Config, profiles: &Profiles) -> Result<Users, Error> {
    let (auth, unknown) = (&config.auth, || Error::Profile(config.auth.profile.clone()));
    let context = Context {
        profiles,
        measures: profiles.of_users(&auth.profile).ok_or_else(unknown)?,
        asks_dovecot: auth.socket().is_some(),
    };
    let Some(path) = auth.file() else {
        return Ok(Users::parse("", b"", &context)?);
    };
    let hint = "`auth.users` in the configuration names the file";
    let content = files::read("the users ", path, hint)?;
    Ok(Users::parse(
        &path.display().to_string(),
        &content,
        &context,
    )?)
}
