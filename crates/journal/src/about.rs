//! What an event is about.

use envelope::MessageId;

use crate::event::Event;

impl Event {
    /// The message it is about.
    pub fn message(&self) -> Option<MessageId> {
        match self {
            Self::Received { id, .. }
            | Self::Answered { id, .. }
            | Self::Authenticated { id, .. }
            | Self::Filtered { id, .. }
            | Self::Discarded { id, .. }
            | Self::Looped { id, .. }
            | Self::DeadEnd { id, .. }
            | Self::Bounced { id, .. }
            | Self::NotBounced { id, .. }
            | Self::Alerted { id, .. } => Some(*id),
            Self::Refused { id, .. } => *id,
            Self::Forwarded { id, .. } | Self::Held { id, .. } | Self::Operator { id, .. } => {
                Some(id.message)
            }
            Self::Delivered { leg, .. } | Self::Deferred { leg, .. } | Self::Failed { leg, .. } => {
                Some(leg.id.message)
            }
            _ => None,
        }
    }

    /// The site that it is about, if it is about one.
    pub fn site(&self) -> Option<&str> {
        match self {
            Self::Delivered { leg, .. } | Self::Deferred { leg, .. } | Self::Failed { leg, .. } => {
                leg.trip.site.as_deref()
            }
            Self::SiteDown { site, .. }
            | Self::SiteUp { site, .. }
            | Self::SiteTakesMail { site, .. }
            | Self::SiteOrdered { site, .. } => Some(site),
            _ => None,
        }
    }
}
