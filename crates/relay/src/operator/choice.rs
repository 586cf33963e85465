//! Which legs an operator means, as the engine can match it.

use std::time::Duration;

use control::{Fault, LegState, Selector};
use envelope::{Glob, IdPart, IdPattern, LegId, MessageId};
use spool::{Filter, State};

use super::listing::Listing;

/// None: there is nothing that could match.
pub(super) async fn meant(
    spool: &impl Listing,
    selector: Selector,
) -> Result<Option<Filter>, Fault> {
    if selector.site.is_some() || selector.message_id.is_some() || selector.client.is_some() {
        let fault = Fault::new("only a running relay knows sites, Message-IDs and clients");
        return Err(fault.with_hint("choose by --to, --from or --error"));
    }
    let mut ids = Vec::new();
    for part in &selector.ids {
        ids.extend(whole(spool, part).await?);
    }
    if ids.is_empty() && !selector.ids.is_empty() {
        return Ok(None);
    }
    let states = |state| match state {
        LegState::Waiting => vec![State::Ready, State::Deferred],
        LegState::Active => vec![State::Active],
        LegState::Held => vec![State::Held],
    };
    let error = |text: String| Glob::new(&format!("*{text}*"));
    Ok(Some(Filter {
        ids,
        hosts: selector.hosts,
        to: selector.to,
        from: selector.from,
        states: selector.state.map(states).unwrap_or_default(),
        older_than: selector.older_than_secs.map(Duration::from_secs),
        younger_than: selector.younger_than_secs.map(Duration::from_secs),
        error: selector.error.map(error),
        ..Filter::default()
    }))
}

/// What is queued under an id of which perhaps only the beginning was typed. None: nothing.
pub(super) async fn whole(spool: &impl Listing, part: &IdPart) -> Result<Option<IdPattern>, Fault> {
    if let Some(id) = part.whole() {
        return Ok(Some(id));
    }
    let before = MessageId::from_bits(part.messages.start().bits().saturating_sub(1));
    let (mut found, mut cursor) = (Vec::new(), Some(last_of(before)));
    // A page may hold fewer legs than are wanted, and none.
    while cursor.is_some() && found.len() < NAMED_MAX {
        let page = spool.list(&Filter::default(), cursor, 1).await;
        let page = page.map_err(Fault::of)?;
        let id = page.entries.first().map(|entry| entry.id.message);
        cursor = match id {
            Some(id) if part.messages.contains(&id) => Some(last_of(id)),
            Some(_) => None,
            None => page.next,
        };
        found.extend(id.filter(|_| cursor.is_some()));
    }
    match found[..] {
        [] => Ok(None),
        [id] => Ok(Some(part.of(id))),
        _ => {
            let ids: Vec<_> = found.iter().map(ToString::to_string).collect();
            let many = format!("`{part}` is the beginning of several ids");
            let hint = format!("type more of one of them: {}", ids.join(", "));
            Err(Fault::new(many).with_hint(hint))
        }
    }
}

fn last_of(message: MessageId) -> LegId {
    LegId {
        message,
        number: u32::MAX,
    }
}

/// Ids that a complaint names.
const NAMED_MAX: usize = 5;
