//! What the daemon has to offer to its operator.

use std::future::Future;

use envelope::MessageId;

use crate::data::{Count, FreezePage, Lifted, MessageDetails, Page, Reloaded, SrsAnswer, Status};
use crate::explanation::{Explanation, Mail};
use crate::protocol::{Fault, Part, QueueAction, Request};
use crate::selector::{Lift, Selector};

/// The daemon as the control socket sees it; the binary implements it.
///
/// Several connections call at once. A call that is not done after two minutes is dropped, so each must be safe
/// to drop at any `await`.
pub trait Operator: Send + Sync + 'static {
    /// A message being read.
    type Body: Body;

    /// Told of every request and the user who makes it, before it is answered.
    fn asked(&self, request: &Request, uid: u32);

    /// The daemon at a glance.
    fn status(&self) -> impl Future<Output = Result<Status, Fault>> + Send;

    /// Reads configuration and tables again. On an error everything stays as it was. `force` takes a table that has lost
    /// much of what it had; `dry_run` only says what would be done.
    fn reload(
        &self,
        force: bool,
        dry_run: bool,
    ) -> impl Future<Output = Result<Reloaded, Fault>> + Send;

    /// One page of legs. `limit` is within bounds; a cursor may be anything that a client made up.
    fn queue_list(
        &self,
        filter: Selector,
        cursor: Option<String>,
        limit: usize,
    ) -> impl Future<Output = Result<Page, Fault>> + Send;

    /// One message.
    fn queue_show(
        &self,
        id: MessageId,
    ) -> impl Future<Output = Result<MessageDetails, Fault>> + Send;

    /// Opens a message, or a part of it.
    fn queue_cat(
        &self,
        id: MessageId,
        part: Part,
    ) -> impl Future<Output = Result<Self::Body, Fault>> + Send;

    /// Does something to legs; `selector` is never empty. `uid` is the user who asks.
    fn queue_action(
        &self,
        action: QueueAction,
        selector: Selector,
        uid: u32,
    ) -> impl Future<Output = Result<Count, Fault>> + Send;

    /// One page of what is frozen. `limit` is within bounds; a cursor may be anything.
    fn freeze_list(
        &self,
        cursor: Option<String>,
        limit: usize,
    ) -> impl Future<Output = Result<FreezePage, Fault>> + Send;

    /// Ends freezes; `lift` names some. `uid` is the user who asks.
    fn freeze_lift(
        &self,
        lift: Lift,
        uid: u32,
    ) -> impl Future<Output = Result<Lifted, Fault>> + Send;

    /// Rewrites a sender's address.
    fn srs_encode(&self, address: String) -> impl Future<Output = Result<SrsAnswer, Fault>> + Send;

    /// Says what would be decided on a mail. Nothing is sent, kept or counted.
    fn explain(
        &self,
        mail: Mail,
        message: Option<&mut (impl Body + Sync)>,
    ) -> impl Future<Output = Result<Explanation, Fault>> + Send;

    /// Takes an SRS address back.
    fn srs_decode(&self, address: String) -> impl Future<Output = Result<SrsAnswer, Fault>> + Send;
}

/// A message, piece by piece.
pub trait Body: Send {
    /// The next piece, of any size; `None` at the end.
    fn chunk(&mut self) -> impl Future<Output = Result<Option<Vec<u8>>, Fault>> + Send;
}
