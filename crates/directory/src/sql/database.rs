//! A pool of connections, made when they are needed.

use std::iter::repeat_n;
use std::str::FromStr;
use std::time::Duration;

use futures_util::TryStreamExt;
use sqlx::mysql::{MySqlConnectOptions, MySqlDatabaseError, MySqlPool, MySqlPoolOptions};
use sqlx::postgres::{PgConnectOptions, PgPool, PgPoolOptions};
use sqlx::sqlite::{SqliteConnectOptions, SqlitePool, SqlitePoolOptions};
use sqlx::{AssertSqlSafe, ColumnIndex, ConnectOptions, Decode, Type};

use crate::render::Row;
use crate::{Failed, Settings, SettingsError, Trouble};

/// One of the three.
#[derive(Debug)]
pub(crate) enum Database {
    Postgres(PgPool),
    MySql(MySqlPool),
    Sqlite(SqlitePool),
}

/// The same for each kind, whose types have nothing in common.
macro_rules! pool {
    ($pool:ty, $options:expr, $settings:expr) => {
        <$pool>::new()
            .max_connections($settings.connections)
            .acquire_timeout($settings.timeout.min(CONNECT))
            .connect_lazy_with($options.disable_statement_logging())
    };
}

macro_rules! read {
    ($pool:expr, $sql:expr, $bound:expr, $times:expr, $take:expr) => {{
        let mut query = sqlx::query(AssertSqlSafe($sql));
        for bound in repeat_n($bound, $times).flatten() {
            query = query.bind(bound);
        }
        let mut rows = query.fetch($pool);
        let mut count = 0;
        while let Some(row) = rows.try_next().await.map_err(failed)? {
            count += 1;
            if count > ROWS_MAX {
                return Err(Failed(format!("over {ROWS_MAX} rows")).into());
            }
            $take(columns(&row)?);
        }
    }};
}

impl Database {
    /// Connects to nothing yet.
    pub(crate) fn new(settings: &Settings) -> Result<Self, SettingsError> {
        let url = settings.url.replacen("mariadb:", "mysql:", 1);
        let wrong = |error: sqlx::Error| SettingsError::Url(error.to_string());
        Ok(match url.split(':').next() {
            Some("sqlite") => {
                let options = SqliteConnectOptions::from_str(&url).map_err(wrong)?;
                let options = options.read_only(true).busy_timeout(settings.timeout);
                // The thread that reads and the one that takes need not wake each other for every few rows.
                let options = options.row_buffer_size(ROWS_AHEAD);
                Self::Sqlite(pool!(SqlitePoolOptions, options, settings))
            }
            Some("mysql") => {
                let options = MySqlConnectOptions::from_str(&url).map_err(wrong)?;
                Self::MySql(pool!(MySqlPoolOptions, options, settings))
            }
            _ => {
                let options = PgConnectOptions::from_str(&url).map_err(wrong)?;
                let options = options.application_name("onward");
                Self::Postgres(pool!(PgPoolOptions, options, settings))
            }
        })
    }

    /// Hands over each row. `$1` of the query is `bound`, and so is `?` where there is none.
    pub(crate) async fn rows(
        &self,
        query: &str,
        bound: Option<&str>,
        mut take: impl FnMut(Row),
    ) -> Result<(), Trouble> {
        let query = match bound.is_some() && !query.contains("$1") {
            true => query.replace('?', "$1"),
            false => query.to_owned(),
        };
        match self {
            Self::Postgres(pool) => read!(pool, query, bound, 1, take),
            Self::Sqlite(pool) => read!(pool, query, bound, 1, take),
            Self::MySql(pool) => {
                // MySQL counts its placeholders: each is bound anew.
                let (query, times) = (query.replace("$1", "?"), query.matches("$1").count());
                read!(pool, query, bound, times, take);
            }
        }
        Ok(())
    }
}

/// The first three, as text. MySQL calls what it has put together itself octets.
fn columns<R>(row: &R) -> Result<Row, Failed>
where
    R: sqlx::Row,
    usize: ColumnIndex<R>,
    for<'r> String: Decode<'r, R::Database> + Type<R::Database>,
    for<'r> Vec<u8>: Decode<'r, R::Database> + Type<R::Database>,
{
    let mut columns = [None, None, None];
    for (at, column) in columns.iter_mut().enumerate().take(row.len()) {
        *column = match row.try_get::<Option<String>, _>(at) {
            Ok(text) => text,
            Err(error) => match row.try_get::<Option<Vec<u8>>, _>(at) {
                Ok(octets) => octets.map(|octets| String::from_utf8_lossy(&octets).into_owned()),
                Err(_) => return Err(Failed(format!("column {} is no text: {error}", at + 1))),
            },
        };
    }
    Ok(Row(columns))
}

/// Octets that a database cannot read, or not compare with what it has, are the asker's: anybody may send them.
fn failed(error: sqlx::Error) -> Trouble {
    let failed = Failed(error.to_string());
    let Some(error) = error.as_database_error() else {
        return Trouble::Source(failed);
    };
    let mysql = error.try_downcast_ref::<MySqlDatabaseError>();
    let is_odd = match mysql {
        Some(error) => MYSQL_ODD_TEXT.contains(&error.number()),
        // Class 22 of SQL: a data exception.
        None => error.code().is_some_and(|code| code.starts_with("22")),
    };
    match is_odd {
        true => Trouble::Question(failed),
        false => Trouble::Source(failed),
    }
}

/// Illegal mixes of collations, strings that are invalid or cannot be converted.
const MYSQL_ODD_TEXT: [u16; 5] = [1267, 1270, 1271, 1300, 3988];

/// sqlx tries for so long to reach a database that refuses connections.
const CONNECT: Duration = Duration::from_secs(2);
/// Beyond this it is no table of forwards, but a query that joins everything with everything.
const ROWS_MAX: usize = 10_000_000;
/// That SQLite may be ahead of who takes them.
const ROWS_AHEAD: usize = 1000;
