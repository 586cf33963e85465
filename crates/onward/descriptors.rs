//! File descriptors: as many as the system allows, and shared so that connections never take the last ones.
//!
//! The soft limit is 1,024 on most systems, too few for a mail server. It is raised to the hard limit. If the configured
//! connections need more than that, they are scaled down: a client over the limit gets 421, and the spool and the control
//! socket go on working.

use rustix::process::{Resource, Rlimit, getrlimit, setrlimit};

use crate::config::Config;

/// How many connections there may be.
pub(crate) struct Shares {
    pub(crate) incoming: usize,
    pub(crate) outgoing: usize,
}

/// Raises the soft limit to the hard one.
pub(crate) fn raise() {
    let limit = getrlimit(Resource::Nofile);
    let raised = Rlimit {
        current: limit.maximum,
        ..limit
    };
    if limit.current != limit.maximum
        && let Err(error) = setrlimit(Resource::Nofile, raised)
    {
        // Our systemd unit forbids the call; it sets both limits itself.
        tracing::debug!(%error, "cannot raise the limit of open files");
    }
}

/// What of the configured limits fits.
pub(crate) fn shares(config: &Config) -> Shares {
    share(
        config.limits.connections,
        config.delivery.connections,
        limit().saturating_sub(of_http(config)),
    )
}

fn of_http(config: &Config) -> usize {
    config.http.bind().map_or(0, |_| config.http.connections)
}

/// What does not fit, and what to do about it.
pub(crate) fn shortage(config: &Config) -> Option<String> {
    let (incoming, outgoing) = (config.limits.connections, config.delivery.connections);
    let needed = incoming.saturating_add(outgoing).saturating_add(RESERVE);
    let limit = limit().saturating_sub(of_http(config));
    if needed <= limit {
        return None;
    }
    let fits = share(incoming, outgoing, limit);
    Some(format!(
        "`limits.connections` ({incoming}), `delivery.connections` ({outgoing}) and the spool need {needed} open files, and the system allows {limit}: there will be {} connections from clients and {} to other servers\n\nhint: raise the limit (LimitNOFILE={needed} in the systemd unit), or lower the two",
        fits.incoming, fits.outgoing
    ))
}

fn share(incoming: usize, outgoing: usize, limit: usize) -> Shares {
    let room = limit - RESERVE.min(limit / 2);
    let wanted = incoming.saturating_add(outgoing);
    if wanted <= room {
        return Shares { incoming, outgoing };
    }
    let outgoing = (room.saturating_mul(outgoing) / wanted).max(1);
    let incoming = room.saturating_sub(outgoing).max(1);
    Shares { incoming, outgoing }
}

fn limit() -> usize {
    let limit = getrlimit(Resource::Nofile).current;
    limit.map_or(usize::MAX, |limit| {
        usize::try_from(limit).unwrap_or(usize::MAX)
    })
}

/// For the spool's files, listeners, the control socket with its connections, DNS, callouts, and a client that gets 421.
const RESERVE: usize = 256;

#[cfg(test)]
mod tests {
    use super::*;

    #[track_caller]
    fn check(limit: usize, expected: (usize, usize)) {
        let shares = share(10_000, 1000, limit);
        assert_eq!((shares.incoming, shares.outgoing), expected, "{limit}");
    }

    #[test]
    fn connections_leave_a_reserve() {
        check(usize::MAX, (10_000, 1000));
        check(11_256, (10_000, 1000));
        check(11_255, (10_000, 999));
        check(1024, (699, 69));
        check(64, (30, 2));
        check(1, (1, 1));
    }
}
