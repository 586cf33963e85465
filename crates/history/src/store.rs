//! The file: how it is opened, what stands in it, and what becomes of one that cannot be used.

use std::fs::{self, OpenOptions};
use std::io;
use std::os::unix::fs::{MetadataExt, OpenOptionsExt};
use std::path::{Path, PathBuf};
use std::time::Duration;

use rusqlite::{Connection, ErrorCode, OpenFlags};

use crate::changes;

/// The file as the writer has it.
pub(crate) struct Store {
    pub(crate) connection: Connection,
    path: PathBuf,
    inode: u64,
}

/// Why the history cannot be written or read.
#[derive(Debug, thiserror::Error)]
pub enum Error {
    /// SQLite says so.
    #[error("{0}")]
    Sql(#[from] rusqlite::Error),
    /// The folder or the file.
    #[error("{0}")]
    Io(#[from] io::Error),
    /// The spool needs what is left.
    #[error("{free} octets free, {wanted} wanted")]
    NoSpace {
        /// So much there is.
        free: u64,
        /// So much is left to the spool.
        wanted: u64,
    },
    /// It was written by another version of this program.
    #[error("a file of version {0}, not {VERSION}")]
    Version(i64),
    /// `[history] keep = "0d"`.
    #[error("no history is kept\n\nhint: set `history.keep`")]
    Off,
    /// It is asked for what no code begins with.
    #[error("`{0}` is no enhanced status code\n\nhint: 4.7.28, or its beginning: 4.7 or 4")]
    NotACode(String),
    /// There is too much to be added up while somebody waits.
    #[error("the sums could not be read in time")]
    Late,
    /// Nothing was written yet.
    #[error("no history was written yet")]
    Nothing,
}

impl Store {
    /// Opens the file, and makes it if there is none. One that cannot be read is set aside.
    pub(crate) fn open(path: &Path) -> Result<Self, Error> {
        match Self::open_as_it_is(path) {
            Err(error) if error.is_of_the_file() => {
                set_aside(path, &error)?;
                Self::open_as_it_is(path)
            }
            opened => opened,
        }
    }

    fn open_as_it_is(path: &Path) -> Result<Self, Error> {
        let mut options = OpenOptions::new();
        options.read(true).append(true).create(true).mode(0o600);
        let inode = options.open(path)?.metadata()?.ino();
        let flags = OpenFlags::SQLITE_OPEN_READ_WRITE | OpenFlags::SQLITE_OPEN_NO_MUTEX;
        let connection = Connection::open_with_flags(path, flags)?;
        connection.busy_timeout(PATIENCE)?;
        connection.execute_batch(SETTINGS)?;
        let version = version(&connection)?;
        if version == 0 {
            connection.execute_batch(SCHEMA)?;
        } else if version != VERSION {
            return Err(Error::Version(version));
        }
        connection.execute_batch(changes::SCHEMA)?;
        connection.set_prepared_statement_cache_capacity(32);
        Ok(Self {
            connection,
            path: path.to_owned(),
            inode,
        })
    }

    /// Whether the path still leads to what is open.
    pub(crate) fn is_there(&self) -> bool {
        fs::metadata(&self.path).is_ok_and(|file| file.ino() == self.inode)
    }

    /// Octets that rows take.
    pub(crate) fn octets(&self) -> rusqlite::Result<u64> {
        let ask = |name| {
            let value = self
                .connection
                .pragma_query_value(None, name, |row| row.get(0));
            value.map(|value: i64| u64::try_from(value).unwrap_or_default())
        };
        let pages = ask("page_count")?.saturating_sub(ask("freelist_count")?);
        Ok(pages * ask("page_size")?)
    }
}

impl Error {
    /// Whether the file is no use, now or later.
    pub(crate) fn is_of_the_file(&self) -> bool {
        let is_damaged = matches!(
            self.code(),
            Some(ErrorCode::DatabaseCorrupt | ErrorCode::NotADatabase)
        );
        is_damaged || matches!(self, Self::Version(_))
    }

    /// Whether it may pass by itself, with the file as it is.
    pub(crate) fn is_busy(&self) -> bool {
        matches!(
            self.code(),
            Some(ErrorCode::DatabaseBusy | ErrorCode::DatabaseLocked)
        )
    }

    fn code(&self) -> Option<ErrorCode> {
        match self {
            Self::Sql(error) => error.sqlite_error_code(),
            _ => None,
        }
    }
}

/// Opens it for questions. Once it is made, they never wait for the writer, nor it for them.
pub(crate) fn open_for_reading(path: &Path) -> Result<Connection, Error> {
    let flags = OpenFlags::SQLITE_OPEN_READ_ONLY | OpenFlags::SQLITE_OPEN_NO_MUTEX;
    if !path.exists() {
        return Err(Error::Nothing);
    }
    let connection = Connection::open_with_flags(path, flags)?;
    connection.busy_timeout(READER_PATIENCE)?;
    match version(&connection)? {
        VERSION => Ok(connection),
        0 => Err(Error::Nothing),
        other => Err(Error::Version(other)),
    }
}

/// Whether the spool can spare room for more.
pub(crate) fn has_space(path: &Path, wanted: u64) -> Result<(), Error> {
    let folder = path.parent().unwrap_or(path);
    let space = rustix::fs::statvfs(folder).map_err(io::Error::from)?;
    let free = space.f_bavail.saturating_mul(space.f_frsize);
    match free < wanted {
        true => Err(Error::NoSpace { free, wanted }),
        false => Ok(()),
    }
}

/// Renames the file, over one that was set aside before: two are no more use than one.
pub(crate) fn set_aside(path: &Path, why: &Error) -> Result<(), Error> {
    let aside = path.with_added_extension("bad");
    tracing::warn!(%why, aside = %aside.display(), "the history cannot be read: it begins anew");
    fs::rename(path, aside)?;
    for of_it in ["sqlite-wal", "sqlite-shm"] {
        let _ = fs::remove_file(path.with_extension(of_it));
    }
    Ok(())
}

fn version(connection: &Connection) -> rusqlite::Result<i64> {
    connection.pragma_query_value(None, "user_version", |row| row.get(0))
}

/// Counts up when older files cannot be read any more.
const VERSION: i64 = 1;

/// How long another one's lock on the file is waited for.
const PATIENCE: Duration = Duration::from_millis(100);
/// The same for questions: only a file that is being made is locked for them, and a slow disk takes its time over that.
const READER_PATIENCE: Duration = Duration::from_secs(5);

/// A power cut may take the last seconds, and that is all: what is synced now and then is synced by the history's own thread.
const SETTINGS: &str = "
    PRAGMA page_size = 8192;
    PRAGMA journal_mode = WAL;
    PRAGMA synchronous = NORMAL;
    PRAGMA wal_autocheckpoint = 4000;
    PRAGMA journal_size_limit = 67108864;
    PRAGMA cache_size = -16000;
";

/// `mail`: messages and legs as JSON, in the form in which they are told. `word`: see `words`. `tally`: see `tally`.
const SCHEMA: &str = "
    BEGIN;
    CREATE TABLE mail (key INTEGER PRIMARY KEY, data BLOB NOT NULL) STRICT;
    CREATE TABLE word (run INTEGER PRIMARY KEY, hashes BLOB NOT NULL, messages BLOB NOT NULL) STRICT;
    CREATE TABLE tally (
        by INTEGER NOT NULL, hour INTEGER NOT NULL, name TEXT NOT NULL, code INTEGER NOT NULL,
        received INTEGER NOT NULL, refused INTEGER NOT NULL, delivered INTEGER NOT NULL,
        deferred INTEGER NOT NULL, failed INTEGER NOT NULL, octets INTEGER NOT NULL,
        PRIMARY KEY (by, hour, name, code)
    ) STRICT, WITHOUT ROWID;
    PRAGMA user_version = 1;
    COMMIT;
";
