//! The commit record of a new message, checked against what the format bounds.

use envelope::Leg;
use spool::{Arrival, Error, TOKEN_OCTETS_MAX};

use crate::log::codec::{Commit, LegRow, LegState, MessageRow};
use crate::settings::Settings;
use crate::write::WriterParts;

/// Of a message that comes in.
pub(crate) fn new_commit(
    arrival: Arrival,
    settings: &Settings,
    parts: &mut WriterParts,
) -> Result<Commit, Error> {
    let Arrival {
        message,
        legs,
        mut held,
        ..
    } = arrival;
    debug_assert!(!legs.is_empty(), "a message without legs would never end");
    let own = |arrived| settings.lifetime.deadlines(arrived);
    let row = MessageRow {
        deadlines: Some(arrival.deadlines.unwrap_or_else(|| own(message.arrived))),
        message,
        since: 0,
        commit_segment: 0,
        commit_octets: 0,
        body: parts.extents.clone(),
    };
    let state = LegState {
        due: arrival.first_due,
        attempts: 0,
        warned: false,
        held: false,
        bounced: false,
        damaged: false,
        last: None,
    };
    let row_of = |(number, leg)| {
        let why = held.remove(&number);
        let state = LegState {
            held: why.is_some(),
            last: why.map(Box::new),
            ..state.clone()
        };
        LegRow { number, leg, state }
    };
    let legs: Vec<LegRow> = (0..).zip(legs).map(row_of).collect();
    check_octets(&row, &legs)?;
    let tokens = std::mem::take(&mut parts.tokens);
    if tokens.iter().any(|t| t.value.len() > TOKEN_OCTETS_MAX) {
        return Err(Error::TooLarge {
            what: "token",
            max: TOKEN_OCTETS_MAX,
        });
    }
    Ok(Commit {
        row,
        legs,
        also: None,
        tokens,
        inline: None,
    })
}

fn check_octets(row: &MessageRow, legs: &[LegRow]) -> Result<(), Error> {
    let too_large = |what| Error::TooLarge {
        what,
        max: ROW_OCTETS_MAX,
    };
    if row.body.len() * 16 + row.message.trace.len() > ROW_OCTETS_MAX
        || row
            .message
            .envid
            .as_ref()
            .is_some_and(|e| e.len() > ENVID_OCTETS_MAX)
    {
        return Err(too_large("message row"));
    }
    let leg_octets = |leg: &Leg| {
        let merged = leg.merged.named.iter();
        leg.trace.len()
            + leg.options.as_str().len()
            + merged.map(|m| m.to_string().len()).sum::<usize>()
            + leg
                .original
                .as_ref()
                .map_or(0, |o| o.kind.len() + o.address.len())
    };
    if legs.iter().any(|row| leg_octets(&row.leg) > ROW_OCTETS_MAX) {
        return Err(too_large("leg"));
    }
    Ok(())
}

/// sled leaks disk on values over 64 KiB: what goes into a row beside bounded fields is kept well below.
const ROW_OCTETS_MAX: usize = 48 << 10;
const ENVID_OCTETS_MAX: usize = 1 << 10;
