//! The addresses that mail leaves from: their names (PTR), and the name that is said in EHLO.

use std::net::IpAddr;

use control::Finding;
use control::Health::{Bad, Good, Risky};
use dns::Resolver;

use crate::dnsbl::reversed;

use super::{Egress, ask, each, kind, leads_to, unknown};

pub(super) async fn check<R: Resolver>(resolver: &R, egresses: &[Egress]) -> Vec<Finding> {
    let found = each("ptr", egresses, |egress| async move {
        let (pointer, hello) = tokio::join!(pointer(resolver, egress), hello(resolver, egress));
        [pointer, hello]
    });
    let (found, left) = found.await;
    found.into_iter().flatten().chain(left).collect()
}

/// PTR: it must name a host that has this address (RFC 1912 §2.1).
async fn pointer<R: Resolver>(resolver: &R, Egress { address, hello, .. }: &Egress) -> Finding {
    let found = |status, text| Finding::new(status, "ptr", address, text);
    let record = format!("{}. IN PTR {hello}.", reverse_name(*address));
    let names = match ask(resolver.names(*address)).await {
        Ok(names) => names,
        Err(why) => return unknown("ptr", address, why),
    };
    if names.is_empty() {
        let text = "has no name (PTR): Gmail, Microsoft and many others refuse all mail from it\n\nhint: who owns the network sets it, mostly in the panel of your provider";
        return found(Bad, text.to_owned()).publishing(record);
    }
    let mut back = Vec::new();
    let mut trouble = None;
    for name in names.iter().take(NAMES_MAX) {
        match leads_to(resolver, name.as_str(), *address).await {
            Ok(true) => back.push(name),
            Ok(false) => {}
            Err(why) => trouble = Some(why),
        }
    }
    match (back.first(), trouble) {
        (Some(_), _) if back.contains(&hello) => found(Good, format!("is {hello}, both ways")),
        (None, Some(why)) => unknown("ptr", address, why),
        (Some(name), _) => {
            let text = format!(
                "its name (PTR) is {name}, and EHLO says {hello}: some count that against mail"
            );
            found(Risky, text).publishing(record)
        }
        (None, None) => {
            let name = &names[0];
            let text = format!(
                "its name (PTR) is {name}, and {name} is not this address: it counts as having none, and Gmail, Microsoft and many others refuse all mail from it"
            );
            found(Bad, text).publishing(record)
        }
    }
}

/// EHLO says a name of this address (RFC 5321 §4.1.1.1).
async fn hello<R: Resolver>(resolver: &R, Egress { address, hello, .. }: &Egress) -> Finding {
    let of = format!("{hello} {address}");
    match leads_to(resolver, hello.as_str(), *address).await {
        Ok(true) => Finding::new(Good, "hello", of, "the name in EHLO has this address"),
        Ok(false) => {
            let text =
                "EHLO says this name, and it does not have this address: many refuse such a client";
            Finding::new(Bad, "hello", of, text)
                .publishing(format!("{hello}. IN {} {address}", kind(*address)))
        }
        Err(why) => unknown("hello", of, why),
    }
}

fn reverse_name(address: IpAddr) -> String {
    let zone = match address {
        IpAddr::V4(_) => "in-addr",
        IpAddr::V6(_) => "ip6",
    };
    format!("{}.{zone}.arpa", reversed(address))
}

const NAMES_MAX: usize = 5;
