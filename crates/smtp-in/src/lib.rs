//! Listeners, TLS, PROXY, and the one loop that drives a server session.
//!
//! ```text
//! bind ─► serve ─► accept ─► caps ─► PROXY header ─► TLS ─► session loop ──► Visit: may this happen? take this body
//! ```
//!
//! [`bind`] opens sockets (so that a port in use is an error at start), [`serve`] runs them until its token is
//! cancelled and every connection is done. What the sessions say is `smtp`'s; what they permit and
//! where the mail goes is for the [`Visit`] that the [`Service`] makes of each connection. Every wait has an end: see [`Limits`] and `smtp::server::Timeouts`.
//!
//! It does *not* read files (certificates come as bytes), decide anything about mail, or write trace headers: it
//! supplies the facts for them in [`Client`].

mod answer;
mod caps;
mod connection;
#[doc(hidden)]
pub mod fuzzing;
mod listener;
mod proxy;
mod replies;
mod serve;
mod stream;
pub mod tls;
mod visit;

pub use answer::answer;
pub use caps::Cap;
pub use listener::{BindError, Limits, Listener, Settings, TlsMode, bind};
pub use proxy::ProxyError;
pub use serve::serve;
pub use visit::{Client, Ending, Incident, Role, Service, Visit};
