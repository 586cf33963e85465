//! Databases: PostgreSQL, MySQL or MariaDB, SQLite. They are only read.

#[cfg(feature = "sql")]
mod database;
#[cfg(not(feature = "sql"))]
mod nothing;

#[cfg(feature = "sql")]
pub(crate) use database::Database;
#[cfg(not(feature = "sql"))]
pub(crate) use nothing::Database;
