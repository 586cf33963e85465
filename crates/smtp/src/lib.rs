//! SMTP without I/O: server and client sessions that mirror each other.
