//! The token files, read from end to end.

use std::path::Path;

use spool::Token;

use crate::tokens::{self, Place};
use crate::verify::Damage;
use crate::verify::survey::Survey;

impl Survey {
    /// Notes the tokens of a record that a start will read, and write to their files again.
    pub(super) fn token_comes_again(&mut self, token: &Token) {
        if let Some(Place { hour, offset, .. }) = Place::parse(&token.name) {
            let first = self.tokens_again.entry(hour).or_insert(offset);
            *first = offset.min(*first);
        }
    }

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
            let again = self.tokens_again.get(&file.hour);
            for at in file.damage {
                let damage = |text: &str| Damage::new(&file.path, Some(at), text);
                match again.is_some_and(|first| *first <= at) {
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
