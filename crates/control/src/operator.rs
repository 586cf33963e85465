//! What the daemon has to offer to its operator.

use std::future::Future;

use envelope::{Actor, MessageId};

use crate::ask::{AnswersAll, Request};
use crate::explanation::{Explanation, Mail};
use crate::protocol::{Fault, Part};

/// The daemon as the control socket sees it: it answers what [`ask`](crate::ask) lists, and these two besides, with which a
/// message goes.
///
/// Several connections call at once. A call that is not done after two minutes is dropped, so each must be safe
/// to drop at any `await`.
pub trait Operator: AnswersAll + Send + Sync + 'static {
    /// A message being read.
    type Body: Body;

    /// Told of every request and who makes it, before it is answered.
    fn asked(&self, request: &Request, by: &Actor);

    /// Opens a message, or a part of it.
    fn queue_cat(
        &self,
        id: MessageId,
        part: Part,
    ) -> impl Future<Output = Result<Self::Body, Fault>> + Send;

    /// Says what would be decided on a mail. Nothing is sent, kept or counted.
    fn explain(
        &self,
        mail: Mail,
        message: Option<&mut (impl Body + Sync)>,
    ) -> impl Future<Output = Result<Explanation, Fault>> + Send;
}

/// A message, piece by piece.
pub trait Body: Send {
    /// The next piece, of any size; `None` at the end.
    fn chunk(&mut self) -> impl Future<Output = Result<Option<Vec<u8>>, Fault>> + Send;
}
