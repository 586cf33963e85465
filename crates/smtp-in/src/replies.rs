//! All words that smtp-in itself says to a client, as bytes for the wire: no session exists yet.

use crate::caps::Cap;

/// The answer to a connection over a cap, before any session exists.
pub(crate) const fn over_cap(cap: Cap) -> &'static [u8] {
    match cap {
        Cap::Total => b"421 4.3.2 too many connections, try again later\r\n",
        Cap::PerAddress => b"421 4.7.0 too many connections from your network, try again later\r\n",
    }
}
