//! What the line of an operator's order about sites shows.

use crate::event::Event;
use crate::fields::optional;
use crate::line::Fields;

pub(crate) fn fields(event: &Event, out: &mut dyn Fields) {
    let Event::SiteOrdered {
        site,
        until,
        connections,
        per_minute,
        reason,
        sites,
        uid,
        ..
    } = event
    else {
        return;
    };
    out.text("site", site);
    optional(out, "until", until.as_ref());
    let numbers = [
        ("connections", connections),
        ("per_minute", per_minute),
        ("uid", uid),
    ];
    for (name, number) in numbers {
        if let Some(number) = number {
            out.number(name, (*number).into());
        }
    }
    optional(out, "reason", reason.as_ref());
    optional(out, "sites", sites.as_ref());
}
