//! The embedded engine: segment log and sled index behind [`Spool`].

use std::sync::Arc;
use std::time::Duration;

use bytes::Bytes;
use envelope::{Claim, Lease, Leg, LegId, Message, MessageId, Timestamp};
use tokio::sync::Notify;

use crate::settings::{Settings, StartError};
use crate::spool::*;

/// The spool in a folder of this machine.
pub struct LogSpool;
/// Takes a body into the log.
pub struct LogWriter;
/// Reads a body.
pub struct LogReader;

impl LogSpool {
    /// Opens (or makes) the spool, replays what the index lacks. Blocks: call it before the runtime is busy.
    pub fn open(settings: Settings, now: Timestamp) -> Result<Self, StartError> {
        let _ = (settings, now);
        todo!()
    }

    /// Writes the index out and lets the spool go. Dropping it does the same without saying what failed.
    pub async fn close(&self) -> Result<(), Error> {
        todo!()
    }
}

impl BodyWriter for LogWriter {
    async fn write(&mut self, _chunk: impl Into<Bytes> + Send) -> Result<(), Error> {
        todo!()
    }
    fn len(&self) -> u64 {
        todo!()
    }
}
impl BodyReader for LogReader {
    async fn chunk(&mut self) -> Result<Option<Bytes>, OpenError> {
        todo!()
    }
}
impl Spool for LogSpool {
    type Writer = LogWriter;
    type Reader = LogReader;
    async fn begin(&self, _: MessageId) -> Result<LogWriter, Error> { todo!() }
    async fn commit(&self, _: LogWriter, _: Message, _: Vec<Leg>, _: Timestamp) -> Result<(), Error> { todo!() }
    async fn claim(&self, _: &Want, _: Timestamp) -> Result<Vec<Claim>, Error> { todo!() }
    async fn overdue(&self, _: usize, _: Duration, _: Timestamp) -> Result<Vec<Overdue>, Error> { todo!() }
    async fn extend(&self, _: &mut Lease, _: Timestamp) -> Result<(), Error> { todo!() }
    async fn reschedule(&self, _: Lease, _: Timestamp, _: Update) -> Result<(), Error> { todo!() }
    async fn complete(&self, _: Lease, _: Option<Dsn>) -> Result<(), Error> { todo!() }
    async fn release(&self, _: Lease) -> Result<(), Error> { todo!() }
    async fn open_body(&self, _: MessageId) -> Result<LogReader, OpenError> { todo!() }
    async fn next_due(&self, _: Timestamp) -> Option<Timestamp> { todo!() }
    fn wakeups(&self) -> Arc<Notify> { todo!() }
    async fn list(&self, _: &Filter, _: Option<LegId>, _: usize, _: Timestamp) -> Result<Page, Error> { todo!() }
    async fn counts(&self, _: Timestamp) -> Result<Counts, Error> { todo!() }
    async fn admin(&self, _: &Filter, _: Action, _: Timestamp) -> Result<u64, Error> { todo!() }
    async fn remember(&self, _: &str, _: &str, _: Timestamp) -> Result<(), Error> { todo!() }
    async fn recall(&self, _: &str, _: Timestamp) -> Result<Option<String>, Error> { todo!() }
}
