//! In the place of the databases, in a program without them.

use crate::render::Row;
use crate::{Settings, SettingsError, Trouble};

/// There is none.
#[derive(Debug)]
pub(crate) enum Database {}

impl Database {
    pub(crate) fn new(_: &Settings) -> Result<Self, SettingsError> {
        Err(SettingsError::NoSql)
    }

    pub(crate) async fn rows(
        &self,
        _: &str,
        _: Option<&str>,
        _: impl FnMut(Row),
    ) -> Result<(), Trouble> {
        match *self {}
    }
}
