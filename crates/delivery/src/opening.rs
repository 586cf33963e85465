//! What a connection is opened with, and why there is none.

use std::io;
use std::net::IpAddr;
use std::sync::Arc;
use std::time::Duration;

use envelope::{Diagnosis, EnhancedStatus, TlsFailure};
use rustls::{CertificateError, ClientConfig};

use crate::egress::{NoSource, Taken};
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
    /// The source of an egress that it takes up.
    pub(crate) source: Option<Arc<Taken>>,
    /// The source address; `None` leaves it to the system.
    pub(crate) bind: Option<IpAddr>,
    pub(crate) connect_timeout: Duration,
    pub(crate) patience: Patience,
}

/// Why there is no connection.
#[derive(Debug)]
pub(crate) enum OpenError {
    /// No address of the egress can be used now.
    NoSource(NoSource),
    /// The source is not an address of this machine.
    Unbound(Diagnosis),
    /// The address could not be reached.
    Unreachable(Diagnosis),
    /// It could, but the greeting, EHLO or the login did not go well.
    NoService(Diagnosis),
    /// TLS cannot be had as it is wanted; clear text may work, over a new connection.
    Tls(NoTls),
}

impl OpenError {
    /// The peer ended the connection over TLS.
    pub(crate) fn closed(diagnosis: Diagnosis) -> Self {
        Self::Tls(NoTls {
            failure: TlsFailure::ValidationFailure,
            reason: diagnosis.words(),
            diagnosis,
        })
    }
}

/// Why TLS cannot be had.
#[derive(Debug, Clone)]
pub(crate) struct NoTls {
    pub(crate) failure: TlsFailure,
    /// What exactly, for operators: it may name hosts.
    pub(crate) reason: String,
    /// What the sender may be told.
    pub(crate) diagnosis: Diagnosis,
}

impl NoTls {
    pub(crate) fn new(failure: TlsFailure, reason: impl Into<String>) -> Self {
        let reason = reason.into();
        let mut text = format!("no TLS: {}", failure.name());
        // What is said of certificates may name hosts: a sender is not told that.
        if failure == TlsFailure::ValidationFailure {
            text += &format!(" ({reason})");
        }
        Self {
            failure,
            reason,
            diagnosis: Diagnosis::local(TLS_FAILED, text),
        }
    }

    /// Of a handshake that failed.
    pub(crate) fn handshake(error: &io::Error) -> Self {
        use CertificateError::{
            ApplicationVerificationFailure, Expired, ExpiredContext, NotValidForName,
            NotValidForNameContext, NotValidYet, NotValidYetContext,
        };
        let inner = error.get_ref().and_then(|error| error.downcast_ref());
        let failure = match inner {
            Some(rustls::Error::InvalidCertificate(error)) => match error {
                Expired | ExpiredContext { .. } | NotValidYet | NotValidYetContext { .. } => {
                    TlsFailure::CertificateExpired
                }
                NotValidForName | NotValidForNameContext { .. } => {
                    TlsFailure::CertificateHostMismatch
                }
                // What our own verifier says.
                ApplicationVerificationFailure => TlsFailure::TlsaInvalid,
                _ => TlsFailure::CertificateNotTrusted,
            },
            _ => TlsFailure::ValidationFailure,
        };
        Self::new(failure, error.to_string())
    }
}

/// RFC 3463 §3.8: cryptographic failure.
const TLS_FAILED: EnhancedStatus = EnhancedStatus::transient(7, 5);
