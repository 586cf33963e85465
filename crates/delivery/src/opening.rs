//! What a connection is opened with, and why there is none.

use std::net::IpAddr;
use std::sync::Arc;
use std::time::Duration;

use envelope::Diagnosis;
use rustls::ClientConfig;

use crate::login::Login;
use crate::patience::Patience;
use crate::policy::Security;

/// How to open a connection.
#[derive(Debug, Clone)]
pub(crate) struct Opening {
    pub(crate) session: Arc<smtp::client::Settings>,
    /// `None`: no TLS, whatever the peer offers.
    pub(crate) tls: Option<Arc<ClientConfig>>,
    pub(crate) security: Security,
    pub(crate) login: Option<Login>,
    /// The source address; `None` leaves it to the system.
    pub(crate) source: Option<IpAddr>,
    pub(crate) connect_timeout: Duration,
    pub(crate) patience: Patience,
}

/// Why there is no connection.
#[derive(Debug)]
pub(crate) enum OpenError {
    /// The address could not be reached.
    Unreachable(Diagnosis),
    /// It could, but the greeting, EHLO or the login did not go well.
    NoService(Diagnosis),
    /// TLS cannot be had as it is wanted; clear text may work, over a new connection.
    Tls(Diagnosis),
}
