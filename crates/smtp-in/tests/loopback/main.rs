//! Real sockets on loopback: what the listener, the loop and the handshakes do with a whole session.
//!
//! No sleeps: a test waits for bytes or for what the visits report. What must time out has a short setting.
//!
//! (`cfg(test)` on the modules says nothing new to the compiler; clippy knows by it that helpers may unwrap, too.)

#[cfg(test)]
mod body;
#[cfg(test)]
mod caps;
#[cfg(test)]
mod dialog;
#[cfg(test)]
mod drain;
#[cfg(test)]
mod late;
#[cfg(test)]
mod memory;
#[cfg(test)]
mod proxy;
#[cfg(test)]
mod support;
#[cfg(test)]
mod timeouts;
#[cfg(test)]
mod tls;
#[cfg(test)]
mod xclient;
