//! A copy of the index, to look at.

use std::collections::HashSet;
use std::fs::DirBuilder;
use std::os::unix::fs::DirBuilderExt;
use std::path::{Path, PathBuf};

use envelope::MessageId;

use crate::index::renew;
use crate::index::tree::Tree;
use crate::log::codec::{LegRow, MessageRow};
use crate::log::record::Position;
use crate::open::INDEX_VERSION;
use crate::store::PRIVATE_DIR;
use crate::verify::IndexState;

/// The index as it was copied; its folder goes with it.
#[derive(Debug)]
pub(super) struct Mirror {
    pub(super) state: IndexState,
    pub(super) path: PathBuf,
    tree: Option<(Tree, Position)>,
    copy: Option<PathBuf>,
}

impl Mirror {
    /// Copies the index of the spool in `dir` and opens the copy.
    pub(super) fn of(dir: &Path, spool_id: u128, vouched: u32) -> Self {
        let path = renew::folder(dir);
        let mut mirror = Self {
            state: IndexState::Missing,
            path,
            tree: None,
            copy: None,
        };
        if !mirror.path.join("db").exists() {
            return mirror;
        }
        let copy =
            std::env::temp_dir().join(format!("onward-index-{:032x}", rand::random::<u128>()));
        mirror.copy = Some(copy.clone());
        mirror.state = match copy_folder(&mirror.path, &copy) {
            Err(e) => {
                IndexState::Unreadable(format!("cannot be copied to {}: {e}", copy.display()))
            }
            Ok(()) => match Tree::open(&copy, CACHE_OCTETS) {
                Err(e) => IndexState::Unreadable(e),
                Ok(tree) => mirror.belongs(tree, spool_id, vouched),
            },
        };
        mirror
    }

    fn belongs(&mut self, tree: Tree, spool_id: u128, vouched: u32) -> IndexState {
        if tree.is_empty() {
            // Made, and never written: what a kill right after the first start leaves.
            return IndexState::Missing;
        }
        let made_for = [&INDEX_VERSION.to_be_bytes()[..], &spool_id.to_be_bytes()].concat();
        match tree.made_for() {
            Some((_, position)) if position.segment() < vouched => IndexState::Older,
            Some((settings, position)) if settings.starts_with(&made_for) => {
                self.tree = Some((tree, position));
                IndexState::Fits
            }
            _ => IndexState::Foreign,
        }
    }

    /// Up to where in the log it is current; the beginning when it is of no use.
    pub(super) fn position(&self) -> Position {
        self.tree
            .as_ref()
            .map_or_else(Position::default, |(_, at)| *at)
    }

    /// Segments that it says hold something live. A hint.
    pub(super) fn live(&self) -> Vec<u32> {
        let live = self.tree.iter().flat_map(|(tree, _)| tree.live());
        live.filter(|(_, octets)| *octets > 0)
            .map(|(number, _)| number)
            .collect()
    }

    pub(super) fn ids(&self) -> HashSet<MessageId> {
        let all = |(tree, _): &(Tree, Position)| tree.messages(MessageId::from_bits(0)).collect();
        self.tree.as_ref().map(all).unwrap_or_default()
    }

    pub(super) fn message(&self, id: MessageId) -> Option<(MessageRow, Vec<LegRow>)> {
        let found = self.tree.as_ref()?.0.message(id).ok()??;
        Some((found.row, found.legs))
    }
}

impl Drop for Mirror {
    fn drop(&mut self) {
        self.tree = None;
        if let Some(copy) = &self.copy {
            // In the folder for temporary files: the system clears it, too.
            let _ = std::fs::remove_dir_all(copy);
        }
    }
}

fn copy_folder(from: &Path, to: &Path) -> std::io::Result<()> {
    // Folders for temporary files are open to all.
    DirBuilder::new().mode(PRIVATE_DIR).create(to)?;
    for entry in std::fs::read_dir(from)? {
        let entry = entry?;
        let name = to.join(entry.file_name());
        if entry.file_type()?.is_dir() {
            copy_folder(&entry.path(), &name)?;
        } else {
            std::fs::copy(entry.path(), name)?;
        }
    }
    Ok(())
}

const CACHE_OCTETS: u64 = 32 << 20;
