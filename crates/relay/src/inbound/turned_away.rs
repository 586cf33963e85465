//! Lines of the mail log about connections that were turned away. In a flood there is one a second for each rule and wider
//! network, and one with the number of all others: the log must not become what fills the disk.

use std::collections::HashMap;
use std::net::IpAddr;
use std::sync::Arc;
use std::time::Duration;

use ipnet::IpNet;
use journal::{Event, Journal};
use parking_lot::Mutex;

/// What was turned away in this second.
pub(super) struct TurnedAway {
    /// Those without a line. None of the wider network: everywhere else.
    more: Mutex<HashMap<(&'static str, Option<IpNet>), u64>>,
    journal: Journal,
}

impl TurnedAway {
    pub(super) fn new(journal: Journal) -> Arc<Self> {
        let more = Mutex::default();
        Arc::new(Self { more, journal })
    }

    /// Whether this one is to have a line. If not, it is counted, and the count told within a second.
    pub(super) fn has_line(self: &Arc<Self>, rule: &'static str, client: IpAddr) -> bool {
        let mut more = self.more.lock();
        if more.is_empty() {
            let this = Arc::clone(self);
            tokio::spawn(async move {
                tokio::time::sleep(TOLD_EACH).await;
                this.tell();
            });
        }
        let network = wider(client);
        let is_told_apart = more.contains_key(&(rule, network)) || more.len() < NETWORKS_MAX;
        let network = network.filter(|_| is_told_apart);
        let is_first = !more.contains_key(&(rule, network));
        *more.entry((rule, network)).or_default() += u64::from(!is_first);
        is_first
    }

    fn tell(&self) {
        let more = std::mem::take(&mut *self.more.lock());
        for ((rule, network), connections) in more.into_iter().filter(|(_, more)| *more > 0) {
            let network =
                network.map_or_else(|| "others".to_owned(), |network| network.to_string());
            self.journal.record(Event::TurnedAway {
                rule,
                network,
                connections,
            });
        }
    }
}

/// A /16, or of IPv6 a /32: what one provider has.
fn wider(client: IpAddr) -> Option<IpNet> {
    let client = client.to_canonical();
    let bits = if client.is_ipv4() { 16 } else { 32 };
    IpNet::new(client, bits).ok().map(|network| network.trunc())
}

const TOLD_EACH: Duration = Duration::from_secs(1);
/// Networks with a line of their own in one second.
const NETWORKS_MAX: usize = 20;

#[cfg(test)]
mod tests {
    use super::*;

    #[tokio::test(start_paused = true)]
    async fn a_flood_is_some_lines_a_second() {
        let journal = Journal::default();
        let mut reader = journal.subscribe();
        let turned_away = TurnedAway::new(journal);
        for second in 0..2 {
            let lines = (0..200_000_u32).filter(|n| {
                let client = std::net::Ipv4Addr::from(n.wrapping_mul(65_537));
                turned_away.has_line("blocked", client.into())
            });
            assert_eq!(lines.count(), NETWORKS_MAX + 1, "in second {second}");
            tokio::time::sleep(TOLD_EACH * 2).await;
            let mut told = 0;
            while let Some(Ok(entry)) = reader.try_next() {
                if let Event::TurnedAway { connections, .. } = &entry.event {
                    told += connections;
                }
            }
            assert_eq!(told, 200_000 - NETWORKS_MAX as u64 - 1);
        }
        assert!(turned_away.has_line("cap", "2001:db8::1".parse().unwrap()));
        assert!(!turned_away.has_line("cap", "2001:db8:1::1".parse().unwrap()));
        assert!(turned_away.has_line("cap", "2001:db9::1".parse().unwrap()));
        assert!(turned_away.has_line("blocked", "2001:db8::1".parse().unwrap()));
    }
}
