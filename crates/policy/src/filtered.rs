//! What content filters say of a message: the nouns in which the driver answers.

use envelope::Reply;

/// What one filter says.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct Filtered {
    /// What it wants done.
    pub judgement: Judgement,
    /// Whole header fields for the top of the message, if it is taken.
    pub fields: String,
}

impl Filtered {
    /// Whether it takes the message for spam, without refusing it: it would put it aside, or marks it as rspamd and SpamAssassin do.
    pub(crate) fn is_suspicious(&self) -> bool {
        let marked = self.fields.lines().any(|field| {
            let field = field.to_ascii_lowercase();
            ["x-spam: yes", "x-spam-flag: yes"]
                .iter()
                .any(|mark| field.starts_with(mark))
        });
        marked || matches!(self.judgement, Judgement::Hold(_) | Judgement::Discard)
    }
}

/// What a filter wants done.
#[derive(Debug, Clone, PartialEq, Eq)]
pub enum Judgement {
    /// Nothing; or it could not be asked, and the operator wants mail taken then (`on_failure = "accept"`).
    Pass,
    /// The message refused, for good or for now, with this reply.
    Refuse(Reply),
    /// The message kept for an operator to look at; why.
    Hold(String),
    /// The message thrown away.
    Discard,
    /// It could not be asked, and the operator wants mail to come again then (`on_failure = "defer"`).
    Unknown,
    /// It would be asked: the mail is only thought of.
    NotAsked,
}
