//! The token files, read from end to end.

use std::path::{Path, PathBuf};

use spool::Token;

use crate::lock::SpoolLock;
use crate::settings::StartError;
use crate::store::{Disk, Store};
use crate::tokens;
use crate::verify::Damage;
use crate::verify::survey::Survey;

impl Survey {
    /// Looks for what is damaged in the token files.
    pub(super) fn read_tokens(&mut self, dir: &Path) {
        let files = match tokens::survey(dir) {
            Ok(files) => files,
            Err(e) => {
                let text = format!("token files cannot be read: {e}");
                self.damage.push(Damage::new(dir, None, text));
                return;
            }
        };
        for file in files {
            let again = self.tokens_again.keys();
            let again = again.map(|place| (place.hour, place.offset));
            let again = again.filter(|(hour, _)| *hour == file.hour).min();
            for at in file.damage {
                let damage = |text: &str| Damage::new(&file.path, Some(at), text);
                match again.is_some_and(|(_, first)| first <= at) {
                    true => self.notes.push(damage(
                        "an unfinished write of tokens, as a crash leaves it; the next start writes them again",
                    )),
                    false => self.damage.push(damage(
                        "a token is damaged: bounces to the sender that it stands for are refused",
                    )),
                }
            }
        }
    }
}

/// The tokens of an export.
///
/// # Errors
/// When its files cannot be read.
pub fn tokens_of(export: &Path) -> std::io::Result<Vec<Token>> {
    tokens::all(export)
}

/// Adds the tokens of an export to the spool in `spool`, which no process has open; gives back the files that do not fit, because
/// other tokens stand at the same places.
///
/// # Errors
/// When a process has the spool, or a file cannot be read or written.
pub fn merge_tokens(export: &Path, spool: &Path) -> Result<Vec<PathBuf>, StartError> {
    let io = |source| StartError::Io {
        what: "add tokens to",
        path: spool.to_owned(),
        source,
    };
    Disk.create_dir(spool).map_err(io)?;
    let _lock = SpoolLock::take(spool)?;
    tokens::merge(export, spool).map_err(io)
}
